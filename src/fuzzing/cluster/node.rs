//! A node of the simulated cluster: a directory, its ends, and the calls of the store that are under way.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::event::{Call, Event};
use crate::cluster::directory::Directory;
use crate::proto::node::NodeId;
use crate::proto::time::Instant;
use crate::proto::token::Token;
use crate::store::Peer;

/// How long a call may take, as in the store in Redis.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_millis(500);

/// A process, which gets a new id when it is started again.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) directory: Directory,
    /// The clients that are connected here.
    pub(super) ends: BTreeMap<Token, Vec<usize>>,
    /// Calls under way, with when they were sent.
    pub(super) calls: BTreeMap<u64, (Call, Instant)>,
    /// Exchanges that wait for where a tunnel is.
    pub(super) asking: BTreeMap<Token, Vec<usize>>,
    /// The store's time in milliseconds, and when it was asked.
    clock: Option<(u64, Instant)>,
    /// The highest epoch with which this node has held each tunnel.
    pub(super) held: BTreeMap<Token, u64>,
    pub(super) is_alive: bool,
    pub(super) is_stopped: bool,
    /// What has come while the process stands still.
    pub(super) deferred: VecDeque<Event>,
    /// Nothing goes to the store or comes from it.
    pub(super) is_cut: bool,
}

impl Node {
    pub(super) fn new(number: u32, now: Instant) -> Self {
        let [a, b, c, d] = number.to_be_bytes();
        let me = Peer {
            node: NodeId::from_random([7, a, b, c, d, 7]),
            advertise: "http://node:1".into(),
            label: "".into(),
            version: "0.2.0".into(),
            is_draining: false,
            lease: Duration::ZERO,
        };
        Self {
            directory: Directory::new(me, now),
            ends: BTreeMap::new(),
            calls: BTreeMap::new(),
            asking: BTreeMap::new(),
            clock: None,
            held: BTreeMap::new(),
            is_alive: true,
            is_stopped: false,
            deferred: VecDeque::new(),
            is_cut: false,
        }
    }

    pub(super) fn id(&self) -> NodeId {
        self.directory.node()
    }

    pub(super) fn runs(&self) -> bool {
        self.is_alive && !self.is_stopped
    }

    /// Takes up the store's time.
    pub(super) fn saw_clock(&mut self, time: u64, asked: Instant) {
        self.clock = Some((time, asked));
    }

    /// The store's time until which a call that begins now may be made; `None` before its time is known.
    pub(super) fn until(&self, now: Instant) -> Option<u64> {
        let (time, asked) = self.clock?;
        let later = (now - asked + CALL_TIMEOUT).as_millis();
        Some(time + u64::try_from(later).unwrap_or(u64::MAX))
    }

    pub(super) fn ends(&self, token: &Token) -> &[usize] {
        self.ends.get(token).map_or(&[], Vec::as_slice)
    }

    /// Removes all ends of a tunnel.
    pub(super) fn remove_ends(&mut self, token: &Token) -> Vec<usize> {
        self.ends.remove(token).unwrap_or_default()
    }
}
