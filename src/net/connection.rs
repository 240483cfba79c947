//! A connection that keeps its place among all connections, and ends when its peer does not read.

use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::budget::{Held, Place};
use super::buffers;

/// What a peer must read, or bring, in each second of a stall. Less than the slowest line that anybody has.
pub(crate) const MIN_BYTES_PER_SECOND: u64 = 1 << 10;

/// So many bytes are copied together more cheaply than the system takes them in pieces.
const JOINED: usize = 4 << 10;

/// What a connection does, for whoever waits for its next request.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// A request is being served.
    pub(crate) is_serving: AtomicBool,
    /// Something was written since this was looked at.
    pub(crate) has_written: AtomicBool,
    /// Something waits to be written.
    pub(crate) is_writing: AtomicBool,
    /// The next response is the last one: another protocol follows.
    pub(crate) is_switching: AtomicBool,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Guarded {
    stream: TcpStream,
    stall: Stall,
    activity: Arc<Activity>,
    /// The response that switches protocols, which leaves with the first words of the other one.
    held_back: Vec<u8>,
    _connection: Held,
    _of_address: Place,
}

/// How well the peer reads. A window of time opens when it does not; at its end the peer must have read enough, or not be
/// waited for any more.
#[derive(Debug)]
struct Stall {
    timeout: Duration,
    window: Option<Pin<Box<Sleep>>>,
    written: usize,
    waiting: bool,
}

impl Guarded {
    pub(crate) fn new(stream: TcpStream, stall_timeout: Duration, connection: Held, of_address: Place) -> Self {
        Self {
            stream,
            stall: Stall { timeout: stall_timeout, window: None, written: 0, waiting: false },
            activity: Arc::default(),
            held_back: Vec::new(),
            _connection: connection,
            _of_address: of_address,
        }
    }
}

impl Guarded {
    pub(crate) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    /// What still has to be written before the other protocol's first words.
    pub(crate) fn switch(&mut self) -> Vec<u8> {
        self.activity.is_switching.store(false, Ordering::Relaxed);
        mem::take(&mut self.held_back)
    }

    fn holds_back(&mut self, buffers: &[io::IoSlice<'_>]) -> Option<usize> {
        self.activity.is_switching.load(Ordering::Relaxed).then(|| {
            let before = self.held_back.len();
            buffers.iter().for_each(|buffer| self.held_back.extend_from_slice(buffer));
            self.held_back.len() - before
        })
    }

    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_pending() {
            self.activity.is_writing.store(true, Ordering::Relaxed);
        } else {
            self.activity.is_writing.store(false, Ordering::Relaxed);
            self.activity.has_written.store(true, Ordering::Relaxed);
        }
        self.stall.watch(cx, written)
    }
}

impl Stall {
    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(result) => {
                self.waiting = false;
                self.written = self.written.saturating_add(*result.as_ref().unwrap_or(&0));
                Poll::Ready(result)
            }
            Poll::Pending => self.wait(cx),
        }
    }

    /// A peer that reads a byte now and then gets no new window for it.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let timeout = self.timeout;
        let window = self.window.get_or_insert_with(|| {
            self.written = 0;
            Box::pin(tokio::time::sleep(timeout))
        });
        while window.as_mut().poll(cx).is_ready() {
            if self.waiting && self.written < enough(timeout) {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")));
            }
            self.written = 0;
            window.as_mut().reset(Instant::now() + timeout);
        }
        self.waiting = true;
        Poll::Pending
    }
}

/// What must move in this time.
pub(crate) fn enough(time: Duration) -> usize {
    usize::try_from(time.as_secs().saturating_mul(MIN_BYTES_PER_SECOND)).unwrap_or(usize::MAX).max(1)
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(length) = self.holds_back(&[io::IoSlice::new(buffer)]) {
            return Poll::Ready(Ok(length));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, buffer);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(length) = self.holds_back(buffers) {
            return Poll::Ready(Ok(length));
        }
        let length: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        let stream = Pin::new(&mut self.stream);
        let written = if length <= JOINED {
            let mut joined = buffers::lend();
            buffers.iter().for_each(|buffer| joined.extend_from_slice(buffer));
            let written = stream.poll_write(cx, &joined);
            buffers::give_back(joined);
            written
        } else {
            stream.poll_write_vectored(cx, buffers)
        };
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::budget::{Budget, PerAddress};
    use super::*;

    async fn pair() -> (Guarded, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, address) = listener.accept().await.unwrap();
        let place = PerAddress::new(None, 1, Vec::new()).hold(address.ip()).unwrap();
        (Guarded::new(stream, Duration::from_secs(30), Budget::new(1).hold(1).unwrap(), place), peer)
    }

    #[tokio::test]
    async fn the_last_response_before_another_protocol_is_held_back() {
        let (mut guarded, mut peer) = pair().await;
        guarded.write_all(b"first ").await.unwrap();
        guarded.activity().is_switching.store(true, Ordering::Relaxed);
        guarded.write_all(b"HTTP/1.1 101 ").await.unwrap();
        let pieces = [io::IoSlice::new(b"Switching "), io::IoSlice::new(b"Protocols")];
        assert_eq!(guarded.write_vectored(&pieces).await.unwrap(), 19);
        assert_eq!(guarded.switch(), b"HTTP/1.1 101 Switching Protocols");
        guarded.write_all(b"last").await.unwrap();
        drop(guarded);
        let mut read = String::new();
        peer.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "first last");
    }

    /// Time is paused: it moves on when nothing else does.
    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_given_up() {
        let (mut guarded, _peer) = pair().await;
        let started = Instant::now();
        let error = guarded.write_all(&vec![0; 64 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() < Duration::from_secs(61), "{:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_drop_by_drop_is_given_up() {
        let (mut guarded, mut peer) = pair().await;
        let reading = async {
            let mut drop = [0; 64];
            loop {
                tokio::time::sleep(Duration::from_secs(10)).await;
                if peer.read(&mut drop).await.unwrap_or(0) == 0 {
                    std::future::pending::<()>().await;
                }
            }
        };
        let data = vec![0; 64 << 20];
        let error = tokio::select! {
            result = guarded.write_all(&data) => result.unwrap_err(),
            () = reading => unreachable!("it does not end"),
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
