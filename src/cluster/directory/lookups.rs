//! Where tunnels were found last.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::times::{KNOWN_FOR, NOBODY_FOR, STALE_FOR};
use crate::proto::node::NodeId;
use crate::proto::time::Instant;
use crate::proto::token::Token;
use crate::store::Located;

/// How many tunnels are kept: visitors choose which.
const MOST: usize = 65_536;

/// Where tunnels were found, each with when that was asked.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    found: HashMap<Token, (Instant, Located)>,
    /// The tunnels in the order in which they were asked for. One that was asked for again is there again.
    order: VecDeque<(Instant, Token)>,
}

impl Lookups {
    /// Keeps where a tunnel is, unless what is known was asked later.
    pub(super) fn insert(&mut self, token: Token, asked: Instant, located: Located) {
        if self.found.get(&token).is_some_and(|(known, _)| *known > asked) {
            return;
        }
        self.found.insert(token, (asked, located));
        self.order.push_back((asked, token));
        self.purge(asked);
    }

    /// Drops what is too old, or too much.
    fn purge(&mut self, now: Instant) {
        while let Some((asked, token)) = self.order.front().copied()
            && (now - asked >= STALE_FOR || self.order.len() > MOST)
        {
            crate::tables::take_first(&mut self.order);
            if self.found.get(&token).is_some_and(|(known, _)| *known == asked) {
                self.remove(&token);
            }
        }
    }

    pub(super) fn remove(&mut self, token: &Token) {
        self.found.remove(token);
        crate::tables::shrink(&mut self.found);
    }

    /// Forgets all tunnels that a node has ends of.
    pub(super) fn remove_of(&mut self, node: NodeId) {
        let names = |located: &Located| {
            let holders = located.holders.iter().map(|(peer, _)| peer);
            located.owner.iter().chain(holders).any(|peer| peer.node == node)
        };
        self.found.retain(|_, (_, located)| !names(located));
        crate::tables::shrink(&mut self.found);
    }

    /// Returns where a tunnel is, if that is known well enough.
    pub(super) fn find(&self, token: &Token, now: Instant, is_store_away: bool) -> Option<&Located> {
        let (asked, located) = self.found.get(token)?;
        let has_nobody = located.owner.is_none() && located.holders.is_empty();
        let lasts: Duration = match (is_store_away, has_nobody) {
            (true, false) => STALE_FOR,
            (false, false) => KNOWN_FOR,
            (_, true) => NOBODY_FOR,
        };
        (now - *asked < lasts).then_some(located)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Peer;

    fn at(milliseconds: u64) -> Instant {
        Instant::after_origin(Duration::from_millis(milliseconds))
    }

    fn token(number: u128) -> Token {
        Token::from_uuid(uuid::Uuid::from_u128(number))
    }

    fn at_node(number: u8) -> Located {
        let owner = Peer {
            node: NodeId::from_random([number; 6]),
            advertise: "".into(),
            label: "".into(),
            version: "".into(),
            is_draining: false,
            lease: Duration::ZERO,
        };
        Located { owner: Some(owner), epoch: 1, ..Located::default() }
    }

    #[test]
    fn what_is_found_is_kept_for_as_long_as_it_may_be_true() {
        let mut lookups = Lookups::default();
        lookups.insert(token(1), at(1_000), at_node(1));
        lookups.insert(token(2), at(1_000), Located::default());
        let known =
            |lookups: &Lookups, number, time, is_away| lookups.find(&token(number), at(time), is_away).is_some();
        for (number, is_away, last) in [(1, false, 2_999), (1, true, 60_999), (2, false, 1_199), (2, true, 1_199)] {
            assert!(known(&lookups, number, last, is_away), "{number} {is_away}");
            assert!(!known(&lookups, number, last + 1, is_away), "{number} {is_away}");
        }
        lookups.insert(token(1), at(900), Located::default());
        assert!(known(&lookups, 1, 2_000, false), "an answer that was overtaken");
        lookups.remove_of(NodeId::from_random([1; 6]));
        assert!(!known(&lookups, 1, 1_000, false));
        assert!(known(&lookups, 2, 1_000, false));
    }

    #[test]
    fn the_oldest_are_forgotten_when_there_are_too_many() {
        let mut lookups = Lookups::default();
        for number in 0..=MOST as u128 {
            lookups.insert(token(number), at(1), at_node(1));
        }
        assert_eq!((lookups.found.len(), lookups.order.len()), (MOST, MOST));
        lookups.insert(token(1), at(60_001), at_node(1));
        assert_eq!((lookups.found.len(), lookups.order.len()), (1, 1));
    }
}
