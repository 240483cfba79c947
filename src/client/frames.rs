//! The frames that an end has queued for its WebSocket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::proto::websocket::{Opcode, mask, write_masked_head};

/// Masked frames, one behind the other, which are written in this order.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// How many of the bytes were written.
    written: usize,
}

impl Frames {
    /// Returns how many bytes wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Queues a frame.
    pub(super) fn push(&mut self, opcode: Opcode, payload: &[u8]) {
        // A slow peer never takes all. To move what waits costs no more than writing the bytes before it did.
        if self.written >= self.waiting() {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        let key = rand::random();
        write_masked_head(opcode, payload.len(), key, &mut self.bytes);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        mask(&mut self.bytes[start..], key);
    }

    /// Writes all that waits, and flushes.
    pub(super) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        to: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.waiting() > 0 {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.bytes[self.written..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        self.bytes.clear();
        self.written = 0;
        Pin::new(to).poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::FutureExt as _;
    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::proto::websocket::{Item, ReadLimits, Reader};

    /// The queue is filled up to this many bytes.
    const AHEAD: usize = 256 << 10;

    /// The bytes of each frame.
    const FRAME: usize = 60_000;

    #[tokio::test]
    async fn a_peer_that_reads_more_slowly_than_frames_are_queued_does_not_make_the_queue_grow() {
        let (mut near, mut far) = tokio::io::duplex(128 << 10);
        let (mut frames, mut reader) =
            (Frames::default(), Reader::new(ReadLimits { message: 1 << 20, oversized: 1 << 20 }));
        let (mut read, mut pushed, mut heard) = (vec![0; 50_000], 0_u8, 0_u8);
        for _ in 0..400 {
            while frames.waiting() < AHEAD {
                frames.push(Opcode::Binary, &vec![pushed; FRAME]);
                pushed = pushed.wrapping_add(1);
            }
            assert!(poll_fn(|cx| frames.poll_write(&mut near, cx)).now_or_never().is_none(), "it never is empty");
            far.read_exact(&mut read).await.unwrap();
            let mut unread = &read[..];
            while let Some(item) = reader.read(&mut unread).unwrap() {
                assert_eq!(item, Item::Binary(vec![heard; FRAME].into()));
                heard = heard.wrapping_add(1);
            }
            assert!(frames.bytes.capacity() <= 4 * (AHEAD + FRAME), "{}", frames.bytes.capacity());
        }
    }
}
