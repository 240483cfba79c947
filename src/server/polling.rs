//! The long-polling transport: GETs that wait for packets, POSTs that bring them.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use http::StatusCode;
use http::header::{self, HeaderValue};
use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use tokio::sync::{mpsc, oneshot};

use super::link::Command;
use super::reply::{self, Reply};
use crate::proto::engine_io::session::{PollAnswer, PostError};
use crate::proto::engine_io::{Rejection, Revision, payload};

/// How long a body may take to arrive. Clients send one in one go.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyError {
    /// It is larger than the limit.
    TooLarge,
    /// It stopped before its end.
    Incomplete,
}

/// Reads a body of at most `limit` bytes. Nothing past the limit is kept, and nothing is read when it is announced.
pub(super) async fn read_body(body: Incoming, limit: usize) -> Result<Bytes, BodyError> {
    let announced = body.size_hint().lower();
    if usize::try_from(announced).map_or(true, |announced| announced > limit) {
        return Err(BodyError::TooLarge);
    }
    let mut body = body;
    let mut whole = Bytes::new();
    let mut rest: Option<BytesMut> = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Incomplete)?.into_data() else { continue };
        let so_far = rest.as_ref().map_or(whole.len(), BytesMut::len);
        if data.len() > limit - so_far {
            return Err(BodyError::TooLarge);
        }
        // A body that comes in one piece, the usual case, is not copied.
        if whole.is_empty() && rest.is_none() {
            whole = data;
            continue;
        }
        let joined = rest.get_or_insert_with(|| {
            let mut joined = BytesMut::with_capacity(usize::try_from(announced).unwrap_or(0).max(2 * whole.len()));
            joined.extend_from_slice(&whole);
            joined
        });
        joined.extend_from_slice(&data);
    }
    Ok(rest.map_or(whole, BytesMut::freeze))
}

/// Waits for packets.
pub(super) async fn poll<C>(mailbox: &mpsc::Sender<Command<C>>, revision: Option<Revision>) -> Reply {
    let (reply, answer) = oneshot::channel();
    if mailbox.send(Command::Poll { revision, reply }).await.is_err() {
        return reply::rejection(Rejection::SessionUnknown);
    }
    match answer.await {
        Ok(PollAnswer::Packets(frames)) => {
            // Only a session that exists answers with packets, and so the revision is one that exists.
            let body = payload::encode(&frames, revision.unwrap_or(Revision::V4));
            packets(body)
        }
        Ok(PollAnswer::Rejected(rejection)) => reply::rejection(rejection),
        Ok(PollAnswer::Overlap) => reply::empty(StatusCode::BAD_REQUEST),
        Err(_) => reply::rejection(Rejection::SessionUnknown),
    }
}

/// Takes packets.
pub(super) async fn post<C: Send + 'static>(
    mailbox: &mpsc::Sender<Command<C>>,
    revision: Option<Revision>,
    request: Request<Incoming>,
    limit: usize,
) -> Reply {
    if binary_content(&request) {
        // Revision 4 has text only. The session is told, or it would wait for packets that are lost (CVE-2026-59725).
        return match begin(mailbox, revision).await {
            Ok(posting) => posting.fail().await.map_or_else(broken, |()| reply::empty(StatusCode::BAD_REQUEST)),
            Err(error) => broken(error),
        };
    }
    let mut reading = Box::pin(read_body(request.into_body(), limit));
    // A body that has arrived with its head needs one trip to the session's task, not two.
    let result = match reading.as_mut().now_or_never() {
        Some(Ok(body)) => ask(mailbox, |reply| Command::Post { revision, body, reply }).await,
        early => match begin(mailbox, revision).await {
            Ok(posting) => {
                let body = match early {
                    Some(body) => Ok(body),
                    None => tokio::time::timeout(BODY_TIMEOUT, reading).await,
                };
                match body {
                    Ok(Ok(body)) => posting.finish(body).await,
                    Ok(Err(BodyError::TooLarge)) => {
                        tracing::warn!(limit, "a polling body is over --max-payload: its session is closed");
                        return too_large(posting).await;
                    }
                    Ok(Err(BodyError::Incomplete)) | Err(_) => posting.fail().await,
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

fn binary_content(request: &Request<Incoming>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(|value| value.starts_with(b"application/octet-stream"))
}

async fn too_large<C: Send + 'static>(posting: Posting<C>) -> Reply {
    // The session ends whether or not it hears of it: the client takes every other status than 200 for the end.
    let _ = posting.fail().await;
    let mut reply = reply::empty(StatusCode::PAYLOAD_TOO_LARGE);
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}

fn broken(error: PostError) -> Reply {
    match error {
        PostError::Rejected(rejection) => reply::rejection(rejection),
        PostError::Broken => {
            let mut reply = reply::empty(StatusCode::BAD_REQUEST);
            reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            reply
        }
    }
}

/// A POST whose body is being read. Dropped before its end, it fails.
struct Posting<C: Send + 'static> {
    mailbox: Option<mpsc::Sender<Command<C>>>,
}

async fn begin<C: Send + 'static>(
    mailbox: &mpsc::Sender<Command<C>>,
    revision: Option<Revision>,
) -> Result<Posting<C>, PostError> {
    ask(mailbox, |reply| Command::BeginPost { revision, reply }).await?;
    Ok(Posting { mailbox: Some(mailbox.clone()) })
}

impl<C: Send + 'static> Posting<C> {
    async fn finish(mut self, body: Bytes) -> Result<(), PostError> {
        self.end(Some(body)).await
    }

    async fn fail(mut self) -> Result<(), PostError> {
        self.end(None).await
    }

    async fn end(&mut self, body: Option<Bytes>) -> Result<(), PostError> {
        let Some(mailbox) = self.mailbox.take() else { return Ok(()) };
        ask(&mailbox, |reply| Command::EndPost { body, reply }).await
    }
}

impl<C: Send + 'static> Drop for Posting<C> {
    fn drop(&mut self) {
        if let Some(mailbox) = self.mailbox.take() {
            tokio::spawn(async move {
                let (reply, _) = oneshot::channel();
                // A session that is gone needs not hear of it.
                let _ = mailbox.send(Command::EndPost { body: None, reply }).await;
            });
        }
    }
}

async fn ask<C>(
    mailbox: &mpsc::Sender<Command<C>>,
    command: impl FnOnce(oneshot::Sender<Result<(), PostError>>) -> Command<C>,
) -> Result<(), PostError> {
    const GONE: PostError = PostError::Rejected(Rejection::SessionUnknown);
    let (reply, answer) = oneshot::channel();
    mailbox.send(command(reply)).await.map_err(|_| GONE)?;
    answer.await.map_err(|_| GONE)?
}

fn packets(body: Bytes) -> Reply {
    let mut reply = Reply::new(body.into());
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
