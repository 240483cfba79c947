//! WebSockets of sessions at other nodes that come through this one, for as long as they are open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::Sid;
use crate::store::Peer;
use crate::tables;

/// The sessions, by their ids, and their nodes. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Pipes(Arc<Mutex<HashMap<Sid, Peer>>>);

impl Pipes {
    /// Keeps a session until what this returns is dropped.
    pub(super) fn open(&self, sid: Sid, node: Peer) -> Pipe {
        self.pipes().insert(sid, node);
        Pipe { pipes: self.clone(), sid }
    }

    /// Returns all that are open.
    pub(super) fn all(&self) -> Vec<(Peer, Sid)> {
        self.pipes().iter().map(|(sid, node)| (node.clone(), *sid)).collect()
    }

    fn pipes(&self) -> MutexGuard<'_, HashMap<Sid, Peer>> {
        // Nothing that is done under the lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session in the table, until this is dropped.
#[derive(Debug)]
pub(super) struct Pipe {
    pipes: Pipes,
    sid: Sid,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let mut pipes = self.pipes.pipes();
        pipes.remove(&self.sid);
        tables::shrink(&mut pipes);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proto::node::NodeId;

    #[test]
    fn a_pipe_is_kept_while_it_is_open() {
        let pipes = Pipes::default();
        let node = Peer {
            node: NodeId::from_random([1; 6]),
            advertise: "http://10.0.0.1:1".into(),
            label: "".into(),
            version: "1".into(),
            is_draining: false,
            lease: Duration::from_secs(6),
        };
        let sid = Sid::from_random([2; 15]);
        let pipe = pipes.open(sid, node.clone());
        assert_eq!(pipes.all(), [(node, sid)]);
        drop(pipe);
        assert_eq!(pipes.all(), []);
    }
}
