//! A listener whose connections say something before their first request: who they are, and that they may.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use super::budget::{Budget, Exempt, PerAddress};
use super::connection::Connection;
use super::http_connection::HttpConnection;
use super::http1;
use super::seldom::warn_seldom;
use super::serving::{Handler, Limits};
use super::socket::{self, OF_SERVERS, Place, Socket};
#[cfg(feature = "tls")]
use super::tls::{Greeting, Speaks};

/// How long open connections may take to finish once the server stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause after a connection could not be accepted. The usual reason, no file descriptors left, takes time to pass.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What greetings may take.
#[derive(Debug, Clone)]
pub(crate) struct Greetings {
    /// How many connections may be at it. One more is closed.
    pub(crate) places: Arc<Budget>,
    /// Time for the handshake of TLS and the greeting together. Beyond it the connection is closed.
    pub(crate) timeout: Duration,
}

/// Serves connections until `stop` completes, then lets the open ones finish their requests, for two seconds at the most.
///
/// `greet` has each connection before its first request. It returns the connection with the handler of its requests, or nothing if
/// the connection is to be closed; it says why in the log. Connections of one address have no limit of their own.
pub(crate) async fn serve<H, F>(
    listener: TcpListener,
    greet: impl Fn(Connection, SocketAddr) -> F + Send + Sync + 'static,
    (limits, greetings): (Limits, Greetings),
    stop: impl Future<Output = ()>,
) where
    H: Handler,
    F: Future<Output = Option<(Connection, H)>> + Send + 'static,
{
    let (stopping, stopped) = watch::channel(false);
    let addresses = PerAddress::new(usize::MAX, Exempt::default());
    let greet = Arc::new(greet);
    tokio::pin!(stop);
    loop {
        let (stream, peer) = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn_seldom!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let (Some(of_address), Some(connection), Some(greeting)) =
            (addresses.hold(peer.ip()), limits.connections.hold(1), greetings.places.hold(1))
        else {
            warn_seldom!(%peer, "too many connections: one more is closed");
            continue;
        };
        let _ = socket::prepare(&stream, OF_SERVERS);
        let place = Place { connection, of_address, hits: Arc::clone(&limits.hits) };
        let socket = Socket::new(stream, limits.stall_timeout, place);
        let (greet, limits, timeout) = (Arc::clone(&greet), limits.clone(), greetings.timeout);
        let stopped = stopped.clone();
        drop(tokio::spawn(async move {
            // In a box, so that a connection that lives for hours has no memory for its beginning.
            let greeted = Box::pin(greeted(socket, peer, &*greet, (&limits, timeout), stopped.clone())).await;
            drop((greeting, greet));
            if let Some((connection, handler)) = greeted {
                let stream = HttpConnection::new(connection, Arc::clone(&limits.head_memory), limits.head_timeout);
                http1::connection(stream, peer, Arc::new(handler), limits, stopped).await;
            }
        }));
    }
    drop((listener, stopped));
    let _ = stopping.send(true);
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, stopping.closed()).await;
}

/// Brings a connection to its first request. `None` if it is to be closed.
async fn greeted<H, F: Future<Output = Option<(Connection, H)>>>(
    socket: Socket,
    peer: SocketAddr,
    greet: &impl Fn(Connection, SocketAddr) -> F,
    (limits, timeout): (&Limits, Duration),
    mut stopped: watch::Receiver<bool>,
) -> Option<(Connection, H)> {
    let greeting = async { greet(secured(socket, limits, timeout).await?, peer).await };
    tokio::select! {
        greeted = tokio::time::timeout(timeout, greeting) => greeted.unwrap_or_else(|_| {
            warn_seldom!(%peer, "a connection does not greet in time");
            None
        }),
        () = async { drop(stopped.wait_for(|&stopped| stopped).await) } => None,
    }
}

/// Completes the handshake of TLS, if the listener speaks it. `None` if that fails.
#[cfg(feature = "tls")]
async fn secured(socket: Socket, limits: &Limits, timeout: Duration) -> Option<Connection> {
    let Some(tls) = &limits.tls else { return Some(Connection::plain(socket)) };
    match tls.greet(socket, timeout).await {
        Greeting::Tls(stream, Speaks::Http1) => Some(Connection::tls(stream)),
        Greeting::Tls(_, Speaks::Http2) | Greeting::Plain(_) | Greeting::Challenge | Greeting::Over => None,
    }
}

#[cfg(not(feature = "tls"))]
async fn secured(socket: Socket, _: &Limits, _: Duration) -> Option<Connection> {
    Some(Connection::plain(socket))
}
