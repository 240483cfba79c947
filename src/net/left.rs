//! What is left of the body of a request.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::budget::Memory;

/// A body in memory, and the memory that it counts.
#[derive(Debug, Default)]
pub struct Kept {
    /// The body.
    pub bytes: Bytes,
    /// Its memory, given back when this is dropped.
    pub memory: Memory,
}

/// The most bytes of one frame of a body that was put back. Readers that take a body frame by frame have room for no more.
const PIECE: usize = 64 << 10;

/// What is left of a body.
#[derive(Debug)]
pub(super) struct Left {
    /// What was read and is to be read again, with its memory. It comes first.
    pub(super) put_back: Kept,
    pub(super) incoming: Incoming,
    /// What is made of its trailers.
    pub(super) trailers: Option<fn(&HeaderMap) -> HeaderMap>,
}

impl Body for Left {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let length = self.put_back.bytes.len().min(PIECE);
        if length == 0 {
            let mut frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
            if let (Some(map), Some(Ok(frame))) = (self.trailers, &mut frame)
                && let Some(trailers) = frame.trailers_mut()
            {
                *trailers = map(trailers);
            }
            return Poll::Ready(frame);
        }
        let piece = self.put_back.bytes.split_to(length);
        // All pieces are of one allocation: its memory is given back with the last.
        if self.put_back.bytes.is_empty() {
            self.put_back.memory.clear();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.put_back.bytes.is_empty() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.put_back.bytes.len() {
            0 => self.incoming.size_hint(),
            // All of it was read.
            length => SizeHint::with_exact(length as u64),
        }
    }
}
