//! An exchange of the simulated cluster.

use crate::proto::node::NodeId;
use crate::proto::time::Instant;

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// This client answered it.
    Answered(usize),
    /// There was no end for it, or its node has stepped down.
    Refused,
    /// It was sent on, and no answer came.
    Broken,
    /// The node died where its visitor had arrived.
    Lost,
}

/// A visitor's request.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) tunnel: usize,
    pub(super) slot: usize,
    /// The process where its visitor arrived.
    pub(super) node: NodeId,
    pub(super) begun: Instant,
    pub(super) tries: usize,
    /// It is at another node.
    pub(super) is_sent: Option<NodeId>,
    /// How often an end got it.
    pub(super) emitted: usize,
    pub(super) outcome: Option<Outcome>,
}
