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

/// What the store has answered about a tunnel.
struct Found {
    record: Record,
    /// How long the token still lives.
    left: Duration,
    /// The keys of the tunnel's ends are to be compared with the record's.
    is_checked: bool,
}

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
            let answer = self.ask_store(&token, &tunnel).await;
            self.take_up(&token, &tunnel, answer, now);
        }
    }

    /// Renews a keyed token whose end is or was connected; asks about any other, which may have been refreshed since its end
    /// joined.
    async fn ask_store(&self, token: &Token, tunnel: &Tunnel<H>) -> Result<Found, Failure> {
        tunnel.asked_anew();
        let wants_check = tunnel.wants_check();
        let wants_renewal = tunnel.is_keyed() && tunnel.wants_renewal();
        let found = if wants_renewal { self.tokens.renew(token).await } else { self.tokens.find(token).await };
        if found.is_err() {
            tunnel.still_wants(wants_renewal, wants_check);
        }
        let (record, left) = found?;
        Ok(Found { record, left, is_checked: wants_check })
    }

    /// Takes up what the store has answered, and notes when it is to be asked again.
    fn take_up(&self, token: &Token, tunnel: &Tunnel<H>, answer: Result<Found, Failure>, now: Instant) {
        let due = match answer {
            Ok(Found { record, left, is_checked }) => {
                if let Some(keyed) = &record.keyed {
                    self.retire(tunnel.set(keyed, self.budgets.ends_per_tunnel));
                    if is_checked {
                        self.drop_ends_of_another_key(token, tunnel, &keyed.key);
                    }
                }
                Some(until_renewal(record.keyed.as_deref().filter(|_| tunnel.has_end()), left))
            }
            Err(Failure::TokenNotFound) => return self.remove(token),
            Err(_) => None,
        };
        // Under the lock under which ends join and leave: one that came or went meanwhile is not put off.
        let mut table = self.write();
        let due = match due {
            None => STORE_RETRY,
            Some(_) if tunnel.wants_something() => Duration::ZERO,
            Some(due) => due,
        };
        table.set_expiry(*token, now + due);
    }
}

/// Returns when the store must hear of a tunnel with an end again: half its `ttl` if it is keyed, so that it lives on while an
/// end is connected.
fn until_renewal(keyed: Option<&Keyed>, remaining: Duration) -> Duration {
    keyed.map_or(remaining, |keyed| remaining.min(keyed.settings.ttl / 2))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::config::ServeConfig;
    use crate::relay::budgets::Budgets;
    use crate::relay::tokens::{Tokens, Wanted};
    use crate::relay::tunnels::TunnelHost;
    use crate::store::{Change, Patch, Settings, Store};

    #[tokio::test(start_paused = true)]
    async fn what_an_owner_sets_while_the_store_is_asked_counts() {
        let budgets = Budgets::new(&ServeConfig::defaults());
        let per_address = Arc::clone(&budgets.tunnels_per_address);
        let tokens = Arc::new(Tokens::new(Store::in_memory(9), per_address, Duration::from_secs(60)));
        let tunnels = Tunnels::<TunnelHost>::new(Arc::clone(&tokens), budgets);
        let wanted = Wanted { name: None, settings: Settings::default() };
        let made = tokens.make(IpAddr::from([127, 0, 0, 1]).into(), wanted, None).await.unwrap();
        let (token, key) = (made.token, made.key.unwrap().hash());
        let (record, remaining) = tokens.renew(&token).await.unwrap();
        let tunnel = tunnels.expect(&token, &record, remaining).unwrap();
        let answer = tunnels.ask_store(&token, &tunnel).await;
        let hold = Duration::from_secs(9);
        let change = Change::Set(Patch { hold: Some(hold), ..Patch::default() });
        let changed = tokens.change(&token, key, change).await.unwrap();
        tunnels.set(&token, &changed.record.keyed.unwrap());
        tunnels.take_up(&token, &tunnel, answer, Instant::now());
        tokio::spawn(Arc::clone(&tunnels).sweep());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(tunnel.settings().unwrap().hold, hold);
    }
}
