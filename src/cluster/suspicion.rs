//! Nodes that do not answer: a process that was stopped takes connections, and no timeout of connecting finds it out.

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::Cluster;
use super::directory::{LATER, LEASE, PATIENCE, SLOW};
use super::watched::Watched;
use crate::net::seldom::Seldom;
use crate::proto::node::NodeId;
use crate::store::Peer;

/// How often the log says that nodes cannot be reached.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// How often in a row a node that is not in the table must not answer to be gone.
const SILENT: u32 = 3;

impl Cluster {
    /// Returns a node to wait for. It is gone once its lease has lapsed and it does not answer.
    pub(super) fn watch(self: &Arc<Self>, peer: &Peer) -> Watched {
        let (watched, is_new) = self.watches.watch(peer.node);
        if is_new {
            let (node, peer) = (Arc::clone(self), peer.clone());
            drop(tokio::spawn(async move { node.look_after(&peer).await }));
        }
        watched
    }

    /// Looks whether a node is gone, while something waits for it.
    async fn look_after(&self, peer: &Peer) {
        let mut silent = 0;
        loop {
            sleep(SLOW).await;
            if !self.watches.is_waited_for(peer.node) {
                return;
            }
            let is_listed = self.directory().peers().iter().any(|listed| listed.node == peer.node);
            // One that is new is not in the table yet. A busy machine may miss a question.
            silent = if is_listed || self.ask(peer).await.is_ok() { 0 } else { silent + 1 };
            if silent == SILENT {
                return self.watches.gone(peer.node);
            }
        }
    }

    /// Asks a node whether it is there, while a request to it has no response for long: it gets no other requests if it is not. Never
    /// completes.
    pub(super) async fn doubt(self: &Arc<Self>, peer: &Peer) -> Infallible {
        loop {
            sleep(SLOW).await;
            let asks = self.directory().note_slow(peer.node, self.clock.now());
            if asks {
                // In a task of its own: the request may be over before the answer comes, and others wait for it.
                let (node, peer) = (Arc::clone(self), peer.clone());
                drop(tokio::spawn(async move { node.ask(&peer).await }));
            }
        }
    }

    /// Asks a node whether it is there.
    ///
    /// # Errors
    /// With the reason if it does not say so.
    pub(super) async fn ask(&self, peer: &Peer) -> Result<(), String> {
        let silent = match timeout(PATIENCE, self.hops.ping((peer.node, &peer.advertise))).await {
            Ok(Ok(standing)) => {
                let now = self.clock.now();
                let mut directory = self.directory();
                let theirs = standing.parse().ok().map(Duration::from_millis);
                let has_store = match (directory.renewed_ago(now), theirs) {
                    (Some(ours), Some(theirs)) => ours >= theirs + LATER,
                    (None, Some(theirs)) => theirs < LEASE,
                    (_, None) => false,
                };
                directory.answered(peer.node, has_store, now);
                return Ok(());
            }
            Ok(Err(undone)) => undone.to_string(),
            Err(_) => format!("it does not say within {PATIENCE:?} that it is there"),
        };
        self.say_unreached(peer, &silent);
        Err(silent)
    }

    /// Asks a node of the table whether it is there.
    pub(super) async fn ask_listed(&self, node: NodeId) {
        let peer = self.directory().peers().iter().find(|peer| peer.node == node).cloned();
        if let Some(peer) = peer {
            // The log says why it does not answer.
            let _ = self.ask(&peer).await;
        }
    }

    /// Logs, now and then, that a node cannot be reached.
    pub(super) fn say_unreached(&self, peer: &Peer, reason: impl Display) {
        static LOG: Seldom = Seldom::new(SAID_EVERY);
        let Peer { node, label, advertise, .. } = peer;
        match LOG.pass() {
            Some(unlogged) => tracing::warn!(%node, %label, %advertise, unlogged, "a node cannot be reached: {reason}"),
            None => tracing::debug!(%node, "a node cannot be reached: {reason}"),
        }
    }
}
