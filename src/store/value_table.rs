//! Values and leases in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::StoreError;

/// The values of this process, and who holds which lease.
#[derive(Debug, Default)]
pub(super) struct ValueTable(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    values: BTreeMap<String, String>,
    /// The names of what was written since [`ValueTable::take_changed`], where somebody takes them.
    changed: BTreeSet<String>,
    leases: BTreeMap<String, Lease>,
}

#[derive(Debug)]
struct Lease {
    holder: String,
    ends: Instant,
}

impl ValueTable {
    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.lock().values.get(name).cloned()
    }

    /// Sets a value.
    ///
    /// # Errors
    /// - [`StoreError::Full`] if it would be one more than `most`
    pub(super) fn put(&self, name: &str, text: &str, most: usize) -> Result<(), StoreError> {
        self.lock().put(name, text, most)
    }

    /// Sets a value if it is `was` still, where `None` is no value. Returns false, and sets nothing, if it is another one.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub(super) fn put_if(&self, name: &str, was: Option<&str>, text: &str, most: usize) -> Result<bool, StoreError> {
        let mut inner = self.lock();
        if inner.values.get(name).map(String::as_str) != was {
            return Ok(false);
        }
        inner.put(name, text, most).map(|()| true)
    }

    /// Takes up what was kept elsewhere, which is no change.
    pub(super) fn restore(&self, values: BTreeMap<String, String>) {
        self.lock().values.extend(values);
    }

    /// Returns what was written since the last call, as it is now.
    pub(super) fn take_changed(&self) -> Vec<(String, String)> {
        let mut inner = self.lock();
        let changed = std::mem::take(&mut inner.changed);
        let text = |name: String| inner.values.get(&name).cloned().map(|text| (name, text));
        changed.into_iter().filter_map(text).collect()
    }

    /// Makes the next [`Self::take_changed`] return this one too.
    pub(super) fn note_changed(&self, name: &str) {
        self.lock().changed.insert(name.to_owned());
    }

    /// Gives a lease to `holder` for `time` from now, unless another holder has it. No time gives it back.
    pub(super) fn lease(&self, name: &str, holder: &str, time: Duration) -> bool {
        let (mut inner, now) = (self.lock(), Instant::now());
        inner.leases.retain(|_, lease| lease.ends > now);
        if inner.leases.get(name).is_some_and(|lease| lease.holder != holder) {
            return false;
        }
        inner.leases.insert(name.to_owned(), Lease { holder: holder.to_owned(), ends: now + time });
        true
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that is done under the lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn put(&mut self, name: &str, text: &str, most: usize) -> Result<(), StoreError> {
        if !self.values.contains_key(name) && self.values.len() >= most {
            return Err(StoreError::Full { capacity: most });
        }
        self.values.insert(name.to_owned(), text.to_owned());
        self.changed.insert(name.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_what_was_put_last_and_there_are_not_more_than_may_be() {
        let table = ValueTable::default();
        assert_eq!(table.get("a"), None);
        let put = |name, text| table.put(name, text, 2);
        assert_eq!((put("a", "1"), put("b", "2")), (Ok(()), Ok(())));
        assert_eq!((put("c", "3"), put("a", "4")), (Err(StoreError::Full { capacity: 2 }), Ok(())));
        assert_eq!((table.get("a").as_deref(), table.get("c")), (Some("4"), None));
        assert_eq!(table.take_changed(), [("a".to_owned(), "4".to_owned()), ("b".to_owned(), "2".to_owned())]);
        table.note_changed("b");
        assert_eq!(table.take_changed(), [("b".to_owned(), "2".to_owned())]);
        assert_eq!(table.take_changed(), []);
    }

    #[test]
    fn a_value_is_put_over_the_one_that_was_read_alone() {
        let table = ValueTable::default();
        let put = |was, text| table.put_if("a", was, text, 1);
        assert_eq!((put(Some("0"), "1"), put(None, "1"), put(None, "2")), (Ok(false), Ok(true), Ok(false)));
        assert_eq!((put(Some("0"), "2"), put(Some("1"), "2")), (Ok(false), Ok(true)));
        assert_eq!(table.put_if("b", None, "1", 1), Err(StoreError::Full { capacity: 1 }));
        assert_eq!(table.take_changed(), [("a".to_owned(), "2".to_owned())]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_has_one_holder_until_it_ends_or_is_given_back() {
        let (table, minute) = (ValueTable::default(), Duration::from_secs(60));
        assert!(table.lease("acme", "one", minute) && !table.lease("acme", "two", minute));
        assert!(table.lease("other", "two", minute));
        tokio::time::advance(minute / 2).await;
        assert!(table.lease("acme", "one", minute), "its holder prolongs it");
        tokio::time::advance(minute * 3 / 4).await;
        assert!(!table.lease("acme", "two", minute));
        tokio::time::advance(minute / 4).await;
        assert!(table.lease("acme", "two", minute) && !table.lease("acme", "one", minute));
        assert!(table.lease("acme", "two", Duration::ZERO) && table.lease("acme", "one", minute));
    }
}
