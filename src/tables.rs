//! Hash tables that give memory back after a rush.

use std::collections::HashMap;
use std::hash::Hash;

/// A table with fewer entries than this counts as having this many: its memory is not worth a copy.
const SPARE: usize = 64;

/// Shrinks a table that has room for more than eight times its entries; call it after a removal. Room for two to four times
/// the entries stays, so at least half of them are removed before the next copy, which costs each removal next to nothing.
pub(crate) fn shrink<K: Eq + Hash, V>(table: &mut HashMap<K, V>) {
    let entries = table.len().max(SPARE);
    if table.capacity() > 8 * entries {
        table.shrink_to(2 * entries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_empties_gives_memory_back_a_few_times() {
        let mut table: HashMap<u32, u32> = (0..100_000).map(|number| (number, number)).collect();
        let mut shrunk = 0;
        for number in 0..100_000 {
            table.remove(&number);
            let before = table.capacity();
            shrink(&mut table);
            shrunk += usize::from(table.capacity() < before);
            assert!(table.capacity() <= 8 * table.len().max(SPARE), "{} of {}", table.len(), table.capacity());
        }
        assert!((1..10).contains(&shrunk), "{shrunk}");
    }
}
