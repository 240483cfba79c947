//! A connection that keeps its place among all connections, ends when its peer does not read, and counts what it gathers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::body;
use super::budget::{Budget, Held, Place};

/// What a peer must read, or bring, in each second of a stall. Less than the slowest line that anybody has.
pub(super) const MIN_BYTES_PER_SECOND: u64 = 1 << 10;

/// A connection.
#[derive(Debug)]
pub(super) struct Guarded {
    stream: TcpStream,
    stall: Stall,
    gathering: Option<Gathering>,
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

/// What was read of a message that is not whole yet. How much of it is the message, and how much its frames' heads, is not
/// known here.
#[derive(Debug)]
struct Gathering {
    /// The memory of all, of which one peer gets a quarter.
    bytes: Arc<Budget>,
    read: usize,
    held: Option<Held>,
}

impl Guarded {
    pub(super) fn new(stream: TcpStream, stall_timeout: Duration, connection: Held, of_address: Place) -> Self {
        Self {
            stream,
            stall: Stall { timeout: stall_timeout, window: None, written: 0, waiting: false },
            gathering: None,
            _connection: connection,
            _of_address: of_address,
        }
    }

    /// From now on, what is read is taken from this budget until [`Self::took_message`].
    pub(super) fn gather(&mut self, bytes: Arc<Budget>) {
        self.gathering = Some(Gathering { bytes, read: 0, held: None });
    }

    /// What was read has become a message, which is counted elsewhere.
    pub(super) fn took_message(&mut self) {
        if let Some(gathering) = &mut self.gathering {
            gathering.read = 0;
            gathering.held = None;
        }
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
pub(super) fn enough(time: Duration) -> usize {
    usize::try_from(time.as_secs().saturating_mul(MIN_BYTES_PER_SECOND)).unwrap_or(usize::MAX).max(1)
}

impl Gathering {
    fn took_in(&mut self, bytes: usize) -> io::Result<()> {
        self.read += bytes;
        if self.read > self.bytes.limit() / 4 {
            self.bytes.refuse();
        } else if body::count(&mut self.held, self.read, &self.bytes) {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::OutOfMemory, "--max-buffered is reached"))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = buffer.filled().len() - before;
        let counted = self.gathering.as_mut().map_or(Ok(()), |gathering| gathering.took_in(read));
        if counted.is_err() {
            // It is over, and what is read from now on is thrown away.
            self.gathering = None;
        }
        Poll::Ready(counted)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buffer);
        self.stall.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.stall.watch(cx, written)
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

    use super::super::budget::PerAddress;
    use super::*;

    async fn pair() -> (Guarded, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, address) = listener.accept().await.unwrap();
        let place = PerAddress::new(None, 1, Vec::new()).hold(address.ip()).unwrap();
        (Guarded::new(stream, Duration::from_secs(30), Budget::new(1).hold(1).unwrap(), place), peer)
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

    #[tokio::test]
    async fn what_gathers_is_counted_until_it_is_a_message() {
        let (mut guarded, mut peer) = pair().await;
        let bytes = Budget::new(400_000);
        guarded.gather(Arc::clone(&bytes));
        peer.write_all(&[0; 60_000]).await.unwrap();
        let mut buffer = vec![0; 60_000];
        guarded.read_exact(&mut buffer).await.unwrap();
        assert_eq!(bytes.used(), 60_000);
        guarded.took_message();
        assert_eq!(bytes.used(), 0);
        peer.write_all(&[0; 110_000]).await.unwrap();
        let error = guarded.read_exact(&mut vec![0; 110_000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
    }
}
