//! Whose turn it is to write on a connection: a reply's, or hyper's own.
//!
//! hyper answers a head that it cannot read by itself, without a body and without asking. While no reply is owed, whatever
//! hyper writes is such an answer, so [`HttpConnection`](super::http_connection::HttpConnection) can tell it from a reply by
//! the turn alone.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Extensions;
use http_body::{Body, Frame, SizeHint};
use hyper::upgrade::OnUpgrade;

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
    /// A head was so long that the buffer in which hyper read it must not outlive its request.
    has_long_head: AtomicBool,
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
    pub(super) fn owe(&self) {
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

    /// hyper has nothing left to write. Returns whether a reply was.
    pub(super) fn flushed(&self) -> bool {
        self.advance(HANDED_OVER, NOTHING_OWED)
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
