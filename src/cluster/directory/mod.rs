//! What one node knows of its cluster, and what it has to tell the store.
//!
//! Pure, as `proto` is: it reads no clock, waits for nothing and does no I/O. The caller makes the calls that [`Directory`] asks
//! for, and says what came of them and what time it is.
//!
//! - this file: renewals, and what ties the parts together
//! - `effect`: what it says
//! - `lease`: the node's own lease, and what it may do without one
//! - `claims`: its claims of tunnels, and those to announce again
//! - `table`: the other nodes
//! - `lookups`: where tunnels were found last
//! - `suspects`: peers that give no sign of life
//! - `times`: how long it waits for what
//!
//! ```text
//!            renewal ──► store ──► renewed, failed
//!              claim ──► store ──► claimed, unclaimed, claim_failed
//!           announce ──► store ──► the same three
//!             leaves ──► store ──► left
//!   lookup: Ask ───────► store ──► located, not_located
//!              pings ──► peers ──► answered
//! ```

mod claims;
mod effect;
mod lease;
mod lookups;
mod suspects;
mod table;
mod times;

use std::time::Duration;

use self::claims::{Claims, Outcome};
pub use self::effect::{Effect, Lookup};
use self::lease::Lease;
pub use self::lease::Standing;
use self::lookups::Lookups;
use self::suspects::Suspects;
use self::table::Table;
pub use self::times::{LATER, LEASE, PATIENCE, SLOW};
use crate::cluster::message::Message;
use crate::proto::node::NodeId;
use crate::proto::time::{Instant, earliest};
use crate::proto::token::Token;
use crate::store::{Claim, Claimed, INBOX_BATCH, Located, Peer, Renewal, Renewed, Seen, TableNews, Written};

/// How many peers are asked at once whether they have a lease: one that says yes is enough.
const MOST_ASKED: usize = 16;

/// What the node knows of its cluster.
#[derive(Debug)]
pub struct Directory {
    me: Peer,
    lease: Lease,
    seen: Seen,
    /// The highest epoch that was seen, of any tunnel.
    highest: u64,
    table: Table,
    taken_up: u64,
    claims: Claims,
    lookups: Lookups,
    suspects: Suspects,
    /// The last call of the store failed.
    is_store_away: bool,
    /// Which of the peers is to be asked next whether it has a lease, by its place in the table.
    asked: usize,
}

impl Directory {
    /// Makes the directory of a node that has just started.
    #[must_use]
    pub fn new(me: Peer, now: Instant) -> Self {
        // An id is random.
        let seed = me.node.as_str().bytes().fold(0, |seed, byte| seed << 8 | u64::from(byte));
        Self {
            me: Peer { lease: LEASE, ..me },
            lease: Lease::new(now),
            seen: Seen::default(),
            highest: 0,
            table: Table::default(),
            taken_up: 0,
            claims: Claims::new(seed),
            lookups: Lookups::default(),
            suspects: Suspects::default(),
            is_store_away: false,
            asked: 0,
        }
    }

    /// Returns the node, as it says that it is reached.
    #[must_use]
    pub fn me(&self) -> &Peer {
        &self.me
    }

    /// Returns the node's id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.me.node
    }

    /// Returns what the node knows of its writes.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// Returns the other nodes that have a lease, as the store said last.
    #[must_use]
    pub fn peers(&self) -> &[Peer] {
        self.table.peers()
    }

    /// Returns a node that may have sessions: one that lives, or one whose lease has lapsed, since it may not know that yet.
    #[must_use]
    pub fn peer_of_session(&self, node: NodeId) -> Option<&Peer> {
        self.table.find_or_lapsed(node)
    }

    /// Returns how many tunnels the node has claimed.
    #[must_use]
    pub fn claims(&self) -> usize {
        self.claims.len()
    }

    /// Returns the epoch of the node's claim of a tunnel. `None` if it has none.
    #[must_use]
    pub fn epoch(&self, token: &Token) -> Option<u64> {
        self.claims.epoch(token)
    }

    /// Tells whether the node has claimed a tunnel, or is about to.
    #[must_use]
    pub fn has_claim(&self, token: &Token) -> bool {
        self.claims.has(token)
    }

    /// Returns the highest epoch that the node has seen, of any tunnel.
    #[must_use]
    pub fn highest_epoch(&self) -> u64 {
        self.highest
    }

    /// Returns what the node's lease lets it do.
    #[must_use]
    pub fn standing(&self, now: Instant) -> Standing {
        self.lease.standing(now)
    }

    /// Tells whether the last call of the store failed.
    #[must_use]
    pub fn is_store_away(&self) -> bool {
        self.is_store_away
    }

    /// Tells whether a tunnel that the store does not know may be one that is not announced again yet.
    #[must_use]
    pub fn is_unsure(&self, now: Instant) -> bool {
        self.claims.is_unsure(now)
    }

    /// Tells whether the process has not stood still since it last heard of the store. If it has, what other nodes asked for
    /// meanwhile must not be done.
    pub fn is_awake(&mut self, now: Instant) -> bool {
        self.lease.tick(now);
        self.lease.is_awake()
    }

    /// Returns when something is to be done next: any of [`Self::is_renewal_due`], [`Self::announce`], [`Self::leaves`],
    /// [`Self::pings`], or [`Self::is_awake`], which notices at intervals whether the process stood still.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        earliest(earliest(self.lease.next(), self.claims.next()), self.suspects.next())
    }

    /// Says that the node is about to stop. The next renewal, which is due at once, says so to all.
    pub fn drain(&mut self, now: Instant) {
        self.me.is_draining = true;
        self.lease.hurry(now);
    }

    /// Tells whether the lease is to be renewed now.
    #[must_use]
    pub fn is_renewal_due(&self, now: Instant) -> bool {
        self.lease.is_due(now)
    }

    /// Begins a renewal, which ends with [`Self::renewed`] or [`Self::failed`]. There is one at a time.
    #[must_use]
    pub fn renewal(&mut self, now: Instant) -> Renewal {
        self.lease.tick(now);
        self.lease.begun();
        Renewal {
            me: self.me.clone(),
            seen: self.seen,
            table: self.table.version(),
            taken_up: self.taken_up,
            announced: self.claims.announced(),
        }
    }

    /// Returns the renewal by which a node that stops gives its lease back. Nothing else may follow.
    #[must_use]
    pub fn farewell(&mut self, now: Instant) -> Renewal {
        let renewal = self.renewal(now);
        Renewal { me: Peer { lease: Duration::ZERO, ..renewal.me }, ..renewal }
    }

    /// Takes up the answer to a renewal that was sent at `sent`.
    pub fn renewed(&mut self, now: Instant, renewed: &Renewed, sent: Instant) -> Vec<Effect> {
        self.lease.tick(now);
        self.lease.renewed(now, sent);
        self.is_store_away = false;
        self.saw(now, renewed.written);
        if renewed.was_away {
            self.claims.announce_all();
        }
        for gone in self.table.take_up(renewed.version, &renewed.table, self.me.node) {
            self.lookups.remove_of(gone);
        }
        if renewed.table != TableNews::Same {
            let table = &self.table;
            self.suspects.retain(|node| table.find(node).is_some());
        }
        self.taken_up = renewed.inbox.last().map_or(renewed.posted, |(number, _)| *number);
        // A message may have come with another answer before, which changes nothing.
        let effects = renewed.inbox.iter().filter_map(|(_, text)| self.told(now, &Message::parse(text)?)).collect();
        if renewed.inbox.len() >= INBOX_BATCH {
            self.lease.hurry(now);
        }
        effects
    }

    /// Takes up a message of another node, that came with a renewal or directly.
    pub fn told(&mut self, now: Instant, message: &Message) -> Option<Effect> {
        match *message {
            Message::Evict(token, epoch) => self.evict(now, &token, epoch).then_some(Effect::Evicted(token, epoch)),
            Message::Changed(token) => {
                self.changed(&token);
                Some(Effect::Changed(token))
            }
            Message::Close(..) | Message::Move(_) | Message::Answer(_) => None,
        }
    }

    /// Takes up that a renewal failed: its answer did not come in time, or the store is away.
    pub fn failed(&mut self, now: Instant) {
        self.lease.tick(now);
        self.lease.failed(now);
        self.is_store_away = true;
    }

    /// Begins a claim for an end that joins; the node has `ends` ends of the tunnel then. It ends with [`Self::claimed`],
    /// [`Self::unclaimed`] or [`Self::claim_failed`]. The store must make it before `until`, its own time.
    #[must_use]
    pub fn claim(&mut self, token: Token, ends: usize, until: u64) -> Claim {
        self.claims.begun(token);
        self.claim_of(ends, until, None)
    }

    /// Begins a claim with the epoch of an earlier one, whose end has joined after the directory forgot the claim. It ends as
    /// [`Self::claim`] does.
    #[must_use]
    pub fn reclaim(&mut self, token: Token, (epoch, ends): (u64, usize), until: u64) -> Claim {
        self.claims.begun(token);
        self.claim_of(ends, until, Some(epoch))
    }

    fn claim_of(&self, ends: usize, until: u64, again: Option<u64>) -> Claim {
        Claim { node: self.me.node, seen: self.seen, until, above: self.highest, ends, again }
    }

    /// Takes up the answer to a claim: the ends here leave if another node has a newer one.
    pub fn claimed(&mut self, now: Instant, token: Token, claim: &Claim, claimed: &Claimed) -> Option<Effect> {
        self.is_store_away = false;
        self.saw(now, claimed.written);
        self.saw_epoch(claimed.epoch);
        self.lookups.remove(&token);
        match self.claims.claimed(now, token, claimed, claim) {
            Outcome::Holds => None,
            Outcome::Evicted(epoch) => Some(Effect::Evicted(token, epoch)),
        }
    }

    /// Takes up that there is no such tunnel to claim.
    pub fn unclaimed(&mut self, token: Token, claim: &Claim) -> Effect {
        self.is_store_away = false;
        self.claims.absent(&token, claim.again.is_some());
        Effect::Gone(token)
    }

    /// Takes up that a claim failed. The store may have made it all the same: an end that was to join is refused, and comes back.
    pub fn claim_failed(&mut self, now: Instant, token: Token, claim: &Claim) {
        self.is_store_away = true;
        self.claims.failed(now, token, claim.again.is_some());
    }

    /// Begins the claims that are to be announced again now. Each ends as [`Self::claim`] does.
    #[must_use]
    pub fn announce(&mut self, now: Instant, until: u64) -> Vec<(Token, Claim)> {
        let batch = self.claims.batch(now);
        batch.into_iter().map(|(token, epoch, ends)| (token, self.claim_of(ends, until, Some(epoch)))).collect()
    }

    /// Begins to leave the tunnels that are to be left now, each with the highest epoch that is left. Each ends with
    /// [`Self::left`].
    #[must_use]
    pub fn leaves(&mut self, now: Instant) -> Vec<(Token, u64)> {
        self.claims.leaves(now)
    }

    /// Takes up that the store was told, or could not be told, that the node has left a tunnel.
    pub fn left(&mut self, now: Instant, token: Token, epoch: u64, written: Option<Written>) {
        self.is_store_away = written.is_none();
        if let Some(written) = written {
            self.saw(now, written);
        }
        self.claims.left(now, token, epoch, written.map(|written| written.writes));
    }

    /// Takes up that the node has another number of ends of a tunnel. With none it has no claim any more.
    pub fn has_ends(&mut self, token: &Token, ends: usize) {
        self.claims.has_ends(token, ends);
    }

    /// Takes up that the tunnel's settings have changed: the claim is announced again, which shows them.
    pub fn changed(&mut self, token: &Token) {
        self.lookups.remove(token);
        self.claims.announce(token);
    }

    /// Takes up that another node has claimed a tunnel. Returns whether this node's claim is older: it is gone then.
    pub fn evict(&mut self, now: Instant, token: &Token, epoch: u64) -> bool {
        self.saw_epoch(epoch);
        self.lookups.remove(token);
        self.claims.evict(now, token, epoch, self.seen.writes)
    }

    /// Takes up that another node has asked for a tunnel here of which this node has no ends.
    pub fn note_absent(&mut self, now: Instant, token: &Token) {
        self.claims.note_absent(now, token, self.highest);
    }

    /// Returns where a tunnel is.
    #[must_use]
    pub fn lookup(&self, token: &Token, now: Instant) -> Lookup {
        let Some(located) = self.lookups.find(token, now, self.is_store_away) else { return Lookup::Ask };
        let answers = |peer: &Peer| !self.suspects.is_suspect(peer.node, now);
        let mut located = located.clone();
        located.owner = located.owner.filter(answers);
        located.holders.retain(|(peer, _)| answers(peer));
        Lookup::Known(located)
    }

    /// Takes up where a tunnel is, as the store said when it was asked at `asked`.
    pub fn located(&mut self, token: Token, located: Located, asked: Instant) {
        self.is_store_away = false;
        self.saw_epoch(located.epoch);
        self.lookups.insert(token, asked, located);
    }

    /// Takes up that the store does not say where tunnels are.
    pub fn not_located(&mut self) {
        self.is_store_away = true;
    }

    /// Takes up that a tunnel is not where it was found: the store is asked again.
    pub fn misled(&mut self, token: &Token) {
        // There is no other answer while the store is away, and one of several holders may be right.
        if !self.is_store_away {
            self.lookups.remove(token);
        }
    }

    /// Takes up that a peer refuses connections.
    pub fn refused(&mut self, node: NodeId, now: Instant) {
        self.suspects.refused(node, now);
    }

    /// Takes up that a peer has not begun a response for [`SLOW`]. Returns whether it is to be asked for a sign of life, on a
    /// connection of its own.
    #[must_use]
    pub fn note_slow(&mut self, node: NodeId, now: Instant) -> bool {
        self.suspects.note_slow(node, now)
    }

    /// Returns the peers that are to be asked for a sign of life now: suspects, and all of them if this node has no lease.
    #[must_use]
    pub fn pings(&mut self, now: Instant) -> Vec<NodeId> {
        let mut asked = self.suspects.pings(now);
        if self.lease.asks(now) {
            // Others than the last time, if there are many.
            let peers = self.table.peers();
            let start = self.asked % peers.len().max(1);
            self.asked = start + MOST_ASKED;
            let others = peers.iter().cycle().skip(start).map(|peer| peer.node);
            let others: Vec<_> = others.take(MOST_ASKED.min(peers.len())).collect();
            asked.extend(others.into_iter().filter(|node| !asked.contains(node)).collect::<Vec<_>>());
        }
        asked
    }

    /// Returns how long ago the store has renewed this node's lease; `None` if it never has.
    #[must_use]
    pub fn renewed_ago(&self, now: Instant) -> Option<Duration> {
        self.lease.renewed_ago(now)
    }

    /// Takes up a peer's sign of life, and whether it has the store while this node may have lost it.
    pub fn answered(&mut self, node: NodeId, has_lease: bool, now: Instant) {
        self.suspects.answered(node, now);
        if has_lease {
            self.lease.others_last(now);
        }
    }

    /// Takes up that a peer has given a sign of life that says nothing of its lease.
    pub fn note_there(&mut self, node: NodeId, now: Instant) {
        self.suspects.note_there(node, now);
    }

    /// Tells whether a peer gives no sign of life.
    #[must_use]
    pub fn is_suspect(&self, node: NodeId, now: Instant) -> bool {
        self.suspects.is_suspect(node, now)
    }

    fn saw(&mut self, now: Instant, written: Written) {
        self.claims.number(written.writes);
        // What an answer says that was overtaken by a later one counts no more.
        if written.writes > self.seen.writes {
            self.seen.writes = written.writes;
            self.claims.saw(now, written);
        }
    }

    fn saw_epoch(&mut self, epoch: u64) {
        self.highest = self.highest.max(epoch);
    }
}

#[cfg(test)]
mod tests;
