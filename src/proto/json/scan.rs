//! The walk through a text: iterative, each byte looked at once.

use std::ops::Range;

use super::block::{BLOCK, needs_escape};
use super::string::ESCAPED;
use super::{Event, Invalid, Kind};

/// Walks through a text. `visit` gets each event with the depth it stands at: 0 for the value itself.
///
/// # Errors
/// With the place of the first byte that cannot be; events before it were visited.
pub fn scan(text: &str, mut visit: impl FnMut(usize, Event)) -> Result<(), Invalid> {
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 0 };
    let mut open = Nesting::default();
    loop {
        // A value is due.
        scanner.blanks();
        let start = scanner.at;
        match scanner.peek() {
            Some(b'{') => {
                visit(open.depth, Event::Open(Kind::Object, start));
                scanner.at += 1;
                scanner.blanks();
                if scanner.peek() == Some(b'}') {
                    scanner.at += 1;
                    visit(open.depth, Event::Close(scanner.at));
                } else {
                    open.push(true);
                    let key = scanner.key()?;
                    visit(open.depth, Event::Key(key));
                    continue;
                }
            }
            Some(b'[') => {
                visit(open.depth, Event::Open(Kind::Array, start));
                scanner.at += 1;
                scanner.blanks();
                if scanner.peek() == Some(b']') {
                    scanner.at += 1;
                    visit(open.depth, Event::Close(scanner.at));
                } else {
                    open.push(false);
                    continue;
                }
            }
            Some(_) | None => {
                scanner.scalar()?;
                visit(open.depth, Event::Scalar(start..scanner.at));
            }
        }
        // A value is behind us: a comma brings the next one, a bracket ends what holds it.
        loop {
            scanner.blanks();
            let Some(in_object) = open.innermost() else {
                return if scanner.at == text.len() { Ok(()) } else { Err(scanner.invalid()) };
            };
            match (scanner.peek(), in_object) {
                (Some(b','), true) => {
                    scanner.at += 1;
                    scanner.blanks();
                    let key = scanner.key()?;
                    visit(open.depth, Event::Key(key));
                    break;
                }
                (Some(b','), false) => {
                    scanner.at += 1;
                    break;
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    scanner.at += 1;
                    open.pop();
                    visit(open.depth, Event::Close(scanner.at));
                }
                (Some(_) | None, _) => return Err(scanner.invalid()),
            }
        }
    }
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn invalid(&self) -> Invalid {
        Invalid { at: self.at }
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Invalid> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.invalid())
        }
    }

    fn scalar(&mut self) -> Result<(), Invalid> {
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

    /// A key, its colon and the blanks between.
    fn key(&mut self) -> Result<Range<usize>, Invalid> {
        let start = self.at;
        self.string()?;
        let key = start..self.at;
        self.blanks();
        self.expect(b':')?;
        Ok(key)
    }

    fn string(&mut self) -> Result<(), Invalid> {
        self.expect(b'"')?;
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
                        // What was escaped is behind us, be it in this block or the next.
                        found &= u32::MAX.checked_shl(u32::try_from(self.at - start).unwrap_or(u32::MAX)).unwrap_or(0);
                    }
                    _ => return Err(self.invalid()),
                }
            }
        }
    }

    #[inline]
    fn escape(&mut self) -> Result<(), Invalid> {
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

    fn number(&mut self) -> Result<(), Invalid> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
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

    fn digits(&mut self) -> Result<(), Invalid> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.invalid()) } else { Ok(()) }
    }
}

/// Which of the open values are objects: one bit each, so that a million brackets cost 125 kB, and the usual few nothing.
#[derive(Default)]
struct Nesting {
    first: u64,
    rest: Vec<u64>,
    depth: usize,
}

impl Nesting {
    fn push(&mut self, object: bool) {
        let (word, bit) = (self.depth / 64, self.depth % 64);
        if word > self.rest.len() {
            self.rest.push(0);
        }
        let word = if word == 0 { &mut self.first } else { &mut self.rest[word - 1] };
        *word = *word & !(1 << bit) | u64::from(object) << bit;
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.depth -= 1;
    }

    fn innermost(&self) -> Option<bool> {
        let last = self.depth.checked_sub(1)?;
        let word = if last < 64 { self.first } else { self.rest[last / 64 - 1] };
        Some(word >> (last % 64) & 1 == 1)
    }
}
