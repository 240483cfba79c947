//! One Engine.IO packet and its form as a WebSocket frame (PROTOCOL.md, "Engine.IO packets").

use bytestring::ByteString;

use super::base64;
use super::frame::{DecodeError, Frame};
use super::handshake::Handshake;
use super::message::{BINARY_MESSAGE, Message, Outgoing};
use super::revision::Revision;

/// The usual size of an open packet, in bytes.
const OPEN_SIZE: usize = 128;

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientPacket {
    /// `1`: the client leaves.
    Close,
    /// `2`: the heartbeat of revision 3, or with `probe` the first frame of an upgrade.
    Ping(Data),
    /// `3`: the answer to the heartbeat of revision 4. What follows it has no meaning to a server.
    Pong(Data),
    /// `4`, or binary.
    Message(Message),
    /// `5`: the second frame of an upgrade.
    Upgrade,
    /// `0` or `6`, which only a server has a use for: accepted and ignored, as the reference does.
    Ignored,
}

/// What a server sends. `M` is a message that it sends, an [`Outgoing`], or one that its client received, a [`Message`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerPacket<M = Outgoing> {
    /// `0`: the handshake, the first packet of a session.
    Open(Handshake),
    /// `1`: the session is over.
    Close,
    /// `2`: the heartbeat of revision 4.
    Ping,
    /// `3`: the answer to a ping.
    Pong(Data),
    /// `4`, or binary.
    Message(M),
    /// `6`: ends a poll that has nothing to carry.
    Noop,
}

/// What follows the type of a ping or pong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// Nothing, or data that has no meaning.
    None,
    /// `probe`: the ping and pong of an upgrade.
    Probe,
}

impl Data {
    fn of(text: &str) -> Self {
        if text == "probe" { Self::Probe } else { Self::None }
    }
}

impl ClientPacket {
    /// Decodes the packet of one frame.
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
            b'2' => Ok(Self::Ping(Data::of(data))),
            b'3' => Ok(Self::Pong(Data::of(data))),
            b'4' => Ok(Self::Message(Message::Text(text.slice_ref(data)))),
            b'5' => Ok(Self::Upgrade),
            b'b' => {
                let data = match revision {
                    Revision::V3 => data.strip_prefix('4').ok_or(DecodeError::UnknownType(b'b'))?,
                    Revision::V4 => data,
                };
                base64::decode(data.as_bytes()).map(|data| Self::Message(Message::Binary(data)))
            }
            other => Err(DecodeError::UnknownType(other)),
        }
    }

    /// Returns the frame of this packet, as a client sends it on a WebSocket.
    #[must_use]
    pub fn encode(&self, revision: Revision) -> Frame {
        match self {
            Self::Close => Frame::Text(ByteString::from_static("1")),
            Self::Ping(data) => Frame::Text(ping_pong('2', *data)),
            Self::Pong(data) => Frame::Text(ping_pong('3', *data)),
            Self::Message(message) => Outgoing::from(message).into_frame(revision),
            Self::Upgrade => Frame::Text(ByteString::from_static("5")),
            Self::Ignored => Frame::Text(ByteString::from_static("6")),
        }
    }
}

impl ServerPacket<Message> {
    /// Decodes the packet of one frame.
    ///
    /// # Errors
    /// When the frame is not a packet of this revision that a server sends.
    pub fn decode(frame: Frame, revision: Revision) -> Result<Self, DecodeError> {
        if let Frame::Text(text) = &frame {
            match text.as_bytes().first() {
                Some(b'0') => {
                    return Handshake::parse(&text.slice_ref(&text[1..])).map(Self::Open).ok_or(DecodeError::Handshake);
                }
                Some(b'6') => return Ok(Self::Noop),
                // Whichever side sends the others, they have the same form.
                _ => (),
            }
        }
        Ok(match ClientPacket::decode(frame, revision)? {
            ClientPacket::Close => Self::Close,
            ClientPacket::Ping(_) => Self::Ping,
            ClientPacket::Pong(data) => Self::Pong(data),
            ClientPacket::Message(message) => Self::Message(message),
            ClientPacket::Upgrade | ClientPacket::Ignored => return Err(DecodeError::UnknownType(b'5')),
        })
    }
}

impl ServerPacket {
    /// Returns the frame of this packet: it goes on a WebSocket as it stands, and into a polling body packed.
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

fn ping_pong(kind: char, data: Data) -> ByteString {
    match (kind, data) {
        ('2', Data::Probe) => ByteString::from_static("2probe"),
        ('2', Data::None) => ByteString::from_static("2"),
        (_, Data::Probe) => ByteString::from_static("3probe"),
        (_, Data::None) => ByteString::from_static("3"),
    }
}
