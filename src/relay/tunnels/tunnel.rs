//! One tunnel: a token's limits, its ack ids, and its end while one is connected. It outlives its ends.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::engine::{Host, Socket, Undelivered};
use crate::net::budget::{Budget, Held};
use crate::proto::exchange::EndOptions;
use crate::proto::key::KeyHash;
use crate::proto::socket_io::AckId;
use crate::proto::socket_io::connection::{AckError, Answer, Awaited};
use crate::proto::socket_io::packet::{Encoded, MAX_ACK_ID};
use crate::proto::token::Token;
use crate::store::{Keyed, Record};

/// What becomes of an event: the end's ack, or why none will come.
pub(in crate::relay) type Outcome = Result<Answer, AckError>;

/// A tunnel. `H` is the host that its ends join.
///
/// Its limits and ids are those of the token, whichever end is connected: an end that takes over finds the exchanges of the
/// one before still counted, and no id is used again that the same program may still answer.
#[derive(Debug)]
pub(in crate::relay) struct Tunnel<H: Host> {
    /// How long an end may take for an answer, in milliseconds. 0 for an original tunnel, where the operator says so.
    timeout: AtomicU32,
    /// What the store keeps of it, for a store that can lose it.
    kept: Option<Box<Mutex<Record>>>,
    /// An end of a keyed tunnel has joined, and the store does not know yet. Whether its key is still the tunnel's is asked
    /// then, too: the key may have changed between the look at it and the join.
    is_unchecked: AtomicBool,
    /// An end of a keyed tunnel has left, and its `ttl` does not count from then yet.
    is_unrenewed: AtomicBool,
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
    /// The key that it showed, if the tunnel has one.
    key: Option<Box<KeyHash>>,
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
    /// Creates a tunnel without an end, whose exchanges take from these budgets. With `keeps_record`, it can be written again
    /// to a store that has lost it.
    pub(super) fn new(record: &Record, keeps_record: bool, memory: Arc<Budget>, exchanges: Arc<Budget>) -> Self {
        Self {
            timeout: AtomicU32::new(record.keyed.as_ref().map_or(0, |keyed| milliseconds(keyed.timeout))),
            kept: keeps_record.then(|| Box::new(Mutex::new(record.clone()))),
            is_unchecked: AtomicBool::new(false),
            is_unrenewed: AtomicBool::new(false),
            memory,
            exchanges,
            next_ack: AtomicU64::new(0),
            end: Mutex::default(),
        }
    }

    /// Tells whether the tunnel has a key.
    pub(in crate::relay) fn is_keyed(&self) -> bool {
        self.timeout.load(Ordering::Relaxed) > 0
    }

    /// Returns how long an end may take for an answer; `None` for an original tunnel, where the operator says so.
    pub(in crate::relay) fn timeout(&self) -> Option<Duration> {
        let milliseconds = self.timeout.load(Ordering::Relaxed);
        (milliseconds > 0).then(|| Duration::from_millis(milliseconds.into()))
    }

    /// Takes up what the owner of a keyed tunnel has set.
    pub(super) fn set(&self, keyed: &Keyed) {
        self.timeout.store(milliseconds(keyed.timeout), Ordering::Relaxed);
        if let Some(kept) = &self.kept {
            // Nothing that is done under the lock can panic half-way.
            kept.lock().unwrap_or_else(PoisonError::into_inner).keyed = Some(Box::new(*keyed));
        }
    }

    /// Returns what the store keeps of it, or kept until it lost that; `None` for a store that loses nothing.
    pub(super) fn record(&self) -> Option<Record> {
        self.kept.as_ref().map(|kept| kept.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Returns how many events were emitted for it, how many exchanges are not over, and how many bytes they hold.
    pub(in crate::relay) fn figures(&self) -> (u64, usize, usize) {
        (self.next_ack.load(Ordering::Relaxed), self.exchanges.used(), self.memory.used())
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
        self.is_unchecked.store(end.key.is_some(), Ordering::Relaxed);
        self.lock().replace(end)
    }

    /// Tells whether an end has joined whose key was not [checked](Self::take_end_of_another_key).
    pub(super) fn wants_check(&self) -> bool {
        self.is_unchecked.swap(false, Ordering::Relaxed)
    }

    /// Takes the end with this number from its place. Returns whether it still had it.
    pub(super) fn leave(&self, number: u64) -> bool {
        let has_left = self.lock().take_if(|end| end.number == number).is_some();
        self.is_unrenewed.fetch_or(has_left && self.is_keyed(), Ordering::Relaxed);
        has_left
    }

    /// Tells whether the store is to be asked, because an end has joined or left since it was asked last.
    pub(super) fn wants_something(&self) -> bool {
        self.is_unchecked.load(Ordering::Relaxed) || self.is_unrenewed.load(Ordering::Relaxed)
    }

    /// The store could not be asked: what was wanted is wanted still.
    pub(super) fn still_wants(&self, renewal: bool, check: bool) {
        self.is_unrenewed.fetch_or(renewal, Ordering::Relaxed);
        self.is_unchecked.fetch_or(check, Ordering::Relaxed);
    }

    /// Tells whether the tunnel's life counts from now: an end is connected, or one has left since this was asked last.
    pub(super) fn wants_renewal(&self) -> bool {
        self.is_unrenewed.swap(false, Ordering::Relaxed) || self.has_end()
    }

    /// Takes the end from its place if the key that it showed is not the tunnel's.
    pub(super) fn take_end_of_another_key(&self, key: &KeyHash) -> Option<Arc<End<H>>> {
        self.lock().take_if(|end| end.key.as_deref() != Some(key))
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

/// Returns the time in milliseconds, from one to 49 days.
fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX).max(1)
}

impl<H: Host> End<H> {
    pub(super) fn new(number: u64, options: EndOptions, key: Option<KeyHash>, socket: Socket<H>) -> Self {
        Self { number, options, key: key.map(Box::new), socket }
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
