//! Engine.IO packets in polling bodies and in frames, and the part of Socket.IO that an end needs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use crate::wire;

/// A revision of Engine.IO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revision {
    V3,
    V4,
}

/// A packet: its id and text, or the bytes of a binary message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    Text(String),
    Binary(Vec<u8>),
}

impl Packet {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Encodes the packet as a WebSocket frame.
    pub fn frame(&self, revision: Revision) -> Vec<u8> {
        match (self, revision) {
            (Self::Text(text), _) => wire::frame(1, text.as_bytes()),
            (Self::Binary(bytes), Revision::V4) => wire::frame(2, bytes),
            (Self::Binary(bytes), Revision::V3) => wire::frame(2, &[&[4], bytes.as_slice()].concat()),
        }
    }

    /// Turns a WebSocket message into a packet: in revision 3 a binary message begins with the byte 4.
    pub fn of_message(self, revision: Revision) -> Self {
        match (self, revision) {
            (Self::Binary(mut bytes), Revision::V3) if !bytes.is_empty() => Self::Binary(bytes.split_off(1)),
            (packet, _) => packet,
        }
    }
}

pub fn to_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

pub fn of_base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// Encodes packets as the body of a POST.
pub fn encode(packets: &[Packet], revision: Revision) -> Vec<u8> {
    let as_text = |packet: &Packet| match (packet, revision) {
        (Packet::Text(text), _) => text.clone(),
        (Packet::Binary(bytes), Revision::V4) => format!("b{}", BASE64.encode(bytes)),
        (Packet::Binary(bytes), Revision::V3) => format!("b4{}", BASE64.encode(bytes)),
    };
    let texts = packets.iter().map(as_text);
    match revision {
        Revision::V4 => texts.collect::<Vec<_>>().join("\x1e"),
        Revision::V3 => texts.map(|text| format!("{}:{text}", text.encode_utf16().count())).collect(),
    }
    .into_bytes()
}

/// Decodes the body of a poll's answer; `None` if it is no payload.
pub fn decode(body: &[u8], revision: Revision) -> Option<Vec<Packet>> {
    match revision {
        Revision::V4 => std::str::from_utf8(body).ok()?.split('\x1e').map(of_text).collect(),
        Revision::V3 if matches!(body.first(), Some(0 | 1)) => of_bytes(body),
        Revision::V3 => of_lengths(std::str::from_utf8(body).ok()?),
    }
}

fn of_text(text: &str) -> Option<Packet> {
    match text.strip_prefix('b') {
        Some(base64) => {
            let base64 = base64.strip_prefix('4').filter(|rest| rest.len() % 4 == 0).unwrap_or(base64);
            BASE64.decode(base64).ok().map(Packet::Binary)
        }
        None => Some(Packet::text(text)),
    }
}

/// Decodes `6:4hello2:4x`. Lengths are bytes here, because the server's text in revision 3 is ASCII.
fn of_lengths(mut text: &str) -> Option<Vec<Packet>> {
    let mut packets = Vec::new();
    while !text.is_empty() {
        let (length, rest) = text.split_once(':')?;
        let (packet, rest) = rest.split_at_checked(length.parse().ok()?)?;
        packets.push(of_text(packet)?);
        text = rest;
    }
    Some(packets)
}

/// Decodes packets of 0 or 1, the length in decimal digits of one byte each, 255, and the packet.
fn of_bytes(mut bytes: &[u8]) -> Option<Vec<Packet>> {
    let mut packets = Vec::new();
    while let Some((&kind, rest)) = bytes.split_first() {
        let end = rest.iter().position(|&byte| byte == 255)?;
        let length = rest[..end].iter().fold(0, |sum, &digit| sum * 10 + usize::from(digit));
        let (packet, rest) = rest[end + 1..].split_at_checked(length)?;
        packets.push(match kind {
            0 => Packet::text(std::str::from_utf8(packet).ok()?),
            _ => Packet::Binary(packet.get(1..)?.to_vec()),
        });
        bytes = rest;
    }
    Some(packets)
}

/// The event `request`.
#[derive(Debug)]
pub struct Event {
    pub token: String,
    pub id: u64,
    pub url: String,
    body: Value,
}

impl Event {
    /// Parses `42/TOKEN,7["request",{…}]` or `451-/TOKEN,7[…]`.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("42/").or_else(|| text.strip_prefix("451-/"))?;
        let (token, rest) = rest.split_once(',')?;
        let (id, json) = rest.split_at(rest.find('[')?);
        let mut arguments: Value = serde_json::from_str(json).ok()?;
        let request = arguments.get_mut(1)?;
        let url = request["url"].as_str()?.to_owned();
        Some(Self { token: token.to_owned(), id: id.parse().ok()?, url, body: request["body"].take() })
    }

    /// Returns the bytes that the visitor sent, from an attachment, a string or JSON.
    pub fn body(&self, attachment: Option<Vec<u8>>) -> Vec<u8> {
        match (&self.body, attachment) {
            (_, Some(bytes)) => bytes,
            (Value::String(text), None) => text.clone().into_bytes(),
            (Value::Object(object), None) if object.is_empty() => Vec::new(),
            (value, None) => value.to_string().into_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_of_both_revisions_come_back() {
        let packets = vec![Packet::text("2"), Packet::Binary(vec![0, 255, 7]), Packet::text("42/A,[]")];
        for revision in [Revision::V3, Revision::V4] {
            assert_eq!(decode(&encode(&packets, revision), revision), Some(packets.clone()), "{revision:?}");
        }
        let bytes = [&[0, 1, 255, b'6', 1, 3, 255, 4, 9, 8], b"".as_slice()].concat();
        assert_eq!(decode(&bytes, Revision::V3), Some(vec![Packet::text("6"), Packet::Binary(vec![9, 8])]));
        assert_eq!(decode(b"9:4", Revision::V3), None);
    }

    #[test]
    fn parses_events_with_and_without_an_attachment() {
        let event = Event::parse(r#"42/A,7["request",{"url":"/x","body":[1,"a"]}]"#).expect("it is one");
        assert_eq!((event.token.as_str(), event.id, event.body(None)), ("A", 7, b"[1,\"a\"]".to_vec()));
        let event = Event::parse(r#"451-/A,0["request",{"url":"/x","body":{"_placeholder":true,"num":0}}]"#);
        assert_eq!(event.expect("it is one").body(Some(vec![1])), [1]);
        assert!(Event::parse("40/A,").is_none());
    }
}
