//! Reads frames, and puts messages together.
//!
//! ```text
//! bytes ─► Reader::read ─► Item              a message in one piece is copied once, and unmasked in its place
//!      └─► Reader::reserve ─► Reader::direct   the rest of a long one is read straight to where it stays
//! ```
//!
//! A message holds the memory that its bytes take, and as much more as the caller allows for what is to come: never for
//! what was only announced.

use std::mem;

use bytes::buf::Limit;
use bytes::{BufMut as _, Bytes};
use bytestring::ByteString;

use super::frame::{MAX_HEAD, Opcode, OpenFrame, Violation, parse_close};

/// The bytes to come from which on a frame is long: they are read straight to their place.
const LONG: usize = 16 << 10;

/// The length of the start of an oversized text message that is kept, in bytes: enough for the head of any packet.
const OVERSIZE_START: usize = 512;

/// A message or control frame of the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A text message.
    Text(ByteString),
    /// A binary message.
    Binary(Bytes),
    /// A message over the limit, which was dropped as it came; the start of its text, or `None` for a binary one.
    Oversized(Option<ByteString>),
    /// A ping, to be answered with these bytes.
    Ping(Bytes),
    /// A pong: the answer to a ping, or a sign of life.
    Pong,
    /// The peer's goodbye.
    Close {
        /// The code, if there is one.
        code: Option<u16>,
        /// The words behind the code; mostly none.
        reason: ByteString,
    },
}

/// The sizes of messages that a reader takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// A message of more bytes is dropped as it comes, and becomes an [`Item::Oversized`].
    pub message: usize,
    /// A message of more bytes ends the connection with [`Violation::TooLarge`], so that a peer cannot make the server
    /// read for nothing without end.
    pub oversized: usize,
}

/// Reads frames, and puts messages together.
#[derive(Debug)]
pub struct Reader {
    limits: ReadLimits,
    /// The peer is a client, whose frames are masked.
    from_client: bool,
    /// The start of a head that is not whole yet.
    head: [u8; MAX_HEAD],
    head_length: usize,
    frame: Option<OpenFrame>,
    /// The kind of the message that gathers.
    kind: Option<Kind>,
    /// The size of that message so far, with what the open frame announced and what was dropped, in bytes.
    length: usize,
    message: Vec<u8>,
    /// The length of the message's start that is known to be UTF-8, in bytes.
    checked: usize,
    control: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

impl Reader {
    /// Makes the reader of a server, on a connection that begins.
    #[must_use]
    pub fn new(limits: ReadLimits) -> Self {
        Self::of_peer(limits, true)
    }

    /// Makes the reader of a client.
    #[must_use]
    pub fn of_client(limits: ReadLimits) -> Self {
        Self::of_peer(limits, false)
    }

    fn of_peer(limits: ReadLimits, from_client: bool) -> Self {
        Self {
            limits,
            from_client,
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

    /// Returns the memory of the message that gathers, in bytes.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.message.capacity()
    }

    /// Takes bytes off the front of `input` until something is whole. `None` means that all were taken, and more are
    /// needed.
    ///
    /// # Errors
    /// When the peer breaks the rules. Nothing may be read after that.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Item>, Violation> {
        loop {
            if self.frame.is_none() {
                let Some(frame) = self.take_head(input)? else { return Ok(None) };
                self.begin(frame)?;
            }
            if !self.take_payload(input) {
                return Ok(None);
            }
            if let Some(item) = self.finish()? {
                return Ok(Some(item));
            }
        }
    }

    /// Takes bytes of the open frame's payload. Returns true when it is whole.
    fn take_payload(&mut self, input: &mut &[u8]) -> bool {
        let Some(frame) = &mut self.frame else { return false };
        let (part, rest) = input.split_at(frame.remaining.min(input.len()));
        *input = rest;
        let is_control = frame.opcode.is_control();
        let gathered = if is_control { &mut self.control } else { &mut self.message };
        let start = gathered.len();
        if !is_control && self.length > self.limits.message {
            gathered.extend_from_slice(&part[..part.len().min(OVERSIZE_START.saturating_sub(start))]);
            let mut of_kept = *frame;
            of_kept.unmask(&mut gathered[start..]);
            frame.pass(part.len());
        } else {
            if part.len() == frame.remaining {
                gathered.reserve_exact(part.len());
            }
            gathered.extend_from_slice(part);
            frame.unmask(&mut gathered[start..]);
        }
        frame.remaining == 0
    }

    /// Takes what has come of a message that is not whole: while a frame of it is open, only if that is `least` bytes. What is
    /// left becomes items of the same kind, here and, the last of them, in [`Self::read`]. Text is cut between characters. Nothing is
    /// taken of a message over the limit.
    ///
    /// # Errors
    /// When text is not UTF-8. Nothing may be read after that.
    pub fn take_part(&mut self, least: usize) -> Result<Option<Item>, Violation> {
        let is_mid_frame = self.frame.is_some_and(|frame| !frame.opcode.is_control());
        let can_wait = is_mid_frame && self.message.len() < least || self.length > self.limits.message;
        let Some(kind) = self.kind.filter(|_| !can_wait) else { return Ok(None) };
        self.check()?;
        let length = if kind == Kind::Text { mem::take(&mut self.checked) } else { self.message.len() };
        if length == 0 {
            return Ok(None);
        }
        let rest = self.message.split_off(length);
        let part = Bytes::from(mem::replace(&mut self.message, rest));
        Ok(Some(match kind {
            Kind::Text => Item::Text(ByteString::try_from(part).map_err(|_| Violation::Utf8)?),
            Kind::Binary => Item::Binary(part),
        }))
    }

    /// Reserves memory for what is to come of a long frame: at most `growth` times what has come of its message, and at
    /// least `growth` times 16 KiB, but not more than was announced.
    pub fn reserve(&mut self, growth: usize) {
        let Some(remaining) = self.remaining_of_long() else { return };
        let (length, spare) = (self.message.len(), self.message.capacity() - self.message.len());
        if spare < LONG.min(remaining) {
            self.message.reserve_exact(remaining.min(length.max(LONG).saturating_mul(growth)));
        }
    }

    /// Returns the place for the bytes that the connection brings next, if they are of a long frame and memory is
    /// [reserved](Self::reserve) for them. All bytes before must have gone through [`Self::read`] until it returned
    /// `None`.
    pub fn direct(&mut self) -> Option<Direct<'_>> {
        let remaining = self.remaining_of_long()?;
        let start = self.message.len();
        let end = start + remaining.min(self.message.capacity() - start);
        let frame = self.frame.as_mut()?;
        (end > start).then_some(Direct { frame, message: &mut self.message, start, end })
    }

    /// Returns what is to come of a long frame, in bytes, if its message is kept.
    fn remaining_of_long(&self) -> Option<usize> {
        let frame = self.frame.filter(|frame| !frame.opcode.is_control() && frame.remaining >= LONG)?;
        (self.length <= self.limits.message).then_some(frame.remaining)
    }

    /// Takes the next head; `None` while it is not whole.
    fn take_head(&mut self, input: &mut &[u8]) -> Result<Option<OpenFrame>, Violation> {
        if self.head_length == 0
            && let Some((frame, length)) = OpenFrame::parse(input, self.from_client)?
        {
            *input = &input[length..];
            return Ok(Some(frame));
        }
        while let Some((&byte, rest)) = input.split_first() {
            *input = rest;
            self.head[self.head_length] = byte;
            self.head_length += 1;
            if let Some((frame, _)) = OpenFrame::parse(&self.head[..self.head_length], self.from_client)? {
                self.head_length = 0;
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    fn begin(&mut self, frame: OpenFrame) -> Result<(), Violation> {
        match (frame.opcode, self.kind) {
            (Opcode::Text, None) => self.kind = Some(Kind::Text),
            (Opcode::Binary, None) => self.kind = Some(Kind::Binary),
            (Opcode::Continuation, Some(_)) | (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => (),
            // A part of no message, or a message amid another one.
            (Opcode::Continuation, None) | (Opcode::Text | Opcode::Binary, Some(_)) => return Err(Violation::Protocol),
        }
        if !frame.opcode.is_control() {
            self.length = self.length.saturating_add(frame.remaining);
            if self.length > self.limits.oversized {
                return Err(Violation::TooLarge);
            }
            if self.length > self.limits.message {
                self.message.truncate(OVERSIZE_START);
                self.message.shrink_to_fit();
            }
        }
        self.frame = Some(frame);
        Ok(())
    }

    /// Ends a frame that is whole, and returns what has become whole with it.
    fn finish(&mut self) -> Result<Option<Item>, Violation> {
        let Some(frame) = self.frame.take() else { return Ok(None) };
        match frame.opcode {
            Opcode::Ping => return Ok(Some(Item::Ping(mem::take(&mut self.control).into()))),
            Opcode::Pong => {
                self.control = Vec::new();
                return Ok(Some(Item::Pong));
            }
            Opcode::Close => {
                let (code, reason) = parse_close(mem::take(&mut self.control).into())?;
                return Ok(Some(Item::Close { code, reason }));
            }
            Opcode::Continuation | Opcode::Text | Opcode::Binary => (),
        }
        if !frame.is_final {
            return self.check().map(|()| None);
        }
        self.checked = 0;
        let message = Bytes::from(mem::take(&mut self.message));
        let is_oversized = mem::take(&mut self.length) > self.limits.message;
        Ok(match self.kind.take() {
            Some(Kind::Text) if is_oversized => Some(Item::Oversized(Some(whole_characters(&message)))),
            Some(Kind::Binary) if is_oversized => Some(Item::Oversized(None)),
            Some(Kind::Text) => Some(Item::Text(ByteString::try_from(message).map_err(|_| Violation::Utf8)?)),
            Some(Kind::Binary) => Some(Item::Binary(message)),
            None => None,
        })
    }

    /// Checks the text so far: text that is not UTF-8 is noticed at the end of each part, and not only when the message
    /// is whole. The last character may be cut there.
    fn check(&mut self) -> Result<(), Violation> {
        if self.kind != Some(Kind::Text) || self.length > self.limits.message {
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

/// The place for the next bytes of a long frame. What was put there is unmasked when this is dropped.
#[derive(Debug)]
pub struct Direct<'r> {
    frame: &'r mut OpenFrame,
    message: &'r mut Vec<u8>,
    start: usize,
    end: usize,
}

impl Direct<'_> {
    /// Returns the place, to which bytes are appended, as many as it has room for.
    pub fn space(&mut self) -> Limit<&mut Vec<u8>> {
        let left = self.end.saturating_sub(self.message.len());
        (&mut *self.message).limit(left)
    }
}

impl Drop for Direct<'_> {
    fn drop(&mut self) {
        self.frame.unmask(self.message.get_mut(self.start..).unwrap_or_default());
    }
}

/// Returns text that was cut at any byte, as far as it is UTF-8.
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
    use crate::proto::websocket::frame::{write_head, write_masked_head};
    use crate::proto::websocket::parts::read_in_parts;

    /// A frame as a client sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
        let mut out = Vec::new();
        write_masked_head(Opcode::Text, payload.len(), MASK, &mut out);
        out[0] = first;
        out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }

    /// What comes of these bytes when they come in parts of that size.
    fn read(bytes: &[u8], size: usize, growth: usize) -> (Vec<Item>, Option<Violation>) {
        let mut reader = Reader::new(ReadLimits { message: 100_000, oversized: 400_000 });
        let (items, violation) = read_in_parts(&mut reader, bytes, size, growth);
        if violation.is_none() {
            assert!(reader.buffered_bytes() <= (1 + growth) * bytes.len(), "no memory for what did not come");
        }
        (items, violation)
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
        for length in [0, 1, 2, 3, 231, 20_000] {
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
        let goodbye = Item::Close { code: Some(1000), reason: ByteString::from_static("ok") };
        reads(&bytes, &[ping, text(&long), Item::Pong, text("next"), goodbye], None);
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
    fn refuses_what_is_no_frame() {
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
    fn what_is_only_announced_takes_no_memory() {
        let mut reader = Reader::new(ReadLimits { message: 100 << 20, oversized: 400 << 20 });
        let head = [0x82, 0xff, 0, 0, 0, 0, 0x06, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(reader.read(&mut &head[..]), Ok(None));
        assert!(reader.buffered_bytes() < 64);
        reader.reserve(3);
        assert!(reader.direct().unwrap().space().remaining_mut() <= 3 * LONG);
    }
}
