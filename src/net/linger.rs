//! The lingering close: an answer that was given before the whole request was read still arrives.
//!
//! A socket that is closed with bytes unread resets its connection, and a reset takes the answer from a client that is still
//! sending. So the sending half is closed first, and the rest of the request is read and dropped until the client closes too.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

#[cfg(feature = "tls")]
use http_body_util::BodyExt as _;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, timeout_at};

#[cfg(feature = "tls")]
use super::body::RequestBody;
use super::budget::{AddressSlot, Budget, Exempt, Held, PerAddress};
use super::connection::Connection;
use super::http_connection::HttpConnection;
use super::turn::Turn;
use crate::defaults;

/// Bytes that one read drops. They are on the stack for the length of the read.
const READ: usize = 16 << 10;

/// What connections that linger may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections that linger. Beyond, a connection is closed at once, and its client may miss the answer.
    pub connections: Arc<Budget>,
    /// Connections of one address that linger. Beyond, likewise.
    pub per_address: Arc<PerAddress>,
    /// Bytes that one connection may drop; then it is closed.
    pub max_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Budget::new(defaults::MAX_LINGERING),
            per_address: PerAddress::new(defaults::MAX_LINGERING_PER_ADDRESS, Exempt::default()),
            max_bytes: defaults::LINGERING_BYTES,
        }
    }
}

/// The places of a connection that lingers.
#[derive(Debug)]
pub(super) struct Slot {
    _connection: Held,
    _of_address: AddressSlot,
    max_bytes: usize,
}

impl Limits {
    /// Takes a place for a connection, or returns `None` where there is none.
    pub(super) fn place(&self, address: IpAddr) -> Option<Slot> {
        let of_address = self.per_address.hold(address)?;
        let connection = self.connections.hold(1)?;
        Some(Slot { _connection: connection, _of_address: of_address, max_bytes: self.max_bytes })
    }
}

/// Returns a connection that has to linger: the one that hyper left, or the one that it handed over.
pub(super) async fn unread(
    turn: &Turn,
    upgrade: Option<OnUpgrade>,
    left: Option<HttpConnection>,
) -> Option<Connection> {
    if !turn.is_unread() {
        return None;
    }
    let unread = match left {
        Some(left) => left,
        None => upgrade?.await.ok()?.downcast::<TokioIo<HttpConnection>>().ok()?.io.into_inner(),
    };
    Some(unread.into_inner())
}

/// Closes the sending half of a connection, then reads and drops what comes, until the client closes its half, pauses for
/// [`defaults::LINGERING_PAUSE`], has sent too much or has taken [`defaults::LINGERING_TIME`].
pub(super) async fn close(mut stream: impl AsyncRead + AsyncWrite + Unpin, slot: Slot) {
    let end = Instant::now() + defaults::LINGERING_TIME;
    let mut left = slot.max_bytes;
    if stream.shutdown().await.is_err() {
        return;
    }
    loop {
        let until = end.min(Instant::now() + defaults::LINGERING_PAUSE);
        match timeout_at(until, read_and_drop(&mut stream)).await {
            Ok(Ok(bytes)) if bytes > 0 && bytes < left => left -= bytes,
            Ok(_) | Err(_) => return,
        }
    }
}

/// Reads and drops the rest of a body whose request is answered, within the same limits as [`close`] drops bytes.
#[cfg(feature = "tls")]
pub(super) async fn read_rest(mut body: RequestBody, slot: Slot) {
    let end = Instant::now() + defaults::LINGERING_TIME;
    let mut left = slot.max_bytes;
    loop {
        let until = end.min(Instant::now() + defaults::LINGERING_PAUSE);
        let Ok(Some(Ok(frame))) = timeout_at(until, body.frame()).await else { return };
        match left.checked_sub(frame.data_ref().map_or(0, bytes::Bytes::len)) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// Reads some bytes and returns how many they were. No buffer outlives the read.
async fn read_and_drop(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut scratch = [0; READ];
        let mut buffer = ReadBuf::new(&mut scratch);
        Pin::new(&mut *stream).poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, duplex};

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn limits(connections: usize, per_address: usize, max_bytes: usize) -> Limits {
        let per_address = PerAddress::new(per_address, Exempt::default());
        Limits { connections: Budget::new(connections), per_address, max_bytes }
    }

    #[tokio::test]
    async fn the_sending_half_is_closed_first_and_the_rest_dropped_until_the_peer_closes() {
        let (stream, mut peer) = duplex(1 << 10);
        let closing = tokio::spawn(close(stream, limits(1, 1, 1 << 20).place(ADDRESS).unwrap()));
        assert_eq!(peer.read(&mut [0; 1]).await.unwrap(), 0, "the answer is complete");
        peer.write_all(&[0; 100 << 10]).await.unwrap();
        drop(peer);
        closing.await.unwrap();
    }

    #[tokio::test]
    async fn no_more_is_dropped_than_the_limit() {
        let (stream, mut peer) = duplex(1 << 10);
        tokio::spawn(close(stream, limits(1, 1, 64 << 10).place(ADDRESS).unwrap()));
        assert!(peer.write_all(&[0; 100 << 10]).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_pauses_or_takes_too_long_is_closed() {
        let (stream, _silent) = duplex(1 << 10);
        let started = Instant::now();
        close(stream, limits(1, 1, 1 << 20).place(ADDRESS).unwrap()).await;
        assert_eq!(started.elapsed(), defaults::LINGERING_PAUSE);

        let (stream, mut slow) = duplex(1 << 10);
        let started = Instant::now();
        let sending = async {
            while slow.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::join!(close(stream, limits(1, 1, 1 << 20).place(ADDRESS).unwrap()), sending);
        assert!(started.elapsed() <= defaults::LINGERING_TIME + Duration::from_secs(1), "{:?}", started.elapsed());
    }

    #[test]
    fn places_are_counted_by_address_and_in_all() {
        let by_address = limits(2, 1, 1);
        let held = by_address.place(ADDRESS);
        assert!(held.is_some() && by_address.place(ADDRESS).is_none());
        drop(held);
        assert!(by_address.place(ADDRESS).is_some());
        let in_all = limits(1, 2, 1);
        let held = in_all.place(ADDRESS);
        assert!(held.is_some() && in_all.place(ADDRESS).is_none());
    }
}
