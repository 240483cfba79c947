//! Engine.IO: sessions over long-polling and WebSocket (PROTOCOL.md, "Engine.IO").
//!
//! - [`close_reason`]: why a session ended
//! - [`lower`]: what the layer above a session may do to it
//! - [`packet`]: one packet and its frame
//! - [`payload`]: the packets of one polling body
//! - [`jsonp`]: such a body as a script and as a form
//! - [`polling_text`]: how such a body is written for old clients
//! - [`query`]: what an HTTP request to the path wants
//! - [`session`]: the state machine of one session

pub mod close_reason;
pub mod jsonp;
pub mod lower;
mod outbox;
pub mod packet;
pub mod payload;
pub mod polling_text;
pub mod query;
pub mod session;

use std::fmt;
use std::time::Duration;

pub use self::close_reason::CloseReason;
pub use self::lower::Lower;
pub use self::packet::{ClientPacket, DecodeError, Frame, Message, Outgoing, Room, ServerPacket};
pub use self::polling_text::PollingText;
pub use self::query::{BinaryAs, Method, Rejection, Request};
pub use self::session::Session;
use crate::defaults;

/// The revision of the protocol: what `EIO=` says. Socket.IO on it has the next number: its protocol 4 stands on revision
/// 3, its protocol 5 on revision 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revision {
    /// `EIO=3`: socket.io-client 1.x and 2.x.
    V3,
    /// `EIO=4`: socket.io-client 3.x and 4.x.
    V4,
}

impl Revision {
    /// All revisions: those that a server speaks unless it is told otherwise.
    pub const ALL: [Self; 2] = [Self::V3, Self::V4];

    /// The revision of this number.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "3" => Some(Self::V3),
            "4" => Some(Self::V4),
            _ => None,
        }
    }
}

/// How packets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP long-polling.
    Polling,
    /// A WebSocket.
    WebSocket,
}

/// Characters of a session id.
pub const SID_LENGTH: usize = 20;

/// A session id: 20 characters of base64url, 15 random bytes. It is a bearer secret, so `Debug` shows four of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sid([u8; SID_LENGTH]);

impl Sid {
    /// Makes an id of random bytes, which the caller takes from the system's generator.
    #[must_use]
    pub fn from_random(random: [u8; 15]) -> Self {
        use base64::Engine as _;
        let mut sid = [0; SID_LENGTH];
        let length = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode_slice(random, &mut sid);
        debug_assert_eq!(length, Ok(SID_LENGTH));
        Self(sid)
    }

    /// Reads an id. `None` is an id that no session has; it is never "no id".
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; SID_LENGTH] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')).then_some(Self(bytes))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("both constructors admit ASCII only")
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", &self.as_str()[..4])
    }
}

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

/// The content of the open packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// The session's id.
    pub sid: Sid,
    /// Whether the client may upgrade to a WebSocket.
    pub upgrades: bool,
    /// See [`Settings::ping_interval`].
    pub ping_interval: Duration,
    /// See [`Settings::ping_timeout`].
    pub ping_timeout: Duration,
    /// See [`Settings::max_payload`].
    pub max_payload: usize,
}

impl Handshake {
    /// Appends the JSON of the open packet: five keys, in the reference's order; times in milliseconds, the size in bytes.
    /// Clients of revision 3 do not know the last one, and do not mind it.
    pub fn write_json(&self, out: &mut String) {
        let mut number = itoa::Buffer::new();
        out.extend([r#"{"sid":""#, self.sid.as_str(), r#"","upgrades":["#]);
        out.push_str(if self.upgrades { r#""websocket""# } else { "" });
        out.extend([r#"],"pingInterval":"#, number.format(self.ping_interval.as_millis())]);
        out.extend([r#","pingTimeout":"#, number.format(self.ping_timeout.as_millis())]);
        out.extend([r#","maxPayload":"#, number.format(self.max_payload), "}"]);
    }
}
