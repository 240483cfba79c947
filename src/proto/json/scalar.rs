//! The walk over a number, a word, or a key.

use std::ops::Range;

use super::cursor::Cursor;
use super::event::Invalid;

impl Cursor<'_> {
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

    fn skip_word(&mut self, word: &[u8]) -> Result<(), Invalid> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.invalid());
        }
        self.at += word.len();
        Ok(())
    }

    /// A key, its colon and the blanks around that.
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

    #[inline]
    fn skip_number(&mut self) -> Result<(), Invalid> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.skip_digits()?;
        }
        match self.peek() {
            Some(b'.' | b'e' | b'E') => self.skip_rest_of_number(),
            Some(_) | None => Ok(()),
        }
    }

    fn skip_rest_of_number(&mut self) -> Result<(), Invalid> {
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

    #[inline]
    fn skip_digits(&mut self) -> Result<(), Invalid> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.invalid()) } else { Ok(()) }
    }
}
