//! What is on its way, and time.

use std::time::Duration;

use super::event::{Answer, Call, Event};
use super::node::CALL_TIMEOUT;
use super::{NODES, SNAPSHOT_EVERY, SNAPSHOTS, World};
use crate::proto::node::NodeId;
use crate::proto::time::Instant;

/// How long a message takes from one machine to another.
const WAY: Duration = Duration::from_millis(1);

impl World {
    pub(super) fn after(&mut self, time: Duration, event: Event) {
        self.events.insert((self.now + time, self.next), event);
        self.next += 1;
    }

    /// Returns the slot of a process that lives.
    pub(super) fn slot_of(&self, id: NodeId) -> Option<usize> {
        (0..NODES).find(|slot| self.nodes[*slot].is_alive && self.nodes[*slot].id() == id)
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut wakes = 0;
        loop {
            let event = self.events.keys().next().map(|(at, _)| *at);
            let waking = (0..NODES).filter(|slot| self.nodes[*slot].runs());
            let wake = waking.filter_map(|slot| Some((self.nodes[slot].directory.next()?, slot))).min();
            let (at, slot) = match (event, wake) {
                (Some(event), Some((wake, slot))) if wake < event => (wake, Some(slot)),
                (Some(event), _) => (event, None),
                (None, Some((wake, slot))) => (wake, Some(slot)),
                (None, None) => return self.move_to(end),
            };
            if at > end {
                return self.move_to(end);
            }
            wakes = if at > self.now { 0 } else { wakes + 1 };
            assert!(wakes < 10_000, "nothing is done at {:?} of what is due at {at:?}", self.now);
            self.move_to(at.max(self.now));
            match slot {
                Some(slot) => self.act(slot),
                None => {
                    if let Some((_, event)) = self.events.pop_first() {
                        self.happen(event);
                    }
                }
            }
        }
    }

    /// Moves the clocks, and keeps states of the store.
    fn move_to(&mut self, time: Instant) {
        while self.snapshot_due <= time {
            if self.snapshots.len() == SNAPSHOTS {
                self.snapshots.pop_front();
            }
            self.snapshots.push_back(self.store.clone());
            self.snapshot_due = self.snapshot_due + SNAPSHOT_EVERY;
        }
        self.store.clock += u64::try_from((time - self.now).as_micros()).unwrap_or(0);
        self.now = time;
    }

    /// Sends a call to the store. Without the store's time none can be sent.
    pub(super) fn call(&mut self, slot: usize, call: Call) {
        let delay = self.delays.pop_front().unwrap_or(WAY);
        let (id, number) = (self.nodes[slot].id(), self.next);
        self.nodes[slot].calls.insert(number, (call.clone(), self.now));
        let until = self.nodes[slot].until(self.now).unwrap_or(0);
        self.after(delay, Event::Request { slot, id, number, call, until });
        self.after(CALL_TIMEOUT, Event::Timeout(slot, id, number));
    }

    /// The store runs a call.
    pub(super) fn request(&mut self, slot: usize, id: NodeId, number: u64, call: &Call, until: u64) {
        let is_there = self.nodes[slot].id() == id;
        if is_there && self.nodes[slot].is_cut {
            return;
        }
        let answer = self.run(id, call, until);
        if self.losses > 0 {
            self.losses -= 1;
        } else {
            self.after(WAY, Event::Reply(slot, id, number, answer));
        }
    }

    fn run(&mut self, id: NodeId, call: &Call, until: u64) -> Answer {
        let late = Answer::Late(self.store.now());
        let store = &mut self.store;
        match call {
            Call::Renew(renewal) => store.renew(renewal, until).map(Answer::Renewed),
            Call::Claim(token, claim, _) => store.claim(token, claim).map(Answer::Claimed),
            Call::Leave(token, epoch, seen) => store.leave(token, id, *epoch, *seen, until).map(Answer::Left),
            Call::Locate(token) => Ok(Answer::Located(store.locate(token))),
        }
        .unwrap_or(late)
    }

    fn happen(&mut self, event: Event) {
        self.happens(event);
        (0..NODES).for_each(|slot| self.epochs_rise(slot));
    }

    fn happens(&mut self, event: Event) {
        // A process that stands still takes up nothing until it goes on.
        if let Some(slot) = self.receiver(&event)
            && self.nodes[slot].is_alive
            && self.nodes[slot].is_stopped
        {
            return self.nodes[slot].deferred.push_back(event);
        }
        match event {
            Event::Request { slot, id, number, call, until } => self.request(slot, id, number, &call, until),
            Event::Reply(slot, id, number, answer) => self.reply(slot, id, number, answer),
            Event::Timeout(slot, id, number) => self.time_out(slot, id, number),
            Event::Told(slot, id, message) => self.told(slot, id, &message),
            Event::Ping { from, to } => self.ping(from, to),
            Event::Pong { at, node, of, has_lease } => self.pong(at, node, of, has_lease),
            Event::Join(client, slot) => self.try_to_join(client, slot % NODES),
            Event::Hangup(client, slot, id) => self.hang_up(client, slot, id),
            Event::Missed(client, slot, id) => self.miss(client, slot, id),
            Event::Visit(exchange) => self.go_on(exchange),
            Event::Hop { exchange, to } => self.hop(exchange, to),
            Event::Slow { exchange, to } => self.slow(exchange, to),
            Event::Start(slot, id) => self.start_again(slot, id),
            Event::Continue(slot, id) => self.go_on_again(slot, id),
            Event::Mend(slot) => self.nodes[slot].is_cut = false,
        }
    }

    /// Returns the slot of the process that an event is for, if it is for one.
    fn receiver(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Reply(slot, id, ..)
            | Event::Timeout(slot, id, _)
            | Event::Told(slot, id, _)
            | Event::Hangup(_, slot, id)
            | Event::Pong { at: slot, node: id, .. } => (self.nodes[*slot].id() == *id).then_some(*slot),
            Event::Ping { to, .. } | Event::Hop { to, .. } => self.slot_of(*to),
            Event::Visit(exchange) | Event::Slow { exchange, .. } => self.slot_of(self.exchanges[*exchange].node),
            Event::Request { .. }
            | Event::Join(..)
            | Event::Missed(..)
            | Event::Start(..)
            | Event::Continue(..)
            | Event::Mend(_) => None,
        }
    }

    fn start_again(&mut self, slot: usize, id: NodeId) {
        if self.nodes[slot].id() == id && !self.nodes[slot].is_alive {
            let is_cut = self.nodes[slot].is_cut;
            self.nodes[slot] = self.start();
            self.nodes[slot].is_cut = is_cut;
        }
    }

    /// A process goes on, and finds what came meanwhile.
    fn go_on_again(&mut self, slot: usize, id: NodeId) {
        if self.nodes[slot].id() != id || !self.nodes[slot].runs() && !self.nodes[slot].is_stopped {
            return;
        }
        self.nodes[slot].is_stopped = false;
        if self.nodes[slot].is_alive {
            self.nodes[slot].directory.is_awake(self.now);
        }
        while let Some(event) = self.nodes[slot].deferred.pop_front() {
            self.happen(event);
        }
    }
}
