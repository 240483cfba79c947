//! Exchanges: where a visitor arrives, and where its request goes.

use std::time::Duration;

use super::World;
use super::event::{Call, Event};
use super::exchange::{Exchange, Outcome};
use crate::cluster::directory::{Lookup, SLOW, Standing};
use crate::proto::node::NodeId;
use crate::proto::token::Token;
use crate::store::Located;

/// How long an exchange waits for an end, and how often it looks for one.
const HOLD: Duration = Duration::from_secs(10);
const LOOKS_AGAIN: Duration = Duration::from_millis(200);

/// How long an exchange waits for a response.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often an exchange is sent on.
const TRIES: usize = 3;

impl World {
    /// A visitor arrives.
    pub(super) fn visit(&mut self, tunnel: usize, slot: usize) {
        if !self.nodes[slot].is_alive {
            return;
        }
        let (node, exchange) = (self.nodes[slot].id(), self.exchanges.len());
        let (begun, tries, emitted) = (self.now, 0, 0);
        self.exchanges.push(Exchange { tunnel, slot, node, begun, tries, is_sent: None, emitted, outcome: None });
        self.after(Duration::from_millis(1), Event::Visit(exchange));
    }

    fn end(&mut self, exchange: usize, outcome: Outcome) {
        let exchange = &mut self.exchanges[exchange];
        assert_eq!(exchange.outcome, None, "an exchange has one outcome");
        exchange.outcome = Some(outcome);
    }

    /// The visitors of a process that has died have lost their connections.
    pub(super) fn lose_visitors(&mut self, id: NodeId) {
        for exchange in 0..self.exchanges.len() {
            let Exchange { outcome: None, node, is_sent, .. } = self.exchanges[exchange] else { continue };
            if node == id {
                self.end(exchange, Outcome::Lost);
            } else if is_sent == Some(id) {
                self.end(exchange, Outcome::Broken);
            }
        }
    }

    /// An exchange looks for an end.
    pub(super) fn go_on(&mut self, number: usize) {
        let Exchange { tunnel, slot, node: id, begun, is_sent, outcome, .. } = self.exchanges[number];
        let (token, now) = (self.tokens[tunnel], self.now);
        if outcome.is_some() {
            return;
        }
        if is_sent.is_some() {
            if now - begun >= PATIENCE {
                self.end(number, Outcome::Broken);
            }
            return;
        }
        let node = &mut self.nodes[slot];
        if now - begun >= HOLD || node.directory.standing(now) == Standing::Out {
            return self.end(number, Outcome::Refused);
        }
        // What came before the process stood still may be served by ends that have gone over to others.
        if !node.directory.is_awake(now) {
            return self.after(LOOKS_AGAIN, Event::Visit(number));
        }
        if let Some(client) = node.ends(&token).last().copied() {
            self.exchanges[number].emitted += 1;
            return self.end(number, Outcome::Answered(client));
        }
        match node.directory.lookup(&token, now) {
            Lookup::Ask => {
                let asking = node.asking.entry(token).or_default();
                asking.push(number);
                if asking.len() == 1 {
                    self.call(slot, Call::Locate(token));
                }
            }
            Lookup::Known(located) => match place(&located).filter(|owner| *owner != id) {
                Some(to) if self.exchanges[number].tries < TRIES => self.send(number, to),
                Some(_) | None => self.after(LOOKS_AGAIN, Event::Visit(number)),
            },
        }
    }

    /// The store has said where a tunnel is, or has not.
    pub(super) fn found(&mut self, slot: usize, token: &Token) {
        let asking = self.nodes[slot].asking.remove(token).unwrap_or_default();
        let is_known = self.nodes[slot].directory.lookup(token, self.now) != Lookup::Ask;
        for number in asking {
            let later = if is_known { Duration::ZERO } else { LOOKS_AGAIN };
            self.after(later, Event::Visit(number));
        }
    }

    fn send(&mut self, number: usize, to: NodeId) {
        let exchange = &mut self.exchanges[number];
        exchange.tries += 1;
        exchange.is_sent = Some(to);
        let left = PATIENCE.saturating_sub(self.now - exchange.begun);
        self.after(Duration::from_millis(1), Event::Hop { exchange: number, to });
        self.after(SLOW, Event::Slow { exchange: number, to });
        self.after(left, Event::Visit(number));
    }

    /// An exchange arrives at another node.
    pub(super) fn hop(&mut self, number: usize, to: NodeId) {
        let Exchange { tunnel, slot, is_sent, outcome, .. } = self.exchanges[number];
        if outcome.is_some() || is_sent != Some(to) {
            return;
        }
        let (token, now) = (self.tokens[tunnel], self.now);
        let Some(other) = self.slot_of(to) else {
            self.nodes[slot].directory.refused(to, now);
            return self.come_back_from(number);
        };
        let node = &mut self.nodes[other];
        if !node.directory.is_awake(now) {
            return self.end(number, Outcome::Broken);
        }
        if node.directory.standing(now) != Standing::Out
            && let Some(client) = node.ends(&token).last().copied()
        {
            self.exchanges[number].emitted += 1;
            return self.end(number, Outcome::Answered(client));
        }
        node.directory.note_absent(now, &token);
        self.nodes[slot].directory.misled(&token);
        self.come_back_from(number);
    }

    /// An exchange was not taken by another node: it looks again.
    fn come_back_from(&mut self, number: usize) {
        let exchange = &mut self.exchanges[number];
        exchange.is_sent = None;
        let later = if exchange.tries < TRIES { Duration::from_millis(1) } else { LOOKS_AGAIN };
        // Whoever waits has its tries anew.
        exchange.tries %= TRIES;
        self.after(later, Event::Visit(number));
    }

    /// The head of a response is late.
    pub(super) fn slow(&mut self, number: usize, to: NodeId) {
        let Exchange { slot, is_sent, outcome, .. } = self.exchanges[number];
        if outcome.is_none() && is_sent == Some(to) && self.nodes[slot].directory.note_slow(to, self.now) {
            self.after(Duration::from_millis(1), Event::Ping { from: slot, to });
        }
    }
}

/// Returns the node that an exchange is to go to.
fn place(located: &Located) -> Option<NodeId> {
    let holder = located.holders.first().map(|(peer, _)| peer);
    holder.or(located.owner.as_ref()).map(|peer| peer.node)
}
