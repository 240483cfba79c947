//! The walk over a string: each byte looked at once.

use fearless_simd::prelude::*;
use fearless_simd::{dispatch, u8x64};

use super::block::{BLOCK, LARGE_BLOCK, bits_from, escaped, find, needs_escape, positions_of, simd_level};
use super::cursor::Cursor;
use super::event::Invalid;
use super::unescape::{UNESCAPED, append_unescaped, unescape_large_blocks};

/// From how many bytes on a string is unescaped while it is checked.
const UNESCAPE_FROM: usize = 4 * LARGE_BLOCK;

impl Cursor<'_> {
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

    /// A string, and its text without escapes, where it is long and has some.
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
        let (at, ended) = unescape_large_blocks(self.bytes, self.at, &mut text)?;
        self.at = at;
        if !ended {
            self.skip_rest_of_string()?;
            append_unescaped(&self.bytes[at..self.at - 1], &mut text);
        }
        // It may have been a short one in front of much else.
        if text.capacity() / 2 > text.len() {
            text.shrink_to_fit();
        }
        Ok(Some(text))
    }

    /// Goes on where an escape was found, or too little is left for a block. Kept apart, since most strings have no escape.
    #[inline(never)]
    fn skip_rest_of_string(&mut self) -> Result<(), Invalid> {
        // Most strings are over before that, and large blocks do not pay.
        let long = self.at + LARGE_BLOCK;
        loop {
            let start = self.at;
            let Some(block) = self.bytes[start..].first_chunk::<BLOCK>() else {
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
                    // A control character, or the end.
                    Some(_) | None => return Err(self.invalid()),
                }
                continue;
            };
            let mut found = needs_escape(block);
            loop {
                let at = found.trailing_zeros() as usize;
                if at >= BLOCK {
                    self.at = self.at.max(start + BLOCK);
                    break;
                }
                self.at = start + at;
                match block[at] {
                    b'"' => {
                        self.at += 1;
                        return Ok(());
                    }
                    b'\\' => {
                        self.at += 1;
                        self.skip_escape()?;
                        if self.at >= long {
                            let (at, ended) = skip_large_blocks(self.bytes, self.at)?;
                            self.at = at;
                            if ended {
                                return Ok(());
                            }
                            break;
                        }
                        // What was escaped is behind us, be it in this block or the next.
                        found &= bits_from(self.at - start);
                    }
                    _ => return Err(self.invalid()),
                }
            }
        }
    }

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

/// Goes on in a string by large blocks, to behind its end, or until no whole block is left: then it gives `false`.
///
/// What stands in a block is known from its bits, so no load has to wait for the escape before it. The place is passed by
/// value, and the function kept apart, so that the cursor of short strings has its own in a register.
#[inline(never)]
fn skip_large_blocks(bytes: &[u8], at: usize) -> Result<(usize, bool), Invalid> {
    dispatch!(simd_level(), simd => skip_large_blocks_with(simd, bytes, at))
}

#[inline(always)]
fn skip_large_blocks_with<S: Simd>(simd: S, bytes: &[u8], at: usize) -> Result<(usize, bool), Invalid> {
    let mut cursor = Cursor { bytes, at };
    let mut start = at;
    let mut carry = false;
    while let Some(block) = bytes[start..].first_chunk::<LARGE_BLOCK>() {
        let block = u8x64::load_array_ref(simd, block);
        let found = find(block);
        if found.quotes | found.backslashes | found.controls | u64::from(carry) != 0 {
            let escaped = escaped(found.backslashes, &mut carry);
            let ends = found.quotes & !escaped | found.controls;
            let before_end = !ends & ends.wrapping_sub(1);
            // Most escapes are of these, and need no look.
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
                return Ok((cursor.at, true));
            }
        }
        start += LARGE_BLOCK;
    }
    cursor.at = start;
    if carry {
        cursor.skip_escape()?;
    }
    Ok((cursor.at, false))
}
