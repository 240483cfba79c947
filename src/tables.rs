//! Hash tables and queues that give memory back after a rush.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// A table or queue with fewer entries than this counts as having this many: its memory is not worth a copy.
const SPARE: usize = 64;

/// Shrinks a table that has room for more than eight times its entries; call it after a removal. Room for two to four times
/// the entries stays, so at least half of them are removed before the next copy, which costs each removal next to nothing.
pub(crate) fn shrink<K: Eq + Hash, V>(table: &mut HashMap<K, V>) {
    let entries = table.len().max(SPARE);
    if table.capacity() > 8 * entries {
        table.shrink_to(2 * entries);
    }
}

/// Takes the first entry of a queue, and frees the memory of a long queue with its last entry.
pub(crate) fn take_first<T>(queue: &mut VecDeque<T>) -> Option<T> {
    let first = queue.pop_front();
    if queue.is_empty() && queue.capacity() > SPARE {
        *queue = VecDeque::new();
    }
    first
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

    #[test]
    fn a_queue_that_empties_gives_memory_back_unless_it_is_short() {
        let mut long: VecDeque<u32> = (0..10_000).collect();
        assert!((0..10_000).all(|number| take_first(&mut long) == Some(number)));
        assert_eq!((take_first(&mut long), long.capacity()), (None, 0));
        let mut short = VecDeque::from([1]);
        let capacity = short.capacity();
        assert_eq!((take_first(&mut short), take_first(&mut short), short.capacity()), (Some(1), None, capacity));
    }
}
