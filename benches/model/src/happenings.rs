//! What happens to the cluster, and what it has come to.

use std::collections::HashSet;

use socket2me::proto::node::NodeId;

use crate::redis::Costs;
use crate::world::{Event, NOWHERE, Node, SECOND, World, at, token};

impl World {
    /// Returns the tunnels whose ends are at a node.
    fn ends_at(&self, slot: u32) -> Vec<u32> {
        (0..self.ends.len() as u32).filter(|tunnel| self.ends[*tunnel as usize] == slot).collect()
    }

    fn send_on(&mut self, tunnels: &[u32], at_least: u64, over: u64) {
        self.joining += tunnels.len() as u64;
        for tunnel in tunnels {
            let later = at_least + self.random.below(over);
            self.after(later, Event::Join(*tunnel));
        }
    }

    /// A process dies. Its ends notice that at once, and come back over some time.
    pub fn kill(&mut self, slot: u32, over: u64) {
        self.nodes[slot as usize].is_alive = false;
        let tunnels = self.ends_at(slot);
        self.send_on(&tunnels, SECOND / 2, over);
    }

    /// A node is about to stop: its ends leave over some time.
    pub fn drain(&mut self, slot: u32, over: u64) {
        let now = at(self.now);
        let tunnels = self.ends_at(slot);
        let node = &mut self.nodes[slot as usize];
        node.is_draining = true;
        node.directory.drain(now);
        tunnels.iter().for_each(|tunnel| node.directory.has_ends(&token(*tunnel), 0));
        self.wake(slot);
        self.send_on(&tunnels, 100_000, over);
    }

    /// A node that has drained stops.
    pub fn stop(&mut self, slot: u32) {
        let now = at(self.now);
        let node = &mut self.nodes[slot as usize];
        let farewell = node.directory.farewell(now);
        node.is_alive = false;
        self.redis.call(self.now, |store, until| store.renew(&farewell, until), Costs::renewal);
    }

    /// A process is started again.
    pub fn start(&mut self, slot: u32) {
        let node = self.node();
        self.slots.insert(node.directory.node(), slot);
        self.nodes[slot as usize] = node;
        self.after(0, Event::Act(slot));
    }

    /// Redis comes back empty.
    pub fn empty(&mut self) {
        self.redis.lose_all();
        self.nodes.iter_mut().for_each(|node| node.has_lost = true);
        for tunnel in 0..self.ends.len() as u32 {
            let slot = self.ends[tunnel as usize];
            if slot != NOWHERE {
                self.nodes[slot as usize].to_restore.push(tunnel);
            }
        }
    }

    /// Says what is not well yet.
    pub fn left(&self) -> String {
        let lacking = self.nodes.iter().filter(|node| node.has_lost).count();
        let to_restore: usize = self.nodes.iter().map(|node| node.to_restore.len()).sum();
        format!("{} ends wait, {lacking} nodes miss claims, {to_restore} tunnels are to be written", self.joining)
    }

    /// Tells whether all ends have joined, each node knows which nodes live, and Redis has all again that it had lost.
    pub fn has_converged(&self) -> bool {
        let is_busy =
            |node: &Node| node.is_alive && (node.has_lost || node.is_restoring || !node.to_restore.is_empty());
        if self.joining > 0 || self.nodes.iter().any(is_busy) {
            return false;
        }
        let living = self.nodes.iter().filter(|node| node.is_alive);
        let ids: HashSet<NodeId> = living.clone().map(|node| node.directory.node()).collect();
        living.clone().all(|node| {
            let peers = node.directory.peers();
            peers.len() + 1 == ids.len() && peers.iter().all(|peer| ids.contains(&peer.node))
        })
    }

    /// Returns how many of some tunnels are not where the store says.
    pub fn misplaced(&mut self, count: u64) -> u64 {
        self.redis.store.clock = self.redis.store.clock.max(self.now);
        let mut misplaced = 0;
        if self.ends.is_empty() {
            return 0;
        }
        for _ in 0..count {
            let tunnel = self.random.below(self.ends.len() as u64) as u32;
            let end = self.ends[tunnel as usize];
            if end != NOWHERE {
                let owner = self.redis.store.locate(&token(tunnel)).owner.map(|owner| owner.node);
                misplaced += u64::from(owner != Some(self.nodes[end as usize].directory.node()));
            }
        }
        misplaced
    }
}
