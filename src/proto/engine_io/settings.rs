//! The times and sizes of a session.

use std::time::Duration;

use super::payload;
use super::revision::Revision;

/// The times and sizes of a session. The defaults are the reference's, except the sizes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The revisions that clients may speak.
    pub revisions: Vec<Revision>,
    /// From one heartbeat to the next.
    pub ping_interval: Duration,
    /// How long a heartbeat may stay without an answer.
    pub ping_timeout: Duration,
    /// How long an upgrade may take, from the WebSocket's opening to the `5`.
    pub upgrade_timeout: Duration,
    /// The largest message or polling body a client may send, in bytes; announced in the handshake.
    pub max_payload: usize,
    /// Packets in one polling body of a client.
    pub max_packets: usize,
    /// Bytes waiting to be sent on one session. A peer that does not read cannot make the server hold more.
    pub max_buffered_bytes: usize,
    /// Packets waiting to be sent on one session, for the same reason: small ones have a cost of their own.
    pub max_buffered_packets: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            revisions: vec![Revision::V3, Revision::V4],
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            max_payload: 16 << 20,
            max_packets: payload::MAX_PACKETS,
            max_buffered_bytes: 64 << 20,
            max_buffered_packets: 16_384,
        }
    }
}
