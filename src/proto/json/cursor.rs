//! A place in a text, and the smallest steps from it.

use super::event::Invalid;

pub(super) struct Cursor<'t> {
    pub(super) bytes: &'t [u8],
    pub(super) at: usize,
}

impl<'t> Cursor<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { bytes: text.as_bytes(), at: 0 }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(super) fn invalid(&self) -> Invalid {
        Invalid { at: self.at }
    }

    #[inline]
    pub(super) fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    pub(super) fn expect(&mut self, byte: u8) -> Result<(), Invalid> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.invalid())
        }
    }

    /// Passes a byte and the blanks behind it, if it is there.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        if there {
            self.at += 1;
            self.skip_whitespace();
        }
        there
    }

    /// The end of the text, but for blanks.
    pub(super) fn expect_end(&mut self) -> Result<(), Invalid> {
        self.skip_whitespace();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.invalid()) }
    }
}
