//! A connection that speaks HTTP/2 (RFC 9113): its streams, each of which is a request, and how it ends.
//!
//! hyper and h2 read and write frames. What is theirs to keep is bounded by their settings, below. In reading order:
//!
//! - this file: the connection, and one request of it
//! - `request`: what a head says in HTTP/2, as HTTP/1.1 says it
//! - `streams`: a task for each stream, which gives up a peer that does not read its response; `response`: that response

mod request;
mod response;
mod streams;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Method, Response, StatusCode};
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::response::{Left, Outgoing};
use self::streams::{Activity, Progress, Streams, Watched};
use super::arrival::{Arrival, Peer};
use super::body::RequestBody;
use super::claims::{Claim, Claims};
use super::connection::Connection;
use super::http1::{no_connect, with_hsts};
use super::linger;
use super::serving::{Handler, Limits};
use super::turn::Turn;
use crate::defaults;
use crate::proto::limit::Limit;

/// Bytes that a client may send of one body before they are read. A body moves at this many bytes for each round trip: 5 MB a second
/// over 50 ms.
const STREAM_WINDOW: u32 = 256 << 10;

/// Bytes that a client may send of all bodies of a connection before they are read.
const CONNECTION_WINDOW: u32 = 512 << 10;

/// Bytes of responses that wait in h2 for each stream, beside one piece.
const SEND_BUFFER: usize = 64 << 10;

/// Streams that a client may reset before their request is looked at, and streams that the server may reset because their frames are
/// wrong. Beyond either the connection is closed with `ENHANCE_YOUR_CALM`: such a client makes work and takes no answer
/// (CVE-2023-44487, CVE-2025-8671).
const RESETS: usize = 50;

/// What a stream takes beside its head and its body, in bytes: its task, and what h2 keeps of it.
const STREAM: usize = 4 << 10;

/// How long a connection may take to end after it was told to.
const GOODBYE: Duration = Duration::from_secs(2);

/// What all streams of a connection share.
struct Shared<H> {
    handler: Arc<H>,
    limits: Limits,
    peer: Peer,
    claims: Arc<Claims>,
    /// Cancelled when the connection ends.
    gone: CancellationToken,
}

/// Serves a connection until it ends.
pub(super) async fn connection(
    connection: Connection,
    peer: SocketAddr,
    handler: Arc<impl Handler>,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) {
    let (timeout, stall_timeout) = (limits.head_timeout, limits.stall_timeout);
    let gone = CancellationToken::new();
    let _left = gone.clone().drop_guard();
    let activity = Activity::new(stall_timeout, Arc::clone(&limits.hits));
    let builder = builder(&limits, Streams(Arc::clone(&activity)));
    let claims = Claims::new(Arc::clone(&limits.head_memory), CONNECTION_WINDOW as usize);
    let peer_of = Peer::new(peer).by_tls(connection.is_tls());
    let shared = Arc::new(Shared { handler, limits, peer: peer_of, claims, gone });
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(shared.answer(request).await) }
    });
    let stream = TokioIo::new(Watched::new(connection, Arc::clone(&activity)));
    let mut connection = pin!(builder.serve_connection(stream, service));
    let mut idle = pin!(sleep_until(Instant::now() + timeout));
    let result = loop {
        tokio::select! {
            result = &mut connection => break result,
            () = activity.stalled() => break Ok(()),
            () = async { drop(stopped.wait_for(|&stopped| stopped).await) } => {
                connection.as_mut().graceful_shutdown();
                // Who waits for connections knows how long.
                break connection.await;
            }
            () = &mut idle => match activity.idle_until(timeout) {
                Some(until) => idle.as_mut().reset(until),
                None => {
                    connection.as_mut().graceful_shutdown();
                    break tokio::time::timeout(GOODBYE, connection).await.unwrap_or(Ok(()));
                }
            },
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "connection failed");
    }
}

fn builder(limits: &Limits, streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(defaults::HTTP2_STREAMS)
        .max_header_list_size(u32::try_from(limits.max_head).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        // A peer whose machine is gone does not end its connection.
        .keep_alive_interval(limits.stall_timeout)
        .keep_alive_timeout(limits.stall_timeout);
    builder
}

impl<H: Handler> Shared<H> {
    /// Answers one request, in the task of its stream.
    async fn answer(&self, request: Request<Incoming>) -> Response<Outgoing> {
        let progress = Progress::current();
        let left = Left::new(self.gone.child_token());
        let turn = Turn::of_stream(left.token());
        let peer = self.peer.clone().on(&turn);
        let (mut head, body) = request.into_parts();
        let admitted = self.admit(&mut head, &body);
        let arrival = Arrival::new(&head.headers, &peer, &self.limits.trusted_proxies);
        let method = head.method.clone();
        let (reply, claim) = match admitted {
            _ if method == Method::CONNECT => (no_connect(self.limits.error), None),
            Err((status, words)) => ((self.limits.error)(status, words), None),
            Ok((of_head, of_body)) => {
                let mut body = RequestBody::new(body, turn).claiming(of_body);
                let reply = self.handler.serve(&mut head, &mut body, &arrival).await;
                // A stream that is reset after its response takes the response from some clients that are still sending.
                if !body.is_end_stream()
                    && let Some(slot) = self.limits.lingering.place(peer.address.ip())
                {
                    drop(tokio::spawn(linger::read_rest(body, slot)));
                }
                (reply, Some(of_head))
            }
        };
        Outgoing::reply(with_hsts(reply, self.limits.hsts().as_ref()), &method, progress, left, claim)
    }

    /// Makes a head what handlers know, and claims memory for its request: for the head and the stream until it is answered, and for the
    /// body until that is read.
    fn admit(&self, head: &mut Parts, body: &Incoming) -> Result<(Claim, Option<Claim>), (StatusCode, &'static str)> {
        request::translate(head).map_err(|words| (StatusCode::BAD_REQUEST, words))?;
        if head.headers.len() > self.limits.max_headers {
            self.limits.hits.hit(Limit::Headers);
            return Err((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request has too many headers"));
        }
        let no_memory = "the server has no memory left for a request of this size, try again in a moment";
        let no_memory = || (StatusCode::SERVICE_UNAVAILABLE, no_memory);
        let bytes = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
        let of_head = self.claims.head(STREAM + bytes).ok_or_else(no_memory)?;
        if body.is_end_stream() {
            return Ok((of_head, None));
        }
        let window = STREAM_WINDOW as usize;
        let announced = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
        let of_body = self.claims.body(announced.map_or(window, |bytes| bytes.min(window))).ok_or_else(no_memory)?;
        Ok((of_head, Some(of_body)))
    }
}
