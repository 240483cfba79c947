//! One tunnel: a token's limits, its ack ids, and its end while one is connected. It outlives its ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::engine::{Host, Socket, Undelivered};
use crate::net::budget::{Budget, Held};
use crate::proto::exchange::EndOptions;
use crate::proto::socket_io::AckId;
use crate::proto::socket_io::connection::{AckError, Answer, Awaited};
use crate::proto::socket_io::packet::{Encoded, MAX_ACK_ID};
use crate::proto::token::Token;

/// What becomes of an event: the end's ack, or why none will come.
pub(in crate::relay) type Outcome = Result<Answer, AckError>;

/// A tunnel. `H` is the host that its ends join.
///
/// Its limits and ids are those of the token, whichever end is connected: an end that takes over finds the exchanges of the
/// one before still counted, and no id is used again that the same program may still answer.
#[derive(Debug)]
pub(in crate::relay) struct Tunnel<H: Host> {
    memory: Arc<Budget>,
    exchanges: Arc<Budget>,
    next_ack: AtomicU64,
    end: Mutex<Option<Arc<End<H>>>>,
}

/// The end of a tunnel.
pub(in crate::relay) struct End<H: Host> {
    /// Tells this end from the ones before and after it.
    number: u64,
    options: EndOptions,
    socket: Socket<H>,
}

/// Why a place for one more exchange is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::relay) enum NoPlace {
    /// The tunnel has as many exchanges as it may have.
    Tunnel,
    /// The server has as many as it may have.
    Server,
}

/// Why an event was not handed to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::relay) enum NotEmitted {
    /// The end is not the tunnel's any more: ask the tunnel for the one that is.
    Replaced,
    /// Too many commands wait for the end's session.
    Overloaded,
    /// The end's session has ended.
    Gone,
}

impl<H: Host<Waiter = oneshot::Sender<Outcome>>> Tunnel<H> {
    /// Creates a tunnel without an end, whose exchanges take from these budgets.
    pub(super) fn new(memory: Arc<Budget>, exchanges: Arc<Budget>) -> Self {
        Self { memory, exchanges, next_ack: AtomicU64::new(0), end: Mutex::default() }
    }

    /// The memory that its exchanges may hold, in bytes.
    pub(in crate::relay) fn memory(&self) -> &Arc<Budget> {
        &self.memory
    }

    /// Takes a place for one more exchange.
    pub(in crate::relay) fn place(&self) -> Result<Held, NoPlace> {
        self.exchanges.hold(1).ok_or_else(|| {
            if self.exchanges.used() >= self.exchanges.limit() { NoPlace::Tunnel } else { NoPlace::Server }
        })
    }

    /// Tells whether an end is connected.
    pub(in crate::relay) fn has_end(&self) -> bool {
        self.lock().is_some()
    }

    /// Returns the end, while one is connected.
    pub(in crate::relay) fn end(&self) -> Option<Arc<End<H>>> {
        self.lock().clone()
    }

    /// Returns an id for the next event. An id repeats after 2^53 events, when the acks of the first are long over.
    pub(in crate::relay) fn next_ack(&self) -> AckId {
        let number = self.next_ack.fetch_add(1, Ordering::Relaxed);
        AckId::new(number % (MAX_ACK_ID + 1)).expect("the remainder is in range")
    }

    /// Queues an event for `end`, whose ack may take `timeout`, and returns where its outcome arrives.
    ///
    /// The tunnel is locked meanwhile, and an end is told to leave only after another one has taken its place under the same
    /// lock. So an end that is taken over hears of each event before it hears that it must go, and answers it.
    pub(in crate::relay) fn emit(
        &self,
        end: &Arc<End<H>>,
        event: Encoded,
        timeout: Duration,
    ) -> Result<oneshot::Receiver<Outcome>, NotEmitted> {
        let guard = self.lock();
        let Some(current) = guard.as_ref().filter(|current| Arc::ptr_eq(current, end)) else {
            return Err(NotEmitted::Replaced);
        };
        let (waiter, outcome) = oneshot::channel();
        match current.socket.emit(event, Some(Awaited { waiter, timeout })) {
            Ok(()) => Ok(outcome),
            Err(Undelivered::Full) => Err(NotEmitted::Overloaded),
            Err(Undelivered::Closed) => Err(NotEmitted::Gone),
        }
    }

    /// Puts an end in its place, and returns the one that had it.
    pub(super) fn replace_end(&self, end: Arc<End<H>>) -> Option<Arc<End<H>>> {
        self.lock().replace(end)
    }

    /// Takes the end with this number from its place. Returns whether it still had it.
    pub(super) fn leave(&self, number: u64) -> bool {
        self.lock().take_if(|end| end.number == number).is_some()
    }

    /// Takes the end from its place, whichever it is.
    pub(super) fn take_end(&self) -> Option<Arc<End<H>>> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<End<H>>>> {
        // Nothing that is done under the lock can panic half-way.
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H: Host> End<H> {
    pub(super) fn new(number: u64, options: EndOptions, socket: Socket<H>) -> Self {
        Self { number, options, socket }
    }

    /// What the end asked for when it joined.
    pub(in crate::relay) fn options(&self) -> EndOptions {
        self.options
    }

    /// Stops waiting for an ack.
    pub(in crate::relay) fn cancel(&self, id: AckId) {
        self.socket.cancel(id);
    }

    /// Makes the end leave once it has answered what it was asked.
    pub(super) fn retire(&self) {
        self.socket.retire();
    }

    /// Makes the end leave at once.
    pub(super) fn disconnect(&self) {
        self.socket.disconnect();
    }

    pub(in crate::relay) fn socket(&self) -> &Socket<H> {
        &self.socket
    }
}

impl<H: Host> std::fmt::Debug for End<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Its namespace has the token, which logs shorten.
        let token = Token::from_namespace(self.socket.namespace().as_str());
        f.debug_struct("End").field("token", &token).field("number", &self.number).finish_non_exhaustive()
    }
}
