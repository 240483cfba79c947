//! Tunnels of a cluster: this node claims them for their ends, and hears of those that others claim.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::end::End;
use super::registry::Tunnels;
use super::tunnel::Tunnel;
use crate::cluster::{Cluster, Tried};
use crate::engine::{Host, Sid};
use crate::proto::token::Token;
use crate::relay::failure::Failure;
use crate::relay::streams::{Message, Waiter};
use crate::store::Found;

/// The result of claiming a tunnel for an end that joins.
pub(super) struct Claimed {
    /// The tunnel as it is in the store; `None` for a server that is alone, which has just looked.
    pub(super) found: Option<Found>,
    /// The epoch of the claim; `None` for a server that is alone.
    pub(super) epoch: Option<u64>,
}

impl<H: Host<Waiter = Waiter, Message = Message>> Tunnels<H> {
    fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.tokens.cluster()
    }

    /// Claims a tunnel for an end that is about to join. Ends at other nodes leave, unless the tunnel's are [`Ends::Spread`](crate::store::Ends::Spread).
    ///
    /// # Errors
    /// - [`Failure::TokenNotFound`] if there is no such tunnel any more
    /// - [`Failure::Store`] if the store cannot be used now
    pub(super) async fn claim(&self, token: &Token) -> Result<Claimed, Failure> {
        let Some(cluster) = self.cluster() else { return Ok(Claimed { found: None, epoch: None }) };
        let ends = self.find(token).map_or(0, |tunnel| tunnel.figures().ends) + 1;
        let claimed = cluster.claim(token, ends).await?.ok_or(Failure::TokenNotFound)?;
        Ok(Claimed { found: Some(claimed.found), epoch: Some(claimed.epoch) })
    }

    /// Tells whether ends may join: not once the server stops, nor while a node sends those that it has to others.
    pub(super) fn admits(&self) -> bool {
        !self.is_stopping() && !self.cluster().is_some_and(|cluster| cluster.is_draining())
    }

    /// Tells whether another node lives that does not stop.
    pub(super) fn has_others(&self) -> bool {
        self.cluster().is_some_and(|cluster| cluster.has_others())
    }

    /// Tells whether another node has the ends of a tunnel that has none here.
    pub(super) async fn is_elsewhere(&self, token: &Token, tried: Tried) -> bool {
        let Some(cluster) = self.cluster() else { return false };
        let located = cluster.locate_anew(token).await;
        located.is_ok_and(|located| cluster.choose(&located, false, tried).is_some())
    }

    /// Completes when another node has claimed a tunnel that has no end here. Never completes on a server that is alone.
    pub(in crate::relay) async fn claimed_elsewhere(&self, token: &Token, tried: Tried) {
        match self.cluster() {
            Some(cluster) => cluster.claimed_elsewhere(token, tried).await,
            None => std::future::pending().await,
        }
    }

    /// An end has joined. If another node has claimed the tunnel between its claim and now, it leaves in a moment: that node's eviction
    /// has not found it here.
    pub(super) fn say_joined(&self, token: &Token, tunnel: &Tunnel<H>, end: &End<H>) {
        if let Some(cluster) = self.cluster() {
            end.raise_epoch(cluster.joined(*token, end.epoch(), tunnel.figures().ends));
        }
    }

    /// An end of a tunnel has left.
    pub(super) fn say_left(&self, token: &Token, tunnel: &Tunnel<H>) {
        if let Some(cluster) = self.cluster() {
            cluster.has_ends(token, tunnel.figures().ends);
        }
    }

    /// Another node has claimed a tunnel with this epoch: older ends leave once they have answered, and visitors that wait here go
    /// there.
    pub(in crate::relay) fn evict(&self, token: &Token, epoch: u64) {
        let Some(tunnel) = self.find(token) else { return };
        let turnover = tunnel.take_ends_before(epoch);
        if turnover.is_vacant {
            tracing::info!(?token, "an end has joined at another node");
            // Under the lock under which ends join: the tunnel of one that has just joined stays.
            let mut table = self.write();
            if !tunnel.has_end() {
                table.remove(token);
                tunnel.end();
            }
        }
        self.retire(Some(turnover));
    }

    /// Asks the store about a tunnel at once: another node has changed it, or a change has failed and may hold all the same.
    pub(in crate::relay) fn recheck(&self, token: &Token) {
        let Some(tunnel) = self.find(token) else { return };
        tunnel.outdate();
        tunnel.still_wants(false, tunnel.is_keyed());
        self.write().set_expiry(*token, Instant::now());
        self.sooner.notify_one();
    }

    /// Makes the ends of some sessions leave once they have answered: the node stops through which their WebSockets come.
    pub(in crate::relay) fn move_sessions(&self, sessions: &HashSet<Sid>) {
        for token in self.all() {
            if let Some(tunnel) = self.find(&token) {
                let turnover = tunnel.take_ends_of(sessions);
                if !turnover.left.is_empty() {
                    self.move_on(turnover);
                    self.say_left(&token, &tunnel);
                }
            }
        }
    }

    /// Makes all ends leave once they have answered, for another node: the first at once, the last after `over`.
    pub(in crate::relay) async fn move_ends(&self, over: Duration) {
        let mut tokens = self.all();
        tokens.retain(|token| self.find(token).is_some_and(|tunnel| tunnel.has_end()));
        let pause = over / u32::try_from(tokens.len().max(1)).unwrap_or(u32::MAX);
        for (number, token) in tokens.iter().enumerate() {
            if number > 0 {
                tokio::time::sleep(pause).await;
            }
            if let Some(tunnel) = self.find(token) {
                self.move_on(tunnel.take_ends_before(u64::MAX));
                self.say_left(token, &tunnel);
            }
        }
    }
}
