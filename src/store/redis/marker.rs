//! Whether Redis still has what was written to it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::store::nodes::Lost;

/// How long after the connected tunnels of this process were written again an unknown token may still be one that another
/// server has not written yet.
const UNSURE_FOR: Duration = Duration::from_secs(60);

/// The marker that Redis had when it was looked at last. A Redis with another one has lost its data, or is another.
#[derive(Debug, Default)]
pub(super) struct Marker {
    state: Mutex<State>,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct State {
    known: Option<String>,
    /// What of this node's writes was found lost last.
    lost: Option<Lost>,
    unsure: Unsure,
}

/// Whether a token that is not in Redis may be that of a tunnel.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Unsure {
    #[default]
    No,
    /// Tunnels are being written again.
    Writing,
    /// They are written, and this time has not passed.
    Until(Instant),
}

/// What it means that a token is not in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absence {
    /// There is no such tunnel.
    Final,
    /// It may be one that was lost with others, and is written again in a while.
    Unsure,
    /// Redis has lost its data since it was looked at last.
    Emptied,
}

impl Marker {
    /// Takes up the marker that Redis has. Returns whether Redis had another one before.
    pub(super) fn saw(&self, marker: String) -> bool {
        let mut state = self.lock();
        let is_other = state.known.as_ref().is_some_and(|known| *known != marker);
        if is_other {
            state.unsure = Unsure::Writing;
            self.emptied.notify_one();
        }
        state.known = Some(marker);
        is_other
    }

    /// Takes up that writes of this node are lost, which each reply says until they are made again. Returns whether it is news.
    pub(super) fn lost(&self, lost: Lost) -> bool {
        let mut state = self.lock();
        let is_news = state.lost.replace(lost) != Some(lost);
        if is_news {
            state.unsure = Unsure::Writing;
            self.emptied.notify_one();
        }
        is_news
    }

    /// Returns the marker, empty if none was seen yet. `None` if tokens that are not in Redis may still be written again.
    pub(super) fn sure(&self) -> Option<String> {
        let state = self.lock();
        (!state.is_unsure()).then(|| state.known.clone().unwrap_or_default())
    }

    /// Tells what it means that a token is not in a Redis of this marker.
    pub(super) fn absence(&self, marker: &str) -> Absence {
        let state = self.lock();
        match &state.known {
            Some(known) if known != marker => Absence::Emptied,
            _ if state.is_unsure() => Absence::Unsure,
            _ => Absence::Final,
        }
    }

    /// Completes when Redis was found empty, or without the last writes of this node: once each time, for one task.
    pub(super) async fn emptied(&self) {
        self.emptied.notified().await;
    }

    /// The tunnels of this process are written again.
    pub(super) fn restored(&self) {
        self.lock().unsure = Unsure::Until(Instant::now() + UNSURE_FOR);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_unsure(&self) -> bool {
        match self.unsure {
            Unsure::No => false,
            Unsure::Writing => true,
            Unsure::Until(end) => Instant::now() < end,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_unknown_token_is_final_again_a_minute_after_tunnels_were_written_again() {
        let marker = Marker::default();
        assert!(!marker.saw("a".to_owned()) && !marker.saw("a".to_owned()));
        assert_eq!((marker.absence("a"), marker.absence("b")), (Absence::Final, Absence::Emptied));
        assert_eq!((marker.emptied().now_or_never(), marker.sure().as_deref()), (None, Some("a")));
        assert!(marker.saw("b".to_owned()));
        marker.emptied().await;
        assert_eq!((marker.emptied().now_or_never(), marker.sure()), (None, None));
        assert_eq!((marker.absence("b"), marker.absence("a")), (Absence::Unsure, Absence::Emptied));
        marker.restored();
        tokio::time::advance(UNSURE_FOR - Duration::from_secs(1)).await;
        assert_eq!(marker.absence("b"), Absence::Unsure);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((marker.absence("b"), marker.sure().as_deref()), (Absence::Final, Some("b")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_of_writes_is_noticed_once() {
        let marker = Marker::default();
        marker.saw("a".to_owned());
        for found in [7, 9] {
            assert!(marker.lost(Lost { after: 3, found }));
            marker.emptied().await;
            assert!(!marker.lost(Lost { after: 3, found }));
            assert_eq!((marker.emptied().now_or_never(), marker.absence("a")), (None, Absence::Unsure));
        }
    }
}
