//! A connection while hyper reads requests from it and writes replies to it.
//!
//! hyper reads into a buffer of its own, which grows with what is read, keeps its size for as long as the connection is open,
//! and is not counted. So it is filled in small pieces, a long head counts against a budget, and the connection ends with it.

use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::DropGuard;

use super::budget::{Budget, Memory};
use super::connection::Connection;
use super::turn::Turn;
use crate::proto::limit::Limit;

/// Bytes that one read fetches at the most. hyper's buffer, 8 KiB at first, doubles when a read fills it, so it doubles once.
const READ: usize = (16 << 10) - 1;

/// hyper's buffer doubles when the head no longer fits, so it has room for up to twice the head.
const HEAD_GROWTH: usize = 2;

/// A connection while it speaks HTTP. Nothing that hyper writes while no reply is owed reaches the peer; its status is kept.
#[derive(Debug)]
pub(super) struct HttpConnection {
    connection: Connection,
    turn: Arc<Turn>,
    /// The status of an answer that hyper has made by itself.
    withheld: Option<StatusCode>,
    /// Dropping the connection resets it.
    resets: bool,
    /// Bytes that were read since the last reply was written: of the head that arrives, and perhaps of what follows.
    head: usize,
    /// The memory of the head, until its reply is written. What comes with the end of a head is not counted.
    memory: Memory,
    /// The memory that all heads share.
    budget: Arc<Budget>,
    due: Due,
    /// Tells that the peer has left, when it has or this is dropped. Present once somebody has asked.
    gone: Option<DropGuard>,
}

impl HttpConnection {
    /// Wraps a connection that has no request yet. What its heads take beyond a few kilobytes counts against `budget`.
    ///
    /// A read fails with [`io::ErrorKind::TimedOut`] when no whole head has arrived `timeout` after the reply before.
    pub(super) fn new(connection: Connection, budget: Arc<Budget>, timeout: Duration) -> Self {
        let due = Due { timeout, at: Instant::now() + timeout, timer: None };
        let (turn, memory) = (Arc::default(), Memory::default());
        Self { connection, turn, withheld: None, resets: false, head: 0, memory, budget, due, gone: None }
    }

    /// Returns whose turn it is to write.
    pub(super) fn turn(&self) -> &Arc<Turn> {
        &self.turn
    }

    /// Returns the connection as it is below HTTP. The handlers on it learn nothing more of its peer.
    pub(super) fn into_inner(self) -> Connection {
        self.gone.map(DropGuard::disarm);
        self.connection
    }

    /// Returns whether nobody on the way can read the connection's bytes.
    pub(super) fn is_tls(&self) -> bool {
        self.connection.is_tls()
    }

    /// Returns the status of the answer to a head that was not read to its end: hyper's, 503 where there was no memory for the
    /// head, or 400 where hyper wrote nothing. `None` where a reply is owed or not all written.
    pub(super) fn withheld(&self) -> Option<StatusCode> {
        self.withheld.or_else(|| self.turn.is_nothing_owed().then_some(StatusCode::BAD_REQUEST))
    }

    /// Counts the limit that a head has exceeded, of which hyper says only that there is one.
    pub(super) fn count_large_head(&self, max_head: usize) {
        self.connection.hit(if self.head >= max_head { Limit::Head } else { Limit::Headers });
    }

    /// Returns whether there was no memory for a head.
    pub(super) fn is_out_of_memory(&self) -> bool {
        self.withheld == Some(StatusCode::SERVICE_UNAVAILABLE)
    }

    /// Counts the memory of a head of which more is asked for.
    ///
    /// # Errors
    /// When there is no memory for it.
    fn count_head(&mut self) -> io::Result<()> {
        if self.head > READ {
            self.turn.lengthen();
        }
        if self.memory.resize(self.head * HEAD_GROWTH, &self.budget) {
            return Ok(());
        }
        self.withheld = Some(StatusCode::SERVICE_UNAVAILABLE);
        Err(io::Error::new(io::ErrorKind::OutOfMemory, "there is no memory left for a head of this size"))
    }

    /// Makes the connection one that is reset when it is dropped, as long as its end would look like the end of a reply. It is
    /// reset even if it is the process that ends.
    fn guard_end(&mut self) {
        if self.turn.is_cut() && !mem::replace(&mut self.resets, true) {
            self.connection.reset_when_dropped(true);
        }
    }

    /// hyper has written all. Returns whether the reply is whole, so that its client may see the connection end.
    fn is_end_allowed(&mut self) -> bool {
        if self.resets && !self.turn.is_cut() {
            self.resets = false;
            self.connection.reset_when_dropped(false);
        }
        !self.resets
    }

    /// Looks whether the peer has left, if the handler of the request wants to know. hyper does not look while it neither reads nor
    /// writes.
    fn look_for_peer(&mut self, cx: &mut Context<'_>) {
        let Some(gone) = self.turn.watched() else { return };
        if self.gone.is_none() {
            self.gone = Some(gone.clone().drop_guard());
        }
        if !gone.is_cancelled() && self.connection.poll_gone(cx).is_ready() {
            gone.cancel();
        }
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

/// When the next head must have arrived. One timer serves all heads of a connection; hyper's own is made, registered and removed
/// for each. Measured in pairs: a small GET with 1 tunnel took 0.96 of the time (21 pairs, 20 of them below 1, 0.91 to 1.00), with
/// 100 tunnels 0.98 (15 pairs, 10 of them below 1, 0.91 to 1.05).
#[derive(Debug)]
struct Due {
    timeout: Duration,
    at: Instant,
    /// It may be set for an earlier head; then it is set anew when it fires.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Due {
    /// The next head is awaited from now on. hyper has perhaps asked for its bytes already, and does not ask again before the
    /// task is woken: by a timer that runs, whatever it was set for.
    fn restart(&mut self, cx: &mut Context<'_>) {
        self.at = Instant::now() + self.timeout;
        if self.timer.as_ref().is_none_or(|timer| timer.is_elapsed()) {
            let _ = self.poll(cx);
        }
    }

    /// Ready when a head that is awaited comes too late.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(self.at)));
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= self.at {
                return Poll::Ready(());
            }
            timer.as_mut().reset(self.at);
        }
        Poll::Pending
    }
}

impl AsyncRead for HttpConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let is_nothing_owed = self.turn.is_nothing_owed();
        let is_head = is_nothing_owed && !self.turn.is_arriving();
        if is_head && self.head > 0 {
            self.count_head()?;
        }
        let before = buffer.filled().len();
        let read = if buffer.remaining() <= READ {
            Pin::new(&mut self.connection).poll_read(cx, buffer)
        } else {
            Pin::new(&mut (&mut self.connection).take(READ as u64)).poll_read(cx, buffer)
        };
        if read.is_pending() && is_head {
            ready!(self.due.poll(cx));
            // Otherwise nobody has asked for anything.
            if self.head > 0 {
                self.connection.hit(Limit::HeadTimeout);
            }
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the head of a request comes too late")));
        }
        if read.is_pending() && is_nothing_owed {
            // The body of the request before may have arrived by now, and its reader does not know it yet.
            self.due.restart(cx);
        }
        ready!(read)?;
        if is_head {
            self.head += buffer.filled().len() - before;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for HttpConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        if self.turn.is_nothing_owed() {
            return self.withhold([buffer].into_iter());
        }
        self.guard_end();
        let written = Pin::new(&mut self.connection).poll_write(cx, buffer);
        if written.is_pending() {
            self.look_for_peer(cx);
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.turn.is_nothing_owed() {
            return self.withhold(buffers.iter().map(|buffer| &**buffer));
        }
        self.guard_end();
        let written = Pin::new(&mut self.connection).poll_write_vectored(cx, buffers);
        if written.is_pending() {
            self.look_for_peer(cx);
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.connection).poll_flush(cx);
        // hyper flushes when its own buffer is empty, and TLS may have one, too.
        if flushed.is_ready() && self.turn.flushed(cx) {
            self.head = 0;
            self.memory.clear();
            self.due.restart(cx);
        }
        self.look_for_peer(cx);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The answer in place of the withheld one is still to be written.
        if self.withheld.is_some() || !self.is_end_allowed() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use http::Version;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::super::connection::tests::pair;
    use super::super::reply::Reply;
    use super::super::turn::Outgoing;
    use super::*;

    /// A connection on which a reply is owed, and its peer.
    async fn owing() -> (HttpConnection, TcpStream) {
        let (connection, peer) = pair().await;
        let connection = HttpConnection::new(connection, Budget::new(0), Duration::from_secs(60));
        connection.turn.begin(&http::Extensions::new());
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
        let mut connection = HttpConnection::new(connection, Budget::new(0), Duration::from_secs(60));
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
        drop(Outgoing::reply(Reply::default(), Arc::clone(connection.turn()), Version::HTTP_11));
        connection.write_all(b"the reply, and HTTP/1.1 400 Bad Request").await.unwrap();
        assert_eq!(connection.withheld(), None);
        assert_eq!(read_by(connection, peer).await, "the reply, and HTTP/1.1 400 Bad Request");
    }

    #[tokio::test]
    async fn a_reply_that_is_flushed_is_not_owed() {
        let (mut connection, _peer) = owing().await;
        drop(Outgoing::reply(Reply::default(), Arc::clone(connection.turn()), Version::HTTP_11));
        connection.write_all(b"the reply").await.unwrap();
        connection.flush().await.unwrap();
        connection.write_all(b"HTTP/1.1 414 URI Too Long\r\n\r\n").await.unwrap();
        assert_eq!(connection.withheld(), Some(StatusCode::URI_TOO_LONG));
    }

    /// hyper's buffer doubles with each read that fills it, and keeps its size.
    #[tokio::test]
    async fn no_read_fills_a_buffer_of_more_than_its_first_size() {
        let (mut connection, mut peer) = owing().await;
        peer.write_all(&[b'x'; 60_000]).await.unwrap();
        for size in [8 << 10, 16 << 10, 64 << 10] {
            let read = connection.read(&mut vec![0; size]).await.unwrap();
            assert!((1..=READ).contains(&read), "{read} of {size}");
        }
    }

    /// Time is paused: it moves on when nothing else does.
    #[tokio::test(start_paused = true)]
    async fn the_next_head_is_awaited_once_the_taken_body_of_the_request_before_has_arrived() {
        let (mut connection, mut peer) = owing().await;
        let (turn, timeout) = (Arc::clone(connection.turn()), connection.due.timeout);
        let request = turn.take_body();
        drop(Outgoing::reply(Reply::default(), Arc::clone(&turn), Version::HTTP_11));
        connection.flush().await.unwrap();
        let mut bytes = [0; 10];
        for _ in 0..2 {
            tokio::select! {
                read = connection.read(&mut bytes) => panic!("{read:?} while the body still comes"),
                () = tokio::time::sleep(3 * timeout) => (),
            }
            peer.write_all(b"body").await.unwrap();
            assert_eq!(connection.read(&mut bytes).await.unwrap(), 4);
        }
        let reading = connection.read(&mut bytes);
        tokio::pin!(reading);
        assert!(reading.as_mut().now_or_never().is_none());
        let started = Instant::now();
        // Nothing tells the connection.
        turn.drop_body(request, true);
        assert_eq!(reading.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() <= 2 * timeout, "{:?}", started.elapsed());
        assert_eq!(connection.head, 0, "a body is no head");
    }
}
