//! The content of the open packet.

use std::time::Duration;

use super::sid::Sid;

/// The content of the open packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// The session's id.
    pub sid: Sid,
    /// Whether the client may upgrade to a WebSocket.
    pub upgrades: bool,
    /// The time from one heartbeat to the next.
    pub ping_interval: Duration,
    /// How long a heartbeat may stay without an answer.
    pub ping_timeout: Duration,
    /// The largest message or polling body that the client may send, in bytes.
    pub max_payload: usize,
}

impl Handshake {
    /// Appends the JSON of the open packet: five keys, in the reference's order; times in milliseconds, the size in
    /// bytes. Clients of revision 3 do not know the last key, and ignore it.
    pub fn write_json(&self, out: &mut String) {
        let mut number = itoa::Buffer::new();
        out.extend([r#"{"sid":""#, self.sid.as_str(), r#"","upgrades":["#]);
        out.push_str(if self.upgrades { r#""websocket""# } else { "" });
        out.extend([r#"],"pingInterval":"#, number.format(self.ping_interval.as_millis())]);
        out.extend([r#","pingTimeout":"#, number.format(self.ping_timeout.as_millis())]);
        out.extend([r#","maxPayload":"#, number.format(self.max_payload), "}"]);
    }
}
