//! Strings into JSON and out of it.

use std::borrow::Cow;
use std::ops::Range;

use super::Invalid;
use super::block::{BLOCK, LARGE, escaped, find, is_backslash, needs_escape, needs_escape_large};

/// How many bytes are copied at once, be they right or not: most pieces between escapes are shorter.
const COPY: usize = 32;

/// A large block and what may be copied, or looked at, behind it.
const WINDOW: usize = LARGE + COPY;

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
        if rest.len() >= 4 * LARGE {
            rest = write_large_blocks(rest, out);
        }
    }
    out.push('"');
}

/// Escapes large blocks while there are any, and gives what is left.
///
/// All that needs an escape in a block is known at once, so that no load has to wait for the escape before it. Kept
/// apart, so that short strings do not pay for it.
#[inline(never)]
fn write_large_blocks<'t>(text: &'t str, out: &mut String) -> &'t str {
    let mut plain = 0;
    let mut start = 0;
    while let Some(window) = text.as_bytes()[start..].first_chunk::<WINDOW>() {
        let Some(block) = window.first_chunk::<LARGE>() else { break };
        let mut found = needs_escape_large(block);
        let ascii = found != 0 && block.is_ascii();
        while found != 0 {
            let at = found.trailing_zeros() as usize;
            push_piece(text, plain..start + at, ascii, out);
            // As with pieces: eight bytes at once, and then back to the right length.
            let index = usize::from(block[at]);
            let length = out.len() + usize::from(ESCAPE_LENGTHS[index]);
            out.push_str(&ESCAPES[index * 8..index * 8 + 8]);
            out.truncate(length);
            plain = start + at + 1;
            found &= found - 1;
        }
        start += LARGE;
    }
    // The last block may end within a character.
    let end = (plain..=start).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(plain);
    out.push_str(&text[plain..end]);
    &text[end..]
}

/// Appends a piece of a text. Of a short one, more is copied than is right: that is cheaper.
#[inline]
fn push_piece(text: &str, piece: Range<usize>, ascii: bool, out: &mut String) {
    let length = piece.len();
    if ascii
        && length <= COPY
        && let Some(more) = text.get(piece.start..piece.start + COPY)
    {
        out.push_str(more);
        out.truncate(out.len() - COPY + length);
    } else {
        out.push_str(&text[piece]);
    }
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

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `\uXXXX`.
pub fn write_unicode_escape(unit: u16, out: &mut String) {
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
    out.extend_from_slice(&text.as_bytes()[..first]);
    let at = unescape_large_blocks(text.as_bytes(), first, &mut out).map_or(text.len(), |(at, _)| at);
    unescape_blocks(&text.as_bytes()[at..], &mut out);
    Some(out)
}

/// Appends what is left of a checked string without its escapes.
pub(super) fn unescape_blocks(mut rest: &[u8], out: &mut Vec<u8>) {
    loop {
        let Some(block) = rest.first_chunk::<BLOCK>() else {
            let plain = rest.iter().position(|&byte| byte == b'\\').unwrap_or(rest.len());
            out.extend_from_slice(&rest[..plain]);
            rest = &rest[plain..];
            if rest.is_empty() {
                return;
            }
            rest = read_escape(&rest[1..], out);
            continue;
        };
        // Cheaper than to copy just what is right.
        out.extend_from_slice(block);
        match is_backslash(block) {
            0 => rest = &rest[BLOCK..],
            found => {
                let plain = found.trailing_zeros() as usize;
                out.truncate(out.len() - BLOCK + plain);
                rest = read_escape(&rest[plain + 1..], out);
            }
        }
    }
}

/// Goes on in a string that starts a character or an escape here: checks large blocks and appends them without their escapes,
/// to behind the string's end, or until no whole block is left. Then it gives `false`, and what is left starts like that too.
///
/// All that counts in a block is known at once, so that no load has to wait for the escape before it. Kept apart, so that
/// short strings do not pay for the room on the stack.
///
/// # Errors
/// With the place of the first byte that cannot be.
#[inline(never)]
pub(super) fn unescape_large_blocks(bytes: &[u8], at: usize, out: &mut Vec<u8>) -> Result<(usize, bool), Invalid> {
    let mut staged = Staged { bytes: [0; STAGE + COPY], length: 0 };
    let mut start = at;
    while let Some(window) = bytes[start..].first_chunk::<WINDOW>() {
        let Some(block) = window.first_chunk::<LARGE>() else { break };
        // A block gets no longer, but for a character whose escape starts at its end.
        if staged.length > STAGE - WINDOW {
            staged.flush(out);
        }
        let found = find(block);
        let escaped = escaped(found.backslashes, &mut false);
        let ends = found.quotes & !escaped | found.controls;
        let before_end = !ends & ends.wrapping_sub(1);
        let mut escapes = found.backslashes & !escaped & before_end;
        let mut from = 0;
        while escapes != 0 {
            let at = escapes.trailing_zeros() as usize;
            escapes &= escapes - 1;
            staged.copy(window, from, at);
            let letter = window[at + 1];
            match ESCAPED[usize::from(letter)] {
                0 => {
                    let digits = if letter == b'u' { &bytes[start + at + 2..] } else { &[] };
                    let (character, behind) = unicode_escape(digits).ok_or(Invalid { at: start + at + 1 })?;
                    for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                        staged.push(byte);
                    }
                    from = bytes.len() - behind.len() - start;
                    // It may have been two.
                    escapes &= u64::MAX.checked_shl(u32::try_from(from).unwrap_or(u32::MAX)).unwrap_or(0);
                }
                byte => {
                    staged.push(byte);
                    from = at + 2;
                }
            }
        }
        if ends != 0 {
            let end = ends.trailing_zeros() as usize;
            if block[end % LARGE] != b'"' {
                return Err(Invalid { at: start + end });
            }
            staged.copy(window, from, end);
            staged.flush(out);
            return Ok((start + end + 1, true));
        }
        if from < LARGE {
            staged.copy(window, from, LARGE);
            from = LARGE;
        }
        start += from;
    }
    staged.flush(out);
    Ok((start, false))
}

/// How much is staged before it is appended.
const STAGE: usize = 2048;

/// Pieces on their way to a vector: here none of them asks whether there is room.
struct Staged {
    /// With room for what is copied beyond a piece.
    bytes: [u8; STAGE + COPY],
    /// Never more than [`STAGE`]. By the remainders below, which change nothing, the compiler knows it.
    length: usize,
}

impl Staged {
    /// Appends a piece of a window that starts in its large block and ends there at most.
    #[inline]
    fn copy(&mut self, window: &[u8; WINDOW], mut from: usize, to: usize) {
        let end = self.length + (to - from);
        loop {
            let (source, target) = (from % LARGE, self.length % STAGE);
            self.bytes[target..target + COPY].copy_from_slice(&window[source..source + COPY]);
            from += COPY;
            if from >= to {
                break;
            }
            self.length += COPY;
        }
        self.length = end;
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        self.bytes[self.length % STAGE] = byte;
        self.length += 1;
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes[..self.length]);
        self.length = 0;
    }
}

/// The escape of each byte up to the backslash, filled up with blanks to eight; of use for those that need one.
const ESCAPES: &str = match std::str::from_utf8(ESCAPE_BYTES.as_flattened()) {
    Ok(escapes) => escapes,
    Err(_) => panic!("they are ASCII"),
};

const ESCAPE_BYTES: [[u8; 8]; 93] = {
    let mut escapes = [*b"\\u0000  "; 93];
    let mut byte = 0;
    while byte < 0x20 {
        escapes[byte][4] = HEX[byte >> 4];
        escapes[byte][5] = HEX[byte & 15];
        byte += 1;
    }
    escapes[b'\n' as usize] = *b"\\n      ";
    escapes[b'\r' as usize] = *b"\\r      ";
    escapes[b'\t' as usize] = *b"\\t      ";
    escapes[b'"' as usize] = *b"\\\"      ";
    escapes[b'\\' as usize] = *b"\\\\      ";
    escapes
};

/// How much of each of the [`ESCAPES`] is no blank.
const ESCAPE_LENGTHS: [u8; 93] = {
    let mut lengths = [2; 93];
    let mut byte = 0;
    while byte < 93 {
        if ESCAPE_BYTES[byte][1] == b'u' {
            lengths[byte] = 6;
        }
        byte += 1;
    }
    lengths
};

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
        0 => {
            let (character, rest) = unicode_escape(rest).unwrap_or((char::REPLACEMENT_CHARACTER, rest));
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            rest
        }
        byte => {
            out.push(byte);
            rest
        }
    }
}

/// The character of an escape by number, given from its digits on, and what follows it. `None` when they are no digits.
fn unicode_escape(digits: &[u8]) -> Option<(char, &[u8])> {
    let unit = |digits: &[u8]| {
        let digits = digits.first_chunk::<4>()?;
        digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
    };
    let first = unit(digits)?;
    let mut rest = &digits[4..];
    let mut character = char::from_u32(first);
    if (0xd800..0xdc00).contains(&first)
        && let Some(second) = rest.strip_prefix(b"\\u")
        && let Some(low @ 0xdc00..=0xdfff) = unit(second)
    {
        character = char::from_u32(0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00));
        rest = &second[4..];
    }
    Some((character.unwrap_or(char::REPLACEMENT_CHARACTER), rest))
}

/// How many bytes from the start stand in a JSON string as they are: up to a quote, a backslash or a control character.
fn plain_length(bytes: &[u8]) -> usize {
    let Some(last) = bytes.last_chunk::<BLOCK>() else { return short_plain_length(bytes) };
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    for (index, block) in blocks.iter().enumerate() {
        let found = needs_escape(block);
        if found != 0 {
            return index * BLOCK + found.trailing_zeros() as usize;
        }
    }
    // What of it was looked at before is plain.
    match needs_escape(last) {
        0 => bytes.len(),
        found => bytes.len() - BLOCK + found.trailing_zeros() as usize,
    }
}

/// The same for less than a block, as one that has its bytes at both ends and blanks between.
fn short_plain_length(bytes: &[u8]) -> usize {
    let mut block = [b' '; BLOCK];
    let half = if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        block[..8].copy_from_slice(first);
        block[8..].copy_from_slice(last);
        8
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        block[..4].copy_from_slice(first);
        block[4..8].copy_from_slice(last);
        4
    } else {
        block.iter_mut().zip(bytes).for_each(|(place, &byte)| *place = byte);
        BLOCK
    };
    match needs_escape(&block).trailing_zeros() as usize {
        place if place < half => place,
        place if place < 2 * half => bytes.len() + place - 2 * half,
        _ => bytes.len(),
    }
}
