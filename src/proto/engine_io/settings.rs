//! The times and sizes of a session.

use std::time::Duration;

use super::revision::Revision;
use crate::defaults;

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
            revisions: Revision::ALL.to_vec(),
            ping_interval: defaults::PING_INTERVAL,
            ping_timeout: defaults::PING_TIMEOUT,
            upgrade_timeout: defaults::UPGRADE_TIMEOUT,
            max_payload: defaults::MAX_PAYLOAD,
            max_packets: defaults::MAX_PACKETS,
            max_buffered_bytes: defaults::MAX_BUFFERED_BYTES,
            max_buffered_packets: defaults::MAX_BUFFERED_PACKETS,
        }
    }
}
