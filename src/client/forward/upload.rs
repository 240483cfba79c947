//! A visitor's body on its way to the app.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::client::visit::{BodyReader, Up};
use crate::proto::exchange::{HeadLimits, decode_trailers};

/// A body that comes by and by, or whole.
#[derive(Debug)]
pub(super) enum Upload {
    Whole(Option<Bytes>),
    Streamed {
        reader: BodyReader,
        /// The bytes that are still to come, where the visitor has said so.
        left: Option<u64>,
        is_over: bool,
    },
}

/// The visitor's body broke off: the request to the app must not look complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the request's body broke off")
    }
}

impl std::error::Error for Broken {}

impl From<Infallible> for Broken {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let (reader, left, is_over) = match self.get_mut() {
            Self::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed { is_over: true, .. } => return Poll::Ready(None),
            Self::Streamed { reader, left, is_over } => (reader, left, is_over),
        };
        match ready!(reader.poll_next(cx)) {
            Some(Up::Data(bytes)) => {
                *left = left.map(|left| left.saturating_sub(bytes.len() as u64));
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some(Up::End { trailers }) => {
                *is_over = true;
                let trailers = trailers.and_then(|json| decode_trailers(&json, HeadLimits::default()).ok());
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            // There are none before a 101.
            Some(Up::Message { .. } | Up::Close { .. }) | None => {
                *is_over = true;
                Poll::Ready(Some(Err(Broken)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Streamed { is_over, .. } => *is_over,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Streamed { left: Some(left), .. } => SizeHint::with_exact(*left),
            Self::Streamed { left: None, .. } => SizeHint::default(),
        }
    }
}
