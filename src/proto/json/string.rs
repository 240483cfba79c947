//! Steps over strings and their escapes.

use fearless_simd::prelude::*;
use fearless_simd::{dispatch, u8x64};

use super::block::{BLOCK, BlockBits, LARGE_BLOCK, bits_from, escaped, needs_escape, positions_of, simd_level};
use super::cursor::Cursor;
use super::event::Invalid;
use super::unescape::{Reached, UNESCAPED, append_unescaped, unescape_large_blocks};

/// Bytes left in the text, from a string's first escape on, from which the string is unescaped while it is checked. With fewer,
/// the large blocks gain nothing.
const UNESCAPE_FROM: usize = 4 * LARGE_BLOCK;

impl Cursor<'_> {
    /// Steps over a string with its quotes.
    #[inline]
    pub(super) fn skip_string(&mut self) -> Result<(), Invalid> {
        self.expect(b'"')?;
        while let Some(block) = self.bytes[self.at..].first_chunk::<BLOCK>() {
            let found = needs_escape(block);
            if found != 0 {
                let first = found.trailing_zeros() as usize % BLOCK;
                if block[first] == b'"' {
                    self.at += first + 1;
                    return Ok(());
                }
                break;
            }
            self.at += BLOCK;
        }
        self.skip_rest_of_string()
    }

    /// Steps over a string with its quotes. Returns its text without escapes if it has escapes and is long ([`UNESCAPE_FROM`]).
    pub(super) fn skip_string_unescaping(&mut self) -> Result<Option<Vec<u8>>, Invalid> {
        self.expect(b'"')?;
        let start = self.at;
        while let Some(block) = self.bytes[self.at..].first_chunk::<BLOCK>() {
            let found = needs_escape(block);
            if found != 0 {
                self.at += found.trailing_zeros() as usize;
                break;
            }
            self.at += BLOCK;
        }
        if self.peek() != Some(b'\\') || self.bytes.len() - self.at < UNESCAPE_FROM {
            return self.skip_rest_of_string().map(|()| None);
        }
        let mut text = Vec::with_capacity(self.bytes.len() - start);
        text.extend_from_slice(&self.bytes[start..self.at]);
        let Reached { at, is_end } = unescape_large_blocks(self.bytes, self.at, &mut text)?;
        self.at = at;
        if !is_end {
            self.skip_rest_of_string()?;
            append_unescaped(&self.bytes[at..self.at - 1], &mut text);
        }
        // The capacity is that of all the text left, and the string may be a short one at its beginning.
        if text.capacity() / 2 > text.len() {
            text.shrink_to_fit();
        }
        Ok(Some(text))
    }

    /// Steps over the rest of a string, from a character or an escape on. Not inlined, since most strings have no escape.
    #[inline(never)]
    fn skip_rest_of_string(&mut self) -> Result<(), Invalid> {
        // Most strings end before that, and large blocks would not pay.
        let large_from = self.at + LARGE_BLOCK;
        while let Some(block) = self.bytes[self.at..].first_chunk() {
            if self.skip_block_of_string(block, large_from)? {
                return Ok(());
            }
        }
        self.skip_tail_of_string()
    }

    /// Steps over the block here, or from an escape at `large_from` or later on over large blocks. Returns whether the string
    /// ended.
    #[inline(always)]
    fn skip_block_of_string(&mut self, block: &[u8; BLOCK], large_from: usize) -> Result<bool, Invalid> {
        let start = self.at;
        let mut found = needs_escape(block);
        loop {
            let place = found.trailing_zeros() as usize;
            if place >= BLOCK {
                // The last escape may reach into the next block.
                self.at = self.at.max(start + BLOCK);
                return Ok(false);
            }
            self.at = start + place;
            match block[place] {
                b'"' => {
                    self.at += 1;
                    return Ok(true);
                }
                b'\\' => {
                    self.at += 1;
                    self.skip_escape()?;
                    if self.at >= large_from {
                        let reached = skip_large_blocks(self.bytes, self.at)?;
                        self.at = reached.at;
                        return Ok(reached.is_end);
                    }
                    // What the escape covers is done, even if it reaches into the next block.
                    found &= bits_from(self.at - start);
                }
                _ => return Err(self.invalid()),
            }
        }
    }

    /// Steps over the rest of a string, byte by byte, where less than a block is left.
    #[inline(always)]
    fn skip_tail_of_string(&mut self) -> Result<(), Invalid> {
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.skip_escape()?;
                }
                Some(0x20..) => self.at += 1,
                // A control character, or the end of the text.
                Some(_) | None => return Err(self.invalid()),
            }
        }
    }

    /// Steps over the rest of an escape, from behind its backslash.
    #[inline]
    pub(super) fn skip_escape(&mut self) -> Result<(), Invalid> {
        match self.peek() {
            Some(letter) if UNESCAPED[usize::from(letter)] != 0 => self.at += 1,
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 1..self.at + 5);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(self.invalid());
                }
                self.at += 5;
            }
            Some(_) | None => return Err(self.invalid()),
        }
        Ok(())
    }
}

/// Steps over a string by large blocks, from a character or an escape on, until the string ends or less than a large block is
/// left.
///
/// What stands in a block is known from its bits, so no load has to wait for the escape before it. The position is passed by
/// value, and the function is not inlined, so that the cursor over short strings keeps its own position in a register.
#[inline(never)]
fn skip_large_blocks(bytes: &[u8], at: usize) -> Result<Reached, Invalid> {
    dispatch!(simd_level(), simd => skip_large_blocks_with(simd, bytes, at))
}

#[inline(always)]
fn skip_large_blocks_with<S: Simd>(simd: S, bytes: &[u8], at: usize) -> Result<Reached, Invalid> {
    let mut cursor = Cursor { bytes, at };
    let mut start = at;
    let mut carry = false;
    while let Some(block) = bytes[start..].first_chunk::<LARGE_BLOCK>() {
        let block = u8x64::load_array_ref(simd, block);
        let found = BlockBits::of(block);
        if found.quotes | found.backslashes | found.controls | u64::from(carry) != 0 {
            let escaped = escaped(found.backslashes, &mut carry);
            let ends = found.quotes & !escaped | found.controls;
            let before_end = !ends & ends.wrapping_sub(1);
            // Most escapes are of these letters, which may always stand behind a backslash.
            let known = found.quotes | found.backslashes | positions_of(block, b'n');
            let mut others = escaped & !known & before_end;
            while others != 0 {
                cursor.at = start + others.trailing_zeros() as usize;
                cursor.skip_escape()?;
                others &= others - 1;
            }
            if ends != 0 {
                cursor.at = start + ends.trailing_zeros() as usize;
                cursor.expect(b'"')?;
                return Ok(Reached { at: cursor.at, is_end: true });
            }
        }
        start += LARGE_BLOCK;
    }
    cursor.at = start;
    if carry {
        cursor.skip_escape()?;
    }
    Ok(Reached { at: cursor.at, is_end: false })
}
