//! The body of a polling request: packets in a row (PROTOCOL.md, "Polling bodies").
//!
//! Revision 4 has a separator between packets, revision 3 a length in front of each. Revision 3 has a binary form too,
//! for a batch with a binary packet in it, unless the client said that it wants text (`b64=1`).

mod counted;
mod framed;
mod separated;

use bytes::Bytes;
use bytestring::ByteString;

use super::base64;
use super::frame::{DecodeError, Frame};
use super::message::Message;
use super::packet::{ClientPacket, ServerPacket};
use super::polling_text::PollingText;
use super::revision::Revision;
use super::transport::BinaryAs;

/// Packets of more bytes than this are long. Every engine takes 65,536 arguments of a call, and JSON in ASCII is up to
/// three times as long.
const MAX_TEXT: usize = 16 << 10;

/// A polling body, as its `Content-Type` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// `text/plain`, and any other type.
    Text(ByteString),
    /// `application/octet-stream`.
    Binary(Bytes),
}

/// The packets of one polling answer, and what their form depends on.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// The packets, at least one.
    pub frames: Vec<Frame>,
    /// The session's revision.
    pub revision: Revision,
    /// Whether the client takes binary bodies.
    pub binary: BinaryAs,
    /// How the text of the packets is written.
    pub text: PollingText,
}

impl Batch {
    /// Joins the packets into one body.
    #[must_use]
    pub fn encode(&self) -> Body {
        let has_binary = || self.frames.iter().any(|frame| matches!(frame, Frame::Binary(_)));
        let is_long = || self.text.long_as_bytes && self.frames.iter().map(Frame::len).sum::<usize>() > MAX_TEXT;
        match (self.revision, self.binary) {
            (Revision::V3, BinaryAs::Frames) if has_binary() || is_long() => Body::Binary(framed::encode(&self.frames)),
            (Revision::V3 | Revision::V4, _) => Body::Text(self.encode_as_text()),
        }
    }

    /// Joins the packets into text, whatever they are: JSONP carries nothing else.
    #[must_use]
    pub fn encode_as_text(&self) -> ByteString {
        match self.revision {
            Revision::V3 => counted::encode(&self.frames, self.text.to_ascii),
            Revision::V4 => separated::encode(&self.frames),
        }
    }
}

/// The packets of a polling body, decoded one at a time: those before a fault are still delivered. `P` is a [`ClientPacket`] in
/// the body of a POST, and a [`ServerPacket`] in the answer to a poll.
#[derive(Debug)]
pub struct Packets<P = ClientPacket> {
    /// What is left to read; `None` once the last packet or a fault was returned.
    rest: Option<Body>,
    revision: Revision,
    /// How many more packets there may be.
    left: usize,
    decode: fn(Frame, Revision) -> Result<P, DecodeError>,
}

impl Packets {
    /// Begins to read what a client sent: a body of at most `max_packets` packets.
    #[must_use]
    pub fn new(body: Body, revision: Revision, max_packets: usize) -> Self {
        Self { rest: Some(body), revision, left: max_packets, decode: ClientPacket::decode }
    }
}

impl Packets<ServerPacket<Message>> {
    /// Begins to read what a server sent: a body of at most `max_packets` packets.
    #[must_use]
    pub fn of_server(body: Body, revision: Revision, max_packets: usize) -> Self {
        Self { rest: Some(body), revision, left: max_packets, decode: ServerPacket::decode }
    }
}

impl<P> Packets<P> {
    /// Cuts off the first packet. An empty one, which only revision 3 passes over, is `None`.
    fn split(&mut self, body: Body) -> Result<Option<Frame>, DecodeError> {
        match (body, self.revision) {
            (Body::Text(text), Revision::V4) => {
                let (packet, rest) = separated::split(text);
                self.rest = rest.map(Body::Text);
                Ok(Some(Frame::Text(packet)))
            }
            (Body::Binary(_), Revision::V4) => Err(DecodeError::UnexpectedBinary),
            (Body::Text(text), Revision::V3) if text.is_empty() => Err(DecodeError::Empty),
            (Body::Text(text), Revision::V3) => {
                let (packet, rest) = counted::split(&text)?;
                self.rest = (!rest.is_empty()).then_some(Body::Text(rest));
                Ok((!packet.is_empty()).then_some(Frame::Text(packet)))
            }
            (Body::Binary(bytes), Revision::V3) => {
                let (packet, rest) = framed::split(&bytes)?;
                self.rest = (!rest.is_empty()).then_some(Body::Binary(rest));
                Ok((!packet.is_empty()).then_some(packet))
            }
        }
    }
}

impl<P> Iterator for Packets<P> {
    type Item = Result<P, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let body = self.rest.take()?;
            let Some(left) = self.left.checked_sub(1) else { return Some(Err(DecodeError::TooManyPackets)) };
            self.left = left;
            let packet = match self.split(body) {
                Ok(Some(frame)) => (self.decode)(frame, self.revision),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            if packet.is_err() {
                self.rest = None;
            }
            return Some(packet);
        }
    }
}

/// Returns a binary frame as text, for a WebSocket whose client wants no binary frames.
pub(super) fn base64_frame(data: &[u8], revision: Revision) -> Frame {
    let (prefix, data) = match revision {
        // The packet's type is a byte in front of the data, and in text a character.
        Revision::V3 => ("b4", data.get(1..).unwrap_or_default()),
        Revision::V4 => ("b", data),
    };
    let mut packet = String::with_capacity(prefix.len() + base64::length(data.len()));
    packet.push_str(prefix);
    base64::write(data, &mut packet);
    Frame::Text(packet.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defaults::MAX_PACKETS;
    use crate::proto::engine_io::packet::Data;
    use crate::proto::engine_io::polling_text::ToAscii;
    use crate::proto::json;
    use DecodeError::{Empty, Framing, InvalidBase64, InvalidUtf8, TooManyPackets, UnexpectedBinary, UnknownType};

    const PING: ClientPacket = ClientPacket::Ping(Data::None);

    fn text(data: &'static str) -> ClientPacket {
        ClientPacket::Message(Message::Text(ByteString::from_static(data)))
    }

    fn binary(data: &'static [u8]) -> ClientPacket {
        ClientPacket::Message(Message::Binary(Bytes::from_static(data)))
    }

    #[track_caller]
    fn check(body: &Body, revision: Revision, packets: &[ClientPacket], fault: Option<DecodeError>) {
        let (mut good, mut bad) = (Vec::new(), None);
        for packet in Packets::new(body.clone(), revision, MAX_PACKETS) {
            match packet {
                Ok(packet) => good.push(packet),
                Err(error) => assert_eq!(bad.replace(error), None, "one fault ends {body:?}"),
            }
        }
        assert_eq!((good.as_slice(), bad), (packets, fault), "{body:?}");
    }

    /// The decoding table of revision 4, row by row.
    #[test]
    fn decodes_revision_4_as_the_reference_does() {
        let check = |body: &'static str, packets: &[ClientPacket], fault| {
            check(&Body::Text(ByteString::from_static(body)), Revision::V4, packets, fault);
        };
        check("", &[], Some(Empty));
        check("4", &[text("")], None);
        check("4a", &[text("a")], None);
        check("4a\x1e", &[text("a")], Some(Empty));
        check("\x1e4a", &[], Some(Empty));
        check("4a\x1e\x1e4b", &[text("a")], Some(Empty));
        check("2probe", &[ClientPacket::Ping(Data::Probe)], None);
        check("9", &[], Some(UnknownType(b'9')));
        check("a", &[], Some(UnknownType(b'a')));
        check("abc", &[], Some(UnknownType(b'a')));
        check("b", &[binary(b"")], None);
        check("bAQID", &[binary(b"\x01\x02\x03")], None);
        check("bAQI", &[binary(b"\x01\x02")], None);
        check("b!!!!", &[], Some(InvalidBase64));
        // The 4 is data here, not a type.
        check("b4AQID", &[binary(b"\xe0\x04\x08")], None);
        check("b4AQI", &[binary(b"\xe0\x04\x08")], None);
        check("bAQJ", &[binary(b"\x01\x02")], None);
        check("4hello\x1ebAQIDBA==", &[text("hello"), binary(b"\x01\x02\x03\x04")], None);
        check("0{}", &[ClientPacket::Ignored], None);
        check(
            "5\x1e6\x1e3\x1e1",
            &[ClientPacket::Upgrade, ClientPacket::Ignored, ClientPacket::Pong(Data::None), ClientPacket::Close],
            None,
        );
        check("é", &[], Some(UnknownType(0xc3)));
    }

    #[test]
    fn revision_4_has_no_binary_bodies() {
        check(&Body::Binary(Bytes::from_static(b"4hello")), Revision::V4, &[], Some(UnexpectedBinary));
    }

    /// The decoding table of revision 3 for text, row by row.
    #[test]
    fn decodes_the_text_of_revision_3_as_the_reference_does() {
        let check = |body: &'static str, packets: &[ClientPacket], fault| {
            check(&Body::Text(ByteString::from_static(body)), Revision::V3, packets, fault);
        };
        check("", &[], Some(Empty));
        check("0:", &[], None);
        check("0:1:2", &[PING], None);
        check("1:2", &[PING], None);
        check("1:2x", &[PING], Some(Framing));
        check("2:4", &[], Some(Framing));
        check("1:4", &[text("")], None);
        check("3:4ab", &[text("ab")], None);
        check("2:4ab", &[text("a")], Some(Framing));
        check("6:4hello6:4world", &[text("hello"), text("world")], None);
        check("2:4€", &[text("€")], None);
        check("4:4€", &[], Some(Framing));
        check("3:4😀", &[text("😀")], None);
        check("2:4😀", &[], Some(Framing));
        check("4:4é😀1:2", &[text("é😀"), PING], None);
        check("10:b4AQIDBA==", &[binary(b"\x01\x02\x03\x04")], None);
        check("2:b4", &[binary(b"")], None);
        check("4:b4!!", &[], Some(InvalidBase64));
        check("1:b", &[], Some(UnknownType(b'b')));
        check("5:bAQID", &[], Some(UnknownType(b'b')));
        check("1:9", &[], Some(UnknownType(b'9')));
        check("01:2", &[PING], None);
        for wrong in ["-1:4", "1.5:4a", ":4", "a:4", "abc", "4:4ab", "99999999999:4a", "9999999999:4a", " 1:4", "1e0:4"]
        {
            check(wrong, &[], Some(Framing));
        }
        check("4hello\x1e2", &[], Some(Framing));
    }

    /// The decoding table of revision 3 for bytes, row by row.
    #[test]
    fn decodes_the_bytes_of_revision_3_as_the_reference_does() {
        let check = |body: &'static [u8], packets: &[ClientPacket], fault| {
            check(&Body::Binary(Bytes::from_static(body)), Revision::V3, packets, fault);
        };
        check(b"\x00\x06\xff4hello", &[text("hello")], None);
        check(b"\x00\x04\xff4\xe2\x82\xac", &[text("€")], None);
        check(b"\x00\x05\xff4\xf0\x9f\x98\x80", &[text("😀")], None);
        check(b"\x01\x05\xff\x04\x01\x02\x03\x04", &[binary(b"\x01\x02\x03\x04")], None);
        check(b"\x00\x01\xff2\x00\x02\xff4x", &[PING, text("x")], None);
        check(b"\x00\x01\x01\xff40/abc123==", &[text("0/abc123==")], None);
        check(b"\x00\x00\xff\x00\x01\xff2", &[PING], None);
        check(b"\x00\x01\xff2\x01", &[PING], Some(Framing));
        check(b"\x01\x01\xff\x09", &[], Some(UnknownType(9)));
        check(b"\x00\x02\xff4\xff", &[], Some(InvalidUtf8));
        // Half a surrogate pair, which a client of socket.io 1 leaves as it is.
        check(b"\x00\x07\xff4\xed\xa0\xbdx\xc3\xa9", &[text("\u{fffd}xé")], None);
        check(b"\x00\x04\xff4\xed\xa0x", &[], Some(InvalidUtf8));
        for wrong in [
            &b""[..],
            b"\x00",
            b"\x00\x01\xff",
            b"\x00\xff",
            b"\x00\x0a\xff4hello4hello",
            b"\x00\x06\xff4hell",
            b"\x02\x01\xff2",
            b"4hello",
            b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\xff2",
            b"\x00\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\xff2",
            b"\x00\x01\x02\x03",
        ] {
            check(wrong, &[], Some(Framing));
        }
    }

    #[test]
    fn bounds_the_packets_of_a_body() {
        for (body, revision) in [("4\x1e", Revision::V4), ("1:4", Revision::V3), ("0:", Revision::V3)] {
            let body = Body::Text(body.repeat(MAX_PACKETS + 1).into());
            assert_eq!(Packets::new(body, revision, MAX_PACKETS).last(), Some(Err(TooManyPackets)));
        }
    }

    fn encoded(frames: &[Frame], revision: Revision, binary: BinaryAs, to_ascii: Option<ToAscii>) -> Body {
        let text = PollingText { to_ascii, long_as_bytes: true };
        Batch { frames: frames.to_vec(), revision, binary, text }.encode()
    }

    #[test]
    fn joins_with_the_separator() {
        let frames = [Frame::Text("4hello".into()), Frame::Binary(Bytes::from_static(&[1, 2, 3, 4]))];
        let check = |frames: &[Frame], body: &'static str| {
            for binary in [BinaryAs::Frames, BinaryAs::Base64] {
                assert_eq!(encoded(frames, Revision::V4, binary, Some(json::to_ascii)), Body::Text(body.into()));
            }
        };
        check(&frames, "4hello\x1ebAQIDBA==");
        check(&frames[..1], "4hello");
    }

    #[test]
    fn joins_with_lengths() {
        let frames = [Frame::Text("4hello".into()), Frame::Binary(Bytes::from_static(&[4, 1, 2, 3, 4]))];
        let check = |frames: &[Frame], binary, expected| {
            assert_eq!(encoded(frames, Revision::V3, binary, None), expected);
        };
        check(&frames, BinaryAs::Base64, Body::Text("6:4hello10:b4AQIDBA==".into()));
        check(&frames[..1], BinaryAs::Frames, Body::Text("6:4hello".into()));
        let bytes = b"\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04";
        check(&frames, BinaryAs::Frames, Body::Binary(Bytes::from_static(bytes)));
        check(&[Frame::Text("4€😀".into())], BinaryAs::Base64, Body::Text("4:4€😀".into()));
        let long = "x".repeat(100);
        let mut body = b"\x00\x01\x00\x00\xff".to_vec();
        body.extend(long.bytes());
        body.extend(b"\x01\x01\xff\x04");
        let frames = [Frame::Text(long.into()), Frame::Binary(Bytes::from_static(&[4]))];
        check(&frames, BinaryAs::Frames, Body::Binary(body.into()));
    }

    /// See [`MAX_TEXT`].
    #[test]
    fn long_text_is_sent_as_bytes_to_clients_that_take_them() {
        let frames = [Frame::Text(format!("4{}", "é".repeat(MAX_TEXT / 2)).into())];
        let body = encoded(&frames, Revision::V3, BinaryAs::Frames, Some(json::to_ascii));
        assert_eq!(
            body,
            Body::Binary([b"\x00\x01\x06\x03\x08\x05\xff4", "é".repeat(MAX_TEXT / 2).as_bytes()].concat().into())
        );
        let frames = [Frame::Text(format!("4{}", "é".repeat(MAX_TEXT / 2 - 1)).into())];
        for (revision, binary) in
            [(Revision::V3, BinaryAs::Frames), (Revision::V3, BinaryAs::Base64), (Revision::V4, BinaryAs::Frames)]
        {
            let Body::Text(text) = encoded(&frames, revision, binary, Some(json::to_ascii)) else {
                panic!("{revision:?}")
            };
            assert!(text.len() < 1 << 16, "what every engine takes for arguments");
        }
    }

    #[test]
    fn messages_are_ascii_in_revision_3_where_the_layer_can() {
        for (packet, expected) in [
            ("42/t,0[\"r\"]", "11:42/t,0[\"r\"]"),
            ("42[\"é€\u{7f}😀\"]", "31:42[\"\\u00e9\\u20ac\u{7f}\\ud83d\\ude00\"]"),
            // Not a message, so not the layer's to write.
            ("0é", "2:0é"),
        ] {
            let body = encoded(&[Frame::Text(packet.into())], Revision::V3, BinaryAs::Base64, Some(json::to_ascii));
            assert_eq!(body, Body::Text(expected.into()));
        }
    }
}
