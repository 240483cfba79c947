//! JSON as text: checked, cut into its parts and spliced, but never made into a tree.
//!
//! What is only passed on keeps its numbers, key order, duplicate keys and odd strings to the byte. serde_json's `Value`
//! refuses lone surrogates and `1e400`, rounds large numbers and recurses; none of that may cost anybody a message.
//! The scanner is iterative: depth costs a bit, not a stack frame.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytestring::ByteString;

/// Where a text stops being JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid {
    /// The byte at which it does.
    pub at: usize,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not JSON at byte {}", self.at)
    }
}

impl std::error::Error for Invalid {}

/// The kind of a value, known from its first byte once the text was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number.
    Number,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

impl Kind {
    /// The kind of a checked value without blanks around it.
    #[must_use]
    pub fn of(value: &str) -> Self {
        match value.as_bytes().first() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b'"') => Self::String,
            Some(b't' | b'f') => Self::Bool,
            Some(b'n') => Self::Null,
            Some(_) | None => Self::Number,
        }
    }
}

/// One step through a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// `{` or `[` at this byte.
    Open(Kind, usize),
    /// The end of an object or array, after its last byte.
    Close(usize),
    /// The key of a member, with its quotes.
    Key(Range<usize>),
    /// A string, number, bool or null.
    Scalar(Range<usize>),
}

/// Checks that a text is one JSON value, with blanks around it or not.
///
/// # Errors
/// With the place of the first byte that cannot be.
pub fn check(text: &str) -> Result<(), Invalid> {
    scan(text, |_, _| ())
}

/// The elements of an array, as they are written.
///
/// # Errors
/// When the text is not JSON, or not an array (then `at` is where the array should start).
pub fn elements(text: &str) -> Result<Vec<Range<usize>>, Invalid> {
    let mut elements = Vec::new();
    let mut start = 0;
    let begin = text.len() - text.trim_ascii_start().len();
    if text.as_bytes().get(begin) != Some(&b'[') {
        return Err(Invalid { at: begin });
    }
    scan(text, |depth, event| match event {
        Event::Scalar(range) if depth == 1 => elements.push(range),
        Event::Open(_, at) if depth == 1 => start = at,
        Event::Close(end) if depth == 1 => elements.push(start..end),
        Event::Scalar(_) | Event::Open(..) | Event::Close(_) | Event::Key(_) => (),
    })?;
    Ok(elements)
}

/// Where a member of an object stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its key, with the quotes.
    pub key: Range<usize>,
    /// Its value.
    pub value: Range<usize>,
}

/// The members of an object, as they are written.
///
/// # Errors
/// As [`elements`].
pub fn members(text: &str) -> Result<Vec<Member>, Invalid> {
    let mut members = Vec::new();
    let (mut key, mut start) = (0..0, 0);
    let begin = text.len() - text.trim_ascii_start().len();
    if text.as_bytes().get(begin) != Some(&b'{') {
        return Err(Invalid { at: begin });
    }
    scan(text, |depth, event| match event {
        Event::Key(range) if depth == 1 => key = range,
        Event::Scalar(value) if depth == 1 => members.push(Member { key: key.clone(), value }),
        Event::Open(_, at) if depth == 1 => start = at,
        Event::Close(end) if depth == 1 => members.push(Member { key: key.clone(), value: start..end }),
        Event::Scalar(_) | Event::Open(..) | Event::Close(_) | Event::Key(_) => (),
    })?;
    Ok(members)
}

/// The value of a member by its plain name, without blanks around it; the last one counts, as in JavaScript.
#[must_use]
pub fn member(object: &ByteString, name: &str) -> Option<ByteString> {
    let members = members(object).ok()?;
    let member = members.into_iter().rev().find(|member| unquote(&object[member.key.clone()]) == name)?;
    Some(object.slice_ref(&object[member.value]))
}

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

/// Appends a JSON string with its quotes.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    loop {
        let plain = plain_length(rest.as_bytes());
        out.push_str(&rest[..plain]);
        let Some(&byte) = rest.as_bytes().get(plain) else { break };
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            other => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.push_str("\\u00");
                out.push(char::from(HEX[usize::from(other >> 4)]));
                out.push(char::from(HEX[usize::from(other & 15)]));
            }
        }
        rest = &rest[plain + 1..];
    }
    out.push('"');
}

/// The text of a checked string, given with its quotes. A lone surrogate becomes U+FFFD, as where JavaScript encodes UTF-8.
#[must_use]
pub fn unquote(quoted: &str) -> Cow<'_, str> {
    let inner = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(quoted);
    let Some(first) = memchr::memchr(b'\\', inner.as_bytes()) else { return Cow::Borrowed(inner) };
    let mut out = String::with_capacity(inner.len());
    out.push_str(&inner[..first]);
    let mut rest = &inner[first..];
    while let Some(escape) = rest.strip_prefix('\\') {
        let (character, length) = read_escape(escape);
        out.push(character);
        rest = &escape[length..];
        let plain = memchr::memchr(b'\\', rest.as_bytes()).unwrap_or(rest.len());
        out.push_str(&rest[..plain]);
        rest = &rest[plain..];
    }
    Cow::Owned(out)
}

/// The character of an escape and the bytes it takes after its backslash.
fn read_escape(escape: &str) -> (char, usize) {
    let character = match escape.as_bytes().first() {
        Some(b'n') => '\n',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'u') => return read_unicode_escape(escape),
        Some(&byte) => char::from(byte),
        None => return ('\\', 0),
    };
    (character, 1)
}

fn read_unicode_escape(escape: &str) -> (char, usize) {
    let unit = |from: usize| escape.get(from..from + 4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let Some(first) = unit(1) else { return (char::REPLACEMENT_CHARACTER, 1) };
    if (0xd800..0xdc00).contains(&first)
        && escape.get(5..7) == Some("\\u")
        && let Some(second @ 0xdc00..=0xdfff) = unit(7)
    {
        let scalar = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER), 11);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 5)
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
            self.at += plain_length(&self.bytes[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape()?;
                }
                // A control character, or the end.
                Some(_) | None => return Err(self.invalid()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Invalid> {
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
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

/// How many bytes from the start stand in a JSON string as they are: up to a quote, a backslash or a control character.
///
/// Eight at a time: a lane's high bit is set where the lane needs a closer look. A borrow can set it in a lane above one
/// that really does, never below, so the lowest one is right.
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let zero_in = |lanes: u64| lanes.wrapping_sub(ONES) & !lanes;
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let found = (control | zero_in(word ^ (ONES * 0x22)) | zero_in(word ^ (ONES * 0x5c))) & HIGHS;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let tail = bytes[at..].iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\');
    tail.map_or(bytes.len(), |tail| at + tail)
}

/// Which of the open values are objects: one bit each, so that a million brackets cost 125 kB.
#[derive(Default)]
struct Nesting {
    bits: Vec<u64>,
    depth: usize,
}

impl Nesting {
    fn push(&mut self, object: bool) {
        let (word, bit) = (self.depth / 64, self.depth % 64);
        if word == self.bits.len() {
            self.bits.push(0);
        }
        self.bits[word] = self.bits[word] & !(1 << bit) | u64::from(object) << bit;
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.depth -= 1;
    }

    fn innermost(&self) -> Option<bool> {
        let last = self.depth.checked_sub(1)?;
        Some(self.bits[last / 64] >> (last % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn accepts_json_and_nothing_else() {
        for text in [
            "null",
            " true ",
            "-0",
            "1e400",
            "0.5E-7",
            "123456789012345678901234567890",
            r#""\ud800""#,
            "[]",
            "[ ]",
            "{}",
            r#"{"a":1,"a":[{}, [ ]]}"#,
            "\"\u{2028}é😀\"",
            r#""\u0000\/\b""#,
            "\t[1 ,\n2]\r",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for (text, at) in [
            ("", 0),
            ("tru", 0),
            ("01", 1),
            ("-", 1),
            ("1.", 2),
            ("1e", 2),
            ("+1", 0),
            (".5", 0),
            ("[1,]", 3),
            ("[1", 2),
            ("[1}", 2),
            ("{\"a\"}", 4),
            ("{\"a\":1,}", 7),
            ("{a:1}", 1),
            ("\"a", 2),
            ("\"\n\"", 1),
            (r#""\x""#, 2),
            (r#""\u12g4""#, 2),
            ("{}x", 2),
            ("[]]", 2),
            ("'a'", 0),
            ("\u{feff}1", 0),
        ] {
            assert_eq!(check(text), Err(Invalid { at }), "{text}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = 1_000_000;
        let text = "[".repeat(deep) + &"]".repeat(deep);
        assert_eq!(check(&text), Ok(()));
        assert_eq!(check(&text[1..]), Err(Invalid { at: text.len() - 2 }));
    }

    #[test]
    fn cuts_arrays_and_objects() {
        let text = r#" [1, "a,]" , {"b":[2]},[] ,null] "#;
        let found: Vec<_> = elements(text).unwrap().into_iter().map(|range| &text[range]).collect();
        assert_eq!(found, ["1", r#""a,]""#, r#"{"b":[2]}"#, "[]", "null"]);
        assert_eq!(elements("{}"), Err(Invalid { at: 0 }));
        let object = ByteString::from(r#"{"a":1,"b":{"a":2}, "a" : [3] }"#);
        assert_eq!(member(&object, "a").as_deref(), Some("[3]"));
        assert_eq!(member(&object, "b").as_deref(), Some(r#"{"a":2}"#));
        assert_eq!(member(&object, "c"), None);
    }

    #[test]
    fn a_lone_surrogate_becomes_the_replacement_character() {
        for (quoted, text) in [
            (r#""\ud83d\ude00""#, "😀"),
            (r#""\ud800x""#, "\u{fffd}x"),
            (r#""\ude00""#, "\u{fffd}"),
            (r#""\ud800\u0041""#, "\u{fffd}A"),
            (r#""a\n\"\\\/\b\f\t\r""#, "a\n\"\\/\u{8}\u{c}\t\r"),
        ] {
            assert_eq!(unquote(quoted), text, "{quoted}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in r#"[\[\]{}",:\\u0-2eE.truefalsn+\- \x00-\x1fé]{0,24}"#) {
            let theirs = serde_json::from_str::<&RawValue>(&text).is_ok();
            prop_assert_eq!(check(&text).is_ok(), theirs, "{}", text);
        }

        #[test]
        fn strings_round_trip(text in any::<String>()) {
            let mut quoted = String::new();
            write_string(&text, &mut quoted);
            prop_assert_eq!(&serde_json::from_str::<String>(&quoted).unwrap(), &text);
            prop_assert_eq!(unquote(&quoted), text);
        }
    }
}
