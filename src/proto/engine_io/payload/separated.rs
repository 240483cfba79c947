//! Revision 4: packets with a separator between them.

use bytestring::ByteString;

use crate::proto::engine_io::base64;
use crate::proto::engine_io::frame::Frame;

/// The byte between two packets. No JSON text can have it.
pub(super) const SEPARATOR: u8 = 0x1e;

/// Cuts off the first packet; returns it and what is behind its separator, if there is one.
pub(super) fn split(body: ByteString) -> (ByteString, Option<ByteString>) {
    match memchr::memchr(SEPARATOR, body.as_bytes()) {
        Some(at) => (body.slice_ref(&body[..at]), Some(body.slice_ref(&body[at + 1..]))),
        None => (body, None),
    }
}

/// Joins frames into a body.
pub(super) fn encode(frames: &[Frame]) -> ByteString {
    // A lone text packet, the usual case, is the body as it stands.
    if let [Frame::Text(text)] = frames {
        return text.clone();
    }
    let mut body = String::with_capacity(frames.iter().map(length).sum());
    for (index, frame) in frames.iter().enumerate() {
        if index > 0 {
            body.push(char::from(SEPARATOR));
        }
        match frame {
            Frame::Text(text) => body.push_str(text),
            Frame::Binary(data) => {
                body.push('b');
                base64::write(data, &mut body);
            }
        }
    }
    body.into()
}

/// Returns the size of a frame in a body, with its separator.
fn length(frame: &Frame) -> usize {
    match frame {
        Frame::Text(text) => text.len() + 1,
        Frame::Binary(data) => base64::length(data.len()) + 2,
    }
}
