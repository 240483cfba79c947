//! Tunnels end when their tokens expire, and keyed ones are renewed while an end is connected.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::registry::Tunnels;
use super::tunnel::{Outcome, Tunnel};
use crate::engine::Host;
use crate::proto::token::Token;
use crate::relay::failure::Failure;
use crate::store::{Keyed, Record};

/// How soon the store is asked again after it failed.
const STORE_RETRY: Duration = Duration::from_secs(5);

impl<H: Host<Waiter = oneshot::Sender<Outcome>>> Tunnels<H> {
    /// Disconnects ends whose tokens have expired. Never completes.
    pub(in crate::relay) async fn sweep(self: Arc<Self>) -> Infallible {
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

    /// Asks the store about each token that is due.
    async fn expire(&self, now: Instant) {
        loop {
            let first = self.read().first();
            let Some((_, token)) = first.filter(|&(expiry, _)| expiry <= now) else { return };
            let Some(tunnel) = self.find(&token) else { continue };
            let due = match self.ask_store(&token, &tunnel).await {
                Ok(due) => Some(due),
                Err(Failure::TokenNotFound) => {
                    self.remove(&token);
                    continue;
                }
                Err(_) => None,
            };
            // Under the lock under which ends join and leave: one that came or went meanwhile is not put off.
            let mut table = self.write();
            let due = match due {
                None => STORE_RETRY,
                Some(_) if tunnel.wants_something() => Duration::ZERO,
                Some(due) => due,
            };
            table.set_expiry(token, now + due);
        }
    }

    /// Renews a keyed token whose end is or was connected; asks about any other, which may have been refreshed since its end
    /// joined. Returns when the store is to be asked again.
    async fn ask_store(&self, token: &Token, tunnel: &Tunnel<H>) -> Result<Duration, Failure> {
        let wants_check = tunnel.wants_check();
        let wants_renewal = tunnel.is_keyed() && tunnel.wants_renewal();
        let found = if wants_renewal { self.tokens.renew(token).await } else { self.tokens.find(token).await };
        if found.is_err() {
            tunnel.still_wants(wants_renewal, wants_check);
        }
        let (Record { keyed, .. }, left) = found?;
        if let Some(keyed) = &keyed {
            self.retire(tunnel.set(keyed, self.budgets.ends_per_tunnel));
            if wants_check {
                self.drop_ends_of_another_key(token, tunnel, &keyed.key);
            }
        }
        Ok(until_renewal(keyed.as_deref().filter(|_| tunnel.has_end()), left))
    }
}

/// Returns when the store must hear of a tunnel with an end again: half its `ttl` if it is keyed, so that it lives on while an
/// end is connected.
fn until_renewal(keyed: Option<&Keyed>, remaining: Duration) -> Duration {
    keyed.map_or(remaining, |keyed| remaining.min(keyed.settings.ttl / 2))
}
