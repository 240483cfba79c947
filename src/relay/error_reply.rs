//! The responses of errors: JSON for programs, as in the original, and a page for people.

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};

use super::code::Code;
use super::page;
use crate::net::reply::{self, Reply};
use crate::proto::json;

/// Names the failure when the relay, and not the end, made the response.
pub(super) const ERROR_HEADER: HeaderName = HeaderName::from_static("x-socket2me-error");

/// Returns the bytes of a response for a connection that is refused before its request is read.
pub(super) fn connection_refusal() -> Bytes {
    let body = error_body("too many connections, try again in a while");
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json; charset=utf-8\r\n\
         X-Socket2Me-Error: {}\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        Code::Busy.as_str(),
        body.len()
    );
    Bytes::from(head + &body)
}

/// Makes the response to a head that cannot be read, or that is no request of this server's.
pub(super) fn unread_head(status: StatusCode, message: &str) -> Reply {
    let code = match status {
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Code::HeadTooLarge,
        StatusCode::SERVICE_UNAVAILABLE => Code::Busy,
        _ => Code::InvalidHead,
    };
    let mut reply = error(status, code, message);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    reply
}

/// Makes an error of the relay: its message, and its code in a header that no end can set.
pub(super) fn error(status: StatusCode, code: Code, message: &str) -> Reply {
    let mut reply = reply::text(status, "application/json; charset=utf-8", error_body(message));
    reply.headers_mut().insert(ERROR_HEADER, HeaderValue::from_static(code.as_str()));
    reply
}

/// Makes the same for people.
pub(super) fn error_page(status: StatusCode, code: Code, message: &str) -> Reply {
    let page = page::error(status, code.as_str(), message, code.advice());
    let mut reply = reply::text(status, "text/html; charset=utf-8", page);
    let headers = reply.headers_mut();
    headers.insert(ERROR_HEADER, HeaderValue::from_static(code.as_str()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // The message may quote what an end or a visitor sent. It is escaped, and nothing of it would run.
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    reply
}

/// Returns `{"Error": message}` as JSON, as in the original.
fn error_body(message: &str) -> String {
    let mut body = String::from(r#"{"Error":"#);
    json::write_string(message, &mut body);
    body.push('}');
    body
}
