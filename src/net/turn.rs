//! Whose turn it is to write on a connection: a reply's, or hyper's own.
//!
//! hyper answers a head that it cannot read by itself, without a body and without asking. While no reply is owed, whatever
//! hyper writes is such an answer, so [`HttpConnection`] can tell it from a reply by the turn alone.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Extensions, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::upgrade::OnUpgrade;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;
use super::reply::ReplyBody;

/// All requests so far are answered, and the answers are written.
const NOTHING_OWED: u8 = 0;
/// A request waits for its reply, or hyper takes the reply's body.
const OWED: u8 = 1;
/// hyper has the whole reply, and perhaps has not written all of it.
const HANDED_OVER: u8 = 2;

/// Whose turn it is to write on a connection, and what its last request leaves behind. One task uses it at a time.
#[derive(Debug, Default)]
pub(super) struct Turn {
    state: AtomicU8,
    /// The last request was answered before its body was read.
    is_unread: AtomicBool,
    /// Gives the connection back if hyper hands it over, as it does when a connection closes on which a request ever asked for
    /// an upgrade, whatever the reply was.
    upgrade: Mutex<Option<OnUpgrade>>,
}

impl Turn {
    /// A request has arrived. The latest that asked for an upgrade gets the connection.
    pub(super) fn begin(&self, request: &Extensions) {
        self.owe();
        if let Some(upgrade) = request.get::<OnUpgrade>() {
            *self.upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some(upgrade.clone());
        }
    }

    /// A reply is owed: a request has arrived.
    fn owe(&self) {
        self.state.store(OWED, Ordering::Relaxed);
    }

    /// The request was answered before its body was read: its reply is the connection's last.
    pub(super) fn leave_unread(&self) {
        self.is_unread.store(true, Ordering::Relaxed);
    }

    /// Returns whether the last request was answered before its body was read.
    pub(super) fn is_unread(&self) -> bool {
        self.is_unread.load(Ordering::Relaxed)
    }

    /// Takes what gives the connection back if hyper has handed it over.
    pub(super) fn take_upgrade(&self) -> Option<OnUpgrade> {
        self.upgrade.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// hyper has nothing left to write.
    fn flushed(&self) {
        self.advance(HANDED_OVER, NOTHING_OWED);
    }

    /// Returns whether all that was asked for is answered and written.
    fn is_nothing_owed(&self) -> bool {
        self.state.load(Ordering::Relaxed) == NOTHING_OWED
    }

    fn advance(&self, from: u8, to: u8) {
        if self.state.load(Ordering::Relaxed) == from {
            self.state.store(to, Ordering::Relaxed);
        }
    }
}

/// A reply's body on its way through hyper, which drops it once it has taken the last byte.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) body: ReplyBody,
    pub(super) turn: Arc<Turn>,
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.turn.advance(OWED, HANDED_OVER);
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection while it speaks HTTP. Nothing that hyper writes while no reply is owed reaches the peer; its status is kept.
#[derive(Debug)]
pub(super) struct HttpConnection {
    connection: Connection,
    turn: Arc<Turn>,
    /// The status of an answer that hyper has made by itself.
    withheld: Option<StatusCode>,
}

impl HttpConnection {
    /// Wraps a connection that has no request yet.
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, turn: Arc::default(), withheld: None }
    }

    /// Returns whose turn it is to write.
    pub(super) fn turn(&self) -> &Arc<Turn> {
        &self.turn
    }

    /// Returns the connection as it is below HTTP.
    pub(super) fn into_inner(self) -> Connection {
        self.connection
    }

    /// Returns the status with which hyper would have refused a head: what it wrote, or would have written if it could. `None`
    /// where a reply is owed or not all written, so that the status cannot be told from it.
    pub(super) fn withheld(&self) -> Option<StatusCode> {
        self.withheld.or_else(|| self.turn.is_nothing_owed().then_some(StatusCode::BAD_REQUEST))
    }

    /// Keeps the status of what hyper writes while no reply is owed, and says that all of it was written.
    fn withhold<'b>(&mut self, buffers: impl Iterator<Item = &'b [u8]>) -> Poll<io::Result<usize>> {
        let mut length = 0;
        for buffer in buffers {
            let status = || buffer.get(9..12).and_then(|digits| StatusCode::from_bytes(digits).ok());
            self.withheld = self.withheld.or_else(status).or(Some(StatusCode::BAD_REQUEST));
            length += buffer.len();
        }
        Poll::Ready(Ok(length))
    }
}

impl AsyncRead for HttpConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(cx, buffer)
    }
}

impl AsyncWrite for HttpConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        if self.turn.is_nothing_owed() {
            return self.withhold([buffer].into_iter());
        }
        Pin::new(&mut self.connection).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.turn.is_nothing_owed() {
            return self.withhold(buffers.iter().map(|buffer| &**buffer));
        }
        Pin::new(&mut self.connection).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes when its own buffer is empty.
        self.turn.flushed();
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The answer in place of the withheld one is still to be written.
        if self.withheld.is_some() { Poll::Ready(Ok(())) } else { Pin::new(&mut self.connection).poll_shutdown(cx) }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::super::connection::tests::pair;
    use super::*;

    /// A connection on which a reply is owed, and its peer.
    async fn owing() -> (HttpConnection, TcpStream) {
        let (connection, peer) = pair().await;
        let connection = HttpConnection::new(connection);
        connection.turn.owe();
        (connection, peer)
    }

    /// Returns what the peer reads until the connection is dropped.
    async fn read_by(connection: HttpConnection, mut peer: TcpStream) -> String {
        drop(connection);
        let mut text = String::new();
        peer.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn what_is_written_while_no_reply_is_owed_is_withheld() {
        let (connection, mut peer) = pair().await;
        let mut connection = HttpConnection::new(connection);
        connection.write_all(b"HTTP/1.1 431 Request Header Fields Too Large\r\n\r\n").await.unwrap();
        connection.flush().await.unwrap();
        connection.shutdown().await.unwrap();
        assert_eq!(connection.withheld(), Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        let mut connection = connection.into_inner();
        connection.write_all(b"ours").await.unwrap();
        drop(connection);
        let mut read = String::new();
        peer.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "ours");
    }

    /// hyper may join its own answer to a reply that it has not written yet.
    #[tokio::test]
    async fn what_is_written_before_a_reply_is_flushed_is_not_withheld() {
        let (mut connection, peer) = owing().await;
        let body = ReplyBody::default();
        drop(Outgoing { body, turn: Arc::clone(connection.turn()) });
        connection.write_all(b"the reply, and HTTP/1.1 400 Bad Request").await.unwrap();
        assert_eq!(connection.withheld(), None);
        assert_eq!(read_by(connection, peer).await, "the reply, and HTTP/1.1 400 Bad Request");
    }

    #[tokio::test]
    async fn a_reply_that_is_flushed_is_not_owed() {
        let (mut connection, _peer) = owing().await;
        drop(Outgoing { body: ReplyBody::default(), turn: Arc::clone(connection.turn()) });
        connection.write_all(b"the reply").await.unwrap();
        connection.flush().await.unwrap();
        connection.write_all(b"HTTP/1.1 414 URI Too Long\r\n\r\n").await.unwrap();
        assert_eq!(connection.withheld(), Some(StatusCode::URI_TOO_LONG));
    }
}
