//! WebSocket frames as a server reads and writes them (RFC 6455, section 5), without extensions.
//!
//! ```text
//! bytes ─► Reader::read ─► Item        a message in one piece is copied once, and unmasked in its place
//!      └─► Reader::reserve, room ─► took   the rest of a long one is read straight to where it stays
//! ```
//!
//! A message holds what has come of it, and room for so many times as much as its reader allows: never for what was only
//! announced.

mod frame;

use std::mem;

use bytes::buf::Limit;
use bytes::{BufMut as _, Bytes};
use bytestring::ByteString;

use self::frame::{Frame, MAX_HEAD};
pub use self::frame::{Opcode, write_head};

/// A frame has at least so much to come when it is read straight to its place, in bytes.
const LONG: usize = 16 << 10;

/// Text of so many bytes, in one frame, is shared without memory for that.
const SHORT: usize = 232;

/// The start of an oversized text message that is kept: enough for the head of any packet.
const OVERSIZE_START: usize = 512;

/// What a peer said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A text message.
    Text(ByteString),
    /// A binary message.
    Binary(Bytes),
    /// A message over the limit, which was dropped as it came; the start of its text.
    Oversized(Option<ByteString>),
    /// It wants these bytes back.
    Ping(Bytes),
    /// It answers, or only says that it is there.
    Pong,
    /// It says goodbye, with a code or without.
    Close(Option<u16>),
}

/// How a peer broke the rules. The connection is over, and the peer is told this code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// Bytes that are no frame, or a frame out of its turn.
    Protocol,
    /// Text that is not UTF-8.
    Utf8,
    /// A message too large even to be dropped.
    TooLarge,
}

impl Violation {
    /// The code of the close frame (RFC 6455, section 7.4.1).
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Protocol => 1002,
            Self::Utf8 => 1007,
            Self::TooLarge => 1009,
        }
    }
}

/// Reads frames, and puts messages together.
#[derive(Debug)]
pub struct Reader {
    max_message: usize,
    largest: usize,
    /// The start of a head that is not whole yet.
    head: [u8; MAX_HEAD],
    head_length: usize,
    frame: Option<Frame>,
    /// What the message is that gathers.
    kind: Option<Kind>,
    /// Its size so far, with what was announced of the frame that comes, and what was dropped.
    length: usize,
    message: Vec<u8>,
    /// The start of the message that is known to be UTF-8, in bytes.
    checked: usize,
    control: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

/// A short text, which lies with the count of those who share it. That of longer ones has a place of its own.
struct Short {
    length: usize,
    bytes: [u8; SHORT],
}

impl AsRef<[u8]> for Short {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Reader {
    /// A message over `max_message` bytes is dropped as it comes, one over `largest` ends the connection.
    #[must_use]
    pub fn new(max_message: usize, largest: usize) -> Self {
        Self {
            max_message,
            largest,
            head: [0; MAX_HEAD],
            head_length: 0,
            frame: None,
            kind: None,
            length: 0,
            message: Vec::new(),
            checked: 0,
            control: Vec::new(),
        }
    }

    /// The memory of what gathers, in bytes.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.message.capacity()
    }

    /// Takes bytes off the front of `input` until something is whole; `None` when all were taken before.
    ///
    /// # Errors
    /// When the peer breaks the rules. Nothing may be read after it.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Item>, Violation> {
        loop {
            if self.frame.is_none() {
                let Some(frame) = self.take_head(input)? else { return Ok(None) };
                self.begin(frame)?;
            }
            let Some(frame) = &mut self.frame else { return Ok(None) };
            let (part, rest) = input.split_at(frame.remaining.min(input.len()));
            *input = rest;
            if frame.opcode.is_control() {
                self.control.extend_from_slice(part);
                let at = self.control.len() - part.len();
                frame.unmask(&mut self.control[at..]);
            } else if self.length > self.max_message {
                let kept = &part[..part.len().min(OVERSIZE_START.saturating_sub(self.message.len()))];
                let at = self.message.len();
                self.message.extend_from_slice(kept);
                let mut kept_frame = *frame;
                kept_frame.unmask(&mut self.message[at..]);
                frame.pass(part.len());
            } else if frame.is_whole_text()
                && part.len() == frame.remaining
                && self.message.is_empty()
                && part.len() <= SHORT
            {
                let mut text = Short { length: part.len(), bytes: [0; SHORT] };
                text.bytes[..part.len()].copy_from_slice(part);
                frame.unmask(&mut text.bytes[..part.len()]);
                (self.frame, self.kind, self.length) = (None, None, 0);
                let text = ByteString::try_from(Bytes::from_owner(text)).map_err(|_| Violation::Utf8)?;
                return Ok(Some(Item::Text(text)));
            } else {
                let at = self.message.len();
                if part.len() == frame.remaining {
                    self.message.reserve_exact(part.len());
                }
                self.message.extend_from_slice(part);
                frame.unmask(&mut self.message[at..]);
            }
            if frame.remaining > 0 {
                return Ok(None);
            }
            if let Some(item) = self.finish()? {
                return Ok(Some(item));
            }
        }
    }

    /// Makes room for what comes next, when it is much more of the same frame: for `growth` times what has come of the message,
    /// at the most. Only right when all bytes before were read.
    pub fn reserve(&mut self, growth: usize) {
        let Some(remaining) = self.remaining_of_long() else { return };
        let (length, spare) = (self.message.len(), self.message.capacity() - self.message.len());
        if spare < LONG.min(remaining) {
            self.message.reserve_exact(remaining.min(length.max(LONG).saturating_mul(growth)));
        }
    }

    /// Where the bytes that come next stay, when there is [room](Self::reserve) for them; [`Self::took`] must hear how many
    /// were put there.
    pub fn room(&mut self) -> Option<Limit<&mut Vec<u8>>> {
        let remaining = self.remaining_of_long()?;
        let spare = self.message.capacity() - self.message.len();
        (spare > 0).then(|| (&mut self.message).limit(spare.min(remaining)))
    }

    /// What is to come of a frame that is read straight to its place.
    fn remaining_of_long(&self) -> Option<usize> {
        let frame = self.frame.filter(|frame| !frame.opcode.is_control() && frame.remaining >= LONG)?;
        (self.length <= self.max_message).then_some(frame.remaining)
    }

    /// So many bytes were put where [`Self::room`] was.
    pub fn took(&mut self, bytes: usize) {
        if let Some(frame) = &mut self.frame {
            let at = self.message.len().saturating_sub(bytes);
            frame.unmask(&mut self.message[at..]);
        }
    }

    /// The next head, once it is whole.
    fn take_head(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, Violation> {
        if self.head_length == 0
            && let Some((frame, length)) = Frame::parse(input)?
        {
            *input = &input[length..];
            return Ok(Some(frame));
        }
        while let Some((&byte, rest)) = input.split_first() {
            *input = rest;
            self.head[self.head_length] = byte;
            self.head_length += 1;
            if let Some((frame, _)) = Frame::parse(&self.head[..self.head_length])? {
                self.head_length = 0;
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    fn begin(&mut self, frame: Frame) -> Result<(), Violation> {
        match (frame.opcode, self.kind) {
            (Opcode::Text, None) => self.kind = Some(Kind::Text),
            (Opcode::Binary, None) => self.kind = Some(Kind::Binary),
            (Opcode::Continuation, Some(_)) | (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => (),
            // A part of nothing, or a message amid another one.
            (Opcode::Continuation, None) | (Opcode::Text | Opcode::Binary, Some(_)) => return Err(Violation::Protocol),
        }
        if !frame.opcode.is_control() {
            self.length = self.length.saturating_add(frame.remaining);
            if self.length > self.largest {
                return Err(Violation::TooLarge);
            }
            if self.length > self.max_message {
                self.message.truncate(OVERSIZE_START);
                self.message.shrink_to_fit();
            }
        }
        self.frame = Some(frame);
        Ok(())
    }

    /// The frame is whole; gives what has become whole with it.
    fn finish(&mut self) -> Result<Option<Item>, Violation> {
        let Some(frame) = self.frame.take() else { return Ok(None) };
        match frame.opcode {
            Opcode::Ping => return Ok(Some(Item::Ping(mem::take(&mut self.control).into()))),
            Opcode::Pong => {
                self.control = Vec::new();
                return Ok(Some(Item::Pong));
            }
            Opcode::Close => return close(&mem::take(&mut self.control)).map(Some),
            Opcode::Continuation | Opcode::Text | Opcode::Binary => (),
        }
        if !frame.is_final {
            return self.check().map(|()| None);
        }
        self.checked = 0;
        let message = Bytes::from(mem::take(&mut self.message));
        let is_oversized = mem::take(&mut self.length) > self.max_message;
        Ok(match self.kind.take() {
            Some(Kind::Text) if is_oversized => Some(Item::Oversized(Some(whole_characters(&message)))),
            Some(Kind::Binary) if is_oversized => Some(Item::Oversized(None)),
            Some(Kind::Text) => Some(Item::Text(ByteString::try_from(message).map_err(|_| Violation::Utf8)?)),
            Some(Kind::Binary) => Some(Item::Binary(message)),
            None => None,
        })
    }

    /// Notices text that is not UTF-8 at the end of each part of it, and not only when the message is whole. The last
    /// character may be cut there.
    fn check(&mut self) -> Result<(), Violation> {
        if self.kind != Some(Kind::Text) || self.length > self.max_message {
            return Ok(());
        }
        match std::str::from_utf8(&self.message[self.checked..]) {
            Ok(text) => self.checked += text.len(),
            Err(error) if error.error_len().is_some() => return Err(Violation::Utf8),
            Err(error) => self.checked += error.valid_up_to(),
        }
        Ok(())
    }
}

/// The payload of a close frame (RFC 6455, section 5.5.1).
fn close(payload: &[u8]) -> Result<Item, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(Item::Close(None)) } else { Err(Violation::Protocol) };
    };
    let code = u16::from_be_bytes(*code);
    // Codes that were given a meaning for the wire, and those for libraries and applications.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::Protocol);
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Item::Close(Some(code))),
        Err(_) => Err(Violation::Utf8),
    }
}

/// Text that was cut at any byte, as far as it is UTF-8.
fn whole_characters(bytes: &[u8]) -> ByteString {
    let valid = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    };
    ByteString::from(valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as a client sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
        let mut out = Vec::new();
        write_head(Opcode::Text, payload.len(), &mut out);
        out[0] = first;
        out[1] |= 0x80;
        out.extend_from_slice(&MASK);
        out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    /// What comes of these bytes when they come in parts of that size, in both ways of reading.
    fn read(bytes: &[u8], size: usize, growth: usize) -> (Vec<Item>, Option<Violation>) {
        let mut reader = Reader::new(100_000, 400_000);
        let mut items = Vec::new();
        for mut part in bytes.chunks(size) {
            loop {
                reader.reserve(growth);
                if let Some(mut room) = reader.room() {
                    let (straight, rest) = part.split_at(part.len().min(room.remaining_mut()));
                    room.put_slice(straight);
                    reader.took(straight.len());
                    part = rest;
                }
                match reader.read(&mut part) {
                    Ok(Some(item)) => items.push(item),
                    Ok(None) if part.is_empty() => break,
                    Ok(None) => (),
                    Err(violation) => return (items, Some(violation)),
                }
            }
        }
        assert!(reader.buffered_bytes() <= (1 + growth) * bytes.len(), "no room for what did not come");
        (items, None)
    }

    fn reads(bytes: &[u8], items: &[Item], violation: Option<Violation>) {
        for size in [1, 2, 3, 7, 1000, 20_000, 65_536, usize::MAX] {
            for growth in [1, 5] {
                assert_eq!(read(bytes, size, growth), (items.to_vec(), violation), "in parts of {size}");
            }
        }
    }

    fn text(text: &str) -> Item {
        Item::Text(text.into())
    }

    #[test]
    fn reads_messages_of_every_length() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 100_000] {
            let payload: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            reads(&frame(0x82, &payload), &[Item::Binary(payload.into())], None);
        }
        for length in [0, 1, 2, 3, SHORT - 1, SHORT, SHORT + 1, 20_000] {
            let letters: String = ('a'..='z').cycle().take(length).collect();
            let two = [frame(0x81, letters.as_bytes()), frame(0x81, b"next")].concat();
            reads(&two, &[text(&letters), text("next")], None);
        }
    }

    #[test]
    fn joins_fragments_with_control_frames_between_them() {
        let long = "é".repeat(20_000);
        let (start, end) = long.as_bytes().split_at(30_001);
        let bytes = [
            frame(0x01, b""),
            frame(0x00, start),
            frame(0x89, b"are you there"),
            frame(0x80, end),
            frame(0x8a, b""),
            frame(0x81, b"next"),
            frame(0x88, &[0x03, 0xe8, b'o', b'k']),
        ]
        .concat();
        let ping = Item::Ping(Bytes::from_static(b"are you there"));
        reads(&bytes, &[ping, text(&long), Item::Pong, text("next"), Item::Close(Some(1000))], None);
    }

    #[test]
    fn drops_what_is_over_the_limit_and_goes_on() {
        let long = "€".repeat(50_000);
        let start: String = "€".repeat(OVERSIZE_START / 3);
        let bytes = [frame(0x81, long.as_bytes()), frame(0x81, b"next"), frame(0x82, &[0; 150_000])].concat();
        reads(&bytes, &[Item::Oversized(Some(start.into())), text("next"), Item::Oversized(None)], None);
        let parts = [frame(0x01, &[b'x'; 90_000]), frame(0x80, &[b'x'; 90_000])].concat();
        reads(&parts, &[Item::Oversized(Some("x".repeat(OVERSIZE_START).into()))], None);
        reads(&frame(0x82, &[0; 400_001]), &[], Some(Violation::TooLarge));
    }

    #[test]
    fn notices_what_is_no_frame() {
        let mut unmasked = Vec::new();
        write_head(Opcode::Text, 1, &mut unmasked);
        for (bytes, violation) in [
            (unmasked, Violation::Protocol),
            (frame(0xc1, b""), Violation::Protocol),
            (frame(0x83, b""), Violation::Protocol),
            (frame(0x8b, b""), Violation::Protocol),
            (frame(0x09, b""), Violation::Protocol),
            (frame(0x89, &[0; 126]), Violation::Protocol),
            (frame(0x80, b""), Violation::Protocol),
            ([frame(0x01, b"a"), frame(0x81, b"b")].concat(), Violation::Protocol),
            (frame(0x88, b"x"), Violation::Protocol),
            (frame(0x88, &1005_u16.to_be_bytes()), Violation::Protocol),
            (frame(0x88, &999_u16.to_be_bytes()), Violation::Protocol),
            (frame(0x88, &[0x03, 0xe8, 0xff]), Violation::Utf8),
            (frame(0x81, b"\xff"), Violation::Utf8),
            (frame(0x01, b"4\xff"), Violation::Utf8),
            ([frame(0x01, b"4\xf0"), frame(0x00, b"\x9f"), frame(0x00, b"4")].concat(), Violation::Utf8),
            (vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Violation::Protocol),
            (vec![0x82, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Violation::TooLarge),
        ] {
            reads(&bytes, &[], Some(violation));
        }
    }

    #[test]
    fn a_liar_gets_no_room() {
        let mut reader = Reader::new(100 << 20, 400 << 20);
        let head = [0x82, 0xff, 0, 0, 0, 0, 0x06, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(reader.read(&mut &head[..]), Ok(None));
        assert!(reader.buffered_bytes() < 64);
        reader.reserve(3);
        assert!(reader.room().unwrap().remaining_mut() <= 3 * LONG);
    }
}
