//! Responses that the server makes itself.

use std::mem;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode, Uri};
use http_body_util::Full;

/// A response with its body in memory.
pub type Reply = Response<Full<Bytes>>;

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Reply::new(Full::default());
    *reply.status_mut() = status;
    reply
}

/// Room for so many headers is kept by a connection.
const KEPT_HEADERS: usize = 48;

/// Forgets a head of which all is said: whoever waits for an answer keeps nothing of the connection's buffer. The map of its
/// headers is left, for those of the response; hyper takes that one for the next request's.
pub(crate) fn room_of(head: &mut Parts) -> HeaderMap {
    head.uri = Uri::default();
    let mut headers = mem::take(&mut head.headers);
    if headers.capacity() > KEPT_HEADERS {
        return HeaderMap::new();
    }
    headers.clear();
    headers
}

/// A short text that no cache keeps.
pub(crate) fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    text_in(HeaderMap::new(), status, content_type, body)
}

/// The same, with its headers in the [room](room_of) of others.
pub(crate) fn text_in(
    room: HeaderMap,
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Reply {
    let mut reply = Reply::new(Full::new(body.into()));
    *reply.status_mut() = status;
    *reply.headers_mut() = room;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
