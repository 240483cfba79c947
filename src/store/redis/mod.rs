//! Tunnels in Redis, which several servers may share, the original one among them.
//!
//! - this file: each call, and what this process holds for the tunnels that it has made
//! - `link`: the connection, which one task keeps; `servers`: which of several it is to; `marker`: whether Redis still has what was written to it
//! - `offline`: all tunnels at once, for `socket2me store`
//! - `nodes`: the nodes of a cluster and their claims; `node_reply`: what their scripts return
//! - `values`: what is kept beside the tunnels
//! - `scripts`: what is asked of Redis, in Lua; `reply`: what Redis says
//!
//! An original tunnel is kept as the original server keeps it: a hash under its token, without a prefix, that has an expiry in
//! whole seconds. A keyed one is the hash `s2m:t:TOKEN`, which expires when its name is not claimed any more; its field
//! `expires` says when it does itself, in milliseconds. All times are those of Redis's clock.

mod link;
mod marker;
mod node_reply;
mod nodes;
mod offline;
mod reply;
mod scripts;
mod servers;
mod values;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{ConnectionInfo, RedisError};
use tokio::time::Instant;

use self::link::{Link, WRITING};
pub use self::nodes::Nodes;
pub use self::offline::{add_to_redis, read_redis};
use self::reply::Reply;
pub(super) use self::values::RedisValues;
use super::error::StoreError;
use super::record::{By, Change, Found, Life, Record};
use crate::expiring::Expiring;
use crate::proto::node::NodeId;
use crate::proto::token::Token;

/// A store in Redis. `H` is what this process holds for each tunnel that it has made itself: limits of an address count for
/// each server.
#[derive(Debug)]
pub struct RedisStore<H> {
    link: Arc<Link>,
    /// What is held for the tunnels that were made here, until they should be forgotten. A tunnel that another server renews
    /// or deletes is forgotten here when it would have been without that.
    held: Mutex<Expiring<Token, H>>,
    capacity: usize,
}

impl<H> RedisStore<H> {
    /// Makes a store in the master of these servers, which [`Self::keep`] is to connect, for which `capacity` tunnels may be made here.
    ///
    /// # Errors
    /// When no connection of this kind is possible.
    pub(super) fn new(servers: Vec<ConnectionInfo>, capacity: usize) -> Result<Self, RedisError> {
        Ok(Self { link: Arc::new(Link::new(servers)?), held: Mutex::default(), capacity })
    }

    /// Keeps the connection. Never completes; without it, each call fails.
    pub(super) async fn keep(&self) -> Infallible {
        self.link.keep().await
    }

    pub(super) fn values(&self) -> RedisValues {
        RedisValues::new(&self.link)
    }

    pub(super) fn nodes(&self) -> Nodes {
        Nodes::new(&self.link)
    }

    pub(super) fn set_node(&self, node: NodeId) {
        self.link.set_node(node);
    }

    pub(super) fn failures(&self) -> u64 {
        self.link.failures()
    }

    pub(super) fn count(&self) -> usize {
        self.held().len()
    }

    pub(super) fn purge(&self) {
        drop(self.held());
    }

    pub(super) async fn create(
        &self,
        token: Token,
        record: &Record,
        life: Duration,
        held: H,
    ) -> Result<(), StoreError> {
        // Calls in flight may exceed the capacity.
        if self.held().len() >= self.capacity {
            return Err(StoreError::Full { capacity: self.capacity });
        }
        // A name that is not there may be somebody's whose server has not written it again. A token at random is nobody's.
        let marker = match token.is_name() {
            true => self.link.marker.sure().ok_or_else(|| self.link.fail(WRITING))?,
            false => String::new(),
        };
        let script = self.link.scripts.create(&token, record, life, self.link.deadline(), &marker);
        match self.link.call(&script).await? {
            Reply::Made => {
                let mut table = self.held();
                // There is one if another server has deleted the tunnel.
                table.remove(&token);
                table.get_or_insert(token, Instant::now() + life + record.claim(&token), || held);
                Ok(())
            }
            Reply::Absent(_) => {
                self.link.look();
                Err(self.link.fail(WRITING))
            }
            Reply::Same | Reply::Taken | Reply::Refused | Reply::Found(_) => Err(StoreError::Taken),
        }
    }

    pub(super) async fn find(&self, token: &Token) -> Result<Option<Found>, StoreError> {
        self.found(self.link.call(&self.link.scripts.find(token)).await?)
    }

    pub(super) async fn change(&self, token: &Token, by: By, change: &Change) -> Result<Option<Found>, StoreError> {
        let until = self.link.deadline();
        let found =
            self.found(self.link.call(&self.link.scripts.change(token, by, change, until, self.link.node())).await?)?;
        if let Some(found) = &found {
            let forgotten = match found.life {
                Life::Alive(left) => left + found.record.claim(token),
                Life::Claimed(left) => left,
            };
            self.held().set_expiry(*token, Instant::now() + forgotten);
        }
        Ok(found)
    }

    /// Writes a tunnel again that Redis has lost. Returns false if its token is somebody else's by now.
    pub(super) async fn restore(&self, token: &Token, record: &Record, life: Duration) -> Result<bool, StoreError> {
        let script = self.link.scripts.create(token, record, life, self.link.deadline(), "");
        match self.link.call(&script).await? {
            Reply::Made | Reply::Same => Ok(true),
            Reply::Taken | Reply::Refused | Reply::Found(_) | Reply::Absent(_) => Ok(false),
        }
    }

    pub(super) async fn emptied(&self) {
        self.link.marker.emptied().await;
    }

    pub(super) fn restored(&self) {
        self.link.marker.restored();
    }

    fn found(&self, reply: Reply) -> Result<Option<Found>, StoreError> {
        match reply {
            Reply::Found(found) => Ok(Some(found)),
            Reply::Refused | Reply::Made | Reply::Same | Reply::Taken => Ok(None),
            Reply::Absent(marker) => self.link.absent(&marker).map(|()| None),
        }
    }

    /// Locks the table of what is held, and drops what is to be forgotten. A poisoned lock is taken all the same: nothing
    /// under it panics.
    fn held(&self) -> MutexGuard<'_, Expiring<Token, H>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while let Some((expiry, token)) = held.first()
            && expiry <= now
        {
            held.remove(&token);
        }
        held
    }
}
