//! The states of a session: which transport it is on, whether a poll waits, what it owes after its end.

use std::mem;

use super::output::UpgradeTicket;
use crate::proto::engine_io::close_reason::CloseReason;
use crate::proto::engine_io::transport::BinaryAs;
use crate::proto::time::{Instant, earliest};

/// Where a session is between its beginning and its end.
#[derive(Debug)]
pub(super) enum State<P> {
    /// On long-polling.
    Polling(Slot<P>),
    /// On long-polling, with a candidate WebSocket that wants to take over.
    Probing(Probing<P>),
    /// On a WebSocket.
    WebSocket,
    /// Ended.
    Closed { reason: CloseReason, tail: Tail },
}

/// The place of the poll that waits.
#[derive(Debug)]
pub(super) enum Slot<P> {
    Empty,
    /// A poll waits for packets, or for `release_at`, when it is answered without.
    Parked {
        to: P,
        release_at: Option<Instant>,
    },
}

/// An upgrade that has begun.
#[derive(Debug)]
pub(super) struct Probing<P> {
    pub(super) slot: Slot<P>,
    pub(super) ticket: UpgradeTicket,
    pub(super) stage: Stage,
    /// When the candidate is given up.
    pub(super) until: Instant,
    /// How binary messages travel on the candidate, should it be adopted.
    pub(super) binary: BinaryAs,
}

/// How far an upgrade is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The candidate has said nothing: long-polling goes on as if it were not there.
    Waiting,
    /// `2probe` was answered: polls are released, and `5` comes next.
    Probed,
}

/// What a closed session still owes its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    Nothing,
    /// The outbox to the next poll, if that comes in time.
    Poll {
        until: Instant,
    },
    /// The outbox to the WebSocket.
    WebSocket,
}

impl<P> State<P> {
    /// Returns why the session ended, once it has.
    pub(super) fn close_reason(&self) -> Option<CloseReason> {
        match self {
            Self::Closed { reason, .. } => Some(*reason),
            Self::Polling(_) | Self::Probing(_) | Self::WebSocket => None,
        }
    }

    /// Returns the place of the poll that waits, if the session is on long-polling.
    fn slot(&mut self) -> Option<&mut Slot<P>> {
        match self {
            Self::Polling(slot) | Self::Probing(Probing { slot, .. }) => Some(slot),
            Self::WebSocket | Self::Closed { .. } => None,
        }
    }

    /// Returns the poll that waits.
    pub(super) fn parked(&mut self) -> Option<&mut P> {
        match self.slot()? {
            Slot::Parked { to, .. } => Some(to),
            Slot::Empty => None,
        }
    }

    /// Takes the poll that waits.
    pub(super) fn take_parked(&mut self) -> Option<P> {
        match mem::replace(self.slot()?, Slot::Empty) {
            Slot::Parked { to, .. } => Some(to),
            Slot::Empty => None,
        }
    }

    /// Begins an upgrade on long-polling; false when this is no time for one.
    pub(super) fn probe(&mut self, ticket: UpgradeTicket, binary: BinaryAs, until: Instant) -> bool {
        let Self::Polling(slot) = self else { return false };
        let slot = mem::replace(slot, Slot::Empty);
        *self = Self::Probing(Probing { slot, ticket, stage: Stage::Waiting, until, binary });
        true
    }

    /// Gives up the upgrade that has begun, and returns its ticket. Polling goes on.
    pub(super) fn leave_probing(&mut self) -> Option<UpgradeTicket> {
        let Self::Probing(Probing { slot, ticket, .. }) = self else { return None };
        let ticket = *ticket;
        let slot = match mem::replace(slot, Slot::Empty) {
            Slot::Parked { to, .. } => Slot::Parked { to, release_at: None },
            Slot::Empty => Slot::Empty,
        };
        *self = Self::Polling(slot);
        Some(ticket)
    }

    /// Returns when something of this state is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Probing(Probing { slot: Slot::Parked { release_at, .. }, until, .. }) => {
                earliest(Some(*until), *release_at)
            }
            Self::Probing(Probing { slot: Slot::Empty, until, .. }) => Some(*until),
            Self::Closed { tail: Tail::Poll { until }, .. } => Some(*until),
            Self::Polling(_) | Self::WebSocket | Self::Closed { tail: Tail::Nothing | Tail::WebSocket, .. } => None,
        }
    }
}
