//! One tunnel: a token's limits, its ack ids, and its ends while some are connected. It outlives its ends.

use std::collections::HashSet;
use std::ops::Add;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::end::{End, Seat};
use super::occupancy::{Occupancy, Prospect, Turnover};
use crate::engine::{Host, Sid, Undelivered};
use crate::net::budget::{Budget, Held};
use crate::proto::key::KeyHash;
use crate::proto::socket_io::AckId;
use crate::proto::socket_io::connection::{AckError, Answer, Awaited};
use crate::proto::socket_io::packet::{Encoded, MAX_ACK_ID};
use crate::relay::rules::Guard;
use crate::relay::streams::{Beginning, First, Message, Waiter};
use crate::store::{Ends, Keyed, Record, RulesText, Settings};

/// What becomes of an event: the end's ack, or why none will come.
pub(in crate::relay) type Outcome = Result<Answer, AckError>;

/// A tunnel. `H` is the host that its ends join.
///
/// Its limits and ids are those of the token, whichever end is connected: an end that takes over finds the exchanges of the
/// one before still counted, and no id is used again that the same program may still answer.
#[derive(Debug)]
pub(in crate::relay) struct Tunnel<H: Host> {
    /// What the owner of a keyed tunnel has set; `None` for an original one.
    set: Option<Box<Mutex<Set>>>,
    /// What the store keeps of it, for a store that can lose it.
    kept: Option<Box<Mutex<Record>>>,
    /// An end of a keyed tunnel has joined, and the store does not know yet. Whether its key is still the tunnel's is asked
    /// then, too: the key may have changed between the look at it and the join.
    is_unchecked: AtomicBool,
    /// The last end of a keyed tunnel has left, and its `ttl` does not count from then yet.
    is_unrenewed: AtomicBool,
    /// The owner of a keyed tunnel has set something since the store was asked last, whose answer may be from before.
    is_outdated: AtomicBool,
    memory: Arc<Budget>,
    exchanges: Arc<Budget>,
    /// The ids of its events count from the first. An end that comes back from another process may still answer an event of that one, by
    /// its id, so each process begins at another number where tunnels outlive it.
    first_ack: u64,
    next_ack: AtomicU64,
    occupancy: Mutex<Occupancy<H>>,
    /// The newest claim of whose end this node knows that it has left; 0 on a server that is alone.
    left: AtomicU64,
    /// An end that streams has joined.
    may_stream: AtomicBool,
}

/// What the owner of a keyed tunnel has set.
#[derive(Debug)]
struct Set {
    /// The hash of the owner's key.
    key: KeyHash,
    settings: Settings,
    /// What visitors' requests must be like.
    guard: Option<Arc<Guard>>,
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
    /// The end is not the tunnel's any more, or its session has ended: choose another.
    Gone,
    /// Too many commands wait for the end's session.
    Overloaded,
}

impl From<Undelivered> for NotEmitted {
    fn from(undelivered: Undelivered) -> Self {
        match undelivered {
            Undelivered::Full => Self::Overloaded,
            Undelivered::Closed => Self::Gone,
        }
    }
}

/// What a tunnel has at a moment, as its owner sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(in crate::relay) struct TunnelFigures {
    /// Events that were emitted for it.
    pub(in crate::relay) requests: u64,
    /// Exchanges that are not over.
    pub(in crate::relay) in_flight: usize,
    /// The memory that these hold, in bytes.
    pub(in crate::relay) memory: usize,
    /// Ends that are connected.
    pub(in crate::relay) ends: usize,
}

impl Add for TunnelFigures {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            in_flight: self.in_flight.saturating_add(other.in_flight),
            memory: self.memory.saturating_add(other.memory),
            ends: self.ends.saturating_add(other.ends),
        }
    }
}

impl<H: Host<Waiter = Waiter, Message = Message>> Tunnel<H> {
    /// Creates a tunnel without an end, whose exchanges take from these budgets. With `keeps_record`, it can be written again
    /// to a store that has lost it. Its events are numbered from `first_ack`. `vacant_since` is when its last end left, as far as that is known.
    pub(super) fn new(
        record: &Record,
        guard: Option<Arc<Guard>>,
        vacant_since: Option<Instant>,
        (keeps_record, first_ack): (bool, u64),
        memory: Arc<Budget>,
        exchanges: Arc<Budget>,
    ) -> Self {
        Self {
            set: record
                .keyed
                .as_ref()
                .map(|keyed| Box::new(Mutex::new(Set { key: keyed.key, settings: keyed.settings, guard }))),
            kept: keeps_record.then(|| Box::new(Mutex::new(record.clone()))),
            is_unchecked: AtomicBool::new(false),
            is_unrenewed: AtomicBool::new(false),
            is_outdated: AtomicBool::new(false),
            memory,
            exchanges,
            first_ack,
            next_ack: AtomicU64::new(first_ack),
            occupancy: Mutex::new(Occupancy::Vacant { since: vacant_since, queue: None }),
            left: AtomicU64::new(0),
            may_stream: AtomicBool::new(false),
        }
    }

    /// Tells whether the tunnel has a key.
    pub(in crate::relay) fn is_keyed(&self) -> bool {
        self.set.is_some()
    }

    /// Returns what the owner of a keyed tunnel has set; `None` for an original one.
    pub(in crate::relay) fn settings(&self) -> Option<Settings> {
        self.set.as_ref().map(|set| lock(set).settings)
    }

    /// Returns the hash of its owner's key; `None` for an original one.
    pub(in crate::relay) fn key(&self) -> Option<KeyHash> {
        self.set.as_ref().map(|set| lock(set).key)
    }

    /// Returns what visitors' requests must be like; `None` if they may be like anything.
    pub(in crate::relay) fn guard(&self) -> Option<Arc<Guard>> {
        self.set.as_ref().and_then(|set| lock(set).guard.clone())
    }

    /// Takes up what the owner of a keyed tunnel has set. `guard` makes the guard of rules from the one before. Returns the ends that
    /// are too many by it.
    pub(super) fn set(
        &self,
        keyed: &Keyed,
        guard: impl FnOnce(&RulesText, Option<&Arc<Guard>>) -> Arc<Guard>,
        max_ends: usize,
    ) -> Option<Turnover<H>> {
        if let Some(kept) = &self.kept {
            lock(kept).keyed = Some(Box::new(keyed.clone()));
        }
        let mut set = lock(self.set.as_ref()?);
        let was = std::mem::replace(&mut set.settings, keyed.settings);
        set.key = keyed.key;
        set.guard = keyed.rules.as_ref().map(|rules| guard(rules, set.guard.as_ref()));
        drop(set);
        (was.ends != keyed.settings.ends).then(|| self.occupancy().keep_newest(self.most_ends(max_ends)))
    }

    /// Returns what the store keeps of it, or kept until it lost that; `None` for a store that loses nothing.
    pub(super) fn record(&self) -> Option<Record> {
        self.kept.as_ref().map(|kept| lock(kept).clone())
    }

    pub(in crate::relay) fn figures(&self) -> TunnelFigures {
        TunnelFigures {
            requests: self.next_ack.load(Ordering::Relaxed) - self.first_ack,
            in_flight: self.exchanges.used(),
            memory: self.memory.used(),
            ends: self.occupancy().ends().len(),
        }
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
        !self.occupancy().ends().is_empty()
    }

    /// Returns how many exchanges the least busy end has in flight. `None` if no end is connected.
    pub(in crate::relay) fn least_in_flight(&self) -> Option<usize> {
        self.occupancy().ends().iter().map(|end| end.in_flight()).min()
    }

    /// Calls `each` for each end.
    pub(super) fn each_end(&self, each: impl FnMut(&Arc<End<H>>)) {
        self.occupancy().ends().to_vec().iter().for_each(each);
    }

    /// Returns the ends that ask for notices.
    pub(super) fn listeners(&self) -> Vec<Arc<End<H>>> {
        self.occupancy().ends().iter().filter(|end| end.options().notices).cloned().collect()
    }

    /// Tells when a visitor can reach an end. `places` makes the places of visitors that wait.
    pub(in crate::relay) fn prospect(&self, places: impl FnOnce() -> Arc<Budget>) -> Prospect {
        self.occupancy().prospect(places)
    }

    /// The end of another node's claim with this epoch is gone. If that was not known, it is expected back from now on, whenever the
    /// last one left that was here.
    pub(in crate::relay) fn expect_back(&self, epoch: u64) {
        if self.left.load(Ordering::Relaxed) >= epoch {
            return;
        }
        // Who comes next sees both, or neither.
        let mut occupancy = self.occupancy();
        if occupancy.ends().is_empty() && self.left.fetch_max(epoch, Ordering::Relaxed) < epoch {
            occupancy.expect_back();
        }
    }

    /// The end is at another node, by a claim with this epoch: whatever was thought of it before, it has not left yet.
    pub(in crate::relay) fn note_claim(&self, epoch: u64) {
        self.left.fetch_min(epoch.saturating_sub(1), Ordering::Relaxed);
    }

    /// Chooses the end for an exchange, while one is connected.
    pub(in crate::relay) fn choose(&self) -> Option<Seat<H>> {
        self.occupancy().choose(self.which_end(), self.next_ack.load(Ordering::Relaxed))
    }

    /// Returns an id for the next event. An id repeats after 2^53 events, when the acks of the first are long over.
    pub(in crate::relay) fn next_ack(&self) -> AckId {
        let number = self.next_ack.fetch_add(1, Ordering::Relaxed);
        AckId::new(number % (MAX_ACK_ID + 1)).expect("the remainder is in range")
    }

    /// Queues an event for an end, whose ack may take `timeout`, and returns where its outcome arrives.
    ///
    /// The tunnel is locked meanwhile, and an end is told to leave only after it was taken out of the tunnel under the same
    /// lock. So an end that leaves hears of each event before it hears that it must go, and answers it.
    pub(in crate::relay) fn emit(
        &self,
        seat: &Seat<H>,
        event: Encoded,
        timeout: Duration,
    ) -> Result<oneshot::Receiver<First>, NotEmitted> {
        let occupancy = self.occupancy();
        if !occupancy.ends().iter().any(|end| Arc::ptr_eq(end, seat.end())) {
            return Err(NotEmitted::Gone);
        }
        let (waiter, outcome) = Waiter::new(None);
        seat.socket().emit(event, Some(Awaited { waiter, timeout }))?;
        Ok(outcome)
    }

    /// Tells whether an end of it may stream. Once one did, this stays so.
    pub(in crate::relay) fn may_stream(&self) -> bool {
        self.may_stream.load(Ordering::Relaxed)
    }

    /// Queues a request for an end that streams. What comes first of it goes to the waiter of `beginning`. See [`Self::emit`] for the
    /// lock.
    pub(in crate::relay) fn begin(&self, seat: &Seat<H>, beginning: Beginning) -> Result<(), NotEmitted> {
        let occupancy = self.occupancy();
        if !occupancy.ends().iter().any(|end| Arc::ptr_eq(end, seat.end())) {
            return Err(NotEmitted::Gone);
        }
        seat.socket().tell(Message::Begin(Box::new(beginning))).map_err(NotEmitted::from)
    }

    /// Adds an end. The ends that it takes the place of leave.
    pub(super) fn join(&self, end: Arc<End<H>>, max_ends: usize) -> Turnover<H> {
        self.is_unchecked.store(end.has_key(), Ordering::Relaxed);
        self.may_stream.fetch_or(end.terms().is_some(), Ordering::Relaxed);
        let mut occupancy = self.occupancy();
        // Read under the lock under which [`Self::set`] lets ends leave that are too many: it sees this one, or this sees what it
        // has set.
        let most = self.most_ends(max_ends);
        occupancy.join(end, most)
    }

    /// Takes the mark that an end has joined whose key was not [checked](Self::take_ends_of_another_key). Returns whether it was set.
    pub(super) fn take_check(&self) -> bool {
        self.is_unchecked.swap(false, Ordering::Relaxed)
    }

    /// Takes the end with this number out of the tunnel.
    pub(super) fn leave(&self, number: u64) -> Turnover<H> {
        self.take(|end| end.number() == number)
    }

    /// The owner has set something: what the store was asked before does not count.
    pub(super) fn outdate(&self) {
        self.is_outdated.store(true, Ordering::Release);
    }

    /// The store is about to be asked, and knows all that was set until now.
    pub(super) fn asked_anew(&self) {
        self.is_outdated.swap(false, Ordering::Acquire);
    }

    /// Tells whether the store is to be asked, because an end has joined, the last has left or the owner has set something since
    /// it was asked last.
    pub(super) fn wants_something(&self) -> bool {
        [&self.is_unchecked, &self.is_unrenewed, &self.is_outdated].iter().any(|wants| wants.load(Ordering::Relaxed))
    }

    /// The store could not be asked: what was wanted is wanted still.
    pub(super) fn still_wants(&self, renewal: bool, check: bool) {
        self.is_unrenewed.fetch_or(renewal, Ordering::Relaxed);
        self.is_unchecked.fetch_or(check, Ordering::Relaxed);
    }

    /// Takes the mark that the last end has left. Returns whether the tunnel's life counts from now: it was set, or an end is connected.
    pub(super) fn take_renewal(&self) -> bool {
        self.is_unrenewed.swap(false, Ordering::Relaxed) || self.has_end()
    }

    /// Lets all ends stay when the tunnel gets another key.
    pub(super) fn let_ends_stay(&self) {
        self.occupancy().ends().iter().for_each(|end| end.let_stay());
    }

    /// Takes out the ends that showed another key than this; with `spares`, not those that may stay.
    pub(super) fn take_ends_of_another_key(&self, key: &KeyHash, spares: bool) -> Turnover<H> {
        self.take(|end| !(end.showed(key) || (spares && end.may_stay())))
    }

    /// Tells whether an end has joined with a newer claim than this.
    pub(super) fn has_end_after(&self, epoch: u64) -> bool {
        self.occupancy().ends().iter().any(|end| end.epoch() > epoch)
    }

    /// Takes out the ends that have joined with older claims than this.
    pub(super) fn take_ends_before(&self, epoch: u64) -> Turnover<H> {
        self.take(|end| end.epoch() < epoch)
    }

    /// Takes out the ends of these sessions.
    pub(super) fn take_ends_of(&self, sessions: &HashSet<Sid>) -> Turnover<H> {
        self.take(|end| end.is_of(sessions))
    }

    fn take(&self, leaves: impl FnMut(&End<H>) -> bool) -> Turnover<H> {
        let turnover = self.occupancy().take(leaves);
        if let Some(epoch) = turnover.left.iter().map(|end| end.epoch()).max() {
            self.left.fetch_max(epoch, Ordering::Relaxed);
        }
        let is_last = turnover.is_vacant && !turnover.left.is_empty();
        self.is_unrenewed.fetch_or(is_last && self.is_keyed(), Ordering::Relaxed);
        turnover
    }

    /// Ends the tunnel, and takes out all ends. Visitors that wait for one wait no longer.
    pub(super) fn end(&self) -> Turnover<H> {
        self.occupancy().end()
    }

    fn which_end(&self) -> Ends {
        self.settings().map_or(Ends::Newest, |settings| settings.ends)
    }

    fn most_ends(&self, max_ends: usize) -> usize {
        match self.which_end() {
            Ends::Newest => 1,
            Ends::Spread => max_ends,
        }
    }

    fn occupancy(&self) -> MutexGuard<'_, Occupancy<H>> {
        lock(&self.occupancy)
    }
}

/// Locks something of a tunnel. Nothing that is done under these locks can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::TunnelHost;
    use super::*;
    use crate::defaults::RETURN_TIME;

    #[tokio::test(start_paused = true)]
    async fn an_end_that_another_node_has_lost_is_expected_back_for_a_minute_from_each_loss() {
        let record = Record { made_at: 0, made_by: None, keyed: None };
        let tunnel = Tunnel::<TunnelHost>::new(&record, None, None, (false, 0), Budget::new(9), Budget::new(9));
        let is_expected = || matches!(tunnel.prospect(|| Budget::new(9)), Prospect::Later(_));
        tunnel.expect_back(0);
        assert!(!is_expected(), "a server that is alone has lost none");
        for epoch in [7, 9] {
            tunnel.expect_back(epoch);
            assert!(is_expected());
            tokio::time::sleep(RETURN_TIME).await;
            tunnel.expect_back(epoch);
            assert!(!is_expected(), "it is the same loss");
        }
        tunnel.expect_back(8);
        assert!(!is_expected(), "it is older than one that is over");
        tunnel.note_claim(9);
        tunnel.expect_back(9);
        assert!(is_expected(), "it has come back, and is lost again");
    }
}
