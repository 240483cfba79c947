//! Sixteen bytes at a time.

use wide::u8x16;

/// How many bytes are looked at together.
pub(super) const BLOCK: usize = 16;

/// A bit for each byte that cannot stand in a JSON string as it is: quotes, backslashes and control characters.
pub(super) fn needs_escape(block: &[u8; BLOCK]) -> u32 {
    let bytes = u8x16::new(*block);
    let quotes = bytes.simd_eq(u8x16::splat(b'"'));
    let backslashes = bytes.simd_eq(u8x16::splat(b'\\'));
    let controls = bytes.simd_eq(bytes.min(u8x16::splat(0x1f)));
    (quotes | backslashes | controls).to_bitmask()
}

/// A bit for each backslash.
pub(super) fn is_backslash(block: &[u8; BLOCK]) -> u32 {
    u8x16::new(*block).simd_eq(u8x16::splat(b'\\')).to_bitmask()
}
