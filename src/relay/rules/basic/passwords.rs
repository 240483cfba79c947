//! Hashes and checks passwords: a few at a time, off the threads that serve, and not again for a minute.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::password::PasswordHash;
use super::{Basic, BasicWish, Shown};
use crate::expiring::Expiring;
use crate::net::budget::{Budget, Client, Held, network_of};
use crate::relay::rules::Refusal;

/// How many passwords of visitors are checked at once. Each takes 9 MiB and a processor for tens of milliseconds.
const CHECKED: usize = 2;

/// How many more may wait for that; beyond, visitors get 503. It takes about two seconds to be the last of them.
const WAITING: usize = 64;

/// How many rules may wait until the one before is hashed; beyond, their owners get 503. Visitors do not wait for owners: where
/// strangers may make tunnels, anybody is one.
const OWNERS_WAITING: usize = 8;

/// How long it is known whether a name and a password are right, and within which wrong ones are counted.
const MEMORY: Duration = Duration::from_secs(60);

/// The most names with passwords of which that is known.
const MAX_KNOWN: usize = 10_000;

/// The most wrong passwords of an address in a minute; beyond, it gets 429 for all that are not known to be right.
const MAX_WRONG: u32 = 10;

/// The most addresses whose wrong passwords are counted; beyond, those counted first are forgotten.
const MAX_ADDRESSES: usize = 10_000;

/// Hashes and checks passwords for all tunnels.
#[derive(Debug)]
pub(in crate::relay) struct Passwords {
    checks: Workers,
    hashes: Workers,
    /// A number of this process, so that nobody can tell what [`Self::known`] has from its keys.
    salt: [u8; 32],
    /// Whether a name and a password are right for a hash, by the SHA-256 of all three.
    known: Mutex<Expiring<[u8; 32], bool>>,
    wrong: Mutex<Expiring<IpAddr, u32>>,
}

/// A bounded number of hashes at once, on threads that may block.
#[derive(Debug)]
struct Workers {
    at_once: Arc<Semaphore>,
    /// Those that work, and those that wait for it.
    places: Arc<Budget>,
}

/// Too many hashes are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::relay) struct Unhashed;

impl Default for Passwords {
    fn default() -> Self {
        Self {
            checks: Workers::new(CHECKED, WAITING),
            hashes: Workers::new(1, OWNERS_WAITING),
            salt: rand::random(),
            known: Mutex::default(),
            wrong: Mutex::default(),
        }
    }
}

impl Passwords {
    /// Hashes the passwords of a rule.
    ///
    /// # Errors
    /// When too many hashes are waited for.
    pub(in crate::relay) async fn hash(&self, wish: BasicWish) -> Result<Basic, Unhashed> {
        let BasicWish { realm, users } = wish;
        let hash = move || users.into_iter().map(|(name, password)| (name, password.hash())).collect();
        let (users, _place) = self.hashes.enter().await?.work(hash).await?;
        Ok(Basic { realm, users })
    }

    /// Checks what a visitor shows in `Authorization`.
    ///
    /// # Errors
    /// - [`Refusal::AuthRequired`] when that is missing, or no user's name and password
    /// - [`Refusal::WrongTooOften`] when too many of the visitor's address were wrong
    /// - [`Refusal::Busy`] when too many hashes are waited for
    pub(in crate::relay) async fn check(
        &self,
        basic: &Basic,
        authorization: Option<&HeaderValue>,
        client: Client,
    ) -> Result<(), Refusal> {
        let required = || Refusal::AuthRequired(basic.challenge());
        let shown = authorization.and_then(Shown::read).ok_or_else(required)?;
        // Whoever asks for a user that there is not waits as long as for one that there is.
        let user = basic.users.get(&shown.name);
        let hash = user.or_else(|| basic.users.values().next()).ok_or_else(required)?.clone();
        let name_is_one = user.is_some();
        let key = self.key(&hash, name_is_one, authorization);
        let known = get(&mut lock(&self.known), &key);
        if known == Some(true) {
            return Ok(());
        }
        self.check_wrong(client)?;
        // A thread's time ends once its verdict is counted: else the next of this address begins before.
        let (is_right, _place) = match known {
            Some(is_right) => (is_right, None),
            None => {
                let place = self.checks.enter().await.map_err(|Unhashed| Refusal::Busy)?;
                // Others of this address were checked meanwhile, and perhaps the same one.
                let known = get(&mut lock(&self.known), &key);
                match known {
                    Some(is_right) => (is_right, Some(place)),
                    None => {
                        self.check_wrong(client)?;
                        let checked = place.work(move || hash.is_of(&shown.password) && name_is_one).await;
                        let (is_right, place) = checked.map_err(|Unhashed| Refusal::Busy)?;
                        put(&mut lock(&self.known), key, is_right, MAX_KNOWN);
                        (is_right, Some(place))
                    }
                }
            }
        };
        if is_right {
            return Ok(());
        }
        self.count_wrong(client);
        Err(required())
    }

    fn key(&self, hash: &PasswordHash, name_is_one: bool, authorization: Option<&HeaderValue>) -> [u8; 32] {
        let shown = authorization.map_or(&[][..], HeaderValue::as_bytes);
        Sha256::new()
            .chain_update(self.salt)
            .chain_update([u8::from(name_is_one)])
            .chain_update((hash.as_bytes().len() as u64).to_le_bytes())
            .chain_update(hash.as_bytes())
            .chain_update(shown)
            .finalize()
            .into()
    }

    fn check_wrong(&self, client: Client) -> Result<(), Refusal> {
        let address = network_of(client.address);
        let mut wrong = lock(&self.wrong);
        let count = get(&mut wrong, &address).unwrap_or(0);
        let expiry = wrong.expiry(&address).filter(|_| count >= MAX_WRONG);
        expiry.map_or(Ok(()), |expiry| Err(Refusal::WrongTooOften(expiry.saturating_duration_since(Instant::now()))))
    }

    fn count_wrong(&self, client: Client) {
        let address = network_of(client.address);
        let mut wrong = lock(&self.wrong);
        match get(&mut wrong, &address).and_then(|_| wrong.get_mut(&address)) {
            Some(count) => *count += 1,
            None => put(&mut wrong, address, 1, MAX_ADDRESSES),
        }
    }
}

impl Workers {
    fn new(at_once: usize, waiting: usize) -> Self {
        Self { at_once: Arc::new(Semaphore::new(at_once)), places: Budget::new(at_once + waiting) }
    }

    /// Waits for a thread.
    async fn enter(&self) -> Result<Place, Unhashed> {
        let waiting = self.places.hold(1).ok_or(Unhashed)?;
        let permit = Arc::clone(&self.at_once).acquire_owned().await.map_err(|_| Unhashed)?;
        Ok(Place { _waiting: waiting, _permit: permit })
    }
}

/// The right to compute one hash.
struct Place {
    _waiting: Held,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Does something on a thread that serves nothing else, and returns the place with what came of it. If nobody waits for that
    /// any more, the place is given back when it is done.
    async fn work<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<(T, Self), Unhashed> {
        tokio::task::spawn_blocking(move || (work(), self)).await.map_err(|_| Unhashed)
    }
}

/// Returns a value that has not expired.
fn get<K: Copy + Ord + std::hash::Hash, V: Copy>(table: &mut Expiring<K, V>, key: &K) -> Option<V> {
    if table.expiry(key)? <= Instant::now() {
        table.remove(key);
    }
    table.get(key).copied()
}

/// Puts a value into a table for a minute; beyond `most`, the one that was put first leaves.
fn put<K: Copy + Ord + std::hash::Hash, V>(table: &mut Expiring<K, V>, key: K, value: V, most: usize) {
    while let Some((_, first)) = table.first().filter(|_| table.len() >= most) {
        table.remove(&first);
    }
    table.get_or_insert(key, Instant::now() + MEMORY, || value);
}

/// Locks a table. A poisoned lock is taken all the same: nothing under it panics.
fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
