//! Tokens: which there are, how long they live, what their owners have set, and what it means for a visitor or an end when the
//! store fails.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::admin::Blocks;
use super::budgets::Budgets;
use super::failure::Failure;
use super::figures::{StoreCall, StoreCalls};
use crate::cluster::Cluster;
use crate::defaults;
use crate::net::budget::{AddressSlot, Client, PerAddress};
use crate::net::hits::Hits;
use crate::proto::key::{Key, KeyHash};
use crate::proto::limit::Limit;
use crate::proto::token::Token;
use crate::store::{By, Change, Found, Keyed, Life, Patch, Record, RulesText, Settings, Store, StoreError};

/// The tokens of this server.
#[derive(Debug)]
pub(super) struct Tokens {
    store: Store<AddressSlot>,
    /// Tunnels that one address made and that are not forgotten.
    per_address: Arc<PerAddress>,
    /// How long an original token lives after it was made or refreshed, with the grace for a refresh that comes at the last
    /// moment.
    lifetime: Duration,
    calls: StoreCalls,
    /// Counts the limits that makers of tokens hit.
    hits: Arc<Hits>,
    /// Which tunnels the operator keeps out.
    blocks: Arc<Blocks>,
    /// The other servers; `None` for one that is alone.
    cluster: Option<Arc<Cluster>>,
}

/// What the maker of a keyed tunnel has asked for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// The name, or a [new](new_token) token.
    pub(super) token: Token,
    pub(super) settings: Settings,
    pub(super) rules: Option<RulesText>,
}

/// Returns a token at random.
pub(super) fn new_token() -> Token {
    Token::from_uuid(uuid::Uuid::new_v4())
}

/// A tunnel of somebody who asked for one.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) token: Token,
    /// The key, if the tunnel was made or revived; `None` if it lived already.
    pub(super) key: Option<Key>,
    pub(super) found: Found,
}

impl Tokens {
    pub(super) fn new(store: Store<AddressSlot>, blocks: Arc<Blocks>, budgets: &Budgets, lifetime: Duration) -> Self {
        let (per_address, hits) = (Arc::clone(&budgets.tunnels_per_address), Arc::clone(&budgets.hits));
        Self { store, per_address, lifetime, calls: StoreCalls::default(), hits, blocks, cluster: None }
    }

    /// Makes these the tokens of a node.
    pub(super) fn in_cluster(self, cluster: Option<Arc<Cluster>>) -> Self {
        Self { cluster, ..self }
    }

    /// Returns the cluster that this server is a node of; `None` for one that is alone.
    pub(super) fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.as_ref()
    }

    /// Returns how long before an original token expires its ends hear of that.
    pub(super) fn expiry_notice(&self) -> Duration {
        defaults::EXPIRY_NOTICE.min(self.lifetime / 4)
    }

    /// Makes an original token for a client.
    ///
    /// # Errors
    /// When the client's address has as many tunnels as it may have, and when the store is full or fails.
    pub(super) async fn create(&self, client: Client) -> Result<Token, Failure> {
        let token = new_token();
        self.add(token, client, None, self.lifetime).await?;
        tracing::info!(?token, "token made");
        Ok(token)
    }

    /// Makes a keyed tunnel for a client, with a new key or the one that the client showed. If the client showed the key of a
    /// tunnel of the name it wants, that tunnel is returned, and revived if it had expired or was deleted.
    ///
    /// # Errors
    /// With [`Failure::NameTaken`] when the name is somebody else's; as [`Self::create`] otherwise.
    pub(super) async fn make(&self, client: Client, wanted: Wanted, key: Option<Key>) -> Result<Made, Failure> {
        let token = wanted.token;
        if let Some(key) = key.as_ref().filter(|_| token.is_name())
            && let Some(made) = self.claim(&wanted, key).await?
        {
            return Ok(made);
        }
        let Wanted { settings, rules, .. } = wanted;
        let key = key.unwrap_or_else(|| Key::from_random(rand::random()));
        let keyed = Keyed { key: key.hash(), settings, rules, was_joined: false };
        let life = defaults::UNJOINED_TTL.min(settings.ttl);
        let record = self.add(token, client, Some(Box::new(keyed)), life).await?;
        tracing::info!(?token, "tunnel made");
        Ok(Made { token, key: Some(key), found: Found { record, life: Life::Alive(life) } })
    }

    /// Returns the tunnel of a name to the owner of its key. `None` if there is no tunnel of that name.
    async fn claim(&self, wanted: &Wanted, key: &Key) -> Result<Option<Made>, Failure> {
        let Wanted { token, settings, ref rules } = *wanted;
        let Some(found) = self.find_any(&token).await? else { return Ok(None) };
        let hash = key.hash();
        if found.record.keyed.as_ref().is_none_or(|keyed| keyed.key != hash) {
            return Err(Failure::NameTaken);
        }
        if let Life::Alive(_) = found.life {
            return Ok(Some(Made { token, key: None, found }));
        }
        let revive =
            Change::Revive { settings, rules: rules.clone(), unjoined: defaults::UNJOINED_TTL.min(settings.ttl) };
        // Somebody else may have done it meanwhile; the next attempt finds that.
        let found = self.change_by(&token, By::Key(hash), &revive).await?.ok_or(Failure::NameTaken)?;
        tracing::info!(?token, "tunnel revived");
        Ok(Some(Made { token, key: Some(key.clone()), found }))
    }

    async fn add(
        &self,
        token: Token,
        client: Client,
        keyed: Option<Box<Keyed>>,
        life: Duration,
    ) -> Result<Record, Failure> {
        // An address that has none left gets one back only when tunnels are forgotten.
        self.store.purge();
        let Some(slot) = self.per_address.hold(client) else {
            return Err(Failure::TooManyTunnels(self.per_address.limit()));
        };
        let made_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let made_by: Option<IpAddr> = slot.address();
        let record = Record { made_at, made_by, keyed };
        let created = self.store.create(token, record.clone(), life, slot).await;
        if let Err(StoreError::Full { .. }) = created {
            self.hits.hit(Limit::Tokens);
        }
        self.calls.counted(StoreCall::Create, created)?;
        Ok(record)
    }

    async fn find_any(&self, token: &Token) -> Result<Option<Found>, StoreError> {
        self.calls.counted(StoreCall::Find, self.store.find(token).await)
    }

    async fn change_by(&self, token: &Token, by: By, change: &Change) -> Result<Option<Found>, StoreError> {
        self.calls.counted(StoreCall::Change, self.store.change(token, by, change).await)
    }

    /// Returns a tunnel that lives.
    ///
    /// # Errors
    /// With [`Failure::TokenNotFound`] if there is none, with [`Failure::Blocked`] if the operator keeps it out, and when the store
    /// fails.
    pub(super) async fn find(&self, token: &Token) -> Result<(Record, Duration), Failure> {
        self.check(token)?;
        alive(self.find_any(token).await?)
    }

    /// Checks that the operator does not keep a tunnel out.
    ///
    /// # Errors
    /// With [`Failure::Blocked`].
    pub(super) fn check(&self, token: &Token) -> Result<(), Failure> {
        if self.blocks.has_tunnel(token) { Err(Failure::Blocked) } else { Ok(()) }
    }

    /// Returns what the store keeps of a token, to the operator.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn found(&self, token: &Token) -> Result<Option<Found>, StoreError> {
        self.find_any(token).await
    }

    /// Returns a tunnel that lives, to somebody who showed this key.
    ///
    /// # Errors
    /// With [`Failure::NoSuchTunnel`] for an unknown token, an original one, and another key; and when the store fails.
    pub(super) async fn find_of(&self, token: &Token, key: KeyHash) -> Result<Found, Failure> {
        let found = self.find_any(token).await?.filter(|found| {
            matches!(found.life, Life::Alive(_)) && found.record.keyed.as_ref().is_some_and(|keyed| keyed.key == key)
        });
        found.ok_or(Failure::NoSuchTunnel)
    }

    /// Lets a tunnel live for its whole life from now on. `shown` returns the key that somebody has shown; it is asked of a keyed
    /// tunnel alone, as an original one is for anybody.
    ///
    /// # Errors
    /// - [`Failure::TokenNotFound`] for an unknown token
    /// - [`Failure::KeyRequired`] if the tunnel has a key and none was shown
    /// - [`Failure::NoSuchTunnel`] if another one was shown
    /// - when the store fails
    pub(super) async fn refresh(
        &self,
        token: &Token,
        shown: impl FnOnce() -> Result<Option<Key>, Failure>,
    ) -> Result<(), Failure> {
        let (record, _) = self.find(token).await?;
        let (by, change) = match record.keyed {
            None => (By::Anybody, Change::Refresh(self.lifetime)),
            Some(keyed) => {
                let key = shown()?.ok_or(Failure::KeyRequired)?;
                (By::Key(key.hash()), Change::Set(Patch { ttl: Some(keyed.settings.ttl), ..Patch::default() }))
            }
        };
        let refused = if by == By::Anybody { Failure::TokenNotFound } else { Failure::NoSuchTunnel };
        self.change_by(token, by, &change).await?.ok_or(refused)?;
        tracing::info!(?token, "token refreshed");
        Ok(())
    }

    /// Makes a change for somebody who showed this key.
    ///
    /// # Errors
    /// With [`Failure::NoSuchTunnel`] for an unknown token, an original one, and another key; and when the store fails.
    pub(super) async fn change(&self, token: &Token, key: KeyHash, change: &Change) -> Result<Found, Failure> {
        self.change_by(token, By::Key(key), change).await?.ok_or(Failure::NoSuchTunnel)
    }

    /// Lets a keyed tunnel live for its `ttl` from now on, because an end of it is, or was until now, connected.
    ///
    /// # Errors
    /// With [`Failure::TokenNotFound`] for an unknown token, with [`Failure::Blocked`], and when the store fails.
    pub(super) async fn renew(&self, token: &Token) -> Result<(Record, Duration), Failure> {
        self.check(token)?;
        alive(self.change_by(token, By::Anybody, &Change::Renew).await?)
    }

    /// Does what the store needs a task for. Never completes.
    pub(super) async fn keep(self: Arc<Self>) -> Infallible {
        self.store.keep().await
    }

    /// Tells whether the store can lose tunnels that others must write again.
    pub(super) fn can_be_lost(&self) -> bool {
        self.store.can_be_emptied()
    }

    /// Tells whether tunnels outlive this process.
    pub(super) fn outlive_restarts(&self) -> bool {
        self.store.values().outlive_restarts()
    }

    /// Completes when the store was found without its data: all tunnels that are known are to be [restored](Self::restore).
    pub(super) async fn lost(&self) {
        self.store.emptied().await;
    }

    /// Writes a tunnel again, which lives for its whole life from now on. Returns false if its token is somebody else's.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn restore(&self, token: &Token, record: &Record) -> Result<bool, Failure> {
        let life = record.keyed.as_ref().map_or(self.lifetime, |keyed| keyed.settings.ttl);
        Ok(self.calls.counted(StoreCall::Restore, self.store.restore(token, record, life).await)?)
    }

    /// All tunnels that were known are restored.
    pub(super) fn restored(&self) {
        self.store.restored();
    }

    /// Returns the calls of the store.
    pub(super) fn calls(&self) -> &StoreCalls {
        &self.calls
    }

    /// Lets another server have the store. What must be durable fails from then on.
    pub(super) async fn close(&self) {
        self.store.close().await;
    }

    /// Returns how many tokens there are, as far as this process knows.
    pub(super) fn count(&self) -> usize {
        self.store.count()
    }
}

pub(super) fn alive(found: Option<Found>) -> Result<(Record, Duration), Failure> {
    match found {
        Some(Found { record, life: Life::Alive(left) }) => Ok((record, left)),
        Some(Found { life: Life::Claimed(_), .. }) | None => Err(Failure::TokenNotFound),
    }
}

impl From<StoreError> for Failure {
    /// Logs at `debug`, since peers can ask without limit: at `error` they would write the operator's log. A store that cannot be
    /// used says so itself, once.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full { capacity } => {
                tracing::debug!(capacity, "no token made: all are in use");
                Self::TokensFull { capacity }
            }
            StoreError::Taken => Self::NameTaken,
            StoreError::Unavailable(reason) => {
                tracing::debug!(reason, "the store of tokens cannot be used");
                Self::Store
            }
        }
    }
}
