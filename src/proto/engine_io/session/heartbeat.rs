//! The heartbeat: whether the peer is still there.

use crate::proto::engine_io::revision::Revision;
use crate::proto::engine_io::settings::Settings;
use crate::proto::time::Instant;

/// The heartbeat of a session. In revision 4 the server pings, in revision 3 the client. It belongs to the session and
/// not to its transport: an upgrade changes nothing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Heartbeat {
    /// Revision 4: the next ping is due at this time.
    Resting { ping_at: Instant },
    /// Revision 4: a ping was sent. A peer that says something else meanwhile is alive, only busy: that extends the
    /// wait once.
    AwaitingPong { dead_at: Instant, extended: bool },
    /// Revision 3: a ping of the client, or any other packet, is due by this time.
    AwaitingPing { dead_at: Instant },
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// A ping.
    Ping,
    /// The end of the session: the peer has been silent for too long.
    Death,
}

impl Heartbeat {
    /// Starts the heartbeat of a session that opens now. The first ping comes a whole interval later, never with the
    /// handshake.
    pub(super) fn start(revision: Revision, settings: &Settings, now: Instant) -> Self {
        match revision {
            Revision::V3 => Self::AwaitingPing { dead_at: now + settings.ping_interval + settings.ping_timeout },
            Revision::V4 => Self::Resting { ping_at: now + settings.ping_interval },
        }
    }

    /// Returns when [`Self::due`] must be asked at the latest. [`Self::start`], [`Self::heard`] and [`Self::pong`] set it.
    pub(super) fn deadline(self) -> Instant {
        match self {
            Self::Resting { ping_at } => ping_at,
            Self::AwaitingPong { dead_at, .. } | Self::AwaitingPing { dead_at } => dead_at,
        }
    }

    /// Notes that the peer said something.
    pub(super) fn heard(&mut self, settings: &Settings, now: Instant) {
        match self {
            Self::AwaitingPong { dead_at, extended: extended @ false } => {
                *extended = true;
                *dead_at = now + settings.ping_timeout;
            }
            Self::AwaitingPing { dead_at } => *dead_at = now + settings.ping_interval + settings.ping_timeout,
            Self::Resting { .. } | Self::AwaitingPong { extended: true, .. } => (),
        }
    }

    /// Notes that the peer answered a ping, or sent a pong without one.
    pub(super) fn pong(&mut self, settings: &Settings, now: Instant) {
        *self = Self::Resting { ping_at: now + settings.ping_interval };
    }

    /// Returns what is due now, if anything is.
    pub(super) fn due(&mut self, settings: &Settings, now: Instant) -> Option<Due> {
        if self.deadline() > now {
            return None;
        }
        match *self {
            Self::Resting { ping_at } => {
                // The wait counts from when the ping was due, so that a late timer does not give the peer more time.
                *self = Self::AwaitingPong { dead_at: ping_at + settings.ping_timeout, extended: false };
                if self.deadline() <= now { Some(Due::Death) } else { Some(Due::Ping) }
            }
            Self::AwaitingPong { .. } | Self::AwaitingPing { .. } => Some(Due::Death),
        }
    }
}
