//! Tables whose memory goes when what was in them does.

use std::collections::HashMap;
use std::hash::Hash;

/// Entries for which a table may always have room.
const SPARE: usize = 64;

/// Gives back what a table has too much, after something was taken out of it. Seldom enough to cost nothing: half of what is
/// left must go before there is too much again.
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
    fn a_table_has_no_more_room_than_it_may_need_soon() {
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
