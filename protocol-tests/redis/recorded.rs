//! What version 1 keeps in Redis, as commands: the next version must understand it, and keep what a node of this one understands.
//! Each hash has a field `later` here, as the next version may add one: this version keeps it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use socket2me::proto::node::NodeId;
use socket2me::proto::token::Token;
use socket2me::store::{
    By, Change, Claim, Claimed, Ends, Keyed, Located, Nodes, Peer, Record, Renewal, Renewed, Repeat, Seen, Settings,
    Store, TableNews,
};

use super::Redis;
use super::semantics::{HOUR, hash, in_redis, uuid};

/// Two nodes; a tunnel of each kind, and one whose ends share the requests. The first node has a message. `LEASE` is a time in 6 s,
/// `EXPIRES` one in an hour, and `KEY` the hash of a key. Words have bars between, and epochs are of the year 2023.
const KEPT: &str = "\
SET|s2m:marker|00000000-0000-4000-8000-000000000000
ZADD|s2m:nodes|LEASE|AQEBAQEB|LEASE|AgICAgIC
ZADD|s2m:nodes:changes|1700000000000006|AQEBAQEB|1700000000000007|AgICAgIC
HSET|s2m:nodes:state|version|1700000000000007|floor|1700000000000005|renewed|NOW|later|x
HSET|s2m:node:AQEBAQEB|advertise|http://10.0.0.1:7000|label|rack 1|version|0.1.0|draining|0|table|1700000000000007|had|1700000000000006|writes|7|posted|1700000000000011|read|1700000000000010|later|x
HSET|s2m:node:AgICAgIC|advertise|http://10.0.0.2:7000|label||version|0.1.0|draining|1|table|1700000000000007|had||writes|9|read|0|later|x
RPUSH|s2m:inbox:AQEBAQEB|1700000000000011 evict mine 1700000000000002 later
HSET|s2m:t:mine|made|1700000000|by|192.0.2.7|key|KEY|ttl|36000000|timeout|1500|joined|1|expires|EXPIRES|hold|9000|ends|newest|repeat|idempotent|rules||node|AQEBAQEB|epoch|1700000000000001|since|1600000000000000|later|x
HSET|s2m:t:shared|made|1700000000|by||key|KEY|ttl|36000000|timeout|1500|joined|1|expires|EXPIRES|hold|9000|ends|spread|repeat|idempotent|rules||node|AgICAgIC|epoch|1700000000000004|at:AQEBAQEB|1700000000000003 2 later|at:AgICAgIC|1700000000000004 1|later|x
HSET|MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAx|ip|192.0.2.7|created|1700000000|socketId||node|AgICAgIC|epoch|1700000000000005|later|x
EXPIRE|MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAx|3600";

/// The hashes.
const HASHES: [&str; 6] = [
    "s2m:nodes:state",
    "s2m:node:AQEBAQEB",
    "s2m:node:AgICAgIC",
    "s2m:t:mine",
    "s2m:t:shared",
    "MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAx",
];

/// Fields that are there only after what the recorded node has not met, or no longer.
const SOMETIMES: [&str; 5] = ["lost", "found", "missed", "posted", "since"];

fn keep(redis: &Redis) {
    let (now, _): (u64, u64) = redis.ask(&["TIME"]);
    let key = hash(1).as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for line in KEPT.lines() {
        let line = line.replace("LEASE", &format!("{}000", now + 6)).replace("NOW", &format!("{now}000"));
        let line = line.replace("EXPIRES", &format!("{}000", now + 3600)).replace("KEY", &key);
        redis.ask::<()>(&line.split('|').collect::<Vec<_>>());
    }
}

fn names() -> [Token; 3] {
    [Token::from_name("mine").unwrap(), Token::from_name("shared").unwrap(), uuid(1)]
}

fn record(ends: Ends, made_by: Option<&str>) -> Record {
    let settings = Settings {
        ttl: 10 * HOUR,
        timeout: Duration::from_millis(1_500),
        hold: Duration::from_secs(9),
        ends,
        repeat: Repeat::Idempotent,
    };
    let keyed = Keyed { key: hash(1), settings, rules: None, was_joined: true };
    let made_by = made_by.map(|address| address.parse().unwrap());
    Record { made_at: 1_700_000_000, made_by, keyed: Some(Box::new(keyed)) }
}

/// A node of this version, under the id of a recorded one.
struct Node {
    store: Arc<Store>,
    nodes: Nodes,
    me: Peer,
    seen: Seen,
}

impl Node {
    fn new(redis: &Redis, number: u8) -> Self {
        let store = in_redis(redis);
        let me = Peer {
            node: NodeId::from_random([number; 6]),
            advertise: format!("http://10.0.0.{number}:7000").into(),
            label: "rack 1".into(),
            version: "0.1.0".into(),
            is_draining: false,
            lease: Duration::from_secs(6),
        };
        store.set_node(me.node);
        Self { nodes: store.nodes().unwrap(), store, me, seen: Seen::default() }
    }

    async fn renew(&self, taken_up: u64) -> Renewed {
        let renewal = Renewal { me: self.me.clone(), seen: self.seen, table: 0, taken_up, announced: None };
        self.nodes.renew(&renewal).await.unwrap()
    }

    async fn claim(&self, token: &Token, ends: usize, again: Option<u64>) -> Claimed {
        let Self { nodes, me, seen, .. } = self;
        let claim = Claim { node: me.node, seen: *seen, until: nodes.until(), above: 0, ends, again };
        nodes.claim(token, &claim).await.unwrap().unwrap()
    }

    async fn locate(&self) -> [Located; 3] {
        self.nodes.locate(&names()).await.unwrap().try_into().unwrap()
    }
}

/// The owner of a tunnel, and the nodes with ends of it.
fn at(located: &Located) -> (Option<&str>, Vec<(&str, usize)>) {
    let holders = located.holders.iter().map(|(peer, ends)| (peer.node.as_str(), *ends));
    (located.owner.as_ref().map(|owner| owner.node.as_str()), holders.collect())
}

#[tokio::test]
async fn what_version_1_keeps_is_understood_and_keeps_the_fields_of_a_later_one() {
    let Some(redis) = Redis::start().await else { return };
    keep(&redis);
    let mut node = Node::new(&redis, 1);
    node.seen.writes = 7;
    let [mine, shared, original] = names();

    let renewed = node.renew(1_700_000_000_000_010).await;
    assert_eq!((renewed.written.writes, renewed.written.lost, renewed.was_away), (8, None, false));
    let message = (1_700_000_000_000_011, "evict mine 1700000000000002 later".into());
    assert_eq!((renewed.posted, renewed.inbox), (1_700_000_000_000_011, vec![message]));
    let TableNews::Whole(peers) = renewed.table else { panic!("{:?}", renewed.table) };
    let other = peers.into_iter().find(|peer| peer.node != node.me.node).unwrap();
    assert!(other.lease > Duration::from_secs(2) && other.is_draining, "{other:?}");
    let shown = (other.node.as_str(), &*other.advertise, &*other.label, &*other.version);
    assert_eq!(shown, ("AgICAgIC", "http://10.0.0.2:7000", "", "0.1.0"));

    let located = node.locate().await;
    assert_eq!(at(&located[0]), (Some("AQEBAQEB"), vec![]));
    assert_eq!(at(&located[1]), (Some("AgICAgIC"), vec![("AQEBAQEB", 2), ("AgICAgIC", 1)]));
    assert_eq!(at(&located[2]), (Some("AgICAgIC"), vec![]));
    let epochs = [1_700_000_000_000_001, 1_700_000_000_000_004, 1_700_000_000_000_005];
    assert_eq!(located.each_ref().map(|located| located.epoch), epochs);

    let claimed = node.claim(&mine, 1, Some(1_700_000_000_000_001)).await;
    assert_eq!((claimed.epoch, claimed.is_newest, claimed.others), (1_700_000_000_000_001, true, vec![]));
    assert_eq!(claimed.found.record, record(Ends::Newest, Some("192.0.2.7")));
    let claimed = node.claim(&shared, 3, Some(1_700_000_000_000_003)).await;
    assert_eq!((claimed.is_newest, claimed.found.record), (true, record(Ends::Spread, None)));
    let claimed = node.claim(&original, 1, None).await;
    assert!(claimed.epoch > epochs[2] && claimed.is_newest);
    assert_eq!(claimed.others.iter().map(|peer| peer.node.as_str()).collect::<Vec<_>>(), ["AgICAgIC"]);
    let inbox: Vec<String> = redis.ask(&["LRANGE", "s2m:inbox:AgICAgIC", "0", "-1"]);
    assert!(inbox.len() == 1 && inbox[0].ends_with(&format!(" evict {original} {}", claimed.epoch)), "{inbox:?}");
    assert_eq!(at(&node.locate().await[1]).1, [("AQEBAQEB", 3), ("AgICAgIC", 1)]);

    node.nodes.leave(&shared, node.me.node, 1_700_000_000_000_003, node.seen).await.unwrap();
    assert_eq!(at(&node.locate().await[1]).1, [("AgICAgIC", 1)]);
    node.store.change(&mine, By::Key(hash(1)), &Change::Rekey(hash(2))).await.unwrap().unwrap();
    assert_eq!(node.renew(1_700_000_000_000_011).await.inbox, []);
    for key in HASHES {
        assert_eq!(redis.ask::<String>(&["HGET", key, "later"]), "x", "{key}");
    }
}

/// A node of the next version may share this Redis, and reads what this one writes.
#[tokio::test]
async fn what_version_1_keeps_has_not_changed() {
    let Some((redis, recorded)) = Redis::start().await.zip(Redis::start().await) else { return };
    keep(&recorded);
    let (one, two) = (Node::new(&redis, 1), Node::new(&redis, 2));
    let [mine, shared, original] = names();
    one.renew(0).await;
    two.renew(0).await;
    for (token, record) in [
        (mine, record(Ends::Newest, Some("192.0.2.7"))),
        (shared, record(Ends::Spread, None)),
        (original, Record { keyed: None, ..record(Ends::Newest, Some("192.0.2.7")) }),
    ] {
        one.store.create(token, record, HOUR, ()).await.unwrap();
        one.claim(&token, 2, None).await;
    }
    two.claim(&shared, 1, None).await;
    two.claim(&original, 1, None).await;
    let keys = |redis: &Redis| redis.ask::<BTreeSet<String>>(&["KEYS", "*"]);
    assert_eq!(keys(&redis), keys(&recorded));
    for key in HASHES {
        let fields = |redis: &Redis| {
            let fields: BTreeSet<String> = redis.ask(&["HKEYS", key]);
            fields
                .into_iter()
                .filter(|field| field != "later" && !SOMETIMES.contains(&&**field))
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(fields(&redis), fields(&recorded), "{key}");
    }
    for (key, fields) in [
        ("s2m:node:AQEBAQEB", &["advertise", "label", "version", "draining"][..]),
        ("s2m:t:mine", &["made", "by", "key", "ttl", "timeout", "joined", "hold", "ends", "repeat", "rules", "node"]),
        ("s2m:t:shared", &["by", "ends", "node"]),
        ("MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAx", &["ip", "created", "socketId", "node"]),
    ] {
        for field in fields {
            let value = |redis: &Redis| redis.ask::<String>(&["HGET", key, field]);
            assert_eq!(value(&redis), value(&recorded), "{key} {field}");
        }
    }
    let claimed = |field: &str| redis.ask::<String>(&["HGET", "s2m:t:shared", field]);
    assert_eq!(claimed("at:AgICAgIC"), format!("{} 1", claimed("epoch")));
    let [message]: [String; 1] =
        redis.ask::<Vec<String>>(&["LRANGE", "s2m:inbox:AQEBAQEB", "0", "-1"]).try_into().unwrap();
    let posted: String = redis.ask(&["HGET", "s2m:node:AQEBAQEB", "posted"]);
    let epoch: String = redis.ask(&["HGET", original.as_str(), "epoch"]);
    assert_eq!(message, format!("{posted} evict {original} {epoch}"));
}
