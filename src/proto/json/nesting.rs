//! What stands around a place in a text.

/// Which of the open values are objects: one bit each, so that a million brackets cost 125 kB, and the usual few nothing.
#[derive(Default)]
pub(super) struct Nesting {
    first: u64,
    rest: Vec<u64>,
    depth: usize,
}

impl Nesting {
    /// How many values are open.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    pub(super) fn push(&mut self, object: bool) {
        let (word, bit) = (self.depth / 64, self.depth % 64);
        if word > self.rest.len() {
            self.rest.push(0);
        }
        let word = if word == 0 { &mut self.first } else { &mut self.rest[word - 1] };
        *word = *word & !(1 << bit) | u64::from(object) << bit;
        self.depth += 1;
    }

    pub(super) fn pop(&mut self) {
        self.depth -= 1;
    }

    pub(super) fn innermost(&self) -> Option<bool> {
        let last = self.depth.checked_sub(1)?;
        let word = if last < 64 { self.first } else { self.rest[last / 64 - 1] };
        Some(word >> (last % 64) & 1 == 1)
    }
}
