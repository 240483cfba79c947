//! Bodies of responses that arrive by and by, from another task.

use std::error::Error;
use std::fmt;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

/// Gives the frames of a body as they come.
///
/// A source is polled by the task of its connection, and only while its connection takes more. It is dropped once the connection
/// has taken the last frame, is gone, or wants no body: a response to HEAD, 204 and 304 have none, and the source is never polled.
/// A source whose length was promised is not polled once that many bytes were taken.
pub trait Source: Send + 'static {
    /// Returns the next frame: data, or trailers, which end the body. `None` is the end.
    ///
    /// In HTTP/1, trailers reach a client that sent `TE: trailers`, if the response is chunked and its header `Trailer` names them. In
    /// HTTP/2 they reach every client.
    ///
    /// # Errors
    /// With [`Broken`] when the rest will never come. What came before is sent, and the connection is closed, or the stream of HTTP/2
    /// reset, in a way that no client takes for the end of the response. The source is not polled again.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>>;
}

/// The rest of a response will never come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the response was cut short")
    }
}

impl Error for Broken {}

/// A body whose frames come from a source.
pub(super) struct Streamed {
    source: Box<dyn Source>,
    /// What was promised and has not come yet, in bytes. `None` if no length was promised.
    left: Option<u64>,
    /// The source has ended before what was promised had come.
    is_broken: bool,
    /// What is made of its trailers.
    trailers: Option<fn(&HeaderMap) -> HeaderMap>,
    /// What is dropped with the body.
    guard: Option<Box<dyn Send>>,
}

impl Streamed {
    /// Returns a body of `length` bytes, or of any length.
    pub(super) fn new(source: Box<dyn Source>, length: Option<u64>) -> Self {
        Self { source, left: length, is_broken: false, trailers: None, guard: None }
    }

    /// Keeps `guard` as long as this body.
    pub(super) fn keep(&mut self, guard: impl Send + 'static) {
        self.guard = Some(match self.guard.take() {
            Some(other) => Box::new((other, guard)),
            None => Box::new(guard),
        });
    }

    /// Makes something else of the trailers that may come.
    pub(super) fn map_trailers(&mut self, map: fn(&HeaderMap) -> HeaderMap) {
        self.trailers = Some(map);
    }

    /// Returns the next frame. A body that ends before its length is broken, and stays so.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.is_broken {
            return Poll::Ready(Some(Err(Broken)));
        }
        let mut frame = match ready!(self.source.poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            None if self.left.is_none_or(|left| left == 0) => return Poll::Ready(None),
            None | Some(Err(Broken)) => {
                self.is_broken = true;
                return Poll::Ready(Some(Err(Broken)));
            }
        };
        if let (Some(left), Some(data)) = (&mut self.left, frame.data_ref()) {
            *left = left.saturating_sub(data.len() as u64);
        }
        if let (Some(map), Some(trailers)) = (self.trailers, frame.trailers_mut()) {
            *trailers = map(trailers);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    /// Returns whether all that was promised has come.
    pub(super) fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    /// Returns what is left of the promised length.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
