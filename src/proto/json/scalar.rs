//! Steps over scalars, which are values without values inside, and over keys.

use std::ops::Range;

use super::cursor::Cursor;
use super::event::Invalid;

impl Cursor<'_> {
    /// Steps over a string, number, bool or null.
    #[inline]
    pub(super) fn skip_scalar(&mut self) -> Result<(), Invalid> {
        match self.peek() {
            Some(b'"') => self.skip_string(),
            Some(b't') => self.skip_word(b"true"),
            Some(b'f') => self.skip_word(b"false"),
            Some(b'n') => self.skip_word(b"null"),
            Some(b'-' | b'0'..=b'9') => self.skip_number(),
            Some(_) | None => Err(self.invalid()),
        }
    }

    /// Steps over a member's key, its colon, and the whitespace around the colon. Returns the range of the key with its quotes.
    #[inline]
    pub(super) fn skip_key(&mut self) -> Result<Range<usize>, Invalid> {
        let start = self.at;
        self.skip_string()?;
        let key = start..self.at;
        self.skip_whitespace();
        self.expect(b':')?;
        self.skip_whitespace();
        Ok(key)
    }

    fn skip_word(&mut self, word: &[u8]) -> Result<(), Invalid> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.invalid());
        }
        self.at += word.len();
        Ok(())
    }

    #[inline]
    fn skip_number(&mut self) -> Result<(), Invalid> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        // Behind a leading zero no digit may stand (RFC 8259, section 6).
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.skip_digits()?;
        }
        match self.peek() {
            Some(b'.' | b'e' | b'E') => self.skip_fraction_and_exponent(),
            Some(_) | None => Ok(()),
        }
    }

    fn skip_fraction_and_exponent(&mut self) -> Result<(), Invalid> {
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.skip_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.skip_digits()?;
        }
        Ok(())
    }

    /// Steps over one or more digits.
    #[inline]
    fn skip_digits(&mut self) -> Result<(), Invalid> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.invalid()) } else { Ok(()) }
    }
}
