//! The walk through a text: iterative, each byte looked at once.

use std::ops::Range;

use fearless_simd::prelude::*;
use fearless_simd::{dispatch, u8x64};

use super::block::{BLOCK, LARGE, escaped, find, from_on, is_byte, level, needs_escape};
use super::unescape::{ESCAPED, unescape_blocks, unescape_large_blocks};
use super::{Event, Invalid, Kind, nested};

/// From how many bytes on an object or array is worth large blocks.
const NESTED: usize = 2 * LARGE;

/// From how many bytes on a string is unescaped while it is checked.
const LONG: usize = 4 * LARGE;

/// Walks through a text. `visit` gets each event with the depth it stands at: 0 for the value itself.
///
/// # Errors
/// With the place of the first byte that cannot be; events before it were visited.
pub fn scan(text: &str, visit: impl FnMut(usize, Event)) -> Result<(), Invalid> {
    let mut scanner = Scanner::new(text);
    scanner.blanks();
    scanner.walk(visit)?;
    scanner.end()
}

pub(super) struct Scanner<'t> {
    pub(super) bytes: &'t [u8],
    pub(super) at: usize,
}

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { bytes: text.as_bytes(), at: 0 }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn invalid(&self) -> Invalid {
        Invalid { at: self.at }
    }

    #[inline]
    pub(super) fn blanks(&mut self) {
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
    pub(super) fn passes(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        if there {
            self.at += 1;
            self.blanks();
        }
        there
    }

    /// The end of the text, but for blanks.
    pub(super) fn end(&mut self) -> Result<(), Invalid> {
        self.blanks();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.invalid()) }
    }

    /// A value without blanks around it, whose inside nobody wants to see.
    pub(super) fn value(&mut self) -> Result<Range<usize>, Invalid> {
        let start = self.at;
        match self.peek() {
            Some(b'{' | b'[') => {
                let long = self.bytes.len() - start >= NESTED;
                match if long { nested::end(self.bytes, start) } else { None } {
                    Some(end) => self.at = end,
                    None => self.walk(|_, _| ())?,
                }
            }
            Some(_) | None => self.scalar()?,
        }
        Ok(start..self.at)
    }

    /// A value without blanks around it, and all that is in it.
    pub(super) fn walk(&mut self, mut visit: impl FnMut(usize, Event)) -> Result<(), Invalid> {
        let mut open = Nesting::default();
        loop {
            // A value is due.
            let start = self.at;
            match self.peek() {
                Some(b'{') => {
                    visit(open.depth, Event::Open(Kind::Object, start));
                    self.at += 1;
                    self.blanks();
                    if self.peek() == Some(b'}') {
                        self.at += 1;
                        visit(open.depth, Event::Close(self.at));
                    } else {
                        open.push(true);
                        let key = self.key()?;
                        visit(open.depth, Event::Key(key));
                        continue;
                    }
                }
                Some(b'[') => {
                    visit(open.depth, Event::Open(Kind::Array, start));
                    self.at += 1;
                    self.blanks();
                    if self.peek() == Some(b']') {
                        self.at += 1;
                        visit(open.depth, Event::Close(self.at));
                    } else {
                        open.push(false);
                        continue;
                    }
                }
                Some(_) | None => {
                    self.scalar()?;
                    visit(open.depth, Event::Scalar(start..self.at));
                }
            }
            // A value is behind us: a comma brings the next one, a bracket ends what holds it.
            loop {
                let Some(in_object) = open.innermost() else { return Ok(()) };
                self.blanks();
                match (self.peek(), in_object) {
                    (Some(b','), true) => {
                        self.at += 1;
                        self.blanks();
                        let key = self.key()?;
                        visit(open.depth, Event::Key(key));
                        break;
                    }
                    (Some(b','), false) => {
                        self.at += 1;
                        self.blanks();
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        self.at += 1;
                        open.pop();
                        visit(open.depth, Event::Close(self.at));
                    }
                    (Some(_) | None, _) => return Err(self.invalid()),
                }
            }
        }
    }

    #[inline]
    pub(super) fn scalar(&mut self) -> Result<(), Invalid> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) | None => Err(self.invalid()),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Invalid> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.invalid());
        }
        self.at += word.len();
        Ok(())
    }

    /// A key, its colon and the blanks around that.
    #[inline]
    pub(super) fn key(&mut self) -> Result<Range<usize>, Invalid> {
        let start = self.at;
        self.string()?;
        let key = start..self.at;
        self.blanks();
        self.expect(b':')?;
        self.blanks();
        Ok(key)
    }

    #[inline]
    fn string(&mut self) -> Result<(), Invalid> {
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
        self.rest_of_string()
    }

    /// A string, and its text without escapes, where it is long and has some.
    pub(super) fn string_unescaped(&mut self) -> Result<Option<Vec<u8>>, Invalid> {
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
        if self.peek() != Some(b'\\') || self.bytes.len() - self.at < LONG {
            return self.rest_of_string().map(|()| None);
        }
        let mut text = Vec::with_capacity(self.bytes.len() - start);
        text.extend_from_slice(&self.bytes[start..self.at]);
        let (at, ended) = unescape_large_blocks(self.bytes, self.at, &mut text)?;
        self.at = at;
        if !ended {
            self.rest_of_string()?;
            unescape_blocks(&self.bytes[at..self.at - 1], &mut text);
        }
        // It may have been a short one in front of much else.
        if text.capacity() / 2 > text.len() {
            text.shrink_to_fit();
        }
        Ok(Some(text))
    }

    /// Goes on where an escape was found, or too little is left for a block. Kept apart, since most strings have no escape.
    #[inline(never)]
    fn rest_of_string(&mut self) -> Result<(), Invalid> {
        // Most strings are over before that, and large blocks do not pay.
        let long = self.at + LARGE;
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
                        self.escape()?;
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
                        self.escape()?;
                        if self.at >= long {
                            let (at, ended) = large_blocks(self.bytes, self.at)?;
                            self.at = at;
                            if ended {
                                return Ok(());
                            }
                            break;
                        }
                        // What was escaped is behind us, be it in this block or the next.
                        found &= from_on(self.at - start);
                    }
                    _ => return Err(self.invalid()),
                }
            }
        }
    }

    #[inline]
    pub(super) fn escape(&mut self) -> Result<(), Invalid> {
        match self.peek() {
            Some(letter) if ESCAPED[usize::from(letter)] != 0 => self.at += 1,
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

    #[inline]
    fn number(&mut self) -> Result<(), Invalid> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        match self.peek() {
            Some(b'.' | b'e' | b'E') => self.rest_of_number(),
            Some(_) | None => Ok(()),
        }
    }

    fn rest_of_number(&mut self) -> Result<(), Invalid> {
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    #[inline]
    fn digits(&mut self) -> Result<(), Invalid> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.invalid()) } else { Ok(()) }
    }
}

/// Goes on in a string by large blocks, to behind its end, or until no whole block is left: then it gives `false`.
///
/// What stands in a block is known from its bits, so no load has to wait for the escape before it. The place is passed by
/// value, and the function kept apart, so that the scanner of short strings has its own in a register.
#[inline(never)]
fn large_blocks(bytes: &[u8], at: usize) -> Result<(usize, bool), Invalid> {
    dispatch!(level(), simd => large_blocks_with(simd, bytes, at))
}

#[inline(always)]
fn large_blocks_with<S: Simd>(simd: S, bytes: &[u8], at: usize) -> Result<(usize, bool), Invalid> {
    let mut scanner = Scanner { bytes, at };
    let mut start = at;
    let mut carry = false;
    while let Some(block) = bytes[start..].first_chunk::<LARGE>() {
        let block = u8x64::load_array_ref(simd, block);
        let found = find(block);
        if found.quotes | found.backslashes | found.controls | u64::from(carry) != 0 {
            let escaped = escaped(found.backslashes, &mut carry);
            let ends = found.quotes & !escaped | found.controls;
            let before_end = !ends & ends.wrapping_sub(1);
            // Most escapes are of these, and need no look.
            let known = found.quotes | found.backslashes | is_byte(block, b'n');
            let mut others = escaped & !known & before_end;
            while others != 0 {
                scanner.at = start + others.trailing_zeros() as usize;
                scanner.escape()?;
                others &= others - 1;
            }
            if ends != 0 {
                scanner.at = start + ends.trailing_zeros() as usize;
                scanner.expect(b'"')?;
                return Ok((scanner.at, true));
            }
        }
        start += LARGE;
    }
    scanner.at = start;
    if carry {
        scanner.escape()?;
    }
    Ok((scanner.at, false))
}

/// Which of the open values are objects: one bit each, so that a million brackets cost 125 kB, and the usual few nothing.
#[derive(Default)]
pub(super) struct Nesting {
    first: u64,
    rest: Vec<u64>,
    depth: usize,
}

impl Nesting {
    pub(super) fn push(&mut self, object: bool) {
        let (word, bit) = (self.depth / 64, self.depth % 64);
        if word > self.rest.len() {
            self.rest.push(0);
        }
        let word = if word == 0 { &mut self.first } else { &mut self.rest[word - 1] };
        *word = *word & !(1 << bit) | u64::from(object) << bit;
        self.depth += 1;
    }

    pub(super) fn pop(&mut self) {
        self.depth -= 1;
    }

    pub(super) fn innermost(&self) -> Option<bool> {
        let last = self.depth.checked_sub(1)?;
        let word = if last < 64 { self.first } else { self.rest[last / 64 - 1] };
        Some(word >> (last % 64) & 1 == 1)
    }
}
