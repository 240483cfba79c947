//! The relay: tokens, tunnels and exchanges on a [Socket.IO server](crate::engine).
//!
//! In reading order:
//!
//! - [`run`]: the relay on a listener, until it is told to stop
//! - `route`: which request goes where; `page` and `failure` make the responses of the relay's own
//! - `exchange`: one visitor's request and its response; `throttle`: the rate limit by address
//! - `tunnels`: which end holds which token
//! - `figures`: what an operator can watch

mod exchange;
mod failure;
mod figures;
mod page;
mod route;
mod throttle;
mod tunnels;
mod waiter;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::http::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use self::exchange::{Forwarder, Ids};
use self::figures::{Budgets, Exchanges};
use self::route::Router;
use self::throttle::Throttle;
use self::tunnels::{Relay, Tunnels};
use crate::config::ServeConfig;
use crate::defaults;
use crate::engine::socket_io::SocketIo;
use crate::engine::{self, Engine};
use crate::net::budget::{Budget, PerAddress};
use crate::net::{listener as http, reply};
use crate::proto::{engine_io, socket_io as protocol};
use crate::store::Store;

/// Runs the relay on a listener until `shutdown` is ready; then lets exchanges in flight finish, within the drain timeout,
/// tells the ends to reconnect elsewhere, and returns. `ready` is called once nothing can fail any more.
///
/// # Errors
/// When the listener does not know its own address, or figures cannot be served where they should be.
pub async fn run(
    listener: TcpListener,
    config: ServeConfig,
    ready: impl FnOnce(),
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let router = Arc::new(router(config, &listener)?);
    let figures = match router.config.metrics_listen {
        Some(address) => Some(tokio::spawn(serve_metrics(metrics_listener(address).await?, Arc::clone(&router)))),
        None => None,
    };
    let sweeper = tokio::spawn(Arc::clone(&router.forwarder.tunnels).sweep());
    let (stop, stopped) = oneshot::channel::<()>();
    let handler = {
        let router = Arc::clone(&router);
        move |request, peer| {
            let router = Arc::clone(&router);
            async move { router.route(request, peer).await }
        }
    };
    // In a task of its own, so that a connection is served by the thread that took it in.
    let serving =
        tokio::spawn(http::serve(listener, handler, router.connection_limits(), async { drop(stopped.await) }));
    // All tasks of the server's own run: the figures from here on are those of its work.
    ready();
    let stopping = async {
        shutdown.await;
        drain(&router).await;
        drop(stop);
    };
    stopping.await;
    serving.await.map_err(std::io::Error::other)?;
    sweeper.abort();
    if let Some(figures) = figures {
        figures.abort();
    }
    Ok(())
}

async fn metrics_listener(address: std::net::SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| std::io::Error::new(error.kind(), format!("cannot serve metrics on {address}: {error}")))?;
    tracing::info!(address = %listener.local_addr()?, "metrics at /metrics");
    Ok(listener)
}

/// Figures have a listener of their own: they are the operator's, and nobody else's.
async fn serve_metrics(listener: TcpListener, router: Arc<Router>) {
    let handler = move |request: hyper::Request<hyper::body::Incoming>, _| {
        let router = Arc::clone(&router);
        async move {
            match request.uri().path() {
                "/metrics" => router.metrics(),
                _ => reply::text(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "there is /metrics\n"),
            }
        }
    };
    http::serve(listener, handler, http::Limits::default(), std::future::pending()).await;
}

/// Ends on long-polling need requests of their own to answer, so the listener stays open until the exchanges are done.
async fn drain(router: &Router) {
    router.engine.stop_opening();
    router.draining.store(true, Ordering::Relaxed);
    router.exchanges.close();
    let in_flight = router.exchanges.len();
    tracing::info!(in_flight, timeout = ?router.config.drain_timeout, "stopping: exchanges in flight may finish");
    if tokio::time::timeout(router.config.drain_timeout, router.exchanges.wait()).await.is_err() {
        tracing::warn!(in_flight = router.exchanges.len(), "some exchanges did not finish in time");
    }
    let ends = router.forwarder.tunnels.count();
    let sessions = router.engine.session_count();
    tracing::info!(ends, sessions, "closing sessions: their clients will reconnect");
    router.engine.close_all(engine_io::CloseReason::ServerShuttingDown);
}

fn router(config: ServeConfig, listener: &TcpListener) -> std::io::Result<Router> {
    let url = match &config.public_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => local_url(listener.local_addr()?),
    };
    if config.redis_url.is_some() {
        tracing::warn!("REDIS_URL is set, but this version keeps tokens in memory: they are gone after a restart");
    }
    let config = Arc::new(config);
    let limits = &config.limits;
    let store = Arc::new(Store::in_memory(limits.max_tokens));
    let proxies = config.trust_proxy.clone();
    let budgets = Budgets {
        connections: Budget::new(limits.max_connections),
        connections_per_address: PerAddress::new(
            limits.max_connections_per_address,
            defaults::MAX_CONNECTIONS_PER_ADDRESS,
            proxies.clone(),
        ),
        sessions: Budget::new(limits.max_sessions),
        sessions_per_address: PerAddress::new(
            limits.max_sessions_per_address,
            defaults::MAX_SESSIONS_PER_ADDRESS,
            proxies,
        ),
        exchanges: Budget::new(limits.max_exchanges),
        bytes: Budget::new(config.max_buffered()),
    };
    let tunnels = Tunnels::new(Arc::clone(&store), budgets.clone(), limits.max_exchanges_per_tunnel);
    let max_payload = config.payload_limit();
    let engine_settings = engine_io::Settings {
        revisions: config.engine_io.clone(),
        ping_interval: config.ping_interval,
        ping_timeout: config.ping_timeout,
        upgrade_timeout: config.upgrade_timeout,
        max_payload,
        max_packets: limits.max_packets,
        max_buffered_bytes: (4 * max_payload).min(config.max_buffered() / 4),
        ..engine_io::Settings::default()
    };
    let settings = protocol::connection::Settings {
        connect_timeout: config.connect_timeout,
        ack_timeout: config.response_timeout,
        max_attachments: limits.max_attachments,
        max_namespaces: limits.max_namespaces,
        max_attachment_bytes: max_payload,
        max_depth: limits.max_depth,
        ..protocol::connection::Settings::default()
    };
    let session_limits = engine::Limits {
        mailbox: config.max_waiting_commands as usize,
        sessions: Arc::clone(&budgets.sessions),
        per_address: Arc::clone(&budgets.sessions_per_address),
        bytes: Arc::clone(&budgets.bytes),
        stall_timeout: limits.stall_timeout,
        origins: config.allow_origin.clone(),
    };
    let application = SocketIo::new(Relay { tunnels: Arc::clone(&tunnels) }, settings);
    Ok(Router {
        engine: Engine::new(application, engine_settings, session_limits),
        forwarder: Forwarder {
            tunnels,
            store: Arc::clone(&store),
            config: Arc::clone(&config),
            ids: Ids::new(rand::random()),
            exchanges: Exchanges::new(),
        },
        store,
        throttle: Throttle::new(&config),
        budgets,
        config,
        url,
        exchanges: TaskTracker::new(),
        draining: AtomicBool::new(false),
    })
}

/// How a server is reached from its own machine.
#[must_use]
pub fn local_url(address: std::net::SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("http://localhost:{}", address.port())
    } else {
        format!("http://{address}")
    }
}
