//! Whose turn it is to send.

use std::collections::VecDeque;

use crate::proto::exchange::ExchangeId;
use crate::tables;

/// Whose turn it is to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The exchange.
    pub id: ExchangeId,
    /// How many bytes its next event may have.
    pub room: usize,
}

/// Where an exchange waits to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It has nothing to send.
    Idle,
    /// Among the turns.
    Turns,
    /// It waits for acks of its own, for `pull`, or for the head.
    Blocked,
}

/// The exchanges that have something to send and may, as far as is known, in the order in which they wait. Each is there once,
/// while its place is [`Place::Turns`].
#[derive(Debug, Default)]
pub(super) struct Turns(VecDeque<ExchangeId>);

impl Turns {
    /// Puts an exchange behind the others, if its place is `from`.
    pub(super) fn enter(&mut self, id: ExchangeId, place: &mut Place, from: Place) {
        if *place == from {
            *place = Place::Turns;
            self.0.push_back(id);
        }
    }

    /// Takes the exchange that has waited longest. Its place is for the caller to change.
    pub(super) fn next(&mut self) -> Option<ExchangeId> {
        tables::take_first(&mut self.0)
    }

    /// Removes an exchange that has nothing more to send.
    pub(super) fn leave(&mut self, id: ExchangeId, place: &mut Place) {
        if std::mem::replace(place, Place::Idle) == Place::Turns {
            self.0.retain(|other| *other != id);
        }
    }
}
