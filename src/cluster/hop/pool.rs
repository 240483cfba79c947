//! The connections of a node to the others: those without a request are kept for the next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use http::HeaderValue;
use http::request::Parts;
use hyper::client::conn::http1::SendRequest;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::dial::{Dialer, NotDialled};
use super::greeting::Greeted;
use super::limits::{IDLE, MAX_DIALLING, READY, SWEEP};
use super::note::Note;
use super::outgoing::Outgoing;
use super::stamp::{Forged, Stamps};
use super::undone::Undone;
use crate::net::budget::{Budget, Held};
use crate::proto::node::NodeId;
use crate::tables;

/// The connections to all other nodes.
pub(super) struct Pool {
    dialer: Dialer,
    /// The most connections to one node.
    max: usize,
    nodes: Mutex<Nodes>,
}

#[derive(Default)]
struct Nodes {
    of: HashMap<NodeId, Connections>,
    /// A task closes connections without a request.
    is_swept: bool,
}

impl Nodes {
    /// Returns the connections to a node, of which there may be `max`.
    fn connections(&mut self, node: NodeId, max: usize) -> &mut Connections {
        self.of.entry(node).or_insert_with(|| Connections {
            places: Budget::new(max),
            dialling: Arc::new(Semaphore::new(MAX_DIALLING)),
            idle: Vec::new(),
        })
    }
}

/// The connections to one node.
struct Connections {
    /// All of them.
    places: Arc<Budget>,
    /// Those that are being opened.
    dialling: Arc<Semaphore>,
    /// Those without a request, and since when; that of the last request is the last.
    idle: Vec<(Open, Instant)>,
}

/// A connection that is open. Dropping it closes it at once, whatever is on its way.
pub(super) struct Open {
    node: NodeId,
    pub(super) sender: SendRequest<Outgoing>,
    stamps: Stamps,
    _task: AbortOnDropHandle<()>,
    _place: Held,
}

impl Open {
    /// Returns the stamp of the next request.
    pub(super) fn stamp(&mut self, head: &Parts, note: &Note) -> Result<HeaderValue, Forged> {
        self.stamps.stamp(head, note)
    }

    /// Waits until the connection takes a request. False if it does not, since the callee has closed it.
    async fn is_ready(&mut self) -> bool {
        matches!(timeout(READY, self.sender.ready()).await, Ok(Ok(())))
    }
}

impl Pool {
    pub(super) fn new(dialer: Dialer, max: usize) -> Arc<Self> {
        Arc::new(Self { dialer, max, nodes: Mutex::default() })
    }

    /// Returns a connection to a node that has no request, and was not closed as far as this node knows. `None` if there is none.
    pub(super) async fn idle(&self, node: NodeId) -> Option<Open> {
        loop {
            let (mut open, _) = self.nodes().of.get_mut(&node)?.idle.pop()?;
            if open.is_ready().await {
                return Some(open);
            }
        }
    }

    /// Opens a connection to a node.
    ///
    /// # Errors
    /// With [`Undone::Full`], [`Undone::Unreached`] or [`Undone::Cut`].
    pub(super) async fn open(&self, node: NodeId, advertise: &str) -> Result<Open, Undone> {
        let place = self.place(node).ok_or(Undone::Full)?;
        let dialling = self.dialling(node);
        // The semaphore is never closed.
        let turn = dialling.acquire_owned().await.ok();
        let dialled = self.dialer.dial(node, advertise).await.map_err(|not_dialled| match not_dialled {
            NotDialled::Down(why) => Undone::Unreached(why.into()),
            NotDialled::Cut(why) => Undone::Cut(why.into()),
        })?;
        drop(turn);
        let (sender, connection, Greeted { version, key, .. }) = dialled;
        let task = tokio::spawn(async move {
            // How it failed is known to its request.
            let _ = connection.with_upgrades().await;
        });
        let (stamps, task) = (Stamps::new(key, version), AbortOnDropHandle::new(task));
        Ok(Open { node, sender, stamps, _task: task, _place: place })
    }

    fn place(&self, node: NodeId) -> Option<Held> {
        self.nodes().connections(node, self.max).places.hold(1)
    }

    fn dialling(&self, node: NodeId) -> Arc<Semaphore> {
        Arc::clone(&self.nodes().connections(node, self.max).dialling)
    }

    /// Keeps a connection whose response was read for the next request.
    pub(super) fn keep(self: &Arc<Self>, open: Open) {
        if open.sender.is_closed() {
            return;
        }
        let mut nodes = self.nodes();
        let Some(connections) = nodes.of.get_mut(&open.node) else { return };
        connections.idle.push((open, Instant::now()));
        if !std::mem::replace(&mut nodes.is_swept, true) {
            drop(tokio::spawn(sweep(Arc::downgrade(self))));
        }
    }

    /// Closes connections that had no request for [`IDLE`]. Returns whether any are left without one.
    fn close_idle(&self) -> bool {
        let mut nodes = self.nodes();
        nodes.of.retain(|_, connections| {
            connections.idle.retain(|(open, since)| since.elapsed() < IDLE && !open.sender.is_closed());
            connections.places.used() > 0
        });
        tables::shrink(&mut nodes.of);
        nodes.is_swept = nodes.of.values().any(|connections| !connections.idle.is_empty());
        nodes.is_swept
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many connections to a node there are, and how many of them have no request.
    #[cfg(test)]
    pub(super) fn count(&self, node: NodeId) -> (usize, usize) {
        self.nodes().of.get(&node).map_or((0, 0), |connections| (connections.places.used(), connections.idle.len()))
    }
}

/// Closes connections without a request, as long as there are any.
async fn sweep(pool: Weak<Pool>) {
    loop {
        sleep(SWEEP).await;
        if !pool.upgrade().is_some_and(|pool| pool.close_idle()) {
            return;
        }
    }
}
