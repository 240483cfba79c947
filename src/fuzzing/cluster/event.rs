//! What is on its way, and what else is to happen.

use crate::proto::node::NodeId;
use crate::proto::token::Token;
use crate::store::{Claim, Claimed, Located, Renewal, Renewed, Seen, Written};

/// A call of the store.
#[derive(Debug, Clone)]
pub(super) enum Call {
    Renew(Renewal),
    /// A claim, and the client that joins with it; `None` for one that is announced again.
    Claim(Token, Claim, Option<usize>),
    Leave(Token, u64, Seen),
    Locate(Token),
}

/// The answer to a call.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Renewed(Renewed),
    Claimed(Option<Claimed>),
    Left(Written),
    Located(Located),
    /// It was too late; the store's time in milliseconds.
    Late(u64),
}

/// What is to happen. A slot is a node's place; its id says which process was there.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// A call arrives at the store.
    Request {
        slot: usize,
        id: NodeId,
        number: u64,
        call: Call,
        until: u64,
    },
    /// Its answer arrives at the node.
    Reply(usize, NodeId, u64, Answer),
    /// A call has taken too long.
    Timeout(usize, NodeId, u64),
    /// Another node tells something directly.
    Told(usize, NodeId, String),
    /// A node asks another for a sign of life, and is answered: whether that has a lease.
    Ping {
        from: usize,
        to: NodeId,
    },
    Pong {
        at: usize,
        node: NodeId,
        of: NodeId,
        has_lease: bool,
    },
    /// A client connects.
    Join(usize, usize),
    /// A client has gone.
    Hangup(usize, usize, NodeId),
    /// A client notices that its node stands still.
    Missed(usize, usize, NodeId),
    /// An exchange goes on at the node where its visitor arrived.
    Visit(usize),
    /// An exchange arrives at a node that is said to have the end.
    Hop {
        exchange: usize,
        to: NodeId,
    },
    /// An exchange's head is late.
    Slow {
        exchange: usize,
        to: NodeId,
    },
    Start(usize, NodeId),
    Continue(usize, NodeId),
    Mend(usize),
}
