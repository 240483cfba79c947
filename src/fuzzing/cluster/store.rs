//! A store in memory that does what the scripts of the store in Redis do, at a time that the test says.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::proto::node::NodeId;
use crate::proto::token::Token;
use crate::store::{
    By, Change, Claim, Claimed, Ends, Found, INBOX_BATCH, Life, Located, Lost, Peer, Record, Renewal, Renewed, Seen,
    TableNews, Written,
};

/// As in `nodes.lua`, in milliseconds.
const KEPT: u64 = 600_000;
const POSTED: u64 = 60_000;
const SILENCE: u64 = 4_000;

/// As in `renew.lua`.
const CHANGES_KEPT: usize = 1_000;

/// A call was run later than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Late;

/// The store. `benches/model` uses it for a cluster of a thousand nodes.
#[derive(Debug, Clone, Default)]
pub struct Store {
    /// Its clock, in microseconds since 1970.
    pub clock: u64,
    /// The ends of leases, in milliseconds.
    leases: BTreeMap<NodeId, u64>,
    version: Option<u64>,
    /// Nodes by the version of the table that their last change made, and the lowest version after which all changes are known.
    changes: BTreeMap<NodeId, u64>,
    floor: u64,
    renewed: Option<u64>,
    nodes: BTreeMap<NodeId, Node>,
    inboxes: BTreeMap<NodeId, Inbox>,
    tunnels: BTreeMap<Token, Tunnel>,
    /// Nothing expires before this, in milliseconds: there are too many tunnels to look through all of them at each call.
    purge: u64,
}

/// What is kept of a node.
#[derive(Debug, Clone, Default)]
struct Node {
    said: Option<Peer>,
    /// The version of the table that the node was told last, and the one that it had then.
    table: u64,
    had: u64,
    writes: Option<u64>,
    lost: Option<Lost>,
    posted: u64,
    read: u64,
    has_missed: bool,
    expires: u64,
}

#[derive(Debug, Clone, Default)]
struct Inbox {
    messages: Vec<(u64, Box<str>)>,
    expires: u64,
}

#[derive(Debug, Clone)]
struct Tunnel {
    record: Record,
    expires: u64,
    owner: Option<NodeId>,
    epoch: Option<u64>,
    since: u64,
    at: BTreeMap<NodeId, (u64, usize)>,
}

impl Store {
    /// The time, in milliseconds since 1970.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.clock / 1_000
    }

    fn is_late(&self, until: u64) -> Result<(), Late> {
        if until != 0 && self.now() > until { Err(Late) } else { Ok(()) }
    }

    /// Forgets what has expired.
    fn purge(&mut self) {
        let now = self.now();
        if now < self.purge {
            return;
        }
        self.nodes.retain(|_, node| node.expires > now);
        self.inboxes.retain(|_, inbox| inbox.expires > now);
        self.tunnels.retain(|token, tunnel| tunnel.forgotten(token) > now);
        let tunnels = self.tunnels.iter().map(|(token, tunnel)| tunnel.forgotten(token));
        let others =
            self.nodes.values().map(|node| node.expires).chain(self.inboxes.values().map(|inbox| inbox.expires));
        self.purge = tunnels.chain(others).min().unwrap_or(u64::MAX);
    }

    /// Takes up that something expires at this time.
    fn expires(&mut self, at: u64) {
        self.purge = self.purge.min(at);
    }

    fn all_are_silent(&self) -> bool {
        self.renewed.is_some_and(|renewed| self.now().saturating_sub(renewed) > SILENCE)
    }

    fn lives(&self, node: NodeId) -> bool {
        self.leases.get(&node).is_some_and(|lease| *lease > self.now() || self.all_are_silent())
    }

    fn known(&self, node: NodeId) -> Option<Peer> {
        let said = self.nodes.get(&node)?.said.clone()?;
        let lease = self.leases.get(&node).map_or(0, |lease| lease.saturating_sub(self.now()));
        Some(Peer { lease: Duration::from_millis(lease), ..said })
    }

    fn living(&self, node: NodeId) -> Option<Peer> {
        self.lives(node).then(|| self.known(node)).flatten()
    }

    /// Lets the lease of a node end now.
    #[cfg(test)]
    pub(super) fn lapse(&mut self, node: NodeId) {
        self.leases.entry(node).and_modify(|lease| *lease = 1);
    }

    /// Forgets when a node renewed its lease last.
    #[cfg(test)]
    pub(super) fn fall_silent(&mut self) {
        self.renewed = Some(1);
    }

    /// Returns all nodes that are in the table, in the order of their ids.
    pub(super) fn table(&self) -> Vec<Peer> {
        self.leases.keys().filter_map(|node| self.known(*node)).collect()
    }

    /// Has other nodes come and go, so that the next change has older ones forgotten. Returns those nodes.
    pub(super) fn crowd(&mut self) -> Vec<NodeId> {
        self.version = self.version.map(|version| version + 1);
        let of_crowd = |number: u64| {
            let [.., high, low] = number.to_be_bytes();
            NodeId::from_random([0xee, 0xee, 0xee, 0xee, high, low])
        };
        let crowd: Vec<NodeId> = (0..CHANGES_KEPT as u64).map(of_crowd).collect();
        self.changes.extend(crowd.iter().map(|node| (*node, self.version.unwrap_or(0))));
        crowd
    }

    /// Drops the messages for a node.
    #[cfg(test)]
    pub(super) fn lose_messages(&mut self, node: NodeId) {
        self.inboxes.remove(&node);
    }

    fn wrote(&mut self, node: NodeId, seen: Seen) -> (Written, bool) {
        let expires = self.now() + KEPT;
        let node = self.nodes.entry(node).or_default();
        let stored = node.writes.unwrap_or(0);
        let writes = stored.max(seen.writes) + 1;
        if stored < seen.writes {
            let after = node.lost.map_or(stored, |lost| lost.after.min(stored));
            node.lost = Some(Lost { after, found: writes });
        }
        if node.writes.is_none() {
            node.expires = expires;
        }
        node.writes = Some(writes);
        let written = Written { writes, lost: node.lost };
        self.expires(expires);
        (written, stored < seen.writes)
    }

    /// Leaves a message for a node.
    pub fn post(&mut self, to: NodeId, text: &str) {
        self.purge();
        let (clock, now) = (self.clock, self.now());
        let Some(node) = self.nodes.get_mut(&to) else { return };
        node.has_missed |= node.posted != node.read && !self.inboxes.contains_key(&to);
        node.posted = clock.max(node.posted + 1);
        let inbox = self.inboxes.entry(to).or_default();
        inbox.messages.push((node.posted, text.into()));
        inbox.expires = now + POSTED;
        self.expires(now + POSTED);
    }

    /// Renews the lease of a node.
    ///
    /// # Errors
    /// With [`Late`] after `until`, if that is not 0.
    pub fn renew(&mut self, renewal: &Renewal, until: u64) -> Result<Renewed, Late> {
        self.is_late(until)?;
        self.purge();
        let (node, now, length) = (renewal.me.node, self.now(), milliseconds(renewal.me.lease));
        let (mut written, is_lost) = self.wrote(node, renewal.seen);
        if !is_lost && renewal.announced.is_some() && written.lost == renewal.announced {
            written.lost = None;
        }
        let was_dead = self.lease(node, now, length);
        let mut changed: Vec<NodeId> =
            self.leases.iter().filter(|(_, lease)| **lease <= now).map(|(node, _)| *node).collect();
        self.leases.retain(|_, lease| *lease > now);
        let kept = self.nodes.entry(node).or_default();
        let me = Peer { lease: Duration::ZERO, ..renewal.me.clone() };
        let mut was_away = kept.said.is_none();
        if was_dead || length == 0 || kept.said.as_ref() != Some(&me) {
            changed.push(node);
        }
        (kept.said, kept.lost, kept.expires) = (Some(me), written.lost, now + length + KEPT);
        self.expires(now + length + KEPT);
        let table = self.turn(&changed, renewal);
        self.renewed = Some(now);
        let (inbox, posted, has_missed) = self.take(node, renewal.taken_up);
        was_away |= has_missed;
        if length == 0 {
            self.nodes.remove(&node);
            self.inboxes.remove(&node);
        }
        let version = self.version.unwrap_or(0);
        Ok(Renewed { now, written, was_away, version, table, posted, inbox })
    }

    /// Gives the table a new version if nodes of it have changed. Returns what is new of it to the node that renews its lease.
    fn turn(&mut self, changed: &[NodeId], renewal: &Renewal) -> TableNews {
        let has = renewal.table;
        let stored = self.version.unwrap_or(0);
        if !changed.is_empty() || self.version.is_none() || has > stored {
            let version = self.clock.max(stored.max(has) + 1);
            self.changes.extend(changed.iter().map(|node| (*node, version)));
            self.forget_changes();
            if self.version.replace(version).is_none() {
                self.floor = version;
            }
        }
        let version = self.version.unwrap_or(0);
        let node = self.nodes.entry(renewal.me.node).or_default();
        let was_told = has == node.table || has == node.had;
        let is_known = has > 0 && has >= self.floor && has <= stored && was_told;
        (node.table, node.had) = (version, if is_known { has } else { 0 });
        if !is_known {
            return TableNews::Whole(self.table());
        }
        if has == version {
            return TableNews::Same;
        }
        let after: Vec<NodeId> =
            self.changes.iter().filter(|(_, change)| **change > has).map(|(node, _)| *node).collect();
        let there = |node: &NodeId| self.leases.contains_key(node).then(|| self.known(*node)).flatten();
        let gone = after.iter().copied().filter(|node| there(node).is_none()).collect();
        TableNews::Changes { peers: after.iter().filter_map(there).collect(), gone }
    }

    /// Forgets the oldest changes, if there are too many.
    fn forget_changes(&mut self) {
        while self.changes.len() > CHANGES_KEPT
            && let Some((version, node)) = self.changes.iter().map(|(node, version)| (*version, *node)).min()
        {
            self.changes.remove(&node);
            self.floor = self.floor.max(version);
        }
    }

    /// Sets the lease of a node. Returns whether others may have taken it for dead.
    fn lease(&mut self, node: NodeId, now: u64, length: u64) -> bool {
        let mut last = self.leases.get(&node).copied();
        if self.all_are_silent() {
            self.leases.values_mut().for_each(|lease| *lease = (*lease).max(now + SILENCE));
        } else {
            last = last.filter(|last| *last > now);
        }
        for lease in self.leases.values_mut().filter(|lease| **lease >= now + length + 10_000) {
            *lease = now + length;
        }
        if length > 0 {
            self.leases.insert(node, now + length);
        } else {
            self.leases.remove(&node);
        }
        last.is_none()
    }

    /// Removes the messages up to the one that was taken up last. Returns those that are left, the number of the last, and whether
    /// some are gone unread.
    fn take(&mut self, node: NodeId, taken_up: u64) -> (Vec<(u64, Box<str>)>, u64, bool) {
        let Some(kept) = self.nodes.get_mut(&node) else { return (Vec::new(), 0, false) };
        let mut left = Vec::new();
        let mut was_empty = true;
        if let Some(inbox) = self.inboxes.get_mut(&node) {
            was_empty = inbox.messages.is_empty();
            if let Some(taken) = inbox.messages.iter().position(|(number, _)| *number == taken_up) {
                inbox.messages.drain(..=taken);
                kept.has_missed = false;
            }
            left = inbox.messages.iter().take(INBOX_BATCH).cloned().collect();
            if inbox.messages.is_empty() {
                self.inboxes.remove(&node);
            }
        }
        kept.read = taken_up;
        (left, kept.posted, kept.has_missed || was_empty && kept.posted != taken_up)
    }

    /// Makes a claim. `None` if there is no such tunnel.
    ///
    /// # Errors
    /// With [`Late`] after the claim's `until`.
    pub fn claim(&mut self, token: &Token, claim: &Claim) -> Result<Option<Claimed>, Late> {
        self.is_late(claim.until)?;
        self.purge();
        let now = self.now();
        let Some(tunnel) = self.tunnels.get(token).filter(|tunnel| tunnel.expires > now) else { return Ok(None) };
        let found = tunnel.found(token, now);
        let (node, highest, is_spread) = (claim.node, tunnel.epoch.unwrap_or(0), tunnel.which() == Ends::Spread);
        let is_mine = tunnel.owner == Some(node);
        let new = self.clock.max(highest + 1).max(claim.above + 1);
        let epoch = claim.again.map_or(new, |again| if is_mine { again.max(highest) } else { again });
        let is_highest = epoch > highest || is_mine;
        let counts = is_highest || is_spread && epoch >= tunnel.since;
        let others = if counts { tunnel.claimants(Some(node)) } else { Vec::new() };
        let dead: Vec<NodeId> = tunnel.at.keys().copied().filter(|holder| !self.lives(*holder)).collect();
        if let Some(tunnel) = self.tunnels.get_mut(token).filter(|_| counts) {
            if is_spread {
                tunnel.at.retain(|holder, _| !dead.contains(holder) && *holder != node);
                if claim.ends > 0 {
                    tunnel.at.insert(node, (epoch, claim.ends));
                }
            } else {
                tunnel.at.clear();
            }
            if is_highest {
                (tunnel.owner, tunnel.epoch) = (Some(node), Some(epoch));
            }
        }
        for dead in dead.iter().filter(|_| counts && is_spread) {
            self.post(*dead, &format!("changed {token}"));
        }
        for other in others.iter().filter(|_| !is_spread) {
            self.post(*other, &format!("evict {token} {epoch}"));
        }
        let others = others.into_iter().filter_map(|other| self.living(other)).collect();
        let epoch = if counts { epoch } else { highest };
        Ok(Some(Claimed { found, epoch, is_newest: counts, others, written: self.wrote(node, claim.seen).0 }))
    }

    /// Takes up that a node has left a tunnel.
    ///
    /// # Errors
    /// With [`Late`] after `until`, if that is not 0.
    pub fn leave(&mut self, token: &Token, node: NodeId, epoch: u64, seen: Seen, until: u64) -> Result<Written, Late> {
        self.is_late(until)?;
        self.purge();
        if let Some(tunnel) = self.tunnels.get_mut(token) {
            tunnel.at.retain(|holder, (claimed, _)| *holder != node || *claimed > epoch);
        }
        Ok(self.wrote(node, seen).0)
    }

    /// Returns where the ends of a tunnel are.
    pub fn locate(&mut self, token: &Token) -> Located {
        self.purge();
        let Some(tunnel) = self.tunnels.get(token).filter(|tunnel| tunnel.expires > self.now()) else {
            return Located::default();
        };
        let which = tunnel.which();
        let holders = tunnel.at.iter().filter(|_| which == Ends::Spread);
        let holders = holders.filter_map(|(node, (_, ends))| Some((self.living(*node)?, *ends))).collect();
        let owner = tunnel.owner.and_then(|owner| self.living(owner));
        Located { which, epoch: tunnel.epoch.unwrap_or(0), owner, holders }
    }

    #[cfg(test)]
    pub(super) fn peer(&mut self, node: NodeId) -> Option<Peer> {
        self.purge();
        self.living(node)
    }

    /// Adds a tunnel. Returns false if there is one.
    pub fn create(&mut self, token: Token, record: Record, life: Duration) -> bool {
        self.purge();
        let expires = self.now() + milliseconds(life);
        let is_new = !self.tunnels.contains_key(&token);
        if is_new {
            let tunnel = Tunnel { record, expires, owner: None, epoch: None, since: 0, at: BTreeMap::new() };
            self.expires(tunnel.forgotten(&token));
            self.tunnels.insert(token, tunnel);
        }
        is_new
    }

    /// Changes a tunnel. Returns it, or `None` if it was not changed.
    pub fn change(&mut self, token: &Token, by: By, change: &Change, node: Option<NodeId>) -> Option<Found> {
        self.purge();
        let (now, clock) = (self.now(), self.clock);
        let tunnel = self.tunnels.get(token)?;
        let left = tunnel.expires.checked_sub(now).filter(|left| *left > 0).map(Duration::from_millis);
        let mut record = tunnel.record.clone();
        if !record.admits(by, change) {
            return None;
        }
        let left = record.apply(change, left)?;
        if record.keyed.is_some() && *change != Change::Renew {
            for other in tunnel.claimants(node) {
                self.post(other, &format!("changed {token}"));
            }
        }
        let tunnel = self.tunnels.get_mut(token)?;
        if matches!(change, Change::Delete | Change::Revive { .. })
            && let Some(epoch) = tunnel.epoch
        {
            let raised = clock.max(epoch + 1);
            (tunnel.owner, tunnel.epoch, tunnel.since) = (None, Some(raised), raised);
            tunnel.at.clear();
        }
        (tunnel.record, tunnel.expires) = (record, now + milliseconds(left));
        let (found, forgotten) = (tunnel.found(token, now), tunnel.forgotten(token));
        self.expires(forgotten);
        Some(found)
    }
}

impl Tunnel {
    /// Returns when its name is not claimed any more, in milliseconds since 1970.
    fn forgotten(&self, token: &Token) -> u64 {
        self.expires + milliseconds(self.record.claim(token))
    }

    fn which(&self) -> Ends {
        self.record.keyed.as_ref().map(|keyed| keyed.settings.ends).unwrap_or_default()
    }

    fn found(&self, token: &Token, now: u64) -> Found {
        let left = Duration::from_millis(self.expires.saturating_sub(now));
        let life = if left.is_zero() { Life::Claimed(self.record.claim(token)) } else { Life::Alive(left) };
        Found { record: self.record.clone(), life }
    }

    /// All nodes with a claim, but one: the owner first.
    fn claimants(&self, except: Option<NodeId>) -> Vec<NodeId> {
        let holders = self.at.keys().copied().filter(|holder| Some(*holder) != self.owner);
        self.owner.into_iter().chain(holders).filter(|node| Some(*node) != except).collect()
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
