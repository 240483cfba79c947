//! Frames on their way to a peer: written together, and large ones as they are.
//!
//! tungstenite would copy each frame into a buffer of its own, and keep that buffer as large as it ever was. Here a payload
//! waits as the bytes it is, and what waits is exactly known.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite;

/// A payload up to this size, in bytes, is copied behind its head, which costs less than a place of its own.
const COPIED: usize = 4 << 10;

/// Pieces that one system call takes.
const PIECES: usize = 32;

/// The first byte of a frame that is a whole message (RFC 6455, section 5.2).
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Kind {
    Text = 0x81,
    Binary = 0x82,
}

/// What waits to be written.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pieces: VecDeque<Bytes>,
    /// Small frames, and heads, that were not made a piece yet.
    tail: Vec<u8>,
    bytes: usize,
    /// What was written of the first piece, in bytes.
    sent: usize,
    control_bytes: usize,
}

impl Outgoing {
    /// The memory of what waits, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a message. A server's frames are not masked.
    pub(super) fn push_frame(&mut self, kind: Kind, payload: Bytes) {
        let before = self.tail.len();
        self.tail.push(kind as u8);
        match payload.len() {
            length @ ..126 => self.tail.push(length.to_le_bytes()[0]),
            length => match u16::try_from(length) {
                Ok(length) => {
                    self.tail.push(126);
                    self.tail.extend_from_slice(&length.to_be_bytes());
                }
                Err(_) => {
                    self.tail.push(127);
                    self.tail.extend_from_slice(&(length as u64).to_be_bytes());
                }
            },
        }
        self.bytes += self.tail.len() - before + payload.len();
        if payload.len() <= COPIED {
            self.tail.extend_from_slice(&payload);
        } else {
            self.seal();
            self.pieces.push_back(payload);
        }
    }

    /// What was taken of control frames since all was written, in bytes.
    pub(super) fn control_bytes(&self) -> usize {
        self.control_bytes
    }

    /// Takes control frames as they are.
    pub(super) fn push_control(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.control_bytes += bytes.len();
        self.tail.extend_from_slice(bytes);
    }

    /// Writes all of it.
    pub(super) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        to: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.seal();
        while !self.pieces.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                *slice = IoSlice::new(if count == 0 { &piece[self.sent..] } else { piece });
                count += 1;
            }
            let written = ready!(Pin::new(&mut *to).poll_write_vectored(cx, &slices[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written(written);
        }
        self.control_bytes = 0;
        // What was large once need not stay so.
        self.pieces = VecDeque::new();
        Poll::Ready(Ok(()))
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(Bytes::from(std::mem::take(&mut self.tail)));
        }
    }

    /// A piece holds its memory until all of it is written, and counts until then.
    fn written(&mut self, bytes: usize) {
        self.sent += bytes;
        while let Some(first) = self.pieces.front()
            && self.sent >= first.len()
        {
            self.sent -= first.len();
            self.bytes -= first.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// Writes frames through a pipe of that width, and gives what came out.
    async fn through(width: usize, frames: &[(Kind, usize)]) -> Vec<u8> {
        let (mut near, mut far) = tokio::io::duplex(width);
        let mut outgoing = Outgoing::default();
        for &(kind, length) in frames {
            outgoing.push_frame(kind, Bytes::from(vec![b'x'; length]));
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
    async fn writes_heads_of_every_length() {
        for (length, head) in [
            (0, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (0xffff, &[0x81, 126, 0xff, 0xff]),
            (0x1_0000, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let out = through(1 << 20, &[(Kind::Text, length)]).await;
            assert_eq!(out, [head, &vec![b'x'; length]].concat(), "{length}");
        }
    }

    #[tokio::test]
    async fn keeps_the_order_however_narrow_the_way() {
        let frames: Vec<_> = (0..100).map(|number| (Kind::Binary, number * 97 % 9000)).collect();
        let wide = through(1 << 20, &frames).await;
        for width in [1, 7, 1000] {
            assert_eq!(through(width, &frames).await, wide, "{width}");
        }
    }
}
