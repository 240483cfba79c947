//! Nodes that ids of sessions name and that are not in the table of nodes: new ones, and those that are gone.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::proto::node::NodeId;
use crate::proto::time::Instant;
use crate::store::Peer;

/// How long it is believed what the store has said of one.
const KNOWN_FOR: Duration = Duration::from_secs(60);

/// How many are kept. Ids of sessions cannot be forged, so there are no more than nodes that have come and gone in a minute.
const MOST: usize = 10_000;

/// What the store has said of them, and when.
#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<HashMap<NodeId, (Option<Peer>, Instant)>>);

impl Strangers {
    /// Returns what was said of a node a while ago; `None` if nothing was.
    pub(super) fn get(&self, node: NodeId, now: Instant) -> Option<Option<Peer>> {
        let strangers = self.strangers();
        let (peer, asked) = strangers.get(&node)?;
        (now < *asked + KNOWN_FOR).then(|| peer.clone())
    }

    /// Keeps what the store says of a node.
    pub(super) fn keep(&self, node: NodeId, peer: Option<Peer>, now: Instant) {
        let mut strangers = self.strangers();
        if strangers.len() >= MOST {
            strangers.clear();
        }
        strangers.insert(node, (peer, now));
    }

    fn strangers(&self) -> MutexGuard<'_, HashMap<NodeId, (Option<Peer>, Instant)>> {
        // Nothing that is done under the lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
