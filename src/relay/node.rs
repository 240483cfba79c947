//! The relay as a node of a cluster: where others reach it, what they ask of it, and what they tell it.

use std::collections::HashSet;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use http::request::Parts;
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::admin;
use super::bind;
use super::router::Router;
use super::tunnels::Tunnels;
use crate::cluster::hop::{Called, Calling, Hops, Note};
use crate::cluster::keys::Secret;
use crate::cluster::{self, Cluster, LEASE, Message};
use crate::config::ServeConfig;
use crate::defaults;
use crate::net::arrival::Arrival;
use crate::net::body::RequestBody;
use crate::net::budget::Budget;
use crate::net::reply::Reply;
use crate::store::{Peer, Store};
use crate::trust;

/// A node whose listeners are there.
pub(super) struct Node {
    pub(super) cluster: Arc<Cluster>,
    pub(super) listeners: Vec<TcpListener>,
    pub(super) secret: Arc<Secret>,
    /// Other nodes are to find a certificate at it.
    pub(super) has_tls: bool,
}

/// Makes the server a node, if its settings say so.
///
/// # Errors
/// When the settings do not fit each other, the address for other nodes cannot be listened on, and certificates cannot be read.
pub(super) async fn open<H: Send + Sync + 'static>(
    config: &ServeConfig,
    store: &Store<H>,
    memory: &Arc<Budget>,
) -> io::Result<Option<Node>> {
    let Some(listen) = config.cluster.cluster_listen else { return Ok(None) };
    let wrong =
        |message: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("--cluster-listen needs {message}"));
    let nodes = store.nodes().ok_or_else(|| wrong("a store in Redis, which its nodes share"))?;
    let secret = config.cluster.cluster_secret.as_ref().ok_or_else(|| wrong("--cluster-secret-file"))?;
    let secret = str::from_utf8(secret.as_bytes()).map_err(|_| wrong("a secret of text"))?;
    let secret = Arc::new(Secret::from_text(secret).map_err(io::Error::other)?);
    let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot serve other nodes: {error}"));
    let listeners = bind(listen).await.map_err(named)?;
    let port = listeners.first().ok_or(io::ErrorKind::InvalidInput)?.local_addr()?.port();
    let advertise = config.cluster.advertised(port).ok_or_else(|| wrong("--advertise"))?;
    let tls = trust::tls(config.cluster.cluster_ca.as_deref()).map_err(io::Error::other)?;
    let id = cluster::new_id();
    tracing::info!(node = %id, advertise, "this server is a node of a cluster");
    if !advertise.starts_with("https:") {
        tracing::info!("requests and answers go between nodes without TLS: their network must be private");
    }
    let has_tls = advertise.starts_with("https:");
    let me = Peer {
        node: id,
        advertise: advertise.into(),
        label: config.cluster.node_id.clone().unwrap_or_default().into(),
        version: env!("CARGO_PKG_VERSION").into(),
        is_draining: false,
        lease: LEASE,
    };
    let hops = Hops::new(Calling {
        node: id,
        secret: Arc::clone(&secret),
        tls: Some(Arc::new(tls)),
        max_hops: config.cluster.max_hops,
        memory: Arc::clone(memory),
        stall_timeout: config.limits.stall_timeout,
        response_head: (config.limits.max_response_head, config.limits.max_response_headers),
    });
    Ok(Some(Node { cluster: Cluster::new(me, nodes, &secret, hops), listeners, secret, has_tls }))
}

/// Sends the ends of this node to others whenever it has lost its place among them. Never completes.
pub(super) async fn leave_when_lost(cluster: Arc<Cluster>, tunnels: Arc<Tunnels>) -> Infallible {
    loop {
        cluster.lost_place().await;
        tracing::warn!(ends = tunnels.ends(), "moving ends to the nodes that have the store");
        let regained = async {
            while !cluster.has_lease() {
                sleep(defaults::PEERS_LOOK).await;
            }
        };
        tokio::select! {
            biased;
            () = regained => tracing::info!(ends = tunnels.ends(), "the ends that have not moved stay: the store is back"),
            () = tunnels.move_ends(defaults::MOVE_TIME) => (),
        }
    }
}

impl Router {
    /// Takes up what another node tells.
    pub(super) fn take_up(&self, message: Message) {
        let tunnels = &self.api.tunnels;
        match message {
            Message::Evict(token, epoch) => tunnels.evict(&token, epoch),
            Message::Changed(token) => tunnels.recheck(&token),
            Message::Close(token, epoch) => tunnels.close(&token, epoch),
            Message::Move(sid) => tunnels.move_sessions(&HashSet::from([sid])),
            Message::Answer(sid) => self.engine.answer_poll(sid),
        }
    }
}

/// What other nodes ask for.
impl Called for Router {
    async fn serve(&self, head: &mut Parts, body: &mut RequestBody, arrival: &Arrival<'_>, note: Note) -> Reply {
        self.serve_hop(head, body, arrival, &note).await
    }

    fn told(&self, messages: Vec<String>) {
        let Some(cluster) = self.tokens.cluster() else { return };
        let mut moving = HashSet::new();
        for message in &messages {
            match Message::parse(message) {
                Some(Message::Move(sid)) => drop(moving.insert(sid)),
                Some(message) => cluster.told(message),
                // Of a version that knows more.
                None => (),
            }
        }
        // At once: each look goes through all tunnels.
        if !moving.is_empty() {
            self.api.tunnels.move_sessions(&moving);
        }
    }

    fn tunnels(&self, token: Option<&str>) -> String {
        admin::told(&self.api.tunnels, self.tokens.cluster().map(Arc::as_ref), token)
    }

    fn standing(&self) -> String {
        self.tokens.cluster().map(|cluster| cluster.standing()).unwrap_or_default()
    }
}
