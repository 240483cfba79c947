//! Revision 3, text: packets with their length in front, `6:4hello`.
//!
//! The length is in UTF-16 code units, except where clients of socket.io 1 read and write it in bytes of UTF-8. Text that
//! is ASCII has the same length for all of them.

use std::borrow::Cow;

use bytestring::ByteString;

use crate::proto::engine_io::base64;
use crate::proto::engine_io::frame::{DecodeError, Frame};
use crate::proto::engine_io::polling_text::ToAscii;

/// The most digits of a length. A body with more is larger than any.
const MAX_DIGITS: usize = 10;

/// Cuts off the first packet; returns it and what follows it.
pub(super) fn split(body: &ByteString) -> Result<(ByteString, ByteString), DecodeError> {
    let digits = body.bytes().take(MAX_DIGITS + 1).take_while(u8::is_ascii_digit).count();
    let (length, rest) = body.split_at(digits);
    let length = length.parse().ok().filter(|_| digits <= MAX_DIGITS).ok_or(DecodeError::Framing)?;
    let rest = rest.strip_prefix(':').ok_or(DecodeError::Framing)?;
    let end = end_of(rest, length).ok_or(DecodeError::Framing)?;
    Ok((body.slice_ref(&rest[..end]), body.slice_ref(&rest[end..])))
}

/// Returns where this many UTF-16 code units end, unless that is outside the text or within a character.
fn end_of(text: &str, units: usize) -> Option<usize> {
    if text.as_bytes().get(..units).is_some_and(<[u8]>::is_ascii) {
        return Some(units);
    }
    let mut rest = units;
    let mut characters = text.char_indices();
    while rest > 0 {
        rest = rest.checked_sub(characters.next()?.1.len_utf16())?;
    }
    Some(characters.offset())
}

/// Joins frames into a body. Messages become ASCII if their layer knows how.
pub(super) fn encode(frames: &[Frame], to_ascii: Option<ToAscii>) -> ByteString {
    let mut body = String::with_capacity(frames.iter().map(length).sum());
    for frame in frames {
        match frame {
            Frame::Text(packet) => {
                let packet = &**packet;
                let (kind, data) = packet.split_at(if packet.starts_with('4') { 1 } else { packet.len() });
                let data = to_ascii.map_or(Cow::Borrowed(data), |to_ascii| to_ascii(data));
                write_length(utf16_length(kind) + utf16_length(&data), &mut body);
                body.push_str(kind);
                body.push_str(&data);
            }
            Frame::Binary(data) => {
                // The packet's type is a byte in front of the data, and here a character.
                let data = data.get(1..).unwrap_or_default();
                write_length(2 + base64::length(data.len()), &mut body);
                body.push_str("b4");
                base64::write(data, &mut body);
            }
        }
    }
    body.into()
}

fn write_length(length: usize, body: &mut String) {
    body.push_str(itoa::Buffer::new().format(length));
    body.push(':');
}

fn utf16_length(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().map(char::len_utf16).sum() }
}

/// Returns the size of a frame in a body of ASCII, with its length in front.
fn length(frame: &Frame) -> usize {
    match frame {
        Frame::Text(text) => text.len() + MAX_DIGITS + 1,
        Frame::Binary(data) => base64::length(data.len()) + 2 + MAX_DIGITS + 1,
    }
}
