//! The content of the open packet.

use std::time::Duration;

use bytestring::ByteString;

use super::sid::Sid;
use crate::proto::json;

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
    /// Reads the JSON of the open packet. A server of revision 3 announces no largest message: `max_payload` is 0 then. `None` if
    /// a key is missing or has no value that can be used.
    #[must_use]
    pub fn parse(json: &ByteString) -> Option<Self> {
        let milliseconds = |key| Some(Duration::from_millis(json::member(json, key)?.parse().ok()?));
        let max_payload = json::member(json, "maxPayload").map_or(Some(0), |text| text.parse().ok())?;
        let all = json::member(json, "upgrades")?;
        let upgrades = json::elements(&all).ok()?.into_iter().any(|one| json::unquote(&all[one]) == "websocket");
        Some(Self {
            sid: Sid::parse(&json::unquote(&json::member(json, "sid")?))?,
            upgrades,
            ping_interval: milliseconds("pingInterval")?,
            ping_timeout: milliseconds("pingTimeout")?,
            max_payload,
        })
    }

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
