//! Several servers that are one relay: each is a node.
//!
//! The store knows the nodes and which of them has the ends of a tunnel, and nothing else goes through it: requests go from node to
//! node. One server alone has none of this.
//!
//! In reading order:
//!
//! - this file: `Cluster`, a node among others, with what it asks and tells them
//! - `directory`: what a node knows of the others and of tunnels, as a value; `message`: what nodes tell each other, and `telling` how
//! - `keeping`: the tasks of a node; `joining`: ends that are about to join; `waiting`: tunnels that it hopes another node will claim;
//!   `suspicion`: nodes that do not answer, and `watched`, what waits for them; `strangers`: nodes that are in ids of sessions and not
//!   in the table
//! - `status`: how the nodes are, in words; `keys`: what the cluster's secret is made into; `sids`: ids of sessions that name their node
//! - `hop`: a request from one node to another

pub mod directory;
pub(crate) mod hop;
mod joining;
mod keeping;
pub(crate) mod keys;
mod message;
pub(crate) mod sids;
mod status;
mod strangers;
mod suspicion;
mod telling;
mod waiting;
pub(crate) mod watched;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use http::request::Parts;
use rand::Rng as _;
use tokio::sync::{Notify, Semaphore};

pub(crate) use self::directory::LEASE;
use self::directory::{Directory, Effect, Lookup, Standing};
use self::hop::{Hops, Note, Undone};
use self::joining::Joins;
use self::keys::{Key, Secret};
pub(crate) use self::message::Message;
use self::sids::Sids;
use self::strangers::Strangers;
use self::waiting::Waiting;
use self::watched::Watches;
use crate::net::arrival::Arrival;
use crate::net::body::RequestBody;
use crate::net::clock::Clock;
use crate::net::reply::Reply;
use crate::proto::engine_io::Sid;
use crate::proto::node::NodeId;
use crate::proto::token::Token;
use crate::store::{Claim, Claimed, Ends, Located, Nodes, Peer, StoreError};

/// Messages that are on their way to other nodes at once. What is beyond is in their inboxes.
const TELLING: usize = 64;

/// What was tried for one request, in vain.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tried {
    /// The epoch of a claim whose node has no end of the tunnel any more.
    pub(crate) epoch: u64,
    /// A node that has none.
    pub(crate) node: Option<NodeId>,
}

/// This process as a node of a cluster.
pub(crate) struct Cluster {
    me: NodeId,
    nodes: Nodes,
    directory: Mutex<Directory>,
    hops: Hops,
    sids: Sids,
    pages: Key,
    clock: Clock,
    waiting: Waiting,
    strangers: Strangers,
    watches: Watches,
    is_draining: AtomicBool,
    /// The store has answered this node once.
    has_joined: AtomicBool,
    /// Wakes the task that does what the directory wants.
    wake: Notify,
    /// Told when this node has lost its place.
    out: Notify,
    joins: Joins,
    /// What is done with messages for this node.
    told: OnceLock<Box<dyn Fn(Message) + Send + Sync>>,
    telling: Arc<Semaphore>,
    /// Questions where a tunnel is that the store has not answered.
    lookups: Mutex<HashMap<Token, Asking>>,
}

/// A question to the store that several wait for.
type Asking = Shared<BoxFuture<'static, Result<Located, StoreError>>>;

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("me", &self.me).finish_non_exhaustive()
    }
}

/// Returns the id of a node that starts.
pub(crate) fn new_id() -> NodeId {
    NodeId::from_random(rand::rng().random())
}

impl Cluster {
    /// Makes a node that other nodes reach as `me` says. It works while [`Self::keep`] runs.
    pub(crate) fn new(me: Peer, nodes: Nodes, secret: &Secret, hops: Hops) -> Arc<Self> {
        let clock = Clock::start();
        Arc::new(Self {
            me: me.node,
            sids: Sids::new(secret, me.node),
            pages: secret.pages.clone(),
            directory: Mutex::new(Directory::new(me, clock.now())),
            nodes,
            hops,
            clock,
            waiting: Waiting::default(),
            strangers: Strangers::default(),
            watches: Watches::default(),
            is_draining: AtomicBool::new(false),
            has_joined: AtomicBool::new(false),
            wake: Notify::new(),
            out: Notify::new(),
            joins: Joins::default(),
            told: OnceLock::new(),
            telling: Arc::new(Semaphore::new(TELLING)),
            lookups: Mutex::default(),
        })
    }

    /// Returns an id for a session of this node.
    pub(crate) fn new_sid(&self) -> Sid {
        self.sids.make()
    }

    /// Returns the key that signs the cookie of a browser that has shown the page before a tunnel: one for all nodes.
    pub(crate) fn pages(&self) -> Key {
        self.pages.clone()
    }

    /// Claims a tunnel for an end that is about to join; this node has then `ends` ends of it. The others are told. `None` if there
    /// is no such tunnel.
    ///
    /// # Errors
    /// - [`StoreError::Unavailable`] if the store cannot be used now
    pub(crate) async fn claim(self: &Arc<Self>, token: &Token, ends: usize) -> Result<Option<Claimed>, StoreError> {
        let claim = self.directory().claim(*token, ends, self.nodes.until());
        // Also if the end leaves meanwhile: the directory hears how each claim ends.
        let node = Arc::clone(self);
        let token = *token;
        let claiming = tokio::spawn(async move { node.make(token, &claim).await });
        let Ok(made) = claiming.await else { return Err(StoreError::Unavailable("the claim was given up".to_owned())) };
        let Some(claimed) = made? else { return Ok(None) };
        if claimed.found.record.keyed.as_ref().is_none_or(|keyed| keyed.settings.ends == Ends::Newest) {
            for other in &claimed.others {
                self.tell(other.clone(), Message::Evict(token, claimed.epoch));
            }
        }
        Ok(Some(claimed))
    }

    /// An end has joined by a claim with this epoch. Returns the epoch of this node's claim then. If another node has claimed the tunnel
    /// since, the end is told to leave in a moment.
    pub(crate) fn joined(self: &Arc<Self>, token: Token, epoch: u64, ends: usize) -> u64 {
        self.joins.tell();
        let mut directory = self.directory();
        if let Some(held) = directory.epoch(&token).filter(|held| *held >= epoch) {
            return held;
        }
        let claim = directory.reclaim(token, (epoch, ends), self.nodes.until());
        drop(directory);
        let node = Arc::clone(self);
        drop(tokio::spawn(async move { node.make(token, &claim).await }));
        epoch
    }

    /// Looks for a tunnel that another node asks for, and waits for an end that is about to join.
    pub(crate) async fn find_joining<T>(&self, token: &Token, find: impl Fn() -> Option<T>) -> Option<T> {
        self.joins.find(find, || self.directory().has_claim(token)).await
    }

    /// Makes a claim in the store, and takes up what becomes of it.
    async fn make(&self, token: Token, claim: &Claim) -> Result<Option<Claimed>, StoreError> {
        let made = self.nodes.claim(&token, claim).await;
        let now = self.clock.now();
        let mut directory = self.directory();
        let effect = match &made {
            Ok(Some(claimed)) => directory.claimed(now, token, claim, claimed),
            Ok(None) => Some(directory.unclaimed(token, claim)),
            Err(_) => {
                directory.claim_failed(now, token, claim);
                None
            }
        };
        drop(directory);
        self.wake.notify_one();
        match effect {
            Some(Effect::Evicted(token, epoch)) => self.take_up(Message::Evict(token, epoch)),
            Some(Effect::Changed(token) | Effect::Gone(token)) => self.take_up(Message::Changed(token)),
            None => (),
        }
        made
    }

    /// Takes up what another node tells.
    pub(crate) fn told(&self, message: Message) {
        // What the directory does because of it, the host does for the ends: it knows with which claims they have joined.
        let _ = self.directory().told(self.clock.now(), &message);
        self.wake.notify_one();
        self.take_up(message);
    }

    fn take_up(&self, message: Message) {
        if let Some(told) = self.told.get() {
            told(message);
        }
    }

    /// Says how many ends of a tunnel this node has now.
    pub(crate) fn has_ends(&self, token: &Token, ends: usize) {
        self.directory().has_ends(token, ends);
        self.wake.notify_one();
    }

    /// Another node has asked here for a tunnel that is not here.
    pub(crate) fn note_absent(&self, token: &Token) {
        self.directory().note_absent(self.clock.now(), token);
        self.wake.notify_one();
    }

    /// Tells which nodes have the ends of a tunnel, as far as this one knows or the store says.
    ///
    /// # Errors
    /// - [`StoreError::Unavailable`] if the store cannot be used now, and nothing is known
    pub(crate) async fn locate(self: &Arc<Self>, token: &Token) -> Result<Located, StoreError> {
        let known = self.directory().lookup(token, self.clock.now());
        match known {
            Lookup::Known(located) => Ok(located),
            Lookup::Ask => self.locate_together(*token).await,
        }
    }

    /// Asks the store once for all that ask at the same time.
    async fn locate_together(self: &Arc<Self>, token: Token) -> Result<Located, StoreError> {
        let looking = {
            let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
            let begin = || {
                let node = Arc::clone(self);
                // In a task of its own: it ends, and is forgotten, also when those that ask have left.
                let asking = tokio::spawn(async move {
                    let located = node.locate_anew(&token).await;
                    node.lookups.lock().unwrap_or_else(PoisonError::into_inner).remove(&token);
                    located
                });
                let given_up = |_| StoreError::Unavailable("the question was given up".to_owned());
                asking.map(move |located| located.unwrap_or_else(|error| Err(given_up(error)))).boxed().shared()
            };
            lookups.entry(token).or_insert_with(begin).clone()
        };
        looking.await
    }

    /// Asks the store which nodes have the ends of a tunnel.
    ///
    /// # Errors
    /// As [`Self::locate`].
    pub(crate) async fn locate_anew(&self, token: &Token) -> Result<Located, StoreError> {
        let asked = self.clock.now();
        match self.nodes.locate(&[*token]).await {
            Ok(mut located) => {
                let located = located.pop().unwrap_or_default();
                self.directory().located(*token, located.clone(), asked);
                Ok(located)
            }
            Err(error) => {
                self.directory().not_located();
                // What was found before may do.
                match self.directory().lookup(token, self.clock.now()) {
                    Lookup::Known(located) => Ok(located),
                    Lookup::Ask => Err(error),
                }
            }
        }
    }

    /// Forgets where a tunnel's ends were.
    pub(crate) fn forget(&self, token: &Token) {
        self.directory().misled(token);
    }

    /// Completes when a node that was not tried yet claims a tunnel that has no end here.
    pub(crate) async fn claimed_elsewhere(&self, token: &Token, tried: Tried) {
        loop {
            let located = self.waiting.located(token).await;
            if self.choose(&located, false, tried).is_some() {
                return;
            }
        }
    }

    /// Returns another node to which requests for a tunnel go that has no end here. `None` if there is none.
    pub(crate) fn elsewhere(&self, located: &Located) -> Option<Peer> {
        self.choose(located, false, Tried::default())
    }

    /// Returns the other node to which the next request for a tunnel goes. `None` is this node, or none. With `has_end`, an end
    /// of a `spread` tunnel is here, too.
    pub(crate) fn choose(&self, located: &Located, has_end: bool, tried: Tried) -> Option<Peer> {
        let directory = self.directory();
        let now = self.clock.now();
        let is_usable = |peer: &Peer| peer.node == self.me || !directory.is_suspect(peer.node, now);
        if located.holders.is_empty() {
            let owner = located.owner.as_ref().filter(|_| located.epoch > tried.epoch)?;
            return Some(owner).filter(|owner| owner.node != self.me && is_usable(owner)).cloned();
        }
        let holders: Vec<_> = located
            .holders
            .iter()
            .filter(|(peer, ends)| *ends > 0 && is_usable(peer) && (has_end || peer.node != self.me))
            .filter(|(peer, _)| Some(peer.node) != tried.node)
            .collect();
        let all: usize = holders.iter().map(|(_, ends)| ends).sum();
        if all == 0 {
            return None;
        }
        let mut chosen = rand::rng().random_range(0..all);
        for (peer, ends) in holders {
            match chosen.checked_sub(*ends) {
                Some(rest) => chosen = rest,
                None => return Some(peer).filter(|peer| peer.node != self.me).cloned(),
            }
        }
        None
    }

    /// Returns the node that a session is of, if that is another one. `None` for ids that no node of this cluster has made.
    pub(crate) async fn of_session(&self, sid: &str) -> Option<Peer> {
        let node = self.sids.node_of(sid).filter(|node| *node != self.me)?;
        let now = self.clock.now();
        let known = self.directory().peer_of_session(node).cloned();
        let peer = match (known, self.strangers.get(node, now)) {
            (Some(peer), _) => Some(peer),
            (None, Some(stranger)) => stranger,
            (None, None) => {
                let peer = self.nodes.peer(node).await.ok()?;
                self.strangers.keep(node, peer.clone(), now);
                peer
            }
        };
        // One that does not answer may do so in a moment, and another node can only end the session.
        peer
    }

    /// Hands a request to another node. Once that node is gone, the request fails, its response breaks off, and the connection that it
    /// has become is closed.
    ///
    /// # Errors
    /// See [`Undone`].
    pub(crate) async fn send(
        self: &Arc<Self>,
        peer: &Peer,
        head: &mut Parts,
        body: &mut RequestBody,
        arrival: &Arrival<'_>,
        note: Note,
    ) -> Result<Reply, Undone> {
        let watched = self.watch(peer);
        let sending = self.hops.send((peer.node, &peer.advertise), head, body, (arrival, note, &watched));
        let sent = tokio::select! {
            biased;
            sent = sending => sent,
            () = watched.gone() => Err(Undone::Broken("the node's lease has lapsed".into())),
            never = self.doubt(peer) => match never {},
        };
        match &sent {
            Err(Undone::Unreached(reason)) => {
                self.say_unreached(peer, reason);
                self.directory().refused(peer.node, self.clock.now());
                self.wake.notify_one();
            }
            // The head of a response is a sign of life, too.
            Ok(_) | Err(Undone::Elsewhere) => self.directory().note_there(peer.node, self.clock.now()),
            Err(Undone::Cut(reason)) => tracing::debug!(node = %peer.node, reason, "a node does not serve this one"),
            Err(Undone::Broken(_) | Undone::Full | Undone::Left | Undone::Body(_)) => (),
        }
        sent
    }

    /// Returns the other nodes that live.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        self.directory().peers().to_vec()
    }

    /// Tells whether another node lives that does not stop.
    pub(crate) fn has_others(&self) -> bool {
        self.directory().peers().iter().any(|peer| !peer.is_draining)
    }

    /// Tells whether this node may hand requests to its ends: its lease lasts, or no node has a store that would say otherwise.
    pub(crate) fn serves(&self) -> bool {
        let now = self.clock.now();
        let mut directory = self.directory();
        directory.is_awake(now) && directory.standing(now) != Standing::Out && self.has_joined.load(Ordering::Relaxed)
    }

    /// Tells whether this node is about to stop.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Completes when this node has lost its place: its lease has lapsed, and another node has one.
    pub(crate) async fn lost_place(&self) {
        self.out.notified().await;
    }

    /// Returns this node's id.
    pub(crate) fn me(&self) -> NodeId {
        self.me
    }

    /// Tells whether this node's lease lasts.
    pub(crate) fn has_lease(&self) -> bool {
        self.directory().standing(self.clock.now()) == Standing::Member
    }

    /// Says that this node takes no more ends, because it is about to stop.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
        self.directory().drain(self.clock.now());
        self.wake.notify_one();
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        // Nothing that is done under the lock can panic half-way.
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
