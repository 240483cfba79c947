//! Strings out of JSON: the text without its escapes.

use std::borrow::Cow;
use std::ops::Range;

use fearless_simd::prelude::*;
use fearless_simd::{dispatch, mask8x64, u8x64};

use super::block::{BLOCK, BlockBits, COPY_SIZE, LARGE_BLOCK, WINDOW, backslashes_in, bits_from, escaped, simd_level};
use super::event::Invalid;

/// Returns the text of a checked string, given with its quotes. A lone surrogate becomes U+FFFD, as where JavaScript encodes
/// UTF-8.
#[must_use]
pub fn unquote(quoted: &str) -> Cow<'_, str> {
    let inner = without_quotes(quoted);
    match unescape(inner) {
        // UTF-8: what stands between escapes is whole characters, and each escape becomes one.
        Some(text) => Cow::Owned(String::from_utf8(text).unwrap_or_default()),
        None => Cow::Borrowed(inner),
    }
}

/// Returns what stands between the quotes of a checked string, with its escapes.
#[must_use]
pub fn without_quotes(quoted: &str) -> &str {
    quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(quoted)
}

/// Returns the text that stands between the quotes of a checked string without its escapes, as UTF-8; `None` if it has no
/// escapes. A lone surrogate becomes U+FFFD, as in [`unquote`].
#[must_use]
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let first = memchr::memchr(b'\\', text.as_bytes())?;
    // A block more than the text can need, since whole blocks are copied.
    let mut out = Vec::with_capacity(text.len() + BLOCK);
    out.extend_from_slice(&text.as_bytes()[..first]);
    let at = unescape_large_blocks(text.as_bytes(), first, &mut out).map_or(text.len(), |reached| reached.at);
    append_unescaped(&text.as_bytes()[at..], &mut out);
    Some(out)
}

/// Where a walk over a string by large blocks stopped.
pub(super) struct Reached {
    /// The offset behind the closing quote, or of the next character or escape.
    pub(super) at: usize,
    /// Whether the string ended. If not, less than a large block is left (or less than [`WINDOW`] bytes, where strings are
    /// unescaped).
    pub(super) is_end: bool,
}

/// Checks a string by large blocks, from a character or an escape on, and appends it without its escapes, until the string ends
/// or no whole block is left.
///
/// What stands in a block is known from its bits, so no load has to wait for the escape before it. Not inlined, so that short
/// strings do not pay for the stage on the stack.
///
/// # Errors
/// Fails at the first byte that cannot stand in a string.
#[inline(never)]
pub(super) fn unescape_large_blocks(bytes: &[u8], at: usize, out: &mut Vec<u8>) -> Result<Reached, Invalid> {
    dispatch!(simd_level(), simd => unescape_with(simd, bytes, at, out))
}

#[inline(always)]
fn unescape_with<S: Simd>(simd: S, bytes: &[u8], at: usize, out: &mut Vec<u8>) -> Result<Reached, Invalid> {
    // Where a vector takes a large block, one instruction looks all of it up, and one packs it. With smaller vectors that takes
    // many, and it is cheaper to copy what stands between the escapes.
    if S::u8s::LEN == LARGE_BLOCK {
        unescape_packing(simd, bytes, at, out)
    } else {
        unescape_in_pieces(simd, bytes, at, out)
    }
}

/// Replaces the escaped letters of a block by a look-up, and packs the bytes that are kept. Only `\u` needs a branch.
#[inline(always)]
fn unescape_packing<S: Simd>(simd: S, bytes: &[u8], at: usize, out: &mut Vec<u8>) -> Result<Reached, Invalid> {
    let letters = u8x64::load_array_ref(simd, &LETTERS);
    let values = u8x64::load_array_ref(simd, &VALUES);
    let mut stage = Stage::new();
    let mut start = at;
    let mut carry = false;
    while let Some(block) = bytes[start..].first_chunk::<LARGE_BLOCK>() {
        stage.flush_if_full(out);
        let block = u8x64::load_array_ref(simd, block);
        let found = BlockBits::of(block);
        let escaped = escaped(found.backslashes, &mut carry);
        // Quotes and backslashes stand for themselves.
        let others = escaped & !(found.quotes | found.backslashes);
        let low_bits = block & LOW_BITS;
        let known = letters.swizzle_dyn(low_bits).simd_eq(block).to_bitmask();
        let stops = found.quotes & !escaped | found.controls | others & !known;
        let before_stop = !stops & stops.wrapping_sub(1);
        let unescaped = mask8x64::from_bitmask(simd, others).select(values.swizzle_dyn(low_bits), block);
        stage.pack(simd, unescaped, before_stop & (escaped | !found.backslashes));
        if stops == 0 {
            start += LARGE_BLOCK;
            continue;
        }
        let at = start + stops.trailing_zeros() as usize;
        match bytes[at] {
            b'"' => {
                stage.flush(out);
                return Ok(Reached { at: at + 1, is_end: true });
            }
            b'u' => {
                start = stage.push_unicode_escapes(bytes, at, out)?;
                carry = false;
            }
            _ => return Err(Invalid { at }),
        }
    }
    stage.flush(out);
    // A backslash at the end of the last block was dropped, as the start of an escape: that escape is still to come.
    Ok(Reached { at: start - usize::from(carry), is_end: false })
}

/// The bits of a letter that tell it from all others that may stand behind a backslash.
const LOW_BITS: u8 = 63;

/// By their low bits, the letters that stand for another byte behind a backslash, and those bytes.
static LETTERS: [u8; LARGE_BLOCK] = by_low_bits().0;
static VALUES: [u8; LARGE_BLOCK] = by_low_bits().1;

const fn by_low_bits() -> ([u8; LARGE_BLOCK], [u8; LARGE_BLOCK]) {
    let (mut letters, mut values) = ([0; LARGE_BLOCK], [0; LARGE_BLOCK]);
    let mut letter = b' ';
    while letter < 0x80 {
        let value = UNESCAPED[letter as usize];
        if value != 0 && !matches!(letter, b'"' | b'\\') {
            let place = (letter & LOW_BITS) as usize;
            assert!(letters[place] == 0, "two letters are the same in these bits");
            letters[place] = letter;
            values[place] = value;
        }
        letter += 1;
    }
    (letters, values)
}

/// Copies the pieces between escapes.
#[inline(always)]
fn unescape_in_pieces<S: Simd>(simd: S, bytes: &[u8], at: usize, out: &mut Vec<u8>) -> Result<Reached, Invalid> {
    let mut stage = Stage::new();
    let mut start = at;
    while let Some(window) = bytes[start..].first_chunk::<WINDOW>() {
        let Some(block) = window.first_chunk::<LARGE_BLOCK>() else { break };
        stage.flush_if_full(out);
        let found = BlockBits::of(u8x64::load_array_ref(simd, block));
        let escaped = escaped(found.backslashes, &mut false);
        let ends = found.quotes & !escaped | found.controls;
        let before_end = !ends & ends.wrapping_sub(1);
        let mut escapes = found.backslashes & !escaped & before_end;
        // The index in the window of the first byte that is not on the stage yet.
        let mut from = 0;
        while escapes != 0 {
            let at = escapes.trailing_zeros() as usize;
            escapes &= escapes - 1;
            stage.copy(window, from..at);
            let letter = window[at + 1];
            match UNESCAPED[usize::from(letter)] {
                0 if letter == b'u' => {
                    from = stage.push_unicode_escapes(bytes, start + at + 1, out)? - start;
                    // That may have been several escapes.
                    escapes &= bits_from(from);
                }
                0 => return Err(Invalid { at: start + at + 1 }),
                byte => {
                    stage.push(byte);
                    from = at + 2;
                }
            }
        }
        if ends != 0 {
            let end = ends.trailing_zeros() as usize;
            if block[end % LARGE_BLOCK] != b'"' {
                return Err(Invalid { at: start + end });
            }
            stage.copy(window, from..end);
            stage.flush(out);
            return Ok(Reached { at: start + end + 1, is_end: true });
        }
        if from < LARGE_BLOCK {
            stage.copy(window, from..LARGE_BLOCK);
            from = LARGE_BLOCK;
        }
        start += from;
    }
    stage.flush(out);
    Ok(Reached { at: start, is_end: false })
}

/// The bytes that are staged before they are appended to a vector.
const STAGE_SIZE: usize = 2048;

/// Text on its way to a vector. A vector would ask at each piece whether it has room; the stage asks once a block.
struct Stage {
    /// The text, and behind it room for what a copy of fixed size brings beyond the right end.
    bytes: [u8; STAGE_SIZE + LARGE_BLOCK],
    /// The bytes of the text, at most [`STAGE_SIZE`]. The remainders below change nothing; they tell the compiler that bound.
    length: usize,
}

impl Stage {
    #[inline(always)]
    fn new() -> Self {
        Self { bytes: [0; STAGE_SIZE + LARGE_BLOCK], length: 0 }
    }

    /// Makes room for a large block, and for a character whose escape starts at its end.
    #[inline(always)]
    fn flush_if_full(&mut self, out: &mut Vec<u8>) {
        if self.length > STAGE_SIZE - WINDOW {
            self.flush(out);
        }
    }

    /// Appends the bytes of a block whose bits are set in `kept`.
    #[inline(always)]
    fn pack<S: Simd>(&mut self, simd: S, block: u8x64<S>, kept: u64) {
        let packed = block.compress(mask8x64::from_bitmask(simd, kept));
        let target = self.length % STAGE_SIZE;
        packed.store_slice(&mut self.bytes[target..target + LARGE_BLOCK]);
        self.length += kept.count_ones() as usize;
    }

    /// Appends a piece of a window's large block.
    #[inline(always)]
    fn copy(&mut self, window: &[u8; WINDOW], piece: Range<usize>) {
        let Range { start: mut from, end: to } = piece;
        let end = self.length + (to - from);
        loop {
            let (source, target) = (from % LARGE_BLOCK, self.length % STAGE_SIZE);
            self.bytes[target..target + COPY_SIZE].copy_from_slice(&window[source..source + COPY_SIZE]);
            from += COPY_SIZE;
            if from >= to {
                break;
            }
            self.length += COPY_SIZE;
        }
        self.length = end;
    }

    #[inline(always)]
    fn push(&mut self, byte: u8) {
        self.bytes[self.length % STAGE_SIZE] = byte;
        self.length += 1;
    }

    /// Appends the character of the `\u` escape whose `u` is at `at`, and those of the `\u` escapes right behind it. Returns
    /// the offset behind the last.
    fn push_unicode_escapes(&mut self, bytes: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, Invalid> {
        let mut digits = &bytes[at + 1..];
        loop {
            let (character, behind) =
                parse_unicode_escape(digits).ok_or(Invalid { at: bytes.len() - digits.len() - 1 })?;
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                self.push(byte);
            }
            match behind.strip_prefix(b"\\u") {
                Some(more) => digits = more,
                None => return Ok(bytes.len() - behind.len()),
            }
            self.flush_if_full(out);
        }
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes[..self.length]);
        self.length = 0;
    }
}

/// Appends the rest of a checked string, from a character or an escape on, without its escapes.
pub(super) fn append_unescaped(mut rest: &[u8], out: &mut Vec<u8>) {
    loop {
        let Some(block) = rest.first_chunk::<BLOCK>() else {
            let plain = rest.iter().position(|&byte| byte == b'\\').unwrap_or(rest.len());
            out.extend_from_slice(&rest[..plain]);
            rest = &rest[plain..];
            if rest.is_empty() {
                return;
            }
            rest = append_escape(&rest[1..], out);
            continue;
        };
        // To copy the whole block and cut it is cheaper than to copy what is right.
        out.extend_from_slice(block);
        match backslashes_in(block) {
            0 => rest = &rest[BLOCK..],
            found => {
                let plain = found.trailing_zeros() as usize;
                out.truncate(out.len() - BLOCK + plain);
                rest = append_escape(&rest[plain + 1..], out);
            }
        }
    }
}

/// By letter, the byte that it stands for behind a backslash; zero if it stands for none, or begins a `\u` escape.
///
/// A table and not a `match`: the processor cannot guess which letter comes next, and a wrong guess costs more than the
/// look-up.
pub(super) const UNESCAPED: [u8; 256] = {
    let mut table = [0; 256];
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table[b'/' as usize] = b'/';
    table[b'b' as usize] = 8;
    table[b'f' as usize] = 12;
    table[b'n' as usize] = b'\n';
    table[b'r' as usize] = b'\r';
    table[b't' as usize] = b'\t';
    table
};

/// Appends the character of an escape, given from behind its backslash on. Returns what stands behind the escape.
#[inline]
fn append_escape<'t>(escape: &'t [u8], out: &mut Vec<u8>) -> &'t [u8] {
    let Some((&letter, rest)) = escape.split_first() else { return escape };
    match UNESCAPED[usize::from(letter)] {
        0 => {
            let (character, rest) = parse_unicode_escape(rest).unwrap_or((char::REPLACEMENT_CHARACTER, rest));
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            rest
        }
        byte => {
            out.push(byte);
            rest
        }
    }
}

/// Returns the character of a `\u` escape, or of a surrogate pair of two, given from its digits on, and what stands behind it.
/// Returns `None` if there are no four hexadecimal digits.
fn parse_unicode_escape(digits: &[u8]) -> Option<(char, &[u8])> {
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
