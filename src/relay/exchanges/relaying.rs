//! What all exchanges of a server share, and what each of them does whatever its end.

use std::sync::Arc;
use std::time::Duration;

use http::header;
use http::{Method, StatusCode};
use hyper::body::Body as _;

use super::event::EndRequest;
use super::exchange::Exchange;
use crate::config::ServeConfig;
use crate::net::body::{self, BodyLimits, Kept, RequestBody};
use crate::net::budget::{AddressSlot, Client, Held};
use crate::proto::exchange::headers::Origin;
use crate::proto::exchange::{HeadLimits, Response};
use crate::proto::socket_io::connection::AckError;
use crate::relay::budgets::Budgets;
use crate::relay::code::Code;
use crate::relay::failure::Failure;
use crate::relay::notices::{About, Notice};
use crate::relay::own_hosts::OwnHosts;
use crate::relay::public_url::PublicUrl;
use crate::relay::rules::Rulebook;
use crate::relay::tunnels::{Outcome, Seat, Tunnel, Tunnels};
use crate::store::Repeat;

/// What the exchanges of a server share.
pub(super) struct Relaying {
    pub(super) tunnels: Arc<Tunnels>,
    pub(super) rulebook: Arc<Rulebook>,
    pub(super) budgets: Budgets,
    pub(super) config: Arc<ServeConfig>,
    pub(super) public_url: PublicUrl,
    pub(super) hosts: OwnHosts,
    /// How this server names itself in `Via`.
    pub(super) via: String,
}

/// What the visitor is told.
pub(super) enum Told {
    /// The end's response.
    Answer(Response),
    /// The end did not answer in time: the `OK` of the original, which handlers that never call `respond()` rely on.
    Ok,
}

impl Relaying {
    /// Takes a place among the bodies that are still arriving.
    pub(super) fn upload_place(&self, client: Client) -> Result<(AddressSlot, Held), Failure> {
        let of_address = self.budgets.uploads_per_address.hold(client).ok_or(Failure::TooManyUploads)?;
        Ok((of_address, self.budgets.uploads.hold(1).ok_or(Failure::Busy)?))
    }

    /// Reads the body. One that is still arriving takes no place among the tunnel's exchanges: otherwise visitors that
    /// announce bodies and send none could shut the tunnel.
    pub(super) async fn read_into(
        &self,
        exchange: &mut Exchange,
        request: &mut EndRequest<'_>,
        body: &mut RequestBody,
        tunnel: &Tunnel,
    ) -> Result<(), Failure> {
        // It may be announced as empty (RFC 9112, section 6.3).
        let has_body = !body.is_end_stream() || request.head.headers.contains_key(header::CONTENT_LENGTH);
        let limits = BodyLimits {
            max_bytes: self.config.max_body,
            stall_timeout: self.config.limits.stall_timeout,
            memory: tunnel.memory(),
        };
        let client = request.arrival.client;
        let Kept { bytes, memory } = body::read_admitted(body, limits, || self.upload_place(client)).await?;
        exchange.take_body(bytes.len(), memory);
        request.body_length = has_body.then_some(bytes.len() as u64);
        request.body = bytes;
        Ok(())
    }

    /// Tells an end that asks for notices what is wrong with its answer, or that none has come in time.
    pub(super) fn notify(&self, end: &Seat, id: &str, tunnel: &Tunnel, told: &Result<Told, Failure>) {
        if !end.options().notices {
            return;
        }
        let (code, message) = match told {
            Ok(Told::Ok) | Err(Failure::TimedOut(_)) => {
                let timeout = self.timeout(tunnel);
                (Code::TimedOut, format!("no answer came within {timeout:?}: is respond() called for each request?"))
            }
            Err(Failure::AnswerTooLarge) => {
                let limit = self.config.payload_limit();
                (Code::AnswerTooLarge, format!("the answer is over the limit of {limit} bytes"))
            }
            Err(Failure::InvalidAnswer(error)) => (Code::InvalidAnswer, format!("the answer cannot be sent: {error}")),
            Ok(Told::Answer(_)) | Err(_) => return,
        };
        end.notify(Notice { about: About::Failed(code), id: Some(id), message: &message });
    }

    /// Returns how long an end of the tunnel may take for an answer.
    pub(super) fn timeout(&self, tunnel: &Tunnel) -> Duration {
        tunnel.settings().map_or(self.config.response_timeout, |settings| settings.timeout)
    }

    /// Decides what a visitor, whose page is of this origin, is told of an event's outcome.
    pub(super) fn told(&self, outcome: Outcome, tunnel: &Tunnel, origin: Origin) -> Result<Told, Failure> {
        match outcome {
            Ok(answer) => {
                let limits = &self.config.limits;
                let head = HeadLimits { bytes: limits.max_response_head, lines: limits.max_response_headers };
                Response::decode(&answer, head, origin).map(Told::Answer).map_err(Failure::InvalidAnswer)
            }
            Err(AckError::TimedOut) if tunnel.is_keyed() => Err(Failure::TimedOut(StatusCode::GATEWAY_TIMEOUT)),
            Err(AckError::TimedOut) => match self.config.timeout_status {
                StatusCode::OK => Ok(Told::Ok),
                status => Err(Failure::TimedOut(status)),
            },
            Err(AckError::NotJoined) => Err(Failure::NotConnected),
            Err(AckError::Overloaded) => Err(Failure::Overloaded),
            Err(AckError::Oversized) => Err(Failure::AnswerTooLarge),
            // A tunnel numbers its events, and asks for an ack of each.
            Err(AckError::DuplicateId | AckError::MissingId) => Err(Failure::Bug),
            Err(AckError::Disconnected) => Err(Failure::Disconnected),
        }
    }
}

/// Tells whether a request may be sent again when its end has left without an answer.
pub(super) fn may_repeat(tunnel: &Tunnel, method: &Method) -> bool {
    tunnel.settings().is_some_and(|settings| settings.repeat == Repeat::Idempotent) && is_idempotent(method)
}

/// Tells whether a request of this method does the same if it is made twice (RFC 9110, section 9.2.2).
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}
