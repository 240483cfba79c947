//! A position in a text, and the smallest steps from it.
//!
//! `string.rs` and `scalar.rs` add the steps over strings, numbers, words and keys.

use super::event::Invalid;

/// A position in a text. Steps return [`Invalid`] with the position of the first byte that cannot stand there.
pub(super) struct Cursor<'t> {
    /// The whole text.
    pub(super) bytes: &'t [u8],
    /// The offset of the next byte, at most the text's length.
    pub(super) at: usize,
}

impl<'t> Cursor<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { bytes: text.as_bytes(), at: 0 }
    }

    /// Returns the next byte, or `None` at the end of the text.
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Returns the error that the next byte, or the end of the text, cannot stand here.
    pub(super) fn invalid(&self) -> Invalid {
        Invalid { at: self.at }
    }

    #[inline]
    pub(super) fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Steps over `byte`, which has to be the next one.
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), Invalid> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.invalid())
        }
    }

    /// Steps over `byte` and the whitespace behind it, if `byte` is next. Returns whether it was.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        if is_next {
            self.at += 1;
            self.skip_whitespace();
        }
        is_next
    }

    /// Steps to the end of the text, in front of which only whitespace may stand.
    pub(super) fn expect_end(&mut self) -> Result<(), Invalid> {
        self.skip_whitespace();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.invalid()) }
    }
}
