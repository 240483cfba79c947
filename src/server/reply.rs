//! Responses that the server makes itself.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
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

/// A short text that no cache keeps.
pub(super) fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Reply::new(Full::new(body.into()));
    *reply.status_mut() = status;
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
