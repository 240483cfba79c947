//! Sixteen bytes at a time, or sixty-four.
//!
//! Whatever looks at sixty-four is compiled for several kinds of processor, of which [`dispatch`] chooses at run time. It is
//! inlined always, since what is not inlined there is compiled for the least of them.

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u8x16, u8x64};

/// How many bytes are looked at together.
pub(super) const BLOCK: usize = 16;

/// A bit for each byte that cannot stand in a JSON string as it is: quotes, backslashes and control characters.
pub(super) fn needs_escape(block: &[u8; BLOCK]) -> u64 {
    dispatch!(Level::baseline(), simd => {
        let bytes = u8x16::load_array_ref(simd, block);
        // SSE2 has no comparison of unsigned bytes.
        let controls = bytes.simd_eq(bytes.min(0x1f));
        (bytes.simd_eq(b'"') | bytes.simd_eq(b'\\') | controls).to_bitmask()
    })
}

/// A bit for each backslash.
pub(super) fn backslashes_in(block: &[u8; BLOCK]) -> u64 {
    dispatch!(Level::baseline(), simd => u8x16::load_array_ref(simd, block).simd_eq(b'\\').to_bitmask())
}

/// What the processor can do, for those who look at large blocks. Tests make it less.
#[inline]
pub(super) fn simd_level() -> Level {
    #[cfg(test)]
    if let Some(level) = levels::CHOSEN.get() {
        return level;
    }
    Level::new()
}

#[cfg(test)]
pub(super) mod levels {
    use std::cell::Cell;

    use fearless_simd::{Level, Simd};

    thread_local! {
        pub(super) static CHOSEN: Cell<Option<Level>> = const { Cell::new(None) };
    }

    /// Runs the test as on each kind of processor that this one can be.
    pub(in super::super) fn on_each_level(mut test: impl FnMut()) {
        let best = Level::new();
        let mut levels = vec![Level::baseline(), best];
        #[cfg(target_arch = "x86_64")]
        levels.extend([best.as_sse4_2().map(Simd::level), best.as_avx2().map(Simd::level)].into_iter().flatten());
        for level in levels {
            CHOSEN.set(Some(level));
            test();
        }
        CHOSEN.set(None);
    }
}

/// A bit for each place from this one on, be it beyond all.
pub(super) fn bits_from(place: usize) -> u64 {
    u32::try_from(place).ok().and_then(|place| u64::MAX.checked_shl(place)).unwrap_or(0)
}

/// How many bytes are looked at together in long strings: with a bit for each, they fill a word.
pub(super) const LARGE_BLOCK: usize = 64;

/// What a large block holds, a bit for each byte.
pub(super) struct BlockBits {
    pub(super) quotes: u64,
    pub(super) backslashes: u64,
    pub(super) controls: u64,
}

/// How many bytes are copied at once, be they right or not: most pieces between escapes are shorter.
pub(super) const COPY_SIZE: usize = 32;

/// A large block and what may be copied, or looked at, behind it.
pub(super) const WINDOW: usize = LARGE_BLOCK + COPY_SIZE;

/// Where a large block has what [`needs_escape`] tells of.
#[inline(always)]
pub(super) fn find<S: Simd>(bytes: u8x64<S>) -> BlockBits {
    BlockBits { quotes: positions_of(bytes, b'"'), backslashes: positions_of(bytes, b'\\'), controls: controls(bytes) }
}

/// A bit for each control character. There is hardly ever one, which is known sooner than where.
#[inline(always)]
fn controls<S: Simd>(bytes: u8x64<S>) -> u64 {
    let found = bytes.simd_le(0x1f);
    if found.any_true() { found.to_bitmask() } else { 0 }
}

/// [`needs_escape`] for a large block.
#[inline(always)]
pub(super) fn needs_escape_large<S: Simd>(bytes: u8x64<S>) -> u64 {
    (bytes.simd_eq(b'"') | bytes.simd_eq(b'\\') | bytes.simd_le(0x1f)).to_bitmask()
}

/// A bit for each byte of a large block that is this one.
#[inline(always)]
pub(super) fn positions_of<S: Simd>(bytes: u8x64<S>, byte: u8) -> u64 {
    bytes.simd_eq(byte).to_bitmask()
}

/// A bit for each byte behind a backslash that is not itself behind one. `carry` says whether the first byte is, and then
/// whether the first one of the next block is.
///
/// Without a branch, as in simdjson: from the start of a run of backslashes, every other one escapes what is next to it.
#[inline(always)]
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
pub(super) struct BlockState {
    /// Whether the next byte is behind a backslash.
    escaped: bool,
    /// All bits when the next byte is in a string, or none.
    in_string: u64,
    /// The lowest bit when the byte before was of a number or a word.
    in_scalar: u64,
}

/// Where a block has what counts in JSON, a bit for each byte.
pub(super) struct TokenBits {
    /// The first byte of each token.
    pub(super) tokens: u64,
    /// What stands behind a backslash, but for quotes and backslashes, which always may.
    pub(super) escapes: u64,
    /// Whether there is a control character that is no blank, or in a string.
    pub(super) broken: bool,
}

impl BlockState {
    #[inline(always)]
    pub(super) fn next<S: Simd>(&mut self, bytes: u8x64<S>) -> TokenBits {
        let backslashes = positions_of(bytes, b'\\');
        let escaped = if backslashes == 0 && !self.escaped { 0 } else { escaped(backslashes, &mut self.escaped) };
        let all_quotes = positions_of(bytes, b'"');
        let quotes = all_quotes & !escaped;
        // From each first quote to before its second.
        let strings = prefix_xor(quotes) ^ self.in_string;
        self.in_string = (strings >> 63).wrapping_neg();
        let controls = controls(bytes);
        // Whatever else is among them is found below.
        let blanks = bytes.simd_le(b' ').to_bitmask();
        // Brackets differ from braces by one bit.
        let folded = bytes | 0x20;
        let operators = folded.simd_eq(b'{') | folded.simd_eq(b'}') | bytes.simd_eq(b':') | bytes.simd_eq(b',');
        let operators = operators.to_bitmask();
        let others = !(operators | blanks);
        let scalars = others & !quotes;
        let starts = others & !(scalars << 1 | self.in_scalar);
        self.in_scalar = scalars >> 63;
        let mut broken = controls & strings != 0;
        if controls != 0 {
            broken |=
                controls & !(positions_of(bytes, b'\n') | positions_of(bytes, b'\r') | positions_of(bytes, b'\t')) != 0;
        }
        TokenBits {
            tokens: (operators | starts) & !(strings ^ quotes),
            escapes: escaped & !(all_quotes | backslashes),
            broken,
        }
    }
}

/// A bit for each byte with an odd number of bits up to it.
#[inline(always)]
fn prefix_xor(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}
