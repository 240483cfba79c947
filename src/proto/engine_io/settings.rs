//! The times and sizes of a session.

use std::time::Duration;

use super::revision::Revision;
use crate::defaults;

/// The times and sizes of a session. The default times are the reference's.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The revisions that clients may speak.
    pub revisions: Vec<Revision>,
    /// The time from one heartbeat to the next.
    pub ping_interval: Duration,
    /// How long the answer to a heartbeat may take. After that the session is closed.
    pub ping_timeout: Duration,
    /// How long an upgrade may take, from the request for the WebSocket to the `5`. After that the candidate is closed.
    pub upgrade_timeout: Duration,
    /// The largest message or polling body that a client may send, in bytes; announced in the handshake. The transport
    /// enforces it.
    pub max_payload: usize,
    /// The packets that one polling body of a client may have. More close the session.
    pub max_packets: usize,
    /// The bytes that may wait to be sent on one session. More close it, so that a peer that does not read cannot make
    /// the server hold more.
    pub max_buffered_bytes: usize,
    /// The packets that may wait to be sent on one session, for the same reason: small ones have a cost of their own.
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
