//! Responses that this process makes itself.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::ext::ReasonPhrase;

use super::budget::{Budget, Memory, UNCOUNTED_BYTES};

/// A response to one request.
pub type Reply = Response<ReplyBody>;

/// The body of a response, whole and in memory.
///
/// A guard can be attached with [`ReplyBody::until_done`]: it is dropped once the body was written to the connection, or will
/// never be.
#[derive(Default)]
pub struct ReplyBody {
    /// `None` once it was handed out, and for a body without a byte.
    bytes: Option<Bytes>,
    /// The guard of a body without a byte. That of any other is dropped with its bytes.
    guard: Option<Box<dyn Send>>,
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

    /// Keeps `guard` until the last byte of this body was written, or the connection is gone.
    #[must_use]
    pub fn until_done(mut self, guard: impl Send + Sync + 'static) -> Self {
        match self.bytes.take() {
            Some(bytes) => Bytes::from_owner(Guarded { bytes, _guard: guard }).into(),
            None => Self { bytes: None, guard: Some(Box::new(guard)) },
        }
    }

    /// Returns the size of what is left to hand out, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.as_ref().map_or(0, Bytes::len)
    }

    /// Returns whether nothing is left to hand out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_none()
    }
}

impl fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyBody").field("bytes", &self.len()).field("has_guard", &self.guard.is_some()).finish()
    }
}

impl<B: Into<Bytes>> From<B> for ReplyBody {
    fn from(bytes: B) -> Self {
        Self { bytes: Some(bytes.into()).filter(|bytes| !bytes.is_empty()), guard: None }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len() as u64)
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

/// Returns a response as bytes, for a connection that is closed after it.
pub(super) fn last_bytes(reply: Reply) -> Bytes {
    let (head, mut body) = reply.into_parts();
    let body = body.bytes.take().unwrap_or_default();
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
