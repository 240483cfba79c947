//! The objects and arrays around a position in a text.

/// An object or an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    Object,
    Array,
}

/// A stack of open containers.
///
/// Each takes one bit. The first 64 take no memory of the heap, and a million nested brackets take 125 kB.
#[derive(Default)]
pub(super) struct Nesting {
    /// A bit for each of the 64 outermost containers, set for an object.
    first: u64,
    /// The bits of the containers below them.
    rest: Vec<u64>,
    /// The number of open containers.
    depth: usize,
}

impl Nesting {
    /// Returns the number of open containers.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    pub(super) fn push(&mut self, container: Container) {
        let (word, bit) = (self.depth / 64, self.depth % 64);
        if word > self.rest.len() {
            self.rest.push(0);
        }
        let word = if word == 0 { &mut self.first } else { &mut self.rest[word - 1] };
        *word = *word & !(1 << bit) | u64::from(container == Container::Object) << bit;
        self.depth += 1;
    }

    /// Closes the innermost container. There has to be one.
    pub(super) fn pop(&mut self) {
        self.depth -= 1;
    }

    /// Returns the innermost container, or `None` outside of all.
    pub(super) fn innermost(&self) -> Option<Container> {
        let last = self.depth.checked_sub(1)?;
        let word = if last < 64 { self.first } else { self.rest[last / 64 - 1] };
        Some(if word >> (last % 64) & 1 == 1 { Container::Object } else { Container::Array })
    }
}
