//! Whether the server is still there.

use std::time::Duration;

use crate::proto::engine_io::handshake::Handshake;
use crate::proto::engine_io::revision::Revision;
use crate::proto::time::Instant;

/// What a client knows of its server's life. In revision 4 the server pings, in revision 3 the client. Whatever the server says is
/// a sign of life.
#[derive(Debug, Clone, Copy)]
pub(super) struct Liveness {
    interval: Duration,
    timeout: Duration,
    next: Next,
}

#[derive(Debug, Clone, Copy)]
enum Next {
    /// Revision 4: something is heard by then, or the server is gone.
    Death(Instant),
    /// Revision 3: a ping is sent then.
    Ping(Instant),
    /// Revision 3: a ping was sent, and something is heard by then, or the server is gone.
    Pong(Instant),
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// A ping.
    Ping,
    /// The end of the session: the server has been silent for too long.
    Death,
}

impl Liveness {
    /// Starts with a session that opens now.
    pub(super) fn start(revision: Revision, handshake: &Handshake, now: Instant) -> Self {
        let (interval, timeout) = (handshake.ping_interval, handshake.ping_timeout);
        let next = match revision {
            Revision::V3 => Next::Ping(now + interval),
            Revision::V4 => Next::Death(now + interval + timeout),
        };
        Self { interval, timeout, next }
    }

    /// Returns when [`Self::due`] must be asked at the latest.
    pub(super) fn deadline(&self) -> Instant {
        match self.next {
            Next::Death(at) | Next::Ping(at) | Next::Pong(at) => at,
        }
    }

    /// Notes that the server said something.
    pub(super) fn heard(&mut self, now: Instant) {
        match &mut self.next {
            Next::Death(at) => *at = now + self.interval + self.timeout,
            Next::Pong(_) => self.next = Next::Ping(now + self.interval),
            Next::Ping(_) => (),
        }
    }

    /// Returns what is due now, if anything is.
    pub(super) fn due(&mut self, now: Instant) -> Option<Due> {
        match self.next {
            Next::Death(at) | Next::Pong(at) if at <= now => Some(Due::Death),
            Next::Ping(at) if at <= now => {
                self.next = Next::Pong(now + self.timeout);
                Some(Due::Ping)
            }
            Next::Death(_) | Next::Ping(_) | Next::Pong(_) => None,
        }
    }
}
