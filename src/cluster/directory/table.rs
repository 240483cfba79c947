//! The table of the other nodes.

use std::collections::VecDeque;

use crate::proto::node::NodeId;
use crate::store::{Peer, TableNews};

/// The most nodes with a lapsed lease that are remembered; beyond, the one that lapsed first is forgotten.
const MOST_LAPSED: usize = 64;

/// The other nodes that have a lease, as the store said last.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// The store's version of this table, 0 before it has told one.
    version: u64,
    /// In the order of their ids.
    peers: Vec<Peer>,
    /// Nodes whose leases have lapsed and that have not said that they stop, the latest last: they may have sessions still.
    lapsed: VecDeque<Peer>,
}

impl Table {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// Returns a node, if it is in the table.
    pub(super) fn find(&self, node: NodeId) -> Option<&Peer> {
        self.place(node).ok().map(|place| &self.peers[place])
    }

    /// Returns a node that may have sessions: one of the table, or one whose lease has lapsed.
    pub(super) fn find_or_lapsed(&self, node: NodeId) -> Option<&Peer> {
        self.find(node).or_else(|| self.lapsed.iter().find(|peer| peer.node == node))
    }

    fn place(&self, node: NodeId) -> Result<usize, usize> {
        self.peers.binary_search_by_key(&node, |peer| peer.node)
    }

    /// Takes up what is new. Returns the nodes that are gone; `me` is in no table of its own.
    pub(super) fn take_up(&mut self, version: u64, news: &TableNews, me: NodeId) -> Vec<NodeId> {
        self.version = version;
        let gone: Vec<Peer> = match news {
            TableNews::Same => Vec::new(),
            TableNews::Whole(peers) => {
                let mut others: Vec<Peer> = peers.iter().filter(|peer| peer.node != me).cloned().collect();
                others.sort_unstable_by_key(|peer| peer.node);
                let before = std::mem::replace(&mut self.peers, others);
                before.into_iter().filter(|peer| self.find(peer.node).is_none()).collect()
            }
            TableNews::Changes { peers, gone } => {
                for peer in peers.iter().filter(|peer| peer.node != me) {
                    match self.place(peer.node) {
                        Ok(place) => self.peers[place] = peer.clone(),
                        Err(place) => self.peers.insert(place, peer.clone()),
                    }
                }
                self.peers.extract_if(.., |peer| gone.contains(&peer.node)).collect()
            }
        };
        let ids = gone.iter().map(|peer| peer.node).collect();
        // None twice, and none that lives or that has come back and stopped.
        self.lapsed.retain(|peer| {
            self.peers.binary_search_by_key(&peer.node, |peer| peer.node).is_err()
                && !gone.iter().any(|gone| gone.node == peer.node)
        });
        self.lapsed.extend(gone.into_iter().filter(|peer| !peer.is_draining));
        self.lapsed.drain(..self.lapsed.len().saturating_sub(MOST_LAPSED));
        ids
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn id(number: u8) -> NodeId {
        NodeId::from_random([number; 6])
    }

    fn peer(number: u8, label: &str) -> Peer {
        Peer {
            node: id(number),
            advertise: "http://a:1".into(),
            label: label.into(),
            version: "0.2.0".into(),
            is_draining: false,
            lease: Duration::ZERO,
        }
    }

    #[test]
    fn changes_make_the_same_table_as_the_whole() {
        let mut table = Table::default();
        let whole = TableNews::Whole(vec![peer(3, "c"), peer(1, "me"), peer(2, "b"), peer(5, "e")]);
        assert_eq!(table.take_up(7, &whole, id(1)), []);
        assert_eq!((table.version(), table.peers()), (7, [peer(2, "b"), peer(3, "c"), peer(5, "e")].as_slice()));
        assert_eq!(table.take_up(7, &TableNews::Same, id(1)), []);
        let changes = TableNews::Changes {
            peers: vec![peer(5, "five"), peer(4, "d"), peer(1, "me again")],
            gone: vec![id(3), id(9)],
        };
        assert_eq!(table.take_up(8, &changes, id(1)), [id(3)]);
        let after = [peer(2, "b"), peer(4, "d"), peer(5, "five")];
        assert_eq!((table.version(), table.peers()), (8, after.as_slice()));
        assert_eq!(table.take_up(9, &TableNews::Whole(after[..1].to_vec()), id(1)), [id(4), id(5)]);
        assert!(table.find(id(2)).is_some() && table.find(id(4)).is_none());
        assert!(
            table.find_or_lapsed(id(2)).is_some()
                && table.find_or_lapsed(id(4)).is_some()
                && table.find_or_lapsed(id(9)).is_none()
        );
    }

    #[test]
    fn the_latest_nodes_whose_leases_have_lapsed_are_remembered_but_not_those_that_have_stopped() {
        let mut table = Table::default();
        for number in 1..=200 {
            let peer = Peer { is_draining: number == 200, ..peer(number, "") };
            table.take_up(u64::from(number), &TableNews::Whole(vec![peer]), id(0));
        }
        table.take_up(201, &TableNews::Whole(vec![]), id(0));
        let remembered: Vec<u8> = (1..=200).filter(|number| table.find_or_lapsed(id(*number)).is_some()).collect();
        assert_eq!(remembered, (136..=199).collect::<Vec<u8>>());
        // One that comes and goes takes one place, and none once it has stopped.
        for is_draining in [false, false, true] {
            table.take_up(300, &TableNews::Whole(vec![Peer { is_draining, ..peer(199, "") }]), id(0));
            table.take_up(301, &TableNews::Whole(vec![]), id(0));
            assert_eq!(
                (table.lapsed.len(), table.find_or_lapsed(id(199)).is_none()),
                (64 - usize::from(is_draining), is_draining)
            );
        }
    }
}
