//! A connection that speaks HTTP/1: its requests, one after the other, and how it ends.

use std::convert::Infallible;
#[cfg(feature = "tls")]
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode, Version};
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;

use super::arrival::{Arrival, Peer};
use super::body::{RequestBody, drop_arrived};
use super::connection::Connection;
use super::http_connection::HttpConnection;
use super::linger;
use super::reply::{self, Reply};
use super::seldom::Seldom;
use super::serving::{Handler, Limits, UnreadHeads};
use super::turn::{Outgoing, Turn};
use crate::defaults;

/// Headers that hyper reads into an array on its stack. Any other limit costs an allocation for each request.
const HEADERS_ON_STACK: usize = 100;

/// The smallest limit of a head that hyper accepts, in bytes.
const SMALLEST_HEAD: usize = 8 << 10;

/// Bytes in the head of a reply that does not close its connection. hyper keeps the buffer in which it writes heads.
const LONG_HEAD: usize = 8 << 10;

/// Serves a connection until it ends.
pub(super) async fn connection(
    stream: HttpConnection,
    peer: SocketAddr,
    handler: Arc<impl Handler>,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) {
    let builder = builder(&limits);
    let (trusted, error) = (Arc::clone(&limits.trusted_proxies), limits.error);
    let (lingering, unread_heads) = (Arc::clone(&limits.lingering), Arc::clone(&limits.unread_heads));
    let max_head = limits.max_head.max(SMALLEST_HEAD);
    let hsts = limits.hsts();
    // Most connections spend their life waiting: they keep no more than they need.
    drop(limits);
    let turn = Arc::clone(stream.turn());
    let from = Peer::new(peer).on(&turn).by_tls(stream.is_tls());
    let service = service_fn(|request: Request<Incoming>| {
        turn.begin(request.extensions());
        // The client sends its body once it is asked to, which reading does.
        let is_awaited = !request.body().is_end_stream() && request.headers().contains_key(header::EXPECT);
        let arrival = Arrival::new(request.headers(), &from, &trusted);
        let (mut head, body) = request.into_parts();
        let (handler, hsts, mut body) = (&handler, hsts.as_ref(), RequestBody::new(body, Arc::clone(&turn)));
        async move {
            let reply = if head.method == Method::CONNECT {
                no_connect(error)
            } else {
                handler.serve(&mut head, &mut body, &arrival).await
            };
            let reply = with_hsts(reply, hsts);
            // Most requests are read to their end by now.
            if body.is_end_stream() && !is_last(&reply, body.turn()) {
                return Ok(outgoing(reply, body.into_turn(), head.version));
            }
            answer(reply, head.version, body, is_awaited).await
        }
    });
    let mut connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let result = tokio::select! {
        result = &mut connection => result,
        () = async { drop(stopped.wait_for(|&stopped| stopped).await) } => {
            Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    // It holds the connection that holds the turn, once hyper has handed the connection over.
    let upgrade = turn.take_upgrade();
    let stream = connection.into_parts().map(|parts| parts.io.into_inner());
    // In a box, so that a connection that waits for hours has no memory for its end.
    Box::pin(async {
        let stream = match result {
            Ok(()) => linger::unread(&turn, upgrade, stream).await,
            Err(failure) => match stream.filter(|stream| failure.is_parse() || stream.is_out_of_memory()) {
                Some(stream) => {
                    if stream.withheld().is_some_and(is_too_large) {
                        stream.count_large_head(max_head);
                    }
                    {
                        let error = |status, message: &str| with_hsts(error(status, message), hsts.as_ref());
                        explain(stream, peer, &failure, error, &unread_heads).await
                    }
                }
                None => {
                    tracing::debug!(%peer, error = %failure, "connection failed");
                    None
                }
            },
        };
        if let Some(stream) = stream
            && let Some(slot) = lingering.place(from.address.ip())
        {
            linger::close(stream, slot).await;
        }
    })
    .await;
}

/// Drops what is left of a request's body. Where more may come than has arrived, the reply is the connection's last.
async fn answer(
    mut reply: Reply,
    version: Version,
    mut body: RequestBody,
    is_awaited: bool,
) -> Result<Response<Outgoing>, Infallible> {
    if is_last(&reply, body.turn()) || !body.is_end_stream() && (is_awaited || !drop_arrived(&mut body).await) {
        reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        body.turn().leave_unread();
    }
    Ok(outgoing(reply, body.into_turn(), version))
}

/// Hands a reply to a request of this version to hyper.
fn outgoing(reply: Reply, turn: Arc<Turn>, version: Version) -> Response<Outgoing> {
    Outgoing::reply(reply::with_reason(reply), turn, version)
}

/// Returns whether a reply is the last of its connection: it says so, the rest of the request will not be read, or its head or the
/// request's is so long that hyper's buffer must not outlive it.
fn is_last(reply: &Reply, turn: &Turn) -> bool {
    // A WebSocket takes no buffer of hyper's with it.
    if reply.status() == StatusCode::SWITCHING_PROTOCOLS {
        return false;
    }
    if turn.has_long_head() || turn.is_unread() {
        return true;
    }
    let mut length = 0;
    reply.headers().iter().any(|(name, value)| {
        length += name.as_str().len() + value.len();
        length > LONG_HEAD || name == header::CONNECTION && value == "close"
    })
}

/// Refuses CONNECT, whatever the handler: hyper would write no body of a success, and the connection would be a tunnel to
/// nothing. What follows is no HTTP, so the connection is closed.
pub(super) fn no_connect(error: fn(StatusCode, &str) -> Reply) -> Reply {
    let mut reply = error(StatusCode::METHOD_NOT_ALLOWED, "this server is no proxy: there is no CONNECT");
    let headers = reply.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// Answers a head that hyper could not read, in place of hyper.
async fn explain(
    stream: HttpConnection,
    peer: SocketAddr,
    failure: &hyper::Error,
    error: impl Fn(StatusCode, &str) -> Reply,
    counters: &UnreadHeads,
) -> Option<Connection> {
    static LOG: Seldom = Seldom::new(defaults::LOG_PAUSE);
    let withheld = stream.withheld();
    let mut stream = stream.into_inner();
    if let Some(unlogged) = LOG.pass() {
        let status = withheld.map(|status| status.as_u16());
        tracing::info!(%peer, error = %failure, status, unlogged, "the head of a request could not be read");
    }
    let Some(status) = withheld else {
        counters.unexplained.fetch_add(1, Ordering::Relaxed);
        return Some(stream);
    };
    counters.answered.fetch_add(1, Ordering::Relaxed);
    let message = match status {
        StatusCode::SERVICE_UNAVAILABLE => {
            "the server has no memory left for a head of this size, try again in a moment"
        }
        _ => &format!("the request is not valid HTTP: {failure}"),
    };
    let bytes = reply::last_bytes(error(status, message));
    stream.write_all(&bytes).await.ok()?;
    stream.flush().await.ok().map(|()| stream)
}

/// Adds `Strict-Transport-Security`, if it is sent.
pub(super) fn with_hsts(mut reply: Reply, hsts: Option<&HeaderValue>) -> Reply {
    if let Some(hsts) = hsts {
        reply.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    reply
}

/// Sends a reply to a peer that has sent something else than HTTP over TLS, and closes the connection.
#[cfg(feature = "tls")]
pub(super) async fn refuse(mut connection: Connection, peer: IpAddr, reply: Reply, limits: &Limits) {
    if connection.write_all(&reply::last_bytes(reply)).await.is_ok()
        && let Some(slot) = limits.lingering.place(peer)
    {
        linger::close(connection, slot).await;
    }
}

/// Returns whether a head got this status because it is over a limit.
fn is_too_large(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG)
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // The connection has a timer of its own.
    builder.header_read_timeout(None);
    builder.max_buf_size(limits.max_head.max(SMALLEST_HEAD));
    if limits.max_headers != HEADERS_ON_STACK {
        builder.max_headers(limits.max_headers);
    }
    builder
}
