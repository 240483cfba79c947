//! A table of values by token, each with the moment at which its token expires.

use std::collections::{BTreeSet, HashMap};

use tokio::time::Instant;

use crate::proto::token::Token;
use crate::tables;

/// Values by token. The default is empty.
#[derive(Debug)]
pub(super) struct Table<V> {
    entries: HashMap<Token, Entry<V>>,
    /// The tokens of all entries, in the order in which they expire.
    order: BTreeSet<(Instant, Token)>,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    expiry: Instant,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: BTreeSet::new() }
    }
}

impl<V> Table<V> {
    pub(super) fn get(&self, token: &Token) -> Option<&V> {
        self.entries.get(token).map(|entry| &entry.value)
    }

    /// Returns the value of a token, which expires at `expiry` from now on; where there is none, puts in a `new` one.
    pub(super) fn get_or_insert(&mut self, token: Token, expiry: Instant, new: impl FnOnce() -> V) -> &V {
        self.order.insert((expiry, token));
        let entry = self.entries.entry(token).or_insert_with(|| Entry { value: new(), expiry });
        if entry.expiry != expiry {
            self.order.remove(&(entry.expiry, token));
            entry.expiry = expiry;
        }
        &entry.value
    }

    /// Changes when a token expires. Does nothing for one that is not here.
    pub(super) fn set_expiry(&mut self, token: Token, expiry: Instant) {
        if let Some(entry) = self.entries.get_mut(&token) {
            self.order.remove(&(entry.expiry, token));
            self.order.insert((expiry, token));
            entry.expiry = expiry;
        }
    }

    /// Takes a token out.
    pub(super) fn remove(&mut self, token: &Token) -> Option<V> {
        let entry = self.entries.remove(token)?;
        tables::shrink(&mut self.entries);
        self.order.remove(&(entry.expiry, *token));
        Some(entry.value)
    }

    /// Returns the token that expires first, and when.
    pub(super) fn first(&self) -> Option<(Instant, Token)> {
        self.order.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Insert(u128, u64),
        SetExpiry(u128, u64),
        Remove(u128),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..6_u128, 0..9_u64).prop_map(|(token, expiry)| Step::Insert(token, expiry)),
            (0..6_u128, 0..9_u64).prop_map(|(token, expiry)| Step::SetExpiry(token, expiry)),
            (0..6_u128).prop_map(Step::Remove),
        ]
    }

    proptest! {
        /// Whatever happens to the table, the order has exactly its entries, and a value stays until it is removed.
        #[test]
        fn the_order_has_the_tables_entries(steps in prop::collection::vec(step(), 0..60)) {
            let origin = Instant::now();
            let token = |number| Token::from_uuid(uuid::Uuid::from_u128(number));
            let at = |seconds| origin + Duration::from_secs(seconds);
            let (mut table, mut model) = (Table::default(), HashMap::new());
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(name, expiry) => {
                        let value = *table.get_or_insert(token(name), at(expiry), || number);
                        let entry = model.entry(token(name)).or_insert((number, at(expiry)));
                        entry.1 = at(expiry);
                        prop_assert_eq!(value, entry.0);
                    }
                    Step::SetExpiry(name, expiry) => {
                        table.set_expiry(token(name), at(expiry));
                        if let Some(entry) = model.get_mut(&token(name)) {
                            entry.1 = at(expiry);
                        }
                    }
                    Step::Remove(name) => {
                        prop_assert_eq!(table.remove(&token(name)), model.remove(&token(name)).map(|entry| entry.0));
                    }
                }
                let expected: BTreeSet<_> = model.iter().map(|(&token, &(_, expiry))| (expiry, token)).collect();
                prop_assert_eq!(&table.order, &expected);
                prop_assert_eq!(table.first(), expected.first().copied());
                prop_assert!(model.iter().all(|(token, (value, _))| table.get(token) == Some(value)));
            }
        }
    }
}
