//! How a visitor's task hears what came of its event: a oneshot whose memory is used again, since each exchange needs one.

use std::cell::RefCell;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::engine::mailbox::wake_later;
use crate::proto::socket_io::connection::{AckError, Answer};

/// What comes of an event.
pub(super) type Outcome = Result<Answer, AckError>;

/// So many places are kept by a thread for the next exchanges.
const KEPT: usize = 256;

thread_local! {
    static SPARE: RefCell<Vec<Arc<Place>>> = const { RefCell::new(Vec::new()) };
}

/// Who is told the outcome, and who waits for it.
pub(super) fn channel() -> (Waiter, Waiting) {
    let place = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    (Waiter(Some(Arc::clone(&place))), Waiting(Some(place)))
}

/// Where an outcome is left.
#[derive(Debug, Default)]
struct Place(Mutex<State>);

#[derive(Debug)]
enum State {
    Waiting(Option<Waker>),
    /// Without an outcome, when none will come.
    Over(Option<Outcome>),
}

impl Default for State {
    fn default() -> Self {
        Self::Waiting(None)
    }
}

impl Place {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment, so a panic elsewhere left it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the outcome. Dropped before, it tells that there will be none.
#[derive(Debug)]
pub(super) struct Waiter(Option<Arc<Place>>);

impl Waiter {
    /// Lost when nobody waits any more.
    pub(super) fn tell(mut self, outcome: Outcome) {
        self.end(Some(outcome));
    }

    fn end(&mut self, outcome: Option<Outcome>) {
        let Some(place) = self.0.take() else { return };
        let before = mem::replace(&mut *place.state(), State::Over(outcome));
        // Whoever is woken should find the place all its own.
        drop(place);
        if let State::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.end(None);
    }
}

/// Ready with the outcome, once, or with `None` when there will be none.
#[derive(Debug)]
pub(super) struct Waiting(Option<Arc<Place>>);

impl Future for Waiting {
    type Output = Option<Outcome>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        let Some(place) = &self.0 else { return Poll::Ready(None) };
        match &mut *place.state() {
            State::Over(outcome) => Poll::Ready(outcome.take()),
            State::Waiting(waker) => {
                wake_later(waker, cx);
                Poll::Pending
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(mut place) = self.0.take() else { return };
        // If the waiter still has its share, the place goes with that.
        let Some(own) = Arc::get_mut(&mut place) else { return };
        *own = Place::default();
        // A thread that ends keeps nothing.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < KEPT {
                spare.push(place);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn spare() -> usize {
        SPARE.with_borrow(Vec::len)
    }

    #[tokio::test]
    async fn wakes_who_waits_with_the_outcome() {
        let (waiter, waiting) = channel();
        let task = tokio::spawn(waiting);
        tokio::task::yield_now().await;
        waiter.tell(Err(AckError::TimedOut));
        assert!(matches!(task.await.unwrap(), Some(Err(AckError::TimedOut))));
    }

    #[tokio::test]
    async fn wakes_who_waits_when_there_will_be_no_outcome() {
        let (waiter, waiting) = channel();
        let task = tokio::spawn(waiting);
        tokio::task::yield_now().await;
        drop(waiter);
        assert!(task.await.unwrap().is_none());
    }

    #[test]
    fn wakes_the_task_that_asked_last() {
        let (waiter, mut waiting) = channel();
        let (first, last) = (futures::task::noop_waker(), Arc::new(Count::default()));
        assert!(waiting.poll_unpin(&mut Context::from_waker(&first)).is_pending());
        assert!(waiting.poll_unpin(&mut Context::from_waker(&Arc::clone(&last).into())).is_pending());
        waiter.tell(Err(AckError::TimedOut));
        assert_eq!(last.0.load(std::sync::atomic::Ordering::Relaxed), 1);
    }

    #[derive(Default)]
    struct Count(std::sync::atomic::AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    #[test]
    fn a_place_is_used_again_and_knows_nothing_of_before() {
        for used in [|waiter: Waiter| waiter.tell(Err(AckError::TimedOut)), drop] {
            let (waiter, waiting) = channel();
            let place = Arc::as_ptr(waiting.0.as_ref().unwrap());
            used(waiter);
            drop(waiting);
            let (_waiter, mut next) = channel();
            assert_eq!(Arc::as_ptr(next.0.as_ref().unwrap()), place);
            assert!((&mut next).now_or_never().is_none());
        }
    }

    #[test]
    fn a_place_that_may_still_hear_an_outcome_is_not_used_again() {
        let (waiter, waiting) = channel();
        drop(waiting);
        assert_eq!(spare(), 0);
        waiter.tell(Err(AckError::TimedOut));
        assert_eq!(spare(), 0);
    }

    #[test]
    fn a_thread_keeps_so_many_and_no_more() {
        let waiting: Vec<_> = (0..KEPT + 1).map(|_| channel().1).collect();
        drop(waiting);
        assert_eq!(spare(), KEPT);
    }

    #[tokio::test]
    async fn hears_the_outcome_from_another_thread() {
        for _ in 0..1_000 {
            let (waiter, waiting) = channel();
            let thread = std::thread::spawn(move || waiter.tell(Err(AckError::TimedOut)));
            assert!(matches!(waiting.await, Some(Err(AckError::TimedOut))));
            thread.join().unwrap();
        }
    }
}
