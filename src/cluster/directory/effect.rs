//! What a directory says to its caller.

use crate::proto::token::Token;
use crate::store::Located;

/// What the node has to do because of what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Another node has a newer end of this tunnel, by a claim with this epoch: the ends here leave.
    Evicted(Token, u64),
    /// The settings, the rules or the key of this tunnel have changed, or it was deleted.
    Changed(Token),
    /// The tunnel, of which there are ends here, exists no more.
    Gone(Token),
}

/// Where a tunnel is, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// It is there. Peers that give no sign of life are left out.
    Known(Located),
    /// The store is to be asked.
    Ask,
}
