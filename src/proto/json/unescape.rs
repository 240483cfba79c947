//! Strings out of JSON, without their escapes.

use std::borrow::Cow;

use fearless_simd::prelude::*;
use fearless_simd::{dispatch, mask8x64, u8x64};

use super::block::{BLOCK, COPY_SIZE, LARGE_BLOCK, WINDOW, backslashes_in, bits_from, escaped, find, simd_level};
use super::event::Invalid;

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
    append_unescaped(&text.as_bytes()[at..], &mut out);
    Some(out)
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
    dispatch!(simd_level(), simd => unescape_with(simd, bytes, at, out))
}

#[inline(always)]
fn unescape_with<S: Simd>(simd: S, bytes: &[u8], at: usize, out: &mut Vec<u8>) -> Result<(usize, bool), Invalid> {
    // Where a vector takes a large block there are instructions to look up and to pack the whole of it. Elsewhere these are
    // many, and it is cheaper to copy what stands between the escapes.
    if S::u8s::LEN == LARGE_BLOCK {
        unescape_packing(simd, bytes, at, out)
    } else {
        unescape_in_pieces(simd, bytes, at, out)
    }
}

#[inline(always)]
fn unescape_packing<S: Simd>(simd: S, bytes: &[u8], at: usize, out: &mut Vec<u8>) -> Result<(usize, bool), Invalid> {
    let letters = u8x64::load_array_ref(simd, &LETTERS);
    let values = u8x64::load_array_ref(simd, &VALUES);
    let mut stage = Stage::new();
    let mut start = at;
    let mut carry = false;
    while let Some(block) = bytes[start..].first_chunk::<LARGE_BLOCK>() {
        stage.flush_if_full(out);
        let block = u8x64::load_array_ref(simd, block);
        let found = find(block);
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
                return Ok((at + 1, true));
            }
            b'u' => {
                start = stage.push_unicode_escapes(bytes, at, out)?;
                carry = false;
            }
            _ => return Err(Invalid { at }),
        }
    }
    stage.flush(out);
    // A backslash at the end was taken for an escape that is still to come.
    Ok((start - usize::from(carry), false))
}

/// Which bits of a letter tell it from the others behind a backslash.
const LOW_BITS: u8 = 63;

/// The letters behind a backslash that stand for something else, by their low bits; and what they stand for.
static LETTERS: [u8; LARGE_BLOCK] = by_low_bits(false);
static VALUES: [u8; LARGE_BLOCK] = by_low_bits(true);

const fn by_low_bits(values: bool) -> [u8; LARGE_BLOCK] {
    let mut table = [0; LARGE_BLOCK];
    let mut letter = b' ';
    while letter < 0x80 {
        let value = UNESCAPED[letter as usize];
        if value != 0 && !matches!(letter, b'"' | b'\\') {
            let place = &mut table[(letter & LOW_BITS) as usize];
            assert!(*place == 0, "two letters are the same in these bits");
            *place = if values { value } else { letter };
        }
        letter += 1;
    }
    table
}

#[inline(always)]
fn unescape_in_pieces<S: Simd>(simd: S, bytes: &[u8], at: usize, out: &mut Vec<u8>) -> Result<(usize, bool), Invalid> {
    let mut stage = Stage::new();
    let mut start = at;
    while let Some(window) = bytes[start..].first_chunk::<WINDOW>() {
        let Some(block) = window.first_chunk::<LARGE_BLOCK>() else { break };
        stage.flush_if_full(out);
        let found = find(u8x64::load_array_ref(simd, block));
        let escaped = escaped(found.backslashes, &mut false);
        let ends = found.quotes & !escaped | found.controls;
        let before_end = !ends & ends.wrapping_sub(1);
        let mut escapes = found.backslashes & !escaped & before_end;
        let mut from = 0;
        while escapes != 0 {
            let at = escapes.trailing_zeros() as usize;
            escapes &= escapes - 1;
            stage.copy(window, from, at);
            let letter = window[at + 1];
            match UNESCAPED[usize::from(letter)] {
                0 if letter == b'u' => {
                    from = stage.push_unicode_escapes(bytes, start + at + 1, out)? - start;
                    // It may have been several.
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
            stage.copy(window, from, end);
            stage.flush(out);
            return Ok((start + end + 1, true));
        }
        if from < LARGE_BLOCK {
            stage.copy(window, from, LARGE_BLOCK);
            from = LARGE_BLOCK;
        }
        start += from;
    }
    stage.flush(out);
    Ok((start, false))
}

/// How much is staged before it is appended.
const STAGE_SIZE: usize = 2048;

/// What is on its way to a vector: here it does not ask each time whether there is room.
struct Stage {
    /// With room for what is copied beyond what is right.
    bytes: [u8; STAGE_SIZE + LARGE_BLOCK],
    /// Never more than [`STAGE_SIZE`]. By the remainders below, which change nothing, the compiler knows it.
    length: usize,
}

impl Stage {
    #[inline(always)]
    fn new() -> Self {
        Self { bytes: [0; STAGE_SIZE + LARGE_BLOCK], length: 0 }
    }

    /// For a large block, and a character whose escape starts at its end.
    #[inline(always)]
    fn flush_if_full(&mut self, out: &mut Vec<u8>) {
        if self.length > STAGE_SIZE - WINDOW {
            self.flush(out);
        }
    }

    /// Appends those bytes of a block that are kept.
    #[inline(always)]
    fn pack<S: Simd>(&mut self, simd: S, block: u8x64<S>, kept: u64) {
        let packed = block.compress(mask8x64::from_bitmask(simd, kept));
        let target = self.length % STAGE_SIZE;
        packed.store_slice(&mut self.bytes[target..target + LARGE_BLOCK]);
        self.length += kept.count_ones() as usize;
    }

    /// Appends a piece of a window that starts in its large block and ends there at most.
    #[inline(always)]
    fn copy(&mut self, window: &[u8; WINDOW], mut from: usize, to: usize) {
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

    /// Appends the character of the escape whose `u` is at this place, and of those right behind it. Gives what is behind them.
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

/// Appends what is left of a checked string without its escapes.
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
        // Cheaper than to copy just what is right.
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

/// What each letter behind a backslash stands for; zero where that is none, or takes more letters.
///
/// A table, because which of them comes next is anybody's guess, and a wrong one costs more than the look.
pub(super) const UNESCAPED: [u8; 256] = {
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

/// The character of an escape by number, given from its digits on, and what follows it. `None` when they are no digits.
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
