//! Which nodes a cluster has, and which of them has the ends of a tunnel.
//!
//! A node renews its lease at intervals ([`Renewal`]), and claims a tunnel when an end of it joins ([`Claim`]). The claim with the
//! highest epoch counts. All times are those of the store's clock.

use std::time::Duration;

use super::record::Found;
use super::settings::Ends;
use crate::proto::node::NodeId;

/// A node, as others reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub node: NodeId,
    /// The URL of its listener for other nodes: `http://HOST:PORT` or `https://HOST:PORT`.
    pub advertise: Box<str>,
    /// The operator's name for it, empty if it has none.
    pub label: Box<str>,
    /// The version of its program.
    pub version: Box<str>,
    /// It is about to stop, and takes no more ends.
    pub is_draining: bool,
    /// How long its lease still lasts. Zero for one that has lapsed.
    pub lease: Duration,
}

/// What a node says of itself when it renews its lease.
#[derive(Debug, Clone)]
pub struct Renewal {
    /// The node; its `lease` is how long the lease is to last from now.
    pub me: Peer,
    /// What the node knows of its writes.
    pub seen: Seen,
    /// The version of the table of nodes that it has, 0 for none.
    pub table: u64,
    /// The number of the last message that it has taken up, 0 for none: that and those before it are removed, if it is there.
    pub taken_up: u64,
    /// The loss after which the node has announced all its claims again. It is forgotten if no other was noticed since.
    pub announced: Option<Lost>,
}

/// What a node knows of its own writes to the store. A store that counts fewer has lost some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// The highest number of a write that a reply has told.
    pub writes: u64,
}

/// A store was found without writes of a node that it had answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Writes with a higher number may be lost, up to `found`.
    pub after: u64,
    /// The number of the write that noticed it. It tells two losses apart, since numbers of lost writes are not given again.
    pub found: u64,
}

/// What each script tells of a node's writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// The number of this write.
    pub writes: u64,
    /// What was lost: the node is to announce what it has claimed with those writes. `None` if nothing is lost, or all is
    /// announced.
    pub lost: Option<Lost>,
}

/// The most messages that come with one renewal. If this many come, more may wait.
pub const INBOX_BATCH: usize = 1_000;

/// The answer to a [`Renewal`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewed {
    /// The store's time, in milliseconds since 1970.
    pub now: u64,
    /// The node's own writes.
    pub written: Written,
    /// The node is new to the store, or messages for it are gone unread: it is to announce all its claims.
    pub was_away: bool,
    /// The version of the table of nodes.
    pub version: u64,
    /// What is new of it.
    pub table: TableNews,
    /// The number of the last message that was ever left for the node, 0 for none.
    pub posted: u64,
    /// The messages in the node's inbox with their numbers, oldest first and [`INBOX_BATCH`] at the most. They stay until a
    /// renewal says that they are taken up, and may come more than once.
    pub inbox: Vec<(u64, Box<str>)>,
}

/// What is new of the table of nodes to a node that renews its lease. All nodes of the table live, the node itself included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableNews {
    /// The node has this version.
    Same,
    /// The whole table: the node has none, or one that the store did not tell it, or has missed too many changes.
    Whole(Vec<Peer>),
    /// What has changed since the version that the node has.
    Changes {
        /// Nodes that are new, or say something else of themselves.
        peers: Vec<Peer>,
        /// Nodes that are in the table no more. The node may not have heard of some of them.
        gone: Vec<NodeId>,
    },
}

impl TableNews {
    /// Returns how many nodes it tells of.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self {
            Self::Same => 0,
            Self::Whole(peers) => peers.len(),
            Self::Changes { peers, gone } => peers.len() + gone.len(),
        }
    }
}

/// A node says that it has the newest end of a tunnel.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The node.
    pub node: NodeId,
    /// What the node knows of its writes.
    pub seen: Seen,
    /// The store's time, in milliseconds since 1970, until which this claim may be made; 0 for no end. A script that runs later
    /// evicts nobody.
    pub until: u64,
    /// The highest epoch that the node has seen, of any tunnel: that of the claim is higher.
    pub above: u64,
    /// How many ends of a `spread` tunnel the node has then. A tunnel of [`Ends::Newest`] has one.
    pub ends: usize,
    /// The epoch of a claim that the node announces again, after the store lost writes or because its number of ends is another.
    /// It counts unless the store has a higher one, or the tunnel was deleted since. `None` for a new claim.
    pub again: Option<u64>,
}

/// The answer to a [`Claim`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The tunnel as it is then.
    pub found: Found,
    /// The claim's epoch; the store's for a claim that was announced again and is older.
    pub epoch: u64,
    /// The claim counts. False for one of a tunnel of [`Ends::Newest`] that was announced again and is older than the store's,
    /// and for one that was made before the tunnel was deleted.
    pub is_newest: bool,
    /// The other nodes that live and had ends of it. If the tunnel's are [`Ends::Newest`], those ends are to leave, and each of
    /// these nodes has a message in its inbox, too: `evict TOKEN EPOCH`.
    pub others: Vec<Peer>,
    /// The node's own writes.
    pub written: Written,
}

/// Where the ends of a tunnel are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Located {
    /// Which ends get requests; that of the tunnel's settings.
    pub which: Ends,
    /// The epoch of the newest claim, 0 for none.
    pub epoch: u64,
    /// The node that made it, if that lives.
    pub owner: Option<Peer>,
    /// All nodes that live and have ends of a `spread` tunnel, with their numbers of ends. Empty for one of [`Ends::Newest`].
    pub holders: Vec<(Peer, usize)>,
}
