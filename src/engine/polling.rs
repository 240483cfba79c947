//! The long-polling transport: GETs that wait for packets, POSTs that bring them.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use futures::FutureExt as _;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use tokio::sync::oneshot;

use super::command::SessionCommand;
use super::mailbox;
use super::sessions::Limits;
use crate::net::body::{self, BodyError, BodyLimits, Kept, RequestBody};
use crate::net::budget::Budget;
use crate::net::listener::release_head;
use crate::net::reply::{self, Reply, ReplyBody};
use crate::net::seldom::warn_seldom;
use crate::proto::engine_io::jsonp::{Jsonp, payload_of_form};
use crate::proto::engine_io::payload::{Batch, Body};
use crate::proto::engine_io::query::Target;
use crate::proto::engine_io::session::{PollAnswer, PostError};
use crate::proto::engine_io::{CloseReason, Rejection, Revision};
use crate::proto::limit::Limit;

/// The content type of an answer in text. Clients of revision 3 compare the whole value.
const TEXT: &str = "text/plain; charset=UTF-8";

/// The content type of an answer in bytes.
const BINARY: &str = "application/octet-stream";

/// Waits for packets and returns them as a response.
pub(super) async fn poll<C>(
    mailbox: &mailbox::Sender<SessionCommand<C>>,
    revision: Option<Revision>,
    jsonp: Option<Jsonp>,
    memory: &Arc<Budget>,
) -> Reply {
    let (reply, answer) = oneshot::channel();
    if !mailbox.send(SessionCommand::Poll { revision, reply }) {
        return refuse(Rejection::SessionUnknown);
    }
    match answer.await {
        Ok(PollAnswer::Packets(batch)) => packets(&batch, jsonp, memory).unwrap_or_else(|| {
            warn_seldom!("no memory for the answer to a poll: its session is closed");
            // The client has lost the packets, and takes this status for the end of its session. What waits for acks is told.
            mailbox.send(SessionCommand::Close(CloseReason::Overflow));
            reply::empty(StatusCode::SERVICE_UNAVAILABLE)
        }),
        Ok(PollAnswer::Rejected(rejection)) => refuse(rejection),
        Ok(PollAnswer::Overlap) => reply::empty(StatusCode::BAD_REQUEST),
        Err(_) => refuse(Rejection::SessionUnknown),
    }
}

/// Returns the response that carries these packets, as a script if the client polls with JSONP. `None` without memory for it.
fn packets(batch: &Batch, jsonp: Option<Jsonp>, memory: &Arc<Budget>) -> Option<Reply> {
    let (content_type, payload) = match jsonp {
        // A script carries no bytes, whatever the client said when the session opened.
        Some(jsonp) => (TEXT, jsonp.script(&batch.encode_as_text()).into()),
        None => match batch.encode() {
            Body::Text(payload) => (TEXT, payload.into_bytes()),
            Body::Binary(payload) => (BINARY, payload),
        },
    };
    ReplyBody::counted(payload, memory).map(|payload| reply::text(StatusCode::OK, content_type, payload))
}

/// Brings the packets in a body of at most `max_payload` bytes to the session's task.
pub(super) async fn post<C: Send + 'static>(
    mailbox: &mailbox::Sender<SessionCommand<C>>,
    target: Target,
    head: &mut Parts,
    body: &mut RequestBody,
    max_payload: usize,
    limits: &Limits,
) -> Reply {
    let Target { revision, .. } = target;
    let content = Content::of(&head.headers, target);
    release_head(head);
    let body_limits = BodyLimits { max_bytes: max_payload, stall_timeout: limits.stall_timeout, memory: &limits.bytes };
    let mut reading = Box::pin(body::read(body, body_limits));
    // A body that has arrived with its head needs one trip to the session's task, not two.
    let result = match reading.as_mut().now_or_never() {
        Some(Ok(Kept { bytes, memory: _memory })) => {
            let body = content.decode(bytes);
            ask(mailbox, |reply| SessionCommand::Post { revision, body, reply }).await.map_err(PostFailure::Session)
        }
        Some(Err(error)) => post_in_steps(mailbox, revision, content, limits, std::future::ready(Err(error))).await,
        None => post_in_steps(mailbox, revision, content, limits, reading).await,
    };
    match result {
        Ok(()) => reply::text(StatusCode::OK, "text/html", "ok"),
        Err(failure) => failure.reply(),
    }
}

/// Announces the POST to the session's task before its body is read, so that a second POST meanwhile is noticed.
async fn post_in_steps<C: Send + 'static>(
    mailbox: &mailbox::Sender<SessionCommand<C>>,
    revision: Option<Revision>,
    content: Content,
    limits: &Limits,
    reading: impl Future<Output = Result<Kept, BodyError>>,
) -> Result<(), PostFailure> {
    let posting = Posting::begin(mailbox, revision).await.map_err(PostFailure::Session)?;
    let failure = match reading.await {
        Ok(Kept { bytes, memory: _memory }) => {
            return posting.end(content.decode(bytes)).await.map_err(PostFailure::Session);
        }
        Err(error @ (BodyError::Incomplete | BodyError::TooSlow)) => {
            if error == BodyError::TooSlow {
                limits.hits.hit(Limit::StallTimeout);
            }
            return posting.end(Err(CloseReason::TransportError)).await.map_err(PostFailure::Session);
        }
        Err(BodyError::TooLarge(_)) => {
            limits.hits.hit(Limit::Payload);
            PostFailure::TooLarge
        }
        Err(BodyError::NoMemory) => PostFailure::NoMemory,
    };
    // Whether the session hears of it or has ended already, the client is told.
    let _ = posting.end(Err(CloseReason::TransportError)).await;
    Err(failure)
}

/// Why a POST fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PostFailure {
    /// The session refuses it.
    Session(PostError),
    /// The body is larger than a payload may be.
    TooLarge,
    /// The memory for bodies is used up.
    NoMemory,
}

impl PostFailure {
    /// Returns the response. The client takes every status other than 200 for the end of its session.
    fn reply(self) -> Reply {
        let status = match self {
            Self::Session(PostError::Rejected(rejection)) => return refuse(rejection),
            Self::Session(PostError::Broken) => StatusCode::BAD_REQUEST,
            Self::TooLarge => {
                warn_seldom!("a polling body is over --max-payload: its session is closed");
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::NoMemory => {
                warn_seldom!("no memory for a polling body: its session is closed");
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        let mut reply = reply::empty(status);
        // The rest of the body would come before the next request.
        reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        reply
    }
}

/// How the body of a POST carries its payload.
#[derive(Debug, Clone, Copy)]
enum Content {
    /// The payload as text.
    Text,
    /// The payload as bytes.
    Binary,
    /// The payload as the field `d` of a form, which is how JSONP posts.
    Form,
}

impl Content {
    fn of(headers: &HeaderMap, target: Target) -> Self {
        let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        if target.jsonp.is_some() {
            Self::Form
        } else if content_type.is_some_and(|value| value.starts_with(BINARY.as_bytes())) {
            Self::Binary
        } else {
            Self::Text
        }
    }

    fn decode(self, body: Bytes) -> Result<Body, CloseReason> {
        match self {
            Self::Text => ByteString::try_from(body).map(Body::Text).map_err(|_| CloseReason::ParseError),
            Self::Binary => Ok(Body::Binary(body)),
            Self::Form => payload_of_form(&body).map(Body::Text).ok_or(CloseReason::ParseError),
        }
    }
}

/// A POST whose body is being read. Dropped before its end, it ends the session, as its client has hung up.
struct Posting<C: Send + 'static> {
    mailbox: Option<mailbox::Sender<SessionCommand<C>>>,
}

impl<C: Send + 'static> Posting<C> {
    async fn begin(
        mailbox: &mailbox::Sender<SessionCommand<C>>,
        revision: Option<Revision>,
    ) -> Result<Self, PostError> {
        ask(mailbox, |reply| SessionCommand::BeginPost { revision, reply }).await?;
        Ok(Self { mailbox: Some(mailbox.clone()) })
    }

    async fn end(mut self, body: Result<Body, CloseReason>) -> Result<(), PostError> {
        let Some(mailbox) = self.mailbox.take() else { return Ok(()) };
        ask(&mailbox, |reply| SessionCommand::EndPost { body, reply }).await
    }
}

impl<C: Send + 'static> Drop for Posting<C> {
    fn drop(&mut self) {
        if let Some(mailbox) = self.mailbox.take() {
            let (reply, _) = oneshot::channel();
            // A session that is gone needs no end.
            let _ = mailbox.send(SessionCommand::EndPost { body: Err(CloseReason::TransportError), reply });
        }
    }
}

/// Puts a command to the session's task and waits for its answer.
async fn ask<C>(
    mailbox: &mailbox::Sender<SessionCommand<C>>,
    command: impl FnOnce(oneshot::Sender<Result<(), PostError>>) -> SessionCommand<C>,
) -> Result<(), PostError> {
    const GONE: PostError = PostError::Rejected(Rejection::SessionUnknown);
    let (reply, answer) = oneshot::channel();
    if !mailbox.send(command(reply)) {
        return Err(GONE);
    }
    answer.await.map_err(|_| GONE)?
}

/// Returns the response for an error of Engine.IO, in the reference's form: `{"code":N,"message":"…"}`.
pub(super) fn refuse(rejection: Rejection) -> Reply {
    if rejection == Rejection::NotUpgraded {
        log_not_upgraded(rejection);
    }
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

/// Tells the operator, who alone can mend the proxy.
fn log_not_upgraded(rejection: Rejection) {
    let answer = rejection.code_and_message().map(|(_, message)| message);
    warn_seldom!(answer, "a client asked for a WebSocket without an upgrade: does a proxy drop it?");
}
