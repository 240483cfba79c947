//! The body of a polling request: packets joined by a separator (PROTOCOL.md, "Polling").

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use bytes::Bytes;
use bytestring::ByteString;

use super::Revision;
use super::packet::{ClientPacket, DecodeError, Frame};

/// Between two packets of a revision 4 body. No JSON text can hold this byte.
pub const SEPARATOR: u8 = 0x1e;

/// Packets in one body. A client's batch holds what it queued during one request, hundreds at the most;
/// this stops a body of a million two-byte packets from holding up the session's task.
pub const MAX_PACKETS: usize = 65_536;

/// As lenient as the reference about the end of base64, where clients differ: padding may be absent, and the bits after
/// the last byte are not looked at.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The packets of a POST body, decoded one at a time: those before a fault are still delivered.
#[derive(Debug)]
pub struct Packets {
    /// What is left to read; `None` once the last packet or a fault was returned.
    rest: Option<ByteString>,
    revision: Revision,
    count: usize,
}

impl Packets {
    /// Starts to read a body, which a revision 4 client sends as text only.
    ///
    /// # Errors
    /// When the body is not UTF-8.
    pub fn new(body: Bytes, revision: Revision) -> Result<Self, DecodeError> {
        let text = ByteString::try_from(body).map_err(|_| DecodeError::InvalidUtf8)?;
        Ok(Self { rest: Some(text), revision, count: 0 })
    }
}

impl Iterator for Packets {
    type Item = Result<ClientPacket, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.rest.take()?;
        self.count += 1;
        if self.count > MAX_PACKETS {
            return Some(Err(DecodeError::TooManyPackets));
        }
        let packet = match memchr::memchr(SEPARATOR, text.as_bytes()) {
            Some(at) => {
                self.rest = Some(text.slice_ref(&text[at + 1..]));
                text.slice_ref(&text[..at])
            }
            None => text,
        };
        let packet = ClientPacket::decode(Frame::Text(packet), self.revision);
        if packet.is_err() {
            self.rest = None;
        }
        Some(packet)
    }
}

/// Joins frames into one body: the answer of a poll.
#[must_use]
pub fn encode(frames: &[Frame], revision: Revision) -> Bytes {
    match revision {
        Revision::V4 => encode_separated(frames),
    }
}

fn encode_separated(frames: &[Frame]) -> Bytes {
    // A lone text packet, the usual case, is the body as it stands.
    if let [Frame::Text(text)] = frames {
        return text.clone().into_bytes();
    }
    let mut body = Vec::with_capacity(frames.iter().map(encoded_len).sum());
    for (index, frame) in frames.iter().enumerate() {
        if index > 0 {
            body.push(SEPARATOR);
        }
        match frame {
            Frame::Text(text) => body.extend_from_slice(text.as_bytes()),
            Frame::Binary(data) => {
                body.push(b'b');
                let start = body.len();
                body.resize(start + data.len().div_ceil(3) * 4, 0);
                let written = STANDARD.encode_slice(data, &mut body[start..]);
                debug_assert_eq!(written, Ok(body.len() - start));
            }
        }
    }
    Bytes::from(body)
}

/// A binary message as text, for a WebSocket whose client wants no binary frames.
pub(super) fn base64_frame(data: &[u8]) -> Frame {
    let mut text = String::with_capacity(1 + data.len().div_ceil(3) * 4);
    text.push('b');
    STANDARD.encode_string(data, &mut text);
    Frame::Text(ByteString::from(text))
}

/// The size of a frame in a polling body, with its separator.
fn encoded_len(frame: &Frame) -> usize {
    match frame {
        Frame::Text(text) => text.len() + 1,
        Frame::Binary(data) => data.len().div_ceil(3) * 4 + 2,
    }
}

/// The bytes of a `b` packet.
pub(super) fn decode_base64(text: &[u8]) -> Result<Bytes, DecodeError> {
    // A single last character makes no byte; the reference drops it.
    let text = if text.len() % 4 == 1 { &text[..text.len() - 1] } else { text };
    LENIENT.decode(text).map(Bytes::from).map_err(|_| DecodeError::InvalidBase64)
}

#[cfg(test)]
mod tests {
    use super::super::packet::{Data, Message};
    use super::*;

    fn text(data: &'static str) -> ClientPacket {
        ClientPacket::Message(Message::Text(ByteString::from_static(data)))
    }

    fn binary(data: &'static [u8]) -> ClientPacket {
        ClientPacket::Message(Message::Binary(Bytes::from_static(data)))
    }

    /// The decoding table of revision 4, row by row.
    #[test]
    fn decodes_as_the_reference_does() {
        use DecodeError::{Empty, InvalidBase64, UnknownType};
        let check = |body: &'static str, packets: &[ClientPacket], fault: Option<DecodeError>| {
            let (mut good, mut bad) = (Vec::new(), None);
            for packet in Packets::new(Bytes::from_static(body.as_bytes()), Revision::V4).unwrap() {
                match packet {
                    Ok(packet) => good.push(packet),
                    Err(error) => assert_eq!(bad.replace(error), None, "one fault ends {body:?}"),
                }
            }
            assert_eq!((good.as_slice(), bad), (packets, fault), "{body:?}");
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
            &[ClientPacket::Upgrade, ClientPacket::Ignored, ClientPacket::Pong, ClientPacket::Close],
            None,
        );
        check("é", &[], Some(UnknownType(0xc3)));
    }

    #[test]
    fn refuses_text_that_is_not_utf8() {
        let body = Bytes::from_static(b"4\xff");
        assert_eq!(Packets::new(body, Revision::V4).unwrap_err(), DecodeError::InvalidUtf8);
    }

    #[test]
    fn bounds_the_packets_of_a_body() {
        let body = Bytes::from("4\x1e".repeat(MAX_PACKETS));
        let last = Packets::new(body, Revision::V4).unwrap().last();
        assert_eq!(last, Some(Err(DecodeError::TooManyPackets)));
    }

    #[test]
    fn joins_with_the_separator() {
        let frames = [Frame::Text("4hello".into()), Frame::Binary(Bytes::from_static(&[1, 2, 3, 4]))];
        assert_eq!(&encode(&frames, Revision::V4)[..], b"4hello\x1ebAQIDBA==");
        assert_eq!(&encode(&frames[..1], Revision::V4)[..], b"4hello");
    }
}
