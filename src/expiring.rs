//! A table whose entries expire.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

use crate::tables;

/// Values by key, each with the moment at which it expires. The default is empty.
#[derive(Debug)]
pub(crate) struct Expiring<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// The keys of all entries, in the order in which they expire.
    order: BTreeSet<(Expiry, K)>,
    origin: Instant,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    expiry: Expiry,
}

/// Nanoseconds since the table was made: half of an `Instant`, of which each entry has two. Enough for 580 years; what expired
/// before the table was made expires with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Expiry(u64);

impl<K, V> Default for Expiring<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: BTreeSet::new(), origin: Instant::now() }
    }
}

impl<K, V> Expiring<K, V> {
    fn at(&self, moment: Instant) -> Expiry {
        let since = moment.saturating_duration_since(self.origin);
        Expiry(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    fn moment(&self, Expiry(nanoseconds): Expiry) -> Instant {
        self.origin + Duration::from_nanos(nanoseconds)
    }
}

impl<K: Copy + Ord + Hash, V> Expiring<K, V> {
    /// Returns the number of entries.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns all keys, in no order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.keys()
    }

    /// Returns all values, in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values().map(|entry| &entry.value)
    }

    /// Returns the value of a key.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// Returns the value of a key, to change it.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|entry| &mut entry.value)
    }

    /// Returns when a key expires; `None` for one that is not here.
    pub(crate) fn expiry(&self, key: &K) -> Option<Instant> {
        self.entries.get(key).map(|entry| self.moment(entry.expiry))
    }

    /// Makes a key expire at `expiry`, and returns its value: a `new` one if the key was not here.
    pub(crate) fn get_or_insert(&mut self, key: K, expiry: Instant, new: impl FnOnce() -> V) -> &V {
        let expiry = self.at(expiry);
        self.order.insert((expiry, key));
        let entry = self.entries.entry(key).or_insert_with(|| Entry { value: new(), expiry });
        if entry.expiry != expiry {
            self.order.remove(&(entry.expiry, key));
            entry.expiry = expiry;
        }
        &entry.value
    }

    /// Changes when a key expires. Returns false for one that is not here.
    pub(crate) fn set_expiry(&mut self, key: K, expiry: Instant) -> bool {
        let expiry = self.at(expiry);
        let Some(entry) = self.entries.get_mut(&key) else { return false };
        self.order.remove(&(entry.expiry, key));
        self.order.insert((expiry, key));
        entry.expiry = expiry;
        true
    }

    /// Takes a key out, and returns its value.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.remove(key)?;
        tables::shrink(&mut self.entries);
        self.order.remove(&(entry.expiry, *key));
        Some(entry.value)
    }

    /// Returns the key that expires first, and when.
    pub(crate) fn first(&self) -> Option<(Instant, K)> {
        self.order.first().map(|&(expiry, key)| (self.moment(expiry), key))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Insert(u8, u64),
        SetExpiry(u8, u64),
        Remove(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..6_u8, 0..9_u64).prop_map(|(key, expiry)| Step::Insert(key, expiry)),
            (0..6_u8, 0..9_u64).prop_map(|(key, expiry)| Step::SetExpiry(key, expiry)),
            (0..6_u8).prop_map(Step::Remove),
        ]
    }

    proptest! {
        /// Whatever happens to the table, the order has exactly its entries, and a value stays until it is removed.
        #[test]
        fn the_order_has_the_tables_entries(steps in prop::collection::vec(step(), 0..60)) {
            let (mut table, mut model) = (Expiring::default(), HashMap::new());
            let origin = table.origin;
            let at = |seconds| origin + Duration::from_secs(seconds);
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(key, expiry) => {
                        let value = *table.get_or_insert(key, at(expiry), || number);
                        let entry = model.entry(key).or_insert((number, at(expiry)));
                        entry.1 = at(expiry);
                        prop_assert_eq!(value, entry.0);
                    }
                    Step::SetExpiry(key, expiry) => {
                        let is_there = model.get_mut(&key).map(|entry| entry.1 = at(expiry)).is_some();
                        prop_assert_eq!(table.set_expiry(key, at(expiry)), is_there);
                    }
                    Step::Remove(key) => {
                        prop_assert_eq!(table.remove(&key), model.remove(&key).map(|entry| entry.0));
                    }
                }
                let expected: BTreeSet<_> = model.iter().map(|(&key, &(_, expiry))| (expiry, key)).collect();
                let order: BTreeSet<_> = table.order.iter().map(|&(expiry, key)| (table.moment(expiry), key)).collect();
                prop_assert_eq!(&order, &expected);
                prop_assert_eq!(table.first(), expected.first().copied());
                prop_assert_eq!(table.len(), model.len());
                for (key, (value, expiry)) in &model {
                    prop_assert_eq!((table.get(key), table.expiry(key)), (Some(value), Some(*expiry)));
                }
            }
        }
    }
}
