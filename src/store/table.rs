//! Tunnels in memory. Each call first removes those that have expired, so no task is needed and nothing grows.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::StoreError;
use super::record::{By, Change, Found, Life, Record};
use super::value_table::ValueTable;
use crate::expiring::Expiring;
use crate::proto::token::Token;

/// The tunnels of this process, `capacity` at most, each with what is held for it.
#[derive(Debug)]
pub struct Table<H> {
    tunnels: Mutex<Tunnels<H>>,
    capacity: usize,
    values: Arc<ValueTable>,
}

#[derive(Debug)]
struct Tunnels<H> {
    entries: Expiring<Token, Entry<H>>,
    /// The tokens of what was added, changed or forgotten since [`Table::take_changed`]; `None` if nobody asks.
    changed: Option<HashSet<Token>>,
}

/// A tunnel as it is after a change: its token, and `None` if it was forgotten, else its record, and when its name is not
/// claimed any more.
pub(super) type Changed = (Token, Option<(Record, Instant)>);

/// A tunnel. Its entry expires when its name is no longer claimed; without a claim, when it expires itself.
#[derive(Debug)]
struct Entry<H> {
    record: Record,
    _held: H,
}

impl<H> Entry<H> {
    /// `forgotten` is when the entry expires: the tunnel expires as much earlier as its name is claimed.
    fn life(&self, token: &Token, forgotten: Instant, now: Instant) -> Life {
        let remembered = forgotten.saturating_duration_since(now);
        match remembered.checked_sub(self.record.claim(token)) {
            Some(left) if !left.is_zero() => Life::Alive(left),
            Some(_) | None => Life::Claimed(remembered),
        }
    }
}

impl<H> Table<H> {
    /// Makes an empty table.
    pub(super) fn new(capacity: usize) -> Self {
        Self::with(None, capacity)
    }

    /// Makes an empty table that remembers which tunnels change.
    pub(super) fn remembering_changes(capacity: usize) -> Self {
        Self::with(Some(HashSet::new()), capacity)
    }

    fn with(changed: Option<HashSet<Token>>, capacity: usize) -> Self {
        let tunnels = Mutex::new(Tunnels { entries: Expiring::default(), changed });
        Self { tunnels, capacity, values: Arc::default() }
    }

    /// Returns the values that are kept beside the tunnels.
    pub(super) fn values(&self) -> &Arc<ValueTable> {
        &self.values
    }

    /// Forgets the tunnels that have expired. Each other call does so first.
    pub(super) fn purge(&self) {
        drop(self.lock());
    }

    /// Returns how many tunnels there are, those of which only the name is claimed included.
    pub(super) fn count(&self) -> usize {
        self.lock().entries.len()
    }

    /// Adds a tunnel that lives for `life`.
    pub(super) fn create(&self, token: Token, record: Record, life: Duration, held: H) -> Result<(), StoreError> {
        let mut tunnels = self.lock();
        if tunnels.entries.get(&token).is_some() {
            return Err(StoreError::Taken);
        }
        if tunnels.entries.len() >= self.capacity {
            return Err(StoreError::Full { capacity: self.capacity });
        }
        let forgotten = Instant::now() + life + record.claim(&token);
        tunnels.entries.get_or_insert(token, forgotten, || Entry { record, _held: held });
        tunnels.note(token);
        Ok(())
    }

    /// Adds a tunnel that was kept elsewhere, even beyond the capacity, and is no change. `forgotten` is when its name is not
    /// claimed any more.
    pub(super) fn restore(&self, token: Token, record: Record, forgotten: Instant, held: H) {
        self.all().entries.get_or_insert(token, forgotten, || Entry { record, _held: held });
    }

    /// Takes a tunnel out. Its name is free.
    pub(super) fn remove(&self, token: &Token) {
        let mut tunnels = self.lock();
        if tunnels.entries.remove(token).is_some() {
            tunnels.note(*token);
        }
    }

    /// Returns what was added, changed or forgotten since the last call, as it is now.
    pub(super) fn take_changed(&self) -> Vec<Changed> {
        let mut tunnels = self.lock();
        let changed = tunnels.changed.as_mut().map(std::mem::take).unwrap_or_default();
        let now_is = |token: Token| {
            let entry = tunnels.entries.get(&token).zip(tunnels.entries.expiry(&token));
            (token, entry.map(|(entry, forgotten)| (entry.record.clone(), forgotten)))
        };
        changed.into_iter().map(now_is).collect()
    }

    /// Makes the next [`Self::take_changed`] return these too.
    pub(super) fn note_changed(&self, tokens: impl IntoIterator<Item = Token>) {
        let mut tunnels = self.lock();
        tokens.into_iter().for_each(|token| tunnels.note(token));
    }

    /// Returns a tunnel.
    pub(super) fn find(&self, token: &Token) -> Option<Found> {
        let Tunnels { entries, .. } = &*self.lock();
        let (entry, forgotten) = (entries.get(token)?, entries.expiry(token)?);
        Some(Found { record: entry.record.clone(), life: entry.life(token, forgotten, Instant::now()) })
    }

    /// Tells whether there is a keyed tunnel that no end has joined.
    pub(super) fn is_unjoined(&self, token: &Token) -> bool {
        let tunnels = self.lock();
        let keyed = tunnels.entries.get(token).and_then(|entry| entry.record.keyed.as_ref());
        keyed.is_some_and(|keyed| !keyed.was_joined)
    }

    /// Changes a tunnel, and returns it as it is then. `None` if there is no such tunnel, or not for `by`, or no such change
    /// for it.
    pub(super) fn change(&self, token: &Token, by: By, change: &Change) -> Option<Found> {
        let mut tunnels = self.lock();
        let now = Instant::now();
        let forgotten = tunnels.entries.expiry(token)?;
        let entry = tunnels.entries.get_mut(token).filter(|entry| entry.record.admits(by, change))?;
        let left = match entry.life(token, forgotten, now) {
            Life::Alive(left) => Some(left),
            Life::Claimed(_) => None,
        };
        let life = entry.record.apply(change, left)?;
        let claim = entry.record.claim(token);
        let found = Found {
            record: entry.record.clone(),
            life: if life.is_zero() { Life::Claimed(claim) } else { Life::Alive(life) },
        };
        tunnels.entries.set_expiry(*token, now + life + claim);
        tunnels.note(*token);
        Some(found)
    }

    /// Locks the table and removes those that have expired. A poisoned lock is taken all the same: nothing under it panics.
    fn lock(&self) -> MutexGuard<'_, Tunnels<H>> {
        let mut tunnels = self.all();
        let now = Instant::now();
        while let Some((expiry, token)) = tunnels.entries.first()
            && expiry <= now
        {
            tunnels.entries.remove(&token);
            tunnels.note(token);
        }
        tunnels
    }

    /// Locks the table with all that is in it.
    fn all(&self) -> MutexGuard<'_, Tunnels<H>> {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H> Tunnels<H> {
    /// Remembers that a tunnel has changed.
    fn note(&mut self, token: Token) {
        if let Some(changed) = &mut self.changed {
            changed.insert(token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{CLAIM, Keyed};
    use super::super::settings::{Patch, Settings};
    use super::*;
    use crate::proto::key::{Key, KeyHash};

    const HOUR: Duration = Duration::from_secs(3600);

    fn token(number: u128) -> Token {
        Token::from_uuid(uuid::Uuid::from_u128(number))
    }

    fn original() -> Record {
        Record { made_at: 0, made_by: None, keyed: None }
    }

    fn hash(number: u8) -> KeyHash {
        Key::from_random([number; 32]).hash()
    }

    fn keyed() -> Record {
        let settings = Settings { ttl: 10 * HOUR, ..Settings::default() };
        let keyed = Keyed { key: hash(1), settings, rules: None, was_joined: false };
        Record { keyed: Some(Box::new(keyed)), ..original() }
    }

    fn life<H>(table: &Table<H>, token: &Token) -> Option<Life> {
        table.find(token).map(|found| found.life)
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_lives_for_its_time_after_each_refresh() {
        let table = Table::new(2);
        let ttl = Duration::from_secs(10);
        let refresh = |token| table.change(&token, By::Anybody, &Change::Refresh(ttl)).is_some();
        table.create(token(1), original(), ttl, ()).unwrap();
        assert_eq!((life(&table, &token(1)), life(&table, &token(2))), (Some(Life::Alive(ttl)), None));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(refresh(token(1)) && !refresh(token(2)));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(life(&table, &token(1)), Some(Life::Alive(Duration::from_secs(1))));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(life(&table, &token(1)), None);
        assert!(!refresh(token(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_for_a_token_is_given_back_when_it_expires() {
        let (table, held) = (Table::new(1), Arc::new(()));
        let ttl = Duration::from_secs(10);
        table.create(token(1), original(), ttl, Arc::clone(&held)).unwrap();
        assert!(table.create(token(2), original(), ttl, Arc::clone(&held)).is_err());
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(table.change(&token(1), By::Anybody, &Change::Refresh(ttl)).is_some());
        tokio::time::advance(Duration::from_secs(9)).await;
        table.purge();
        assert_eq!(Arc::strong_count(&held), 2, "the token lives, and nothing is held for one that was not made");
        tokio::time::advance(Duration::from_secs(1)).await;
        table.purge();
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_table_takes_another_token_once_one_has_expired() {
        let table = Table::new(2);
        table.create(token(1), original(), Duration::from_secs(1), ()).unwrap();
        table.create(token(2), original(), Duration::from_secs(9), ()).unwrap();
        let full = table.create(token(3), original(), Duration::from_secs(1), ());
        assert_eq!(full, Err(StoreError::Full { capacity: 2 }));
        tokio::time::advance(Duration::from_secs(1)).await;
        table.create(token(3), original(), Duration::from_secs(1), ()).unwrap();
        assert_eq!(table.count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_key_changes_a_keyed_tunnel_and_none_an_original_one() {
        let table = Table::new(2);
        table.create(token(1), original(), HOUR, ()).unwrap();
        table.create(token(2), keyed(), HOUR, ()).unwrap();
        let set = || Change::Set(Patch { ttl: Some(2 * HOUR), ..Patch::default() });
        let refresh = || Change::Refresh(2 * HOUR);
        for (token, by, change, expected) in [
            (token(1), By::Anybody, refresh(), true),
            (token(1), By::Key(hash(1)), refresh(), false),
            (token(1), By::Key(hash(1)), Change::Delete, false),
            (token(1), By::Anybody, Change::Delete, false),
            (token(2), By::Anybody, refresh(), false),
            (token(2), By::Key(hash(1)), refresh(), false),
            (token(2), By::Key(hash(2)), set(), false),
            (token(2), By::Anybody, set(), false),
            (token(2), By::Anybody, Change::Rekey(hash(2)), false),
            (token(2), By::Anybody, Change::Delete, false),
            (token(2), By::Anybody, Change::Renew, true),
            (token(2), By::Key(hash(1)), set(), true),
            (token(2), By::Key(hash(1)), Change::Rekey(hash(2)), true),
            (token(2), By::Key(hash(1)), Change::Delete, false),
            (token(2), By::Key(hash(2)), Change::Delete, true),
        ] {
            assert_eq!(table.change(&token, by, &change).is_some(), expected, "{token:?} {by:?} {change:?}");
        }
        assert_eq!(life(&table, &token(2)), None, "a token has no claim");
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_stays_claimed_for_its_key_once_an_end_had_joined() {
        let table = Table::new(2);
        let name = Token::from_name("mine").unwrap();
        let revive =
            Change::Revive { settings: Settings { ttl: HOUR, ..Settings::default() }, rules: None, unjoined: HOUR };
        table.create(name, keyed(), HOUR, ()).unwrap();
        assert_eq!(table.create(name, keyed(), HOUR, ()), Err(StoreError::Taken));
        assert_eq!(table.change(&name, By::Key(hash(1)), &revive), None, "it lives");
        let joined = table.change(&name, By::Anybody, &Change::Renew).unwrap();
        assert_eq!(joined.life, Life::Alive(10 * HOUR));
        tokio::time::advance(10 * HOUR).await;
        assert_eq!(life(&table, &name), Some(Life::Claimed(CLAIM)));
        assert_eq!(table.create(name, keyed(), HOUR, ()), Err(StoreError::Taken));
        assert_eq!(table.change(&name, By::Key(hash(2)), &revive), None);
        assert_eq!(table.change(&name, By::Key(hash(1)), &Change::Renew), None, "it must be revived");
        let revived = table.change(&name, By::Key(hash(1)), &revive).unwrap();
        assert_eq!((revived.life, revived.record.keyed.unwrap().settings.ttl), (Life::Alive(HOUR), HOUR));
        let deleted = table.change(&name, By::Key(hash(1)), &Change::Delete).unwrap();
        assert_eq!(deleted.life, Life::Claimed(CLAIM));
        tokio::time::advance(CLAIM).await;
        table.create(name, keyed(), HOUR, ()).unwrap();
        table.change(&name, By::Key(hash(1)), &Change::Delete).unwrap();
        table.create(name, keyed(), HOUR, ()).unwrap();
        assert_eq!(table.count(), 1, "no end had joined the one before");
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_ttl_counts_from_now_and_does_not_prolong_what_no_end_has_joined() {
        let table = Table::new(1);
        table.create(token(1), keyed(), HOUR, ()).unwrap();
        let set = |ttl| {
            let change = Change::Set(Patch { ttl: Some(ttl), ..Patch::default() });
            table.change(&token(1), By::Key(hash(1)), &change).unwrap().life
        };
        assert_eq!((set(5 * HOUR), set(HOUR / 2)), (Life::Alive(HOUR), Life::Alive(HOUR / 2)));
        table.change(&token(1), By::Anybody, &Change::Renew).unwrap();
        assert_eq!(set(5 * HOUR), Life::Alive(5 * HOUR));
    }
}
