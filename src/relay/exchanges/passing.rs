//! Exchanges whose end is at another node: the request goes there as it came, and the answer comes back as it is.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::Frame;
use hyper::body::Body as _;

use super::exchange::Exchange;
use super::{Exchanges, Incoming, NotPassed};
use crate::cluster::hop::{Note, Piped, Sending, Undone};
use crate::net::reply::{Reply, ReplyBody};
use crate::net::streaming::{Broken, Source};
use crate::proto::limit::Limit;
use crate::relay::code::Code;
use crate::relay::error_reply::ERROR_HEADER;
use crate::relay::failure::Failure;
use crate::relay::figures::Ending;
use crate::relay::route::Target;
use crate::store::{Peer, Repeat};

/// The answer of another node.
pub(super) struct Passed(Reply);

impl Exchanges {
    /// Hands a request to the node that has the tunnel's end.
    ///
    /// # Errors
    /// See [`NotPassed`].
    pub(super) async fn pass_on(&self, peer: &Peer, incoming: &mut Incoming<'_>) -> Result<Passed, NotPassed> {
        let Incoming { head, body, arrival, target, id, .. } = incoming;
        let (Some(cluster), Some(token)) = (self.tokens.cluster(), &target.token) else {
            return Err(Failure::Bug.into());
        };
        let note = Note::of("visit").with_id(id.to_string());
        let has_body = !body.is_end_stream();
        match cluster.send(peer, head, body, arrival, note).await {
            Ok(reply) => Ok(Passed(reply)),
            Err(Undone::Elsewhere) => {
                cluster.forget(token);
                Err(NotPassed::Elsewhere)
            }
            Err(Undone::Unreached(_) | Undone::Cut(_)) => Err(NotPassed::Again),
            Err(Undone::Body(error)) => Err(Failure::from(error).into()),
            // Nobody reads the answer.
            Err(Undone::Left) => Err(Failure::BodyIncomplete.into()),
            Err(Undone::Full) => {
                self.hit(Limit::Hops);
                Err(Failure::Busy.into())
            }
            Err(Undone::Broken(_)) if !has_body && self.may_repeat(&head.method, target).await => {
                cluster.forget(token);
                Err(NotPassed::Again)
            }
            Err(Undone::Broken(reason)) => {
                tracing::debug!(node = %peer.node, reason, "a request is lost on the way to another node");
                Err(Failure::Disconnected.into())
            }
        }
    }

    /// Tells whether a request that an end may have got may go to another one.
    async fn may_repeat(&self, method: &Method, target: &Target) -> bool {
        let Some(token) = &target.token else { return false };
        let found = self.tokens.find(token).await;
        let keyed = found.ok().and_then(|(record, _)| record.keyed);
        keyed.is_some_and(|keyed| keyed.settings.repeat == Repeat::Idempotent) && super::relaying::is_idempotent(method)
    }
}

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
    /// What of the announced length has not come, in bytes.
    left: Option<u64>,
}

impl Source for Passing {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        use http_body::Body as _;
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
