//! The answer of another node on its way to the visitor.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use http_body::Frame;
use hyper::body::Body as _;

use super::exchange::Exchange;
use crate::cluster::hop::{Piped, Sending};
use crate::net::reply::{Reply, ReplyBody};
use crate::net::streaming::{Broken, Source};
use crate::relay::code::Code;
use crate::relay::error_reply::ERROR_HEADER;
use crate::relay::figures::Ending;

/// The answer of another node.
pub(super) struct Passed(pub(super) Reply);

impl Passed {
    /// Ends the exchange with the answer, whose body follows.
    pub(super) fn reply(self, mut exchange: Exchange, is_head: bool) -> Reply {
        let mut reply = self.0;
        let ending = ending(&reply);
        exchange.begin_stream(reply.status());
        let sending = reply.extensions_mut().remove::<Sending>().unwrap_or_default();
        if let Some(piped) = reply.extensions_mut().remove::<Piped>() {
            // The exchange lasts as long as the connection.
            tokio::spawn(async move {
                piped.over().await;
                let (sent, received) = sending.bytes();
                exchange.sent(sent);
                exchange.streamed(usize::try_from(received).unwrap_or(usize::MAX));
                exchange.ended(ending);
            });
            return reply;
        }
        exchange.sent(sending.bytes().0);
        if is_head || reply.body().is_empty() {
            return exchange.answer(reply, ending, is_head);
        }
        let (head, body) = reply.into_parts();
        let length = body.size_hint().exact();
        let passing = Passing { body, exchange, sending, ending, left: length };
        Reply::from_parts(head, ReplyBody::from_source(Box::new(passing), length))
    }
}

/// Returns what an answer of another node means.
fn ending(reply: &Reply) -> Ending {
    let code = reply.headers().get(ERROR_HEADER).and_then(|code| Code::parse(code.to_str().ok()?));
    match code {
        None => Ending::Answered,
        Some(Code::TimedOut) if reply.status() == StatusCode::OK => Ending::Silent,
        Some(code) => Ending::Failed(code),
    }
}

/// The body of an answer on its way to the visitor. It holds the exchange, which is over when this is dropped.
struct Passing {
    body: ReplyBody,
    exchange: Exchange,
    /// The request, which may be sent still.
    sending: Sending,
    /// What becomes of the exchange once all of it has come.
    ending: Ending,
    /// Bytes of the announced length that are still to come.
    left: Option<u64>,
}

impl Source for Passing {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.exchange.streamed(length);
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(length as u64);
                    if *left == 0 {
                        self.exchange.ended(self.ending);
                    }
                }
                if frame.is_trailers() {
                    self.exchange.ended(self.ending);
                }
            }
            // Its end or its node is gone.
            Some(Err(Broken)) => self.exchange.ended(Ending::Failed(Code::Disconnected)),
            None => self.exchange.ended(self.ending),
        }
        Poll::Ready(frame)
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.exchange.sent(self.sending.bytes().0);
    }
}
