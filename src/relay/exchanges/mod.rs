//! Exchanges: a visitor's request goes to the end as an event, and the end's ack comes back as the response.
//!
//! [`Exchanges::serve`] is the whole way, from top to bottom; `admission` is what comes first for a tunnel with rules; `exchange` is the value that lives as long as one of them, and
//! `access` has what its line in the log says, `event` makes what the end gets. `hold` lets visitors wait while their tunnel has no
//! end. `plain` asks an end that answers with its ack, `whole` makes the response of that; `relaying` is what both ways share.
//!
//! `finding` tells which node has the tunnel: `here` serves what is this node's own, and `passing` hands the rest on,
//! whose answers are `passed` on to visitors.
//!
//! An end that streams is asked by `streaming`: `upload` brings it the request's body, `download` the response's body to the
//! visitor, and `upgraded` has what follows a 101.
//!
//! An ack finds its visitor by a channel: [`Tunnel::emit`] hands the sending half to the end's session, whose connection keeps
//! it under the ack's id, and `TunnelHost::acked` sends the outcome through it. `Relaying::told` turns each outcome, an
//! answer, a timeout or an end that left, into what the visitor gets.

mod access;
mod admission;
mod download;
mod event;
mod exchange;
mod finding;
mod here;
mod hold;
mod passed;
mod passing;
mod plain;
mod relaying;
mod streaming;
mod upgraded;
mod upload;
mod whole;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use tokio_util::task::TaskTracker;

use self::exchange::Exchange;
use self::passed::Passed;
use self::relaying::{Relaying, Told};
use self::streaming::Came;
use self::whole::{timeout_reply, visitor_reply};
use super::budgets::Budgets;
use super::code::Code;
use super::error_reply::ERROR_HEADER;
use super::failure::Failure;
use super::figures::{Ending, ExchangeCounters};
use super::interstitial::Interstitial;
use super::own_hosts::OwnHosts;
use super::page;
use super::public_url::PublicUrl;
use super::quotas::Quotas;
use super::route::Target;
use super::rules::Rulebook;
use super::shared_origin;
use super::tokens::Tokens;
use super::tunnels::{Tunnel, Tunnels};
use crate::cluster::Tried;
use crate::cluster::hop::{self, Note};
use crate::cluster::keys::Key;
use crate::config::{ErrorStatus, PathHtml, ServeConfig};
use crate::net::arrival::Arrival;
use crate::net::body::RequestBody;
use crate::net::reply::Reply;
use crate::proto::exchange::ExchangeId;
use crate::proto::exchange::headers::Origin;
use crate::proto::limit::Limit;
use crate::proto::token::Token;
use crate::store::Peer;

const PROVIDED_BY: HeaderName = HeaderName::from_static("x-provided-by");
const PROVIDER: HeaderValue = HeaderValue::from_static("Socket2Me");
const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");
/// Keeps pages out of search engines: they are there for a while, and under the operator's name.
const NOT_LISTED: HeaderValue = HeaderValue::from_static("noindex, nofollow");
/// How often a node is looked for that has the tunnel's end.
const TRIES: u32 = 4;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Where a request goes.
enum Found {
    /// To a tunnel that has or had an end at this node, or whose end is expected here.
    Here(Arc<Tunnel>),
    /// To another node, which has claimed the tunnel with this epoch.
    At(Peer, u64),
    /// Nowhere: why, and the statuses of such a tunnel.
    Nobody(Failure, ErrorStatus),
}

/// What answers a request.
enum Answer {
    /// Another node.
    Passed(Passed),
    /// This node: what has come of the request, and the statuses of failures of such a tunnel.
    Here(Result<Came, Failure>, ErrorStatus),
}

/// Why a request was not passed on.
enum NotPassed {
    /// That node has no end of the tunnel any more, and has done nothing.
    Elsewhere,
    /// The tunnel is to be looked for again: nothing of the request has reached an end, or it may reach another one.
    Again,
    /// It has failed. [`Failure::Disconnected`] if an end may have got it.
    Failed(Failure),
}

impl From<Failure> for NotPassed {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A visitor's request, in the pieces in which the listener lends it.
struct Incoming<'r> {
    head: &'r mut Parts,
    body: &'r mut RequestBody,
    arrival: &'r Arrival<'r>,
    target: &'r Target,
    id: ExchangeId,
    /// The id as text.
    name: &'r str,
    /// It has come from another node, which has a copy of its body and can send it again.
    is_copied: bool,
    /// It may go to another node: it has come from none, or its body was read here, and there is no copy.
    may_go: bool,
}

impl Incoming<'_> {
    /// Its body was read here.
    fn was_read(&mut self) {
        self.may_go |= !self.is_copied;
    }
}

/// Serves visitors' requests.
pub(super) struct Exchanges {
    relaying: Relaying,
    tokens: Arc<Tokens>,
    /// `None` if the operator wants no page before tunnels'.
    interstitial: Option<Interstitial>,
    /// `None` if the operator sets none.
    quotas: Option<Arc<Quotas>>,
    counters: Arc<ExchangeCounters>,
    /// Exchanges that other nodes have passed on, which count them as theirs, too.
    hops: Arc<ExchangeCounters>,
    /// Exchanges that are not over, so that a stopping server can wait for them.
    in_flight: TaskTracker,
    /// A number of this process, which all ids of its exchanges start with.
    process: u32,
    next: AtomicU64,
}

impl Exchanges {
    pub(super) fn new(
        (tunnels, tokens): (Arc<Tunnels>, Arc<Tokens>),
        budgets: Budgets,
        (public_url, hosts): (PublicUrl, OwnHosts),
        rulebook: Arc<Rulebook>,
        config: Arc<ServeConfig>,
    ) -> Self {
        let pages = || tokens.cluster().map_or_else(Key::random, |cluster| cluster.pages());
        let interstitial = config.interstitial.then(|| Interstitial::new(pages()));
        let quotas = Quotas::new(&config).map(Arc::new);
        let measures = config.metrics_listen.is_some();
        let process: u32 = rand::random();
        let via = format!("socket2me-{process:x}");
        Self {
            relaying: Relaying { tunnels, rulebook, budgets, config, public_url, hosts, via },
            tokens,
            interstitial,
            quotas,
            counters: Arc::new(ExchangeCounters::new(measures)),
            hops: Arc::new(ExchangeCounters::new(false)),
            in_flight: TaskTracker::new(),
            process,
            next: AtomicU64::new(1),
        }
    }

    pub(super) fn counters(&self) -> &ExchangeCounters {
        &self.counters
    }

    /// The exchanges that other nodes have passed on.
    pub(super) fn hops(&self) -> &ExchangeCounters {
        &self.hops
    }

    /// Counts a limit that was hit.
    pub(super) fn hit(&self, limit: Limit) {
        self.relaying.budgets.hits.hit(limit);
    }

    /// The exchanges that are not over.
    pub(super) fn in_flight(&self) -> &TaskTracker {
        &self.in_flight
    }

    /// Serves one visitor's request. `hop` is what the node says that has passed it on, if one has: that node counts and logs the
    /// exchange.
    pub(super) async fn serve(
        &self,
        head: &mut Parts,
        body: &mut RequestBody,
        arrival: &Arrival<'_>,
        target: &Target,
        hop: Option<&Note>,
    ) -> Reply {
        let new = || ExchangeId { process: self.process, number: self.next.fetch_add(1, Ordering::Relaxed) };
        let id = hop.and_then(|note| ExchangeId::parse(note.id.as_deref()?)).unwrap_or_else(new);
        let is_head = head.method == Method::HEAD;
        // The head may be gone when the exchange fails.
        let is_shown = page::is_shown(&head.headers);
        let logs = self.relaying.config.access_log && hop.is_none();
        let request =
            logs.then(|| access::Request::seen(head, target, arrival, self.relaying.config.log_query)).flatten();
        let counters = if hop.is_some() { &self.hops } else { &self.counters };
        let mut exchange = Exchange::begin(id, request, Arc::clone(counters), self.in_flight.token());
        let id_value = HeaderValue::from(id);
        let name = id_value.to_str().unwrap_or_default();
        let is_copied = hop.is_some() && hop::is_kept(body);
        let mut incoming = Incoming { head, body, arrival, target, id, name, is_copied, may_go: hop.is_none() };
        let (told, statuses) = match self.answer(&mut exchange, &mut incoming).await {
            Answer::Passed(passed) => return passed.reply(exchange, is_head),
            Answer::Here(told, statuses) => (told, statuses),
        };
        // A node that stops has done nothing with what it still holds.
        if !incoming.may_go && matches!(told, Err(Failure::Elsewhere | Failure::Stopping)) {
            exchange.ended(Ending::Failed(Code::NotConnected));
            return hop::elsewhere();
        }
        let told = told.and_then(|came| self.keep_apart(came, target));
        let (mut reply, ending) = match told {
            Ok(Came::Stream(streaming)) => {
                let mut reply = streaming.reply(exchange, incoming.head);
                self.mark(reply.headers_mut());
                reply.headers_mut().insert(REQUEST_ID, id_value);
                return reply;
            }
            Ok(Came::NoHandshake(mut reply)) => {
                reply.headers_mut().insert(ERROR_HEADER, HeaderValue::from_static(Code::InvalidHead.as_str()));
                (*reply, Ending::Failed(Code::InvalidHead))
            }
            Ok(Came::Told(Told::Answer(response))) => {
                let mut reply = visitor_reply(response, is_head);
                self.mark(reply.headers_mut());
                (reply, Ending::Answered)
            }
            Ok(Came::Told(Told::Ok)) => {
                self.failed(&mut exchange, &Failure::TimedOut(StatusCode::OK));
                let mut reply = timeout_reply(is_head);
                self.mark(reply.headers_mut());
                (reply, Ending::Silent)
            }
            Err(failure) => {
                self.failed(&mut exchange, &failure);
                (failure.reply(statuses, is_shown), Ending::Failed(failure.code()))
            }
        };
        reply.headers_mut().insert(REQUEST_ID, id_value);
        exchange.answer(reply, ending, is_head)
    }

    /// Has a request answered at the node that has the tunnel, which may be another one each time it is looked for.
    async fn answer(&self, exchange: &mut Exchange, incoming: &mut Incoming<'_>) -> Answer {
        let target = incoming.target;
        let (mut attempt, mut tried) = (0, Tried::default());
        loop {
            attempt += 1;
            let again = attempt < TRIES;
            match self.find(target, !incoming.may_go, tried).await {
                Found::Here(tunnel) => match self.visit(exchange, &tunnel, incoming, tried).await {
                    Err(Failure::Elsewhere) if again && incoming.may_go => (),
                    told => return Answer::Here(told, self.statuses(tunnel.is_keyed())),
                },
                // In a box: its future would be part of every request's.
                Found::At(peer, epoch) => match Box::pin(self.pass_on(&peer, incoming)).await {
                    Ok(passed) => return Answer::Passed(passed),
                    Err(NotPassed::Elsewhere) if again => tried = Tried { epoch, node: Some(peer.node) },
                    Err(NotPassed::Again) if again => (),
                    Err(NotPassed::Failed(failure)) => {
                        return Answer::Here(Err(failure), self.statuses_elsewhere(target).await);
                    }
                    Err(NotPassed::Elsewhere | NotPassed::Again) => {
                        return Answer::Here(Err(Failure::Elsewhere), self.statuses_elsewhere(target).await);
                    }
                },
                Found::Nobody(failure, statuses) => return Answer::Here(Err(failure), statuses),
            }
        }
    }

    /// Sets the relay's own headers of what passes for an answer of an end. Whether search engines may list it is the end's to say.
    fn mark(&self, headers: &mut HeaderMap) {
        headers.insert(PROVIDED_BY, PROVIDER);
        if !self.relaying.config.allow_robots {
            headers.entry(ROBOTS).or_insert(NOT_LISTED);
        }
    }

    /// Keeps what an end answers from what tunnels share, unless it is at the tunnel's own host.
    fn keep_apart(&self, mut came: Came, target: &Target) -> Result<Came, Failure> {
        let rule = self.relaying.config.path_html;
        if rule == PathHtml::Allow || target.origin == Origin::Own {
            return Ok(came);
        }
        let (response, has_body) = match &mut came {
            Came::Told(Told::Answer(response)) => {
                let has_body = !response.body.is_empty();
                (response, has_body)
            }
            Came::Stream(streaming) => {
                let response = streaming.response_mut();
                let has_body = response.declared_length != Some(0);
                (response, has_body)
            }
            // The relay's own.
            Came::Told(Told::Ok) | Came::NoHandshake(_) => return Ok(came),
        };
        shared_origin::keep_apart(rule, response, has_body, &self.folder(target))?;
        Ok(came)
    }

    /// Returns the path below which a tunnel has its pages.
    fn folder(&self, target: &Target) -> String {
        let token = target.token.as_ref().map_or("", Token::as_str);
        match target.origin {
            Origin::Own => "/".to_owned(),
            Origin::Shared | Origin::SharedBesideHosts => format!("{}{token}/", self.relaying.public_url.tunnels_at()),
        }
    }

    fn failed(&self, exchange: &mut Exchange, failure: &Failure) {
        exchange.fail(failure);
        if let Some(limit) = failure.limit_hit() {
            self.hit(limit);
        }
    }

    /// Returns the statuses of a tunnel's failures: the operator chooses those of original tunnels.
    fn statuses(&self, is_keyed: bool) -> ErrorStatus {
        if is_keyed { ErrorStatus::Standard } else { self.relaying.config.error_status }
    }
}
