//! Responses whose body has come whole, and the one of an end that did not answer.

use http::StatusCode;
use http::header::{self, HeaderValue};

use crate::net::reply::Reply;
use crate::proto::exchange::{Response, is_without_content};
use crate::relay::code::Code;
use crate::relay::error_reply::ERROR_HEADER;

/// Makes the response of the relay for an end that did not answer. The end may answer the next request, so no cache may keep
/// this one.
pub(super) fn timeout_reply(is_head: bool) -> Reply {
    let mut reply = visitor_reply(Response::ok(), is_head);
    let headers = reply.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ERROR_HEADER, HeaderValue::from_static(Code::TimedOut.as_str()));
    reply
}

/// Makes the response of an end's answer.
pub(super) fn visitor_reply(response: Response, is_head: bool) -> Reply {
    let Response { status, headers, body, declared_length } = response;
    // To HEAD, an end may tell the length of the body that GET would give.
    let has_length = is_head && body.is_empty() && (!is_without_content(status) || status == StatusCode::NOT_MODIFIED);
    let length = declared_length.filter(|_| has_length);
    let mut reply = Reply::new(body.into());
    *reply.status_mut() = status;
    *reply.headers_mut() = headers;
    if let Some(length) = length {
        reply.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    reply
}
