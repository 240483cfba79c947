//! One accepted connection, as its handlers read and write it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
#[cfg(feature = "tls")]
use tokio_rustls::server::TlsStream;

use super::socket::Socket;
use crate::proto::limit::Limit;

/// A connection that this process accepted.
///
/// Over TLS, what was written may wait to leave until the connection is flushed. A plain one has nothing to flush.
///
/// A write fails with [`io::ErrorKind::TimedOut`] once the peer has read less than
/// [`MIN_BYTES_PER_SECOND`](super::socket::MIN_BYTES_PER_SECOND) for the stall timeout.
#[derive(Debug)]
pub struct Connection(Transport);

/// What bytes of a connection go through.
#[derive(Debug)]
enum Transport {
    Plain(Socket),
    /// In a box: it is larger than all else of a connection.
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream<Socket>>),
}

impl Connection {
    /// Wraps an accepted connection.
    #[must_use]
    pub(super) fn plain(socket: Socket) -> Self {
        Self(Transport::Plain(socket))
    }

    /// Wraps an accepted connection after its handshake.
    #[cfg(feature = "tls")]
    pub(super) fn tls(stream: Box<TlsStream<Socket>>) -> Self {
        Self(Transport::Tls(stream))
    }

    /// Returns the socket that sends and receives the connection's bytes.
    pub(super) fn socket(&self) -> &Socket {
        match &self.0 {
            Transport::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Returns whether nobody on the way can read the connection's bytes.
    pub(super) fn is_tls(&self) -> bool {
        match &self.0 {
            Transport::Plain(_) => false,
            #[cfg(feature = "tls")]
            Transport::Tls(_) => true,
        }
    }

    /// Counts that the peer has hit a limit.
    pub(super) fn hit(&self, limit: Limit) {
        self.socket().hit(limit);
    }

    /// Chooses how the connection ends when it is dropped: with a reset, which no peer takes for an orderly end and which loses what
    /// the peer has not read, or as connections do.
    pub(super) fn reset_when_dropped(&self, resets: bool) {
        self.socket().reset_when_dropped(resets);
    }

    /// Makes writes wait while more than 128 KiB are not on their way to the peer, so that what is written later is not behind
    /// megabytes in the system's buffer. On Linux only.
    pub(super) fn keep_few_unsent(&self) {
        self.socket().keep_few_unsent();
    }

    /// Completes when the peer has closed its sending half or reset the connection, although bytes that it sent before are not
    /// read. On Linux, and where the system tells of it otherwise.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Transport::Plain(socket) => socket.poll_gone(cx),
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => stream.get_mut().0.poll_gone(cx),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Transport::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Transport::Plain(socket) => Pin::new(socket).poll_write(cx, buffer),
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, buffer),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Transport::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, buffers),
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Transport::Plain(socket) => socket.is_write_vectored(),
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Transport::Plain(socket) => Pin::new(socket).poll_flush(cx),
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Transport::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpStream};

    use super::super::budget::{Budget, Exempt, PerAddress};
    use super::super::socket::Place;
    use super::*;

    /// A connection and its peer.
    pub(in crate::net) async fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, address) = listener.accept().await.unwrap();
        let place = Place {
            connection: Budget::new(1).hold(1).unwrap(),
            of_address: PerAddress::new(1, Exempt::default()).hold(address.ip()).unwrap(),
            hits: Arc::default(),
        };
        (Connection::plain(Socket::new(stream, Duration::from_secs(30), place)), peer)
    }
}
