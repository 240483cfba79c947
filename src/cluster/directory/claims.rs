//! Which tunnels the node has claimed, and which of its claims it has to announce again or to give up.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::times::{LEAVE_EVERY, UNSURE_FOR};
use crate::proto::time::{Instant, earliest};
use crate::proto::token::Token;
use crate::store::{Claim, Claimed, Ends, Found, Lost, Pace, Written};

/// How many tunnels that the node has left are kept, so that it can leave them again if the store forgets that.
const MOST_LEFT: usize = 1_000;

/// How many numbers of writes are kept: more than there are calls under way.
const MOST_NUMBERS: usize = 1_000;

/// How many tunnels wait to be left. One beyond that is left when another node asks for it here.
const MOST_LEAVING: usize = 10_000;

/// A tunnel that this node has ends of.
#[derive(Debug, Clone, Copy)]
struct Held {
    epoch: u64,
    /// The number of the write that made the claim last.
    number: u64,
    ends: usize,
    which: Ends,
    /// A later claim failed, and may have been made all the same.
    is_uncertain: bool,
}

/// Claims under way for one tunnel.
#[derive(Debug, Default)]
struct Pending {
    calls: usize,
    /// The highest epoch of another node's claim that was heard of meanwhile.
    evicted: u64,
}

/// A tunnel that the node has left.
#[derive(Debug)]
struct Left {
    token: Token,
    epoch: u64,
    /// The number of the write.
    number: u64,
    at: Instant,
}

/// All claims of this node.
#[derive(Debug)]
pub(super) struct Claims {
    held: HashMap<Token, Held>,
    pending: HashMap<Token, Pending>,
    /// Claims to be announced again, and others whose announcements are under way.
    due: BTreeSet<Token>,
    announcing: BTreeSet<Token>,
    /// Tunnels to be left, with the highest epoch that is left, and those among them that are under way.
    leaving: BTreeMap<Token, u64>,
    under_way: BTreeSet<Token>,
    /// The tunnels that were left last.
    left: VecDeque<Left>,
    /// The numbers of the last writes.
    numbers: BTreeSet<u64>,
    /// What the store has lost and is not told again yet.
    loss: Option<Lost>,
    unsure: Option<Instant>,
    /// When the next claims may be announced, and the next tunnels left.
    next: Instant,
    next_leave: Instant,
    /// How many calls there are at once, and the end of the pause after one that failed.
    pace: Pace,
    resumes: Instant,
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It counts.
    Holds,
    /// There is a newer one: this node's ends of the tunnel are to leave.
    Evicted(u64),
}

impl Claims {
    /// Makes the claims of a node that has none. The seed is another at each node.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            held: HashMap::new(),
            pending: HashMap::new(),
            due: BTreeSet::new(),
            announcing: BTreeSet::new(),
            leaving: BTreeMap::new(),
            under_way: BTreeSet::new(),
            left: VecDeque::new(),
            numbers: BTreeSet::new(),
            loss: None,
            unsure: None,
            next: Instant::ORIGIN,
            next_leave: Instant::ORIGIN,
            pace: Pace::new(seed),
            resumes: Instant::ORIGIN,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn epoch(&self, token: &Token) -> Option<u64> {
        self.held.get(token).map(|held| held.epoch)
    }

    /// Tells whether the node has claimed a tunnel, or is about to.
    pub(super) fn has(&self, token: &Token) -> bool {
        self.held.contains_key(token) || self.pending.contains_key(token)
    }

    /// Takes up what the store says of its writes.
    pub(super) fn saw(&mut self, now: Instant, written: Written) {
        if written.lost == self.loss {
            return;
        }
        self.loss = written.lost;
        match written.lost {
            None => self.unsure = Some(now + UNSURE_FOR),
            Some(lost) => {
                self.due.extend(self.held.iter().filter(|(_, held)| held.number > lost.after).map(|(token, _)| *token));
                self.leave_again(lost.after);
            }
        }
    }

    /// Tells whether a write is among those that may be lost. Its answer may come after that was noticed.
    fn is_lost(&self, number: u64) -> bool {
        self.loss.is_some_and(|lost| (lost.after + 1..lost.found).contains(&number))
    }

    /// Has all claims announced again.
    pub(super) fn announce_all(&mut self) {
        self.due.extend(self.held.keys().copied());
    }

    /// Takes up the number of a write. If an answer had it before, the store has lost that write, and counted on from there before it
    /// was told that the node had seen it: all is announced again.
    pub(super) fn number(&mut self, number: u64) {
        if !self.numbers.insert(number) {
            self.announce_all();
            self.leave_again(0);
        }
        if self.numbers.len() > MOST_NUMBERS {
            self.numbers.pop_first();
        }
    }

    fn leave_again(&mut self, after: u64) {
        let left = self.left.iter().filter(|left| left.number > after);
        let again: Vec<_> = left.map(|left| (left.token, left.epoch)).collect();
        for (token, epoch) in again {
            self.give_up(token, epoch);
        }
    }

    /// Has a claim announced again, if there is one.
    pub(super) fn announce(&mut self, token: &Token) {
        if self.held.contains_key(token) {
            self.due.insert(*token);
        }
    }

    /// Returns the loss after which all is announced again.
    pub(super) fn announced(&self) -> Option<Lost> {
        self.loss.filter(|_| self.due.is_empty() && self.announcing.is_empty() && self.leaving.is_empty())
    }

    pub(super) fn is_unsure(&self, now: Instant) -> bool {
        self.loss.is_some() || self.unsure.is_some_and(|until| now < until)
    }

    pub(super) fn begun(&mut self, token: Token) {
        self.pending.entry(token).or_default().calls += 1;
    }

    /// Takes up an answered claim.
    pub(super) fn claimed(&mut self, now: Instant, token: Token, claimed: &Claimed, claim: &Claim) -> Outcome {
        let evicted = self.end_call(&token);
        self.pace.succeeded();
        let (was_announced, ends) = (claim.again.is_some(), claim.ends);
        if was_announced {
            self.announcing.remove(&token);
        }
        let newer = match (claimed.is_newest, which(&claimed.found)) {
            (true, Ends::Newest) => evicted,
            (true, Ends::Spread) => 0,
            (false, _) => claimed.epoch,
        };
        if !claimed.is_newest || newer > claimed.epoch {
            self.lost_to_another(&token, claimed.written.writes, now);
            return Outcome::Evicted(newer);
        }
        let number = claimed.written.writes;
        let before = self.held.get(&token).copied();
        if was_announced && before.is_none() {
            // The last end has left meanwhile.
            self.give_up(token, claimed.epoch);
            return Outcome::Holds;
        }
        self.leaving.remove(&token);
        if before.is_none_or(|held| held.number < number) {
            // The number of ends may be another by now, and then the announcement is made again.
            let ends_now = before.filter(|_| was_announced).map_or(ends, |held| held.ends);
            let which = which(&claimed.found);
            self.held.insert(token, Held { epoch: claimed.epoch, number, ends: ends_now, which, is_uncertain: false });
            let is_new_holder = before.is_some_and(|held| held.which != which);
            if self.is_lost(number) || is_new_holder || ends_now != ends {
                self.due.insert(token);
            }
        }
        Outcome::Holds
    }

    /// Takes up that a claim failed: it may have been made all the same.
    pub(super) fn failed(&mut self, now: Instant, token: Token, was_announced: bool) {
        self.end_call(&token);
        self.pause(now);
        if was_announced {
            self.announcing.remove(&token);
        }
        match self.held.get_mut(&token) {
            Some(held) => {
                held.is_uncertain = true;
                self.due.insert(token);
            }
            None if !self.pending.contains_key(&token) => self.give_up(token, u64::MAX),
            None => (),
        }
    }

    /// Takes up that there is no such tunnel.
    pub(super) fn absent(&mut self, token: &Token, was_announced: bool) {
        self.end_call(token);
        self.pace.succeeded();
        if was_announced {
            self.announcing.remove(token);
        }
        self.drop_claim(token);
    }

    /// Ends a call. Returns the highest epoch of another node's claim that was heard of meanwhile.
    fn end_call(&mut self, token: &Token) -> u64 {
        let Some(pending) = self.pending.get_mut(token) else { return 0 };
        let evicted = pending.evicted;
        pending.calls -= 1;
        if pending.calls == 0 {
            self.pending.remove(token);
        }
        evicted
    }

    /// Returns whether a claim with this epoch ends one of this node.
    pub(super) fn evict(&mut self, now: Instant, token: &Token, epoch: u64, number: u64) -> bool {
        if let Some(pending) = self.pending.get_mut(token) {
            pending.evicted = pending.evicted.max(epoch);
        }
        let Some(held) = self.held.get(token).copied() else { return false };
        if held.which == Ends::Spread {
            // That was before all ends shared the tunnel, or this node has not heard that they do no more. The store knows.
            self.due.insert(*token);
            return false;
        }
        let is_older = held.epoch < epoch;
        if is_older {
            self.lost_to_another(token, number, now);
        }
        is_older
    }

    /// Drops a claim for another node's. If the store forgets writes after this one, it may know of the claim again.
    fn lost_to_another(&mut self, token: &Token, number: u64, at: Instant) {
        if let Some(held) = self.held.get(token) {
            let epoch = held.epoch;
            self.keep_left(Left { token: *token, epoch, number, at });
        }
        self.drop_claim(token);
    }

    fn keep_left(&mut self, left: Left) {
        if self.left.len() >= MOST_LEFT {
            self.left.pop_front();
        }
        self.left.push_back(left);
    }

    /// Takes up that the node has another number of ends of a tunnel.
    pub(super) fn has_ends(&mut self, token: &Token, ends: usize) {
        let Some(held) = self.held.get_mut(token) else { return };
        let (is_other, is_spread) = (held.ends != ends, held.which == Ends::Spread);
        // The store may know of ends here that this node does not know to be shared.
        let may_be_spread = is_spread || held.is_uncertain || self.due.contains(token);
        held.ends = ends;
        let epoch = if held.is_uncertain { u64::MAX } else { held.epoch };
        if ends == 0 {
            self.drop_claim(token);
            if may_be_spread {
                self.give_up(*token, epoch);
            }
        } else if is_other && is_spread {
            self.due.insert(*token);
        }
    }

    /// Has a tunnel left that others take this node to have ends of.
    pub(super) fn note_absent(&mut self, now: Instant, token: &Token, epoch: u64) {
        // Others look it up again within a while, and visitors ask for it all the time.
        let was_left = self.left.iter().rev().any(|left| left.token == *token && now - left.at < LEAVE_EVERY);
        if !was_left && !self.has(token) {
            self.give_up(*token, epoch);
        }
    }

    pub(super) fn drop_claim(&mut self, token: &Token) {
        self.held.remove(token);
        self.due.remove(token);
        crate::tables::shrink(&mut self.held);
    }

    fn give_up(&mut self, token: Token, epoch: u64) {
        if !self.held.contains_key(&token) && (self.leaving.len() < MOST_LEAVING || self.leaving.contains_key(&token)) {
            let highest = self.leaving.entry(token).or_default();
            *highest = epoch.max(*highest);
        }
    }

    /// Pauses after a failed call. Of those that were under way with it, one counts.
    fn pause(&mut self, now: Instant) {
        if now >= self.resumes {
            self.resumes = now + self.pace.failed();
        }
    }

    /// Returns how many calls there may be beside those that are under way.
    fn room(&self) -> usize {
        self.pace.at_once().saturating_sub(self.announcing.len() + self.under_way.len())
    }

    /// Returns the claims to announce now, with their epochs and numbers of ends.
    pub(super) fn batch(&mut self, now: Instant) -> Vec<(Token, u64, usize)> {
        if now < self.next.max(self.resumes) {
            return Vec::new();
        }
        let free = self.due.iter().filter(|token| !self.pending.contains_key(token));
        let held = free.filter_map(|token| self.held.get(token).map(|held| (*token, held.epoch, held.ends)));
        let batch: Vec<_> = held.take(self.room()).collect();
        if !batch.is_empty() {
            self.next = now + Pace::EVERY;
        }
        for (token, _, _) in &batch {
            self.due.remove(token);
            self.announcing.insert(*token);
            self.begun(*token);
        }
        batch
    }

    /// Returns the tunnels to leave now, with the highest epoch that is left. One that is being claimed is not left meanwhile.
    pub(super) fn leaves(&mut self, now: Instant) -> Vec<(Token, u64)> {
        if now < self.next_leave.max(self.resumes) {
            return Vec::new();
        }
        let batch: Vec<_> = self.to_leave().take(self.room()).collect();
        if !batch.is_empty() {
            self.next_leave = now + Pace::EVERY;
        }
        self.under_way.extend(batch.iter().map(|(token, _)| *token));
        batch
    }

    fn to_leave(&self) -> impl Iterator<Item = (Token, u64)> {
        let may_leave = |token: &Token| !self.under_way.contains(token) && !self.pending.contains_key(token);
        self.leaving.iter().filter(move |(token, _)| may_leave(token)).map(|(token, epoch)| (*token, *epoch))
    }

    /// Takes up whether a tunnel was left: by the write of this number, or not.
    pub(super) fn left(&mut self, now: Instant, token: Token, epoch: u64, number: Option<u64>) {
        self.under_way.remove(&token);
        let Some(number) = number else {
            return self.pause(now);
        };
        self.pace.succeeded();
        if self.leaving.get(&token).is_some_and(|highest| *highest <= epoch) {
            self.leaving.remove(&token);
        }
        if self.is_lost(number) {
            self.give_up(token, epoch);
        }
        self.keep_left(Left { token, epoch, number, at: now });
        // It was claimed again meanwhile, and the leave may have run after that.
        if self.held.contains_key(&token) {
            self.due.insert(token);
        }
    }

    /// Returns when the next call is due that may be made before another is answered.
    pub(super) fn next(&self) -> Option<Instant> {
        if self.room() == 0 {
            return None;
        }
        let announces = self.due.iter().any(|token| !self.pending.contains_key(token));
        let leaves = self.to_leave().next().is_some();
        let next = earliest(announces.then_some(self.next), leaves.then_some(self.next_leave));
        next.map(|next| next.max(self.resumes))
    }
}

fn which(found: &Found) -> Ends {
    found.record.keyed.as_ref().map(|keyed| keyed.settings.ends).unwrap_or_default()
}
