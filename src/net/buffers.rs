//! Buffers that a thread lends to whoever reads or writes on it: no idle connection keeps one.

use std::cell::RefCell;

/// The size of each, in bytes.
pub(crate) const SIZE: usize = 64 << 10;

/// As many as are lent at a time: one to read and one to write.
const KEPT: usize = 2;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room for [`SIZE`] bytes.
pub(crate) fn lend() -> Vec<u8> {
    POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(SIZE))
}

/// A place to write text in.
pub(crate) fn lend_text() -> String {
    // Nothing is UTF-8.
    String::from_utf8(lend()).unwrap_or_default()
}

/// Takes a buffer back. One that has grown, or was never lent, is dropped.
pub(crate) fn give_back(mut buffer: Vec<u8>) {
    if buffer.capacity() == SIZE {
        buffer.clear();
        POOL.with_borrow_mut(|pool| {
            if pool.len() < KEPT {
                pool.push(buffer);
            }
        });
    }
}
