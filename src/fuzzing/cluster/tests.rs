//! The simulated store does what the scripts in Redis do; and clusters come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::redis::IntoConnectionInfo as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use self::server::Redis;
use super::store::Store as Simulated;
use super::{hash, record};
use crate::proto::node::NodeId;
use crate::proto::token::Token;
use crate::store::{
    By, Change, Claim, Claimed, Ends, Life, Located, Nodes, Patch, Peer, Renewal, Renewed, Seen, Settings, Store,
    TableNews,
};

#[expect(dead_code, reason = "the tests of the program need more of it")]
#[path = "../../../protocol-tests/redis/server.rs"]
mod server;
#[path = "../../../protocol-tests/support/tool.rs"]
mod tool;

const HOUR: Duration = Duration::from_secs(3600);

/// States of Redis are kept in, and taken from, another of its databases.
const KEEP: &str = "redis.call('SELECT', 1) redis.call('FLUSHDB') redis.call('SELECT', 0) \
    for _, key in ipairs(redis.call('KEYS', '*')) do redis.call('COPY', key, key, 'DB', 1) end";
const FALL_BACK: &str = "redis.call('FLUSHDB') redis.call('SELECT', 1) \
    for _, key in ipairs(redis.call('KEYS', '*')) do redis.call('COPY', key, key, 'DB', 0) end";

/// Has a thousand other nodes come and go.
const CROWD: &str = "local version = redis.call('HGET', 's2m:nodes:state', 'version') \
    local raised = string.format('%.0f', (tonumber(version or '-1')) + 1) \
    if version then redis.call('HSET', 's2m:nodes:state', 'version', raised) end \
    for _, node in ipairs(ARGV) do redis.call('ZADD', 's2m:nodes:changes', raised, node) end";

/// Asks until there is an answer.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(value) = ask().await {
                return value;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.unwrap_or_else(|_| panic!("{what} takes too long"))
}

/// Numbers that both stores take from their clocks: those in the same places are the same, and have the same order.
#[derive(Debug, Default)]
struct Twins(BTreeMap<u64, u64>);

impl Twins {
    #[track_caller]
    fn same(&mut self, real: u64, simulated: u64) {
        if real == 0 || simulated == 0 {
            return assert_eq!(real, simulated);
        }
        let known = *self.0.entry(real).or_insert(simulated);
        assert_eq!(known, simulated, "another number was there before");
        let (before, after) = (self.0.range(..real).next_back(), self.0.range(real + 1..).next());
        let is_between = before.is_none_or(|(_, before)| *before < simulated);
        assert!(
            is_between && after.is_none_or(|(_, after)| *after > simulated),
            "{real} is {simulated} between {before:?} and {after:?}"
        );
    }
}

/// What a node knows of one of the stores.
#[derive(Debug, Clone)]
struct Known {
    renewal: Renewal,
    above: u64,
    claims: BTreeMap<Token, Vec<u64>>,
    table: BTreeMap<NodeId, (Box<str>, bool)>,
}

impl Known {
    fn renewed(&mut self, renewed: &Renewed) {
        self.renewal.table = renewed.version;
        let (peers, gone) = match &renewed.table {
            TableNews::Same => return self.told(renewed),
            TableNews::Whole(peers) => {
                self.table.clear();
                (peers, [].as_slice())
            }
            TableNews::Changes { peers, gone } => (peers, gone.as_slice()),
        };
        self.table.retain(|node, _| !gone.contains(node));
        self.table.extend(peers.iter().map(|peer| (peer.node, (peer.label.clone(), peer.is_draining))));
        self.told(renewed);
    }

    fn told(&mut self, renewed: &Renewed) {
        self.renewal.taken_up = renewed.inbox.last().map_or(renewed.posted, |(number, _)| *number);
        self.renewal.announced = renewed.written.lost;
        self.saw(renewed.written.writes);
    }

    fn saw(&mut self, writes: u64) {
        self.renewal.seen = Seen { writes: self.renewal.seen.writes.max(writes) };
    }

    fn claimed(&mut self, token: Token, claimed: &Claimed) {
        self.saw(claimed.written.writes);
        self.above = self.above.max(claimed.epoch);
        self.claims.entry(token).or_default().push(claimed.epoch);
    }

    /// A claim of before, counted from the first.
    fn claim(&self, token: &Token, choice: usize) -> Option<u64> {
        self.claims.get(token).map(|epochs| epochs[choice % epochs.len()])
    }
}

struct Pair {
    redis: Redis,
    simulated: Simulated,
    kept: Simulated,
    stores: Vec<Arc<Store>>,
    nodes: Vec<Nodes>,
    real: Vec<Known>,
    other: Vec<Known>,
    epochs: Twins,
    versions: Twins,
    /// For each node: one script may leave messages for several.
    messages: [Twins; 3],
    random: StdRng,
    /// How many calls of each kind did something.
    done: BTreeMap<&'static str, usize>,
}

fn ids<'p>(peers: impl IntoIterator<Item = &'p Peer>) -> Vec<(NodeId, Box<str>, bool)> {
    let mut ids: Vec<_> = peers.into_iter().map(|peer| (peer.node, peer.label.clone(), peer.is_draining)).collect();
    ids.sort_unstable();
    ids
}

impl Pair {
    fn new(redis: Redis) -> Self {
        let stores: Vec<_> = (0..3_u8)
            .map(|number| {
                let store = Store::<()>::in_redis(vec![redis.url().into_connection_info().unwrap()], 1_000).unwrap();
                store.set_node(NodeId::from_random([number; 6]));
                let store = Arc::new(store);
                let kept = Arc::clone(&store);
                tokio::spawn(async move { kept.keep().await });
                store
            })
            .collect();
        let known: Vec<Known> = (0..3_u8)
            .map(|number| {
                let me = Peer {
                    node: NodeId::from_random([number; 6]),
                    advertise: "http://a:1".into(),
                    label: format!("{number}").into(),
                    version: "0.2.0".into(),
                    is_draining: false,
                    lease: HOUR,
                };
                let renewal = Renewal { me, seen: Seen::default(), table: 0, taken_up: 0, announced: None };
                Known { renewal, above: 0, claims: BTreeMap::new(), table: BTreeMap::new() }
            })
            .collect();
        Self {
            nodes: stores.iter().map(|store| store.nodes().unwrap()).collect(),
            stores,
            redis,
            simulated: Simulated::default(),
            kept: Simulated::default(),
            real: known.clone(),
            other: known,
            epochs: Twins::default(),
            versions: Twins::default(),
            messages: Default::default(),
            random: StdRng::seed_from_u64(19),
            done: BTreeMap::new(),
        }
    }

    fn id(&self, node: usize) -> NodeId {
        self.real[node].renewal.me.node
    }

    fn count(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }

    /// What both stores found must be the same, but for what Redis is not sure of after a loss.
    fn pair<A, B, E: Debug, F>(&self, real: Result<A, E>, simulated: Result<B, F>) -> Option<(A, B)> {
        match (real, simulated) {
            (Ok(real), Ok(simulated)) => Some((real, simulated)),
            (Err(_), Err(_)) => None,
            (Ok(_), Err(_)) => panic!("only the simulated store refuses"),
            (Err(error), Ok(_)) => panic!("only Redis refuses: {error:?}"),
        }
    }

    async fn renew(&mut self, node: usize, length: Duration) {
        let is_draining = self.random.random_range(0..8) == 0;
        for known in [&mut self.real[node], &mut self.other[node]] {
            (known.renewal.me.is_draining, known.renewal.me.lease) = (is_draining, length);
        }
        let real = self.nodes[node].renew(&self.real[node].renewal).await;
        let simulated = self.simulated.renew(&self.other[node].renewal, 0);
        let (real, simulated) = self.pair(real, simulated).unwrap();
        assert_eq!((real.written, real.was_away), (simulated.written, simulated.was_away));
        self.same_tables(&real.table, &simulated.table);
        self.versions.same(real.version, simulated.version);
        self.messages[node].same(real.posted, simulated.posted);
        assert_eq!(real.inbox.len(), simulated.inbox.len(), "{real:?}, {simulated:?}");
        for ((number, text), (other, other_text)) in real.inbox.iter().zip(&simulated.inbox) {
            self.messages[node].same(*number, *other);
            self.same_messages(text, other_text);
        }
        for what in [("away", real.was_away), ("lost", real.written.lost.is_some()), ("told", !real.inbox.is_empty())] {
            if what.1 {
                self.count(what.0);
            }
        }
        // Some answers are lost.
        if self.random.random_range(0..4) > 0 {
            self.real[node].renewed(&real);
            self.other[node].renewed(&simulated);
            let known = self.real[node].table.iter().map(|(node, said)| (*node, said.0.clone(), said.1));
            assert_eq!(known.collect::<Vec<_>>(), ids(&self.simulated.table()), "changes make the store's table");
        }
    }

    fn same_tables(&mut self, real: &TableNews, simulated: &TableNews) {
        match (real, simulated) {
            (TableNews::Same, TableNews::Same) => self.count("the same table"),
            (TableNews::Whole(real), TableNews::Whole(simulated)) => {
                assert_eq!(ids(real), ids(simulated));
                self.count("whole tables");
            }
            (
                TableNews::Changes { peers: real, gone },
                TableNews::Changes { peers: simulated, gone: simulated_gone },
            ) => {
                let sorted = |gone: &[NodeId]| gone.iter().copied().collect::<BTreeSet<_>>();
                assert_eq!((ids(real), sorted(gone)), (ids(simulated), sorted(simulated_gone)));
                self.count("changes of tables");
            }
            (TableNews::Same | TableNews::Whole(_) | TableNews::Changes { .. }, _) => {
                panic!("{real:?}, {simulated:?}");
            }
        }
    }

    fn same_messages(&mut self, real: &str, simulated: &str) {
        let (one, other): (Vec<&str>, Vec<&str>) = (real.split(' ').collect(), simulated.split(' ').collect());
        assert_eq!(one[..2], other[..2]);
        let [one, other] = [one, other].map(|words| words.get(2).map(|epoch| epoch.parse().ok()));
        assert_eq!(one.is_some(), other.is_some());
        if let (Some(Some(one)), Some(Some(other))) = (one, other) {
            self.epochs.same(one, other);
        }
    }

    async fn claim(&mut self, node: usize, token: Token, is_again: bool) {
        let (ends, choice) = (self.random.random_range(0..4), self.random.random_range(0..1_000));
        let until = if self.random.random_range(0..20) == 0 { 1_700_000_000_000 } else { 0 };
        let [one, other] = [&self.real[node], &self.other[node]].map(|known| Claim {
            node: known.renewal.me.node,
            seen: known.renewal.seen,
            until,
            above: known.above,
            ends,
            again: if is_again { known.claim(&token, choice) } else { None },
        });
        assert_eq!(one.again.is_some(), other.again.is_some());
        let simulated = self.simulated.claim(&token, &other);
        let real = match self.nodes[node].claim(&token, &one).await {
            // Redis is not sure that there is no such tunnel.
            Err(_) if simulated == Ok(None) => Ok(None),
            real => real,
        };
        let Some((Some(real), Some(simulated))) = self.pair(real, simulated) else { return };
        assert_eq!((real.is_newest, ids(&real.others)), (simulated.is_newest, ids(&simulated.others)));
        assert_eq!((real.written, real.found.record.clone()), (simulated.written, simulated.found.record.clone()));
        self.epochs.same(real.epoch, simulated.epoch);
        self.count(if real.is_newest { "claimed" } else { "too old" });
        self.real[node].claimed(token, &real);
        self.other[node].claimed(token, &simulated);
    }

    async fn leave(&mut self, node: usize, token: Token) {
        let (choice, is_all) = (self.random.random_range(0..1_000), self.random.random_range(0..4) == 0);
        let epoch = |known: &Known| if is_all { Some(u64::MAX) } else { known.claim(&token, choice) };
        let (Some(one), Some(other)) = (epoch(&self.real[node]), epoch(&self.other[node])) else { return };
        let (id, seen) = (self.id(node), self.real[node].renewal.seen);
        let real = self.nodes[node].leave(&token, id, one, seen).await;
        let simulated = self.simulated.leave(&token, id, other, seen, 0);
        let (real, simulated) = self.pair(real, simulated).unwrap();
        assert_eq!(real, simulated);
        self.real[node].saw(real.writes);
        self.other[node].saw(real.writes);
        self.count("left");
    }

    async fn locate(&mut self, node: usize, token: Token) {
        let real = self.nodes[node].locate(&[token]).await.unwrap().remove(0);
        let simulated = self.simulated.locate(&token);
        self.epochs.same(real.epoch, simulated.epoch);
        let known = |located: &Located| {
            let holders: Vec<_> = located.holders.iter().map(|(peer, ends)| (peer.node, *ends)).collect();
            (located.which, ids(&located.owner), holders)
        };
        assert_eq!(known(&real), known(&simulated));
        if real.owner.is_some() {
            self.count("owned");
        }
        if real.holders.len() > 1 {
            self.count("shared");
        }
    }

    async fn change(&mut self, node: usize, token: Token) {
        let ends = if self.random.random() { Ends::Spread } else { Ends::Newest };
        let change = match self.random.random_range(0..8) {
            0 => Change::Delete,
            1 | 2 => {
                let settings = Settings { ends, ..Settings::default() };
                Change::Revive { settings, rules: None, unjoined: HOUR }
            }
            3 => Change::Renew,
            _ => Change::Set(Patch { ends: Some(ends), ..Patch::default() }),
        };
        let simulated = self.simulated.change(&token, By::Key(hash()), &change, Some(self.id(node)));
        let real = self.stores[node].change(&token, By::Key(hash()), &change).await.unwrap_or_default();
        assert_eq!(real.is_some(), simulated.is_some(), "{change:?}");
        if let (Some(real), Some(simulated)) = (real, simulated) {
            assert_eq!(real.record, simulated.record);
            let lives = |life: Life| matches!(life, Life::Alive(_));
            assert_eq!(lives(real.life), lives(simulated.life));
            self.count("changed");
        }
    }

    fn crowd(&mut self) {
        let crowd: Vec<NodeId> = self.simulated.crowd();
        let ids: Vec<&str> = ["EVAL", CROWD, "0"].into_iter().chain(crowd.iter().map(NodeId::as_str)).collect();
        self.redis.ask::<Option<String>>(&ids);
    }

    async fn step(&mut self, tokens: &[Token]) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        self.simulated.clock = u64::try_from(now.as_micros()).unwrap();
        let (node, token) = (self.random.random_range(0..3), tokens[self.random.random_range(0..tokens.len())]);
        let id = self.id(node);
        match self.random.random_range(0..24) {
            0..=4 => self.renew(node, HOUR).await,
            5..=9 => self.claim(node, token, false).await,
            10..=12 => self.claim(node, token, true).await,
            13 => self.leave(node, token).await,
            14..=16 => self.locate(node, token).await,
            17 => self.change(node, token).await,
            18 => {
                self.redis.ask::<i64>(&["ZADD", "s2m:nodes", "XX", "1", id.as_str()]);
                self.simulated.lapse(id);
            }
            19 if self.random.random_range(0..4) == 0 => {
                self.redis.ask::<i64>(&["HSET", "s2m:nodes:state", "renewed", "1"]);
                self.simulated.fall_silent();
            }
            20 => {
                self.nodes[node].post(id, "hello there").await.unwrap();
                self.simulated.post(id, "hello there");
            }
            21 => {
                let (real, simulated) = (self.nodes[node].peer(id).await.unwrap(), self.simulated.peer(id));
                assert_eq!(ids(&real), ids(&simulated));
            }
            22 => match self.random.random_range(0..6) {
                0 | 1 => {
                    self.redis.ask::<Option<String>>(&["EVAL", KEEP, "0"]);
                    self.kept = self.simulated.clone();
                }
                2 => {
                    self.redis.ask::<Option<String>>(&["EVAL", FALL_BACK, "0"]);
                    self.simulated = self.kept.clone();
                }
                _ => self.crowd(),
            },
            23 if self.random.random_range(0..4) == 0 => self.renew(node, Duration::ZERO).await,
            23 => {
                self.redis.ask::<i64>(&["DEL", &format!("s2m:inbox:{id}")]);
                self.simulated.lose_messages(id);
            }
            _ => (),
        }
    }
}

#[tokio::test]
async fn thousands_of_calls_have_the_same_results_in_redis() {
    let Some(redis) = Redis::start().await else { return };
    let mut pair = Pair::new(redis);
    let original = Token::from_uuid(uuid::Uuid::from_u128(9));
    let names = ["one", "two"].map(|name| Token::from_name(name).unwrap());
    for (token, ends) in names.into_iter().zip([Ends::Newest, Ends::Spread]) {
        pair.stores[0].create(token, record(ends), HOUR, ()).await.unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        pair.simulated.clock = u64::try_from(now.as_micros()).unwrap();
        assert!(pair.simulated.create(token, record(ends), HOUR));
    }
    let made = crate::store::Record { keyed: None, ..record(Ends::Newest) };
    pair.stores[0].create(original, made.clone(), HOUR, ()).await.unwrap();
    assert!(pair.simulated.create(original, made, HOUR));
    pair.redis.ask::<Option<String>>(&["EVAL", KEEP, "0"]);
    pair.kept = pair.simulated.clone();
    for _ in 0..6_000 {
        pair.step(&[names[0], names[1], original]).await;
    }
    for what in ["the same table", "whole tables", "changes of tables"] {
        let times = pair.done.get(what).copied().unwrap_or(0);
        assert!(times > 100, "{what}: {times} times");
    }
    for what in ["away", "lost", "told", "claimed", "too old", "left", "owned", "shared", "changed"] {
        let times = pair.done.get(what).copied().unwrap_or(0);
        assert!(times > 20, "{what}: {times} times");
    }
}

#[test]
fn clusters_come_to_rest_after_any_faults() {
    for seed in 0..100 {
        let mut random = StdRng::seed_from_u64(seed);
        let length = random.random_range(2..400);
        let bytes: Vec<u8> = (0..length).map(|_| random.random()).collect();
        super::cluster(&bytes);
    }
}
