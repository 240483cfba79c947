//! Revision 3, binary: packets with their kind and length in front, `00 06 ff 34 68 65 6c 6c 6f`.
//!
//! The kind is 0 for text and 1 for bytes. The length is in bytes, decimal digits written as the bytes 0 to 9, and ends
//! with 255.

use bytes::Bytes;
use bytestring::ByteString;

use crate::proto::engine_io::frame::{DecodeError, Frame};
use crate::proto::wtf8;

const TEXT: u8 = 0;
const BINARY: u8 = 1;
const END_OF_LENGTH: u8 = 0xff;

/// The most digits of a length. A body with more is larger than any.
const MAX_DIGITS: usize = 10;

/// Cuts off the first packet; returns it and what follows it.
pub(super) fn split(body: &Bytes) -> Result<(Frame, Bytes), DecodeError> {
    let (&kind, rest) = body.split_first().ok_or(DecodeError::Framing)?;
    let digits = rest.iter().take(MAX_DIGITS + 1).position(|&byte| byte == END_OF_LENGTH);
    let digits = digits.filter(|&digits| digits > 0).ok_or(DecodeError::Framing)?;
    let mut length: u64 = 0;
    for &digit in &rest[..digits] {
        if digit > 9 {
            return Err(DecodeError::Framing);
        }
        length = length * 10 + u64::from(digit);
    }
    // The kind and the end of the length are a byte each.
    let start = digits + 2;
    let end = usize::try_from(length).ok().and_then(|length| start.checked_add(length));
    let end = end.filter(|&end| end <= body.len()).ok_or(DecodeError::Framing)?;
    let packet = body.slice(start..end);
    let frame = match kind {
        TEXT => Frame::Text(text(&packet)?),
        BINARY => Frame::Binary(packet),
        _ => return Err(DecodeError::Framing),
    };
    Ok((frame, body.slice(end..)))
}

/// Decodes a packet's text. Half a surrogate pair, which text here cannot have, becomes U+FFFD, as where JavaScript
/// encodes UTF-8.
fn text(packet: &Bytes) -> Result<ByteString, DecodeError> {
    ByteString::try_from(packet.clone()).or_else(|_| {
        let text = wtf8::decode(packet, |_, text| text.push(char::REPLACEMENT_CHARACTER));
        text.map(ByteString::from).ok_or(DecodeError::InvalidUtf8)
    })
}

/// Joins frames into a body.
pub(super) fn encode(frames: &[Frame]) -> Bytes {
    let mut body = Vec::with_capacity(frames.iter().map(|frame| frame.len() + MAX_DIGITS + 2).sum());
    for frame in frames {
        let (kind, data) = match frame {
            Frame::Text(text) => (TEXT, text.as_bytes().as_ref()),
            Frame::Binary(data) => (BINARY, data.as_ref()),
        };
        body.push(kind);
        body.extend(itoa::Buffer::new().format(data.len()).bytes().map(|digit| digit - b'0'));
        body.push(END_OF_LENGTH);
        body.extend_from_slice(data);
    }
    Bytes::from(body)
}
