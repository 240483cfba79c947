//! The server: sockets, tasks and time around the machines of [`crate::proto`].
//!
//! In reading order:
//!
//! - [`run`]: the relay on a listener, until it is told to stop
//! - [`http`]: connections in, requests to a handler
//! - `route`: which request goes where; `page`, `reply` and `failure` make the answers of the relay's own
//! - `forward`: one exchange; `forwarded`: who the visitor is; `throttle`: the rate limit
//! - `tunnels`: which end holds which token
//! - [`socket_io`]: the Socket.IO server, for any host; the relay is one
//! - [`engine`]: the Engine.IO server, for any application; Socket.IO is one
//! - [`link`]: the one task that owns a session; `polling` and `websocket`: its transports
//!
//! A session's task is the only one that touches its machine. Everybody else sends it commands through a bounded mailbox
//! and gets answers through oneshots; a full mailbox is a 503. No lock is held across an await.

mod clock;
pub mod engine;
mod failure;
mod forward;
mod forwarded;
pub mod http;
pub mod link;
mod page;
mod polling;
pub mod reply;
mod route;
pub mod socket_io;
mod throttle;
mod tunnels;
mod websocket;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use self::engine::Engine;
use self::forward::{Forwarder, Ids};
use self::route::Router;
use self::socket_io::SocketIo;
use self::throttle::Throttle;
use self::tunnels::{Relay, Tunnels};
use crate::config::ServeConfig;
use crate::proto::{engine_io, socket_io as protocol};
use crate::store::Store;

/// Tokens in memory at most: 100 MB of them, more than six hours of one a second from fifty addresses.
const MAX_TOKENS: usize = 1_000_000;

/// Runs the relay on a listener until `shutdown` is ready; then lets exchanges in flight finish, within the drain timeout,
/// tells the ends to reconnect elsewhere, and returns.
///
/// # Errors
/// When the listener does not know its own address.
pub async fn run(
    listener: TcpListener,
    config: ServeConfig,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let router = Arc::new(router(config, &listener)?);
    let sweeper = tokio::spawn(Arc::clone(&router.forwarder.tunnels).sweep());
    let (stop, stopped) = oneshot::channel::<()>();
    let handler = {
        let router = Arc::clone(&router);
        move |request, peer| {
            let router = Arc::clone(&router);
            async move { router.route(request, peer).await }
        }
    };
    let serving = http::serve(listener, handler, async { drop(stopped.await) });
    let stopping = async {
        shutdown.await;
        drain(&router).await;
        drop(stop);
    };
    tokio::join!(serving, stopping);
    sweeper.abort();
    Ok(())
}

/// Ends on long-polling need requests of their own to answer, so the listener stays open until the exchanges are done.
async fn drain(router: &Router) {
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
    router.engine.close_all(engine_io::CloseReason::ServerShuttingDown).await;
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
    let store = Arc::new(Store::in_memory(MAX_TOKENS));
    let tunnels = Tunnels::new(Arc::clone(&store));
    let max_payload = config.payload_limit();
    let engine_settings = engine_io::Settings {
        revisions: config.engine_io.clone(),
        ping_interval: config.ping_interval,
        ping_timeout: config.ping_timeout,
        upgrade_timeout: config.upgrade_timeout,
        max_payload,
        max_buffered_bytes: 4 * max_payload,
        ..engine_io::Settings::default()
    };
    let settings = protocol::connection::Settings {
        connect_timeout: config.connect_timeout,
        ack_timeout: config.response_timeout,
        max_attachment_bytes: max_payload,
        ..protocol::connection::Settings::default()
    };
    let application = SocketIo::new(Relay { tunnels: Arc::clone(&tunnels) }, settings);
    Ok(Router {
        engine: Engine::new(application, engine_settings, config.mailbox as usize),
        forwarder: Forwarder {
            tunnels,
            store: Arc::clone(&store),
            config: Arc::clone(&config),
            ids: Ids::new(rand::random()),
        },
        store,
        throttle: Throttle::new(&config),
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
