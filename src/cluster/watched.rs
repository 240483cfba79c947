//! Nodes that something waits for: whatever waits learns here that its node is gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::proto::node::NodeId;
use crate::tables;

/// A node that something waits for. The node is looked after while a clone of this is kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watched(Arc<CancellationToken>);

impl Watched {
    /// Completes once the node is gone.
    pub(crate) fn gone(&self) -> WaitForCancellationFutureOwned {
        CancellationToken::clone(&self.0).cancelled_owned()
    }

    /// Tells all that wait for the node that it is gone.
    pub(crate) fn mark_gone(&self) {
        self.0.cancel();
    }
}

/// The nodes that are looked after.
#[derive(Debug, Default)]
pub(super) struct Watches(Mutex<HashMap<NodeId, Weak<CancellationToken>>>);

impl Watches {
    /// Returns what completes when a node is gone, and whether the caller must begin to look after the node.
    pub(super) fn watch(&self, node: NodeId) -> (Watched, bool) {
        let mut watches = self.watches();
        let kept = watches.get(&node);
        let is_new = kept.is_none();
        let token = kept.and_then(Weak::upgrade).unwrap_or_else(|| {
            let token = Arc::default();
            watches.insert(node, Arc::downgrade(&token));
            token
        });
        (Watched(token), is_new)
    }

    /// Tells whether anything waits for a node. If not, the node is not looked after from now on.
    pub(super) fn is_waited_for(&self, node: NodeId) -> bool {
        let mut watches = self.watches();
        let is_waited_for = watches.get(&node).is_some_and(|token| token.strong_count() > 0);
        if !is_waited_for {
            remove(&mut watches, node);
        }
        is_waited_for
    }

    /// Tells all that wait for a node that it is gone. It is not looked after from now on.
    pub(super) fn gone(&self, node: NodeId) {
        let token = remove(&mut self.watches(), node).and_then(|token| token.upgrade());
        if let Some(token) = token {
            Watched(token).mark_gone();
        }
    }

    fn watches(&self) -> MutexGuard<'_, HashMap<NodeId, Weak<CancellationToken>>> {
        // Nothing that is done under the lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove(watches: &mut HashMap<NodeId, Weak<CancellationToken>>, node: NodeId) -> Option<Weak<CancellationToken>> {
    let removed = watches.remove(&node);
    tables::shrink(watches);
    removed
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_node_is_looked_after_while_something_waits_for_it() {
        let (watches, node) = (Watches::default(), NodeId::from_random([1; 6]));
        let (first, is_new) = watches.watch(node);
        assert!(is_new);
        drop(first);
        let (second, is_new) = watches.watch(node);
        assert!(!is_new, "it is still looked after");
        assert!(watches.is_waited_for(node));
        drop(second);
        assert!(!watches.is_waited_for(node));
        assert!(watches.watch(node).1);
    }

    #[test]
    fn what_waits_for_a_node_learns_that_it_is_gone_and_what_comes_later_does_not() {
        let (watches, node) = (Watches::default(), NodeId::from_random([1; 6]));
        let (waiting, _) = watches.watch(node);
        assert!(waiting.gone().now_or_never().is_none());
        watches.gone(node);
        assert!(waiting.gone().now_or_never().is_some());
        let (later, is_new) = watches.watch(node);
        assert!(is_new && later.gone().now_or_never().is_none(), "the node may come back");
    }
}
