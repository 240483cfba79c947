//! The cluster: nodes with the product's own directories, ends that join, and what nodes tell each other.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use socket2me::cluster::directory::{Directory, Effect, Standing};
use socket2me::proto::key::{Key, KeyHash};
use socket2me::proto::node::NodeId;
use socket2me::proto::time::Instant;
use socket2me::proto::token::Token;
use socket2me::store::{Claim, Claimed, Keyed, Pace, Peer, Record, Renewed, Settings, Written};

use crate::random::Random;
use crate::redis::{Costs, Redis};

pub const SECOND: u64 = 1_000_000;
/// How often a node looks whether Redis is the one that it was, and what is blocked.
const LOOKS_EVERY: [u64; 2] = [2 * SECOND, 5 * SECOND];
/// How long a message takes from one node to another.
const HOP: u64 = 1_000;
/// A tunnel without an end.
pub const NOWHERE: u32 = u32::MAX;
/// A day in 2026, in µs since 1970: the store keeps times.
pub const START: u64 = 1_790_000_000 * SECOND;

/// A process, which gets a new id when it is started again.
pub struct Node {
    pub directory: Directory,
    pub is_alive: bool,
    pub is_draining: bool,
    /// When it acts next.
    due: u64,
    /// Redis has lost writes of it, as it said last.
    pub has_lost: bool,
    /// Tunnels to be written again, as `relay/tunnels/restoring.rs` does it: how many of a batch are under way, whether one of it has
    /// failed, and when it began.
    pub to_restore: Vec<u32>,
    pace: Pace,
    restoring: usize,
    has_failed: bool,
    begun: u64,
    pub is_restoring: bool,
}

pub enum Event {
    Act(u32),
    Look(u32, u64),
    Join(u32),
    Renewed(u32, NodeId, u64, Option<Box<Renewed>>),
    Claimed { slot: u32, id: NodeId, tunnel: u32, claim: Box<Claim>, made: Option<Box<Option<Claimed>>> },
    Left(u32, NodeId, Token, u64, Option<Written>),
    Told(u32, NodeId, Box<str>),
    Pong { slot: u32, id: NodeId, of: NodeId, has_lease: bool },
    Restore(u32),
    Restored(u32, u32, bool),
}

/// What is counted beside the calls of Redis.
#[derive(Default)]
pub struct Told {
    /// Messages that a claim left in inboxes, and those that went directly.
    pub inbox: u64,
    pub direct: u64,
    pub pings: u64,
    /// Ends that were refused, because their node had no lease or Redis did not answer.
    pub refused: u64,
}

/// The cluster. Times are in µs since 1970.
pub struct World {
    pub now: u64,
    pub redis: Redis,
    pub nodes: Vec<Node>,
    /// At which node the end of each tunnel is.
    pub ends: Vec<u32>,
    pub random: Random,
    pub told: Told,
    /// Ends that are to join.
    pub joining: u64,
    pub slots: HashMap<NodeId, u32>,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: HashMap<u64, Event>,
    number: u64,
    started: u64,
    key: KeyHash,
}

pub fn token(tunnel: u32) -> Token {
    Token::from_name(&format!("tunnel-{tunnel}")).expect("a name")
}

fn tunnel(token: &Token) -> u32 {
    token.as_str().trim_start_matches("tunnel-").parse().expect("a tunnel of ours")
}

pub fn at(now: u64) -> Instant {
    Instant::after_origin(Duration::from_micros(now - START))
}

impl World {
    pub fn new(nodes: u32, costs: Costs) -> Self {
        let mut world = Self {
            now: START,
            redis: Redis::new(costs),
            nodes: Vec::new(),
            ends: Vec::new(),
            random: Random::new(19),
            told: Told::default(),
            joining: 0,
            slots: HashMap::new(),
            queue: BinaryHeap::new(),
            events: HashMap::new(),
            number: 0,
            started: 0,
            key: Key::from_random([7; 32]).hash(),
        };
        world.redis.store.clock = START;
        for slot in 0..nodes {
            let node = world.node();
            world.slots.insert(node.directory.node(), slot);
            world.nodes.push(node);
            let later = world.random.below(2 * SECOND);
            world.after(later, Event::Act(slot));
            world.nodes[slot as usize].due = world.now + later;
            LOOKS_EVERY.into_iter().for_each(|every| world.after(later, Event::Look(slot, every)));
        }
        world
    }

    pub fn node(&mut self) -> Node {
        self.started += 1;
        let [.., a, b, c, d] = self.started.to_be_bytes();
        let me = Peer {
            node: NodeId::from_random([7, a, b, c, d, 7]),
            advertise: "http://10.123.123.123:7000".into(),
            label: "node-1234".into(),
            version: "0.1.0".into(),
            is_draining: false,
            lease: Duration::ZERO,
        };
        Node {
            directory: Directory::new(me, at(self.now)),
            is_alive: true,
            is_draining: false,
            due: self.now,
            has_lost: false,
            to_restore: Vec::new(),
            pace: Pace::new(self.started),
            restoring: 0,
            has_failed: false,
            begun: 0,
            is_restoring: false,
        }
    }

    fn record(&self) -> Record {
        let keyed = Keyed { key: self.key, settings: Settings::default(), rules: None, was_joined: true };
        Record { made_at: START / SECOND, made_by: None, keyed: Some(Box::new(keyed)) }
    }

    /// Makes tunnels, each with an end at some node but for a tenth of them, in no time.
    pub fn fill(&mut self, tunnels: u32) {
        let (record, life) = (self.record(), Settings::default().ttl);
        for tunnel in 0..tunnels {
            let (token, slot) = (token(tunnel), self.random.below(self.nodes.len() as u64) as usize);
            self.redis.store.create(token, record.clone(), life);
            self.ends.push(NOWHERE);
            if tunnel % 10 == 7 {
                continue;
            }
            self.redis.store.clock += 1;
            let directory = &mut self.nodes[slot].directory;
            let claim = directory.claim(token, 1, 0);
            let Ok(Some(claimed)) = self.redis.store.claim(&token, &claim) else { panic!("no claim") };
            assert_eq!(directory.claimed(at(self.now), token, &claim, &claimed), None);
            self.ends[tunnel as usize] = slot as u32;
        }
    }

    pub fn after(&mut self, later: u64, event: Event) {
        self.at(self.now + later, event);
    }

    fn at(&mut self, time: u64, event: Event) {
        self.number += 1;
        self.queue.push(Reverse((time, self.number)));
        self.events.insert(self.number, event);
    }

    /// Lets time pass.
    pub fn pass(&mut self, until: u64) {
        while let Some(Reverse((time, number))) = self.queue.peek().copied().filter(|Reverse((time, _))| *time <= until)
        {
            self.queue.pop();
            self.now = time;
            let event = self.events.remove(&number).expect("each event is there once");
            self.happen(event);
        }
        self.now = until;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Act(slot) => self.act(slot),
            Event::Look(slot, every) => {
                if self.nodes[slot as usize].is_alive {
                    self.redis.call(self.now, |_, _| Ok(()), |costs, ()| costs.other());
                }
                self.after(every, Event::Look(slot, every));
            }
            Event::Join(tunnel) => self.join(tunnel),
            Event::Renewed(slot, id, sent, renewed) => self.renewed(slot, id, sent, renewed.as_deref()),
            Event::Claimed { slot, id, tunnel, claim, made } => {
                self.claimed((slot, id), tunnel, &claim, made.map(|made| *made));
            }
            Event::Left(slot, id, token, epoch, written) => {
                let now = at(self.now);
                if let Some(node) = self.living(slot, id) {
                    node.directory.left(now, token, epoch, written);
                }
            }
            Event::Told(slot, id, text) => {
                let now = at(self.now);
                let effect = self.living(slot, id).and_then(|node| node.directory.told(now, &text));
                self.take_up(slot, effect.as_ref());
            }
            Event::Pong { slot, id, of, has_lease } => {
                let now = at(self.now);
                if let Some(node) = self.living(slot, id) {
                    node.directory.answered(of, has_lease, now);
                }
            }
            Event::Restore(slot) => self.restore(slot),
            Event::Restored(slot, tunnel, is_done) => self.restored(slot, tunnel, is_done),
        }
    }

    fn living(&mut self, slot: u32, id: NodeId) -> Option<&mut Node> {
        Some(&mut self.nodes[slot as usize]).filter(|node| node.is_alive && node.directory.node() == id)
    }

    /// A node does what is due.
    fn act(&mut self, slot: u32) {
        let (now, until) = (at(self.now), (self.now + SECOND / 2) / 1_000);
        let node = &mut self.nodes[slot as usize];
        if !node.is_alive || node.due != self.now {
            return;
        }
        node.due = u64::MAX;
        let id = node.directory.node();
        node.directory.is_awake(now);
        let renewal = node.directory.is_renewal_due(now).then(|| node.directory.renewal(now));
        let (leaves, seen) = (node.directory.leaves(now), node.directory.seen());
        let announced = node.directory.announce(now, until);
        let pings = node.directory.pings(now);
        if let Some(renewal) = renewal {
            let (renewed, then) =
                self.redis.call(self.now, |store, until| store.renew(&renewal, until), Costs::renewal);
            self.redis.counts.rows += renewed.as_ref().map_or(0, |renewed| renewed.table.rows()) as u64;
            self.at(then, Event::Renewed(slot, id, self.now, renewed.map(Box::new)));
        }
        for (token, epoch) in leaves {
            let script = |store: &mut _, until| socket2me::fuzzing::Store::leave(store, &token, id, epoch, seen, until);
            let (written, then) = self.redis.call(self.now, script, |costs, _| costs.other());
            self.at(then, Event::Left(slot, id, token, epoch, written));
        }
        announced.into_iter().for_each(|(token, claim)| self.claim(slot, tunnel(&token), claim));
        for of in pings {
            self.told.pings += 1;
            let other = self.slots.get(&of).map(|slot| &self.nodes[*slot as usize]);
            match other.filter(|other| other.is_alive && other.directory.node() == of) {
                Some(other) => {
                    let has_lease = other.directory.standing(now) == Standing::Member;
                    self.after(2 * HOP, Event::Pong { slot, id, of, has_lease });
                }
                None => self.nodes[slot as usize].directory.refused(of, now),
            }
        }
        self.wake(slot);
    }

    /// Has a node act when something is due.
    pub fn wake(&mut self, slot: u32) {
        let node = &self.nodes[slot as usize];
        let Some(next) = node.directory.next().filter(|_| node.is_alive) else { return };
        let next = (START + next.since_origin().as_micros() as u64).max(self.now + 1_000);
        if next < node.due {
            self.nodes[slot as usize].due = next;
            self.at(next, Event::Act(slot));
        }
    }

    fn claim(&mut self, slot: u32, tunnel: u32, claim: Claim) {
        let (token, id) = (token(tunnel), self.nodes[slot as usize].directory.node());
        let (made, then) =
            self.redis.call(self.now, |store, _| store.claim(&token, &claim), |costs, made| costs.claim(made.as_ref()));
        self.at(then, Event::Claimed { slot, id, tunnel, claim: Box::new(claim), made: made.map(Box::new) });
    }

    /// An end joins some node.
    fn join(&mut self, tunnel: u32) {
        let slot = loop {
            let slot = self.random.below(self.nodes.len() as u64) as u32;
            let node = &self.nodes[slot as usize];
            if node.is_alive && !node.is_draining {
                break slot;
            }
        };
        let (now, until) = (at(self.now), (self.now + SECOND / 2) / 1_000);
        let directory = &mut self.nodes[slot as usize].directory;
        if directory.standing(now) != Standing::Member {
            return self.come_back(tunnel);
        }
        let claim = directory.claim(token(tunnel), 1, until);
        self.claim(slot, tunnel, claim);
    }

    /// An end that was refused tries again, as clients of Socket.IO do.
    fn come_back(&mut self, tunnel: u32) {
        self.told.refused += 1;
        let later = SECOND + self.random.below(4 * SECOND);
        self.after(later, Event::Join(tunnel));
    }

    fn claimed(&mut self, (slot, id): (u32, NodeId), tunnel: u32, claim: &Claim, made: Option<Option<Claimed>>) {
        let (now, token, is_join) = (at(self.now), token(tunnel), claim.again.is_none());
        let Some(node) = self.living(slot, id) else {
            if is_join {
                self.come_back(tunnel);
            }
            return;
        };
        // That there is no such tunnel is not believed of a Redis that has lost its data.
        let Some(claimed) = made.flatten() else {
            node.directory.claim_failed(now, token, claim);
            self.wake(slot);
            if is_join {
                self.come_back(tunnel);
            }
            return;
        };
        let effect = node.directory.claimed(now, token, claim, &claimed);
        self.wake(slot);
        self.told.inbox += claimed.others.len() as u64;
        if is_join {
            self.joining -= 1;
            self.ends[tunnel as usize] = slot;
            for other in &claimed.others {
                self.told.direct += 1;
                let text = format!("evict {token} {}", claimed.epoch).into();
                let other_slot = self.slots[&other.node];
                self.after(HOP, Event::Told(other_slot, other.node, text));
            }
        }
        self.take_up(slot, effect.as_ref());
    }

    fn renewed(&mut self, slot: u32, id: NodeId, sent: u64, renewed: Option<&Renewed>) {
        let now = at(self.now);
        let Some(node) = self.living(slot, id) else { return };
        let Some(renewed) = renewed else {
            node.directory.failed(now);
            return self.wake(slot);
        };
        let effects = node.directory.renewed(now, renewed, at(sent));
        node.has_lost = renewed.written.lost.is_some();
        if node.has_lost && !node.is_restoring && !node.to_restore.is_empty() {
            node.is_restoring = true;
            self.restore(slot);
        }
        effects.iter().for_each(|effect| self.take_up(slot, Some(effect)));
        self.wake(slot);
    }

    /// An end whose tunnel another node has claimed leaves. In the model it has gone there itself.
    fn take_up(&mut self, slot: u32, effect: Option<&Effect>) {
        if let Some(Effect::Evicted(token, _)) = effect {
            assert_ne!(self.ends[tunnel(token) as usize], slot, "an end was evicted by nobody");
        }
    }

    fn restore(&mut self, slot: u32) {
        let node = &mut self.nodes[slot as usize];
        let batch = node.to_restore.split_off(node.to_restore.len().saturating_sub(node.pace.at_once()));
        node.restoring = batch.len();
        node.begun = self.now;
        node.is_restoring = !batch.is_empty();
        batch.into_iter().for_each(|tunnel| self.restore_one(slot, tunnel));
    }

    fn restore_one(&mut self, slot: u32, tunnel: u32) {
        let (record, life) = (self.record(), Settings::default().ttl);
        let script = |store: &mut socket2me::fuzzing::Store, until: u64| {
            if store.now() > until {
                Err(socket2me::fuzzing::Late)
            } else {
                Ok(store.create(token(tunnel), record, life))
            }
        };
        let (made, then) = self.redis.call(self.now, script, |costs, _| costs.restore());
        self.at(then, Event::Restored(slot, tunnel, made.is_some()));
    }

    fn restored(&mut self, slot: u32, tunnel: u32, is_done: bool) {
        let node = &mut self.nodes[slot as usize];
        if is_done {
            node.pace.succeeded();
        } else {
            node.to_restore.push(tunnel);
            node.has_failed = true;
        }
        node.restoring -= 1;
        if node.restoring == 0 {
            let failed = std::mem::take(&mut node.has_failed);
            let pause = if failed { node.pace.failed().as_micros() as u64 } else { 0 };
            let next = (self.now + pause).max(node.begun + Pace::EVERY.as_micros() as u64);
            self.at(next, Event::Restore(slot));
        }
    }
}
