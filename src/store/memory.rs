//! Tokens in memory. Each call first removes the tokens that have expired, so no task is needed and nothing grows.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::StoreError;
use crate::proto::token::Token;
use crate::tables;

/// The tokens of this process, `capacity` at most.
#[derive(Debug)]
pub struct MemoryStore {
    table: Mutex<Table>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Table {
    expiry: HashMap<Token, Instant>,
    /// The same entries in the order of expiry, so that those that have expired are found without a search.
    order: BTreeSet<(Instant, Token)>,
}

impl MemoryStore {
    pub(super) fn new(capacity: usize) -> Self {
        Self { table: Mutex::default(), capacity }
    }

    pub(super) fn count(&self) -> usize {
        self.table().expiry.len()
    }

    pub(super) fn create(&self, token: Token, ttl: Duration) -> Result<(), StoreError> {
        let mut table = self.table();
        if table.expiry.len() >= self.capacity {
            return Err(StoreError::Full { capacity: self.capacity });
        }
        table.set(token, Instant::now() + ttl);
        Ok(())
    }

    pub(super) fn refresh(&self, token: &Token, ttl: Duration) -> bool {
        let mut table = self.table();
        let known = table.expiry.contains_key(token);
        if known {
            table.set(*token, Instant::now() + ttl);
        }
        known
    }

    pub(super) fn remaining(&self, token: &Token) -> Option<Duration> {
        let expiry = *self.table().expiry.get(token)?;
        Some(expiry.saturating_duration_since(Instant::now()))
    }

    /// Locks the table and removes those that have expired. A poisoned lock is taken all the same: nothing under it panics.
    fn table(&self) -> MutexGuard<'_, Table> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.purge(Instant::now());
        table
    }
}

impl Table {
    fn set(&mut self, token: Token, expiry: Instant) {
        if let Some(before) = self.expiry.insert(token, expiry) {
            self.order.remove(&(before, token));
        }
        self.order.insert((expiry, token));
    }

    fn purge(&mut self, now: Instant) {
        while let Some(&(expiry, token)) = self.order.first()
            && expiry <= now
        {
            self.order.pop_first();
            self.expiry.remove(&token);
            tables::shrink(&mut self.expiry);
        }
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
        store.create(token(1), ttl).unwrap();
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
    async fn a_full_store_takes_another_token_once_one_has_expired() {
        let store = MemoryStore::new(2);
        store.create(token(1), Duration::from_secs(1)).unwrap();
        store.create(token(2), Duration::from_secs(9)).unwrap();
        assert_eq!(store.create(token(3), Duration::from_secs(1)), Err(StoreError::Full { capacity: 2 }));
        tokio::time::advance(Duration::from_secs(1)).await;
        store.create(token(3), Duration::from_secs(1)).unwrap();
        assert_eq!(store.table().order.len(), 2);
    }
}
