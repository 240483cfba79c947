//! What a walk over JSON reports: kinds of values, events, and the byte at which a text stops being JSON.

use std::fmt;
use std::ops::Range;

/// A text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid {
    /// The offset of the first byte that cannot stand there; the text's length if the text ends too early.
    pub at: usize,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not JSON at byte {}", self.at)
    }
}

impl std::error::Error for Invalid {}

/// The kind of a value. In a checked text the first byte tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An object, `{…}`.
    Object,
    /// An array, `[…]`.
    Array,
    /// A string, `"…"`.
    String,
    /// A number, such as `-1.5e3`.
    Number,
    /// `true` or `false`.
    Bool,
    /// `null`.
    Null,
}

impl Kind {
    /// Returns the kind of a checked value, given without whitespace in front.
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

/// One step of a walk over a text. Offsets and ranges are in bytes of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An object or array begins: its kind, and the offset of its `{` or `[`.
    Open(Kind, usize),
    /// An object or array ends: the offset behind its `}` or `]`.
    Close(usize),
    /// The key of an object's member, with its quotes.
    Key(Range<usize>),
    /// A string (with its quotes), number, bool or null.
    Scalar(Range<usize>),
}
