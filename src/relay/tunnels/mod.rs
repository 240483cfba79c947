//! Which end holds which token: the host of the Socket.IO server that makes it a relay.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::engine::Undelivered;
use crate::engine::socket_io::{Connect, Host, Received, Refusal, Reply, Socket};
use crate::net::budget::{Budget, Held};
use crate::proto::engine_io::Revision;
use crate::proto::exchange::EndOptions;
use crate::proto::socket_io::connection::{Awaited, DisconnectReason};
use crate::proto::socket_io::packet::Encoded;
use crate::proto::socket_io::{AckId, Namespace};
use crate::proto::token::Token;
use crate::relay::failure::Failure;
use crate::relay::figures::Budgets;
use crate::relay::waiter::{self, Outcome, Waiter, Waiting};
use crate::store::Store;
use crate::tables;

/// The message of a `connect_error` for a token that is unknown or has expired, which nobody can tell apart.
const TOKEN_NOT_FOUND: &str = "token not found: it is unknown or has expired, ask GET /new for another";

/// How soon the store is asked again after it failed.
const STORE_RETRY: Duration = Duration::from_secs(5);

/// The tunnels of this process.
pub(super) struct Tunnels {
    store: Arc<Store>,
    ends: RwLock<Ends>,
    budgets: Budgets,
    exchanges_per_tunnel: usize,
    /// Tells the sweeper of an end whose token expires before all others.
    sooner: Notify,
    next_end: AtomicU64,
}

#[derive(Default)]
struct Ends {
    by_token: HashMap<Token, Tunnel>,
    /// The same, in the order in which their tokens expire, as far as is known here.
    by_expiry: BTreeSet<(Instant, Token)>,
    /// How many have an end.
    connected: usize,
}

/// A token that has or had an end, until it expires.
struct Tunnel {
    end: Option<Arc<End>>,
    expiry: Instant,
    /// The ids of its events. None is used again for its next end: that one may be the same program, which still owes an
    /// answer to a visitor of before.
    next_ack: Arc<AtomicU64>,
}

impl Ends {
    /// The ids of a token's events.
    fn acks_of(&self, token: &Token) -> Arc<AtomicU64> {
        self.by_token.get(token).map(|tunnel| Arc::clone(&tunnel.next_ack)).unwrap_or_default()
    }

    /// Puts an end in its place; gives the one it replaces.
    fn insert(&mut self, token: Token, end: Arc<End>, expiry: Instant) -> Option<Arc<End>> {
        let tunnel = Tunnel { next_ack: Arc::clone(&end.next_ack), end: Some(end), expiry };
        self.by_expiry.insert((expiry, token));
        self.connected += 1;
        let before = self.by_token.insert(token, tunnel)?;
        if before.expiry != expiry {
            self.by_expiry.remove(&(before.expiry, token));
        }
        self.connected -= usize::from(before.end.is_some());
        before.end
    }

    /// Takes an end from its place, which stays.
    fn leave(&mut self, token: &Token, number: u64) {
        if let Some(tunnel) = self.by_token.get_mut(token)
            && tunnel.end.as_ref().is_some_and(|end| end.number == number)
        {
            tunnel.end = None;
            self.connected -= 1;
        }
    }

    /// Gives a token more time, since it was refreshed.
    fn prolong(&mut self, token: &Token, expiry: Instant) {
        if let Some(tunnel) = self.by_token.get_mut(token) {
            self.by_expiry.remove(&(tunnel.expiry, *token));
            self.by_expiry.insert((expiry, *token));
            tunnel.expiry = expiry;
        }
    }

    /// Forgets a token; gives its end.
    fn remove(&mut self, token: &Token) -> Option<Arc<End>> {
        let tunnel = self.by_token.remove(token)?;
        tables::shrink(&mut self.by_token);
        self.by_expiry.remove(&(tunnel.expiry, *token));
        self.connected -= usize::from(tunnel.end.is_some());
        tunnel.end
    }

    fn first_expiry(&self) -> Option<Instant> {
        self.by_expiry.first().map(|&(expiry, _)| expiry)
    }
}

/// The end of a tunnel.
pub(super) struct End {
    socket: Socket<Relay>,
    pub(super) options: EndOptions,
    /// What its exchanges may hold of the memory for bodies.
    pub(super) memory: Arc<Budget>,
    exchanges: Arc<Budget>,
    number: u64,
    next_ack: Arc<AtomicU64>,
}

impl End {
    /// The id of the next event.
    pub(super) fn next_ack(&self) -> AckId {
        let number = self.next_ack.fetch_add(1, Ordering::Relaxed);
        // Nobody asks 2^53 times; if somebody did, the oldest ids would be long free.
        AckId::new(number % (1 << 53)).expect("the remainder is in range")
    }

    pub(super) fn namespace(&self) -> &Namespace {
        self.socket.namespace()
    }

    /// A place for one more exchange.
    pub(super) fn in_flight(&self) -> Result<Held, Failure> {
        self.exchanges.hold(1).ok_or_else(|| {
            if self.exchanges.used() >= self.exchanges.limit() { Failure::Overloaded } else { Failure::Busy }
        })
    }

    /// Sends an event and gives the way on which its ack will come.
    pub(super) fn emit(&self, packet: Encoded, timeout: Duration) -> Result<Waiting, Undelivered> {
        let (waiter, waiting) = waiter::channel();
        self.socket.emit(packet, Some(Awaited { waiter, timeout }))?;
        Ok(waiting)
    }

    pub(super) fn cancel(&self, id: AckId) {
        self.socket.cancel(id);
    }
}

impl Tunnels {
    pub(super) fn new(store: Arc<Store>, budgets: Budgets, exchanges_per_tunnel: usize) -> Arc<Self> {
        Arc::new(Self {
            store,
            ends: RwLock::default(),
            budgets,
            exchanges_per_tunnel,
            sooner: Notify::new(),
            next_end: AtomicU64::new(0),
        })
    }

    /// The end of a token, while one is connected.
    pub(super) fn end(&self, token: &Token) -> Option<Arc<End>> {
        self.read().by_token.get(token)?.end.clone()
    }

    /// How many ends are connected.
    pub(super) fn count(&self) -> usize {
        self.read().connected
    }

    /// Makes ends leave whose tokens have expired. Runs for ever.
    pub(super) async fn sweep(self: Arc<Self>) {
        loop {
            let sooner = self.sooner.notified();
            let first = self.read().first_expiry();
            match first {
                None => sooner.await,
                Some(first) => tokio::select! {
                    () = sooner => (),
                    () = tokio::time::sleep_until(first) => self.expire(Instant::now()).await,
                },
            }
        }
    }

    /// A token may have been refreshed since its end came, here or on another server: the store knows.
    async fn expire(&self, now: Instant) {
        loop {
            let first = self.read().by_expiry.first().copied();
            let Some((_, token)) = first.filter(|&(expiry, _)| expiry <= now) else { return };
            let remaining = self.store.remaining(&token).await.unwrap_or_else(|error| {
                tracing::error!(%error, "the store of tokens does not answer");
                Some(STORE_RETRY)
            });
            if let Some(remaining) = remaining {
                self.write().prolong(&token, now + remaining);
                continue;
            }
            let removed = self.write().remove(&token);
            if let Some(end) = removed {
                tracing::info!(?token, "token expired, its end is disconnected");
                end.socket.disconnect();
            }
        }
    }

    /// Puts an end in its place; gives the one it replaces.
    fn insert(&self, token: Token, end: Arc<End>, expiry: Instant) -> Option<Arc<End>> {
        let mut ends = self.write();
        let sooner = ends.first_expiry().is_none_or(|first| expiry < first);
        let before = ends.insert(token, end, expiry);
        drop(ends);
        if sooner {
            self.sooner.notify_one();
        }
        before
    }

    /// An end leaves, unless a newer one has taken its place.
    fn leave(&self, token: &Token, number: u64) {
        self.write().leave(token, number);
    }

    // Nothing that is done under the lock can panic half-way, so a poisoned one is whole.

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Ends> {
        self.ends.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Ends> {
        self.ends.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The host that takes ends in.
#[derive(Clone)]
pub(super) struct Relay {
    pub(super) tunnels: Arc<Tunnels>,
}

/// Who may join.
#[derive(Debug)]
pub(super) enum Member {
    /// A client of revision 3 in the default namespace, where nothing happens.
    Idle,
    /// The end of a tunnel.
    End(Seat),
}

/// The place of an end.
#[derive(Debug)]
pub(super) struct Seat {
    token: Token,
    options: EndOptions,
    remaining: Duration,
    number: u64,
}

impl Host for Relay {
    type Member = Member;
    type Waiter = Waiter;

    fn connect(&self, request: Connect) -> impl Future<Output = Result<Member, Refusal>> + Send + 'static {
        let tunnels = Arc::clone(&self.tunnels);
        async move {
            let Some(token) = Token::from_namespace(request.namespace.as_str()) else {
                return match (request.namespace.as_str(), request.revision) {
                    // Whoever connects is in it, and some are never anywhere else: useless, and no fault.
                    ("/", Revision::V3) => Ok(Member::Idle),
                    ("/", Revision::V4) => Err(Refusal::new("connect to /TOKEN, with a token from GET /new")),
                    (_, Revision::V3 | Revision::V4) => Err(Refusal::new(TOKEN_NOT_FOUND)),
                };
            };
            let remaining = match tunnels.store.remaining(&token).await {
                Ok(Some(remaining)) => remaining,
                Ok(None) => return Err(Refusal::new(TOKEN_NOT_FOUND)),
                Err(error) => {
                    tracing::error!(%error, "the store of tokens does not answer");
                    return Err(Refusal::new("the server cannot look tokens up now, try again later"));
                }
            };
            // Only then: what is wrong with an unknown token is nothing but that.
            let options = match request.revision {
                Revision::V3 => EndOptions::from_query(request.query.as_deref().unwrap_or_default()),
                Revision::V4 => EndOptions::from_auth(request.auth.as_ref()),
            };
            let options = options.map_err(Refusal::new)?;
            Ok(Member::End(Seat { token, options, remaining, number: 0 }))
        }
    }

    fn connected(&self, member: &mut Member, socket: &Socket<Self>, _: Reply<'_, Self>) {
        let Member::End(seat) = member else { return };
        seat.number = self.tunnels.next_end.fetch_add(1, Ordering::Relaxed);
        let end = Arc::new(End {
            socket: socket.clone(),
            options: seat.options,
            // A quarter, so that one tunnel does not stop the others.
            memory: self.tunnels.budgets.bytes.part(self.tunnels.budgets.bytes.limit() / 4),
            exchanges: self.tunnels.budgets.exchanges.part(self.tunnels.exchanges_per_tunnel),
            number: seat.number,
            next_ack: self.tunnels.read().acks_of(&seat.token),
        });
        let expiry = Instant::now() + seat.remaining;
        tracing::info!(token = ?seat.token, "end connected");
        if let Some(before) = self.tunnels.insert(seat.token, end, expiry) {
            tracing::info!(token = ?seat.token, "a newer end takes over");
            // It finishes what it was asked before it goes.
            before.socket.retire();
        }
    }

    /// An end has nothing to say but acks.
    fn received(&self, _: &mut Member, _: &Socket<Self>, event: Received, _: Reply<'_, Self>) {
        tracing::debug!(bytes = event.args.json().len(), "ignored an event of an end");
    }

    fn acked(&self, waiter: Waiter, outcome: Outcome) {
        waiter.tell(outcome);
    }

    fn disconnected(&self, member: Member, _: &Socket<Self>, reason: DisconnectReason) {
        let Member::End(seat) = member else { return };
        tracing::info!(token = ?seat.token, %reason, "end disconnected");
        self.tunnels.leave(&seat.token, seat.number);
    }
}
