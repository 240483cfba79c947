//! The HTTP server: accepts connections, hands requests to a handler, and stops in order.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "tls")]
use http::StatusCode;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::connection::Connection;
use super::http_connection::HttpConnection;
use super::http1;
#[cfg(feature = "tls")]
use super::http2;
use super::linger;
use super::proxy_protocol;
use super::seldom::{Seldom, warn_seldom};
pub use super::serving::{Handler, Limits, UnreadHeads, release_head};
use super::socket::{self, OF_CLIENTS, Place, Socket};
#[cfg(feature = "tls")]
use super::tls::{self, Greeting, Speaks, Tls};
use crate::defaults;

/// How long open connections may take to finish once the server stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause after a connection could not be accepted. The usual reason, no file descriptors left, takes time to pass.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves connections until `stop` completes, then lets the open ones finish their requests, for two seconds at the most.
pub async fn serve(listener: TcpListener, handler: Arc<impl Handler>, limits: Limits, stop: impl Future<Output = ()>) {
    let (stopping, stopped) = watch::channel(false);
    tokio::pin!(stop);
    // Responses are written whole, so waiting for more to send would only delay them. On Linux a connection inherits the
    // options from its listener, which saves system calls for each.
    let _ = socket::prepare(&listener, OF_CLIENTS);
    let failures = Seldom::new(defaults::LOG_PAUSE);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if !has_inherited(&stream) {
                        let _ = socket::prepare(&stream, OF_CLIENTS);
                    }
                    match place(&limits, peer) {
                        Some(place) if limits.has_proxy_header(peer) => {
                            drop(tokio::spawn(passed_on(stream, peer, place, Arc::clone(&handler), limits.clone(), stopped.clone())));
                        }
                        Some(place) => {
                            let socket = Socket::new(stream, limits.stall_timeout, place);
                            begin(socket, peer, Arc::clone(&handler), limits.clone(), stopped.clone());
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

/// Returns whether a connection has the options of its listener. One that came before the listener had them has not.
fn has_inherited(stream: &TcpStream) -> bool {
    cfg!(target_os = "linux") && SockRef::from(stream).keepalive().unwrap_or(false)
}

/// Takes a place for a connection, or returns `None` where there is none.
fn place(limits: &Limits, peer: SocketAddr) -> Option<Place> {
    let of_address = limits.per_address.hold(peer.ip())?;
    let connection = limits.connections.hold(1)?;
    Some(Place { connection, of_address, hits: Arc::clone(&limits.hits) })
}

/// Serves a connection that a trusted proxy passes on, as one of the client's.
async fn passed_on(
    mut stream: TcpStream,
    proxy: SocketAddr,
    mut place: Place,
    handler: Arc<impl Handler>,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) {
    let read = tokio::select! {
        read = tokio::time::timeout(limits.head_timeout, proxy_protocol::read(&mut stream)) => read,
        () = async { drop(stopped.wait_for(|&stopped| stopped).await) } => return,
    };
    let peer = match read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        // Nobody's: nothing is believed that comes with it, for the proxy has not written it.
        Ok(client) => client.unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into()),
        Err(error) => {
            warn_seldom!(%proxy, %error, "a trusted proxy does not say whose connection it passes on");
            return;
        }
    };
    // The proxy's own place is none of the client's.
    let Some(of_address) = limits.per_address.hold(peer.ip()) else { return refuse(stream, peer, &limits) };
    place.of_address = of_address;
    begin(Socket::new(stream, limits.stall_timeout, place), peer, handler, limits, stopped);
}

/// Starts the task of a connection.
fn begin(socket: Socket, peer: SocketAddr, handler: Arc<impl Handler>, limits: Limits, stopped: watch::Receiver<bool>) {
    #[cfg(feature = "tls")]
    if let Some(tls) = limits.tls.clone() {
        drop(tokio::spawn(tls_connection(socket, tls, peer, handler, limits, stopped)));
        return;
    }
    drop(tokio::spawn(http1::connection(speaking(Connection::plain(socket), &limits), peer, handler, limits, stopped)));
}

/// Returns a connection that has no request yet.
fn speaking(connection: Connection, limits: &Limits) -> HttpConnection {
    HttpConnection::new(connection, Arc::clone(&limits.head_memory), limits.head_timeout)
}

/// Serves a connection whose handshake is still to come.
#[cfg(feature = "tls")]
async fn tls_connection(
    socket: Socket,
    tls: Tls,
    peer: SocketAddr,
    handler: Arc<impl Handler>,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) {
    // In a box, so that a connection that waits for hours has no memory for its beginning.
    let greeting = Box::pin(async {
        tokio::select! {
            greeting = tls.greet(socket, limits.head_timeout) => greeting,
            () = async { drop(stopped.wait_for(|&stopped| stopped).await) } => Greeting::Over,
        }
    })
    .await;
    drop(tls);
    match greeting {
        Greeting::Tls(stream, Speaks::Http2) => {
            http2::connection(Connection::tls(stream), peer, handler, limits, stopped).await;
        }
        Greeting::Tls(stream, Speaks::Http1) => {
            let stream = speaking(Connection::tls(stream), &limits);
            http1::connection(stream, peer, handler, limits, stopped).await;
        }
        Greeting::Plain(socket) => {
            let error = (limits.error)(StatusCode::BAD_REQUEST, "this port speaks TLS: ask for the same with https://");
            Box::pin(http1::refuse(Connection::plain(socket), peer.ip(), error, &limits)).await;
        }
        Greeting::Challenge | Greeting::Over => (),
    }
}

/// Sends the refusal without waiting: a peer that cannot take it at once does not get it.
fn refuse(stream: TcpStream, peer: SocketAddr, limits: &Limits) {
    tracing::debug!(%peer, "too many connections: one more is refused");
    #[cfg(feature = "tls")]
    let refusal = if limits.tls.is_some() { tls::REFUSAL } else { &limits.refusal };
    #[cfg(not(feature = "tls"))]
    let refusal = &limits.refusal;
    let _ = stream.try_write(refusal);
    // Its request is on the way: closed now, the connection would be reset, and the refusal lost.
    if let Some(slot) = limits.lingering.place(peer.ip()) {
        drop(tokio::spawn(linger::close(stream, slot)));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Keeps lines of the log.
    #[derive(Clone, Default)]
    pub(in crate::net) struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        /// Has this thread's lines, until the guard is dropped.
        pub(in crate::net) fn listen(&self) -> tracing::subscriber::DefaultGuard {
            let lines = self.clone();
            let subscriber = tracing_subscriber::fmt().with_writer(move || lines.clone()).with_ansi(false).finish();
            tracing::subscriber::set_default(subscriber)
        }

        pub(in crate::net) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

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
        let _log = lines.listen();
        let failures = Seldom::new(defaults::LOG_PAUSE);
        for _ in 0..41 {
            log_refused_accept(&failures, &io::Error::other("too many open files"));
            tokio::time::advance(ACCEPT_PAUSE).await;
        }
        let log = lines.text();
        assert_eq!(log.lines().count(), 3, "{log}");
        assert!(log.lines().next_back().is_some_and(|line| line.contains("unlogged=19")), "{log}");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn connections_inherit_the_options_of_their_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _early = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        socket::prepare(&listener, OF_CLIENTS).unwrap();
        let _late = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        for inherits in [false, true] {
            let (stream, _) = listener.accept().await.unwrap();
            assert_eq!((has_inherited(&stream), stream.nodelay().unwrap()), (inherits, inherits));
        }
    }
}
