//! Sixteen bytes at a time, or sixty-four.

use wide::u8x16;

/// How many bytes are looked at together.
pub(super) const BLOCK: usize = 16;

/// A bit for each byte that cannot stand in a JSON string as it is: quotes, backslashes and control characters.
pub(super) fn needs_escape(block: &[u8; BLOCK]) -> u32 {
    cannot_stand(u8x16::new(*block)).to_bitmask()
}

#[inline]
fn cannot_stand(bytes: u8x16) -> u8x16 {
    let quotes = bytes.simd_eq(u8x16::splat(b'"'));
    let backslashes = bytes.simd_eq(u8x16::splat(b'\\'));
    let controls = bytes.simd_eq(bytes.min(u8x16::splat(0x1f)));
    quotes | backslashes | controls
}

/// A bit for each backslash.
pub(super) fn is_backslash(block: &[u8; BLOCK]) -> u32 {
    u8x16::new(*block).simd_eq(u8x16::splat(b'\\')).to_bitmask()
}

/// How many bytes are looked at together in long strings: with a bit for each, they fill a word.
pub(super) const LARGE: usize = 64;

/// What a large block holds, a bit for each byte.
pub(super) struct Found {
    pub(super) quotes: u64,
    pub(super) backslashes: u64,
    pub(super) controls: u64,
}

/// Where a large block has what [`needs_escape`] tells of.
#[inline]
pub(super) fn find(block: &[u8; LARGE]) -> Found {
    Found { quotes: is_byte(block, b'"'), backslashes: is_byte(block, b'\\'), controls: controls(block) }
}

/// A bit for each control character. There is hardly ever one, which is known sooner than where.
#[inline]
fn controls(block: &[u8; LARGE]) -> u64 {
    let (blocks, _) = block.as_chunks::<BLOCK>();
    let is_control = |bytes: u8x16| bytes.simd_eq(bytes.min(u8x16::splat(0x1f)));
    let least = blocks.iter().fold(u8x16::MAX, |least, block| least.min(u8x16::new(*block)));
    if is_control(least).to_bitmask() == 0 { 0 } else { bits(block, is_control) }
}

/// [`needs_escape`] for a large block.
#[inline]
pub(super) fn needs_escape_large(block: &[u8; LARGE]) -> u64 {
    bits(block, cannot_stand)
}

/// A bit for each byte of a large block that is this one.
#[inline]
pub(super) fn is_byte(block: &[u8; LARGE], byte: u8) -> u64 {
    bits(block, |bytes| bytes.simd_eq(u8x16::splat(byte)))
}

#[inline]
fn bits(block: &[u8; LARGE], test: impl Fn(u8x16) -> u8x16) -> u64 {
    let (blocks, _) = block.as_chunks::<BLOCK>();
    blocks.iter().rev().fold(0, |bits, block| bits << BLOCK | u64::from(test(u8x16::new(*block)).to_bitmask()))
}

/// A bit for each byte behind a backslash that is not itself behind one. `carry` says whether the first byte is, and then
/// whether the first one of the next block is.
///
/// Without a branch, as in simdjson: from the start of a run of backslashes, every other one escapes what is next to it.
#[inline]
pub(super) fn escaped(backslashes: u64, carry: &mut bool) -> u64 {
    const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    let first = u64::from(*carry);
    let starts = backslashes & !first;
    // The difference carries through each run; with the odd bits set before, what comes out is every other bit of it.
    let alternating = (starts << 1 | ODD).wrapping_sub(starts) ^ ODD;
    *carry = (alternating & backslashes) >> 63 == 1;
    alternating ^ (backslashes | first)
}

/// What is known of a text at the end of a block.
#[derive(Default)]
pub(super) struct Marks {
    /// Whether the next byte is behind a backslash.
    escaped: bool,
    /// All bits when the next byte is in a string, or none.
    in_string: u64,
    /// The lowest bit when the byte before was of a number or a word.
    in_scalar: u64,
}

/// Where a block has what counts in JSON, a bit for each byte.
pub(super) struct Structure {
    /// The first byte of each token.
    pub(super) tokens: u64,
    /// What stands behind a backslash, but for quotes and backslashes, which always may.
    pub(super) escapes: u64,
    /// Whether a string has a control character.
    pub(super) broken: bool,
}

impl Marks {
    #[inline]
    pub(super) fn next(&mut self, block: &[u8; LARGE]) -> Structure {
        let backslashes = is_byte(block, b'\\');
        let escaped = if backslashes == 0 && !self.escaped { 0 } else { escaped(backslashes, &mut self.escaped) };
        let all_quotes = is_byte(block, b'"');
        let quotes = all_quotes & !escaped;
        // From each first quote to before its second.
        let strings = prefix_xor(quotes) ^ self.in_string;
        self.in_string = (strings >> 63).wrapping_neg();
        let controls = controls(block);
        let mut blanks = is_byte(block, b' ');
        if controls != 0 {
            blanks |= is_byte(block, b'\n') | is_byte(block, b'\r') | is_byte(block, b'\t');
        }
        // Brackets differ from braces by one bit.
        let operators = bits(block, |bytes| {
            let folded = bytes | u8x16::splat(0x20);
            folded.simd_eq(u8x16::splat(b'{'))
                | folded.simd_eq(u8x16::splat(b'}'))
                | bytes.simd_eq(u8x16::splat(b':'))
                | bytes.simd_eq(u8x16::splat(b','))
        });
        let others = !(operators | blanks);
        let scalars = others & !quotes;
        let starts = others & !(scalars << 1 | self.in_scalar);
        self.in_scalar = scalars >> 63;
        Structure {
            tokens: (operators | starts) & !(strings ^ quotes),
            escapes: escaped & !(all_quotes | backslashes),
            broken: controls & strings != 0,
        }
    }
}

/// A bit for each byte with an odd number of bits up to it.
#[inline]
fn prefix_xor(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}
