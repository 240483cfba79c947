//! The HTTP server: takes connections in, hands requests to a handler, and stops in order.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use http::StatusCode;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::budget::{Budget, PerAddress};
use super::connection::{Activity, Guarded};
use super::reply::Reply;
use crate::defaults;

/// What connections may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// All of them.
    pub connections: Arc<Budget>,
    /// Those of one address.
    pub per_address: Arc<PerAddress>,
    /// How long a client may take to send the head of a request. It bounds idle connections too.
    pub head_timeout: Duration,
    /// The largest head of a request, in bytes.
    pub max_head: usize,
    /// The most headers of a request.
    pub max_headers: usize,
    /// How long a peer may stop reading.
    pub stall_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Budget::new(defaults::MAX_CONNECTIONS),
            per_address: PerAddress::new(None, defaults::MAX_CONNECTIONS_PER_ADDRESS, Vec::new()),
            head_timeout: defaults::HEAD_TIMEOUT,
            max_head: defaults::MAX_HEAD,
            max_headers: defaults::MAX_HEADERS,
            stall_timeout: defaults::STALL_TIMEOUT,
        }
    }
}

/// So many headers hyper reads without memory of their own.
const HEADERS_ON_STACK: usize = 100;

/// hyper wants no less for a head.
const SMALLEST_HEAD: usize = 8 << 10;

/// How long open connections may take to finish once the server stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A pause after a connection could not be taken in: the usual reason, no file descriptors left, takes time to pass.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves connections until `stop` is ready, then lets the open ones finish what they do, for a short time.
pub async fn serve<H, F>(listener: TcpListener, handler: H, limits: Limits, stop: impl Future<Output = ()>)
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let (stopping, stopped) = watch::channel(false);
    tokio::pin!(stop);
    // Answers are written whole, so waiting for more to send would only delay them. On Linux connections have that from their
    // listener, and a system call less each.
    let inherits = socket2::SockRef::from(&listener).set_tcp_nodelay(true).is_ok() && cfg!(target_os = "linux");
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => match place(&limits, stream, peer, inherits) {
                    Ok(stream) => drop(tokio::spawn(connection(stream, peer, handler.clone(), limits.clone(), stopped.clone()))),
                    Err(stream) => refuse(&stream, peer),
                },
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection in");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop((listener, stopped));
    // Nobody listens any more when all connections are done.
    let _ = stopping.send(true);
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, stopping.closed()).await;
}

/// A place for a connection, or the connection back where there is none.
fn place(limits: &Limits, stream: TcpStream, peer: SocketAddr, inherits: bool) -> Result<Guarded, TcpStream> {
    let Some(of_address) = limits.per_address.hold(peer.ip()) else { return Err(stream) };
    let Some(connection) = limits.connections.hold(1) else { return Err(stream) };
    if !inherits {
        let _ = stream.set_nodelay(true);
    }
    Ok(Guarded::new(stream, limits.stall_timeout, connection, of_address))
}

/// Says why, without waiting: whoever does not take it at once has lost it.
fn refuse(stream: &TcpStream, peer: SocketAddr) {
    const BODY: &str = r#"{"Error":"too many connections, try again in a while"}"#;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json; charset=utf-8\r\n\
         X-Socket2Me-Error: server-busy\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    tracing::debug!(%peer, "too many connections: one more is refused");
    let _ = stream.try_write(answer.as_bytes());
}

/// Ready when no request was served and nothing written for so long, or half as long again.
async fn silence(activity: &Activity, timeout: Duration) {
    let mut quiet_halves = 0;
    // The first head has its whole time and no more.
    tokio::time::sleep(timeout / 2).await;
    loop {
        let has_written = activity.has_written.swap(false, Ordering::Relaxed);
        let is_busy = [&activity.is_serving, &activity.is_writing].iter().any(|busy| busy.load(Ordering::Relaxed));
        quiet_halves = if is_busy || has_written { 0 } else { quiet_halves + 1 };
        if quiet_halves == 2 {
            return;
        }
        tokio::time::sleep(timeout / 2).await;
    }
}

async fn connection<H, F>(
    stream: Guarded,
    peer: SocketAddr,
    handler: H,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) where
    H: Fn(Request<Incoming>, SocketAddr) -> F,
    F: Future<Output = Reply> + Send,
{
    let activity = stream.activity();
    let service = service_fn(|request| {
        activity.is_serving.store(true, Ordering::Relaxed);
        handler(request, peer).map(|reply| {
            if reply.status() == StatusCode::SWITCHING_PROTOCOLS {
                activity.is_switching.store(true, Ordering::Relaxed);
            }
            activity.is_serving.store(false, Ordering::Relaxed);
            Ok::<_, Infallible>(reply)
        })
    });
    let mut builder = http1::Builder::new();
    // hyper would make a timer for each request, and throw it away with the next.
    builder.header_read_timeout(None).max_buf_size(limits.max_head.max(SMALLEST_HEAD));
    if limits.max_headers != HEADERS_ON_STACK {
        builder.max_headers(limits.max_headers);
    }
    let head_timeout = limits.head_timeout;
    drop(limits);
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = silence(&activity, head_timeout) => {
            tracing::debug!(%peer, "connection closed: no head in time");
            return;
        }
        () = async { drop(stopped.wait_for(|&stopped| stopped).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "connection failed");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_have_their_options_from_their_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        socket2::SockRef::from(&listener).set_tcp_nodelay(true).unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        assert!(listener.accept().await.unwrap().0.nodelay().unwrap());
    }
}
