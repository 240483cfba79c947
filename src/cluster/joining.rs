//! Ends that join: their node claims the tunnel first, and others hear of a claim before the end is there.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// The longest that an end takes to join behind its claim, on a busy machine.
const JOINS: Duration = Duration::from_millis(500);

/// Tells of ends that join here.
#[derive(Debug, Default)]
pub(super) struct Joins(Notify);

impl Joins {
    /// Says that an end has joined.
    pub(super) fn tell(&self) {
        self.0.notify_waiters();
    }

    /// Returns what `find` finds. While it finds nothing and an end is expected, it is asked again after each join.
    pub(super) async fn find<T>(&self, find: impl Fn() -> Option<T>, is_expected: impl Fn() -> bool) -> Option<T> {
        let until = Instant::now() + JOINS;
        loop {
            // From here on no join is missed.
            let joined = self.0.notified();
            let found = find();
            if found.is_some() || !is_expected() || timeout_at(until, joined).await.is_err() {
                return found;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_is_waited_for_whose_end_is_about_to_join() {
        let (joins, there) = (Joins::default(), Cell::new(false));
        let find = || there.get().then_some("tunnel");
        let joining = async {
            tokio::task::yield_now().await;
            // Another tunnel's end.
            joins.tell();
            tokio::task::yield_now().await;
            there.set(true);
            joins.tell();
        };
        let begun = Instant::now();
        assert_eq!(tokio::join!(joins.find(find, || true), joining).0, Some("tunnel"));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        there.set(false);
        assert_eq!(joins.find(find, || false).await, None);
        assert_eq!(begun.elapsed(), Duration::ZERO, "no end is expected");
        assert_eq!(joins.find(find, || true).await, None);
        assert_eq!(begun.elapsed(), JOINS);
    }
}
