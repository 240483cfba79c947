//! An exchange with an end that gets a request whole, in one event, and answers with its ack.

use tokio::sync::oneshot;

use super::event::EndRequest;
use super::exchange::Exchange;
use super::hold::{Hold, held};
use super::relaying::Relaying;
use crate::proto::exchange::Body;
use crate::proto::limit::Limit;
use crate::proto::socket_io::connection::AckError;
use crate::relay::failure::Failure;
use crate::relay::streams::First;
use crate::relay::tunnels::{NotEmitted, Tunnel};

/// What came of asking an end that does not stream.
pub(super) enum Asked {
    /// What the end has answered, or that its session's task is gone.
    Came(Result<First, oneshot::error::RecvError>),
    /// The next end streams. `was_asked` tells whether one before it has left without an answer.
    Streams { was_asked: bool },
}

impl Relaying {
    /// Hands the request to an end, and once more to another one if the first leaves without an answer: a request that ends the
    /// program which it reaches must not end all of them.
    pub(super) async fn ask_twice(
        &self,
        exchange: &mut Exchange,
        tunnel: &Tunnel,
        request: &EndRequest<'_>,
        hold: &mut Hold<'_>,
    ) -> Result<Asked, Failure> {
        let kept = request.body.len();
        let Some(outcome) = self.ask(exchange, tunnel, request, hold, kept).await? else {
            return Ok(Asked::Streams { was_asked: false });
        };
        match outcome.await {
            Ok(First::Ack(Err(AckError::Disconnected | AckError::NotJoined))) | Err(_) => {
                if let Some(seat) = exchange.ack_in() {
                    self.tunnels.lost(request.token, tunnel, &seat);
                }
                hold.renew();
                let again = self.ask(exchange, tunnel, request, hold, kept).await.map_err(|failure| match failure {
                    // It has reached an end, which another one's absence does not undo.
                    Failure::NotConnected => Failure::Disconnected,
                    failure => failure,
                });
                Ok(match again? {
                    Some(outcome) => Asked::Came(outcome.await),
                    None => Asked::Streams { was_asked: true },
                })
            }
            outcome => Ok(Asked::Came(outcome)),
        }
    }

    /// Hands the request to an end of the tunnel, and waits for one if there is none. `kept` are the bytes of the body that stay
    /// in memory beside the event. Returns `None` where the next end streams: it wants another event.
    pub(super) async fn ask(
        &self,
        exchange: &mut Exchange,
        tunnel: &Tunnel,
        request: &EndRequest<'_>,
        hold: &mut Hold<'_>,
        kept: usize,
    ) -> Result<Option<oneshot::Receiver<First>>, Failure> {
        // Each attempt that fails is one end that has left meanwhile, and is not chosen again.
        loop {
            // An end can leave while the body arrives, and so can a token.
            let Some(end) = tunnel.choose() else {
                Box::pin(held(exchange, hold)).await?;
                continue;
            };
            if end.terms().is_some() {
                return Ok(None);
            }
            let ack_id = tunnel.next_ack();
            let max_form = self.config.max_form_memory();
            let body = Body::detect(&request.head.headers, request.body.clone(), end.options(), max_form)
                .map_err(Failure::InvalidBody)?;
            // What the event takes is counted before it is written: a control character takes six bytes.
            if !exchange.resize_memory(body.memory(), tunnel.memory()) {
                return Err(Failure::Busy);
            }
            let event = request.event(&end, ack_id, &body, None)?;
            if !exchange.resize_memory(event.len() + kept, tunnel.memory()) {
                return Err(Failure::Busy);
            }
            match tunnel.emit(&end, event, self.timeout(tunnel)) {
                Ok(outcome) => {
                    exchange.event_out(end, ack_id);
                    return Ok(Some(outcome));
                }
                Err(NotEmitted::Gone) => self.tunnels.lost(request.token, tunnel, &end),
                Err(NotEmitted::Overloaded) => {
                    self.budgets.hits.hit(Limit::WaitingCommands);
                    return Err(Failure::Overloaded);
                }
            }
        }
    }
}
