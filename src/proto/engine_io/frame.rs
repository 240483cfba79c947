//! What carries one packet, and why a frame may be none.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

/// A WebSocket message, or one packet of a polling body. In revision 3, binary ones begin with the packet's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A text message.
    Text(ByteString),
    /// A binary message.
    Binary(Bytes),
}

impl Frame {
    /// Returns the size in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(data) => data.len(),
        }
    }

    /// Whether the frame has no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why bytes are not a packet. Always the peer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// A packet without even a type.
    Empty,
    /// A type that no packet has: this byte.
    UnknownType(u8),
    /// A `b` packet that is not base64.
    InvalidBase64,
    /// An open packet whose content is not a handshake.
    Handshake,
    /// Text that is not UTF-8.
    InvalidUtf8,
    /// Binary where the revision has only text.
    UnexpectedBinary,
    /// A length that is not a number, or that does not fit what follows it.
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
            Self::Handshake => f.write_str("an open packet that is no handshake"),
            Self::InvalidUtf8 => f.write_str("text that is not UTF-8"),
            Self::UnexpectedBinary => f.write_str("a binary body, which revision 4 does not have"),
            Self::Framing => f.write_str("lengths that do not fit the packets"),
            Self::TooManyPackets => f.write_str("too many packets in one body"),
        }
    }
}

impl std::error::Error for DecodeError {}
