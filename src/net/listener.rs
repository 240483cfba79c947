//! The HTTP server: accepts connections, hands requests to a handler, and stops in order.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode, Uri, Version};
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::arrival::{Arrival, Peer};
use super::body::{RequestBody, drop_arrived};
use super::budget::{Budget, Exempt, PerAddress};
use super::connection::Connection;
use super::hits::Hits;
use super::http_connection::HttpConnection;
use super::linger;
use super::reply::{self, Reply};
use super::seldom::Seldom;
use super::socket::Place;
use super::turn::{Outgoing, Turn};
use crate::defaults;

/// What connections may take, and how their requests are understood.
#[derive(Debug, Clone)]
pub struct Limits {
    /// All connections.
    pub connections: Arc<Budget>,
    /// Connections of one address.
    pub per_address: Arc<PerAddress>,
    /// The bytes that a connection over these limits is sent before it is closed: one HTTP response.
    pub refusal: Bytes,
    /// Makes the response to a head that cannot be read, or whose method no handler has, from its status and a sentence.
    pub error: fn(StatusCode, &str) -> Reply,
    /// Heads that could not be read.
    pub unread_heads: Arc<UnreadHeads>,
    /// Counts the limits that peers hit.
    pub hits: Arc<Hits>,
    /// Connections that are closed before their whole request was read.
    pub lingering: Arc<linger::Limits>,
    /// Time to receive a request's head, and to wait for the next request of a connection that stays open. Beyond it the
    /// connection is closed.
    pub head_timeout: Duration,
    /// Memory for heads of more than 8 KiB while they arrive and until they are answered, in bytes: twice their length. Beyond it
    /// they are answered 503.
    pub head_memory: Arc<Budget>,
    /// The largest head of a request, in bytes. A larger one is answered 431.
    pub max_head: usize,
    /// The most headers of a request. One with more is answered 431.
    pub max_headers: usize,
    /// How long a peer may read less than [`MIN_BYTES_PER_SECOND`](super::socket::MIN_BYTES_PER_SECOND) of what it is
    /// sent. Beyond it the connection is closed.
    pub stall_timeout: Duration,
    /// Networks of the proxies whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Arc<[IpNet]>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Budget::new(defaults::MAX_CONNECTIONS),
            per_address: PerAddress::new(defaults::MAX_CONNECTIONS_PER_ADDRESS, Exempt::default()),
            refusal: Bytes::from_static(
                b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            ),
            error: |status, message| reply::text(status, "text/plain; charset=utf-8", message.to_owned()),
            unread_heads: Arc::default(),
            hits: Arc::default(),
            lingering: Arc::default(),
            head_timeout: defaults::HEAD_TIMEOUT,
            head_memory: Budget::new(defaults::MAX_BUFFERED / 4),
            max_head: defaults::MAX_HEAD,
            max_headers: defaults::MAX_HEADERS,
            stall_timeout: defaults::STALL_TIMEOUT,
            trusted_proxies: Arc::default(),
        }
    }
}

/// Counts the heads that could not be read.
#[derive(Debug, Default)]
pub struct UnreadHeads {
    /// Those that were answered in the host's words.
    pub answered: AtomicU64,
    /// Those that hyper answered without a body, because the answer to an earlier request was not written yet.
    pub unexplained: AtomicU64,
}

/// Headers that hyper reads into an array on its stack. Any other limit costs an allocation for each request.
const HEADERS_ON_STACK: usize = 100;

/// The smallest limit of a head that hyper accepts, in bytes.
const SMALLEST_HEAD: usize = 8 << 10;

/// Bytes in the head of a reply that does not close its connection. hyper keeps the buffer in which it writes heads.
const LONG_HEAD: usize = 8 << 10;

/// How long open connections may take to finish once the server stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause after a connection could not be accepted. The usual reason, no file descriptors left, takes time to pass.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request, on the task of its connection; requests of one connection come one after the other. A panic ends
    /// the connection without a response, and no other.
    ///
    /// What is left of the body is dropped: if more than has arrived is left, the reply says that the connection is closed, and
    /// the connection [lingers](super::linger). A body that was [taken](RequestBody::take) is its taker's to read or to drop.
    fn serve(
        &self,
        head: &mut Parts,
        body: &mut RequestBody,
        arrival: &Arrival<'_>,
    ) -> impl Future<Output = Reply> + Send;
}

/// Serves connections until `stop` completes, then lets the open ones finish their requests, for two seconds at the most.
pub async fn serve(listener: TcpListener, handler: Arc<impl Handler>, limits: Limits, stop: impl Future<Output = ()>) {
    let (stopping, stopped) = watch::channel(false);
    tokio::pin!(stop);
    // Responses are written whole, so waiting for more to send would only delay them. On Linux a connection inherits the
    // option from its listener, which saves a system call for each.
    let inherits = socket2::SockRef::from(&listener).set_tcp_nodelay(true).is_ok() && cfg!(target_os = "linux");
    let failures = Seldom::new(defaults::LOG_PAUSE);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if !inherits {
                        let _ = stream.set_nodelay(true);
                    }
                    match place(&limits, peer) {
                        Some(place) => {
                            let stream = Connection::plain(stream, limits.stall_timeout, place);
                            let stream = HttpConnection::new(stream, Arc::clone(&limits.head_memory), limits.head_timeout);
                            drop(tokio::spawn(connection(stream, peer, Arc::clone(&handler), limits.clone(), stopped.clone())));
                        }
                        None => refuse(stream, peer, &limits),
                    }
                }
                Err(error) => {
                    log_refused_accept(&failures, &error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop((listener, stopped));
    // The channel closes with its last receiver: when all connections are done.
    let _ = stopping.send(true);
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, stopping.closed()).await;
}

/// The reason stays for a while, and peers can cause it.
fn log_refused_accept(lines: &Seldom, error: &io::Error) {
    if let Some(unlogged) = lines.pass() {
        tracing::warn!(%error, unlogged, "cannot accept a connection");
    }
}

/// Takes a place for a connection, or returns `None` where there is none.
fn place(limits: &Limits, peer: SocketAddr) -> Option<Place> {
    let of_address = limits.per_address.hold(peer.ip())?;
    let connection = limits.connections.hold(1)?;
    Some(Place { connection, of_address, hits: Arc::clone(&limits.hits) })
}

/// Sends the refusal without waiting: a peer that cannot take it at once does not get it.
fn refuse(stream: TcpStream, peer: SocketAddr, limits: &Limits) {
    tracing::debug!(%peer, "too many connections: one more is refused");
    let _ = stream.try_write(&limits.refusal);
    // Its request is on the way: closed now, the connection would be reset, and the refusal lost.
    if let Some(slot) = limits.lingering.place(peer.ip()) {
        drop(tokio::spawn(linger::close(stream, slot)));
    }
}

async fn connection(
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
    // Most connections spend their life waiting: they keep no more than they need.
    drop(limits);
    let turn = Arc::clone(stream.turn());
    let from = Peer::new(peer).on(&turn);
    let service = service_fn(|request: Request<Incoming>| {
        turn.begin(request.extensions());
        // The client sends its body once it is asked to, which reading does.
        let is_awaited = !request.body().is_end_stream() && request.headers().contains_key(header::EXPECT);
        let arrival = Arrival::new(request.headers(), &from, &trusted);
        let (mut head, body) = request.into_parts();
        let (handler, mut body) = (&handler, RequestBody::new(body, Arc::clone(&turn)));
        async move {
            let reply = if head.method == Method::CONNECT {
                no_connect(error)
            } else {
                handler.serve(&mut head, &mut body, &arrival).await
            };
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
                    explain(stream, peer, &failure, error, &unread_heads).await
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
fn no_connect(error: fn(StatusCode, &str) -> Reply) -> Reply {
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
    error: fn(StatusCode, &str) -> Reply,
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
    stream.write_all(&bytes).await.ok().map(|()| stream)
}

/// Returns whether a head got this status because it is over a limit.
fn is_too_large(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG)
}

/// Drops a request's URI and headers once they were read: they keep hyper's read buffer alive while a handler waits.
pub fn release_head(head: &mut Parts) {
    head.uri = Uri::default();
    head.headers = HeaderMap::new();
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Counts lines of the log.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            io::Write::write(&mut *self.0.lock().unwrap(), bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_cannot_be_accepted_are_logged_once_a_second() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
        let _log = tracing::subscriber::set_default(subscriber);
        let failures = Seldom::new(defaults::LOG_PAUSE);
        for _ in 0..41 {
            log_refused_accept(&failures, &io::Error::other("too many open files"));
            tokio::time::advance(ACCEPT_PAUSE).await;
        }
        let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.lines().count(), 3, "{log}");
        assert!(log.lines().next_back().is_some_and(|line| line.contains("unlogged=19")), "{log}");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn connections_inherit_the_options_of_their_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        socket2::SockRef::from(&listener).set_tcp_nodelay(true).unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        assert!(listener.accept().await.unwrap().0.nodelay().unwrap());
    }
}
