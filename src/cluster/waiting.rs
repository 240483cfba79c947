//! Tunnels without an end whose visitors wait at this node, and which another node may claim. One call looks for all of them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::proto::token::Token;
use crate::store::Located;

/// How often it is looked whether another node has claimed one of them.
pub(super) const EVERY: Duration = Duration::from_millis(200);

/// Tunnels of one call. More wait for the next.
const AT_ONCE: usize = 1_000;

/// The tunnels that are waited for.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    tunnels: Mutex<BTreeMap<Token, Waited>>,
    /// Wakes who looks, when the first is waited for.
    first: Notify,
}

/// A tunnel that is waited for.
#[derive(Debug, Default)]
struct Waited {
    /// How many visitors wait for it.
    visitors: usize,
    located: watch::Sender<Located>,
}

impl Waiting {
    /// Returns where the tunnel's ends are, once that was looked for again.
    pub(super) async fn located(&self, token: &Token) -> Located {
        let (mut located, _visitor) = self.enter(token);
        // The sender lasts as long as the visitor.
        let _ = located.changed().await;
        located.borrow_and_update().clone()
    }

    fn enter<'w>(&'w self, token: &'w Token) -> (watch::Receiver<Located>, Visitor<'w>) {
        let mut tunnels = self.tunnels();
        if tunnels.is_empty() {
            self.first.notify_one();
        }
        let waited = tunnels.entry(*token).or_default();
        waited.visitors += 1;
        (waited.located.subscribe(), Visitor { waiting: self, token })
    }

    /// Returns tunnels that are waited for, those behind `last` first: each has its turn. Waits while there is none.
    pub(super) async fn some(&self, last: Option<Token>) -> Vec<Token> {
        loop {
            let first = self.first.notified();
            let tokens = self.next(last);
            if !tokens.is_empty() {
                return tokens;
            }
            first.await;
        }
    }

    fn next(&self, last: Option<Token>) -> Vec<Token> {
        let tunnels = self.tunnels();
        let Some(last) = last else { return tunnels.keys().take(AT_ONCE).copied().collect() };
        let behind = tunnels.range((Bound::Excluded(last), Bound::Unbounded));
        behind.chain(tunnels.range(..=last)).map(|(token, _)| *token).take(AT_ONCE).collect()
    }

    /// Tells those that wait for a tunnel where its ends are.
    pub(super) fn tell(&self, token: &Token, located: &Located) {
        if let Some(waited) = self.tunnels().get(token) {
            waited.located.send_replace(located.clone());
        }
    }

    fn tunnels(&self) -> MutexGuard<'_, BTreeMap<Token, Waited>> {
        // Nothing that is done under the lock can panic half-way.
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One visitor that waits.
struct Visitor<'w> {
    waiting: &'w Waiting,
    token: &'w Token,
}

impl Drop for Visitor<'_> {
    fn drop(&mut self) {
        let mut tunnels = self.waiting.tunnels();
        if let Some(waited) = tunnels.get_mut(self.token) {
            waited.visitors -= 1;
            if waited.visitors == 0 {
                tunnels.remove(self.token);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn visitors_wait_until_their_tunnel_is_looked_for_and_are_forgotten_when_they_leave() {
        let waiting = Waiting::default();
        let (mine, other) = (Token::from_name("mine").unwrap(), Token::from_name("other").unwrap());
        assert_eq!(waiting.some(None).now_or_never(), None);
        let mut first = Box::pin(waiting.located(&mine));
        let mut second = Box::pin(waiting.located(&mine));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        assert_eq!(waiting.some(None).await, [mine]);
        let located = Located { epoch: 7, ..Located::default() };
        waiting.tell(&other, &located);
        assert!(first.as_mut().now_or_never().is_none());
        drop(first);
        assert_eq!(waiting.some(None).await, [mine], "the other visitor waits still");
        waiting.tell(&mine, &located);
        assert_eq!(second.await, located);
        assert_eq!(waiting.some(None).now_or_never(), None);
    }

    #[tokio::test]
    async fn each_of_many_tunnels_has_its_turn() {
        let waiting = Waiting::default();
        let tokens: Vec<_> = (0..2_500).map(|number| Token::from_name(&format!("t{number:04}")).unwrap()).collect();
        let mut visitors: Vec<_> = tokens.iter().map(|token| Box::pin(waiting.located(token))).collect();
        assert!(visitors.iter_mut().all(|visitor| visitor.as_mut().now_or_never().is_none()));
        let (mut seen, mut last) = (std::collections::BTreeSet::new(), None);
        for _ in 0..3 {
            let some = waiting.some(last).await;
            assert_eq!(some.len(), AT_ONCE);
            last = some.last().copied();
            seen.extend(some);
        }
        assert_eq!(seen.len(), tokens.len());
    }
}
