//! One exchange: a visitor's request to the end and its answer back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode, Uri, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::failure::Failure;
use super::figures::{Exchanges, Outcome};
use super::tunnels::{End, Tunnels};
use super::waiter::Waiting;
use crate::config::ServeConfig;
use crate::engine::Undelivered;
use crate::net::arrival::Forwarded;
use crate::net::body::{self, BodyError, Kept};
use crate::net::buffers;
use crate::net::reply::{self, Reply};
use crate::proto::exchange::{Body, Response, Visit};
use crate::proto::socket_io::AckId;
use crate::proto::socket_io::connection::AckError;
use crate::proto::socket_io::packet::Encoded;
use crate::proto::token::Token;
use crate::store::Store;

const PROVIDED_BY: HeaderName = HeaderName::from_static("x-provided-by");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Forwards visitors' requests.
pub(super) struct Forwarder {
    pub(super) tunnels: Arc<Tunnels>,
    pub(super) store: Arc<Store>,
    pub(super) config: Arc<ServeConfig>,
    pub(super) ids: Ids,
    pub(super) exchanges: Exchanges,
}

/// Makes the ids of exchanges: a part that is this process's own, and a count.
#[derive(Debug)]
pub(super) struct Ids {
    /// Eight digits and a dash.
    prefix: [u8; 9],
    next: AtomicU64,
}

impl Ids {
    pub(super) fn new(prefix: u32) -> Self {
        let mut bytes = [b'-'; 9];
        write_hex(u64::from(prefix), &mut bytes[..8]);
        Self { prefix: bytes, next: AtomicU64::new(1) }
    }

    fn next(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let digits = (number | 1).ilog(16) as usize + 1;
        let mut id = [0; 25];
        id[..9].copy_from_slice(&self.prefix);
        write_hex(number, &mut id[9..9 + digits]);
        HeaderValue::from_bytes(&id[..9 + digits]).unwrap_or(HeaderValue::from_static("none"))
    }
}

/// The last digits of a number, as many as there is room for. Without the machinery of `fmt`, since each exchange has an id.
fn write_hex(number: u64, out: &mut [u8]) {
    for (place, digit) in out.iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (4 * place) & 15) as usize];
    }
}

impl Forwarder {
    /// Serves `/go/TOKEN…`.
    pub(super) async fn forward(&self, head: &mut Parts, body: Incoming, peer: SocketAddr) -> Reply {
        let id_value = self.ids.next();
        let id = id_value.to_str().unwrap_or_default();
        // Only logs want to know.
        let started = tracing::enabled!(tracing::Level::DEBUG).then(Instant::now);
        let elapsed = || started.map_or(Duration::ZERO, |started| started.elapsed());
        let is_head = head.method == Method::HEAD;
        let exchange = self.exchanges.begin();
        let mut reply = match self.exchange(head, body, peer, id).await {
            Ok(response) => {
                let status = response.status.as_u16();
                tracing::debug!(id, status, elapsed = ?elapsed(), "exchange answered");
                exchange.ended(Outcome::Answered);
                visitor_reply(response, is_head)
            }
            // Handlers that never call `respond()` rely on this answer of the original.
            Err(Failure::TimedOut(StatusCode::OK)) => {
                tracing::debug!(id, elapsed = ?elapsed(), "exchange not answered in time");
                exchange.ended(Outcome::TimedOut);
                visitor_reply(Response::ok(), is_head)
            }
            Err(failure) => {
                tracing::debug!(id, code = failure.code(), elapsed = ?elapsed(), "exchange failed: {failure}");
                exchange.ended(Outcome::Failed(failure.code()));
                failure.reply(self.config.error_status)
            }
        };
        reply.headers_mut().insert(REQUEST_ID, id_value);
        reply
    }

    async fn exchange(
        &self,
        head: &mut Parts,
        body: Incoming,
        peer: SocketAddr,
        id: &str,
    ) -> Result<Response, Failure> {
        let (token, _) = split_target(&head.uri);
        let token = Token::parse(token).ok_or(Failure::TokenNotFound)?;
        // Nobody is asked for a body that has nowhere to go.
        let Some(mut end) = self.tunnels.end(&token) else { return Err(self.without_end(&token).await) };
        let _in_flight = end.in_flight()?;
        let announced = has_body(&head.headers);
        let Kept { bytes, mut held } =
            body::read(body, self.config.max_body, self.config.limits.stall_timeout, &end.memory).await.map_err(
                |error| match error {
                    BodyError::TooLarge => Failure::BodyTooLarge(self.config.max_body),
                    BodyError::Incomplete => Failure::BodyIncomplete,
                    BodyError::TooSlow => Failure::BodyTooSlow,
                    BodyError::NoMemory => Failure::Busy,
                },
            )?;
        if announced {
            // While a slow body came, another end may have taken over.
            let Some(newest) = self.tunnels.end(&token) else { return Err(self.without_end(&token).await) };
            end = newest;
        }
        let (event, ack_id) = self.event(head, bytes, announced, peer, id, &end)?;
        tracing::debug!(id, ?token, method = head.method.as_str(), bytes = event.len(), "exchange begun");
        let room = reply::room_of(head);
        if !body::count(&mut held, event.len(), &end.memory) {
            return Err(Failure::Busy);
        }
        let waiting = end.emit(event, self.config.response_timeout).map_err(|undelivered| match undelivered {
            Undelivered::Full => Failure::Overloaded,
            Undelivered::Closed => Failure::NotConnected,
        })?;
        let mut response = self.answer(waiting, &end, ack_id, room).await?;
        drop(held);
        response.body = body::counted(response.body, &end.memory).ok_or(Failure::Busy)?;
        Ok(response)
    }

    /// What the end hears of a request.
    fn event(
        &self,
        head: &Parts,
        body: Bytes,
        announced: bool,
        peer: SocketAddr,
        id: &str,
        end: &End,
    ) -> Result<(Encoded, AckId), Failure> {
        let (_, path) = split_target(&head.uri);
        let length = announced.then_some(body.len());
        let body = Body::detect(&head.headers, body, end.options).map_err(Failure::InvalidBody)?;
        let forwarded = Forwarded::of(&head.headers, peer.ip(), &self.config.trust_proxy);
        let visit = Visit {
            method: head.method.as_str(),
            path,
            query: head.uri.query(),
            http_version: if head.version == Version::HTTP_10 { "1.0" } else { "1.1" },
            headers: &head.headers,
            remote_address: forwarded.client,
            forwarded_before: &forwarded.before,
            peer: forwarded.peer,
            forwarded_proto: &forwarded.proto,
            forwarded_host: forwarded.host.as_deref(),
            id,
            body: &body,
            body_length: length,
        };
        let ack_id = end.next_ack();
        let mut draft = buffers::lend_text();
        let event = visit.encode(end.namespace(), ack_id, end.options, &mut draft);
        buffers::give_back(draft.into_bytes());
        Ok((event, ack_id))
    }

    async fn answer(&self, waiting: Waiting, end: &Arc<End>, id: AckId, room: HeaderMap) -> Result<Response, Failure> {
        // Dropped before its end: the visitor has hung up.
        let mut hang_up = HangUp { end: Some(end), id };
        let outcome = waiting.await;
        hang_up.end = None;
        match outcome {
            Some(Ok(answer)) => Response::decode(&answer, room).map_err(Failure::InvalidAnswer),
            Some(Err(AckError::TimedOut)) => Err(Failure::TimedOut(self.config.timeout_status)),
            Some(Err(error)) => Err(error.into()),
            // The session's task is gone, and all that waited for it.
            None => Err(Failure::Disconnected),
        }
    }

    async fn without_end(&self, token: &Token) -> Failure {
        match self.store.remaining(token).await {
            Ok(Some(_)) => Failure::NotConnected,
            Ok(None) => Failure::TokenNotFound,
            Err(error) => error.into(),
        }
    }
}

/// Frees what waits for an answer that nobody will read.
struct HangUp<'e> {
    end: Option<&'e Arc<End>>,
    id: AckId,
}

impl Drop for HangUp<'_> {
    fn drop(&mut self) {
        if let Some(end) = self.end {
            end.cancel(self.id);
        }
    }
}

/// The token of a visitor's request, and the path behind it.
fn split_target(uri: &Uri) -> (&str, &str) {
    let rest = uri.path().strip_prefix("/go/").unwrap_or_default();
    rest.split_at(rest.find('/').unwrap_or(rest.len()))
}

/// Whether the request says that it has a body, be it an empty one (RFC 9112, section 6.3).
fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING)
}

fn visitor_reply(response: Response, is_head: bool) -> Reply {
    let Response { status, headers, body, declared_length } = response;
    // To HEAD, an end may tell the length of the body that GET would give.
    let length = declared_length.filter(|_| is_head && body.is_empty() && status != StatusCode::NO_CONTENT);
    let mut reply = Reply::new(Full::new(body));
    *reply.status_mut() = status;
    *reply.headers_mut() = headers;
    let headers = reply.headers_mut();
    headers.insert(PROVIDED_BY, HeaderValue::from_static("Socket2Me"));
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    reply
}
