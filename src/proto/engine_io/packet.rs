//! One Engine.IO packet and its form as a WebSocket frame (PROTOCOL.md, "Engine.IO packets").

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

use super::{Handshake, Revision};

/// Messages of fewer bytes have no spare room.
const SMALL: usize = 4 << 10;

/// An open packet has about so many bytes.
const OPEN_SIZE: usize = 128;

/// The type of a message, as the byte that stands in front of binary data in revision 3.
const BINARY_MESSAGE: u8 = 4;

/// The application's data: what the layer above sends and receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// UTF-8 text, possibly empty.
    Text(ByteString),
    /// Bytes.
    Binary(Bytes),
}

impl Message {
    /// The size of the data in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(data) => data.len(),
        }
    }

    /// Whether there is no data at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where a message is written.
#[derive(Debug)]
pub enum Room<'r> {
    /// Where it stays: it takes about so many bytes.
    Own(usize),
    /// In passing. It is copied once more, to exactly the room that it takes: the best for a small one of unknown size.
    Lent(&'r mut String),
}

/// A message ready to be sent: text already has its packet type in front, so that sending it copies nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing(Frame);

impl Outgoing {
    /// A text message.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::text_with(Room::Own(text.len()), |packet| packet.push_str(text))
    }

    /// A text message that `write` appends.
    #[must_use]
    pub fn text_with(room: Room<'_>, write: impl FnOnce(&mut String)) -> Self {
        let packet = match room {
            Room::Own(size) => {
                let mut packet = String::with_capacity(1 + size);
                packet.push('4');
                write(&mut packet);
                // Spare room would cost a place to say so. Of a large one it is not worth moving what was written.
                if packet.len() < SMALL {
                    packet.shrink_to_fit();
                }
                ByteString::from(packet)
            }
            Room::Lent(draft) => {
                draft.clear();
                draft.push('4');
                write(draft);
                ByteString::from(draft.as_str())
            }
        };
        Self(Frame::Text(packet))
    }

    /// A binary message.
    #[must_use]
    pub fn binary(data: Bytes) -> Self {
        Self(Frame::Binary(data))
    }

    /// The data as the receiver will see it.
    #[must_use]
    pub fn message(&self) -> Message {
        match &self.0 {
            Frame::Text(packet) => Message::Text(packet.slice_ref(&packet[1..])),
            Frame::Binary(data) => Message::Binary(data.clone()),
        }
    }

    /// The size in bytes on a WebSocket.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it carries nothing: binary without a byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_frame(self, revision: Revision) -> Frame {
        match (self.0, revision) {
            (Frame::Binary(data), Revision::V3) => {
                let mut frame = Vec::with_capacity(1 + data.len());
                frame.push(BINARY_MESSAGE);
                frame.extend_from_slice(&data);
                Frame::Binary(frame.into())
            }
            (frame, Revision::V3 | Revision::V4) => frame,
        }
    }
}

impl From<&Message> for Outgoing {
    fn from(message: &Message) -> Self {
        match message {
            Message::Text(text) => Self::text(text),
            Message::Binary(data) => Self::binary(data.clone()),
        }
    }
}

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientPacket {
    /// `1`: the client leaves.
    Close,
    /// `2`: the heartbeat of revision 3, or with `probe` the first frame of an upgrade.
    Ping(Data),
    /// `3`: the answer to the heartbeat of revision 4.
    Pong,
    /// `4`, or binary.
    Message(Message),
    /// `5`: the second frame of an upgrade.
    Upgrade,
    /// `0` or `6`, which only a server has a use for: accepted and ignored, as the reference does.
    Ignored,
}

/// What a server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerPacket {
    /// `0`: the handshake, the first packet of a session.
    Open(Handshake),
    /// `1`: the session is over.
    Close,
    /// `2`: the heartbeat of revision 4.
    Ping,
    /// `3`: the answer to a ping.
    Pong(Data),
    /// `4`, or binary.
    Message(Outgoing),
    /// `6`: ends a poll that has nothing to carry.
    Noop,
}

/// What follows the type of a ping or pong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// Nothing, or what nobody has a use for.
    None,
    /// `probe`: the ping and pong of an upgrade.
    Probe,
}

/// A WebSocket message, or one packet of a polling body. In revision 3, binary ones have the packet's type in front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A text message.
    Text(ByteString),
    /// A binary message.
    Binary(Bytes),
}

/// Why bytes are not a packet. Always the peer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// A packet without even a type.
    Empty,
    /// A type that no packet has.
    UnknownType(u8),
    /// A `b` packet that is not base64.
    InvalidBase64,
    /// Text that is not UTF-8.
    InvalidUtf8,
    /// Binary where the revision has only text.
    UnexpectedBinary,
    /// A length that is none, or that does not fit what follows it.
    Framing,
    /// More packets in one body than the limit.
    TooManyPackets,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("an empty packet"),
            Self::UnknownType(byte) => write!(f, "unknown packet type 0x{byte:02x}"),
            Self::InvalidBase64 => f.write_str("invalid base64 in a binary packet"),
            Self::InvalidUtf8 => f.write_str("text that is not UTF-8"),
            Self::UnexpectedBinary => f.write_str("a binary body, which revision 4 does not have"),
            Self::Framing => f.write_str("lengths that do not fit the packets"),
            Self::TooManyPackets => f.write_str("too many packets in one body"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl ClientPacket {
    /// Reads the packet of one frame.
    ///
    /// # Errors
    /// When the frame is not a packet of this revision.
    pub fn decode(frame: Frame, revision: Revision) -> Result<Self, DecodeError> {
        match frame {
            Frame::Binary(data) => match revision {
                Revision::V3 => match data.first() {
                    Some(&BINARY_MESSAGE) => Ok(Self::Message(Message::Binary(data.slice(1..)))),
                    Some(&other) => Err(DecodeError::UnknownType(other)),
                    None => Err(DecodeError::Empty),
                },
                // The whole frame is the data.
                Revision::V4 => Ok(Self::Message(Message::Binary(data))),
            },
            Frame::Text(text) => Self::decode_text(&text, revision),
        }
    }

    fn decode_text(text: &ByteString, revision: Revision) -> Result<Self, DecodeError> {
        let kind = *text.as_bytes().first().ok_or(DecodeError::Empty)?;
        if !kind.is_ascii() {
            return Err(DecodeError::UnknownType(kind));
        }
        let data = &text[1..];
        match kind {
            b'0' | b'6' => Ok(Self::Ignored),
            b'1' => Ok(Self::Close),
            b'2' => Ok(Self::Ping(if data == "probe" { Data::Probe } else { Data::None })),
            b'3' => Ok(Self::Pong),
            b'4' => Ok(Self::Message(Message::Text(text.slice_ref(data)))),
            b'5' => Ok(Self::Upgrade),
            b'b' => {
                let data = match revision {
                    Revision::V3 => data.strip_prefix('4').ok_or(DecodeError::UnknownType(b'b'))?,
                    Revision::V4 => data,
                };
                super::payload::decode_base64(data.as_bytes()).map(|data| Self::Message(Message::Binary(data)))
            }
            other => Err(DecodeError::UnknownType(other)),
        }
    }

    /// The frame of this packet: what a client would put on a WebSocket.
    #[must_use]
    pub fn encode(&self, revision: Revision) -> Frame {
        match self {
            Self::Close => Frame::Text(ByteString::from_static("1")),
            Self::Ping(data) => Frame::Text(ping_pong('2', *data)),
            Self::Pong => Frame::Text(ByteString::from_static("3")),
            Self::Message(message) => Outgoing::from(message).into_frame(revision),
            Self::Upgrade => Frame::Text(ByteString::from_static("5")),
            Self::Ignored => Frame::Text(ByteString::from_static("6")),
        }
    }
}

impl ServerPacket {
    /// The frame of this packet: what goes on a WebSocket as it stands, and into a polling body packed.
    #[must_use]
    pub fn encode(self, revision: Revision) -> Frame {
        match self {
            Self::Open(handshake) => {
                let mut packet = String::with_capacity(OPEN_SIZE);
                packet.push('0');
                handshake.write_json(&mut packet);
                Frame::Text(packet.into())
            }
            Self::Close => Frame::Text(ByteString::from_static("1")),
            Self::Ping => Frame::Text(ByteString::from_static("2")),
            Self::Pong(data) => Frame::Text(ping_pong('3', data)),
            Self::Message(message) => message.into_frame(revision),
            Self::Noop => Frame::Text(ByteString::from_static("6")),
        }
    }
}

impl Frame {
    /// The size in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(data) => data.len(),
        }
    }

    /// Whether it carries nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn ping_pong(kind: char, data: Data) -> ByteString {
    match (kind, data) {
        ('2', Data::Probe) => ByteString::from_static("2probe"),
        ('2', Data::None) => ByteString::from_static("2"),
        (_, Data::Probe) => ByteString::from_static("3probe"),
        (_, Data::None) => ByteString::from_static("3"),
    }
}
