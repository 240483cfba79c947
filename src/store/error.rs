//! Why a store fails.

use std::fmt;

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// The store has no place for another tunnel until one expires. The store itself is well.
    Full {
        /// The tunnels it keeps at most.
        capacity: usize,
    },
    /// The name belongs to a tunnel that lives, or is claimed.
    Taken,
    /// The store cannot be reached or used; the text says why, for the log. The operator can mend it.
    Unavailable(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { capacity } => write!(f, "all tokens are in use, {capacity} of {capacity}"),
            Self::Taken => f.write_str("the name is taken"),
            Self::Unavailable(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for StoreError {}
