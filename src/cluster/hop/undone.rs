//! Why a request that was to be handed on has no response.

use std::fmt;

use crate::net::body::BodyError;

/// Why a request that was to be handed on has no response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Undone {
    /// The node is not the one any more. It has done nothing.
    Elsewhere,
    /// The node could not be reached, for this reason. It has got nothing of the request.
    Unreached(Box<str>),
    /// The node has taken no connection in time, or has taken one and has not greeted, for this reason: perhaps as many do as may. It has
    /// got nothing of the request.
    Cut(Box<str>),
    /// The connection broke, for this reason: the node may have got the request, and may have done what it asks for.
    Broken(Box<str>),
    /// There are as many connections to the node as there may be.
    Full,
    /// The visitor has left.
    Left,
    /// The visitor's body could not be read.
    Body(BodyError),
}

impl fmt::Display for Undone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elsewhere => f.write_str("the request is another node's"),
            Self::Unreached(why) => write!(f, "the node cannot be reached: {why}"),
            Self::Cut(why) => write!(f, "the node does not serve this one: {why}"),
            Self::Broken(why) => write!(f, "the connection to the node broke: {why}"),
            Self::Full => f.write_str("there are too many connections to the node: raise --max-hops, or add nodes"),
            Self::Left => f.write_str("the visitor has left"),
            Self::Body(why) => write!(f, "the visitor's body could not be read: {why:?}"),
        }
    }
}
