//! What a node does: calls of the store, clients, and what it hears of other nodes.

use std::time::Duration;

use super::event::{Answer, Call, Event};
use super::{NODES, World};
use crate::cluster::Message;
use crate::cluster::directory::{Effect, Standing};
use crate::proto::node::NodeId;
use crate::proto::token::Token;
use crate::store::{Claim, Claimed, Ends};

/// Time until a client that was refused tries the next node.
const COMES_BACK: Duration = Duration::from_secs(1);

impl World {
    /// A node does what is due.
    pub(super) fn act(&mut self, slot: usize) {
        let now = self.now;
        let node = &mut self.nodes[slot];
        node.directory.is_awake(now);
        let mut calls = Vec::new();
        if node.directory.is_renewal_due(now) {
            calls.push(Call::Renew(node.directory.renewal(now)));
        }
        let leaves = node.directory.leaves(now);
        let seen = node.directory.seen();
        calls.extend(leaves.into_iter().map(|(token, epoch)| Call::Leave(token, epoch, seen)));
        let until = node.until(now).unwrap_or(1);
        let announced = node.directory.announce(now, until);
        calls.extend(announced.into_iter().map(|(token, claim)| Call::Claim(token, claim, None)));
        let pings = node.directory.pings(now);
        calls.into_iter().for_each(|call| self.call(slot, call));
        for to in pings {
            self.after(Duration::from_millis(1), Event::Ping { from: slot, to });
        }
    }

    /// A client asks a node to join.
    pub(super) fn try_to_join(&mut self, client: usize, slot: usize) {
        let token = self.tokens[self.clients[client].tunnel];
        if self.clients[client].is_gone || self.clients[client].at.is_some() {
            return;
        }
        let now = self.now;
        let node = &mut self.nodes[slot];
        let until = node.until(now).filter(|_| node.runs() && node.directory.standing(now) == Standing::Member);
        let Some(until) = until else { return self.come_back(client, slot) };
        let ends = node.ends(&token).len() + 1;
        let claim = node.directory.claim(token, ends, until);
        self.call(slot, Call::Claim(token, claim, Some(client)));
    }

    fn come_back(&mut self, client: usize, slot: usize) {
        self.after(COMES_BACK, Event::Join(client, slot + 1));
    }

    /// An answer of the store arrives.
    pub(super) fn reply(&mut self, slot: usize, id: NodeId, number: u64, answer: Answer) {
        let node = &mut self.nodes[slot];
        if node.id() != id || !node.is_alive || node.is_cut {
            return;
        }
        let Some((call, sent)) = node.calls.remove(&number) else { return };
        let now = self.now;
        match (call, answer) {
            (Call::Renew(_), Answer::Renewed(renewed)) => {
                node.saw_clock(renewed.now, sent);
                let effects = node.directory.renewed(now, &renewed, sent);
                effects.into_iter().for_each(|effect| self.take_up(slot, effect));
            }
            (Call::Claim(token, claim, client), Answer::Claimed(claimed)) => {
                self.claimed(slot, token, &claim, client, claimed);
            }
            (Call::Leave(token, epoch, _), Answer::Left(written)) => {
                node.directory.left(now, token, epoch, Some(written));
            }
            (Call::Locate(token), Answer::Located(located)) => {
                node.directory.located(token, located, sent);
                self.found(slot, &token);
            }
            (call, Answer::Late(time)) => {
                node.saw_clock(time, now);
                self.fail(slot, call);
            }
            (call, answer) => panic!("{call:?}: {answer:?}"),
        }
    }

    /// A call has taken too long.
    pub(super) fn time_out(&mut self, slot: usize, id: NodeId, number: u64) {
        let node = &mut self.nodes[slot];
        if node.id() == id
            && node.is_alive
            && let Some((call, _)) = node.calls.remove(&number)
        {
            self.fail(slot, call);
        }
    }

    fn fail(&mut self, slot: usize, call: Call) {
        let (now, node) = (self.now, &mut self.nodes[slot]);
        match call {
            Call::Renew(_) => node.directory.failed(now),
            Call::Claim(token, claim, client) => {
                node.directory.claim_failed(now, token, &claim);
                if let Some(client) = client {
                    self.come_back(client, slot);
                }
            }
            Call::Leave(token, epoch, _) => node.directory.left(now, token, epoch, None),
            Call::Locate(token) => {
                node.directory.not_located();
                self.found(slot, &token);
            }
        }
    }

    fn claimed(&mut self, slot: usize, token: Token, claim: &Claim, client: Option<usize>, claimed: Option<Claimed>) {
        let now = self.now;
        let node = &mut self.nodes[slot];
        let Some(claimed) = claimed else {
            let effect = node.directory.unclaimed(token, claim);
            return self.take_up(slot, effect);
        };
        assert!(claim.again.is_some() || claimed.epoch > claim.above, "an epoch went back");
        let effect = node.directory.claimed(now, token, claim, &claimed);
        let which = claimed.found.record.keyed.as_ref().map_or(Ends::Newest, |keyed| keyed.settings.ends);
        if let Some(effect) = effect {
            if let Some(client) = client {
                self.clients[client].is_gone = true;
            }
            return self.take_up(slot, effect);
        }
        if let Some(client) = client {
            self.admit(slot, token, client, which);
        } else if which == Ends::Newest {
            self.keep_newest(slot, token);
        }
        for other in claimed.others.iter().filter(|_| which == Ends::Newest) {
            // Some of what nodes tell each other directly is lost.
            if !self.next.is_multiple_of(3)
                && let Some(other_slot) = self.slot_of(other.node)
            {
                let message = format!("evict {token} {}", claimed.epoch);
                self.after(Duration::from_millis(2), Event::Told(other_slot, other.node, message));
            }
        }
    }

    /// A client has joined: the others here leave, unless they share.
    fn admit(&mut self, slot: usize, token: Token, client: usize, which: Ends) {
        let node = &mut self.nodes[slot];
        if self.clients[client].is_gone {
            let ends = node.ends(&token).len();
            return node.directory.has_ends(&token, ends);
        }
        let id = node.id();
        node.ends.entry(token).or_default().push(client);
        self.clients[client].at = Some((slot, id));
        if which == Ends::Newest {
            return self.keep_newest(slot, token);
        }
        let ends = self.nodes[slot].ends(&token).len();
        self.nodes[slot].directory.has_ends(&token, ends);
    }

    /// All ends of a tunnel here leave but the newest.
    fn keep_newest(&mut self, slot: usize, token: Token) {
        let mut ends = self.nodes[slot].remove_ends(&token);
        let newest = ends.pop();
        self.dismiss(slot, ends);
        self.nodes[slot].ends.insert(token, newest.into_iter().collect());
        self.nodes[slot].directory.has_ends(&token, usize::from(newest.is_some()));
    }

    /// Clients are told that another has taken their place. Those that have gone to another node hear nothing.
    fn dismiss(&mut self, slot: usize, ends: Vec<usize>) {
        let here = Some((slot, self.nodes[slot].id()));
        for client in ends.into_iter().filter(|client| self.clients[*client].at == here).collect::<Vec<_>>() {
            self.clients[client].at = None;
            self.clients[client].is_gone = true;
        }
    }

    fn take_up(&mut self, slot: usize, effect: Effect) {
        match effect {
            Effect::Evicted(token, _) | Effect::Gone(token) => {
                let ends = self.nodes[slot].remove_ends(&token);
                self.dismiss(slot, ends);
            }
            // The claim that is announced again shows the settings.
            Effect::Changed(_) => (),
        }
    }

    pub(super) fn told(&mut self, slot: usize, id: NodeId, message: &str) {
        let now = self.now;
        if self.nodes[slot].id() == id
            && self.nodes[slot].is_alive
            && let Some(effect) =
                self.nodes[slot].directory.told(now, &Message::parse(message).expect("nodes say what they know"))
        {
            self.take_up(slot, effect);
        }
    }

    pub(super) fn ping(&mut self, from: usize, to: NodeId) {
        let node = self.nodes[from].id();
        let Some(slot) = self.slot_of(to) else {
            // Its port is closed.
            return self.nodes[from].directory.refused(to, self.now);
        };
        let has_lease = self.nodes[slot].directory.standing(self.now) == Standing::Member;
        self.after(Duration::from_millis(1), Event::Pong { at: from, node, of: to, has_lease });
    }

    pub(super) fn pong(&mut self, at: usize, node: NodeId, of: NodeId, has_lease: bool) {
        if self.nodes[at].id() == node && self.nodes[at].is_alive {
            self.nodes[at].directory.answered(of, has_lease, self.now);
        }
    }

    /// A node notices that a client has gone.
    pub(super) fn hang_up(&mut self, client: usize, slot: usize, id: NodeId) {
        let token = self.tokens[self.clients[client].tunnel];
        let node = &mut self.nodes[slot];
        if node.id() != id || !node.is_alive {
            return;
        }
        if let Some(ends) = node.ends.get_mut(&token)
            && let Some(place) = ends.iter().position(|end| *end == client)
        {
            ends.remove(place);
            let ends = ends.len();
            node.directory.has_ends(&token, ends);
        }
    }

    /// A client whose node stands still goes to another.
    pub(super) fn miss(&mut self, client: usize, slot: usize, id: NodeId) {
        let node = &self.nodes[slot];
        if node.id() == id && node.is_stopped && self.clients[client].at == Some((slot, id)) {
            self.clients[client].at = None;
            self.after(Duration::ZERO, Event::Hangup(client, slot, id));
            self.after(COMES_BACK, Event::Join(client, (slot + 1) % NODES));
        }
    }

    /// The epochs with which a node holds its tunnels never go back.
    pub(super) fn epochs_rise(&mut self, slot: usize) {
        for token in self.tokens {
            let node = &mut self.nodes[slot];
            let Some(epoch) = node.directory.epoch(&token) else { continue };
            let before = node.held.insert(token, epoch).unwrap_or(0);
            assert!(before <= epoch, "the epoch of a claim went back from {before} to {epoch}");
        }
    }
}
