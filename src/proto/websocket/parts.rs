//! Input that comes in parts, as from a socket: for the tests of the reader and its fuzz target.

use bytes::BufMut as _;

use super::frame::Violation;
use super::reader::{Item, Reader};

/// Returns what comes of these bytes in parts of `size`, each read in both ways, with memory for `growth` times what is there.
///
/// # Panics
/// When the reader ever holds more than these bytes and their growth.
pub(crate) fn read_in_parts(
    reader: &mut Reader,
    bytes: &[u8],
    size: usize,
    growth: usize,
) -> (Vec<Item>, Option<Violation>) {
    let most = bytes.len() + growth * bytes.len().max(16 << 10);
    let mut items = Vec::new();
    for mut part in bytes.chunks(size) {
        loop {
            reader.reserve(growth);
            if let Some(mut direct) = reader.direct() {
                let mut space = direct.space();
                let (straight, rest) = part.split_at(part.len().min(space.remaining_mut()));
                space.put_slice(straight);
                part = rest;
            }
            let read = reader.read(&mut part);
            assert!(reader.buffered_bytes() <= most, "no memory for what did not come");
            match read {
                Ok(Some(item)) => items.push(item),
                Ok(None) if part.is_empty() => break,
                Ok(None) => (),
                Err(violation) => return (items, Some(violation)),
            }
        }
    }
    (items, None)
}
