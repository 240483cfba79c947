//! Frames on their way to a peer. Small ones are written together, large ones from where they are.
//!
//! Small frames gather in a buffer of the thread. Only what the peer does not take at once is copied to memory of its own, of
//! exactly that size.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;

use crate::net::buffers::Buffer;
use crate::proto::websocket::{Opcode, write_part_head};

/// A payload up to this size, in bytes, is copied behind its head: that costs less than one more piece of a write.
const COPIED: usize = 4 << 10;

/// The pieces that one system call writes. More are left to the next call.
const PIECES: usize = 32;

/// The size of a pong's head, in bytes. It bounds pongs without a payload, too.
const PONG_HEAD: usize = 2;

/// The bytes of pongs that may wait: dozens of the largest. Beyond it only the latest is kept.
const MAX_PONGS: usize = 4 << 10;

/// The frames that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Large payloads, and what the peer did not take at once.
    pieces: VecDeque<Bytes>,
    /// Small frames, and heads, behind the pieces. It is a buffer of the thread, and is given back before the task waits.
    tail: Buffer,
    /// The memory of all that waits, in bytes.
    bytes: usize,
    /// The bytes that were written of the first piece, or of the tail where there is none.
    sent: usize,
    /// The bytes of pongs among the frames that wait.
    pong_bytes: usize,
    /// The answer to the latest ping, when too many others wait (RFC 6455, section 5.5.3).
    late_pong: Option<Bytes>,
}

impl Outgoing {
    /// Returns the memory of what waits, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Queues a whole message, or a control frame.
    pub(super) fn push(&mut self, opcode: Opcode, payload: Bytes) {
        self.push_part(opcode, true, payload);
    }

    /// Queues a frame, which is a part of a message, and the last or not.
    pub(super) fn push_part(&mut self, opcode: Opcode, is_last: bool, payload: Bytes) {
        if self.tail.capacity() == 0 {
            self.tail = Buffer::take();
        }
        let before = self.tail.len();
        write_part_head(opcode, is_last, payload.len(), &mut self.tail);
        if payload.len() <= COPIED {
            self.tail.extend_from_slice(&payload);
            self.bytes += self.tail.len() - before;
        } else {
            self.bytes += self.tail.len() - before + payload.len();
            self.seal();
            self.pieces.push_back(payload);
        }
    }

    /// Queues the answer to a ping. A peer that sends pings and does not read the answers gets only the latest (RFC 6455,
    /// section 5.5.3).
    pub(super) fn push_pong(&mut self, payload: Bytes) {
        let bytes = PONG_HEAD + payload.len();
        if self.late_pong.is_some() || self.pong_bytes + bytes > MAX_PONGS {
            self.late_pong = Some(payload);
        } else {
            self.pong_bytes += bytes;
            self.push(Opcode::Pong, payload);
        }
    }

    /// Writes all that waits, and flushes.
    pub(super) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        to: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            while self.bytes > 0 {
                match self.poll_write_some(to, cx) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(written)) => self.written(written),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        self.seal();
                        return Poll::Pending;
                    }
                }
            }
            self.pong_bytes = 0;
            match self.late_pong.take() {
                Some(payload) => self.push_pong(payload),
                None => break,
            }
        }
        self.tail = Buffer::default();
        // A queue that has grown gives its memory back.
        self.pieces = VecDeque::new();
        Pin::new(to).poll_flush(cx)
    }

    fn poll_write_some<W: AsyncWrite + Unpin>(&mut self, to: &mut W, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let to = Pin::new(to);
        if self.pieces.is_empty() {
            return to.poll_write(cx, &self.tail[self.sent..]);
        }
        let mut slices = [IoSlice::new(&[]); PIECES];
        let pieces = self.pieces.iter().map(|piece| &**piece).chain([&**self.tail]);
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(if count == 0 { &piece[self.sent..] } else { piece });
            count += 1;
        }
        to.poll_write_vectored(cx, &slices[..count])
    }

    /// Copies the tail to a piece, and gives the buffer back to the thread.
    fn seal(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        if self.pieces.is_empty() {
            self.bytes -= self.sent;
            self.pieces.push_back(Bytes::copy_from_slice(&self.tail[mem::take(&mut self.sent)..]));
        } else {
            self.pieces.push_back(Bytes::copy_from_slice(&self.tail));
        }
        self.tail = Buffer::default();
    }

    /// Counts bytes as written. A piece holds its memory until all of it is written, and counts until then.
    fn written(&mut self, bytes: usize) {
        self.sent += bytes;
        while let Some(first) = self.pieces.front()
            && self.sent >= first.len()
        {
            self.sent -= first.len();
            self.bytes -= first.len();
            self.pieces.pop_front();
        }
        if self.pieces.is_empty() && self.sent == self.tail.len() {
            self.bytes -= mem::take(&mut self.sent);
            self.tail.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// Writes frames through a pipe of that width, and gives what came out.
    async fn through(width: usize, frames: &[(Opcode, usize)]) -> Vec<u8> {
        let (mut near, mut far) = tokio::io::duplex(width);
        let mut outgoing = Outgoing::default();
        for &(opcode, length) in frames {
            outgoing.push(opcode, Bytes::from(vec![b'x'; length]));
        }
        let total = outgoing.bytes();
        let mut out = vec![0; total];
        let write = std::future::poll_fn(|cx| outgoing.poll_write(&mut near, cx));
        let (written, read) = futures::future::join(write, far.read_exact(&mut out)).await;
        written.unwrap();
        assert_eq!((read.unwrap(), outgoing.bytes()), (total, 0));
        assert!(far.read_u8().now_or_never().is_none(), "and nothing else");
        out
    }

    #[tokio::test]
    async fn keeps_the_order_however_narrow_the_way() {
        let frames: Vec<_> = (0..100).map(|number| (Opcode::Binary, number * 97 % 9000)).collect();
        let wide = through(1 << 20, &frames).await;
        for width in [1, 7, 1000] {
            assert_eq!(through(width, &frames).await, wide, "{width}");
        }
    }

    #[tokio::test]
    async fn answers_the_latest_ping_of_many() {
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        let mut outgoing = Outgoing::default();
        for number in 0..1000_u32 {
            outgoing.push_pong(Bytes::copy_from_slice(&number.to_be_bytes()));
        }
        assert!(outgoing.bytes() < 2 * MAX_PONGS);
        std::future::poll_fn(|cx| outgoing.poll_write(&mut near, cx)).await.unwrap();
        drop(near);
        let mut out = Vec::new();
        far.read_to_end(&mut out).await.unwrap();
        assert_eq!(out.len() % 6, 0);
        assert!(out.starts_with(&[0x8a, 4, 0, 0, 0, 0, 0x8a, 4, 0, 0, 0, 1]));
        assert!(out.ends_with(&[0x8a, 4, 0, 0, 0x03, 0xe7]));
    }

    #[tokio::test]
    async fn empty_pings_take_no_more_than_others_and_keep_their_order() {
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        let mut outgoing = Outgoing::default();
        for _ in 0..100_000 {
            outgoing.push_pong(Bytes::new());
        }
        outgoing.push_pong(Bytes::from_static(b"late"));
        outgoing.push_pong(Bytes::from_static(b"!"));
        assert!(outgoing.bytes() <= MAX_PONGS);
        std::future::poll_fn(|cx| outgoing.poll_write(&mut near, cx)).await.unwrap();
        drop(near);
        let mut out = Vec::new();
        far.read_to_end(&mut out).await.unwrap();
        assert_eq!(out.len(), MAX_PONGS + 3);
        assert!(out.ends_with(&[0x8a, 0, 0x8a, 1, b'!']));
    }
}
