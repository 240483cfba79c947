//! The HTTP server: accepts connections, hands requests to a handler, and stops in order.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::request::Parts;
use http::{HeaderMap, Uri};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

use super::arrival::{Arrival, Peer};
use super::budget::{Budget, Exempt, PerAddress};
use super::connection::{Connection, Place};
use super::reply::{self, Reply};
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
    /// Time to receive a request's head, and to wait for the next request of a connection that stays open. Beyond it the
    /// connection is closed.
    pub head_timeout: Duration,
    /// The largest head of a request, in bytes. A larger one is answered 431.
    pub max_head: usize,
    /// The most headers of a request. One with more is answered 431.
    pub max_headers: usize,
    /// How long a peer may read less than [`MIN_BYTES_PER_SECOND`](super::connection::MIN_BYTES_PER_SECOND) of what it is
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
            head_timeout: defaults::HEAD_TIMEOUT,
            max_head: defaults::MAX_HEAD,
            max_headers: defaults::MAX_HEADERS,
            stall_timeout: defaults::STALL_TIMEOUT,
            trusted_proxies: Arc::default(),
        }
    }
}

/// Headers that hyper reads into an array on its stack. Any other limit costs an allocation for each request.
const HEADERS_ON_STACK: usize = 100;

/// The smallest limit of a head that hyper accepts, in bytes.
const SMALLEST_HEAD: usize = 8 << 10;

/// How long open connections may take to finish once the server stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause after a connection could not be accepted. The usual reason, no file descriptors left, takes time to pass.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves connections until `stop` completes, then lets the open ones finish their requests, for two seconds at the most.
///
/// `handler` is called once for each request, on the task of its connection; requests of one connection come one after the
/// other. A handler that panics ends its connection without a response, and no other.
pub async fn serve<H, F>(listener: TcpListener, handler: H, limits: Limits, stop: impl Future<Output = ()>)
where
    H: Fn(Request<Incoming>, Arrival) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let (stopping, stopped) = watch::channel(false);
    tokio::pin!(stop);
    // Responses are written whole, so waiting for more to send would only delay them. On Linux a connection inherits the
    // option from its listener, which saves a system call for each.
    let inherits = socket2::SockRef::from(&listener).set_tcp_nodelay(true).is_ok() && cfg!(target_os = "linux");
    let mut failures = AcceptFailures::default();
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
                            let stream = Connection::new(stream, limits.stall_timeout, place);
                            drop(tokio::spawn(connection(stream, peer, handler.clone(), limits.clone(), stopped.clone())));
                        }
                        None => refuse(&stream, peer, &limits.refusal),
                    }
                }
                Err(error) => {
                    failures.log(&error);
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

/// How often connections could not be accepted. A line of the log for each second is enough: the reason stays for a while, and
/// peers can cause it.
#[derive(Debug, Default)]
struct AcceptFailures {
    logged: Option<Instant>,
    /// Failures without a line, since the last line.
    unlogged: u64,
}

impl AcceptFailures {
    fn log(&mut self, error: &io::Error) {
        let now = Instant::now();
        if self.logged.is_some_and(|logged| now < logged + Duration::from_secs(1)) {
            self.unlogged += 1;
            return;
        }
        tracing::warn!(%error, failures_before = self.unlogged, "cannot accept a connection");
        *self = Self { logged: Some(now), unlogged: 0 };
    }
}

/// Takes a place for a connection, or returns `None` where there is none.
fn place(limits: &Limits, peer: SocketAddr) -> Option<Place> {
    let of_address = limits.per_address.hold(peer.ip())?;
    let connection = limits.connections.hold(1)?;
    Some(Place { connection, of_address })
}

/// Sends the refusal without waiting: a peer that cannot take it at once does not get it.
fn refuse(stream: &TcpStream, peer: SocketAddr, refusal: &[u8]) {
    tracing::debug!(%peer, "too many connections: one more is refused");
    let _ = stream.try_write(refusal);
}

async fn connection<H, F>(
    stream: Connection,
    peer: SocketAddr,
    handler: H,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) where
    H: Fn(Request<Incoming>, Arrival) -> F,
    F: Future<Output = Reply> + Send,
{
    let builder = builder(&limits);
    let trusted = Arc::clone(&limits.trusted_proxies);
    // Most connections spend their life waiting: they keep no more than they need.
    drop(limits);
    let from = Peer::new(peer);
    let service = service_fn(|request: Request<Incoming>| {
        let arrival = Arrival::new(request.headers(), &from, &trusted);
        handler(request, arrival).map(|reply| Ok::<_, Infallible>(reply::with_reason(reply)))
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = async { drop(stopped.wait_for(|&stopped| stopped).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "connection failed");
    }
}

/// Drops a request's URI and headers once they were read: they keep hyper's read buffer alive while a handler waits.
pub fn release_head(head: &mut Parts) {
    head.uri = Uri::default();
    head.headers = HeaderMap::new();
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // The timer starts when a head is due, so it bounds the time between two requests too.
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head_timeout);
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
            self.0.lock().unwrap().write(bytes)
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
        let mut failures = AcceptFailures::default();
        for _ in 0..41 {
            failures.log(&io::Error::other("too many open files"));
            tokio::time::advance(ACCEPT_PAUSE).await;
        }
        let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.lines().count(), 3, "{log}");
        assert!(log.lines().next_back().is_some_and(|line| line.contains("failures_before=19")), "{log}");
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
