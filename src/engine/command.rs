//! What a session's task can be asked by the requests of its client and by the rest of the process.

use tokio::sync::oneshot;

use super::transport::SessionWebSocket;
use crate::proto::engine_io::payload::Body;
use crate::proto::engine_io::session::{PollAnswer, PostError};
use crate::proto::engine_io::{BinaryAs, CloseReason, Rejection, Revision};

/// What a session keeps of a poll that waits: the way to answer it.
pub type Poller = oneshot::Sender<PollAnswer>;

/// A command for a session's task. `C` is the application's own kind of command.
pub(super) enum SessionCommand<C> {
    /// Answer a GET of the polling transport, now or once there are packets.
    Poll { revision: Option<Revision>, reply: Poller },
    /// Take the packets of a POST whose body has arrived with its head.
    Post { revision: Option<Revision>, body: Result<Body, CloseReason>, reply: oneshot::Sender<Result<(), PostError>> },
    /// Expect the body of a POST. A second one before its end is an error of the client's.
    BeginPost { revision: Option<Revision>, reply: oneshot::Sender<Result<(), PostError>> },
    /// Take the packets of the POST that was begun, or end the session for the reason why they did not come.
    EndPost { body: Result<Body, CloseReason>, reply: oneshot::Sender<Result<(), PostError>> },
    /// Keep the place of the candidate for a WebSocket that asks to carry the session.
    Reserve { revision: Option<Revision>, binary: BinaryAs, reply: oneshot::Sender<Result<(), Rejection>> },
    /// Take the WebSocket that the place was kept for.
    Candidate(Box<SessionWebSocket>),
    /// Free the place: its WebSocket will not come.
    CandidateLost,
    /// End the session.
    Close(CloseReason),
    /// Let the application handle a command of its own.
    Application(C),
}
