//! The HTTP server: takes connections in, hands requests to a handler, and stops in order.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::reply::Reply;

/// How long a client may take to send the head of a request. It bounds idle connections too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// The largest head of a request.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// How long open connections may take to finish once the server stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A pause after a connection could not be taken in: the usual reason, no file descriptors left, takes time to pass.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves connections until `stop` is ready, then lets the open ones finish what they do, for a short time.
pub async fn serve<H, F>(listener: TcpListener, handler: H, stop: impl Future<Output = ()>)
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let (stopping, stopped) = watch::channel(false);
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    tokio::spawn(connection(stream, peer, handler.clone(), stopped.clone()));
                }
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

async fn connection<H, F>(stream: TcpStream, peer: SocketAddr, handler: H, mut stopped: watch::Receiver<bool>)
where
    H: Fn(Request<Incoming>, SocketAddr) -> F,
    F: Future<Output = Reply> + Send,
{
    // Answers are written whole, so waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let reply = handler(request, peer);
        async move { Ok::<_, Infallible>(reply.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
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
