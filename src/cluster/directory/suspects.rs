//! Which peers give no sign of life.

use std::collections::BTreeMap;

use super::times::{PATIENCE, PING_EVERY};
use crate::proto::node::NodeId;
use crate::proto::time::{Instant, earliest};

/// What is known of a peer that was slow.
#[derive(Debug, Clone, Copy)]
enum Doubt {
    /// It was asked for a sign of life at this time.
    Asked(Instant),
    /// It gave one at this time: a long response has a late head, and that is no reason to ask again.
    Answered(Instant),
    /// Nothing can reach it. It is asked again at this time.
    Gone(Instant),
}

/// The peers of which something is doubtful.
#[derive(Debug, Default)]
pub(super) struct Suspects(BTreeMap<NodeId, Doubt>);

impl Suspects {
    /// Takes up that a peer refuses connections.
    pub(super) fn refused(&mut self, node: NodeId, now: Instant) {
        self.0.insert(node, Doubt::Gone(now + PING_EVERY));
    }

    /// Takes up that the head of a response takes long. Returns whether the peer is to be asked for a sign of life now.
    pub(super) fn note_slow(&mut self, node: NodeId, now: Instant) -> bool {
        let asks = match self.0.get(&node) {
            None => true,
            Some(Doubt::Answered(answered)) => now - *answered >= PING_EVERY,
            Some(Doubt::Asked(_) | Doubt::Gone(_)) => false,
        };
        if asks {
            self.0.insert(node, Doubt::Asked(now));
        }
        asks
    }

    /// Takes up a sign of life.
    pub(super) fn answered(&mut self, node: NodeId, now: Instant) {
        self.0.insert(node, Doubt::Answered(now));
    }

    /// Takes up a response of a peer: one that was asked for a sign of life has given one.
    pub(super) fn note_there(&mut self, node: NodeId, now: Instant) {
        if self.0.contains_key(&node) {
            self.answered(node, now);
        }
    }

    pub(super) fn is_suspect(&self, node: NodeId, now: Instant) -> bool {
        match self.0.get(&node) {
            Some(Doubt::Asked(asked)) => now - *asked >= PATIENCE,
            Some(Doubt::Gone(_)) => true,
            Some(Doubt::Answered(_)) | None => false,
        }
    }

    /// Returns the suspects that are to be asked again now.
    pub(super) fn pings(&mut self, now: Instant) -> Vec<NodeId> {
        let mut asked = Vec::new();
        for (node, doubt) in &mut self.0 {
            let is_due = match doubt {
                Doubt::Asked(asked) => now - *asked >= PING_EVERY,
                Doubt::Gone(again) => *again <= now,
                Doubt::Answered(_) => false,
            };
            if is_due {
                *doubt = Doubt::Gone(now + PING_EVERY);
                asked.push(*node);
            }
        }
        asked
    }

    /// Forgets the peers that are none any more.
    pub(super) fn retain(&mut self, is_peer: impl Fn(NodeId) -> bool) {
        self.0.retain(|node, _| is_peer(*node));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().fold(None, |next, doubt| {
            let due = match doubt {
                Doubt::Asked(asked) => Some(*asked + PING_EVERY),
                Doubt::Gone(again) => Some(*again),
                Doubt::Answered(_) => None,
            };
            earliest(next, due)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(milliseconds: u64) -> Instant {
        Instant::after_origin(Duration::from_millis(milliseconds))
    }

    #[test]
    fn a_slow_peer_is_asked_once_and_suspected_if_it_is_silent() {
        let (mut suspects, node) = (Suspects::default(), NodeId::from_random([1; 6]));
        assert!(suspects.note_slow(node, at(0)) && !suspects.note_slow(node, at(10)));
        assert!(!suspects.is_suspect(node, at(499)) && suspects.is_suspect(node, at(500)));
        assert_eq!((suspects.pings(at(999)), suspects.pings(at(1_000))), (vec![], vec![node]));
        assert_eq!((suspects.next(), suspects.pings(at(1_500))), (Some(at(2_000)), vec![]));
        suspects.answered(node, at(1_600));
        assert!(!suspects.is_suspect(node, at(9_000)) && !suspects.note_slow(node, at(2_599)));
        assert!(suspects.note_slow(node, at(2_600)));
        suspects.note_there(node, at(2_700));
        assert!(!suspects.is_suspect(node, at(9_000)), "a response is a sign of life");
        suspects.refused(node, at(3_000));
        assert!(suspects.is_suspect(node, at(3_000)));
        suspects.retain(|_| false);
        assert!(!suspects.is_suspect(node, at(3_000)) && suspects.next().is_none());
    }
}
