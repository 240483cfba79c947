//! What waits to be sent to the end.

use std::collections::VecDeque;
use std::task::Waker;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use crate::net::budget::Memory;
use crate::proto::exchange::stream::Part;
use crate::proto::json;

/// What goes to the end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Up {
    /// Bytes of the request's body, or of the connection.
    Data(Bytes),
    /// A message, or a part of one.
    Message { part: Part, more: bool },
    /// All bytes have come, and perhaps trailers, as JSON.
    End { trailers: Option<ByteString> },
    /// The visitor closes its WebSocket.
    Close { code: u16, reason: ByteString },
}

/// What waits to be sent to the end of one exchange.
#[derive(Debug, Default)]
pub(super) struct UpQueue {
    pub(super) bytes: BytesMut,
    pub(super) messages: VecDeque<(Part, bool)>,
    /// The memory of the messages, which may be far larger than what is read ahead of bytes.
    pub(super) memory: Memory,
    pub(super) last: Option<Up>,
    /// The session knows that something waits.
    pub(super) is_offered: bool,
    /// Nobody takes anything any more.
    pub(super) is_stopped: bool,
    pub(super) writer: Option<Waker>,
}

impl UpQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.messages.is_empty() && self.last.is_none()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() + self.messages.iter().map(|(part, _)| part.len()).sum::<usize>()
    }

    /// Takes what is next, of at most `room` bytes.
    pub(super) fn take(&mut self, room: usize) -> Option<Up> {
        if !self.bytes.is_empty() {
            return Some(Up::Data(self.bytes.split_to(room.min(self.bytes.len())).freeze()));
        }
        let Some((part, more)) = self.messages.pop_front() else { return self.last.take() };
        if self.messages.is_empty() && part.len() <= room {
            self.memory.clear();
        }
        let (part, rest) = cut(part, room);
        let is_cut = rest.is_some();
        if let Some(rest) = rest {
            self.messages.push_front((rest, more));
        }
        Some(Up::Message { part, more: more || is_cut })
    }
}

/// Cuts a part so that the first piece has at most `room` bytes, and its text in JSON at most twice as many. A text is cut between
/// characters, of which the first piece has one at least.
fn cut(part: Part, room: usize) -> (Part, Option<Part>) {
    match part {
        Part::Binary(mut data) if data.len() > room => {
            let first = data.split_to(room);
            (Part::Binary(first), Some(Part::Binary(data)))
        }
        Part::Text(text) => {
            let boundary =
                |at: usize| (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
            let mut end = boundary(room);
            while end > 4 && json::escaped_len(&text.as_bytes()[..end]) > 2 * room {
                end = boundary(end / 2);
            }
            if end == 0 {
                end = text.chars().next().map_or(0, char::len_utf8);
            }
            if end == text.len() {
                return (Part::Text(text), None);
            }
            let (first, rest) = (text.slice_ref(&text[..end]), text.slice_ref(&text[end..]));
            (Part::Text(first), Some(Part::Text(rest)))
        }
        part @ Part::Binary(_) => (part, None),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn text(text: &str) -> Part {
        Part::Text(text.into())
    }

    #[test]
    fn a_part_is_cut_between_characters() {
        for (whole, room, first, rest) in [
            ("abc", 3, "abc", None),
            ("abc", 2, "ab", Some("c")),
            ("aéb", 2, "a", Some("éb")),
            ("😀b", 1, "😀", Some("b")),
            ("", 9, "", None),
        ] {
            assert_eq!(cut(text(whole), room), (text(first), rest.map(text)), "{whole}");
        }
        let data = Bytes::from_static(b"abc");
        let (first, rest) = cut(Part::Binary(data.clone()), 2);
        assert_eq!((first, rest), (Part::Binary(data.slice(..2)), Some(Part::Binary(data.slice(2..)))));
    }

    #[test]
    fn a_text_that_json_makes_longer_is_cut_shorter() {
        let whole = "\0".repeat(1000);
        let (Part::Text(first), Some(_)) = cut(text(&whole), 1000) else { panic!("it is too long") };
        assert_eq!(first.len(), 250);
    }
}
