//! Exchanges whose end is at this node, or is expected here: what the tunnel's rules let pass goes to it.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::header::{self, HeaderValue};
use http::request::Parts;

use super::admission::Admitted;
use super::event::EndRequest;
use super::exchange::Exchange;
use super::hold::{Hold, held};
use super::plain::Asked;
use super::relaying::{Told, may_repeat};
use super::streaming::{Asking, Came};
use super::{Exchanges, Incoming};
use crate::cluster::Tried;
use crate::net::listener::release_head;
use crate::net::websocket;
use crate::proto::exchange::stream::AbortCode;
use crate::proto::headers::list_contains;
use crate::relay::failure::Failure;
use crate::relay::streams::First;
use crate::relay::tunnels::Tunnel;

impl Exchanges {
    /// Lets a request pass to the end of its tunnel if the tunnel's rules allow it.
    pub(super) async fn visit(
        &self,
        exchange: &mut Exchange,
        tunnel: &Arc<Tunnel>,
        incoming: &mut Incoming<'_>,
        tried: Tried,
    ) -> Result<Came, Failure> {
        let Incoming { head, arrival, target, .. } = incoming;
        if let Some((interstitial, token)) = self.interstitial.as_ref().zip(target.token.as_ref()) {
            let is_tls = arrival.scheme(&head.headers).eq_ignore_ascii_case("https");
            if let Some(cookie) = interstitial.instead_of(head, token, &self.folder(target), is_tls) {
                return Err(Failure::Interstitial(cookie));
            }
        }
        let mut admitted = match tunnel.guard() {
            // In a box: its future would be part of every request's.
            Some(guard) => Box::pin(self.relaying.admit(&guard, tunnel, incoming)).await?,
            None => Admitted::default(),
        };
        if let Some((quotas, key)) = self.quotas.as_ref().zip(tunnel.key()) {
            quotas.take(&key).map_err(Failure::Quota)?;
            exchange.counts_for(quotas, key);
        }
        let came = self.run(exchange, tunnel, incoming, &admitted, tried).await;
        let came = came.map_err(|failure| match failure {
            // Its session was closed, without an answer.
            Failure::Disconnected if tunnel.is_keyed() && self.relaying.tunnels.has_given_up() => {
                Failure::Aborted(AbortCode::Stopping, None)
            }
            failure => failure,
        })?;
        if let Some(delivery) = admitted.delivery.take()
            && came.status().is_some_and(|status| status.is_success())
        {
            delivery.succeeded();
        }
        Ok(came)
    }

    /// Has an end answer.
    async fn run(
        &self,
        exchange: &mut Exchange,
        tunnel: &Arc<Tunnel>,
        incoming: &mut Incoming<'_>,
        admitted: &Admitted,
        tried: Tried,
    ) -> Result<Came, Failure> {
        let Incoming { head, body, arrival, target, id, name, is_copied, may_go } = incoming;
        let token = target.token.as_ref().ok_or(Failure::TokenNotFound)?;
        let (tunnels, budgets, visitor) = (&*self.relaying.tunnels, &self.relaying.budgets, arrival.client);
        let mut hold = Hold { tunnels, budgets, tunnel, token, visitor, tried, may_go: *may_go, left: None };
        // A body is read only for an end that can take it.
        if !tunnel.has_end() {
            // In a box: its future would be part of every request's.
            Box::pin(held(exchange, &mut hold)).await?;
        }
        let mut request = EndRequest {
            head,
            body: Bytes::new(),
            body_length: None,
            arrival,
            public_url: &self.relaying.public_url,
            hosts: &self.relaying.hosts,
            token,
            origin: target.origin,
            path: target.path(head),
            verified: admitted.verified,
            hides_authorization: admitted.hides_authorization,
            id: name,
        };
        let is_upgrade = asks_for_websocket(head);
        let mut may_repeat = may_repeat(tunnel, &head.method);
        // Another round where an end that streams has joined meanwhile.
        let outcome = loop {
            if tunnel.may_stream() {
                let asking = Asking { exchange, tunnel, id: *id, is_upgrade, may_repeat: &mut may_repeat };
                // In a box: its future would be part of every request's.
                let came = Box::pin(self.relaying.try_to_stream(asking, &mut request, body, &mut hold)).await;
                if let Some(came) = came.map_err(|failure| request.give_back(failure, exchange, body))? {
                    return Ok(came);
                }
            } else if is_upgrade {
                return Err(Failure::UpgradeUnsupported);
            }
            if request.body_length.is_none() {
                self.relaying.read_into(exchange, &mut request, body, tunnel).await?;
                *may_go |= !*is_copied;
                hold.may_go = *may_go;
            }
            exchange.take_place_in(tunnel)?;
            if may_repeat {
                let asked = Box::pin(self.relaying.ask_twice(exchange, tunnel, &request, &mut hold)).await;
                match asked.map_err(|failure| request.give_back(failure, exchange, body))? {
                    Asked::Came(outcome) => break outcome,
                    Asked::Streams { was_asked } => may_repeat = !was_asked,
                }
                continue;
            }
            let asked = self.relaying.ask(exchange, tunnel, &request, &mut hold, 0).await;
            if let Some(outcome) = asked.map_err(|failure| request.give_back(failure, exchange, body))? {
                drop(request);
                release_head(head);
                break outcome.await;
            }
        };
        let end = exchange.ack_in();
        let told = match outcome {
            Ok(First::Ack(outcome)) => self.relaying.told(outcome, tunnel, target.origin),
            // The session's task is gone, and with it all that waited for the session.
            Err(_) => Err(Failure::Disconnected),
            // Such an end has streams.
            Ok(First::Head(_) | First::InvalidHead(_) | First::Aborted(..)) => Err(Failure::Bug),
        };
        if let Some(end) = end {
            self.relaying.notify(&end, name, tunnel, &told);
        }
        let told = told?;
        if let Told::Answer(response) = &told
            && !exchange.resize_memory(response.bytes(), tunnel.memory())
        {
            return Err(Failure::Busy);
        }
        Ok(Came::Told(told))
    }
}

/// Tells whether a visitor asks for a WebSocket (RFC 6455, section 4.1). Any other upgrade is ignored, and so is one that `Connection`
/// does not name (RFC 9110, section 7.8).
fn asks_for_websocket(head: &Parts) -> bool {
    let names_upgrade = |value: &HeaderValue| list_contains(value.as_bytes(), "upgrade");
    head.method == Method::GET
        && websocket::is_upgrade(head)
        && head.headers.get_all(header::CONNECTION).iter().any(names_upgrade)
}
