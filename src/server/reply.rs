//! Responses that the server makes itself.

use std::mem;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode, Uri};
use http_body_util::Full;

use crate::proto::engine_io::Rejection;
use crate::proto::json;

/// A response with its body in memory.
pub type Reply = Response<Full<Bytes>>;

/// Names the failure when the relay, and not the end, made the response.
pub(super) const ERROR_HEADER: HeaderName = HeaderName::from_static("x-socket2me-error");

/// A response without a body.
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Reply::new(Full::default());
    *reply.status_mut() = status;
    reply
}

/// Room for so many headers is kept by a connection.
const KEPT_HEADERS: usize = 48;

/// Forgets a head of which all is said: whoever waits for an answer keeps nothing of the connection's buffer. The map of its
/// headers is left, for those of the response; hyper takes that one for the next request's.
pub(super) fn room_of(head: &mut Parts) -> HeaderMap {
    head.uri = Uri::default();
    let mut headers = mem::take(&mut head.headers);
    if headers.capacity() > KEPT_HEADERS {
        return HeaderMap::new();
    }
    headers.clear();
    headers
}

/// A short text that no cache keeps.
pub(super) fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    text_in(HeaderMap::new(), status, content_type, body)
}

/// The same, with its headers in the [room](room_of) of others.
pub(super) fn text_in(
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

/// An error of the relay: `{"Error": message}`, and its code in a header that no end can set.
pub(super) fn error(status: StatusCode, code: &'static str, message: &str) -> Reply {
    let mut body = String::from(r#"{"Error":"#);
    json::write_string(message, &mut body);
    body.push('}');
    let mut reply = text(status, "application/json; charset=utf-8", body);
    reply.headers_mut().insert(ERROR_HEADER, HeaderValue::from_static(code));
    reply
}

/// An error of Engine.IO, in the reference's form: `{"code":N,"message":"…"}`.
pub(super) fn rejection(rejection: Rejection) -> Reply {
    let status = StatusCode::from_u16(rejection.status()).unwrap_or(StatusCode::BAD_REQUEST);
    match rejection.code_and_message() {
        Some((code, message)) => {
            let body = format!(r#"{{"code":{code},"message":"{message}"}}"#);
            let mut reply = text(status, "application/json", body);
            if status == StatusCode::SERVICE_UNAVAILABLE {
                reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            reply
        }
        None => {
            let mut reply = empty(status);
            reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, POST"));
            reply
        }
    }
}
