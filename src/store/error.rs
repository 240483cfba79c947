//! Why a store fails.

use std::fmt;

/// Why a store did not do what it was asked. The operator can mend either, the visitor neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// The store has no place for another token until one expires. The store itself is well.
    Full {
        /// The tokens it keeps at most.
        capacity: usize,
    },
    /// The store cannot be reached or used; the text says why, for the log.
    Unavailable(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { capacity } => write!(f, "all tokens are in use, {capacity} of {capacity}"),
            Self::Unavailable(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for StoreError {}
