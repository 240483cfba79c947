//! The tunnels of this process: they are found, joined, left and swept.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bytestring::ByteString;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::end::{AtNode, End, Seat};
use super::occupancy::Turnover;
use super::tunnel::Tunnel;
use crate::cluster::Tried;
use crate::defaults;
use crate::engine::{Host, Socket};
use crate::expiring::Expiring;
use crate::proto::exchange::{EndOptions, HeadLimits};
use crate::proto::key::KeyHash;
use crate::proto::limit::Limit;
use crate::proto::socket_io::packet::MAX_ACK_ID;
use crate::proto::token::Token;
use crate::relay::budgets::Budgets;
use crate::relay::failure::Failure;
use crate::relay::notices::{About, Notice, NoticeCounters};
use crate::relay::rules::Rulebook;
use crate::relay::streams::{Closing, Message, Waiter};
use crate::relay::tokens::Tokens;
use crate::store::{Ends, Keyed, Record};

/// What an end is told whose place another one takes.
const TAKEN_OVER: &str = "another end has joined: this one gets no more requests, and is disconnected once it has answered those that it has";

/// The right to become the end of a tunnel.
#[derive(Debug)]
pub(in crate::relay) struct Admission {
    pub(super) token: Token,
    pub(super) options: EndOptions,
    /// What the store keeps of the tunnel.
    pub(super) record: Record,
    /// How long the token still lives.
    pub(super) remaining: Duration,
    /// What a node of a cluster knows of the end; `None` for a server that is alone.
    pub(super) at_node: Option<Box<AtNode>>,
    /// Scheme and host by which the end reaches the server, empty if it named no host.
    pub(super) asked: ByteString,
    /// Names that the end sent with its join and that are no options, if it asks for notices.
    pub(super) unknown: Vec<String>,
}

/// An end's place in a tunnel.
#[derive(Debug)]
pub(in crate::relay) struct Joined<H: Host> {
    pub(super) tunnel: Arc<Tunnel<H>>,
    pub(super) end: Arc<End<H>>,
}

/// What holds for the ends of all tunnels.
#[derive(Debug, Clone, Copy)]
pub(in crate::relay) struct EndLimits {
    /// The largest payload of a session, in bytes.
    pub(in crate::relay) max_payload: usize,
    /// The head of a response.
    pub(in crate::relay) head: HeadLimits,
    /// How long what an end streams may go on once it is to leave.
    pub(in crate::relay) drain: Duration,
}

/// The tunnels of this process: one for each token that had an end here, until the token expires.
#[derive(Debug)]
pub(in crate::relay) struct Tunnels<H: Host> {
    pub(super) tokens: Arc<Tokens>,
    rulebook: Arc<Rulebook>,
    /// Each expires when its token should have, or, if it is keyed, when its token is to be renewed.
    table: RwLock<Expiring<Token, Arc<Tunnel<H>>>>,
    /// How many ends are connected.
    ends: AtomicUsize,
    /// How many tunnels have an end.
    occupied: AtomicUsize,
    pub(super) budgets: Budgets,
    pub(super) limits: EndLimits,
    notices: Arc<NoticeCounters>,
    /// Wakes the sweeper when a token expires before all others.
    pub(super) sooner: Notify,
    next_end: AtomicU64,
    /// When the server started.
    started: Instant,
    /// The server is about to stop: no end joins, no exchange begins, and no tunnel is made or changed.
    is_stopping: AtomicBool,
    /// When what ends stream must be over, once the server begins to stop.
    over_at: OnceLock<Instant>,
    /// Cancelled when it is about to stop, for visitors that wait for an end.
    stopping: CancellationToken,
    /// Cancelled when no time is left for exchanges.
    given_up: CancellationToken,
}

impl<H: Host<Waiter = Waiter, Message = Message>> Tunnels<H> {
    pub(in crate::relay) fn new(
        tokens: Arc<Tokens>,
        rulebook: Arc<Rulebook>,
        budgets: Budgets,
        limits: EndLimits,
    ) -> Arc<Self> {
        Arc::new(Self {
            tokens,
            rulebook,
            limits,
            table: RwLock::default(),
            ends: AtomicUsize::new(0),
            occupied: AtomicUsize::new(0),
            started: Instant::now(),
            budgets,
            notices: Arc::default(),
            sooner: Notify::new(),
            next_end: AtomicU64::new(0),
            is_stopping: AtomicBool::new(false),
            over_at: OnceLock::new(),
            stopping: CancellationToken::new(),
            given_up: CancellationToken::new(),
        })
    }

    /// Notes that the time has begun that ends have while the server stops.
    pub(in crate::relay) fn begin_to_stop(&self) {
        let _ = self.over_at.set(Instant::now() + self.limits.drain);
    }

    /// Returns how long what an end streams may go on from now, if it is to leave.
    fn grace(&self) -> Duration {
        let left = self.over_at.get().map(|at| at.saturating_duration_since(Instant::now()));
        left.unwrap_or(self.limits.drain)
    }

    /// Notes that the server is about to stop.
    pub(in crate::relay) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.stopping.cancel();
    }

    /// Tells whether the server is about to stop. Then no end joins, no exchange begins, and no tunnel is made or changed.
    pub(in crate::relay) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Notes that the server, which stops, has no time left for exchanges.
    pub(in crate::relay) fn give_up(&self) {
        self.given_up.cancel();
    }

    /// Tells whether the server has no time left for exchanges.
    pub(in crate::relay) fn has_given_up(&self) -> bool {
        self.given_up.is_cancelled()
    }

    /// Completes when the server stops, for a visitor that waits for an end. One that `may_go` to another node, where an end may join,
    /// has the time of an exchange until then.
    pub(in crate::relay) async fn stopping(&self, may_go: bool) {
        self.stopping.cancelled().await;
        if may_go && self.has_others() {
            self.given_up.cancelled().await;
        }
    }

    /// Returns the tunnel of a token that has or had an end here.
    pub(in crate::relay) fn find(&self, token: &Token) -> Option<Arc<Tunnel<H>>> {
        self.read().get(token).cloned()
    }

    /// Returns the tunnel of a token whose end was connected before this server started, or to a node that is gone (`is_lost`), if
    /// that may come back: visitors can wait for it. `record` is what the store keeps of it, and `remaining` how long it still lives.
    pub(in crate::relay) fn expect(
        &self,
        token: &Token,
        record: &Record,
        remaining: Duration,
        is_lost: bool,
    ) -> Option<Arc<Tunnel<H>>> {
        let since = if is_lost { Instant::now() } else { self.started };
        let is_held = record.keyed.as_ref().is_some_and(|keyed| keyed.was_joined && !keyed.settings.hold.is_zero());
        if !is_held || since.elapsed() >= defaults::RETURN_TIME {
            return None;
        }
        let expiry = Instant::now() + remaining;
        let mut table = self.write();
        if let Some(tunnel) = table.get(token) {
            return Some(Arc::clone(tunnel));
        }
        let tunnel = Arc::clone(table.get_or_insert(*token, expiry, || self.tunnel(token, record, Some(since))));
        drop(table);
        self.sooner.notify_one();
        Some(tunnel)
    }

    /// The notices for ends that were sent and dropped.
    pub(in crate::relay) fn notices(&self) -> &NoticeCounters {
        &self.notices
    }

    /// Returns what a visitor is told of a token that has no end.
    pub(in crate::relay) async fn without_end(&self, token: &Token, tried: Tried) -> Failure {
        if self.is_elsewhere(token, tried).await {
            return Failure::Elsewhere;
        }
        self.tokens.find(token).await.map_or_else(|failure| failure, |_| Failure::NotConnected)
    }

    /// Returns how many ends are connected.
    pub(in crate::relay) fn ends(&self) -> usize {
        self.ends.load(Ordering::Relaxed)
    }

    /// Returns how many tunnels have an end.
    pub(in crate::relay) fn occupied(&self) -> usize {
        self.occupied.load(Ordering::Relaxed)
    }

    /// Makes a client an end of its tunnel. The ends whose place it takes leave once they have answered what they were asked.
    pub(super) fn join(&self, admission: Admission, socket: Socket<H>) -> Joined<H> {
        let Admission { token, options, record, remaining, at_node, .. } = admission;
        let key = record.keyed.as_ref().map(|keyed| keyed.key);
        let ahead = if options.notices { self.tokens.expiry_notice() } else { Duration::ZERO };
        // The store hears of the end of a keyed tunnel at once.
        let due = if key.is_some() { Duration::ZERO } else { remaining.saturating_sub(ahead) };
        let expiry = Instant::now() + due;
        let number = self.next_end.fetch_add(1, Ordering::Relaxed);
        let end = Arc::new(End::new((number, at_node), options, key, socket, &self.notices, self.limits.max_payload));
        let mut table = self.write();
        let is_sooner = table.first().is_none_or(|(first, _)| expiry < first);
        let tunnel = Arc::clone(table.get_or_insert(token, expiry, || self.tunnel(&token, &record, None)));
        let surplus = record.keyed.as_ref().and_then(|keyed| self.set_in(&token, &tunnel, keyed));
        // While the table is locked: a tunnel that was just swept out of it must get no end.
        let turnover = tunnel.join(Arc::clone(&end), self.budgets.ends_per_tunnel);
        drop(table);
        if is_sooner {
            self.sooner.notify_one();
        }
        let takes_over = !turnover.left.is_empty();
        if takes_over && record.keyed.as_ref().is_some_and(|keyed| keyed.settings.ends == Ends::Spread) {
            self.budgets.hits.hit(Limit::Ends);
        }
        tracing::info!(?token, takes_over, "end connected");
        self.ends.fetch_add(1, Ordering::Relaxed);
        self.retire(surplus);
        self.retire(Some(turnover));
        self.say_joined(&token, &tunnel, &end);
        Joined { tunnel, end }
    }

    /// Makes a tunnel without an end.
    fn tunnel(&self, token: &Token, record: &Record, vacant_since: Option<Instant>) -> Arc<Tunnel<H>> {
        let rules = record.keyed.as_ref().and_then(|keyed| keyed.rules.as_ref());
        let guard = rules.map(|rules| self.rulebook.guard(token, rules, None));
        let (memory, exchanges) = (self.budgets.bytes_per_tunnel.part(), self.budgets.exchanges_per_tunnel.part());
        let first_ack = if self.tokens.outlive_restarts() { rand::random_range(0..=MAX_ACK_ID / 2) } else { 0 };
        let kept = (self.tokens.can_be_lost(), first_ack);
        Arc::new(Tunnel::new(record, guard, vacant_since, kept, memory, exchanges))
    }

    /// An end has left its tunnel, or gets nothing new from now on because it is about to. Returns false if it was not the
    /// tunnel's any more.
    pub(super) fn left(&self, token: &Token, joined: &Joined<H>) -> bool {
        self.gone(token, &joined.tunnel, joined.end.number())
    }

    /// The end of a seat has left, or its session has ended, which this may hear before [`Self::left`].
    pub(in crate::relay) fn lost(&self, token: &Token, tunnel: &Tunnel<H>, seat: &Seat<H>) {
        self.gone(token, tunnel, seat.number());
    }

    /// Takes an end out of its tunnel. Returns false if it was not in it any more.
    fn gone(&self, token: &Token, tunnel: &Tunnel<H>, number: u64) -> bool {
        let turnover = tunnel.leave(number);
        let is_vacant = turnover.is_vacant;
        let was_in = !self.count(turnover).is_empty();
        // The life of a keyed tunnel counts from here.
        if was_in && is_vacant && tunnel.is_keyed() && self.write().set_expiry(*token, Instant::now()) {
            self.sooner.notify_one();
        }
        if was_in {
            self.say_left(token, tunnel);
        }
        was_in
    }

    /// Tells ends whose place others have taken to leave once they have answered.
    pub(super) fn retire(&self, turnover: Option<Turnover<H>>) {
        let left = turnover.map(|turnover| self.count(turnover)).unwrap_or_default();
        for end in left {
            end.notify(Notice { about: About::TakenOver, id: None, message: TAKEN_OVER });
            end.say_closing(Closing::TakenOver(self.grace()));
            end.retire();
        }
    }

    /// Tells ends to go on at another node once they have answered.
    pub(super) fn move_on(&self, turnover: Turnover<H>) {
        for end in self.count(turnover) {
            end.say_closing(Closing::Moving(self.grace()));
            end.move_on();
        }
    }

    /// Counts the ends and tunnels of a change, and returns the ends that have left.
    fn count(&self, turnover: Turnover<H>) -> Vec<Arc<End<H>>> {
        let Turnover { left, was_vacant, is_vacant } = turnover;
        self.ends.fetch_sub(left.len(), Ordering::Relaxed);
        match (was_vacant, is_vacant) {
            (true, false) => drop(self.occupied.fetch_add(1, Ordering::Relaxed)),
            (false, true) => drop(self.occupied.fetch_sub(1, Ordering::Relaxed)),
            (true, true) | (false, false) => (),
        }
        left
    }

    /// Takes up what the owner of a tunnel has set.
    pub(in crate::relay) fn set(&self, token: &Token, keyed: &Keyed) {
        let Some(tunnel) = self.find(token) else { return };
        self.retire(self.set_in(token, &tunnel, keyed));
        tunnel.outdate();
        // A shorter life is renewed sooner.
        self.write().set_expiry(*token, Instant::now());
        self.sooner.notify_one();
    }

    /// Takes up in a tunnel what its owner has set. Returns the ends that are too many by it.
    pub(super) fn set_in(&self, token: &Token, tunnel: &Tunnel<H>, keyed: &Keyed) -> Option<Turnover<H>> {
        let guard = |rules: &_, before: Option<&_>| self.rulebook.guard(token, rules, before);
        tunnel.set(keyed, guard, self.budgets.ends_per_tunnel)
    }

    /// The tunnel has another key. With `disconnect`, an end that joined with the one before leaves at once; else it stays.
    pub(in crate::relay) fn rekeyed(&self, token: &Token, keyed: &Keyed, disconnect: bool) {
        let Some(tunnel) = self.find(token) else { return };
        if disconnect {
            self.drop_ends_of_another_key(token, &tunnel, &keyed.key, false);
        }
        self.set(token, keyed);
    }

    /// Lets the ends of a tunnel stay when it gets another key. Before that, so that nothing compares their keys with the new one.
    pub(in crate::relay) fn let_ends_stay(&self, token: &Token) {
        if let Some(tunnel) = self.find(token) {
            tunnel.let_ends_stay();
        }
    }

    /// Tells all ends that stream that the server stops, and how long what they stream may go on.
    pub(in crate::relay) fn say_stopping(&self) {
        let tunnels: Vec<_> = self.read().values().cloned().collect();
        for tunnel in tunnels {
            tunnel.each_end(|end| end.say_closing(Closing::Stopping(self.grace())));
        }
    }

    /// Returns the tokens of all tunnels.
    pub(super) fn all(&self) -> Vec<Token> {
        self.read().keys().copied().collect()
    }

    pub(super) fn drop_ends_of_another_key(&self, token: &Token, tunnel: &Tunnel<H>, key: &KeyHash, spares: bool) {
        for end in self.count(tunnel.take_ends_of_another_key(key, spares)) {
            tracing::info!(?token, "the tunnel has another key, its end is disconnected");
            end.disconnect();
        }
    }

    /// Ends a tunnel: its token has expired, or its owner has deleted it.
    pub(in crate::relay) fn remove(&self, token: &Token, closing: Closing) {
        let Some(removed) = self.write().remove(token) else { return };
        let ends = self.count(removed.end());
        self.say_left(token, &removed);
        for end in ends {
            tracing::info!(?token, "the tunnel has ended, its end is disconnected");
            end.say_closing(closing);
            end.disconnect();
        }
    }

    /// Disconnects the ends of a tunnel that have joined with claims up to this epoch. They may come back.
    pub(in crate::relay) fn close(&self, token: &Token, epoch: u64) {
        let mut table = self.write();
        let Some(tunnel) = table.get(token).cloned() else { return };
        let turnover = if tunnel.has_end_after(epoch) {
            tunnel.take_ends_before(epoch.saturating_add(1))
        } else {
            table.remove(token);
            tunnel.end()
        };
        drop(table);
        let ends = self.count(turnover);
        self.say_left(token, &tunnel);
        for end in ends {
            tracing::info!(?token, "the operator has closed the tunnel, its end is disconnected");
            end.disconnect();
        }
    }

    /// Shows each tunnel to `see`.
    pub(in crate::relay) fn each(&self, mut see: impl FnMut(Token, &Tunnel<H>)) {
        for token in self.all() {
            if let Some(tunnel) = self.find(&token) {
                see(token, &tunnel);
            }
        }
    }

    // Nothing that is done under the lock can panic half-way, so a poisoned table is whole.

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Expiring<Token, Arc<Tunnel<H>>>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Expiring<Token, Arc<Tunnel<H>>>> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(super) mod tests;
