//! Which tokens exist, and how long each still lives.
//!
//! The methods are async and may fail, although memory does neither, because a store on a disk or in a network must. Another
//! store is another variant of [`Store`].
//!
//! - `memory`: tokens in this process
//! - `error`: why a store fails

mod error;
mod memory;

use std::time::Duration;

pub use self::error::StoreError;
use self::memory::MemoryStore;
use crate::proto::token::Token;

/// A store of tokens. `H` is what this process holds for each token that it made, and is dropped once the token has expired.
#[derive(Debug)]
pub enum Store<H = ()> {
    /// In this process's memory: a restart loses all tokens.
    Memory(MemoryStore<H>),
}

impl<H> Store<H> {
    /// Makes an empty store in memory that keeps `capacity` tokens at most.
    #[must_use]
    pub fn in_memory(capacity: usize) -> Self {
        Self::Memory(MemoryStore::new(capacity))
    }

    /// Counts the tokens that this process keeps in memory: a figure for the operator, which decides nothing. Tokens that a
    /// store elsewhere keeps are not among them.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Memory(store) => store.count(),
        }
    }

    /// Forgets the tokens that have expired, and drops what was held for them. Each other call does so first.
    pub fn purge(&self) {
        match self {
            Self::Memory(store) => store.purge(),
        }
    }

    /// Adds a new token, which expires after `ttl`. `held` is dropped then, or at once if the token is not added.
    ///
    /// # Errors
    /// - [`StoreError::Full`] if the store keeps as many tokens as it may
    /// - [`StoreError::Unavailable`] if the store cannot be used now
    pub async fn create(&self, token: Token, ttl: Duration, held: H) -> Result<(), StoreError> {
        match self {
            Self::Memory(store) => store.create(token, ttl, held),
        }
    }

    /// Lets a token expire after `ttl` from now, and returns true; false if there is no such token.
    ///
    /// # Errors
    /// - [`StoreError::Unavailable`] if the store cannot be used now
    pub async fn refresh(&self, token: &Token, ttl: Duration) -> Result<bool, StoreError> {
        match self {
            Self::Memory(store) => Ok(store.refresh(token, ttl)),
        }
    }

    /// Returns the time until a token expires, or `None` if there is no such token.
    ///
    /// # Errors
    /// - [`StoreError::Unavailable`] if the store cannot be used now
    pub async fn remaining(&self, token: &Token) -> Result<Option<Duration>, StoreError> {
        match self {
            Self::Memory(store) => Ok(store.remaining(token)),
        }
    }
}
