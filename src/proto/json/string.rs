//! Strings into JSON and out of it.

use std::borrow::Cow;

use super::block::{BLOCK, is_backslash, needs_escape};

/// Appends a JSON string with its quotes.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    write_continuation(text, out);
}

/// Appends more of a JSON string, and its last quote.
pub fn write_continuation(text: &str, out: &mut String) {
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
            other => write_unicode_escape(u16::from(other), out),
        }
        rest = &rest[plain + 1..];
    }
    out.push('"');
}

/// The same JSON in ASCII: whatever is beyond it stands in strings, and is escaped.
#[must_use]
pub fn to_ascii(json: &str) -> Cow<'_, str> {
    if json.is_ascii() {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() * 2);
    for character in json.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            for &unit in &*character.encode_utf16(&mut [0; 2]) {
                write_unicode_escape(unit, &mut out);
            }
        }
    }
    Cow::Owned(out)
}

/// Appends `\uXXXX`.
fn write_unicode_escape(unit: u16, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push_str("\\u");
    for shift in [12, 8, 4, 0] {
        out.push(char::from(HEX[usize::from(unit >> shift & 15)]));
    }
}

/// The text of a checked string, given with its quotes. A lone surrogate becomes U+FFFD, as where JavaScript encodes UTF-8.
#[must_use]
pub fn unquote(quoted: &str) -> Cow<'_, str> {
    let inner = without_quotes(quoted);
    match unescape(inner) {
        // What stands between escapes is whole characters, and each escape is one.
        Some(text) => Cow::Owned(String::from_utf8(text).unwrap_or_default()),
        None => Cow::Borrowed(inner),
    }
}

/// What stands between the quotes of a checked string.
#[must_use]
pub fn without_quotes(quoted: &str) -> &str {
    quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(quoted)
}

/// The same text without its escapes, as UTF-8; `None` when it has none. See [`unquote`].
#[must_use]
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let first = memchr::memchr(b'\\', text.as_bytes())?;
    // One block more, since whole blocks are copied.
    let mut out = Vec::with_capacity(text.len() + BLOCK);
    let (plain, mut rest) = text.as_bytes().split_at(first);
    out.extend_from_slice(plain);
    loop {
        let Some(block) = rest.first_chunk::<BLOCK>() else {
            let plain = rest.iter().position(|&byte| byte == b'\\').unwrap_or(rest.len());
            out.extend_from_slice(&rest[..plain]);
            rest = &rest[plain..];
            if rest.is_empty() {
                return Some(out);
            }
            rest = read_escape(&rest[1..], &mut out);
            continue;
        };
        // Cheaper than to copy just what is right.
        out.extend_from_slice(block);
        match is_backslash(block) {
            0 => rest = &rest[BLOCK..],
            found => {
                let plain = found.trailing_zeros() as usize;
                out.truncate(out.len() - BLOCK + plain);
                rest = read_escape(&rest[plain + 1..], &mut out);
            }
        }
    }
}

/// What each letter behind a backslash stands for; zero where that is none, or takes more letters.
///
/// A table, because which of them comes next is anybody's guess, and a wrong one costs more than the look.
pub(super) const ESCAPED: [u8; 256] = {
    let mut table = [0; 256];
    let pairs = [
        (b'"', b'"'),
        (b'\\', b'\\'),
        (b'/', b'/'),
        (b'b', 8),
        (b'f', 12),
        (b'n', b'\n'),
        (b'r', b'\r'),
        (b't', b'\t'),
    ];
    let mut index = 0;
    while index < pairs.len() {
        table[pairs[index].0 as usize] = pairs[index].1;
        index += 1;
    }
    table
};

/// Appends the character of an escape, given behind its backslash, and gives what follows it.
#[inline]
fn read_escape<'t>(escape: &'t [u8], out: &mut Vec<u8>) -> &'t [u8] {
    let Some((&letter, rest)) = escape.split_first() else { return escape };
    match ESCAPED[usize::from(letter)] {
        0 => read_unicode_escape(rest, out),
        byte => {
            out.push(byte);
            rest
        }
    }
}

fn read_unicode_escape<'t>(digits: &'t [u8], out: &mut Vec<u8>) -> &'t [u8] {
    let unit = |digits: &[u8]| {
        let digits = std::str::from_utf8(digits.first_chunk::<4>()?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let Some(first) = unit(digits) else { return digits };
    let mut rest = &digits[4..];
    let mut character = char::from_u32(first);
    if (0xd800..0xdc00).contains(&first)
        && let Some(second) = rest.strip_prefix(b"\\u")
        && let Some(low @ 0xdc00..=0xdfff) = unit(second)
    {
        character = char::from_u32(0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00));
        rest = &second[4..];
    }
    let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    rest
}

/// How many bytes from the start stand in a JSON string as they are: up to a quote, a backslash or a control character.
fn plain_length(bytes: &[u8]) -> usize {
    let (blocks, tail) = bytes.as_chunks::<BLOCK>();
    for (index, block) in blocks.iter().enumerate() {
        let found = needs_escape(block);
        if found != 0 {
            return index * BLOCK + found.trailing_zeros() as usize;
        }
    }
    // Most strings are shorter than a block: they are looked at as one that is filled up with blanks.
    let mut block = [b' '; BLOCK];
    block[..tail.len()].copy_from_slice(tail);
    let plain = (needs_escape(&block).trailing_zeros() as usize).min(tail.len());
    bytes.len() - tail.len() + plain
}
