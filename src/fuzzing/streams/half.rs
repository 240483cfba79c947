//! One direction of an exchange, as both of its sides should see it.

use std::collections::VecDeque;
use std::sync::LazyLock;

use bytes::Bytes;

use crate::proto::exchange::stream::window::Receiving;
use crate::proto::exchange::stream::{EVENT_COST, MAX_CHUNK, Owed, Part};
use crate::proto::socket_io::AckId;

/// The length of what the content repeats: a prime.
const PERIOD: usize = 65_521;

static CONTENT: LazyLock<Bytes> = LazyLock::new(|| {
    let byte = |place: usize| u8::try_from((place * place / 7 + place) % 251).expect("less than 256");
    (0..PERIOD + MAX_CHUNK).map(|place| byte(place % PERIOD)).collect()
});

/// One direction: what its sender has and has sent, and what its receiver has.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// Where in the content the direction begins.
    seed: u64,
    /// The bytes or messages that wait to be sent.
    pub(super) waiting: usize,
    /// The events without a byte that are to be sent before these.
    pub(super) empty: usize,
    /// The direction ends behind what waits.
    pub(super) is_ending: bool,
    /// `end` or `close` was sent.
    pub(super) has_ended: bool,
    /// The window as the sender knows it.
    pub(super) known: usize,
    /// What the sender has sent and not seen acknowledged.
    pub(super) unacked: usize,
    /// How many bytes or messages were sent.
    sent: u64,
    /// The window that the receiver has allowed.
    pub(super) allowed: usize,
    /// What the receiver has and has not acknowledged.
    held: usize,
    /// How many bytes or messages were received.
    received: u64,
    /// `end` or `close` was received.
    pub(super) is_complete: bool,
    /// What was received and not handed on.
    pub(super) owed: VecDeque<Owed>,
}

impl Half {
    pub(super) fn new(seed: u64, window: usize) -> Self {
        Self { seed, known: window, allowed: window, ..Self::default() }
    }

    fn content(&self, place: u64, length: usize) -> Bytes {
        let start =
            usize::try_from((self.seed.wrapping_mul(77) + place) % PERIOD as u64).expect("less than the period");
        CONTENT.slice(start..start + length)
    }

    /// Drops what waits beyond this, so that the rest is soon sent.
    pub(super) fn shorten(&mut self, most: usize) {
        self.waiting = self.waiting.min(most);
        self.empty = self.empty.min(8);
    }

    /// Whether the sender has something to send.
    pub(super) fn has_something(&self) -> bool {
        self.waiting > 0 || self.empty > 0 || (self.is_ending && !self.has_ended)
    }

    /// Takes the bytes of the next event out of what waits, or of the next message. `most` is what may be unacknowledged.
    pub(super) fn send(&mut self, room: usize, is_messages: bool, most: usize) -> Bytes {
        let is_empty = self.empty > 0;
        let (bytes, step) = match (is_empty, is_messages) {
            (true, _) => (self.content(self.sent, 0), usize::from(is_messages)),
            (false, true) => (self.content(self.sent, room.min(MAX_CHUNK) / 2 + 1), 1),
            (false, false) => (self.content(self.sent, room.min(self.waiting)), room.min(self.waiting)),
        };
        if is_empty {
            self.empty -= 1;
        } else {
            self.waiting -= step;
        }
        let unacked = self.unacked + bytes.len() + EVENT_COST;
        assert!(bytes.len() <= room, "{} bytes in a room of {room}", bytes.len());
        assert!(self.unacked == 0 || unacked <= most.min(self.known), "{unacked} of {} and {most}", self.known);
        self.unacked = unacked;
        self.sent += step as u64;
        bytes
    }

    /// Returns how many bytes or messages were sent.
    pub(super) fn total(&self) -> u64 {
        self.sent
    }

    /// The sender sees an ack.
    pub(super) fn acked(&mut self, cost: usize, window: Option<usize>) {
        self.unacked -= cost;
        self.known = self.known.max(window.unwrap_or_default());
    }

    /// The receiver gets bytes of a body.
    pub(super) fn take(&mut self, bytes: &[u8], owed: Owed, chunk: usize) {
        assert!(self.content(self.received, bytes.len()) == bytes, "the bytes are those of their place");
        self.received += bytes.len() as u64;
        self.hold(owed, bytes.len(), chunk);
    }

    /// The receiver gets a message.
    pub(super) fn take_message(&mut self, part: &Part, owed: Owed, chunk: usize) {
        let Part::Binary(bytes) = part else { panic!("all messages are binary") };
        assert!(self.content(self.received, bytes.len()) == bytes, "the message is that of its number");
        self.received += 1;
        self.hold(owed, bytes.len(), chunk);
    }

    fn hold(&mut self, owed: Owed, bytes: usize, chunk: usize) {
        assert!(!self.is_complete, "nothing comes behind the end");
        assert_eq!(owed.cost, bytes + EVENT_COST);
        self.held += owed.cost;
        let reserved = Receiving::reserve(self.allowed, chunk);
        assert!(self.held <= reserved, "{} held of {reserved} reserved", self.held);
        self.owed.push_back(owed);
    }

    /// The receiver hands on what it got first.
    pub(super) fn hand_on(&mut self) -> Option<Owed> {
        let owed = self.owed.pop_front()?;
        self.held -= owed.cost;
        Some(owed)
    }

    /// The receiver gets the end.
    pub(super) fn complete(&mut self) {
        assert!(!self.is_complete, "a direction ends once");
        assert_eq!(self.received, self.sent, "all of it has come");
        self.is_complete = true;
    }

    /// Whether the event that came last is this one, and is not acknowledged.
    pub(super) fn owes_last(&self, ack: Option<AckId>) -> bool {
        ack.is_some() && self.owed.back().map(|owed| owed.ack) == ack
    }
}
