//! Three nodes over a store, whose calls and answers are lost or late, with nodes that die, stand still and are cut off, and a store
//! that forgets its last writes and whose clock is set.
//!
//! After a while of quiet, each node has the store's table of nodes, all nodes believe in one owner of each tunnel, nobody holds an end that was evicted, an end that stays is
//! connected, and the store knows who shares what. No node claims with an epoch that is not above all it has seen. Each exchange has
//! one outcome, and is handed to one end at the most.
//!
//! - this file: the world and what happens to it; `event`: what is to happen; `network`: what is on its way, and time
//! - `node`: a node with its directory; `driving`: what it does
//! - `exchange`: an exchange; `visits`: where exchanges go; `checks`: what must hold
//! - `store`: the store, which does what the scripts in Redis do; a test compares the two

mod checks;
mod driving;
mod event;
mod exchange;
mod network;
mod node;
mod store;
#[cfg(test)]
mod tests;
mod visits;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use self::event::{Call, Event};
use self::exchange::Exchange;
use self::node::Node;
pub use self::store::{Late, Store};
use super::input::Input;
use crate::proto::key::{Key, KeyHash};
use crate::proto::time::Instant;
use crate::proto::token::Token;
use crate::store::{By, Change, Ends, Keyed, Patch, Record, Settings};

const NODES: usize = 3;
const TUNNELS: usize = 3;

/// The tunnel whose ends share the requests at first.
const SHARED: usize = 2;

/// The most steps of a run, and the most time that its faults take.
const MOST_STEPS: usize = 300;
const LONGEST: Duration = Duration::from_secs(180);

/// How long nothing happens before all must be well.
const QUIET: Duration = Duration::from_secs(90);

/// Time between two states of the store that it may fall back to, and how many there are.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(300);
const SNAPSHOTS: usize = 6;

/// Runs a cluster as the input says, leaves it alone, and checks it.
pub fn cluster(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new();
    world.pass(Duration::from_millis(100));
    let mut steps = 0;
    while !input.is_empty() && steps < MOST_STEPS && world.now.since_origin() < LONGEST {
        world.step(&mut input);
        steps += 1;
    }
    world.calm();
    world.pass(QUIET);
    world.check();
}

/// A program that is the end of a tunnel.
#[derive(Debug)]
struct Client {
    tunnel: usize,
    /// The node that it is connected to.
    at: Option<(usize, crate::proto::node::NodeId)>,
    /// It was told that another end has taken its place, or has left for good: it does not come back.
    is_gone: bool,
}

struct World {
    now: Instant,
    tokens: [Token; TUNNELS],
    store: Store,
    /// States of the store before this one, the oldest first.
    snapshots: VecDeque<Store>,
    snapshot_due: Instant,
    nodes: Vec<Node>,
    /// How many nodes were ever started.
    started: u32,
    events: BTreeMap<(Instant, u64), Event>,
    next: u64,
    clients: Vec<Client>,
    exchanges: Vec<Exchange>,
    /// How many answers of the store are lost next, and how long the next calls take to it.
    losses: u8,
    delays: VecDeque<Duration>,
    was_set_back: bool,
    /// An end of this tunnel has left for good of its own accord.
    was_left: [bool; TUNNELS],
}

impl World {
    fn new() -> Self {
        let tokens = [1, 2, 3].map(|number| Token::from_uuid(uuid::Uuid::from_u128(number)));
        let mut store = Store::default();
        store.clock = 1_700_000_000_000_000;
        for (tunnel, token) in tokens.iter().enumerate() {
            let ends = if tunnel == SHARED { Ends::Spread } else { Ends::Newest };
            store.create(*token, record(ends), Duration::from_secs(24 * 3600));
        }
        let mut world = Self {
            now: Instant::ORIGIN,
            tokens,
            store,
            snapshots: VecDeque::new(),
            snapshot_due: Instant::ORIGIN,
            nodes: Vec::new(),
            started: 0,
            events: BTreeMap::new(),
            next: 0,
            clients: Vec::new(),
            exchanges: Vec::new(),
            losses: 0,
            delays: VecDeque::new(),
            was_set_back: false,
            was_left: [false; TUNNELS],
        };
        for _ in 0..NODES {
            let node = world.start();
            world.nodes.push(node);
        }
        world
    }

    fn start(&mut self) -> Node {
        self.started += 1;
        Node::new(self.started, self.now)
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let (what, choice) = (input.byte() % 16, input.byte());
        let slot = usize::from(choice) % NODES;
        let tunnel = usize::from(choice >> 2) % TUNNELS;
        let long = |unit: u64| Duration::from_millis(unit * (1 + u64::from(choice >> 2)));
        match what {
            0..=2 => self.join(tunnel, slot),
            3 => self.leave(usize::from(choice)),
            4 | 5 => self.visit(tunnel, slot),
            6 => self.kill(slot, long(100)),
            7 => self.stop(slot, long(500)),
            8 => self.cut(slot, long(250)),
            9 => self.losses = choice % 8,
            // A clock that was set back makes late calls timely. That both happen is more than can be mended.
            10 if !self.was_set_back => self.delays.extend((0..1 + choice % 4).map(|_| long(50))),
            11 => self.fall_back(usize::from(choice) % SNAPSHOTS),
            12 => self.set_clock(choice),
            13 => self.set_ends(tunnel, slot, choice >= 128),
            14 => drop(self.store.crowd()),
            _ => self.pass(Duration::from_millis(1 << (choice % 14))),
        }
    }

    /// Another client opens a tunnel.
    fn join(&mut self, tunnel: usize, slot: usize) {
        let client = self.clients.len();
        self.clients.push(Client { tunnel, at: None, is_gone: false });
        self.after(Duration::from_millis(1), Event::Join(client, slot));
    }

    /// A client leaves for good.
    fn leave(&mut self, choice: usize) {
        let staying: Vec<usize> = (0..self.clients.len()).filter(|client| !self.clients[*client].is_gone).collect();
        let Some(client) = staying.get(choice % staying.len().max(1)).copied() else { return };
        self.was_left[self.clients[client].tunnel] = true;
        self.clients[client].is_gone = true;
        if let Some((slot, node)) = self.clients[client].at.take() {
            self.after(Duration::from_millis(1), Event::Hangup(client, slot, node));
        }
    }

    /// A node dies, and another process takes its place after a while.
    fn kill(&mut self, slot: usize, time: Duration) {
        if !self.nodes[slot].is_alive {
            return;
        }
        self.nodes[slot].is_alive = false;
        let id = self.nodes[slot].id();
        for (client, of) in self.clients.iter_mut().enumerate() {
            if of.at.is_some_and(|(_, node)| node == id) {
                of.at = None;
                self.events.insert((self.now + Duration::from_secs(1), self.next), Event::Join(client, slot + 1));
                self.next += 1;
            }
        }
        let calls = std::mem::take(&mut self.nodes[slot].calls);
        for (call, _) in calls.into_values() {
            if let Call::Claim(_, _, Some(client)) = call {
                self.after(Duration::from_secs(1), Event::Join(client, slot + 1));
            }
        }
        self.lose_visitors(id);
        self.after(time, Event::Start(slot, id));
    }

    fn stop(&mut self, slot: usize, time: Duration) {
        if !self.nodes[slot].runs() {
            return;
        }
        self.nodes[slot].is_stopped = true;
        let id = self.nodes[slot].id();
        // Clients notice by their heartbeat.
        for (client, of) in self.clients.iter().enumerate() {
            if of.at.is_some_and(|(_, node)| node == id) {
                self.events.insert((self.now + Duration::from_secs(20), self.next), Event::Missed(client, slot, id));
                self.next += 1;
            }
        }
        self.after(time, Event::Continue(slot, id));
    }

    fn cut(&mut self, slot: usize, time: Duration) {
        self.nodes[slot].is_cut = true;
        self.after(time, Event::Mend(slot));
    }

    /// Another copy of the store takes its place, that has not seen the last writes. Connections to the old one end.
    fn fall_back(&mut self, back: usize) {
        let Some(index) = self.snapshots.len().checked_sub(1 + back) else { return };
        let clock = self.store.clock;
        self.store = self.snapshots[index].clone();
        self.store.clock = clock;
        self.snapshots.truncate(index + 1);
        self.events.retain(|_, event| !matches!(event, Event::Request { .. }));
    }

    fn set_clock(&mut self, choice: u8) {
        let by = 1_000_000 * u64::from(choice & 127) * if choice & 3 == 0 { 100 } else { 1 };
        let clock = self.store.clock;
        self.store.clock = if choice >= 128 { clock + by } else { clock - by };
        if choice < 128 {
            self.was_set_back = true;
            self.delays.clear();
            self.events.retain(|_, event| !matches!(event, Event::Request { .. }));
        }
    }

    fn set_ends(&mut self, tunnel: usize, slot: usize, is_spread: bool) {
        if !self.nodes[slot].runs() || self.nodes[slot].is_cut {
            return;
        }
        let ends = if is_spread { Ends::Spread } else { Ends::Newest };
        let change = Change::Set(Patch { ends: Some(ends), ..Patch::default() });
        let token = self.tokens[tunnel];
        let node = self.nodes[slot].id();
        if self.store.change(&token, By::Key(hash()), &change, Some(node)).is_some() {
            self.nodes[slot].directory.changed(&token);
        }
    }

    /// Ends all faults.
    fn calm(&mut self) {
        (self.losses, self.delays) = (0, VecDeque::new());
        for slot in 0..NODES {
            let id = self.nodes[slot].id();
            self.after(Duration::ZERO, Event::Mend(slot));
            self.after(Duration::ZERO, Event::Start(slot, id));
            self.after(Duration::ZERO, Event::Continue(slot, id));
        }
    }
}

fn hash() -> KeyHash {
    Key::from_random([1; 32]).hash()
}

fn record(ends: Ends) -> Record {
    let settings = Settings { ends, ttl: Duration::from_secs(24 * 3600), ..Settings::default() };
    let keyed = Keyed { key: hash(), settings, rules: None, was_joined: true };
    Record { made_at: 1_700_000_000, made_by: None, keyed: Some(Box::new(keyed)) }
}
