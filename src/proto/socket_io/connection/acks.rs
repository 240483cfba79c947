//! The acks that are awaited in one namespace.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::event::AckError;
use crate::proto::socket_io::packet::AckId;
use crate::proto::time::Instant;

/// What waits for the ack of an event, and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited<W> {
    /// What is told the outcome, in [`Event::Acked`](super::Event::Acked).
    pub waiter: W,
    /// The time after which the outcome is [`AckError::TimedOut`](super::AckError::TimedOut), counted from the emit.
    pub timeout: Duration,
}

/// The acks that are awaited, by id and by the time they are due.
#[derive(Debug)]
pub(super) struct Acks<W> {
    pending: BTreeMap<AckId, Pending<W>>,
    /// An entry for each of `pending`. Events may have any ids and timeouts, so neither map tells the order of the
    /// other.
    by_due: BTreeSet<(Instant, AckId)>,
}

#[derive(Debug)]
struct Pending<W> {
    waiter: W,
    due: Instant,
}

impl<W> Default for Acks<W> {
    fn default() -> Self {
        Self { pending: BTreeMap::new(), by_due: BTreeSet::new() }
    }
}

impl<W> Acks<W> {
    /// Whether no ack is awaited.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether the ack of this id is awaited.
    pub(super) fn contains(&self, id: AckId) -> bool {
        self.pending.contains_key(&id)
    }

    /// Awaits the ack of this id.
    ///
    /// # Errors
    /// With the waiter, when the ack of this id is awaited already.
    pub(super) fn insert(&mut self, id: AckId, awaited: Awaited<W>, now: Instant) -> Result<(), W> {
        let Awaited { waiter, timeout } = awaited;
        let due = now + timeout;
        match self.pending.entry(id) {
            Entry::Occupied(_) => Err(waiter),
            Entry::Vacant(entry) => {
                entry.insert(Pending { waiter, due });
                self.by_due.insert((due, id));
                Ok(())
            }
        }
    }

    /// Awaits the ack of an event that is about to be sent with this id, if its ack is `awaited`.
    ///
    /// # Errors
    /// With the waiter, and why the event must not be sent.
    pub(super) fn expect(
        &mut self,
        id: Option<AckId>,
        awaited: Option<Awaited<W>>,
        now: Instant,
    ) -> Result<(), (Option<W>, AckError)> {
        match (awaited, id) {
            (Some(awaited), Some(id)) => {
                self.insert(id, awaited, now).map_err(|waiter| (Some(waiter), AckError::DuplicateId))
            }
            (Some(awaited), None) => Err((Some(awaited.waiter), AckError::MissingId)),
            // The one ack that comes would be taken for that of the other event.
            (None, Some(id)) if self.contains(id) => Err((None, AckError::DuplicateId)),
            (None, Some(_) | None) => Ok(()),
        }
    }

    /// Stops awaiting the ack of this id, and returns its waiter.
    pub(super) fn remove(&mut self, id: AckId) -> Option<W> {
        let Pending { waiter, due } = self.pending.remove(&id)?;
        self.by_due.remove(&(due, id));
        Some(waiter)
    }

    /// Returns when the first ack is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.by_due.first().map(|&(due, _)| due)
    }

    /// Stops awaiting an ack that is due by `now`, and returns its waiter.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<W> {
        let &(due, id) = self.by_due.first()?;
        if due > now {
            return None;
        }
        self.remove(id)
    }

    /// Returns the waiters of all acks, in the order of ids.
    pub(super) fn into_waiters(self) -> impl Iterator<Item = W> {
        self.pending.into_values().map(|pending| pending.waiter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> AckId {
        AckId::new(number).unwrap()
    }

    fn awaited(waiter: &'static str, milliseconds: u64) -> Awaited<&'static str> {
        Awaited { waiter, timeout: Duration::from_millis(milliseconds) }
    }

    fn at(milliseconds: u64) -> Instant {
        Instant::after_origin(Duration::from_millis(milliseconds))
    }

    #[test]
    fn acks_are_due_by_time_whatever_their_ids() {
        let mut acks = Acks::default();
        for (number, waiter, timeout) in [(5, "five", 30), (3, "three", 10), (9, "nine", 20), (1, "one", 20)] {
            assert_eq!(acks.insert(id(number), awaited(waiter, timeout), Instant::ORIGIN), Ok(()));
        }
        assert_eq!((acks.next_due(), acks.take_due(at(9))), (Some(at(10)), None));
        assert_eq!(acks.take_due(at(10)), Some("three"));
        assert_eq!(acks.remove(id(9)), Some("nine"));
        assert_eq!(acks.next_due(), Some(at(20)));
        assert_eq!(
            [acks.take_due(at(99)), acks.take_due(at(99)), acks.take_due(at(99))],
            [Some("one"), Some("five"), None]
        );
        assert!(acks.is_empty() && acks.next_due().is_none());
    }

    #[test]
    fn an_id_that_is_awaited_is_refused_and_free_afterwards() {
        let mut acks = Acks::default();
        assert_eq!(acks.insert(id(9), awaited("first", 10), Instant::ORIGIN), Ok(()));
        assert_eq!(acks.insert(id(9), awaited("second", 5), Instant::ORIGIN), Err("second"));
        assert_eq!((acks.next_due(), acks.remove(id(9)), acks.remove(id(9))), (Some(at(10)), Some("first"), None));
        assert_eq!(acks.insert(id(9), awaited("third", 5), Instant::ORIGIN), Ok(()));
        assert_eq!(acks.into_waiters().collect::<Vec<_>>(), ["third"]);
    }
}
