//! Where tokens live: which there are, and until when.
//!
//! The methods are what a store on a disk or in a network can do too, so they wait and may fail; another store is another
//! variant here.

mod memory;

use std::fmt;
use std::time::Duration;

use self::memory::Memory;
use crate::proto::token::Token;

/// A store of tokens.
#[derive(Debug)]
pub enum Store {
    /// In this process, and gone with it.
    Memory(Memory),
}

/// A store that cannot answer now. The operator's to mend.
#[derive(Debug)]
pub struct StoreError(String);

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreError {}

impl Store {
    /// A store in memory with room for this many tokens.
    #[must_use]
    pub fn in_memory(capacity: usize) -> Self {
        Self::Memory(Memory::new(capacity))
    }

    /// How many tokens there are, as far as this process knows.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Memory(memory) => memory.count(),
        }
    }

    /// Keeps a new token for `ttl`.
    ///
    /// # Errors
    /// When the store is full or out of reach.
    pub async fn create(&self, token: Token, ttl: Duration) -> Result<(), StoreError> {
        match self {
            Self::Memory(memory) => memory.create(token, ttl),
        }
    }

    /// Keeps a token for `ttl` from now. False when there is no such token.
    ///
    /// # Errors
    /// When the store is out of reach.
    pub async fn refresh(&self, token: &Token, ttl: Duration) -> Result<bool, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.refresh(token, ttl)),
        }
    }

    /// How long a token still lives. `None` when there is no such token.
    ///
    /// # Errors
    /// When the store is out of reach.
    pub async fn remaining(&self, token: &Token) -> Result<Option<Duration>, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.remaining(token)),
        }
    }
}
