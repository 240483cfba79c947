//! What comes first of an end that is asked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytestring::ByteString;
use http::HeaderValue;
use tokio::sync::oneshot;

use crate::proto::exchange::stream::AbortCode;
use crate::proto::exchange::{InvalidAnswer, Response};
use crate::proto::socket_io::connection::{AckError, Answer};

/// What comes first of an end: the whole answer, or the head of one.
#[derive(Debug)]
pub(in crate::relay) enum First {
    /// The ack, or why none will come.
    Ack(Result<Answer, AckError>),
    /// The head of a response that follows.
    Head(Head),
    /// The head is none that HTTP can carry.
    InvalidHead(InvalidAnswer),
    /// The exchange is over without an answer, for this reason and in these words.
    Aborted(AbortCode, Option<ByteString>),
}

/// The visitor's task, which waits for what comes first of an end.
#[derive(Debug)]
pub(in crate::relay) struct Waiter {
    task: oneshot::Sender<First>,
    /// `None` for an end that does not stream: it says nothing but its ack.
    said: Option<Arc<Said>>,
}

/// What an end has said before the ack of the request, where that has come in the same POST and has taken the waiter already. The
/// ack is handled behind it.
#[derive(Debug, Default)]
pub(in crate::relay) struct Said(Mutex<SaidState>);

#[derive(Debug, Default)]
struct SaidState {
    first: Option<First>,
    /// The ack was handled: what the end says now comes too late.
    is_acked: bool,
}

impl Waiter {
    /// Returns the waiter of an exchange, and what its task waits on. `said` is that of an end that streams.
    pub(in crate::relay) fn new(said: Option<Arc<Said>>) -> (Self, oneshot::Receiver<First>) {
        let (task, first) = oneshot::channel();
        (Self { task, said }, first)
    }

    /// Tells the task what has come first. A visitor that has left meanwhile waits for nothing.
    pub(super) fn tell(self, first: First) {
        let _ = self.task.send(first);
    }

    /// Handles the ack, or why none will come. What the end has said before it counts.
    pub(in crate::relay) fn acked(self, outcome: Result<Answer, AckError>) {
        let said = self.said.as_ref().and_then(|said| {
            let mut said = said.state();
            said.is_acked = true;
            said.first.take()
        });
        self.tell(said.unwrap_or(First::Ack(outcome)));
    }
}

impl Said {
    fn state(&self) -> MutexGuard<'_, SaidState> {
        // Nothing that is done under the lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what the end has said, for its ack.
    pub(super) fn keep(&self, first: First) {
        self.state().first = Some(first);
    }

    pub(super) fn is_acked(&self) -> bool {
        self.state().is_acked
    }
}

/// The head of a response whose body follows.
#[derive(Debug)]
pub(in crate::relay) struct Head {
    /// Its body is empty.
    pub(in crate::relay) response: Response,
    /// The header `Trailer`, for trailers that may follow the body.
    pub(in crate::relay) trailer: Option<HeaderValue>,
}
