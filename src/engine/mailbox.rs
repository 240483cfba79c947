//! The mailbox of a session's task: commands wait here until the task takes them. An empty mailbox allocates no queue.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use crate::tables;

/// Why a command did not reach a session's task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undelivered {
    /// The mailbox holds as many commands as [`Limits::mailbox`](super::Limits::mailbox) allows.
    Full,
    /// The session has ended.
    Closed,
}

/// Returns both sides of a mailbox. [`Sender::try_send`] fails while `limit` commands wait in it.
pub(super) fn mailbox<C>(limit: usize) -> (Sender<C>, Receiver<C>) {
    let state = State { commands: VecDeque::new(), waker: None, is_open: true };
    let shared = Arc::new(Shared { limit, state: Mutex::new(state) });
    (Sender(Arc::clone(&shared)), Receiver { shared, taken: VecDeque::new() })
}

struct Shared<C> {
    limit: usize,
    state: Mutex<State<C>>,
}

struct State<C> {
    commands: VecDeque<C>,
    waker: Option<Waker>,
    is_open: bool,
}

impl<C> Shared<C> {
    fn state(&self) -> MutexGuard<'_, State<C>> {
        // Each change is one call of the queue, so a panic elsewhere left it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stores the waker of the task that is polled now, in place of an older one.
fn wake_later(waker: &mut Option<Waker>, cx: &mut Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
}

/// Puts commands into a mailbox.
pub(super) struct Sender<C>(Arc<Shared<C>>);

impl<C> Clone for Sender<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> Sender<C> {
    /// Returns whether both put commands into the same mailbox.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Puts in a command whose number is bounded elsewhere, as by the requests that wait, so that the limit does not apply.
    /// Returns false when the session has ended.
    pub(super) fn send(&self, command: C) -> bool {
        self.put(command, usize::MAX).is_ok()
    }

    /// Puts in a command whose number only the mailbox's limit bounds.
    pub(super) fn try_send(&self, command: C) -> Result<(), Undelivered> {
        self.put(command, self.0.limit)
    }

    /// Puts in a command that may be lost, and that takes no place from others: while less than half of the mailbox is taken.
    pub(super) fn offer(&self, command: C) -> Result<(), Undelivered> {
        self.put(command, self.0.limit / 2)
    }

    fn put(&self, command: C, limit: usize) -> Result<(), Undelivered> {
        let mut state = self.0.state();
        if !state.is_open {
            return Err(Undelivered::Closed);
        }
        if state.commands.len() >= limit {
            return Err(Undelivered::Full);
        }
        state.commands.push_back(command);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

/// Takes commands out of a mailbox. Dropping it closes the mailbox: commands that wait are dropped, and senders fail.
pub(super) struct Receiver<C> {
    shared: Arc<Shared<C>>,
    taken: VecDeque<C>,
}

impl<C> Receiver<C> {
    /// Returns whether a command waits. If none does, the next command wakes the task.
    pub(super) fn has_some(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.taken.is_empty() {
            return true;
        }
        let mut state = self.shared.state();
        if state.commands.is_empty() {
            wake_later(&mut state.waker, cx);
            return false;
        }
        true
    }

    /// Takes the commands that wait now, which [`Self::next`] returns one by one. Commands that come meanwhile wait for the
    /// next call: otherwise senders on other cores could keep the task from its other work.
    pub(super) fn take_waiting(&mut self) {
        if !self.taken.is_empty() {
            return;
        }
        mem::swap(&mut self.shared.state().commands, &mut self.taken);
    }

    /// Returns the next of the commands that were taken.
    pub(super) fn next(&mut self) -> Option<C> {
        tables::take_first(&mut self.taken)
    }
}

impl<C> Drop for Receiver<C> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.is_open = false;
        let left = mem::take(&mut state.commands);
        drop(state);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Poll, Waker};

    use tokio::sync::oneshot;

    use super::*;

    fn all<C>(receiver: &mut Receiver<C>) -> Vec<C> {
        receiver.take_waiting();
        std::iter::from_fn(|| receiver.next()).collect()
    }

    #[test]
    fn commands_come_in_order_and_those_over_the_limit_are_refused() {
        let (sender, mut receiver) = mailbox(2);
        assert_eq!([sender.try_send(1), sender.try_send(2)], [Ok(()), Ok(())]);
        assert_eq!(sender.try_send(3), Err(Undelivered::Full));
        assert!(sender.send(4), "the limit does not apply to this kind");
        assert_eq!(sender.offer(6), Err(Undelivered::Full));
        assert_eq!(all(&mut receiver), [1, 2, 4]);
        assert_eq!([sender.offer(5), sender.offer(6)], [Ok(()), Err(Undelivered::Full)], "half of it is the others'");
        assert_eq!(all(&mut receiver), [5]);
        assert!(all(&mut receiver).is_empty());
    }

    #[test]
    fn commands_that_come_while_others_are_handled_wait_for_the_next_turn() {
        let (sender, mut receiver) = mailbox(10);
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(sender.send(0));
        receiver.take_waiting();
        let mut handled = Vec::new();
        while let Some(command) = receiver.next() {
            handled.push(command);
            assert!(handled.len() < 10 && sender.send(command + 1), "the turn does not end");
        }
        assert_eq!(handled, [0]);
        assert!(receiver.has_some(cx), "the next turn takes it");
        assert_eq!(all(&mut receiver), [1]);
    }

    #[test]
    fn a_burst_costs_an_idle_session_no_memory() {
        let (sender, mut receiver) = mailbox(10_000);
        // Twice, because the two queues change places.
        for _ in 0..2 {
            assert!((0..10_000).all(|number| sender.send(number)));
            assert_eq!(all(&mut receiver).len(), 10_000);
        }
        assert_eq!((receiver.taken.capacity(), receiver.shared.state().commands.capacity()), (0, 0));
    }

    #[tokio::test]
    async fn a_command_wakes_the_task_that_waits_for_one() {
        let (sender, mut receiver) = mailbox(1);
        let waiting = tokio::spawn(std::future::poll_fn(move |cx| {
            if receiver.has_some(cx) { Poll::Ready(all(&mut receiver)) } else { Poll::Pending }
        }));
        tokio::task::yield_now().await;
        assert!(sender.send(7));
        assert_eq!(waiting.await.unwrap(), [7]);
    }

    #[tokio::test]
    async fn the_end_of_a_session_frees_the_requests_that_wait_for_its_answer() {
        let (sender, receiver) = mailbox(1);
        let (reply, answer) = oneshot::channel::<()>();
        assert!(sender.send(reply));
        drop(receiver);
        assert!(answer.await.is_err());
        assert!(!sender.send(oneshot::channel().0));
        assert_eq!(sender.try_send(oneshot::channel().0), Err(Undelivered::Closed));
    }
}
