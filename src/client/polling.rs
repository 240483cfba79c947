//! The requests of a session on long-polling.

use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};

use super::requests::{RequestError, Requests};
use crate::proto::engine_io::payload::Body;

/// The largest answer to a poll, in bytes. Servers of this kind send 1 MiB, or one packet of any size.
const POLL: usize = 16 << 20;

/// The largest answer to a POST, in bytes.
const ANSWER: usize = 4 << 10;

/// How long a poll may wait for its answer: longer than any server lets a client wait for a heartbeat.
const POLL_PATIENCE: Duration = Duration::from_secs(300);

/// How long a POST may wait for its answer.
const POST_PATIENCE: Duration = Duration::from_secs(60);

/// Sends a poll.
pub(super) async fn poll(requests: &mut Requests, path: &str) -> Result<Body, RequestError> {
    let request = requests.request(Method::GET, path, Bytes::new())?;
    let answer = requests.send(request, POLL, POLL_PATIENCE).await?;
    let is_binary = answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/octet-stream");
    let (head, body) = answer.into_parts();
    if head.status != StatusCode::OK {
        return Err(refused(head.status, &body));
    }
    if is_binary {
        return Ok(Body::Binary(body));
    }
    let text = ByteString::try_from(body).map_err(|_| RequestError::Failed("it is no text".to_owned()))?;
    Ok(Body::Text(text))
}

/// Sends a POST.
pub(super) async fn post(requests: &mut Requests, path: &str, body: Body) -> Result<(), RequestError> {
    let (kind, bytes) = match body {
        Body::Text(text) => (HeaderValue::from_static("text/plain;charset=UTF-8"), text.into_bytes()),
        Body::Binary(bytes) => (HeaderValue::from_static("application/octet-stream"), bytes),
    };
    let mut request = requests.request(Method::POST, path, bytes)?;
    request.headers_mut().insert(header::CONTENT_TYPE, kind);
    let answer = requests.send(request, ANSWER, POST_PATIENCE).await?;
    if answer.status() == StatusCode::OK { Ok(()) } else { Err(refused(answer.status(), answer.body())) }
}

fn refused(status: StatusCode, body: &Bytes) -> RequestError {
    let shown: String = String::from_utf8_lossy(body).chars().filter(|char| !char.is_control()).take(200).collect();
    RequestError::Failed(format!("{status} {shown}"))
}
