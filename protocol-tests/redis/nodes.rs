//! What nodes of a cluster share in Redis: their claims of tunnels, and what they hear of each other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use socket2me::proto::node::NodeId;
use socket2me::proto::token::Token;
use socket2me::store::{
    By, Change, Claim, Claimed, Ends, Located, Nodes, Patch, Peer, Record, Renewal, Renewed, Seen, Settings, Store,
};

use super::Redis;
use super::semantics::{HOUR, hash, in_redis, keyed, original, uuid};

pub(super) const LEASE: Duration = Duration::from_secs(6);

/// A node that takes up all that it is told.
pub(super) struct Node {
    store: Arc<Store>,
    pub(super) nodes: Nodes,
    pub(super) renewal: Renewal,
    above: u64,
}

impl Node {
    /// Makes a node with a connection of its own.
    pub(super) fn new(redis: &Redis, number: u8) -> Self {
        let store = in_redis(redis);
        let node = NodeId::from_random([number; 6]);
        store.set_node(node);
        let me = Peer {
            node,
            advertise: format!("http://10.0.0.{number}:7000").into(),
            label: format!("rack {number}").into(),
            version: "0.2.0".into(),
            is_draining: false,
            lease: LEASE,
        };
        let renewal = Renewal { me, seen: Seen::default(), table: 0, taken_up: 0, announced: None };
        Self { nodes: store.nodes().unwrap(), store, renewal, above: 0 }
    }

    /// Makes a node that has renewed its lease.
    pub(super) async fn join(redis: &Redis, number: u8) -> Self {
        let mut node = Self::new(redis, number);
        node.renew().await;
        node
    }

    pub(super) fn id(&self) -> NodeId {
        self.renewal.me.node
    }

    /// The node's key in Redis.
    fn key(&self) -> String {
        format!("s2m:node:{}", self.id())
    }

    fn saw(&mut self, writes: u64) {
        self.renewal.seen.writes = self.renewal.seen.writes.max(writes);
    }

    pub(super) async fn renew(&mut self) -> Renewed {
        let renewed = self.nodes.renew(&self.renewal).await.unwrap();
        self.saw(renewed.written.writes);
        self.renewal.table = renewed.version;
        self.renewal.taken_up = renewed.inbox.last().map_or(renewed.posted, |(number, _)| *number);
        renewed
    }

    /// Renews the lease, and returns the messages.
    async fn messages(&mut self) -> Vec<Box<str>> {
        self.renew().await.inbox.into_iter().map(|(_, message)| message).collect()
    }

    fn claim_of(&self, ends: usize, again: Option<u64>) -> Claim {
        let seen = self.renewal.seen;
        Claim { node: self.id(), seen, until: self.nodes.until(), above: self.above, ends, again }
    }

    async fn try_to_claim(&mut self, token: &Token, ends: usize, again: Option<u64>) -> Option<Claimed> {
        let claimed = self.nodes.claim(token, &self.claim_of(ends, again)).await.unwrap()?;
        self.saw(claimed.written.writes);
        self.above = self.above.max(claimed.epoch);
        Some(claimed)
    }

    async fn claim(&mut self, token: &Token) -> Claimed {
        self.try_to_claim(token, 1, None).await.unwrap()
    }

    async fn leave(&mut self, token: &Token, epoch: u64) {
        let written = self.nodes.leave(token, self.id(), epoch, self.renewal.seen).await.unwrap();
        self.saw(written.writes);
    }

    async fn locate(&self, token: &Token) -> Located {
        self.nodes.locate(&[*token]).await.unwrap().remove(0)
    }

    /// The node that has a tunnel's newest end.
    async fn owner(&self, token: &Token) -> Option<NodeId> {
        self.locate(token).await.owner.map(|owner| owner.node)
    }

    async fn create(&self, token: Token, record: Record) -> Token {
        self.store.create(token, record, HOUR, ()).await.unwrap();
        token
    }

    async fn change(&self, token: &Token, change: &Change) {
        self.store.change(token, By::Key(hash(1)), change).await.unwrap().unwrap();
    }
}

fn spread() -> Change {
    Change::Set(Patch { ends: Some(Ends::Spread), ..Patch::default() })
}

fn revive() -> Change {
    Change::Revive { settings: Settings::default(), rules: None, unjoined: HOUR }
}

pub(super) fn ids(peers: &[Peer]) -> BTreeSet<NodeId> {
    peers.iter().map(|peer| peer.node).collect()
}

fn evict(token: &Token, epoch: u64) -> Vec<Box<str>> {
    vec![format!("evict {token} {epoch}").into()]
}

/// Lets the lease of a node lapse.
pub(super) fn lapse(redis: &Redis, node: &Node) {
    redis.ask::<i64>(&["ZADD", "s2m:nodes", "1", node.id().as_str()]);
}

/// All keys, and those that never expire.
fn keys(redis: &Redis) -> (BTreeSet<String>, BTreeSet<String>) {
    let all: BTreeSet<String> = redis.ask(&["KEYS", "*"]);
    let eternal = all.iter().filter(|key| redis.ask::<i64>(&["PTTL", key]) == -1).cloned().collect();
    (all, eternal)
}

#[tokio::test]
async fn the_newest_claim_counts_and_the_node_before_hears_of_it() {
    let Some(redis) = Redis::start().await else { return };
    let (mut a, mut b) = (Node::join(&redis, 1).await, Node::join(&redis, 2).await);
    let name = Token::from_name("my-app").unwrap();
    for (token, record) in [(uuid(1), original()), (uuid(2), keyed(1)), (name, keyed(1))] {
        a.create(token, record.clone()).await;
        let first = a.claim(&token).await;
        // An end has joined by it.
        let mut joined = record;
        if let Some(keyed) = &mut joined.keyed {
            keyed.was_joined = true;
        }
        assert_eq!((first.found.record, first.is_newest, first.others), (joined, true, vec![]));
        assert!(a.claim(&token).await.epoch > first.epoch);
        let second = b.claim(&token).await;
        assert_eq!((second.is_newest, ids(&second.others)), (true, BTreeSet::from([a.id()])));
        assert!(second.epoch > a.above);
        let located = a.locate(&token).await;
        assert_eq!((located.owner.unwrap().node, located.epoch, located.holders), (b.id(), second.epoch, vec![]));
        b.leave(&token, second.epoch).await;
        assert_eq!(a.owner(&token).await, Some(b.id()), "visitors wait at the last owner");
        // A reply that is lost loses no message.
        for _ in 0..2 {
            let taken_up = a.renewal.taken_up;
            assert_eq!(a.messages().await, evict(&token, second.epoch));
            a.renewal.taken_up = taken_up;
        }
        a.messages().await;
        assert_eq!(a.messages().await, Vec::<Box<str>>::new());
    }
    assert_eq!(b.messages().await, Vec::<Box<str>>::new());
    assert_eq!(a.try_to_claim(&uuid(3), 1, None).await, None);
    assert_eq!(a.nodes.locate(&[uuid(3), uuid(1)]).await.unwrap()[0], Located::default());
}

#[tokio::test]
async fn a_node_hears_that_messages_for_it_are_gone_unread() {
    let Some(redis) = Redis::start().await else { return };
    let (mut a, b) = (Node::join(&redis, 1).await, Node::join(&redis, 2).await);
    let inbox = format!("s2m:inbox:{}", a.id());
    for is_followed in [false, true] {
        b.nodes.post(a.id(), "first").await.unwrap();
        redis.ask::<i64>(&["DEL", &inbox]);
        if is_followed {
            b.nodes.post(a.id(), "second").await.unwrap();
        }
        // A reply that is lost loses no news.
        for _ in 0..2 {
            let taken_up = a.renewal.taken_up;
            let renewed = a.renew().await;
            assert_eq!((renewed.was_away, renewed.inbox.len()), (true, usize::from(is_followed)));
            a.renewal.taken_up = taken_up;
        }
        a.renew().await;
        assert!(!a.renew().await.was_away);
    }
    b.nodes.post(b.id(), "to itself").await.unwrap();
    b.nodes.post(NodeId::from_random([9; 6]), "to nobody").await.unwrap();
    assert_eq!(redis.ask::<Vec<String>>(&["KEYS", "s2m:inbox:*"]).len(), 1);
}

#[tokio::test]
async fn many_tunnels_are_located_in_the_order_in_which_they_are_named() {
    let Some(redis) = Redis::start().await else { return };
    let mut a = Node::join(&redis, 1).await;
    let tokens: Vec<Token> = (0..200).map(uuid).collect();
    let mut epochs = Vec::new();
    for token in &tokens {
        a.create(*token, keyed(1)).await;
        epochs.push(a.claim(token).await.epoch);
    }
    let located = a.nodes.locate(&tokens).await.unwrap();
    assert_eq!(located.iter().map(|located| located.epoch).collect::<Vec<_>>(), epochs);
}

#[tokio::test]
async fn nodes_share_a_tunnel_whose_ends_share_the_requests() {
    let Some(redis) = Redis::start().await else { return };
    let (mut a, mut b, mut c) = (Node::join(&redis, 1).await, Node::join(&redis, 2).await, Node::join(&redis, 3).await);
    let token = a.create(uuid(1), keyed(1)).await;
    a.change(&token, &spread()).await;
    let first = a.try_to_claim(&token, 3, None).await.unwrap();
    let second = b.try_to_claim(&token, 1, None).await.unwrap();
    assert_eq!((ids(&second.others), a.messages().await), (BTreeSet::from([a.id()]), vec![]));
    let held = async |node: &Node| {
        let located = node.locate(&token).await;
        assert_eq!(located.which, Ends::Spread);
        located.holders.into_iter().map(|(peer, ends)| (peer.node, ends)).collect::<Vec<_>>()
    };
    assert_eq!(held(&c).await, [(a.id(), 3), (b.id(), 1)]);
    // Another number of ends is the same claim.
    let again = a.try_to_claim(&token, 2, Some(first.epoch)).await.unwrap();
    assert_eq!((again.epoch, again.is_newest), (first.epoch, true));
    assert_eq!(held(&c).await, [(a.id(), 2), (b.id(), 1)]);
    b.leave(&token, second.epoch - 1).await;
    assert_eq!(held(&c).await.len(), 2, "a claim that is newer than what left stays");
    b.leave(&token, second.epoch).await;
    assert_eq!((held(&c).await, c.owner(&token).await), (vec![(a.id(), 2)], Some(b.id())));
    lapse(&redis, &a);
    assert_eq!(held(&c).await, []);
    c.claim(&token).await;
    assert_eq!(redis.ask::<i64>(&["HEXISTS", &format!("s2m:t:{token}"), &format!("at:{}", a.id())]), 0);
    // It lives after all, and hears of it.
    assert_eq!(a.messages().await, [format!("changed {token}").into_boxed_str()]);
    a.try_to_claim(&token, 2, Some(first.epoch)).await.unwrap();
    assert_eq!(held(&c).await, [(a.id(), 2), (c.id(), 1)]);
    b.change(&token, &Change::Set(Patch { ends: Some(Ends::Newest), ..Patch::default() })).await;
    let changed = vec![format!("changed {token}").into_boxed_str()];
    assert_eq!((a.messages().await, b.messages().await, c.messages().await), (changed.clone(), vec![], changed));
    let last = b.claim(&token).await;
    assert_eq!(ids(&last.others), BTreeSet::from([a.id(), c.id()]));
    assert_eq!((a.messages().await, c.messages().await), (evict(&token, last.epoch), evict(&token, last.epoch)));
}

#[tokio::test]
async fn a_claim_that_runs_late_evicts_nobody() {
    let Some(redis) = Redis::start().await else { return };
    let (mut a, mut b) = (Node::join(&redis, 1).await, Node::join(&redis, 2).await);
    let token = a.create(uuid(1), keyed(1)).await;
    a.claim(&token).await;
    let late = Claim { until: 1_700_000_000_000, ..b.claim_of(1, None) };
    assert!(b.nodes.claim(&token, &late).await.is_err());
    assert_eq!((a.owner(&token).await, a.messages().await), (Some(a.id()), vec![]));
    b.claim(&token).await;
}

#[tokio::test]
async fn epochs_keep_all_their_digits_and_rise_above_all_that_a_node_has_seen() {
    let Some(redis) = Redis::start().await else { return };
    let mut a = Node::join(&redis, 1).await;
    let token = a.create(uuid(1), keyed(1)).await;
    let ordinary = a.claim(&token).await.epoch;
    assert!(ordinary > 1_000_000_000_000_000, "microseconds: {ordinary}");
    a.above = 9_007_199_254_740_001;
    for epoch in 9_007_199_254_740_002..9_007_199_254_740_007 {
        assert_eq!(a.claim(&token).await.epoch, epoch);
        assert_eq!(a.locate(&token).await.epoch, epoch);
        a.above = 0;
    }
    a.renewal.seen.writes = 123_456_789_012_345;
    assert_eq!(a.claim(&token).await.written.writes, 123_456_789_012_346);
}

#[tokio::test]
async fn lost_writes_are_told_until_they_are_announced() {
    let Some(redis) = Redis::start().await else { return };
    let mut a = Node::join(&redis, 1).await;
    let token = a.create(uuid(1), keyed(1)).await;
    let claim = a.claim(&token).await;
    assert_eq!(claim.written.lost, None);
    let before = a.renewal.seen.writes;
    a.claim(&token).await;
    // A state before the last write.
    redis.ask::<i64>(&["HSET", &a.key(), "writes", &before.to_string()]);
    let lost = a.renew().await.written.lost.unwrap();
    assert_eq!((lost.after, lost.found), (before, a.renewal.seen.writes));
    a.store.emptied().await;
    a.store.restored();
    assert_eq!(a.claim(&token).await.written.lost, Some(lost));
    redis.ask::<i64>(&["HSET", &a.key(), "writes", "1"]);
    let other = a.renew().await.written.lost.unwrap();
    assert_eq!((other.after, other.found > lost.found), (1, true));
    a.store.emptied().await;
    // What was announced before the second loss does not end it.
    a.renewal.announced = Some(lost);
    assert_eq!(a.renew().await.written.lost, Some(other));
    a.renewal.announced = Some(other);
    assert_eq!((a.renew().await.written.lost, a.claim(&token).await.written.lost), (None, None));
    redis.ask::<String>(&["FLUSHALL"]);
    let emptied = a.renew().await;
    assert_eq!((emptied.written.lost.unwrap().after, emptied.was_away), (0, true));
    a.store.emptied().await;
}

#[tokio::test]
async fn a_claim_that_is_announced_again_counts_unless_there_is_a_newer_one() {
    let Some(redis) = Redis::start().await else { return };
    let (mut a, mut b) = (Node::join(&redis, 1).await, Node::join(&redis, 2).await);
    let token = a.create(uuid(1), keyed(1)).await;
    let key = format!("s2m:t:{token}");
    let first = b.claim(&token).await.epoch;
    let second = a.claim(&token).await.epoch;
    b.messages().await;
    redis.ask::<i64>(&["HSET", &key, "node", b.id().as_str(), "epoch", &first.to_string()]);
    let again = a.try_to_claim(&token, 1, Some(second)).await.unwrap();
    assert_eq!((again.epoch, again.is_newest, ids(&again.others)), (second, true, BTreeSet::from([b.id()])));
    assert_eq!(b.messages().await.last(), evict(&token, second).last());
    let older = b.try_to_claim(&token, 1, Some(first)).await.unwrap();
    assert_eq!((older.epoch, older.is_newest), (second, false));
    assert_eq!(a.owner(&token).await, Some(a.id()));
}

#[tokio::test]
async fn claims_of_a_deleted_tunnel_do_not_count_when_its_name_lives_again() {
    let Some(redis) = Redis::start().await else { return };
    let (mut a, mut b) = (Node::join(&redis, 1).await, Node::join(&redis, 2).await);
    let name = a.create(Token::from_name("my-app").unwrap(), keyed(1)).await;
    a.change(&name, &Change::Renew).await;
    for ends in [Ends::Newest, Ends::Spread] {
        a.change(&name, &Change::Set(Patch { ends: Some(ends), ..Patch::default() })).await;
        let claim = a.claim(&name).await;
        b.change(&name, &Change::Delete).await;
        assert_eq!(a.messages().await, [format!("changed {name}").into_boxed_str()]);
        assert_eq!(a.try_to_claim(&name, 1, Some(claim.epoch)).await, None);
        assert_eq!(b.locate(&name).await, Located::default());
        b.change(&name, &revive()).await;
        b.change(&name, &Change::Renew).await;
        b.change(&name, &Change::Set(Patch { ends: Some(ends), ..Patch::default() })).await;
        assert!(!a.try_to_claim(&name, 1, Some(claim.epoch)).await.unwrap().is_newest);
        assert_eq!(b.locate(&name).await.owner, None);
        b.above = 0;
        assert!(b.claim(&name).await.epoch > claim.epoch);
    }
}

#[tokio::test]
async fn nobody_counts_as_dead_while_redis_was_stopped() {
    let Some(redis) = Redis::start().await else { return };
    let (mut a, mut b) = (Node::join(&redis, 1).await, Node::join(&redis, 2).await);
    let token = a.create(uuid(1), keyed(1)).await;
    b.claim(&token).await;
    for node in [&a, &b] {
        lapse(&redis, node);
    }
    redis.ask::<i64>(&["HSET", "s2m:nodes:state", "renewed", "1700000000000"]);
    assert_eq!(a.owner(&token).await, Some(b.id()));
    assert!(!a.renew().await.was_away);
    assert_eq!(a.owner(&token).await, Some(b.id()), "it has a while to renew its lease");
    lapse(&redis, &b);
    assert_eq!(a.owner(&token).await, None);
}

#[tokio::test]
async fn all_keys_of_nodes_expire() {
    let Some(redis) = Redis::start().await else { return };
    let mut a = Node::join(&redis, 1).await;
    let (token, held) = (a.create(uuid(1), original()).await, a.create(uuid(2), keyed(1)).await);
    a.change(&held, &spread()).await;
    let before = keys(&redis);
    assert_eq!(before.1, BTreeSet::from(["s2m:marker".to_owned()]));
    let mut other = Node::join(&redis, 2).await;
    for number in 0..1_000 {
        if number % 10 == 0 {
            other = Node::new(&redis, 2);
            other.renewal.me.node = NodeId::from_random([7, 7, 7, 7, u8::try_from(number / 10).unwrap(), 7]);
            other.renew().await;
        }
        other.claim(&token).await;
        let shared = other.claim(&held).await;
        a.claim(&token).await;
        match number % 10 {
            8 if number % 20 == 8 => {
                other.renewal.me.lease = Duration::ZERO;
                other.renew().await;
            }
            9 => lapse(&redis, &other),
            _ => other.leave(&held, shared.epoch).await,
        }
        a.messages().await;
    }
    a.claim(&held).await;
    a.messages().await;
    let after = keys(&redis);
    assert_eq!(after.1, before.1);
    let of_tunnel: Vec<String> = redis.ask(&["HKEYS", &format!("s2m:t:{held}")]);
    assert_eq!(of_tunnel.iter().filter(|field| field.starts_with("at:")).count(), 1, "{of_tunnel:?}");
    let left: Vec<_> = after.0.difference(&before.0).filter(|key| !key.starts_with("s2m:node:")).collect();
    assert_eq!(left.iter().filter(|key| !key.starts_with("s2m:inbox:")).count(), 0, "{left:?}");
    for (prefix, most) in [("s2m:node:", 606_000), ("s2m:inbox:", 60_000)] {
        for key in after.0.iter().filter(|key| key.starts_with(prefix)) {
            let left: i64 = redis.ask(&["PTTL", key]);
            assert!((0..=most).contains(&left), "{key}: {left}");
        }
    }
}
