//! Servers and clients on real sockets: what a client sees of replies and requests that take their time.

#[cfg(all(feature = "tls", feature = "server"))]
mod http2;
mod leaving;
mod streaming;
#[cfg(feature = "tls")]
mod tls;
mod upgrades;
mod uploads;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::request::Parts;
use http_body::Frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::arrival::Arrival;
use super::body::RequestBody;
use super::listener::{self, Handler, Limits};
use super::reply::{Reply, ReplyBody};
use super::streaming::{Broken, Source};

/// Waits for something, but not for ever.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.unwrap_or_else(|_| panic!("{what} has not come"))
}

/// A request as a handler gets it.
struct Asked<'r> {
    head: &'r mut Parts,
    body: &'r mut RequestBody,
    arrival: &'r Arrival<'r>,
}

/// Answers requests by a function.
struct Answering<F>(F);

impl<F: for<'r> Fn(Asked<'r>) -> BoxFuture<'r, Reply> + Send + Sync + 'static> Handler for Answering<F> {
    async fn serve(&self, head: &mut Parts, body: &mut RequestBody, arrival: &Arrival<'_>) -> Reply {
        (self.0)(Asked { head, body, arrival }).await
    }
}

/// Starts a server on the current runtime.
async fn start(handler: impl for<'r> Fn(Asked<'r>) -> BoxFuture<'r, Reply> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handler = Arc::new(Answering(handler));
    tokio::spawn(listener::serve(listener, handler, Limits::default(), std::future::pending()));
    address
}

/// A client that writes and reads bytes.
struct Client {
    stream: TcpStream,
    /// What was read and not looked at yet.
    read: Vec<u8>,
}

impl Client {
    async fn connect(to: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(to).await.unwrap(), read: Vec::new() }
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads up to this text, which is included.
    async fn read_to(&mut self, end: &str) -> String {
        let reading = async {
            loop {
                if let Some(at) = memchr::memmem::find(&self.read, end.as_bytes()) {
                    let rest = self.read.split_off(at + end.len());
                    return String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
                }
                let read = self.stream.read_buf(&mut self.read).await;
                assert!(matches!(read, Ok(1..)), "{read:?} after {}", self.read.escape_ascii());
            }
        };
        within(end, reading).await
    }

    /// Reads to the end of the connection, which is orderly or an error.
    async fn read_all(&mut self) -> (Vec<u8>, io::Result<()>) {
        let end = within("the end", self.stream.read_to_end(&mut self.read)).await.map(drop);
        (std::mem::take(&mut self.read), end)
    }
}

/// A source whose frames a test sends.
struct Frames(mpsc::Receiver<Result<Frame<Bytes>, Broken>>);

impl Source for Frames {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.0.poll_recv(cx)
    }
}

/// Sends frames to a [`Frames`]. Dropping it ends the body.
struct Sending(mpsc::Sender<Result<Frame<Bytes>, Broken>>);

impl Sending {
    fn data(&self, data: impl Into<Bytes>) {
        self.0.try_send(Ok(Frame::data(data.into()))).unwrap();
    }

    fn break_off(self) {
        self.0.try_send(Err(Broken)).unwrap();
    }

    /// Completes when the source was dropped.
    async fn is_dropped(&self) {
        within("the source's drop", self.0.closed()).await;
    }
}

/// Returns a streamed body and what sends its frames.
fn streamed(length: Option<u64>) -> (Sending, ReplyBody) {
    let (sender, receiver) = mpsc::channel(16);
    (Sending(sender), ReplyBody::from_source(Box::new(Frames(receiver)), length))
}
