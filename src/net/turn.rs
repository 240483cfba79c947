//! Whose turn it is to write on a connection: a reply's, or hyper's own.
//!
//! hyper answers a head that it cannot read by itself, without a body and without asking. While no reply is owed, whatever
//! hyper writes is such an answer, so [`HttpConnection`](super::http_connection::HttpConnection) can tell it from a reply by
//! the turn alone.
//!
//! A streamed reply may break off. It fails in hyper's hands only once all that came before is written: hyper forgets what it has
//! not written when a body fails. Where the end of the connection is the end of the reply, in HTTP/1.0, the connection is
//! [reset](Turn::is_cut) unless the reply is whole.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Extensions, Response, Version, header};
use http_body::{Body, Frame, SizeHint};
use hyper::upgrade::OnUpgrade;
use tokio_util::sync::CancellationToken;

use super::reply::{Reply, ReplyBody};
use super::streaming::Broken;

/// All requests so far are answered, and the answers are written.
const NOTHING_OWED: u8 = 0;
/// A request waits for its reply, or hyper takes the reply's body.
const OWED: u8 = 1;
/// hyper has the whole reply, and perhaps has not written all of it.
const HANDED_OVER: u8 = 2;
/// The rest of a streamed reply will never come, and hyper has perhaps not written all that came.
const BREAKING: u8 = 3;
/// The rest of a streamed reply will never come, and all that came is written.
const BROKEN: u8 = 4;

/// Whose turn it is to write on a connection, and what its last request leaves behind. The connection's task uses it, and the task
/// that has taken the body of a request.
#[derive(Debug, Default)]
pub(super) struct Turn {
    state: AtomicU8,
    /// The number of the last request; 0 before the first.
    request: AtomicU32,
    /// The request whose body was taken and may still arrive when its reply is written; 0 for none.
    taken: AtomicU32,
    /// The latest request whose body is not read to its end; 0 for none.
    unread: AtomicU32,
    /// A head was so long that the buffer in which hyper read it must not outlive its request.
    has_long_head: AtomicBool,
    /// The end of the connection will be the end of the reply, and the reply is not whole.
    is_cut: AtomicBool,
    /// The request whose handler wants to know when the peer has left; 0 for none.
    watched: AtomicU32,
    /// Cancelled once the peer has left. Made when somebody wants to know.
    gone: OnceLock<CancellationToken>,
    /// Gives the connection back if hyper hands it over, as it does when a connection closes on which a request ever asked for
    /// an upgrade, whatever the reply was.
    upgrade: Mutex<Option<OnUpgrade>>,
}

impl Turn {
    /// Returns the turn of one request that shares its connection with others. `gone` is cancelled once its peer has left.
    #[cfg(feature = "tls")]
    pub(super) fn of_stream(gone: CancellationToken) -> Arc<Self> {
        Arc::new(Self { gone: gone.into(), ..Self::default() })
    }

    /// A request has arrived. The latest that asked for an upgrade gets the connection.
    pub(super) fn begin(&self, request: &Extensions) {
        self.owe();
        self.request.store(self.request().wrapping_add(1), Ordering::Relaxed);
        if let Some(upgrade) = request.get::<OnUpgrade>() {
            *self.upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some(upgrade.clone());
        }
    }

    /// A reply is owed: a request has arrived.
    pub(super) fn owe(&self) {
        self.state.store(OWED, Ordering::Relaxed);
    }

    /// Returns the number of the last request.
    fn request(&self) -> u32 {
        self.request.load(Ordering::Relaxed)
    }

    /// The rest of the last request's body will not be read: its reply is the connection's last.
    pub(super) fn leave_unread(&self) {
        self.unread.store(self.request(), Ordering::Relaxed);
    }

    /// Returns whether the rest of the last request's body will not be read.
    pub(super) fn is_unread(&self) -> bool {
        let unread = self.unread.load(Ordering::Relaxed);
        unread != 0 && unread == self.request()
    }

    /// The body of the last request was taken. Returns the number of that request.
    pub(super) fn take_body(&self) -> u32 {
        let request = self.request();
        self.taken.store(request, Ordering::Relaxed);
        request
    }

    /// The taken body of a request is dropped, after its end or before. The connection may be at a later request by then: hyper
    /// knows of the end before the body's reader does.
    pub(super) fn drop_body(&self, request: u32, is_whole: bool) {
        if !is_whole {
            self.unread.fetch_max(request, Ordering::Relaxed);
        }
        let _ = self.taken.compare_exchange(request, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Returns whether bytes may arrive that belong to the body of the last request.
    pub(super) fn is_arriving(&self) -> bool {
        let taken = self.taken.load(Ordering::Relaxed);
        taken != 0 && taken == self.request()
    }

    /// Returns what is cancelled once the peer has left. The connection looks out for that from its next write or flush on, while it
    /// serves the last request.
    pub(super) fn watch(&self) -> CancellationToken {
        self.watched.store(self.request(), Ordering::Relaxed);
        self.gone.get_or_init(CancellationToken::new).clone()
    }

    /// Returns what is to be cancelled once the peer has left, if the handler of the last request wants to know.
    pub(super) fn watched(&self) -> Option<&CancellationToken> {
        let watched = self.watched.load(Ordering::Relaxed);
        if watched != 0 && watched == self.request() { self.gone.get() } else { None }
    }

    /// A head is long.
    pub(super) fn lengthen(&self) {
        self.has_long_head.store(true, Ordering::Relaxed);
    }

    /// Returns whether a head was long: the reply is the connection's last.
    pub(super) fn has_long_head(&self) -> bool {
        self.has_long_head.load(Ordering::Relaxed)
    }

    /// Takes what gives the connection back if hyper has handed it over.
    pub(super) fn take_upgrade(&self) -> Option<OnUpgrade> {
        self.upgrade.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Nothing is left to write. Returns whether a whole reply was.
    pub(super) fn flushed(&self, cx: &mut Context<'_>) -> bool {
        if self.advance(BREAKING, BROKEN) {
            // hyper has perhaps asked for the reply's failure already, and would not ask again.
            cx.waker().wake_by_ref();
        }
        self.advance(HANDED_OVER, NOTHING_OWED)
    }

    /// Returns whether a client would take the end of the connection for the end of a reply that is not whole.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    /// Fails the body of a reply that breaks off, once hyper has written what came before.
    fn poll_break(&self, cx: &mut Context<'_>) -> Poll<Broken> {
        if self.advance(OWED, BREAKING) {
            // hyper flushes in its next turn at the latest, and asks again.
            cx.waker().wake_by_ref();
        }
        if self.state.load(Ordering::Relaxed) == BREAKING { Poll::Pending } else { Poll::Ready(Broken) }
    }

    /// Returns whether all that was asked for is answered and written.
    pub(super) fn is_nothing_owed(&self) -> bool {
        self.state.load(Ordering::Relaxed) == NOTHING_OWED
    }

    /// Returns whether the state was `from`, and thus is `to` now.
    fn advance(&self, from: u8, to: u8) -> bool {
        let is_from = self.state.load(Ordering::Relaxed) == from;
        if is_from {
            self.state.store(to, Ordering::Relaxed);
        }
        is_from
    }
}

/// A reply's body on its way through hyper, which drops it once it has taken the last byte.
#[derive(Debug)]
pub(super) struct Outgoing {
    body: ReplyBody,
    turn: Arc<Turn>,
    /// Nothing but the end of the connection will be the end of the body, if hyper writes it.
    is_until_close: bool,
}

impl Outgoing {
    /// Hands a reply to a request of this version to hyper.
    pub(super) fn reply(reply: Reply, turn: Arc<Turn>, version: Version) -> Response<Self> {
        // Clients of HTTP/1.1 get chunks where the length is unknown.
        let is_until_close = version < Version::HTTP_11
            && reply.body().is_of_unknown_length()
            && !reply.headers().contains_key(header::CONTENT_LENGTH);
        reply.map(|body| Self { body, turn, is_until_close })
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.turn.advance(OWED, HANDED_OVER);
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        // hyper asks only for what it will write.
        if self.is_until_close {
            self.turn.is_cut.store(true, Ordering::Relaxed);
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Err(Broken)) => return self.turn.poll_break(cx).map(|broken| Some(Err(broken))),
            frame => frame,
        };
        let is_last = frame.as_ref().is_none_or(|frame| frame.as_ref().is_ok_and(Frame::is_trailers));
        if self.is_until_close && is_last {
            self.turn.is_cut.store(false, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
