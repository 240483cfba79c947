//! The socket of a connection: it keeps the connection's places, and fails when its peer does not read.

use std::io::{self, Read as _};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt as _;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::budget::{AddressSlot, Held};
use super::buffers::Buffer;
use super::hits::Hits;
use crate::proto::limit::Limit;

/// Bytes that a peer must read, or send of a body, for each second of the stall timeout. A peer below this rate counts as
/// stalled; the slowest modem line is faster.
pub const MIN_BYTES_PER_SECOND: u64 = 1 << 10;

/// A head and body of up to this many bytes together, in bytes, are copied into one piece: `send` costs the kernel less than
/// `writev`. Measured in pairs: a small GET with 1 tunnel took 0.98 of the time (15 pairs, 14 of them below 1, 0.96 to 1.02),
/// with 100 tunnels 0.99 (15 pairs, 9 of them below 1).
const JOINED: usize = 4 << 10;

/// The places of a connection among all connections and among those of its address, and where its limits are counted.
#[derive(Debug)]
pub struct Place {
    /// Its place among all connections.
    pub connection: Held,
    /// Its place among those of its peer's address.
    pub of_address: AddressSlot,
    /// Counts the limits that its peer hits.
    pub hits: Arc<Hits>,
}

/// The socket of a connection that this process accepted, below TLS.
///
/// A write fails with [`io::ErrorKind::TimedOut`] once the peer has read less than [`MIN_BYTES_PER_SECOND`] for the stall
/// timeout.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    stall: Stall,
    place: Place,
    /// The runtime believes that there is nothing to read, and there may be: see [`Self::poll_gone`].
    may_have_unread: bool,
}

impl Socket {
    /// Wraps an accepted connection.
    pub(super) fn new(stream: TcpStream, stall_timeout: Duration, place: Place) -> Self {
        let stall = Stall { timeout: stall_timeout, window: None, written: 0, waiting: false, is_counted: false };
        Self { stream, stall, place, may_have_unread: false }
    }

    /// Counts that the peer has hit a limit.
    pub(super) fn hit(&self, limit: Limit) {
        self.place.hits.hit(limit);
    }

    /// Chooses how the connection ends when it is dropped: with a reset, which no peer takes for an orderly end and which loses what
    /// the peer has not read, or as connections do.
    pub(super) fn reset_when_dropped(&self, resets: bool) {
        let _ = SockRef::from(&self.stream).set_linger(resets.then_some(Duration::ZERO));
    }

    /// Makes writes wait while more than 128 KiB are not on their way to the peer, so that what is written later is not behind
    /// megabytes in the system's buffer. On Linux only.
    pub(super) fn keep_few_unsent(&self) {
        #[cfg(any(target_os = "android", target_os = "linux"))]
        let _ = SockRef::from(&self.stream).set_tcp_notsent_lowat(crate::defaults::UNSENT);
    }

    /// Completes when the peer has closed its sending half or reset the connection, although bytes that it sent before are not
    /// read. On Linux, and where the system tells of it otherwise.
    ///
    /// The runtime wakes a task for bytes and for the end in the same way, and not again while bytes wait. So it is told that the
    /// bytes were read, and [`AsyncRead`] looks for them without asking it.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if ready!(self.stream.poll_read_ready(cx)).is_err() {
                return Poll::Ready(());
            }
            let ready = self.stream.ready(Interest::READABLE).now_or_never();
            if ready.is_some_and(|ready| ready.is_ok_and(Ready::is_read_closed)) {
                return Poll::Ready(());
            }
            let _ = self.stream.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            self.may_have_unread = true;
        }
    }

    /// Returns the first byte that the peer sends, which is read again with the others. `None` if it sends nothing and leaves.
    #[cfg(feature = "tls")]
    pub(super) async fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let peeked = self.stream.peek(&mut byte).await?;
        Ok((peeked > 0).then_some(byte[0]))
    }

    /// Reads from the socket although the runtime believes that there is nothing. `None` if that is so.
    fn read_unread(&self, buffer: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
        let read = (&*SockRef::from(&self.stream)).read(buffer.initialize_unfilled());
        match read {
            Ok(bytes) => {
                buffer.advance(bytes);
                Some(Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(Err(error)),
        }
    }

    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.stall.watch(cx, written, &self.place.hits)
    }
}

/// TCP keep-alive: idle time before the first probe, pause between probes, and how many of them may stay without an answer.
pub(crate) type KeepAlive = (Duration, Duration, u32);

/// Between servers: a machine that is gone is noticed within 30 s.
pub(crate) const OF_SERVERS: KeepAlive = (Duration::from_secs(15), Duration::from_secs(5), 3);

/// For visitors and ends: a machine that is gone is noticed within 90 s. Only upgraded connections and event streams are silent for so
/// long that a probe is sent: others speak more often, or are closed (`--head-timeout`).
pub(crate) const OF_CLIENTS: KeepAlive = (Duration::from_secs(60), Duration::from_secs(10), 3);

/// Sets what holds for each connection: what is written is not held back for more to come, and the system notices that the machine at
/// the other end of a silent connection is gone. The connection then fails.
///
/// # Errors
/// When the system has no such options.
pub(crate) fn prepare<'s>(socket: impl Into<SockRef<'s>>, (after, pause, questions): KeepAlive) -> io::Result<()> {
    let socket = socket.into();
    socket.set_tcp_nodelay(true)?;
    let keep_alive = socket2::TcpKeepalive::new().with_time(after).with_interval(pause).with_retries(questions);
    socket.set_tcp_keepalive(&keep_alive)
}

/// Measures how fast the peer reads. A window of `timeout` opens when a write has to wait; at its end the peer must have
/// read enough, or the connection fails.
#[derive(Debug)]
struct Stall {
    timeout: Duration,
    window: Option<Pin<Box<Sleep>>>,
    /// Bytes written in this window.
    written: usize,
    /// The last write had to wait.
    waiting: bool,
    /// The peer was counted as one that stalls.
    is_counted: bool,
}

impl Stall {
    fn watch(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
        hits: &Hits,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(result) => {
                self.waiting = false;
                self.written = self.written.saturating_add(*result.as_ref().unwrap_or(&0));
                Poll::Ready(result)
            }
            Poll::Pending => self.wait(cx, hits),
        }
    }

    /// Continues the open window: a peer that reads a byte now and then gets no new one for it.
    fn wait(&mut self, cx: &mut Context<'_>, hits: &Hits) -> Poll<io::Result<usize>> {
        let timeout = self.timeout;
        let window = self.window.get_or_insert_with(|| {
            self.written = 0;
            Box::pin(tokio::time::sleep(timeout))
        });
        while window.as_mut().poll(cx).is_ready() {
            if self.waiting && self.written < min_bytes_in(timeout) {
                if !mem::replace(&mut self.is_counted, true) {
                    hits.hit(Limit::StallTimeout);
                }
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")));
            }
            self.written = 0;
            window.as_mut().reset(Instant::now() + timeout);
        }
        self.waiting = true;
        Poll::Pending
    }
}

/// Returns the bytes that must move in this time, at least one.
pub(crate) fn min_bytes_in(time: Duration) -> usize {
    usize::try_from(time.as_secs().saturating_mul(MIN_BYTES_PER_SECOND)).unwrap_or(usize::MAX).max(1)
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.may_have_unread {
            if let Some(read) = self.read_unread(buffer) {
                return Poll::Ready(read);
            }
            self.may_have_unread = false;
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buffer);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        let stream = Pin::new(&mut self.stream);
        let written = if length <= JOINED {
            let mut joined = Buffer::take();
            buffers.iter().for_each(|buffer| joined.extend_from_slice(buffer));
            stream.poll_write(cx, &joined)
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
pub(super) mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::connection::Connection;
    use super::super::connection::tests::pair;
    use super::*;

    /// Returns the bytes that the system keeps beyond what is on its way.
    #[cfg(target_os = "linux")]
    pub(in crate::net) fn unsent_limit(connection: &Connection) -> u32 {
        SockRef::from(&connection.socket().stream).tcp_notsent_lowat().unwrap()
    }

    /// Returns when the system asks whether a connection's peer is there. `None` if it never does.
    #[cfg(target_os = "linux")]
    pub(in crate::net) fn keep_alive_of(connection: &Connection) -> Option<KeepAlive> {
        let socket = SockRef::from(&connection.socket().stream);
        let times = (socket.tcp_keepalive_time(), socket.tcp_keepalive_interval(), socket.tcp_keepalive_retries());
        socket.keepalive().unwrap().then(|| (times.0.unwrap(), times.1.unwrap(), times.2.unwrap()))
    }

    /// Time is paused: it moves on when nothing else does.
    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_given_up() {
        let (mut connection, _peer) = pair().await;
        let started = Instant::now();
        let error = connection.write_all(&vec![0; 64 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() < Duration::from_secs(61), "{:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_drop_by_drop_is_given_up() {
        let (mut connection, mut peer) = pair().await;
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
            result = connection.write_all(&data) => result.unwrap_err(),
            () = reading => unreachable!("it does not end"),
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
