//! How much of one direction of an exchange may be sent and not acknowledged (PROTOCOL.md, "Windows").
//!
//! ```text
//! Sending   sent ──► unacked ──► acked          a sender has at most its window unacked, or one event
//! Receiving received ──► handed on = acked      a receiver keeps at most its window, or one event
//! ```
//!
//! A receiver counts what it has not acknowledged yet. That is never more than what its sender counts, so a sender that keeps to
//! the window exceeds it nowhere.

use super::abort::AbortCode;
use super::{EVENT_COST, FIRST_WINDOW, MAX_WINDOW};

/// What one direction may be sent, at the side that sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// What the receiver takes unacknowledged.
    window: usize,
    /// What is used of that: it grows with what is acknowledged, so that a path that takes little holds little.
    used: usize,
    chunk: usize,
    /// One event at a time.
    is_serial: bool,
    /// The cost of all events that are not acknowledged.
    unacked: usize,
    /// What was acknowledged since `used` grew.
    acked: usize,
    position: u64,
}

impl Sending {
    /// Begins a direction whose receiver takes `window` bytes unacknowledged and events of `chunk` bytes.
    #[must_use]
    pub fn new(window: usize, chunk: usize, is_serial: bool) -> Self {
        Self { window, used: window.min(FIRST_WINDOW), chunk, is_serial, unacked: 0, acked: 0, position: 0 }
    }

    /// Returns the cost of all events that are not acknowledged, in bytes.
    #[must_use]
    pub fn unacked(&self) -> usize {
        self.unacked
    }

    /// Returns how many bytes, or parts of messages, were sent.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns how many bytes the next event may have, while no more than `most` may be unacknowledged, whatever the window is.
    /// While nothing is unacknowledged an event may always be sent: otherwise a window smaller than an event would stop all.
    #[must_use]
    pub fn room(&self, most: usize) -> usize {
        if self.unacked == 0 {
            return self.chunk;
        }
        if self.is_serial {
            return 0;
        }
        self.used.min(most).saturating_sub(self.unacked + EVENT_COST).min(self.chunk)
    }

    /// Notes an event of this many bytes, which moves the position on by `step`. Returns the position in front of it.
    pub fn sent(&mut self, bytes: usize, step: u64) -> u64 {
        self.unacked += bytes + EVENT_COST;
        let before = self.position;
        self.position = before.saturating_add(step);
        before
    }

    /// Notes that an event of this cost is acknowledged, perhaps with another window. A window never shrinks.
    pub fn acked(&mut self, cost: usize, window: Option<u64>) {
        self.unacked = self.unacked.saturating_sub(cost);
        if let Some(window) = window {
            let window = usize::try_from(window).unwrap_or(usize::MAX).clamp(self.chunk, MAX_WINDOW);
            self.window = self.window.max(window);
        }
        self.acked += cost;
        if self.acked >= self.used {
            self.acked = 0;
            self.used = (2 * self.used).min(self.window);
        }
    }
}

/// How a sender breaks the rules of its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    /// More is unacknowledged than the window allows.
    Window,
    /// The event has more bytes than agreed.
    Chunk,
    /// Something before the event is missing, or has come already.
    Order,
}

impl From<Breach> for AbortCode {
    fn from(breach: Breach) -> Self {
        match breach {
            Breach::Window => Self::WindowExceeded,
            Breach::Chunk => Self::ChunkTooLarge,
            Breach::Order => Self::OutOfOrder,
        }
    }
}

/// What one direction may be sent, at the side that receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiving {
    window: usize,
    chunk: usize,
    /// The cost of all events that were received and not acknowledged.
    unacked: usize,
    position: u64,
    /// What was handed on since the window was last looked at.
    handed_on: usize,
    /// Whoever takes what is handed on had to wait for it since then.
    has_starved: bool,
}

impl Receiving {
    /// Begins a direction that takes `window` bytes unacknowledged and events of `chunk` bytes.
    #[must_use]
    pub fn new(window: usize, chunk: usize) -> Self {
        Self { window, chunk, unacked: 0, position: 0, handed_on: 0, has_starved: false }
    }

    /// Returns the memory that a window takes, in bytes: one event is always allowed.
    #[must_use]
    pub fn reserve(window: usize, chunk: usize) -> usize {
        window.max(chunk + EVENT_COST)
    }

    /// Returns the window, in bytes.
    #[must_use]
    pub fn window(&self) -> usize {
        self.window
    }

    /// Returns how many bytes, or parts of messages, were received.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns the cost of all events that were received and not acknowledged, in bytes.
    #[must_use]
    pub fn unacked(&self) -> usize {
        self.unacked
    }

    /// Takes an event of this many bytes, which says that it stands at `position` and moves that on by `step`. Returns its cost.
    ///
    /// # Errors
    /// With the rule that it breaks. Nothing is counted then.
    pub fn receive(&mut self, bytes: usize, position: u64, step: u64) -> Result<usize, Breach> {
        if bytes > self.chunk {
            return Err(Breach::Chunk);
        }
        if position != self.position {
            return Err(Breach::Order);
        }
        let cost = bytes + EVENT_COST;
        if self.unacked != 0 && self.unacked + cost > self.window {
            return Err(Breach::Window);
        }
        self.unacked += cost;
        self.position = position.checked_add(step).ok_or(Breach::Order)?;
        Ok(cost)
    }

    /// Notes that an event of this cost was handed on, and is about to be acknowledged. `has_starved` tells whether its taker had
    /// to wait for it. Returns the window that would keep the taker busy, where this one was used up while it starved.
    pub fn handed_on(&mut self, cost: usize, has_starved: bool) -> Option<usize> {
        self.unacked = self.unacked.saturating_sub(cost);
        self.handed_on += cost;
        self.has_starved |= has_starved;
        if self.handed_on < self.window {
            return None;
        }
        self.handed_on = 0;
        let is_worth_it = std::mem::take(&mut self.has_starved) && self.window < MAX_WINDOW;
        // A window smaller than an event lets one pass, and so counts as that large.
        is_worth_it.then(|| (2 * Self::reserve(self.window, self.chunk)).min(MAX_WINDOW))
    }

    /// Allows more to be unacknowledged from now on. The acknowledgement that is sent next tells it.
    pub fn raise(&mut self, window: usize) {
        self.window = self.window.max(window);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_back_what_is_beyond_it() {
        let mut sending = Sending::new(1000, 400, false);
        assert_eq!(sending.room(usize::MAX), 400);
        assert_eq!((sending.sent(400, 400), sending.room(usize::MAX)), (0, 1000 - 656 - 256));
        assert_eq!((sending.sent(88, 88), sending.room(usize::MAX)), (400, 0));
        sending.acked(656, None);
        assert_eq!((sending.unacked(), sending.room(usize::MAX), sending.room(700)), (344, 400, 100));
    }

    #[test]
    fn one_event_is_always_allowed() {
        for window in [0, 1, 300] {
            let mut sending = Sending::new(window, 400, false);
            assert_eq!(sending.room(0), 400, "{window}");
            sending.sent(400, 400);
            assert_eq!(sending.room(usize::MAX), 0, "{window}");
            let mut receiving = Receiving::new(window, 400);
            assert_eq!(receiving.receive(400, 0, 400), Ok(656));
            assert_eq!(receiving.receive(0, 400, 0), Err(Breach::Window), "{window}");
        }
    }

    #[test]
    fn a_serial_receiver_gets_one_event_at_a_time() {
        let mut sending = Sending::new(1 << 20, 400, true);
        sending.sent(1, 1);
        assert_eq!(sending.room(usize::MAX), 0);
        sending.acked(257, None);
        assert_eq!(sending.room(usize::MAX), 400);
    }

    #[test]
    fn a_window_is_raised_by_acks_and_used_as_far_as_the_path_takes_it() {
        let mut sending = Sending::new(FIRST_WINDOW, 1000, false);
        let fill = |sending: &mut Sending| {
            while sending.room(usize::MAX) == 1000 {
                sending.sent(1000, 1000);
            }
        };
        fill(&mut sending);
        let before = sending.unacked();
        // Numbers out of range are the nearest in it; a smaller one changes nothing.
        sending.acked(1256, Some(u64::MAX));
        sending.acked(1256, Some(0));
        fill(&mut sending);
        assert_eq!(sending.unacked(), before, "it grows once a window's worth was acknowledged");
        for _ in 0..before / 1256 {
            sending.acked(1256, None);
        }
        fill(&mut sending);
        assert!(sending.unacked() > 2 * before - 2000, "{} of {before}", sending.unacked());
    }

    #[test]
    fn a_receiver_takes_what_its_window_allows_in_order() {
        let mut receiving = Receiving::new(1000, 400);
        assert_eq!(receiving.receive(401, 0, 401), Err(Breach::Chunk));
        assert_eq!(receiving.receive(400, 1, 400), Err(Breach::Order));
        assert_eq!(receiving.receive(400, 0, 400), Ok(656));
        assert_eq!(receiving.receive(400, 0, 400), Err(Breach::Order));
        assert_eq!(receiving.receive(89, 400, 89), Err(Breach::Window));
        assert_eq!(receiving.receive(88, 400, 88), Ok(344));
        assert_eq!(receiving.handed_on(656, false), None);
        assert_eq!((receiving.receive(400, 488, 400), receiving.position()), (Ok(656), 888));
    }

    #[test]
    fn a_window_is_worth_raising_when_its_taker_starves() {
        let through = |has_starved| {
            let mut receiving = Receiving::new(1000, 400);
            let mut raised = Vec::new();
            for number in 0..6 {
                receiving.receive(0, number, 1).unwrap();
                raised.extend(receiving.handed_on(256, has_starved && number == 1));
            }
            raised
        };
        assert_eq!(through(true), [2000]);
        assert!(through(false).is_empty());
        let mut receiving = Receiving::new(0, 400);
        receiving.receive(0, 0, 0).unwrap();
        assert_eq!(receiving.handed_on(256, true), Some(1312), "it lets an event pass, so that two are more");
        assert_eq!(Receiving::reserve(1000, 400), 1000);
        assert_eq!(Receiving::reserve(0, 400), 656);
    }

    #[test]
    fn a_position_does_not_overflow() {
        let mut receiving = Receiving::new(1000, 400);
        receiving.position = u64::MAX;
        assert_eq!(receiving.receive(1, u64::MAX, 1), Err(Breach::Order));
    }
}
