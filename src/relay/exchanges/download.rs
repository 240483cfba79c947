//! A response's body on its way from the end to the visitor.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep_until};

use super::exchange::Exchange;
use crate::net::streaming::{Broken, Source};
use crate::proto::exchange::stream::AbortCode;
use crate::relay::code::Code;
use crate::relay::figures::Ending;
use crate::relay::streams::{Down, IDLE, Lease};
use crate::relay::tunnels::Seat;

/// The body of a response that an end streams. It holds the exchange, which is over when this is dropped.
pub(super) struct Download {
    exchange: Exchange,
    lease: Lease,
    _seat: Seat,
    /// Bytes of the announced length that are still to be sent.
    left: Option<u64>,
    /// Ends a body that stalls; `None` for an event stream, which may be silent.
    idle: Option<Pin<Box<Sleep>>>,
    /// What became of the exchange, if that is known.
    ending: Ending,
}

impl Download {
    /// `is_silent` tells whether nothing may come for any time.
    pub(super) fn new(exchange: Exchange, lease: Lease, seat: Seat, length: Option<u64>, is_silent: bool) -> Self {
        let idle = (!is_silent).then(|| Box::pin(sleep_until(Instant::now() + IDLE)));
        // Dropped before its end, it is a visitor's that has left.
        Self { exchange, lease, _seat: seat, left: length, idle, ending: Ending::VisitorLeft }
    }

    /// Ends an exchange whose response has no body: whatever the end sends of one is acknowledged and dropped.
    pub(super) fn without_body(mut self) {
        self.answered();
    }

    fn answered(&mut self) {
        self.ending = Ending::Answered;
        self.lease.done();
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(idle) = &mut self.idle else { return Poll::Pending };
        idle.as_mut().poll(cx)
    }
}

impl Source for Download {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Poll::Ready(down) = self.lease.stream().poll_down(cx) else {
            if self.poll_idle(cx).is_pending() {
                return Poll::Pending;
            }
            self.ending = Ending::Failed(Code::TimedOut);
            self.lease.fail(AbortCode::Timeout);
            return Poll::Ready(Some(Err(Broken)));
        };
        if let Some(idle) = &mut self.idle {
            idle.as_mut().reset(Instant::now() + IDLE);
        }
        Poll::Ready(match down {
            Down::Data(bytes) => {
                self.exchange.streamed(bytes.len());
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(bytes.len() as u64);
                    if *left == 0 {
                        self.answered();
                    }
                }
                Some(Ok(Frame::data(bytes)))
            }
            Down::End(trailers) => {
                self.answered();
                (!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers)))
            }
            Down::Broken(code) => {
                self.ending = Ending::Failed(code_of(code));
                self.lease.done();
                Some(Err(Broken))
            }
            // The session tells these of a WebSocket alone.
            Down::Message { .. } | Down::Close { .. } => Some(Err(Broken)),
        })
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.exchange.ended(self.ending);
        if let Some(bytes) = self.lease.stream().up_bytes() {
            self.exchange.sent(bytes);
        }
    }
}

/// Returns the name of a transfer's failure in the log and the figures.
pub(super) fn code_of(code: AbortCode) -> Code {
    match code {
        AbortCode::Timeout => Code::TimedOut,
        AbortCode::TooLarge => Code::BodyTooLarge,
        AbortCode::TakenOver | AbortCode::LocalGone => Code::Disconnected,
        AbortCode::Stopping => Code::Stopping,
        AbortCode::VisitorGone
        | AbortCode::WindowExceeded
        | AbortCode::ChunkTooLarge
        | AbortCode::OutOfOrder
        | AbortCode::Protocol
        | AbortCode::LocalRefused => Code::Aborted,
    }
}

/// Returns whether a response may be silent for any time: it is a stream of events.
pub(super) fn is_event_stream(status: StatusCode, headers: &http::HeaderMap) -> bool {
    let content_type = headers.get(http::header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    status.is_success() && content_type.get(..17).is_some_and(|start| start.eq_ignore_ascii_case(b"text/event-stream"))
}
