//! What a walk through JSON tells: kinds, steps, and where it stops.

use std::fmt;
use std::ops::Range;

/// Where a text stops being JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid {
    /// The byte at which it does.
    pub at: usize,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not JSON at byte {}", self.at)
    }
}

impl std::error::Error for Invalid {}

/// The kind of a value, known from its first byte once the text was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number.
    Number,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

impl Kind {
    /// The kind of a checked value without blanks around it.
    #[must_use]
    pub fn of(value: &str) -> Self {
        match value.as_bytes().first() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b'"') => Self::String,
            Some(b't' | b'f') => Self::Bool,
            Some(b'n') => Self::Null,
            Some(_) | None => Self::Number,
        }
    }
}

/// One step through a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// `{` or `[` at this byte.
    Open(Kind, usize),
    /// The end of an object or array, after its last byte.
    Close(usize),
    /// The key of a member, with its quotes.
    Key(Range<usize>),
    /// A string, number, bool or null.
    Scalar(Range<usize>),
}
