//! Read and write buffers that belong to a thread: an idle connection keeps none.

use std::cell::RefCell;
use std::mem;
use std::ops::{Deref, DerefMut};

/// The capacity of a buffer, in bytes: what one read from a socket fetches at the most.
pub(crate) const BUFFER_SIZE: usize = 64 << 10;

/// Buffers that a thread keeps: one to read and one to write are in use at a time.
const KEPT: usize = 2;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of the thread, which returns to its pool when dropped. The default has no capacity and belongs to no pool.
#[derive(Debug, Default)]
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    /// Takes an empty buffer with room for [`BUFFER_SIZE`] bytes.
    pub(crate) fn take() -> Self {
        Self(POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(BUFFER_SIZE)))
    }

    /// Calls `write` with a buffer of the thread as an empty text.
    pub(crate) fn with_text<R>(write: impl FnOnce(&mut String) -> R) -> R {
        let mut buffer = Self::take();
        // An empty vector is UTF-8.
        let mut text = String::from_utf8(mem::take(&mut buffer.0)).unwrap_or_default();
        let result = write(&mut text);
        buffer.0 = text.into_bytes();
        result
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Buffer {
    /// Gives the buffer back to the thread. One that has grown, or was never the thread's, is freed.
    fn drop(&mut self) {
        if self.0.capacity() != BUFFER_SIZE {
            return;
        }
        let mut buffer = mem::take(&mut self.0);
        buffer.clear();
        // A thread that ends keeps nothing.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < KEPT {
                pool.push(buffer);
            }
        });
    }
}
