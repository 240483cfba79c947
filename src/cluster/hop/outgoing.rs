//! The body of a request to another node.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::FutureExt as _;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

use super::trailers;
use crate::net::body::TakenBody;

/// The body of a request to another node.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// It is in memory. Empty once it was handed out.
    Whole(Bytes),
    /// It is the visitor's.
    Streamed(Streamed),
}

/// A visitor's body, which is not touched before the callee asks for it.
#[derive(Debug)]
pub(super) struct Streamed {
    body: Gate,
    /// Its length in bytes, if the visitor has told that.
    length: Option<u64>,
    sending: Sending,
}

/// How much of a request's body is sent, and what the connection carries after an upgrade. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sending(Arc<Progress>);

#[derive(Debug, Default)]
struct Progress {
    stage: AtomicU8,
    /// Bytes for the other node, and from it after an upgrade.
    sent: AtomicU64,
    received: AtomicU64,
}

/// The callee has not asked for the body.
const NOT_BEGUN: u8 = 0;
/// The callee has asked for it.
const BEGUN: u8 = 1;
/// All of it is in hyper's hands.
const SENT: u8 = 2;

impl Sending {
    /// Returns what is said of a body in memory, of this length in bytes.
    pub(super) fn whole(length: usize) -> Self {
        let sending = Self::default();
        sending.carried(length, 0);
        sending.end();
        sending
    }

    /// Returns whether some of the body is or may be sent.
    pub(super) fn is_begun(&self) -> bool {
        self.0.stage.load(Ordering::Relaxed) != NOT_BEGUN
    }

    /// Returns whether all of the body is sent.
    pub(super) fn is_sent(&self) -> bool {
        self.0.stage.load(Ordering::Relaxed) == SENT
    }

    /// The callee has asked for the body.
    pub(super) fn begin(&self) {
        self.0.stage.store(BEGUN, Ordering::Relaxed);
    }

    fn end(&self) {
        self.0.stage.store(SENT, Ordering::Relaxed);
    }

    /// Counts bytes for the other node, and from it after an upgrade.
    pub(super) fn carried(&self, sent: usize, received: usize) {
        self.0.sent.fetch_add(sent as u64, Ordering::Relaxed);
        self.0.received.fetch_add(received as u64, Ordering::Relaxed);
    }

    /// Returns the bytes for the other node so far, and those from it after an upgrade.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.0.sent.load(Ordering::Relaxed), self.0.received.load(Ordering::Relaxed))
    }
}

#[derive(Debug)]
enum Gate {
    /// The callee has not asked for the body.
    Closed(oneshot::Receiver<TakenBody>),
    Open(TakenBody),
    /// The callee will not ask for it.
    Never,
    /// It has ended.
    Over,
}

impl Streamed {
    /// Returns a body that comes once the callee asks for it, and what is told of it.
    pub(super) fn new(body: oneshot::Receiver<TakenBody>, length: Option<u64>) -> (Self, Sending) {
        let sending = Sending::default();
        (Self { body: Gate::Closed(body), length, sending: sending.clone() }, sending)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        loop {
            match &mut self.body {
                Gate::Closed(body) => match ready!(body.poll_unpin(cx)) {
                    Ok(body) => self.body = Gate::Open(body),
                    Err(_) => self.body = Gate::Never,
                },
                Gate::Open(body) => {
                    let mut frame = ready!(Pin::new(&mut *body).poll_frame(cx));
                    if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
                        self.sending.carried(data.len(), 0);
                    }
                    let trailers = frame.as_mut().and_then(|frame| frame.as_mut().ok()?.trailers_mut());
                    let is_trailers = trailers.is_some();
                    if let Some(trailers) = trailers {
                        *trailers = trailers::pack(trailers);
                    }
                    if is_trailers {
                        // hyper asks for nothing after trailers, and the body has ended only once it has said so.
                        let _ = Pin::new(&mut *body).poll_frame(cx);
                    }
                    if frame.is_none() || is_trailers || body.is_end_stream() {
                        self.sending.end();
                        self.body = Gate::Over;
                    }
                    return Poll::Ready(frame);
                }
                // That it never comes is no end: the request would look whole.
                Gate::Never => return Poll::Pending,
                Gate::Over => return Poll::Ready(None),
            }
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Streamed(streamed) => streamed.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Streamed(streamed) => matches!(streamed.body, Gate::Over),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streamed(streamed) => streamed.length.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
