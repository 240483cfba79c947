//! A response on its way through hyper, in pieces that tell when they were written.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio_util::sync::CancellationToken;

use super::streams::Progress;
use crate::net::claims::Claim;
use crate::net::reply::{Reply, ReplyBody};
use crate::net::streaming::Broken;

/// The largest piece, in bytes: what one frame has at the most unless the peer takes more (RFC 9113, section 4.2).
const PIECE: usize = 16 << 10;

/// Tells that the peer has left, unless the response was handed over whole: dropped before, it has reset the stream, or the connection
/// is gone.
#[derive(Debug)]
pub(super) struct Left(Option<CancellationToken>);

impl Left {
    /// `token` is a child of the connection's, which tells of the connection's end.
    pub(super) fn new(token: CancellationToken) -> Self {
        Self(Some(token))
    }

    pub(super) fn token(&self) -> CancellationToken {
        self.0.clone().unwrap_or_default()
    }

    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        if let Some(token) = &self.0 {
            token.cancel();
        }
    }
}

/// A reply's body on its way.
#[derive(Debug)]
pub(super) struct Outgoing {
    body: ReplyBody,
    /// What was taken of the body and not handed on.
    rest: Bytes,
    end: End,
    /// The end is told once all before it was written, so that hyper has the stream as long as there is something to watch. One piece
    /// needs no such end.
    holds_end: bool,
    progress: Arc<Progress>,
    left: Left,
    /// The memory of the request's head, and of its stream.
    _claim: Option<Claim>,
}

/// What comes behind the body.
#[derive(Debug)]
enum End {
    /// It has not come yet.
    Open,
    /// Nothing.
    Plain,
    Trailers(HeaderMap),
    /// The rest will never come.
    Broken,
}

impl Outgoing {
    /// Hands a reply to a request of this method to hyper.
    pub(super) fn reply(
        mut reply: Reply,
        method: &Method,
        progress: Arc<Progress>,
        mut left: Left,
        claim: Option<Claim>,
    ) -> Response<Self> {
        if reply.status().is_informational() {
            // There is no upgrade in HTTP/2, and no handler that makes one.
            *reply.status_mut() = StatusCode::NOT_IMPLEMENTED;
        }
        let reply = without_body(reply, method);
        if reply.body().is_end_stream() {
            left.disarm();
        }
        reply.map(|body| Self {
            holds_end: body.size_hint().exact().is_none_or(|bytes| bytes > PIECE as u64),
            body,
            rest: Bytes::new(),
            end: End::Open,
            progress,
            left,
            _claim: claim,
        })
    }
}

/// Drops a body that the response may not have, whose length a response to HEAD tells still. hyper does so in HTTP/1.
fn without_body(mut reply: Reply, method: &Method) -> Reply {
    let is_head = method == Method::HEAD;
    if !is_head && !matches!(reply.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return reply;
    }
    let length = reply.body().size_hint().exact().filter(|_| is_head);
    if let Some(length) = length
        && !reply.headers().contains_key(header::CONTENT_LENGTH)
    {
        reply.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    *reply.body_mut() = ReplyBody::default();
    reply
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        while self.rest.is_empty() && matches!(self.end, End::Open) {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(frame) => self.end = frame.into_trailers().map_or(End::Plain, End::Trailers),
                },
                Some(Err(Broken)) => self.end = End::Broken,
                None => self.end = End::Plain,
            }
        }
        if !self.rest.is_empty() {
            let length = self.rest.len().min(PIECE);
            let piece = self.rest.split_to(length);
            if !self.holds_end && self.rest.is_empty() && self.body.is_end_stream() {
                self.left.disarm();
            }
            return Poll::Ready(Some(Ok(Frame::data(self.progress.track(piece)))));
        }
        // The task of the stream is woken by the last piece. What is not written when a body breaks off would be lost.
        if self.progress.outstanding() > 0 {
            return Poll::Pending;
        }
        let end = mem::replace(&mut self.end, End::Plain);
        if !matches!(end, End::Broken) {
            self.left.disarm();
        }
        Poll::Ready(match end {
            End::Open | End::Plain => None,
            End::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
            End::Broken => Some(Err(Broken)),
        })
    }

    fn is_end_stream(&self) -> bool {
        let is_end = self.rest.is_empty() && matches!(self.end, End::Open | End::Plain) && self.body.is_end_stream();
        is_end && (!self.holds_end || self.progress.outstanding() == 0)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        self.body.size_hint().exact().map_or_else(SizeHint::default, |bytes| SizeHint::with_exact(bytes + rest))
    }
}
