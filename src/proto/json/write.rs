//! Strings into JSON: the text with its escapes.

use std::borrow::Cow;
use std::ops::Range;

use fearless_simd::prelude::*;
use fearless_simd::{dispatch, u8x64};

use super::block::{BLOCK, COPY_SIZE, LARGE_BLOCK, WINDOW, needs_escape, needs_escape_large, simd_level};

/// Bytes left of a text, from behind an escape on, from which large blocks are written. With fewer, they gain nothing.
const LARGE_BLOCKS_FROM: usize = 4 * LARGE_BLOCK;

/// Appends `text` as a JSON string, with its quotes.
///
/// The escapes are those of `JSON.stringify` but for backspace and form feed, which become `\u0008` and `\u000c`.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    write_continuation(text, out);
}

/// Appends `text` as the rest of a JSON string, with the closing quote.
///
/// To go on with a string that is already written, its closing quote has to be removed from `out` first.
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
        if rest.len() >= LARGE_BLOCKS_FROM {
            rest = write_large_blocks(rest, out);
        }
    }
    out.push('"');
}

/// Appends the beginning of a text by large blocks, with escapes. Returns the rest, of less than [`WINDOW`] bytes and what is
/// left of a character.
///
/// What needs an escape in a block is known from its bits, so no load has to wait for the escape before it. Not inlined, so
/// that short strings do not pay for it.
#[inline(never)]
fn write_large_blocks<'t>(text: &'t str, out: &mut String) -> &'t str {
    dispatch!(simd_level(), simd => write_large_blocks_with(simd, text, out))
}

#[inline(always)]
fn write_large_blocks_with<'t, S: Simd>(simd: S, text: &'t str, out: &mut String) -> &'t str {
    // The offset of the first byte that is not written yet.
    let mut plain = 0;
    let mut start = 0;
    while let Some(window) = text.as_bytes()[start..].first_chunk::<WINDOW>() {
        let Some(block) = window.first_chunk::<LARGE_BLOCK>() else { break };
        let mut found = needs_escape_large(u8x64::load_array_ref(simd, block));
        let is_ascii = found != 0 && block.is_ascii();
        while found != 0 {
            let at = found.trailing_zeros() as usize;
            push_piece(text, plain..start + at, is_ascii, out);
            // As with pieces: eight bytes are appended, and what is too much is cut off.
            let index = usize::from(block[at]);
            let length = out.len() + usize::from(ESCAPE_LENGTHS[index]);
            out.push_str(&ESCAPES[index * 8..index * 8 + 8]);
            out.truncate(length);
            plain = start + at + 1;
            found &= found - 1;
        }
        start += LARGE_BLOCK;
    }
    // The last block may end inside a character.
    let end = (plain..=start).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(plain);
    out.push_str(&text[plain..end]);
    &text[end..]
}

/// Appends a piece of a text. Of a short piece in ASCII, [`COPY_SIZE`] bytes are copied and cut, which is cheaper.
#[inline(always)]
fn push_piece(text: &str, piece: Range<usize>, is_ascii: bool, out: &mut String) {
    let length = piece.len();
    if is_ascii
        && length <= COPY_SIZE
        && let Some(more) = text.get(piece.start..piece.start + COPY_SIZE)
    {
        out.push_str(more);
        out.truncate(out.len() - COPY_SIZE + length);
    } else {
        out.push_str(&text[piece]);
    }
}

/// Returns the same JSON in ASCII: other characters, which in JSON stand only in strings, become `\u` escapes.
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

/// Appends the `\u` escape of a UTF-16 code unit, in lower-case digits.
pub fn write_unicode_escape(unit: u16, out: &mut String) {
    out.push_str("\\u");
    for shift in [12, 8, 4, 0] {
        out.push(char::from(HEX[usize::from(unit >> shift & 15)]));
    }
}

/// The escape of each byte up to the backslash, filled up with spaces to eight bytes. Only those of bytes that need one are
/// used.
const ESCAPES: &str = match std::str::from_utf8(ESCAPE_BYTES.as_flattened()) {
    Ok(escapes) => escapes,
    Err(_) => panic!("they are ASCII"),
};

/// The number of [`ESCAPES`]: the backslash is the last byte that needs one.
const ESCAPE_COUNT: usize = b'\\' as usize + 1;

const ESCAPE_BYTES: [[u8; 8]; ESCAPE_COUNT] = {
    let mut escapes = [*b"\\u0000  "; ESCAPE_COUNT];
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

/// The length of each of the [`ESCAPES`] without its spaces, in bytes.
const ESCAPE_LENGTHS: [u8; ESCAPE_COUNT] = {
    let mut lengths = [2; ESCAPE_COUNT];
    let mut byte = 0;
    while byte < ESCAPE_COUNT {
        if ESCAPE_BYTES[byte][1] == b'u' {
            lengths[byte] = 6;
        }
        byte += 1;
    }
    lengths
};

/// Returns the offset of the first byte that needs an escape, or the length of `bytes`.
fn plain_length(bytes: &[u8]) -> usize {
    let Some(last) = bytes.last_chunk::<BLOCK>() else { return short_plain_length(bytes) };
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    for (index, block) in blocks.iter().enumerate() {
        let found = needs_escape(block);
        if found != 0 {
            return index * BLOCK + found.trailing_zeros() as usize;
        }
    }
    // The last block overlaps the one before it, whose bytes need no escape.
    match needs_escape(last) {
        0 => bytes.len(),
        found => bytes.len() - BLOCK + found.trailing_zeros() as usize,
    }
}

/// Does what [`plain_length`] does, for less than a block. The first and the last bytes, which may overlap, are put into one
/// block filled up with spaces: that is cheaper than a look at each byte.
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

/// Returns how many bytes a text takes in JSON at most, without its quotes.
#[must_use]
pub fn escaped_len(text: &[u8]) -> usize {
    /// The length of a block, in bytes: at most 255, so that a count fits in one byte and the compiler counts with vectors.
    const COUNTED: usize = 255;
    let mut more = 0;
    for block in text.chunks(COUNTED) {
        let (mut short, mut long) = (0_u8, 0_u8);
        for &byte in block {
            short += u8::from(byte == b'"' || byte == b'\\');
            long += u8::from(byte < b' ');
        }
        more += usize::from(short) + (r"\u001f".len() - 1) * usize::from(long);
    }
    text.len() + more
}
