//! Blocks of 16 and of 64 bytes, with a bit for each byte that has a property.
//!
//! What looks at 64 bytes is compiled once for each kind of processor, and [`dispatch`] chooses at run time. Those functions
//! are `#[inline(always)]`: a function that is not inlined into [`dispatch`] is compiled for the least processor.

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u8x16, u8x64};

/// The bytes in a block: what the least processor looks at with one instruction. Short strings are read by such blocks.
pub(super) const BLOCK: usize = 16;

/// The bytes in a large block: with a bit for each, they fill a `u64`. Long strings and containers are read by such blocks.
pub(super) const LARGE_BLOCK: usize = 64;

/// The bytes that are copied at once. Most pieces between two escapes are shorter, and a copy of fixed size is cheaper than
/// one of the right size.
pub(super) const COPY_SIZE: usize = 32;

/// The bytes of a large block and of what a copy, or a look at an escape's letter, may touch behind it.
pub(super) const WINDOW: usize = LARGE_BLOCK + COPY_SIZE;

/// Finds the bytes of a block that a JSON string cannot hold as they are: quotes, backslashes and control characters.
pub(super) fn needs_escape(block: &[u8; BLOCK]) -> u64 {
    dispatch!(Level::baseline(), simd => {
        let bytes = u8x16::load_array_ref(simd, block);
        // SSE2 has no comparison of unsigned bytes.
        let controls = bytes.simd_eq(bytes.min(0x1f));
        (bytes.simd_eq(b'"') | bytes.simd_eq(b'\\') | controls).to_bitmask()
    })
}

/// Finds the backslashes of a block.
pub(super) fn backslashes_in(block: &[u8; BLOCK]) -> u64 {
    dispatch!(Level::baseline(), simd => u8x16::load_array_ref(simd, block).simd_eq(b'\\').to_bitmask())
}

/// Returns what this processor can do, for the functions that look at large blocks. Tests lower it.
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

    /// Runs the test as on each kind of processor that this one can stand in for.
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

/// Returns the mask of bit `place` and all higher bits; zero if `place` ≥ 64.
pub(super) fn bits_from(place: usize) -> u64 {
    u32::try_from(place).ok().and_then(|place| u64::MAX.checked_shl(place)).unwrap_or(0)
}

/// The bytes of a large block that need a look inside a string: one bit for each byte, the first byte's lowest.
pub(super) struct BlockBits {
    /// The bytes that are `"`, escaped or not.
    pub(super) quotes: u64,
    /// The bytes that are `\`, escaped or not.
    pub(super) backslashes: u64,
    /// The bytes below 0x20, which a string must not hold.
    pub(super) controls: u64,
}

impl BlockBits {
    #[inline(always)]
    pub(super) fn of<S: Simd>(bytes: u8x64<S>) -> Self {
        Self {
            quotes: positions_of(bytes, b'"'),
            backslashes: positions_of(bytes, b'\\'),
            controls: control_characters(bytes),
        }
    }
}

/// Finds the control characters of a large block. Most blocks have none, and `any_true` costs less than the mask.
#[inline(always)]
fn control_characters<S: Simd>(bytes: u8x64<S>) -> u64 {
    let found = bytes.simd_le(0x1f);
    if found.any_true() { found.to_bitmask() } else { 0 }
}

/// Does for a large block what [`needs_escape`] does for a block.
#[inline(always)]
pub(super) fn needs_escape_large<S: Simd>(bytes: u8x64<S>) -> u64 {
    (bytes.simd_eq(b'"') | bytes.simd_eq(b'\\') | bytes.simd_le(0x1f)).to_bitmask()
}

/// Finds the bytes of a large block that are equal to `byte`.
#[inline(always)]
pub(super) fn positions_of<S: Simd>(bytes: u8x64<S>, byte: u8) -> u64 {
    bytes.simd_eq(byte).to_bitmask()
}

/// Finds the bytes that an unescaped backslash stands in front of. `carry` says whether the first byte of this block is one,
/// and is left saying so of the next block.
///
/// Without a branch, as in simdjson: from the start of a run of backslashes, every other one escapes the byte behind it.
#[inline(always)]
pub(super) fn escaped(backslashes: u64, carry: &mut bool) -> u64 {
    const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    let first = u64::from(*carry);
    let starts = backslashes & !first;
    // The subtraction borrows through each run of backslashes. With the odd bits set beforehand, every other bit of the run
    // comes out.
    let alternating = (starts << 1 | ODD).wrapping_sub(starts) ^ ODD;
    *carry = (alternating & backslashes) >> 63 == 1;
    alternating ^ (backslashes | first)
}

/// What the large blocks so far tell about the first byte of the next one.
#[derive(Default)]
pub(super) struct BlockState {
    /// Whether an unescaped backslash stands in front of the next byte.
    escaped: bool,
    /// All bits if the next byte is inside a string, else none.
    in_string: u64,
    /// The lowest bit if the byte before it belongs to a number or a word.
    in_scalar: u64,
}

/// The tokens of a large block, a bit for each byte.
pub(super) struct TokenBits {
    /// The first byte of each token.
    pub(super) tokens: u64,
    /// The bytes behind a backslash, except quotes and backslashes, which may always stand there.
    pub(super) escapes: u64,
    /// Whether a control character stands in a string, or is not whitespace.
    pub(super) has_wrong_control: bool,
}

impl BlockState {
    /// Finds the tokens of the next large block.
    #[inline(always)]
    pub(super) fn next<S: Simd>(&mut self, bytes: u8x64<S>) -> TokenBits {
        let backslashes = positions_of(bytes, b'\\');
        let escaped = if backslashes == 0 && !self.escaped { 0 } else { escaped(backslashes, &mut self.escaped) };
        let all_quotes = positions_of(bytes, b'"');
        let quotes = all_quotes & !escaped;
        // From each opening quote to the byte before its closing quote.
        let strings = prefix_xor(quotes) ^ self.in_string;
        self.in_string = (strings >> 63).wrapping_neg();
        let controls = control_characters(bytes);
        // Control characters count as whitespace here; those that are not are found below.
        let whitespace = bytes.simd_le(b' ').to_bitmask();
        // Brackets differ from braces by one bit.
        let folded = bytes | 0x20;
        let operators = folded.simd_eq(b'{') | folded.simd_eq(b'}') | bytes.simd_eq(b':') | bytes.simd_eq(b',');
        let operators = operators.to_bitmask();
        let others = !(operators | whitespace);
        let scalars = others & !quotes;
        let starts = others & !(scalars << 1 | self.in_scalar);
        self.in_scalar = scalars >> 63;
        let mut has_wrong_control = controls & strings != 0;
        if controls != 0 {
            let allowed = positions_of(bytes, b'\n') | positions_of(bytes, b'\r') | positions_of(bytes, b'\t');
            has_wrong_control |= controls & !allowed != 0;
        }
        TokenBits {
            tokens: (operators | starts) & !(strings ^ quotes),
            escapes: escaped & !(all_quotes | backslashes),
            has_wrong_control,
        }
    }
}

/// Prefix XOR: bit `i` is the parity of bits `0..=i`.
#[inline(always)]
fn prefix_xor(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}
