//! What must hold after a while of quiet.

use std::collections::BTreeMap;
use std::time::Duration;

use super::exchange::Outcome;
use super::{NODES, World};
use crate::cluster::directory::Standing;
use crate::proto::node::NodeId;
use crate::store::{Ends, Peer};

/// Returns what a node says of itself.
fn as_said(peer: &Peer) -> Peer {
    Peer { lease: Duration::ZERO, ..peer.clone() }
}

impl World {
    pub(super) fn check(&mut self) {
        for slot in 0..NODES {
            let (now, node) = (self.now, &mut self.nodes[slot]);
            assert_eq!(node.directory.standing(now), Standing::Member, "each node has its lease");
            assert!(node.directory.is_awake(now));
            let me = as_said(node.directory.me());
            let mut table: Vec<Peer> = node.directory.peers().iter().map(as_said).chain([me]).collect();
            table.sort_unstable_by_key(|peer| peer.node);
            assert_eq!(
                table,
                self.store.table().iter().map(as_said).collect::<Vec<_>>(),
                "each node has the store's table"
            );
            assert_eq!(table.len(), NODES, "each node knows the others");
            assert!(!node.directory.is_unsure(now), "what was lost is announced");
        }
        self.check_exchanges();
        // A node that is asked for a tunnel which it has left long ago says so to the store.
        for _ in 0..NODES {
            self.check_visits();
        }
        for tunnel in 0..self.tokens.len() {
            self.check_tunnel(tunnel);
        }
    }

    /// All ends of a tunnel are where the store says.
    fn check_tunnel(&mut self, tunnel: usize) {
        let token = self.tokens[tunnel];
        let held: BTreeMap<NodeId, usize> =
            self.nodes.iter().map(|node| (node.id(), node.ends(&token).len())).filter(|(_, ends)| *ends > 0).collect();
        let located = self.store.locate(&token);
        let connected = self.clients.iter().filter(|client| client.tunnel == tunnel && client.at.is_some()).count();
        assert_eq!(held.values().sum::<usize>(), connected, "nodes and clients know the same ends");
        let waiting = self.clients.iter().filter(|client| client.tunnel == tunnel && !client.is_gone).count();
        assert_eq!(waiting, connected, "each client that stays is connected");
        let was_used = self.clients.iter().any(|client| client.tunnel == tunnel);
        assert!(connected > 0 || !was_used || self.was_left[tunnel], "the newest end stays");
        for node in &self.nodes {
            assert_eq!(node.directory.epoch(&token).is_some(), held.contains_key(&node.id()), "claims are for ends");
        }
        match located.which {
            Ends::Newest => {
                assert!(connected <= 1, "one end stays: {held:?}");
                let owner = located.owner.map(|owner| owner.node);
                assert!(held.keys().all(|node| Some(*node) == owner), "{held:?} hold what is {owner:?}'s");
                let believed = self.nodes.iter().find_map(|node| node.directory.epoch(&token));
                assert!(believed.is_none_or(|epoch| epoch == located.epoch), "{believed:?}: {}", located.epoch);
            }
            Ends::Spread => {
                let known: BTreeMap<NodeId, usize> =
                    located.holders.iter().map(|(peer, ends)| (peer.node, *ends)).collect();
                assert_eq!(known, held, "the store knows who shares");
            }
        }
    }

    fn check_exchanges(&self) {
        for exchange in &self.exchanges {
            assert!(exchange.outcome.is_some(), "an exchange has no outcome: {exchange:?}");
            let was_answered = matches!(exchange.outcome, Some(Outcome::Answered(_)));
            assert_eq!(exchange.emitted, usize::from(was_answered), "an end gets an exchange once");
        }
    }

    /// Visitors get an answer of an end that is connected, wherever they arrive.
    fn check_visits(&mut self) {
        let before = self.exchanges.len();
        for tunnel in 0..self.tokens.len() {
            for slot in 0..NODES {
                self.visit(tunnel, slot);
            }
        }
        self.pass(Duration::from_secs(11));
        for exchange in &self.exchanges[before..] {
            let is_there = self.clients.iter().any(|client| client.tunnel == exchange.tunnel && client.at.is_some());
            match exchange.outcome {
                Some(Outcome::Answered(client)) => assert!(self.clients[client].at.is_some(), "{exchange:?}"),
                Some(Outcome::Refused) => assert!(!is_there, "{exchange:?}"),
                Some(Outcome::Broken | Outcome::Lost) | None => panic!("{exchange:?}"),
            }
        }
    }
}
