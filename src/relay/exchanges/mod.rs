//! Exchanges: a visitor's request goes to the end as an event, and the end's ack comes back as the response.
//!
//! [`Exchanges::serve`] is the whole way, from top to bottom; `exchange` is the value that lives as long as one of them, and
//! `access` has what its line in the log says, `event` makes what the end gets. `hold` lets visitors wait while their tunnel has no end.
//!
//! An ack finds its visitor by a channel: [`Tunnel::emit`] hands the sending half to the end's session, whose connection keeps
//! it under the ack's id, and `TunnelHost::acked` sends the outcome through it. `Exchanges::told` turns each outcome, an
//! answer, a timeout or an end that left, into what the visitor gets.

mod access;
mod event;
mod exchange;
mod hold;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use hyper::body::{Body as _, Incoming};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use self::event::EndRequest;
use self::exchange::{Exchange, ExchangeId};
use self::hold::Hold;
use super::budgets::Budgets;
use super::code::Code;
use super::failure::{ERROR_HEADER, Failure};
use super::figures::{Ending, ExchangeCounters};
use super::notices::{About, Notice};
use super::page;
use super::public_url::PublicUrl;
use super::route::Target;
use super::tokens::Tokens;
use super::tunnels::{NoPlace, NotEmitted, Outcome, Seat, Tunnel, Tunnels};
use crate::config::{ErrorStatus, ServeConfig};
use crate::net::arrival::Arrival;
use crate::net::body::{self, BodyLimits, Kept};
use crate::net::listener::release_head;
use crate::net::reply::Reply;
use crate::proto::exchange::{Body, HeadLimits, Response, is_without_content};
use crate::proto::limit::Limit;
use crate::proto::socket_io::connection::AckError;
use crate::store::Repeat;

const PROVIDED_BY: HeaderName = HeaderName::from_static("x-provided-by");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Serves visitors' requests.
pub(super) struct Exchanges {
    tunnels: Arc<Tunnels>,
    tokens: Arc<Tokens>,
    budgets: Budgets,
    config: Arc<ServeConfig>,
    public_url: PublicUrl,
    counters: Arc<ExchangeCounters>,
    /// Exchanges that are not over, so that a stopping server can wait for them.
    in_flight: TaskTracker,
    /// A number of this process, which all ids of its exchanges start with.
    process: u32,
    next: AtomicU64,
}

/// What the visitor is told.
enum Told {
    /// The end's response.
    Answer(Response),
    /// The end did not answer in time: the `OK` of the original, which handlers that never call `respond()` rely on.
    Ok,
}

impl Exchanges {
    pub(super) fn new(tunnels: Arc<Tunnels>, tokens: Arc<Tokens>, budgets: Budgets, config: Arc<ServeConfig>) -> Self {
        let measures = config.metrics_listen.is_some();
        Self {
            tunnels,
            tokens,
            budgets,
            public_url: PublicUrl::new(config.public_url.as_deref()),
            config,
            counters: Arc::new(ExchangeCounters::new(measures)),
            in_flight: TaskTracker::new(),
            process: rand::random(),
            next: AtomicU64::new(1),
        }
    }

    pub(super) fn counters(&self) -> &ExchangeCounters {
        &self.counters
    }

    /// The exchanges that are not over.
    pub(super) fn in_flight(&self) -> &TaskTracker {
        &self.in_flight
    }

    /// Serves one visitor's request.
    pub(super) async fn serve(
        &self,
        head: &mut Parts,
        body: &mut Incoming,
        arrival: &Arrival<'_>,
        target: &Target,
    ) -> Reply {
        let id = ExchangeId { process: self.process, number: self.next.fetch_add(1, Ordering::Relaxed) };
        let is_head = head.method == Method::HEAD;
        // The head may be gone when the exchange fails.
        let is_shown = page::is_shown(&head.headers);
        let logs = self.config.access_log;
        let request = logs.then(|| access::Request::seen(head, target, arrival, self.config.log_query)).flatten();
        let mut exchange = Exchange::begin(id, request, Arc::clone(&self.counters), self.in_flight.token());
        let id_value = HeaderValue::from(id);
        let (told, statuses) = match self.find(target).await {
            Ok(tunnel) => {
                let id = id_value.to_str().unwrap_or_default();
                let told = self.run(&mut exchange, &tunnel, head, body, arrival, target, id).await;
                (told, self.statuses(tunnel.is_keyed()))
            }
            Err((failure, statuses)) => (Err(failure), statuses),
        };
        let (mut reply, ending) = match told {
            Ok(Told::Answer(response)) => (visitor_reply(response, is_head), Ending::Answered),
            Ok(Told::Ok) => {
                self.failed(&mut exchange, &Failure::TimedOut(StatusCode::OK));
                (timeout_reply(is_head), Ending::Silent)
            }
            Err(failure) => {
                self.failed(&mut exchange, &failure);
                (failure.reply(statuses, is_shown), Ending::Failed(failure.code()))
            }
        };
        reply.headers_mut().insert(REQUEST_ID, id_value);
        exchange.answer(reply, ending, is_head)
    }

    fn failed(&self, exchange: &mut Exchange, failure: &Failure) {
        exchange.fail(failure);
        if let Some(limit) = failure.limit_hit() {
            self.budgets.hits.hit(limit);
        }
    }

    /// Finds the tunnel of a token, if it has or had an end here, or one is expected back since the server has started.
    ///
    /// # Errors
    /// With the failure, and with the statuses of such a tunnel.
    async fn find(&self, target: &Target) -> Result<Arc<Tunnel>, (Failure, ErrorStatus)> {
        let Some(token) = &target.token else { return Err((Failure::TokenNotFound, self.statuses(false))) };
        if let Some(tunnel) = self.tunnels.find(token) {
            return Ok(tunnel);
        }
        match self.tokens.find(token).await {
            Ok((record, remaining)) => self
                .tunnels
                .expect(token, &record, remaining)
                .ok_or_else(|| (Failure::NotConnected, self.statuses(record.keyed.is_some()))),
            // Names are those of keyed tunnels.
            Err(failure) => Err((failure, self.statuses(token.is_name()))),
        }
    }

    /// Returns the statuses of a tunnel's failures: the operator chooses those of original tunnels.
    fn statuses(&self, is_keyed: bool) -> ErrorStatus {
        if is_keyed { ErrorStatus::Standard } else { self.config.error_status }
    }

    #[allow(clippy::too_many_arguments, reason = "they are one request, in the pieces in which hyper lends it")]
    async fn run(
        &self,
        exchange: &mut Exchange,
        tunnel: &Tunnel,
        head: &mut Parts,
        body: &mut Incoming,
        arrival: &Arrival<'_>,
        target: &Target,
        id: &str,
    ) -> Result<Told, Failure> {
        let token = target.token.as_ref().ok_or(Failure::TokenNotFound)?;
        let (tunnels, budgets, visitor) = (&*self.tunnels, &self.budgets, arrival.client);
        let mut hold = Hold { tunnels, budgets, tunnel, token, visitor, left: None };
        // A body is read only for an end that can take it.
        if !tunnel.has_end() {
            // In a box: its future would be part of every request's.
            Box::pin(held(exchange, &mut hold)).await?;
        }
        // It may be announced as empty (RFC 9112, section 6.3).
        let has_body = !body.is_end_stream() || head.headers.contains_key(header::CONTENT_LENGTH);
        let body = self.read(body, arrival, tunnel).await?;
        exchange.take_body(body.bytes.len(), body.memory);
        exchange.take_place(tunnel.place().map_err(|full| match full {
            NoPlace::Tunnel => Failure::Overloaded,
            NoPlace::Server => Failure::Busy,
        })?);
        let request = EndRequest {
            head,
            body: body.bytes,
            has_body,
            arrival,
            public_url: &self.public_url,
            token,
            path: target.path(head),
            id,
        };
        let outcome = if may_repeat(tunnel, &head.method) {
            Box::pin(self.ask_twice(exchange, tunnel, &request, &mut hold)).await?
        } else {
            let outcome = self.ask(exchange, tunnel, &request, &mut hold, 0).await?;
            drop(request);
            release_head(head);
            outcome.await
        };
        let end = exchange.ack_in();
        let told = self.told(outcome, tunnel);
        if let Some(end) = end {
            self.notify(&end, id, tunnel, &told);
        }
        let told = told?;
        if let Told::Answer(response) = &told
            && !exchange.resize_memory(response.bytes(), tunnel.memory())
        {
            return Err(Failure::Busy);
        }
        Ok(told)
    }

    /// Reads the body. One that is still arriving takes no place among the tunnel's exchanges: otherwise visitors that
    /// announce bodies and send none could shut the tunnel.
    async fn read(&self, body: &mut Incoming, arrival: &Arrival<'_>, tunnel: &Tunnel) -> Result<Kept, Failure> {
        let limits = BodyLimits {
            max_bytes: self.config.max_body,
            stall_timeout: self.config.limits.stall_timeout,
            memory: tunnel.memory(),
        };
        body::read_admitted(body, limits, || {
            let of_address = self.budgets.uploads_per_address.hold(arrival.client).ok_or(Failure::TooManyUploads)?;
            let upload = self.budgets.uploads.hold(1).ok_or(Failure::Busy)?;
            Ok((of_address, upload))
        })
        .await
    }

    /// Hands the request to an end, and once more to another one if the first leaves without an answer: a request that ends the
    /// program which it reaches must not end all of them.
    async fn ask_twice(
        &self,
        exchange: &mut Exchange,
        tunnel: &Tunnel,
        request: &EndRequest<'_>,
        hold: &mut Hold<'_>,
    ) -> Result<Result<Outcome, oneshot::error::RecvError>, Failure> {
        let kept = request.body.len();
        let outcome = self.ask(exchange, tunnel, request, hold, kept).await?.await;
        match outcome {
            Ok(Err(AckError::Disconnected | AckError::NotJoined)) | Err(_) => {
                if let Some(seat) = exchange.ack_in() {
                    self.tunnels.lost(request.token, tunnel, &seat);
                }
                hold.renew();
                let again = self.ask(exchange, tunnel, request, hold, kept).await.map_err(|failure| match failure {
                    // It has reached an end, which another one's absence does not undo.
                    Failure::NotConnected => Failure::Disconnected,
                    failure => failure,
                });
                Ok(again?.await)
            }
            outcome => Ok(outcome),
        }
    }

    /// Hands the request to an end of the tunnel, and waits for one if there is none. `kept` are the bytes of the body that stay
    /// in memory beside the event.
    async fn ask(
        &self,
        exchange: &mut Exchange,
        tunnel: &Tunnel,
        request: &EndRequest<'_>,
        hold: &mut Hold<'_>,
        kept: usize,
    ) -> Result<oneshot::Receiver<Outcome>, Failure> {
        // Each attempt that fails is one end that has left meanwhile, and is not chosen again.
        loop {
            // An end can leave while the body arrives, and so can a token.
            let Some(end) = tunnel.choose() else {
                Box::pin(held(exchange, hold)).await?;
                continue;
            };
            let ack_id = tunnel.next_ack();
            let max_form = self.config.max_form_memory();
            let body = Body::detect(&request.head.headers, request.body.clone(), end.options(), max_form)
                .map_err(Failure::InvalidBody)?;
            // What the event takes is counted before it is written: a control character takes six bytes.
            if !exchange.resize_memory(body.memory(), tunnel.memory()) {
                return Err(Failure::Busy);
            }
            let event = request.event(&end, ack_id, &body)?;
            if !exchange.resize_memory(event.len() + kept, tunnel.memory()) {
                return Err(Failure::Busy);
            }
            match tunnel.emit(&end, event, self.timeout(tunnel)) {
                Ok(outcome) => {
                    exchange.event_out(end, ack_id);
                    return Ok(outcome);
                }
                Err(NotEmitted::Gone) => self.tunnels.lost(request.token, tunnel, &end),
                Err(NotEmitted::Overloaded) => {
                    self.budgets.hits.hit(Limit::WaitingCommands);
                    return Err(Failure::Overloaded);
                }
            }
        }
    }

    /// Tells an end that asks for notices what is wrong with its answer, or that none has come in time.
    fn notify(&self, end: &Seat, id: &str, tunnel: &Tunnel, told: &Result<Told, Failure>) {
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
    fn timeout(&self, tunnel: &Tunnel) -> Duration {
        tunnel.settings().map_or(self.config.response_timeout, |settings| settings.timeout)
    }

    /// Decides what the visitor is told of an event's outcome.
    fn told(&self, outcome: Result<Outcome, oneshot::error::RecvError>, tunnel: &Tunnel) -> Result<Told, Failure> {
        match outcome {
            Ok(Ok(answer)) => {
                let limits = &self.config.limits;
                let head = HeadLimits { bytes: limits.max_response_head, lines: limits.max_response_headers };
                Response::decode(&answer, head).map(Told::Answer).map_err(Failure::InvalidAnswer)
            }
            Ok(Err(AckError::TimedOut)) if tunnel.is_keyed() => Err(Failure::TimedOut(StatusCode::GATEWAY_TIMEOUT)),
            Ok(Err(AckError::TimedOut)) => match self.config.timeout_status {
                StatusCode::OK => Ok(Told::Ok),
                status => Err(Failure::TimedOut(status)),
            },
            Ok(Err(AckError::NotJoined)) => Err(Failure::NotConnected),
            Ok(Err(AckError::Overloaded)) => Err(Failure::Overloaded),
            Ok(Err(AckError::Oversized)) => Err(Failure::AnswerTooLarge),
            // A tunnel numbers its events, and asks for an ack of each.
            Ok(Err(AckError::DuplicateId | AckError::MissingId)) => Err(Failure::Bug),
            // The session's task is gone, and with it all that waited for the session.
            Ok(Err(AckError::Disconnected)) | Err(_) => Err(Failure::Disconnected),
        }
    }
}

/// Waits for an end, in time that is neither the end's nor the relay's.
async fn held(exchange: &mut Exchange, hold: &mut Hold<'_>) -> Result<(), Failure> {
    exchange.hold_begins();
    let waited = hold.wait().await;
    exchange.hold_ends();
    waited
}

/// Tells whether a request may be sent again when its end has left without an answer.
fn may_repeat(tunnel: &Tunnel, method: &Method) -> bool {
    tunnel.settings().is_some_and(|settings| settings.repeat == Repeat::Idempotent)
        && matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

/// Makes the response of the relay for an end that did not answer. The end may answer the next request, so no cache may keep
/// this one.
fn timeout_reply(is_head: bool) -> Reply {
    let mut reply = visitor_reply(Response::ok(), is_head);
    let headers = reply.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ERROR_HEADER, HeaderValue::from_static(Code::TimedOut.as_str()));
    reply
}

/// Makes the response of an end's answer.
fn visitor_reply(response: Response, is_head: bool) -> Reply {
    let Response { status, headers, body, declared_length } = response;
    // To HEAD, an end may tell the length of the body that GET would give.
    let has_length = is_head && body.is_empty() && (!is_without_content(status) || status == StatusCode::NOT_MODIFIED);
    let length = declared_length.filter(|_| has_length);
    let mut reply = Reply::new(body.into());
    *reply.status_mut() = status;
    *reply.headers_mut() = headers;
    let headers = reply.headers_mut();
    headers.insert(PROVIDED_BY, HeaderValue::from_static("Socket2Me"));
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    reply
}
