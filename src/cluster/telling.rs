//! What this node tells others, and asks them.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use futures::{StreamExt as _, stream};
use tokio::time::timeout;

use super::{Cluster, Message};
use crate::proto::token::Token;
use crate::store::{Located, Peer, StoreError};

/// Time in which a node answers what it is told or asked.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Time in which a node answers what is said several times.
const OWNERS_TIMEOUT: Duration = Duration::from_millis(500);

/// Nodes that are asked the same at once.
pub(super) const ASKED: usize = 8;

impl Cluster {
    /// Tells nodes what becomes of their sessions whose clients come through this one, which stops. It is said again, so a node that
    /// stands still keeps the others waiting for a moment only.
    pub(crate) async fn tell_owners(&self, messages: Vec<(Peer, Message)>) {
        let mut told: Vec<(Peer, Vec<String>)> = Vec::new();
        for (peer, message) in messages {
            let message = message.to_string();
            match told.iter_mut().find(|(other, _)| other.node == peer.node) {
                Some((_, messages)) => messages.push(message),
                None => told.push((peer, vec![message])),
            }
        }
        let telling = told.iter().map(|(peer, messages)| async move {
            let telling = self.hops.tell((peer.node, &peer.advertise), messages);
            if !matches!(timeout(OWNERS_TIMEOUT, telling).await, Ok(Ok(()))) {
                tracing::debug!(node = %peer.node, "a node is not told that connections to it are about to end");
            }
        });
        join_all(telling).await;
    }

    /// Returns what each other node says of the tunnels that have ends there, or of one of them: JSON, or why it says nothing.
    pub(crate) async fn tunnels_elsewhere(&self, token: Option<&Token>) -> Vec<(Peer, Result<String, String>)> {
        let asking = self.peers().into_iter().map(|peer| async move {
            let asking = self.hops.tunnels((peer.node, &peer.advertise), token);
            let answer = match timeout(TIMEOUT, asking).await {
                Ok(answer) => answer.map_err(|undone| undone.to_string()),
                Err(_) => Err(format!("the node does not answer within {TIMEOUT:?}")),
            };
            (peer, answer)
        });
        stream::iter(asking).buffered(ASKED).collect().await
    }

    /// Tells a node something, without waiting. What does not reach it is in its inbox.
    pub(super) fn tell(self: &Arc<Self>, peer: Peer, message: Message) {
        let Ok(permit) = Arc::clone(&self.telling).try_acquire_owned() else {
            return tracing::debug!(node = %peer.node, "a node is not told: as many are as may");
        };
        let node = Arc::clone(self);
        tokio::spawn(async move {
            let messages = [message.to_string()];
            // One that stands still takes the message, and does not answer.
            match timeout(TIMEOUT, node.hops.tell((peer.node, &peer.advertise), &messages)).await {
                Ok(Ok(())) => (),
                Ok(Err(undone)) => tracing::debug!(node = %peer.node, ?undone, "a node is not told"),
                Err(_) => tracing::debug!(node = %peer.node, "a node is not told within {TIMEOUT:?}"),
            }
            drop(permit);
        });
    }

    /// Has the ends of a tunnel disconnected that are at other nodes now, also at nodes whose leases have lapsed and which come back
    /// within a minute. Returns the epoch up to which ends are: those that come back meanwhile stay.
    ///
    /// # Errors
    /// - [`StoreError::Unavailable`] if the store cannot be used now
    pub(crate) async fn close(self: &Arc<Self>, token: &Token) -> Result<u64, StoreError> {
        let Located { epoch, owner, holders, .. } = self.locate_anew(token).await?;
        let message = Message::Close(*token, epoch);
        self.nodes.post_to_claimants(token, self.me, &message.to_string()).await?;
        let living = holders.into_iter().map(|(peer, _)| peer).chain(owner);
        for peer in living.filter(|peer| peer.node != self.me) {
            self.tell(peer, message);
        }
        Ok(epoch)
    }
}
