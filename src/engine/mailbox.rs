//! The commands that wait for a session's task. While none waits it has no memory of its own.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use crate::engine::Undelivered;

/// Room for so many commands is kept for the next ones.
const KEPT: usize = 64;

/// A mailbox that takes `limit` commands of those that strangers can cause any number of.
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

/// Has the task woken that asks now.
pub(crate) fn wake_later(waker: &mut Option<Waker>, cx: &mut Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
}

/// Where commands are put in.
pub(super) struct Sender<C>(Arc<Shared<C>>);

impl<C> Clone for Sender<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> Sender<C> {
    /// Puts in a command of which there are only so many: one for a request that waits, one for a namespace. False when
    /// the session has ended.
    pub(super) fn send(&self, command: C) -> bool {
        self.put(command, usize::MAX).is_ok()
    }

    /// Puts in a command of which there can be any number.
    pub(super) fn try_send(&self, command: C) -> Result<(), Undelivered> {
        self.put(command, self.0.limit)
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

/// Where the session's task takes them out. Whatever is left in it is dropped with it, and nothing is put in any more.
pub(super) struct Receiver<C> {
    shared: Arc<Shared<C>>,
    taken: VecDeque<C>,
}

impl<C> Receiver<C> {
    /// Whether a command waits. When none does, the task is woken for the next one.
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

    /// Takes the next command; `None` when none waits, and then the task is woken for the next one.
    pub(super) fn next(&mut self, cx: &mut Context<'_>) -> Option<C> {
        if let Some(command) = self.taken.pop_front() {
            return Some(command);
        }
        if self.taken.capacity() > KEPT {
            self.taken = VecDeque::new();
        }
        let mut state = self.shared.state();
        if state.commands.is_empty() {
            wake_later(&mut state.waker, cx);
            return None;
        }
        mem::swap(&mut state.commands, &mut self.taken);
        drop(state);
        self.taken.pop_front()
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
    use std::task::Waker;

    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn gives_commands_in_order_and_refuses_what_is_too_much() {
        let (sender, mut receiver) = mailbox(2);
        let cx = &mut Context::from_waker(Waker::noop());
        assert_eq!(receiver.next(cx), None);
        assert_eq!([sender.try_send(1), sender.try_send(2)], [Ok(()), Ok(())]);
        assert_eq!(sender.try_send(3), Err(Undelivered::Full));
        assert!(sender.send(4), "this kind is bounded elsewhere");
        assert_eq!(receiver.next(cx), Some(1));
        assert_eq!(sender.try_send(5), Ok(()));
        assert_eq!([receiver.next(cx), receiver.next(cx), receiver.next(cx)], [Some(2), Some(4), Some(5)]);
        assert_eq!(receiver.next(cx), None);
    }

    #[tokio::test]
    async fn wakes_the_task_that_waits() {
        let (sender, mut receiver) = mailbox(1);
        let waiting = tokio::spawn(std::future::poll_fn(move |cx| match receiver.next(cx) {
            Some(command) => std::task::Poll::Ready(command),
            None => std::task::Poll::Pending,
        }));
        tokio::task::yield_now().await;
        assert!(sender.send(7));
        assert_eq!(waiting.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn an_end_frees_whoever_waits_for_an_answer() {
        let (sender, receiver) = mailbox(1);
        let (reply, answer) = oneshot::channel::<()>();
        assert!(sender.send(reply));
        drop(receiver);
        assert!(answer.await.is_err());
        assert!(!sender.send(oneshot::channel().0));
        assert_eq!(sender.try_send(oneshot::channel().0), Err(Undelivered::Closed));
    }
}
