//! The bytes of a fuzzer as a source of choices.

/// What is left of an input.
pub(super) struct Input<'i> {
    rest: &'i [u8],
}

impl<'i> Input<'i> {
    pub(super) fn new(rest: &'i [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes a byte; zero once the input is used up.
    pub(super) fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        byte
    }

    /// Takes a few bytes, whose number is the first.
    pub(super) fn bytes(&mut self) -> &'i [u8] {
        let length = usize::from(self.byte()).min(self.rest.len());
        let (bytes, rest) = self.rest.split_at(length);
        self.rest = rest;
        bytes
    }
}
