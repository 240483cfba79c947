//! What waits to be drawn, so that a terminal that takes nothing, as after Ctrl-S, holds nobody up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use super::state::Input;
use crate::client::report::Report;

/// Lines and keys that wait to be drawn; more of them are dropped, and counted.
const MAX_WAITING: usize = 1024;

/// What the thread is told.
pub(super) enum Told {
    /// Something has happened.
    Input(Input),
    /// The numbers of requests, the window or the foreground has changed.
    Changed,
    /// Ctrl-Z was pressed.
    #[cfg(unix)]
    Suspend,
    /// The process goes on after it was stopped.
    #[cfg(unix)]
    Resume,
    /// Everything is said.
    End,
}

/// Tells the thread what to draw. Nothing here waits.
#[derive(Clone)]
pub(super) struct Queue {
    told: Sender<Told>,
    waiting: Arc<Waiting>,
}

#[derive(Default)]
struct Waiting {
    droppable: AtomicUsize,
    dropped: AtomicUsize,
    has_changed: AtomicBool,
}

impl Queue {
    /// Tells of something. Returns false if nobody listens any more. Requests, warnings and keys are dropped where too many wait:
    /// others choose how many there are.
    pub(super) fn tell(&self, input: Input) -> bool {
        if is_droppable(&input) && self.waiting.droppable.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            self.waiting.droppable.fetch_sub(1, Ordering::Relaxed);
            self.waiting.dropped.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        self.told.send(Told::Input(input)).is_ok()
    }

    /// Asks for another look at the numbers of requests, the window and the foreground.
    pub(super) fn changed(&self) -> bool {
        self.waiting.has_changed.swap(true, Ordering::Relaxed) || self.told.send(Told::Changed).is_ok()
    }

    /// Tells that Ctrl-Z was pressed.
    #[cfg(unix)]
    pub(super) fn suspend(&self) -> bool {
        self.told.send(Told::Suspend).is_ok()
    }

    /// Tells that the process goes on after it was stopped.
    #[cfg(unix)]
    pub(super) fn resume(&self) -> bool {
        self.told.send(Told::Resume).is_ok()
    }

    /// Tells that everything is said.
    pub(super) fn end(&self) {
        let _ = self.told.send(Told::End);
    }
}

fn is_droppable(input: &Input) -> bool {
    match input {
        Input::Report(Report::Request(_) | Report::Warning(_)) | Input::Key(_) | Input::Note(_) | Input::Wrong(_) => {
            true
        }
        Input::Report(
            Report::Reused { .. }
            | Report::Ready { .. }
            | Report::Reconnecting { .. }
            | Report::Reconnected
            | Report::Closing { .. }
            | Report::Failed(_),
        )
        | Input::Stopping => false,
    }
}

/// Returns a queue, and what its thread needs of it.
pub(super) fn queue() -> (Queue, Waited) {
    let (told, waits) = mpsc::channel();
    let queue = Queue { told, waiting: Arc::default() };
    (queue.clone(), Waited { waits, queue })
}

/// The other side of a queue.
pub(super) struct Waited {
    waits: Receiver<Told>,
    queue: Queue,
}

impl Waited {
    /// Waits for the next that is told, no longer than `most`. Returns `None` when that time is over.
    pub(super) fn wait(&self, most: Option<Duration>) -> Option<Told> {
        let told = match most {
            Some(most) => self.waits.recv_timeout(most),
            None => self.waits.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match told {
            Ok(told) => Some(self.taken(told)),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Told::End),
        }
    }

    /// Returns the next that was told, if there is something.
    pub(super) fn next(&self) -> Option<Told> {
        self.waits.try_recv().ok().map(|told| self.taken(told))
    }

    fn taken(&self, told: Told) -> Told {
        match &told {
            Told::Input(input) if is_droppable(input) => {
                self.queue.waiting.droppable.fetch_sub(1, Ordering::Relaxed);
            }
            Told::Changed => self.queue.waiting.has_changed.store(false, Ordering::Relaxed),
            Told::Input(_) | Told::End => (),
            #[cfg(unix)]
            Told::Suspend | Told::Resume => (),
        }
        told
    }

    /// Returns how many lines and keys were dropped since the last time.
    pub(super) fn dropped(&self) -> usize {
        self.queue.waiting.dropped.swap(0, Ordering::Relaxed)
    }

    /// Returns the queue.
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_nobody_takes_are_dropped_and_counted() {
        let (queue, waited) = queue();
        for _ in 0..MAX_WAITING + 3 {
            assert!(queue.tell(Input::Note(String::new())));
        }
        assert!(queue.tell(Input::Stopping));
        assert_eq!(waited.dropped(), 3);
        let mut taken = 0;
        while let Some(Told::Input(Input::Note(_))) = waited.next() {
            taken += 1;
        }
        assert_eq!((taken, waited.dropped()), (MAX_WAITING, 0));
        assert!(queue.tell(Input::Note(String::new())));
        assert_eq!(waited.dropped(), 0);
    }

    #[test]
    fn changes_that_wait_are_one() {
        let (queue, waited) = queue();
        for _ in 0..3 {
            assert!(queue.changed());
        }
        assert!(matches!(waited.wait(None), Some(Told::Changed)));
        assert!(waited.next().is_none());
        queue.changed();
        assert!(matches!(waited.next(), Some(Told::Changed)));
        queue.end();
        assert!(matches!(waited.wait(Some(Duration::from_secs(60))), Some(Told::End)));
        assert!(waited.wait(Some(Duration::ZERO)).is_none());
    }
}
