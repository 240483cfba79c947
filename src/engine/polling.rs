//! The long-polling transport: GETs that wait for packets, POSTs that bring them.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use futures::FutureExt as _;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::mailbox;
use super::session_task::Command;
use crate::engine::Limits;
use crate::net::body::{self, BodyError, BodyLimits, Kept};
use crate::net::budget::Budget;
use crate::net::listener::release_head;
use crate::net::reply::{self, Reply, ReplyBody};
use crate::proto::engine_io::jsonp::{Jsonp, payload_of_form};
use crate::proto::engine_io::payload::Body;
use crate::proto::engine_io::query::Target;
use crate::proto::engine_io::session::{PollAnswer, PostError};
use crate::proto::engine_io::{CloseReason, Rejection, Revision};

/// The types of polling answers, which clients of revision 3 compare whole.
const TEXT: &str = "text/plain; charset=UTF-8";
const BINARY: &str = "application/octet-stream";

/// Waits for packets.
pub(super) async fn poll<C>(
    mailbox: &mailbox::Sender<Command<C>>,
    revision: Option<Revision>,
    jsonp: Option<Jsonp>,
    memory: &Arc<Budget>,
) -> Reply {
    let (reply, answer) = oneshot::channel();
    if !mailbox.send(Command::Poll { revision, reply }) {
        return refuse(Rejection::SessionUnknown);
    }
    match answer.await {
        Ok(PollAnswer::Packets(batch)) => {
            let (content_type, payload) = match jsonp {
                // A script has no bytes, whatever was said when the session opened.
                Some(jsonp) => (TEXT, jsonp.script(&batch.encode_as_text()).into()),
                None => match batch.encode() {
                    Body::Text(payload) => (TEXT, payload.into_bytes()),
                    Body::Binary(payload) => (BINARY, payload),
                },
            };
            match ReplyBody::counted(payload, memory) {
                Some(payload) => reply::text(StatusCode::OK, content_type, payload),
                // The client takes it for the end of its session, and comes back.
                None => reply::empty(StatusCode::SERVICE_UNAVAILABLE),
            }
        }
        Ok(PollAnswer::Rejected(rejection)) => refuse(rejection),
        Ok(PollAnswer::Overlap) => reply::empty(StatusCode::BAD_REQUEST),
        Err(_) => refuse(Rejection::SessionUnknown),
    }
}

/// Takes packets.
pub(super) async fn post<C: Send + 'static>(
    mailbox: &mailbox::Sender<Command<C>>,
    target: Target,
    head: &mut Parts,
    body: Incoming,
    limit: usize,
    limits: &Limits,
) -> Reply {
    let Target { revision, .. } = target;
    let content = content_of(&head.headers, target);
    release_head(head);
    let body_limits = BodyLimits { max_bytes: limit, stall_timeout: limits.stall_timeout, memory: &limits.bytes };
    let mut reading = Box::pin(body::read(body, body_limits));
    // A body that has arrived with its head needs one trip to the session's task, not two.
    let result = match reading.as_mut().now_or_never() {
        Some(Ok(Kept { bytes, memory: _memory })) => {
            let body = decode(bytes, content);
            ask(mailbox, |reply| Command::Post { revision, body, reply }).await
        }
        early => match begin(mailbox, revision).await {
            Ok(posting) => {
                let body = match early {
                    Some(body) => body,
                    None => reading.await,
                };
                match body {
                    Ok(Kept { bytes, memory: _memory }) => posting.end(decode(bytes, content)).await,
                    Err(BodyError::TooLarge(limit)) => {
                        tracing::warn!(limit, "a polling body is over --max-payload: its session is closed");
                        return refused(posting, StatusCode::PAYLOAD_TOO_LARGE).await;
                    }
                    Err(BodyError::NoMemory) => {
                        tracing::warn!("no memory for a polling body: its session is closed");
                        return refused(posting, StatusCode::SERVICE_UNAVAILABLE).await;
                    }
                    Err(BodyError::Incomplete | BodyError::TooSlow) => {
                        posting.end(Err(CloseReason::TransportError)).await
                    }
                }
            }
            Err(error) => Err(error),
        },
    };
    match result {
        Ok(()) => reply::text(StatusCode::OK, "text/html", "ok"),
        Err(error) => broken(error),
    }
}

/// What the body of a POST is.
#[derive(Debug, Clone, Copy)]
enum Content {
    Text,
    Binary,
    Form,
}

fn content_of(headers: &HeaderMap, target: Target) -> Content {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if target.jsonp.is_some() {
        Content::Form
    } else if content_type.is_some_and(|value| value.starts_with(b"application/octet-stream")) {
        Content::Binary
    } else {
        Content::Text
    }
}

fn decode(body: Bytes, content: Content) -> Result<Body, CloseReason> {
    match content {
        Content::Text => ByteString::try_from(body).map(Body::Text).map_err(|_| CloseReason::ParseError),
        Content::Binary => Ok(Body::Binary(body)),
        Content::Form => payload_of_form(&body).map(Body::Text).ok_or(CloseReason::ParseError),
    }
}

async fn refused<C: Send + 'static>(posting: Posting<C>, status: StatusCode) -> Reply {
    // The session ends whether or not it hears of it: the client takes every other status than 200 for the end.
    let _ = posting.end(Err(CloseReason::TransportError)).await;
    let mut reply = reply::empty(status);
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}

fn broken(error: PostError) -> Reply {
    match error {
        PostError::Rejected(rejection) => refuse(rejection),
        PostError::Broken => {
            let mut reply = reply::empty(StatusCode::BAD_REQUEST);
            reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            reply
        }
    }
}

/// A POST whose body is being read. Dropped before its end, it fails.
struct Posting<C: Send + 'static> {
    mailbox: Option<mailbox::Sender<Command<C>>>,
}

async fn begin<C: Send + 'static>(
    mailbox: &mailbox::Sender<Command<C>>,
    revision: Option<Revision>,
) -> Result<Posting<C>, PostError> {
    ask(mailbox, |reply| Command::BeginPost { revision, reply }).await?;
    Ok(Posting { mailbox: Some(mailbox.clone()) })
}

impl<C: Send + 'static> Posting<C> {
    async fn end(mut self, body: Result<Body, CloseReason>) -> Result<(), PostError> {
        let Some(mailbox) = self.mailbox.take() else { return Ok(()) };
        ask(&mailbox, |reply| Command::EndPost { body, reply }).await
    }
}

impl<C: Send + 'static> Drop for Posting<C> {
    fn drop(&mut self) {
        if let Some(mailbox) = self.mailbox.take() {
            let (reply, _) = oneshot::channel();
            // A session that is gone needs not hear of it.
            let _ = mailbox.send(Command::EndPost { body: Err(CloseReason::TransportError), reply });
        }
    }
}

async fn ask<C>(
    mailbox: &mailbox::Sender<Command<C>>,
    command: impl FnOnce(oneshot::Sender<Result<(), PostError>>) -> Command<C>,
) -> Result<(), PostError> {
    const GONE: PostError = PostError::Rejected(Rejection::SessionUnknown);
    let (reply, answer) = oneshot::channel();
    if !mailbox.send(command(reply)) {
        return Err(GONE);
    }
    answer.await.map_err(|_| GONE)?
}

/// An error of Engine.IO, in the reference's form: `{"code":N,"message":"…"}`.
pub(super) fn refuse(rejection: Rejection) -> Reply {
    let status = StatusCode::from_u16(rejection.status()).unwrap_or(StatusCode::BAD_REQUEST);
    match rejection.code_and_message() {
        Some((code, message)) => {
            let body = format!(r#"{{"code":{code},"message":"{message}"}}"#);
            let mut reply = reply::text(status, "application/json", body);
            if status == StatusCode::SERVICE_UNAVAILABLE {
                reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            reply
        }
        None => {
            let mut reply = reply::empty(status);
            reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, POST"));
            reply
        }
    }
}
