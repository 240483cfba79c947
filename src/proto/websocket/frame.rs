//! One frame: its head and its mask, and what a close frame says.

use bytes::{Buf as _, Bytes};
use bytestring::ByteString;

/// The longest payload of a control frame, in bytes (RFC 6455, section 5.5).
const MAX_CONTROL: usize = 125;

/// The longest head of a frame, which is a client's, in bytes.
pub(super) const MAX_HEAD: usize = 14;

/// The kind of a frame (RFC 6455, section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// The next part of a message.
    Continuation = 0,
    /// Text.
    Text = 1,
    /// Bytes.
    Binary = 2,
    /// The peer's goodbye.
    Close = 8,
    /// A question whether the peer is there.
    Ping = 9,
    /// The answer to a ping.
    Pong = 10,
}

impl Opcode {
    fn of(byte: u8) -> Option<Self> {
        [Self::Continuation, Self::Text, Self::Binary, Self::Close, Self::Ping, Self::Pong]
            .into_iter()
            .find(|&opcode| opcode as u8 == byte & 0x0f)
    }

    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Appends the head of a frame that is a whole message or control frame. A server's frames are not masked.
pub fn write_head(opcode: Opcode, length: usize, out: &mut Vec<u8>) {
    write_part_head(opcode, true, length, out);
}

/// Appends the head of a frame that is a part of a message, and says whether it is the last. All parts but the first are
/// [continuations](Opcode::Continuation).
pub fn write_part_head(opcode: Opcode, is_last: bool, length: usize, out: &mut Vec<u8>) {
    out.push(opcode as u8 | if is_last { 0x80 } else { 0 });
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..126), _) => out.push(length),
        (_, Ok(length)) => {
            out.push(126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Appends the head of a client's frame that is a whole message or control frame. The payload follows, [masked](mask).
pub fn write_masked_head(opcode: Opcode, length: usize, mask: [u8; 4], out: &mut Vec<u8>) {
    let start = out.len();
    write_head(opcode, length, out);
    out[start + 1] |= 0x80;
    out.extend_from_slice(&mask);
}

/// Masks a payload whose first byte is that of `bytes`, or unmasks it.
pub fn mask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = bytes.as_chunks_mut();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, mask) in tail.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// How a peer broke the rules. The connection is over, and the peer is told the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// Bytes that are not a frame, or a frame out of turn.
    Protocol,
    /// Text that is not UTF-8.
    Utf8,
    /// A message too large even to be dropped.
    TooLarge,
}

impl Violation {
    /// Returns the code of the close frame (RFC 6455, section 7.4.1).
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Protocol => 1002,
            Self::Utf8 => 1007,
            Self::TooLarge => 1009,
        }
    }
}

/// Reads the payload of a close frame, a code and the words behind it (RFC 6455, section 5.5.1).
pub(super) fn parse_close(mut payload: Bytes) -> Result<(Option<u16>, ByteString), Violation> {
    if payload.is_empty() {
        return Ok((None, ByteString::new()));
    }
    let code = payload.try_get_u16().map_err(|_| Violation::Protocol)?;
    // The codes that have a meaning on the wire, and those for libraries and applications.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::Protocol);
    }
    Ok((Some(code), ByteString::try_from(payload).map_err(|_| Violation::Utf8)?))
}

/// Returns the payload of a close frame. Words for which there is no room are cut.
#[must_use]
pub fn close_payload(code: u16, reason: &str) -> Bytes {
    let room = reason.len().min(MAX_CONTROL - size_of_val(&code));
    let end = (0..=room).rev().find(|&end| reason.is_char_boundary(end)).unwrap_or(0);
    [&code.to_be_bytes(), &reason.as_bytes()[..end]].concat().into()
}

/// A frame whose payload is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenFrame {
    pub(super) opcode: Opcode,
    pub(super) is_final: bool,
    pub(super) remaining: usize,
    /// The mask, turned so that its first byte is that of the next byte of the payload. Zeros in a server's frame.
    mask: [u8; 4],
}

impl OpenFrame {
    /// Parses the head at the start of these bytes; returns it with its length, or `None` while it is not whole. What
    /// is wrong shows as early as it can. A client must mask its frames, and a server must not (RFC 6455, section 5.1).
    pub(super) fn parse(bytes: &[u8], from_client: bool) -> Result<Option<(Self, usize)>, Violation> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        let is_final = first & 0x80 != 0;
        let has_reserved_bits = first & 0x70 != 0;
        let is_masked = second & 0x80 != 0;
        let opcode = Opcode::of(first).ok_or(Violation::Protocol)?;
        let short = second & 0x7f;
        if has_reserved_bits || is_masked != from_client {
            return Err(Violation::Protocol);
        }
        if opcode.is_control() && !(is_final && usize::from(short) <= MAX_CONTROL) {
            return Err(Violation::Protocol);
        }
        let (length, rest) = match short {
            126 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            short => (u64::from(short), rest),
        };
        if length >> 63 != 0 {
            return Err(Violation::Protocol);
        }
        let (mask, rest) = match rest.split_first_chunk() {
            Some((&mask, rest)) if is_masked => (mask, rest),
            None if is_masked => return Ok(None),
            Some(_) | None => ([0; 4], rest),
        };
        // A length that does not fit an address is over every limit.
        let remaining = usize::try_from(length).unwrap_or(usize::MAX);
        Ok(Some((Self { opcode, is_final, remaining, mask }, bytes.len() - rest.len())))
    }

    /// Unmasks the next bytes of the payload.
    pub(super) fn unmask(&mut self, bytes: &mut [u8]) {
        if self.mask != [0; 4] {
            mask(bytes, self.mask);
        }
        self.pass(bytes.len());
    }

    /// Passes over the next bytes of the payload.
    pub(super) fn pass(&mut self, bytes: usize) {
        self.remaining -= bytes;
        self.mask.rotate_left(bytes % 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_heads_of_every_length() {
        for (length, head) in [
            (0, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (0xffff, &[0x81, 126, 0xff, 0xff]),
            (0x1_0000, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            write_head(Opcode::Text, length, &mut out);
            assert_eq!(out, head, "{length}");
        }
    }

    #[test]
    fn the_words_of_a_close_frame_are_cut_between_characters() {
        for (reason, kept) in
            [("", 0), ("over", 4), (&"x".repeat(123), 123), (&"x".repeat(124), 123), (&"é".repeat(99), 122)]
        {
            let payload = close_payload(1000, reason);
            assert_eq!(parse_close(payload), Ok((Some(1000), ByteString::from(&reason[..kept]))));
        }
    }
}
