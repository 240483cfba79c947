//! What a session tells its owner.

use crate::proto::engine_io::frame::Frame;
use crate::proto::engine_io::payload::Batch;
use crate::proto::engine_io::query::Rejection;
use crate::proto::limit::Limit;

/// What the owner does for the transport, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<P> {
    /// Answers a poll.
    Poll {
        /// The poll, as it was handed in.
        to: P,
        /// Its answer.
        answer: PollAnswer,
    },
    /// Sends the answer to its probe on a candidate WebSocket.
    Candidate {
        /// The candidate.
        ticket: UpgradeTicket,
        /// The answer.
        frame: Frame,
    },
    /// Closes a candidate WebSocket; the session goes on polling.
    DropCandidate(UpgradeTicket),
    /// Makes a candidate WebSocket the transport from now on.
    AdoptCandidate(UpgradeTicket),
    /// Counts that the client has hit a limit.
    LimitHit(Limit),
}

/// Names one candidate WebSocket among all that a session has had. A session that has given a candidate up ignores
/// whatever is said of it later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpgradeTicket(u32);

impl UpgradeTicket {
    /// The ticket of a session's first candidate.
    pub(super) const FIRST: Self = Self(0);

    /// The ticket of the candidate after this one. They begin anew after 2^32, when nobody knows the first ones any more.
    pub(super) fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// Why a WebSocket cannot be a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeError {
    /// The session has ended: the request is refused with [`Rejection::SessionUnknown`].
    SessionUnknown,
    /// The session speaks another revision than the request says: the request is refused with [`Rejection::BadRequest`].
    OtherRevision,
    /// The session is on a WebSocket already, or has another candidate. The reference opens the WebSocket all the same, and then
    /// closes it.
    NoPlace,
}

/// The answer to a poll.
#[derive(Debug, PartialEq, Eq)]
pub enum PollAnswer {
    /// 200 with these packets.
    Packets(Batch),
    /// The error with its code.
    Rejected(Rejection),
    /// 400 with an empty body: another poll was waiting.
    Overlap,
}

/// Why a POST is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostError {
    /// The error with its code.
    Rejected(Rejection),
    /// 400 with an empty body: another POST was being read, or the body is not a payload.
    Broken,
}
