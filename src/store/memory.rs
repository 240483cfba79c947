//! Tokens in memory. Each call first removes the tokens that have expired, so no task is needed and nothing grows.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::StoreError;
use crate::expiring::Expiring;
use crate::proto::token::Token;

/// The tokens of this process, `capacity` at most, each with what is held for it.
#[derive(Debug)]
pub struct MemoryStore<H> {
    table: Mutex<Expiring<Token, H>>,
    capacity: usize,
}

impl<H> MemoryStore<H> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { table: Mutex::default(), capacity }
    }

    pub(super) fn purge(&self) {
        drop(self.table());
    }

    pub(super) fn count(&self) -> usize {
        self.table().len()
    }

    pub(super) fn create(&self, token: Token, ttl: Duration, held: H) -> Result<(), StoreError> {
        let mut table = self.table();
        if table.len() >= self.capacity {
            return Err(StoreError::Full { capacity: self.capacity });
        }
        table.get_or_insert(token, Instant::now() + ttl, || held);
        Ok(())
    }

    pub(super) fn refresh(&self, token: &Token, ttl: Duration) -> bool {
        self.table().set_expiry(*token, Instant::now() + ttl)
    }

    pub(super) fn remaining(&self, token: &Token) -> Option<Duration> {
        let expiry = self.table().expiry(token)?;
        Some(expiry.saturating_duration_since(Instant::now()))
    }

    /// Locks the table and removes those that have expired. A poisoned lock is taken all the same: nothing under it panics.
    fn table(&self) -> MutexGuard<'_, Expiring<Token, H>> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while let Some((expiry, token)) = table.first()
            && expiry <= now
        {
            table.remove(&token);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: u128) -> Token {
        Token::from_uuid(uuid::Uuid::from_u128(number))
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_lives_for_its_time_after_each_refresh() {
        let store = MemoryStore::new(2);
        let ttl = Duration::from_secs(10);
        store.create(token(1), ttl, ()).unwrap();
        assert_eq!(store.remaining(&token(1)), Some(ttl));
        assert_eq!(store.remaining(&token(2)), None);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(store.refresh(&token(1), ttl));
        assert!(!store.refresh(&token(2), ttl));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(store.remaining(&token(1)), Some(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(store.remaining(&token(1)), None);
        assert!(!store.refresh(&token(1), ttl));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_for_a_token_is_given_back_when_it_expires() {
        let (store, held) = (MemoryStore::new(1), std::sync::Arc::new(()));
        let ttl = Duration::from_secs(10);
        store.create(token(1), ttl, std::sync::Arc::clone(&held)).unwrap();
        assert!(store.create(token(2), ttl, std::sync::Arc::clone(&held)).is_err());
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(store.refresh(&token(1), ttl));
        tokio::time::advance(Duration::from_secs(9)).await;
        store.purge();
        assert_eq!(
            std::sync::Arc::strong_count(&held),
            2,
            "the token lives, and nothing is held for one that was not made"
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        store.purge();
        assert_eq!(std::sync::Arc::strong_count(&held), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_store_takes_another_token_once_one_has_expired() {
        let store = MemoryStore::new(2);
        store.create(token(1), Duration::from_secs(1), ()).unwrap();
        store.create(token(2), Duration::from_secs(9), ()).unwrap();
        assert_eq!(store.create(token(3), Duration::from_secs(1), ()), Err(StoreError::Full { capacity: 2 }));
        tokio::time::advance(Duration::from_secs(1)).await;
        store.create(token(3), Duration::from_secs(1), ()).unwrap();
        assert_eq!(store.table().len(), 2);
    }
}
