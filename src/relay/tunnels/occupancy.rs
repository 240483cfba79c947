//! The ends of one tunnel, or the visitors that wait for one.

use std::mem;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::end::{End, Seat};
use crate::defaults;
use crate::engine::Host;
use crate::net::budget::Budget;
use crate::store::Ends;

/// Which ends a tunnel has.
///
/// ```text
///                 an end joins                  the token expires, or its owner deletes the tunnel
///   Vacant ◄──────────────────────► Occupied ──────────────────────────────────────────────────────► Over
///      │       the last one leaves                                                                    ▲
///      └──────────────────────────────────────────────────────────────────────────────────────────────┘
/// ```
#[derive(Debug)]
pub(super) enum Occupancy<H: Host> {
    /// No end is connected.
    Vacant {
        /// When the last end left, or the server started, if an end had joined before that. `None` if there was no end.
        since: Option<Instant>,
        /// Visitors that wait for an end.
        queue: Option<Arc<Queue>>,
    },
    /// These ends are connected: one at least, the newest last.
    Occupied(Vec<Arc<End<H>>>),
    /// The tunnel has ended.
    Over,
}

/// Visitors of a tunnel that wait for an end.
#[derive(Debug)]
pub(in crate::relay) struct Queue {
    /// Cancelled when the wait is over: an end has joined, or none can any more.
    pub(in crate::relay) over: CancellationToken,
    /// The places in it.
    pub(in crate::relay) places: Arc<Budget>,
}

/// When a visitor can reach an end of a tunnel.
#[derive(Debug)]
pub(in crate::relay) enum Prospect {
    /// An end is connected.
    Now,
    /// An end is expected: wait in this queue.
    Later(Arc<Queue>),
    /// No end is expected.
    Never,
}

/// What a change of a tunnel's ends has brought about.
#[derive(Debug)]
pub(super) struct Turnover<H: Host> {
    /// The ends that are not the tunnel's any more.
    pub(super) left: Vec<Arc<End<H>>>,
    /// The tunnel had no end before the change.
    pub(super) was_vacant: bool,
    /// The tunnel has no end after it.
    pub(super) is_vacant: bool,
}

impl<H: Host> Occupancy<H> {
    /// Returns the ends, the newest last.
    pub(super) fn ends(&self) -> &[Arc<End<H>>] {
        match self {
            Self::Occupied(ends) => ends,
            Self::Vacant { .. } | Self::Over => &[],
        }
    }

    /// Chooses the end for an exchange. `turn` is another number for each: of ends that have as much to do, each has its turn.
    pub(super) fn choose(&self, which: Ends, turn: u64) -> Option<Seat<H>> {
        let ends = self.ends();
        let newest = ends.last()?;
        let chosen = match which {
            Ends::Spread if ends.len() > 1 => {
                let first = usize::try_from(turn % ends.len() as u64).unwrap_or_default();
                let (before, from) = ends.split_at(first);
                from.iter().chain(before).min_by_key(|end| end.in_flight()).unwrap_or(newest)
            }
            Ends::Spread | Ends::Newest => newest,
        };
        Some(Seat::take(chosen))
    }

    /// Adds an end. Of more than `most`, the oldest leave.
    pub(super) fn join(&mut self, end: Arc<End<H>>, most: usize) -> Turnover<H> {
        let was_vacant = self.ends().is_empty();
        match self {
            Self::Occupied(ends) => ends.push(end),
            Self::Vacant { .. } | Self::Over => {
                if let Self::Vacant { queue: Some(queue), .. } = mem::replace(self, Self::Occupied(vec![end])) {
                    queue.over.cancel();
                }
            }
        }
        Turnover { was_vacant, ..self.keep_newest(most) }
    }

    /// Lets the oldest ends leave, so that `most` are left.
    pub(super) fn keep_newest(&mut self, most: usize) -> Turnover<H> {
        let surplus = self.ends().len().saturating_sub(most.max(1));
        let mut index = 0;
        self.take(|_| {
            index += 1;
            index <= surplus
        })
    }

    /// Takes out the ends for which `leaves` returns true.
    pub(super) fn take(&mut self, mut leaves: impl FnMut(&End<H>) -> bool) -> Turnover<H> {
        let Self::Occupied(ends) = self else {
            return Turnover { left: Vec::new(), was_vacant: true, is_vacant: true };
        };
        let left: Vec<_> = ends.extract_if(.., |end| leaves(end)).collect();
        let is_vacant = ends.is_empty();
        if is_vacant {
            *self = Self::Vacant { since: Some(Instant::now()), queue: None };
        }
        Turnover { left, was_vacant: false, is_vacant }
    }

    /// Ends the tunnel.
    pub(super) fn end(&mut self) -> Turnover<H> {
        let turnover = self.take(|_| true);
        if let Self::Vacant { queue: Some(queue), .. } = mem::replace(self, Self::Over) {
            queue.over.cancel();
        }
        turnover
    }

    /// An end is expected back from now on, unless one is connected.
    pub(super) fn expect_back(&mut self) {
        if let Self::Vacant { since, .. } = self {
            *since = Some(Instant::now());
        }
    }

    /// Tells whether a visitor has to wait. An end that has left is expected back for [`defaults::RETURN_TIME`]. `places` makes
    /// the places of a new queue.
    pub(super) fn prospect(&mut self, places: impl FnOnce() -> Arc<Budget>) -> Prospect {
        match self {
            Self::Occupied(_) => Prospect::Now,
            Self::Vacant { since: Some(since), queue } if since.elapsed() < defaults::RETURN_TIME => {
                let new = || Arc::new(Queue { over: CancellationToken::new(), places: places() });
                Prospect::Later(Arc::clone(queue.get_or_insert_with(new)))
            }
            Self::Vacant { .. } | Self::Over => Prospect::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::TunnelHost;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_end_that_has_left_is_expected_back_for_a_minute() {
        let left = |since| Occupancy::<TunnelHost>::Vacant { since, queue: None };
        let prospect = |occupancy: &mut Occupancy<_>| occupancy.prospect(|| Budget::new(9));
        assert!(matches!(prospect(&mut left(None)), Prospect::Never));
        let mut occupancy = left(Some(Instant::now()));
        let Prospect::Later(first) = prospect(&mut occupancy) else { panic!("nobody waits") };
        tokio::time::sleep(Duration::from_secs(59)).await;
        let Prospect::Later(second) = prospect(&mut occupancy) else { panic!("nobody waits any more") };
        assert!(Arc::ptr_eq(&first, &second), "all wait in one queue");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(matches!(prospect(&mut occupancy), Prospect::Never));
        assert!(!first.over.is_cancelled(), "those that wait go on waiting");
    }
}
