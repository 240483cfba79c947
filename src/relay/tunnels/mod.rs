//! The tunnels of this process.
//!
//! - [`tunnel`]: one tunnel and its end
//! - [`host`]: how a client becomes an end
//! - [`table`]: tunnels by token, in the order in which they expire

mod host;
mod table;
mod tunnel;

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

pub(super) use self::host::TunnelHost;
use self::host::{Admission, Joined};
use self::table::Table;
pub(super) use self::tunnel::{End, NoPlace, NotEmitted, Outcome, Tunnel};
use super::budgets::Budgets;
use super::failure::Failure;
use super::tokens::Tokens;
use crate::engine::Socket;
use crate::proto::token::Token;

/// How soon the store is asked again after it failed.
const STORE_RETRY: Duration = Duration::from_secs(5);

/// The tunnels of this process: one for each token that had an end here, until the token expires.
#[derive(Debug)]
pub(super) struct Tunnels {
    tokens: Arc<Tokens>,
    table: RwLock<Table<Arc<Tunnel>>>,
    /// How many have an end.
    connected: AtomicUsize,
    budgets: Budgets,
    /// Wakes the sweeper when a token expires before all others.
    sooner: Notify,
    next_end: AtomicU64,
}

impl Tunnels {
    pub(super) fn new(tokens: Arc<Tokens>, budgets: Budgets) -> Arc<Self> {
        Arc::new(Self {
            tokens,
            table: RwLock::default(),
            connected: AtomicUsize::new(0),
            budgets,
            sooner: Notify::new(),
            next_end: AtomicU64::new(0),
        })
    }

    /// Returns the tunnel of a token that has or had an end here.
    pub(super) fn find(&self, token: &Token) -> Option<Arc<Tunnel>> {
        self.read().get(token).cloned()
    }

    /// Returns how many ends are connected.
    pub(super) fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// Makes a client the end of its tunnel. The end before it, if there is one, leaves once it has answered what it was
    /// asked.
    fn join(&self, admission: Admission, socket: Socket<TunnelHost>) -> Joined {
        let Admission { token, options, remaining } = admission;
        let expiry = Instant::now() + remaining;
        let number = self.next_end.fetch_add(1, Ordering::Relaxed);
        let end = Arc::new(End::new(number, options, socket));
        let mut table = self.write();
        let is_sooner = table.first().is_none_or(|(first, _)| expiry < first);
        let new = || Arc::new(Tunnel::new(token, self.budgets.tunnel_memory(), self.budgets.tunnel_exchanges()));
        let tunnel = Arc::clone(table.get_or_insert(token, expiry, new));
        // While the table is locked: a tunnel that was just swept out of it must get no end.
        let before = tunnel.replace_end(end);
        drop(table);
        if is_sooner {
            self.sooner.notify_one();
        }
        tracing::info!(?token, takes_over = before.is_some(), "end connected");
        match before {
            Some(before) => before.retire(),
            None => drop(self.connected.fetch_add(1, Ordering::Relaxed)),
        }
        Joined { tunnel, number }
    }

    /// An end leaves its tunnel, unless a newer one has taken its place.
    fn leave(&self, joined: &Joined) {
        if joined.tunnel.leave(joined.number) {
            self.connected.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Disconnects ends whose tokens have expired. Never completes.
    pub(super) async fn sweep(self: Arc<Self>) -> Infallible {
        loop {
            let sooner = self.sooner.notified();
            let first = self.read().first();
            match first {
                None => sooner.await,
                Some((first, _)) => tokio::select! {
                    () = sooner => (),
                    () = tokio::time::sleep_until(first) => self.expire(Instant::now()).await,
                },
            }
        }
    }

    /// Asks the store about each token that should have expired: it may have been refreshed since its end joined.
    async fn expire(&self, now: Instant) {
        loop {
            let first = self.read().first();
            let Some((_, token)) = first.filter(|&(expiry, _)| expiry <= now) else { return };
            match self.tokens.remaining(&token).await {
                Ok(remaining) => self.write().set_expiry(token, now + remaining),
                Err(Failure::TokenNotFound) => self.remove(&token),
                Err(_) => self.write().set_expiry(token, now + STORE_RETRY),
            }
        }
    }

    fn remove(&self, token: &Token) {
        let removed = self.write().remove(token);
        if let Some(end) = removed.and_then(|tunnel| tunnel.take_end()) {
            self.connected.fetch_sub(1, Ordering::Relaxed);
            tracing::info!(?token, "token expired, its end is disconnected");
            end.disconnect();
        }
    }

    // Nothing that is done under the lock can panic half-way, so a poisoned table is whole.

    fn read(&self) -> RwLockReadGuard<'_, Table<Arc<Tunnel>>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table<Arc<Tunnel>>> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}
