//! Tokens: which there are, how long they live, and what it means for a visitor or an end when the store fails.

use std::sync::Arc;
use std::time::Duration;

use super::failure::Failure;
use crate::net::budget::{AddressSlot, Client, PerAddress};
use crate::proto::token::Token;
use crate::store::{Store, StoreError};

/// The tokens of this server.
#[derive(Debug)]
pub(super) struct Tokens {
    store: Store<AddressSlot>,
    /// Tokens that one address made and that have not expired.
    per_address: Arc<PerAddress>,
    /// How long a token lives after it was made or refreshed, with the grace for a refresh that comes at the last moment.
    lifetime: Duration,
}

impl Tokens {
    pub(super) fn new(store: Store<AddressSlot>, per_address: Arc<PerAddress>, lifetime: Duration) -> Self {
        Self { store, per_address, lifetime }
    }

    /// Makes a token for a client.
    ///
    /// # Errors
    /// When the client's address made as many tokens as it may, and when the store is full or fails.
    pub(super) async fn create(&self, client: Client) -> Result<Token, Failure> {
        // An address that has none left gets one back only when expired tokens are forgotten.
        self.store.purge();
        let Some(slot) = self.per_address.hold(client) else {
            return Err(Failure::TooManyTunnels(self.per_address.limit()));
        };
        let token = Token::from_uuid(uuid::Uuid::new_v4());
        self.store.create(token, self.lifetime, slot).await?;
        tracing::info!(?token, "token made");
        Ok(token)
    }

    /// Lets a token live for its whole lifetime from now on.
    ///
    /// # Errors
    /// With [`Failure::TokenNotFound`] for an unknown token, and when the store fails.
    pub(super) async fn refresh(&self, token: &Token) -> Result<(), Failure> {
        if !self.store.refresh(token, self.lifetime).await? {
            return Err(Failure::TokenNotFound);
        }
        tracing::info!(?token, "token refreshed");
        Ok(())
    }

    /// Returns how long a token still lives.
    ///
    /// # Errors
    /// With [`Failure::TokenNotFound`] for an unknown token, and when the store fails.
    pub(super) async fn remaining(&self, token: &Token) -> Result<Duration, Failure> {
        self.store.remaining(token).await?.ok_or(Failure::TokenNotFound)
    }

    /// Returns what a visitor is told of a token that has no end.
    pub(super) async fn without_end(&self, token: &Token) -> Failure {
        match self.remaining(token).await {
            Ok(_) => Failure::NotConnected,
            Err(failure) => failure,
        }
    }

    /// Returns how many tokens there are, as far as this process knows.
    pub(super) fn count(&self) -> usize {
        self.store.count()
    }
}

impl From<StoreError> for Failure {
    /// Logs what is wrong with the store, which is for the operator alone. A full store works as it should, and visitors can
    /// ask for tokens without limit: at `error` they would write the operator's log.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full { capacity } => {
                tracing::debug!(capacity, "no token made: all are in use");
                Self::TokensFull { capacity }
            }
            StoreError::Unavailable(reason) => {
                tracing::error!(reason, "the store of tokens fails");
                Self::Store
            }
        }
    }
}
