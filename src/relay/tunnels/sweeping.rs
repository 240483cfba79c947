//! Tunnels end when their tokens expire, and keyed ones are renewed while an end is connected.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::registry::Tunnels;
use super::tunnel::Tunnel;
use crate::engine::Host;
use crate::proto::token::Token;
use crate::relay::failure::Failure;
use crate::relay::notices::{About, Notice};
use crate::relay::streams::{Closing, Message, Waiter};
use crate::store::Record;

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

impl<H: Host<Waiter = Waiter, Message = Message>> Tunnels<H> {
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
        let wants_check = tunnel.take_check();
        let wants_renewal = tunnel.is_keyed() && tunnel.take_renewal();
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
                    self.retire(self.set_in(token, tunnel, keyed));
                    if is_checked {
                        self.drop_ends_of_another_key(token, tunnel, &keyed.key, true);
                    }
                }
                Some(match &record.keyed {
                    // It lives on while an end is connected.
                    Some(keyed) if tunnel.has_end() => left.min(keyed.settings.ttl / 2),
                    Some(_) => left,
                    None => self.until_expiry(tunnel, left),
                })
            }
            Err(Failure::TokenNotFound) => return self.remove(token, Closing::Expired),
            // Its end has joined while it was blocked.
            Err(Failure::Blocked) => return self.close(token, u64::MAX),
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

    /// Returns when an original tunnel is due that lives for `left` still: when it expires, or before that, when ends are to hear of
    /// it. Tells them if that is now.
    fn until_expiry(&self, tunnel: &Tunnel<H>, left: Duration) -> Duration {
        let (listeners, ahead) = (tunnel.listeners(), self.tokens.expiry_notice());
        // The store counts by another clock.
        if left > ahead + Duration::from_millis(10) && !listeners.is_empty() {
            return left - ahead;
        }
        let message = format!("this tunnel ends in {} s, unless GET /refresh/TOKEN refreshes it", left.as_secs());
        for end in listeners {
            end.notify(Notice { about: About::Expiring, id: None, message: &message });
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::registry::Admission;
    use super::super::registry::tests::{admission, socket, swept_tunnels};
    use super::*;
    use crate::proto::exchange::EndOptions;
    use crate::proto::key::Key;
    use crate::relay::tokens::{Wanted, new_token};
    use crate::store::{Change, Keyed, Patch, Settings};

    /// A token of these tunnels lives for a minute, and its ends hear of its end a quarter of a minute before.
    #[tokio::test]
    async fn ends_that_ask_hear_once_in_each_life_of_a_token_that_it_is_about_to_expire() {
        let socket = socket().await;
        // Its session ends, so that each notice is dropped, and counted at once.
        while socket.offer(Notice { about: About::Expiring, id: None, message: "" }.encode(socket.namespace())).is_ok()
        {
            tokio::task::yield_now().await;
        }
        tokio::time::pause();
        let start = Instant::now();
        let (tokens, tunnels) = swept_tunnels();
        let until = async |second: u64| tokio::time::sleep_until(start + Duration::from_secs(second)).await;
        let told = || tunnels.notices().counts().1;
        let token = tokens.create(IpAddr::from([127, 0, 0, 1]).into()).await.unwrap();
        let join = async |notices| {
            let (record, remaining) = tokens.find(&token).await.unwrap();
            let options = EndOptions { notices, ..EndOptions::default() };
            tunnels.join(Admission { options, ..admission(token, record, remaining) }, socket.clone())
        };
        let _first = join(true).await;
        until(44).await;
        assert_eq!(told(), 0);
        until(46).await;
        assert_eq!(told(), 1);
        until(50).await;
        tokens.refresh(&token, || Ok(None)).await.unwrap();
        until(94).await;
        assert_eq!(told(), 1, "its new life ends at 110 s");
        until(96).await;
        assert_eq!(told(), 2);
        // Another end hears it too, and the one before that it is taken over.
        let _second = join(true).await;
        until(97).await;
        assert_eq!(told(), 4);
        // An end that does not ask hears nothing.
        let _third = join(false).await;
        until(109).await;
        assert_eq!(told(), 5, "the second was taken over");
        assert!(tunnels.find(&token).is_some());
        until(111).await;
        assert!(tunnels.find(&token).is_none() && told() == 5);
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_owner_sets_while_the_store_is_asked_counts() {
        let (tokens, tunnels) = swept_tunnels();
        let wanted = Wanted { token: new_token(), settings: Settings::default(), rules: None };
        let made = tokens.make(IpAddr::from([127, 0, 0, 1]).into(), wanted, None).await.unwrap();
        let (token, key) = (made.token, made.key.unwrap().hash());
        let (record, remaining) = tokens.renew(&token).await.unwrap();
        let tunnel = tunnels.expect(&token, &record, remaining, false).unwrap();
        let answer = tunnels.ask_store(&token, &tunnel).await;
        let hold = Duration::from_secs(9);
        let change = Change::Set(Patch { hold: Some(hold), ..Patch::default() });
        let changed = tokens.change(&token, key, &change).await.unwrap();
        tunnels.set(&token, &changed.record.keyed.unwrap());
        tunnels.take_up(&token, &tunnel, answer, Instant::now());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(tunnel.settings().unwrap().hold, hold);
    }

    /// The server has started, and an end had joined before that.
    #[tokio::test(start_paused = true)]
    async fn an_end_from_before_the_start_is_expected_for_a_minute_where_visitors_wait() {
        let second = Duration::from_secs(1);
        let is_expected = |tunnels: &Tunnels<_>, was_joined, hold| {
            let settings = Settings { hold, ..Settings::default() };
            let keyed = Keyed { key: Key::from_random([7; 32]).hash(), settings, rules: None, was_joined };
            let record = Record { made_at: 0, made_by: None, keyed: Some(Box::new(keyed)) };
            tunnels.expect(&Token::from_name("mine").unwrap(), &record, 600 * second, false).is_some()
        };
        let [(_, early), (_, late)] = [swept_tunnels(), swept_tunnels()];
        tokio::time::sleep(59 * second).await;
        assert!(!is_expected(&early, false, second), "no end has joined");
        assert!(!is_expected(&early, true, Duration::ZERO), "nobody waits");
        assert!(is_expected(&early, true, second));
        tokio::time::sleep(second).await;
        assert!(!is_expected(&late, true, second), "it does not come back");
    }

    /// The check of an end that has just joined may see the new key.
    #[tokio::test]
    async fn an_end_that_may_stay_is_not_disconnected_when_its_key_is_compared_with_the_next() {
        let socket = socket().await;
        let (tokens, tunnels) = swept_tunnels();
        for stays in [true, false] {
            let wanted = Wanted { token: new_token(), settings: Settings::default(), rules: None };
            let made = tokens.make(IpAddr::from([127, 0, 0, 1]).into(), wanted, None).await.unwrap();
            let (token, key) = (made.token, made.key.unwrap().hash());
            let (record, remaining) = tokens.find(&token).await.unwrap();
            let joined = tunnels.join(admission(token, record, remaining), socket.clone());
            if stays {
                tunnels.let_ends_stay(&token);
            }
            tokens.change(&token, key, &Change::Rekey(Key::from_random([7; 32]).hash())).await.unwrap();
            let (record, left) = tokens.find(&token).await.unwrap();
            let keyed = record.keyed.clone().unwrap();
            tunnels.take_up(&token, &joined.tunnel, Ok(Found { record, left, is_checked: true }), Instant::now());
            assert_eq!(joined.tunnel.has_end(), stays);
            tunnels.rekeyed(&token, &keyed, true);
            assert!(!joined.tunnel.has_end(), "the owner wants its end to leave now");
        }
    }
}
