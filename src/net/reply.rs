//! Responses that this process makes itself.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::ext::ReasonPhrase;

use super::budget::{Budget, Memory, UNCOUNTED_BYTES};
use super::streaming::{Broken, Source, Streamed};

/// A response to one request.
pub type Reply = Response<ReplyBody>;

/// The body of a response: whole and in memory, or streamed from a [`Source`].
///
/// A guard can be attached with [`ReplyBody::until_done`]: it is dropped once the body was written to the connection, or will
/// never be.
pub struct ReplyBody(Content);

/// What a body is made of. A streamed one is in a box, so that it takes no more room in any response than a whole one.
enum Content {
    /// What was not handed out yet.
    Whole(Bytes),
    /// The guard of a body without a byte. That of a whole one is dropped with its bytes.
    Guard(Box<dyn Send>),
    Streamed(Box<Streamed>),
}

impl ReplyBody {
    /// Makes a body whose memory is counted against `budget` until it was written. Returns `None` when too little is left.
    #[must_use]
    pub fn counted(bytes: Bytes, budget: &Arc<Budget>) -> Option<Self> {
        let mut memory = Memory::default();
        if !memory.resize(bytes.len(), budget) {
            return None;
        }
        let is_counted = bytes.len() > UNCOUNTED_BYTES;
        let body = Self::from(bytes);
        Some(if is_counted { body.until_done(memory) } else { body })
    }

    /// Makes a body of the frames that `source` gives. `length` is the value of the response's `Content-Length`, if it has one:
    /// a body that ends before is [`Broken`], and what is beyond is not sent.
    #[must_use]
    pub fn from_source(source: Box<dyn Source>, length: Option<u64>) -> Self {
        Self(Content::Streamed(Box::new(Streamed::new(source, length))))
    }

    /// Keeps `guard` until the last byte of this body was written, or the connection is gone. That of a streamed body is dropped
    /// with its source: once the connection has taken the last frame, of which a part may not be written yet.
    #[must_use]
    pub fn until_done(self, guard: impl Send + Sync + 'static) -> Self {
        Self(match self.0 {
            Content::Whole(bytes) if bytes.is_empty() => Content::Guard(Box::new(guard)),
            Content::Whole(bytes) => Content::Whole(Bytes::from_owner(Guarded { bytes, _guard: guard })),
            Content::Guard(other) => Content::Guard(Box::new((other, guard))),
            Content::Streamed(mut streamed) => {
                streamed.keep(guard);
                Content::Streamed(streamed)
            }
        })
    }

    /// Returns the size of what is left to hand out of a whole body, in bytes; 0 for a streamed one.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Content::Whole(bytes) => bytes.len(),
            Content::Guard(_) | Content::Streamed(_) => 0,
        }
    }

    /// Returns whether nothing is left to hand out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Guard(_) => true,
            Content::Streamed(streamed) => streamed.is_end_stream(),
        }
    }

    /// Makes something else of the trailers that may come.
    pub fn map_trailers(&mut self, map: fn(&HeaderMap) -> HeaderMap) {
        if let Content::Streamed(streamed) = &mut self.0 {
            streamed.map_trailers(map);
        }
    }

    /// Returns whether the body is streamed and no length was promised.
    pub(crate) fn is_of_unknown_length(&self) -> bool {
        self.size_hint().exact().is_none()
    }
}

impl Default for ReplyBody {
    fn default() -> Self {
        Self(Content::Whole(Bytes::new()))
    }
}

impl fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Content::Whole(bytes) => f.debug_struct("ReplyBody").field("bytes", &bytes.len()).finish(),
            Content::Guard(_) => f.write_str("ReplyBody(guard)"),
            Content::Streamed(_) => f.write_str("ReplyBody(streamed)"),
        }
    }
}

impl<B: Into<Bytes>> From<B> for ReplyBody {
    fn from(bytes: B) -> Self {
        Self(Content::Whole(bytes.into()))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.0 {
            Content::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(mem::take(bytes))))),
            Content::Guard(_) => Poll::Ready(None),
            Content::Streamed(streamed) => streamed.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Guard(_) => SizeHint::with_exact(0),
            Content::Streamed(streamed) => streamed.size_hint(),
        }
    }
}

/// Bytes and what is dropped with them.
struct Guarded<G> {
    bytes: Bytes,
    _guard: G,
}

impl<G> AsRef<[u8]> for Guarded<G> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The reason of a status that has none, as Node writes it.
const UNKNOWN: ReasonPhrase = ReasonPhrase::from_static(b"unknown");

/// Gives a status without a name the reason `unknown`, where hyper would write `<none>`.
#[must_use]
pub fn with_reason(mut reply: Reply) -> Reply {
    if reply.status().canonical_reason().is_none() {
        reply.extensions_mut().insert(UNKNOWN);
    }
    reply
}

/// Makes a response without a body.
#[must_use]
pub fn empty(status: StatusCode) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = status;
    reply
}

/// Makes a response with a short text that no cache may keep.
#[must_use]
pub fn text(status: StatusCode, content_type: &'static str, body: impl Into<ReplyBody>) -> Reply {
    let mut reply = Reply::new(body.into());
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// Returns a response with a whole body as bytes, for a connection that is closed after it.
pub(super) fn last_bytes(reply: Reply) -> Bytes {
    let (head, body) = reply.into_parts();
    let body = match body.0 {
        Content::Whole(bytes) => bytes,
        Content::Guard(_) | Content::Streamed(_) => Bytes::new(),
    };
    let reason = head.status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", head.status.as_str()).into_bytes();
    for (name, value) in &head.headers {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend(format!("connection: close\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes());
    bytes.extend(body);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_guard_lives_until_the_bodys_bytes_are_gone() {
        let guard = Arc::new(());
        let mut body = ReplyBody::from("text").until_done(Arc::clone(&guard));
        assert_eq!((body.len(), body.size_hint().exact()), (4, Some(4)));
        let bytes = body.frame().await.unwrap().unwrap().into_data().unwrap();
        drop(body);
        assert_eq!(Arc::strong_count(&guard), 2, "the bytes are not written yet");
        drop(bytes);
        assert_eq!(Arc::strong_count(&guard), 1);
    }

    #[test]
    fn a_guard_of_an_empty_body_lives_as_long_as_the_body() {
        let guard = Arc::new(());
        let body = ReplyBody::default().until_done(Arc::clone(&guard));
        assert!(body.is_end_stream());
        assert_eq!(Arc::strong_count(&guard), 2);
        drop(body);
        assert_eq!(Arc::strong_count(&guard), 1);
    }
}
