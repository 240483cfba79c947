//! What a session tells its owner.

use crate::proto::engine_io::frame::Frame;
use crate::proto::engine_io::payload::Batch;
use crate::proto::engine_io::query::Rejection;

/// What to do outside, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<P> {
    /// Answer a poll.
    Poll {
        /// Whom.
        to: P,
        /// With what.
        answer: PollAnswer,
    },
    /// Send the probe's answer on the candidate WebSocket.
    Candidate(Frame),
    /// Close the candidate WebSocket; the session goes on polling.
    DropCandidate,
    /// The candidate WebSocket is the transport from now on.
    AdoptCandidate,
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
    /// 400 with an empty body: another POST was being read, or the body is no payload.
    Broken,
}
