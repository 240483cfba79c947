//! The relay: tokens, tunnels and exchanges on a [Socket.IO server](crate::engine).
//!
//! In reading order:
//!
//! - [`bind`]: where it listens
//! - [`run`]: the relay on its listeners, until it is told to stop, which `stopping` does; `settings`: the settings of [`crate::config`] become those of the
//!   other rooms
//! - `route` and `router`: which request goes where, and `own_hosts` which hosts are tunnels'; `page`, `failure`, `error_reply` and `code` make the responses of the relay's own,
//!   `interstitial` says who sees a page before a tunnel's, and `shared_origin` changes those that keep tunnels apart in a browser
//! - `node`: the relay as one of several that are a cluster; `guests`: clients of other nodes' sessions that come through it
//! - `api`: what the owners of keyed tunnels ask for; `admin`: what the operator asks for; `audit`: who has changed what;
//!   `bearer`: what both show
//! - `exchanges`: one visitor's request and its response, from the event to the ack
//! - `tunnels`: which end holds which token, and what happens when another end takes over; `tokens`: which tokens exist;
//!   `storage`: where they are kept
//! - `streams`: bodies of any size, event streams and WebSockets, between exchanges and the sessions of their ends
//! - `notices`: what ends are told of that goes wrong
//! - `rules`: what owners demand of visitors' requests
//! - `tls`: the server's certificate; `ordered`: those that it orders itself; `redirecting`: the plain listener beside TLS
//! - `budgets`, `quotas` and `throttle`: what peers share, what the tunnels of a key may carry, and the rate limit of an address
//! - `figures`: what an operator can watch

mod admin;
mod api;
mod audit;
mod bearer;
mod bind;
mod budgets;
mod code;
mod error_reply;
mod exchanges;
mod failure;
mod figures;
mod guests;
mod interstitial;
mod node;
mod notices;
mod ordered;
mod own_hosts;
mod page;
mod public_url;
mod quotas;
mod redirecting;
mod route;
mod router;
mod rules;
mod settings;
mod shared_origin;
mod stopping;
mod storage;
mod streams;
mod throttle;
mod tls;
mod tokens;
mod tunnels;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use http::request::Parts;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::admin::{Admin, Blocks};
use self::api::Api;
pub use self::bind::bind;
use self::budgets::Budgets;
use self::exchanges::Exchanges;
use self::figures::{FailedRequests, Figures};
use self::guests::Guests;
use self::own_hosts::OwnHosts;
use self::public_url::PublicUrl;
use self::redirecting::Redirecting;
use self::router::Router;
use self::rules::Rulebook;
use self::settings::{end_limits, engine_io_settings, seal, session_limits, socket_io_settings};
use self::stopping::until_stopped;
use self::throttle::Throttle;
use self::tls::Secured;
use self::tokens::Tokens;
use self::tunnels::{TunnelHost, Tunnels};
use crate::acme;
use crate::cluster::{Cluster, hop};
use crate::config::ServeConfig;
use crate::defaults;
use crate::engine::{CLOSE_TIMEOUT, Engine, SocketIo};
use crate::net::arrival::Arrival;
use crate::net::body::RequestBody;
use crate::net::budget::{AddressSlot, Budget, Exempt, PerAddress};
use crate::net::listener::{Handler, UnreadHeads};
use crate::net::reply::Reply;
use crate::net::tls::Tls;
use crate::net::{linger, listener};
use crate::store::Store;

/// The listeners of one server: one or more, at addresses that mean the same server.
#[derive(Debug)]
pub struct Listeners(Vec<TcpListener>);

impl From<TcpListener> for Listeners {
    fn from(listener: TcpListener) -> Self {
        Self(vec![listener])
    }
}

impl From<Vec<TcpListener>> for Listeners {
    fn from(listeners: Vec<TcpListener>) -> Self {
        Self(listeners)
    }
}

/// Runs the relay on its listeners until `shutdown` completes; then lets exchanges in flight finish, within the drain timeout,
/// tells the ends to reconnect elsewhere, and returns. `ready` is called once nothing can fail any more, with the URL by which the
/// server is reached.
///
/// # Errors
/// When the certificate or the store that the settings ask for cannot be used, when the listener does not know its own address, when figures cannot
/// be served where they should be, and when a task that the whole server needs ends by itself.
pub async fn run(
    listeners: impl Into<Listeners>,
    config: ServeConfig,
    ready: impl FnOnce(&str),
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let metrics_listen = config.metrics_listen;
    let secured = Secured::open(&config.tls, config.acme.is_on())?;
    let Listeners(listeners) = listeners.into();
    let budgets = Budgets::new(&config);
    tokio::pin!(shutdown);
    // Another server may have the store still.
    let store = tokio::select! {
        // A server that is told to stop while it starts says first that it is ready.
        biased;
        store = storage::open(&config, &budgets.tunnels_per_address) => store?,
        () = &mut shutdown => return Ok(()),
    };
    let acme = ordered::open(&config, &store, secured.as_ref().map(Secured::shown)).await?;
    let tls = secured.as_ref().map(|secured| secured.tls.clone());
    let node = node::open(&config, &store, &budgets.bytes).await?;
    let blocks = Arc::new(Blocks::open(store.values()).await.map_err(io::Error::other)?);
    let operator = match &config.admin.admin {
        Some(place) => Some(admin::listen(place, config.admin.admin_secret.as_ref()).await?),
        None => None,
    };
    let relay = Arc::new(Relay::new(
        config,
        &listeners,
        budgets,
        store,
        Arc::clone(&blocks),
        (tls, acme.as_ref().map(|acme| Arc::clone(acme.figures()))),
        node.as_ref().map(|node| Arc::clone(&node.cluster)),
    )?);
    // Tasks without which the server must not go on. None of them ever completes.
    let mut vital = JoinSet::new();
    if let Some(address) = metrics_listen {
        for listener in figures::endpoint::listeners(address).await? {
            vital.spawn(figures::endpoint::serve(listener, Arc::clone(&relay)));
        }
    }
    let ordering = acme.map(|acme| vital.spawn(acme.run()));
    let tunnels = Arc::clone(&relay.tunnels);
    vital.spawn(blocks.keep(move |token| tunnels.close(token, u64::MAX)));
    if let Some(listener) = operator {
        vital.spawn(admin::serve(listener, Arc::new(relay.admin())));
    }
    vital.spawn(Arc::clone(&relay.tunnels).sweep());
    vital.spawn(Arc::clone(&relay.tunnels).restore());
    vital.spawn(Arc::clone(&relay.tokens).keep());
    let (stop, told) = watch::channel(());
    // In tasks of their own, so that a connection is served by the thread that accepted it.
    let mut serving = JoinSet::new();
    // The channel closes when the server stops.
    let stopped = |mut stopped: watch::Receiver<()>| async move { drop(stopped.changed().await) };
    if let Some(secured) = secured {
        let redirecting = Arc::new(relay.redirecting(&listeners, &secured)?);
        for listener in redirecting::listeners(relay.config.tls.http_listen).await? {
            let limits = listener::Limits { tls: None, ..relay.connection_limits() };
            serving.spawn(listener::serve(listener, Arc::clone(&redirecting), limits, stopped(told.clone())));
        }
        vital.spawn(secured.keep(Arc::clone(&relay.config.tls.reload)));
    }
    for listener in listeners {
        let limits = relay.connection_limits();
        serving.spawn(listener::serve(listener, Arc::clone(&relay), limits, stopped(told.clone())));
    }
    if let Some(node) = node {
        let router = Arc::clone(&relay.router);
        vital.spawn(Arc::clone(&node.cluster).keep(move |message| router.take_up(message)));
        vital.spawn(node::leave_when_lost(Arc::clone(&node.cluster), Arc::clone(&relay.tunnels)));
        for listener in node.listeners {
            let (me, limits) = ((node.cluster.me(), Arc::clone(&node.secret)), relay.hop_limits(node.has_tls));
            serving.spawn(hop::serve(listener, me, limits, Arc::clone(&relay.router), stopped(told.clone())));
        }
    }
    // All tasks of the server's own run: the figures from here on are those of its work.
    ready(&relay.router.url);
    let result = until_stopped(&mut vital, &mut serving, shutdown).await;
    // The next server goes on with its order.
    ordering.inspect(tokio::task::AbortHandle::abort);
    let stopping = async {
        relay.router.drain(relay.config.drain_timeout).await;
        drop(stop);
        while let Some(served) = serving.join_next().await {
            served.map_err(io::Error::other)?;
        }
        io::Result::Ok(())
    };
    tokio::select! {
        stopped = stopping => stopped?,
        never = relay.router.see_guests_off() => match never {},
    }
    // The process may end as soon as this returns, so the ends must have heard of it before.
    if tokio::time::timeout(CLOSE_TIMEOUT, relay.router.engine.closed()).await.is_err() {
        tracing::warn!(sessions = relay.router.engine.session_count(), "some ends do not read what they were sent");
    }
    result
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").finish_non_exhaustive()
    }
}

impl Collector for Relay {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.figures().encode(encoder)
    }
}

impl Handler for Relay {
    fn serve(
        &self,
        head: &mut Parts,
        body: &mut RequestBody,
        arrival: &Arrival<'_>,
    ) -> impl Future<Output = Reply> + Send {
        self.router.serve(head, body, arrival)
    }
}

/// The relay as a whole.
struct Relay {
    config: Arc<ServeConfig>,
    budgets: Budgets,
    unread_heads: Arc<UnreadHeads>,
    tls: Option<Tls>,
    /// `None` if it orders no certificates.
    acme: Option<Arc<acme::Figures>>,
    tunnels: Arc<Tunnels>,
    tokens: Arc<Tokens>,
    router: Arc<Router>,
}

impl Relay {
    fn new(
        config: ServeConfig,
        listeners: &[TcpListener],
        budgets: Budgets,
        store: Store<AddressSlot>,
        blocks: Arc<Blocks>,
        (tls, acme): (Option<Tls>, Option<Arc<acme::Figures>>),
        cluster: Option<Arc<Cluster>>,
    ) -> io::Result<Self> {
        let url = match &config.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => local_url(&tls, listeners.first().ok_or(io::ErrorKind::InvalidInput)?.local_addr()?),
        };
        let hosts = OwnHosts::new(config.tunnel_host.as_ref(), &url);
        let hosts = hosts.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let config = Arc::new(config);
        let lifetime = config.token_ttl + config.grace();
        let tokens = Arc::new(Tokens::new(store, Arc::clone(&blocks), &budgets, lifetime).in_cluster(cluster.clone()));
        let rulebook = Arc::new(Rulebook::new(seal(&config)));
        let tunnels = Tunnels::new(Arc::clone(&tokens), Arc::clone(&rulebook), budgets.clone(), end_limits(&config));
        let public_url = PublicUrl::new(config.public_url.as_deref());
        let host = TunnelHost::new(Arc::clone(&tunnels), public_url.clone(), &url, hosts.clone());
        let socket_io = SocketIo::new(host, socket_io_settings(&config));
        let (of_engine_io, of_sessions) = (engine_io_settings(&config), session_limits(&config, &budgets));
        let router = Router {
            engine: match cluster {
                Some(cluster) => Engine::with_sids(socket_io, of_engine_io, of_sessions, move || cluster.new_sid()),
                None => Engine::new(socket_io, of_engine_io, of_sessions),
            },
            exchanges: Exchanges::new(
                (Arc::clone(&tunnels), Arc::clone(&tokens)),
                budgets.clone(),
                (public_url.clone(), hosts.clone()),
                Arc::clone(&rulebook),
                Arc::clone(&config),
            ),
            tokens: Arc::clone(&tokens),
            blocks,
            api: Api {
                tokens: Arc::clone(&tokens),
                tunnels: Arc::clone(&tunnels),
                config: Arc::clone(&config),
                public_url,
                hosts: hosts.clone(),
                rulebook,
                memory: Arc::clone(&budgets.bytes),
            },
            throttle: Throttle::new(&config, Arc::clone(&budgets.hits)),
            failed_requests: FailedRequests::default(),
            error_status: config.error_status,
            hosts,
            guests: Guests::default(),
            has_warned_of_proxy: AtomicBool::new(false),
            url,
        };
        let router = Arc::new(router);
        Ok(Self { config, budgets, unread_heads: Arc::default(), tls, acme, tunnels, tokens, router })
    }

    fn admin(&self) -> Admin {
        Admin {
            tokens: Arc::clone(&self.tokens),
            tunnels: Arc::clone(&self.tunnels),
            rulebook: Arc::clone(&self.router.api.rulebook),
            blocks: Arc::clone(&self.router.blocks),
        }
    }

    /// Returns what the plain listener beside TLS answers.
    fn redirecting(self: &Arc<Self>, listeners: &[TcpListener], secured: &Secured) -> io::Result<Redirecting<Self>> {
        let port = listeners.first().ok_or(io::ErrorKind::InvalidInput)?.local_addr()?.port();
        Ok(Redirecting::new(
            &self.config,
            port,
            Arc::clone(&secured.challenges),
            self.router.hosts.clone(),
            Arc::clone(self),
        ))
    }

    fn figures(&self) -> Figures<'_> {
        Figures {
            exchanges: self.router.exchanges.counters(),
            hops: self.router.exchanges.hops(),
            cluster: self.tokens.cluster().map(|cluster| &**cluster),
            failed_requests: &self.router.failed_requests,
            budgets: &self.budgets,
            unread_heads: &self.unread_heads,
            handshakes: self.tls.as_ref().map(|tls| &*tls.handshakes),
            acme: self.acme.as_deref(),
            sessions: self.router.engine.open().collect(),
            sessions_ended: self.router.engine.ended().collect(),
            tunnels: self.tunnels.occupied(),
            ends: self.tunnels.ends(),
            tokens: self.tokens.count(),
            store: self.tokens.calls(),
            notices: self.tunnels.notices().counts(),
        }
    }

    /// Returns the limits of connections from other nodes, and the memory for what nodes tell.
    fn hop_limits(&self, has_tls: bool) -> (listener::Limits, Arc<Budget>) {
        let limits = listener::Limits {
            connections: Budget::new(self.config.cluster.max_hops.saturating_mul(defaults::MAX_PEERS)),
            per_address: PerAddress::new(usize::MAX, Exempt::default()),
            tls: self.tls.clone().filter(|_| has_tls),
            ..self.connection_limits()
        };
        (limits, Arc::clone(&self.budgets.bytes))
    }

    fn connection_limits(&self) -> listener::Limits {
        let limits = &self.config.limits;
        listener::Limits {
            connections: Arc::clone(&self.budgets.connections),
            per_address: Arc::clone(&self.budgets.connections_per_address),
            refusal: error_reply::connection_refusal(),
            error: error_reply::unread_head,
            unread_heads: Arc::clone(&self.unread_heads),
            hits: Arc::clone(&self.budgets.hits),
            lingering: Arc::new(linger::Limits {
                connections: Arc::clone(&self.budgets.lingering),
                per_address: Arc::clone(&self.budgets.lingering_per_address),
                max_bytes: self.config.max_body.saturating_mul(2).max(defaults::LINGERING_BYTES),
            }),
            head_timeout: limits.head_timeout,
            head_memory: Arc::clone(&self.budgets.head_bytes),
            max_head: limits.max_head,
            max_headers: limits.max_headers,
            stall_timeout: limits.stall_timeout,
            trusted_proxies: self.config.trust_proxy.clone().into(),
            proxy_protocol: self.config.proxy_protocol,
            tls: self.tls.clone(),
        }
    }
}

/// Returns the URL by which a server is reached from its own machine.
fn local_url(tls: &Option<Tls>, address: SocketAddr) -> String {
    let scheme = if tls.is_some() { "https" } else { "http" };
    if address.ip().is_unspecified() {
        format!("{scheme}://localhost:{}", address.port())
    } else {
        format!("{scheme}://{address}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_is_ready_at_its_public_url_without_a_slash_at_its_end() {
        let config = ServeConfig { public_url: Some("https://tunnel.example/".to_owned()), ..ServeConfig::defaults() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut ready = String::new();
        run(listener, config, |url| ready.push_str(url), std::future::ready(())).await.unwrap();
        assert_eq!(ready, "https://tunnel.example");
    }
}
