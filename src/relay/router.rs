//! Hands each request to the part of the relay that serves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode, Version};

use super::admin::Blocks;
use super::api::{self, Api};
use super::exchanges::Exchanges;
use super::failure::Failure;
use super::figures::FailedRequests;
use super::guests::{Guests, Way};
use super::own_hosts::OwnHosts;
use super::page;
use super::route::{self, Route};
use super::shared_origin;
use super::throttle::{Throttle, Verdict};
use super::tokens::Tokens;
use super::tunnels::TunnelHost;
use crate::cluster::Cluster;
use crate::cluster::hop::{self, Note, Piped, Undone};
use crate::config::ErrorStatus;
use crate::engine::{Engine, Sid, SocketIo};
use crate::net::arrival::Arrival;
use crate::net::body::RequestBody;
use crate::net::reply::{self, Reply};
use crate::net::websocket;
use crate::proto::headers::accepts_by_name;
use crate::proto::limit::Limit;
use crate::proto::token::Token;
use crate::store::Peer;
use crate::tasks::complete;

/// What a page of another origin may read of an answer besides its body: why it is an error, and when to try again.
const EXPOSED: HeaderValue = HeaderValue::from_static("retry-after, x-socket2me-error");

/// All that serves requests.
pub(super) struct Router {
    pub(super) engine: Engine<SocketIo<TunnelHost>>,
    pub(super) exchanges: Exchanges,
    pub(super) tokens: Arc<Tokens>,
    pub(super) blocks: Arc<Blocks>,
    pub(super) api: Api,
    pub(super) throttle: Throttle,
    pub(super) failed_requests: FailedRequests,
    pub(super) error_status: ErrorStatus,
    pub(super) hosts: OwnHosts,
    pub(super) guests: Guests,
    /// The URL by which this server is reached, for the page that says so.
    pub(super) url: String,
    /// A proxy that is not trusted was warned of.
    pub(super) has_warned_of_proxy: AtomicBool,
}

impl Router {
    /// Serves a request.
    ///
    /// The head and the arrival are passed by reference, here and below: moved, they would be stored in every nested future, and
    /// hyper copies the outermost once for each request.
    pub(super) async fn serve(&self, head: &mut Parts, body: &mut RequestBody, arrival: &Arrival<'_>) -> Reply {
        let checked = route::check_head(head, body);
        let is_for_pages = route::is_for_pages(head.uri.path()) && self.hosts.asked(&head.headers).is_none();
        let served = match checked {
            Ok(()) => self.admit(head, body, arrival).await,
            Err(failure) => Err(failure),
        };
        let reply = self.reply(served, page::is_shown(&head.headers), is_for_pages);
        // The next connection may be another node's: a balancer may not look into them.
        let is_leaving = || self.tokens.cluster().is_some_and(|cluster| cluster.is_draining());
        let may_close = head.version <= Version::HTTP_11 && reply.status() != StatusCode::SWITCHING_PROTOCOLS;
        if may_close && is_leaving() { last(reply) } else { reply }
    }

    /// Serves a request that another node has checked, counted for the rate limit and passed on.
    pub(super) async fn serve_hop(
        &self,
        head: &mut Parts,
        body: &mut RequestBody,
        arrival: &Arrival<'_>,
        note: &Note,
    ) -> Reply {
        let is_for_pages = route::is_for_pages(head.uri.path()) && self.hosts.asked(&head.headers).is_none();
        let served = match Route::parse(head, &self.hosts) {
            Ok(route) => self.dispatch(route, head, body, arrival, Some(note)).await,
            Err(failure) => Err(failure),
        };
        self.reply(served, page::is_shown(&head.headers), is_for_pages)
    }

    /// Makes the reply of what came of a request.
    fn reply(&self, served: Result<Reply, Failure>, is_shown: bool, is_for_pages: bool) -> Reply {
        let mut reply = match served {
            Ok(reply) => reply,
            Err(failure) => {
                self.failed_requests.count(failure.code());
                failure.reply(self.error_status, is_shown)
            }
        };
        if is_for_pages {
            let headers = reply.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
        reply
    }

    /// Serves a request whose head was checked, if nothing is against its sender.
    async fn admit(&self, head: &mut Parts, body: &mut RequestBody, arrival: &Arrival<'_>) -> Result<Reply, Failure> {
        if self.blocks.has_address(arrival.client.address) {
            return Err(Failure::Blocked);
        }
        self.warn_of_proxy(arrival);
        let route = Route::parse(head, &self.hosts);
        if route.as_ref().map_or(true, Route::is_rate_limited) {
            match self.throttle.count(arrival.client) {
                Verdict::Pass => (),
                Verdict::Delay(until) => tokio::time::sleep_until(until).await,
                Verdict::Refuse => return Err(Failure::Throttled),
            }
        }
        let route = route?;
        if self.blocks.are_unreadable() && route != Route::Health {
            return Err(Failure::Store);
        }
        if let Some(cluster) = self.tokens.cluster()
            && let Some(peer) = Box::pin(self.elsewhere(cluster, &route, head)).await
        {
            let is_engine = route == Route::EngineIo;
            // In a box: its future would be part of every request's.
            if let Some(reply) = Box::pin(self.pass_on(cluster, &peer, is_engine, head, body, arrival)).await? {
                return Ok(reply);
            }
        }
        self.dispatch(route, head, body, arrival, None).await
    }

    /// Serves a request. `hop` is what the node says that has passed it on, if one has.
    async fn dispatch(
        &self,
        route: Route,
        head: &mut Parts,
        body: &mut RequestBody,
        arrival: &Arrival<'_>,
        hop: Option<&Note>,
    ) -> Result<Reply, Failure> {
        if hop.is_some() && route != Route::EngineIo && self.api.tunnels.is_stopping() {
            // What another node passes on may wait for a node that does not stop. The connection is about to end, and nothing must be
            // on its way then.
            return Ok(last(hop::elsewhere()));
        }
        match route {
            // Ends must be able to answer, so they are served while the server stops, too.
            Route::EngineIo => Ok(self.engine.serve(head, body, arrival).await),
            Route::Health => Ok(with_version(ok())),
            Route::Readiness => self.check_ready().map(|()| ok()),
            Route::Welcome => Ok(page::welcome(&head.headers, &self.url, self.api.check_original().is_err())),
            Route::New => self.new_token(head, arrival).await,
            Route::Make => {
                self.check_running()?;
                // In a box, as the calls below: their futures would be part of every request's.
                Box::pin(self.api.make(head, body, arrival)).await
            }
            Route::Tunnel(call, token) => {
                self.check_running()?;
                Box::pin(self.api.serve(call, token, head, body, arrival)).await
            }
            Route::Preflight(methods) => Ok(api::preflight(methods)),
            Route::Refresh(token) => self.refresh(head, token).await,
            Route::Go(target) => {
                self.check_running()?;
                if let Some(redirect) = shared_origin::guard(head, &target)? {
                    return Ok(redirect);
                }
                Ok(self.exchanges.serve(head, body, arrival, &target, hop).await)
            }
        }
    }

    /// Warns once of a peer that says whom it forwards for and is not trusted. Any visitor can send such a header, so more
    /// lines would be theirs to write.
    fn warn_of_proxy(&self, arrival: &Arrival<'_>) {
        if !self.has_warned_of_proxy.load(Ordering::Relaxed)
            && arrival.is_unbelieved()
            && !self.has_warned_of_proxy.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                peer = arrival.peer.text(),
                "X-Forwarded-For comes from an address that --trust-proxy does not name, so it is not believed: if that is your \
                 proxy, all its visitors count as one address"
            );
        }
    }

    /// Returns the node that a request is for, if it is another one: a session's, by its id, or the one that has a tunnel's end.
    async fn elsewhere(&self, cluster: &Arc<Cluster>, route: &Route, head: &Parts) -> Option<Peer> {
        match route {
            Route::EngineIo => cluster.of_session(sid_of(head)?).await,
            // Of a tunnel with ends at several nodes, this one is as good as another.
            Route::Tunnel(_, Some(token)) if self.api.tunnels.find(token).is_some_and(|tunnel| tunnel.has_end()) => {
                None
            }
            Route::Tunnel(_, Some(token)) => cluster.elsewhere(&cluster.locate(token).await.ok()?),
            Route::Tunnel(_, None)
            | Route::Health
            | Route::Readiness
            | Route::Welcome
            | Route::New
            | Route::Make
            | Route::Preflight(_)
            | Route::Refresh(_)
            | Route::Go(_) => None,
        }
    }

    /// Hands a request that is no visitor's to the node that it is for. `None` leaves it to this one: that node is gone, and what
    /// the request asks for with it.
    async fn pass_on(
        &self,
        cluster: &Arc<Cluster>,
        peer: &Peer,
        is_engine: bool,
        head: &mut Parts,
        body: &mut RequestBody,
        arrival: &Arrival<'_>,
    ) -> Result<Option<Reply>, Failure> {
        let note = Note::of(if is_engine { "engine" } else { "api" });
        let sid = sid_of(head).and_then(Sid::parse);
        let is_upgrade = websocket::is_upgrade(head);
        if is_upgrade && self.api.tunnels.is_stopping() {
            // It would end with this node. The client stays with its polls, or comes another way.
            return Err(Failure::Stopping);
        }
        let is_poll = is_engine && !is_upgrade && head.method == Method::GET;
        let poll = sid.filter(|_| is_poll).map(|sid| self.guests.enter(sid, peer.clone(), Way::Poll));
        // What ends have to say is heard before the server stops. A poll waits for what may never come, and is answered then.
        let in_flight = poll.is_none().then(|| self.exchanges.in_flight().token());
        let sent = cluster.send(peer, head, body, arrival, note).await;
        drop(poll);
        match sent {
            Ok(mut reply) => {
                if let Some((piped, sid)) = reply.extensions_mut().remove::<Piped>().zip(sid) {
                    let guest = self.guests.enter(sid, peer.clone(), Way::WebSocket);
                    let open = (guest, in_flight);
                    tokio::spawn(async move {
                        piped.over().await;
                        drop(open);
                    });
                }
                Ok(Some(reply))
            }
            Err(Undone::Elsewhere | Undone::Unreached(_)) => Ok(None),
            Err(Undone::Body(error)) => Err(error.into()),
            // Nobody reads the answer.
            Err(Undone::Left) => Err(Failure::BodyIncomplete),
            Err(Undone::Full) => {
                self.exchanges.hit(Limit::Hops);
                Err(Failure::Busy)
            }
            // A node with a lease is there, and so is its session. What an owner asks for the store has, too.
            Err(Undone::Cut(_)) if is_engine && cluster.peers().iter().any(|listed| listed.node == peer.node) => {
                Err(Failure::Busy)
            }
            Err(Undone::Cut(_)) => Ok(None),
            Err(Undone::Broken(_)) if is_engine => Err(Failure::Disconnected),
            // The owner of a tunnel may ask again: each call does the same twice.
            Err(Undone::Broken(_)) => Err(Failure::Busy),
        }
    }

    /// Checks that visitors are to come here.
    fn check_ready(&self) -> Result<(), Failure> {
        self.check_running()?;
        match self.tokens.cluster() {
            Some(cluster) if cluster.is_draining() => Err(Failure::Stopping),
            Some(cluster) if !cluster.serves() => Err(Failure::Store),
            Some(_) | None => Ok(()),
        }
    }

    fn check_running(&self) -> Result<(), Failure> {
        if self.api.tunnels.is_stopping() { Err(Failure::Stopping) } else { Ok(()) }
    }

    async fn new_token(&self, head: &Parts, arrival: &Arrival<'_>) -> Result<Reply, Failure> {
        self.check_running()?;
        self.api.check_original()?;
        // The original's client asks for JSON and parses it; curl, and a shell, want the bare token.
        let wants_json = accepts_by_name(&head.headers, "application/json");
        // HEAD makes no token: its response could not carry it.
        if head.method == Method::HEAD {
            return Ok(token_reply("", wants_json));
        }
        let (tokens, client) = (Arc::clone(&self.tokens), arrival.client);
        // A token counts for its maker, also if that hangs up meanwhile.
        let token = complete(async move { tokens.create(client).await }).await?;
        Ok(token_reply(token.as_str(), wants_json))
    }

    async fn refresh(&self, head: &Parts, token: Option<Token>) -> Result<Reply, Failure> {
        // The store may be another server's by now, which would not hear of it.
        self.check_running()?;
        let token = token.ok_or(Failure::TokenNotFound)?;
        self.tokens.refresh(&token, || api::shown_key(&head.headers)).await.map_err(|failure| match failure {
            Failure::TokenNotFound if token.is_name() => Failure::NoSuchTunnel,
            failure => failure,
        })?;
        Ok(reply::text(StatusCode::OK, "text/plain; charset=utf-8", "OK"))
    }
}

/// Makes a reply the last of its connection.
fn last(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// Returns the session's id in a request for the engine.
fn sid_of(head: &Parts) -> Option<&str> {
    head.uri.query().unwrap_or_default().split('&').find_map(|field| field.strip_prefix("sid="))
}

fn ok() -> Reply {
    reply::text(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")
}

/// Tells the version of this program: an end learns whether it is of the same.
fn with_version(mut reply: Reply) -> Reply {
    reply.headers_mut().insert("x-socket2me-version", HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
    reply
}

fn token_reply(token: &str, as_json: bool) -> Reply {
    if as_json {
        reply::text(StatusCode::OK, "application/json; charset=utf-8", format!("\"{token}\""))
    } else {
        reply::text(StatusCode::OK, "text/plain; charset=utf-8", Bytes::copy_from_slice(token.as_bytes()))
    }
}
