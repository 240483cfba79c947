//! The store in Redis does what the one in memory does.

use std::sync::Arc;
use std::time::Duration;

use ::redis::IntoConnectionInfo as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use socket2me::proto::key::{Key, KeyHash};
use socket2me::proto::token::Token;
use socket2me::store::{
    By, CLAIM, Change, Ends, Found, Keyed, Life, Patch, Record, Repeat, RulesChange, RulesText, Settings, Store,
    StoreError,
};

use super::{Redis, until};

pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// How much two lives may differ, since the stores are asked one after the other.
const TOLERANCE: Duration = Duration::from_secs(60);

/// A store in Redis whose task runs as long as the test.
pub(super) fn in_redis(redis: &Redis) -> Arc<Store> {
    let store = Arc::new(Store::in_redis(vec![redis.url().into_connection_info().unwrap()], 1000).unwrap());
    let kept = Arc::clone(&store);
    tokio::spawn(async move { kept.keep().await });
    store
}

pub(super) fn uuid(number: u128) -> Token {
    Token::from_uuid(uuid::Uuid::from_u128(number))
}

pub(super) fn hash(number: u8) -> KeyHash {
    Key::from_random([number; 32]).hash()
}

pub(super) fn original() -> Record {
    Record { made_at: 1_700_000_000, made_by: Some("192.0.2.7".parse().unwrap()), keyed: None }
}

pub(super) fn keyed(key: u8) -> Record {
    let keyed = Keyed {
        key: hash(key),
        settings: Settings { ttl: 10 * HOUR, timeout: Duration::from_millis(1500), ..Settings::default() },
        rules: None,
        was_joined: false,
    };
    Record { made_by: Some("2001:db8::".parse().unwrap()), keyed: Some(Box::new(keyed)), ..original() }
}

/// What a step brings about in either store must be the same, but for the time that has passed.
fn assert_same(one: &Option<Found>, other: &Option<Found>, step: &str) {
    let (Some(one), Some(other)) = (one, other) else {
        return assert_eq!(one, other, "{step}");
    };
    assert_eq!(one.record, other.record, "{step}");
    let (one, other) = match (one.life, other.life) {
        (Life::Alive(one), Life::Alive(other)) | (Life::Claimed(one), Life::Claimed(other)) => (one, other),
        (one, other) => panic!("{step}: {one:?}, {other:?}"),
    };
    assert!(one.abs_diff(other) < TOLERANCE, "{step}: {one:?}, {other:?}");
}

fn any_change(random: &mut StdRng) -> Change {
    let mut time = || Duration::from_secs(random.random_range(1..9) * 600);
    let (one, other, third) = (time(), time(), time());
    let mut rules = || random.random::<bool>().then(|| RulesText::from(r#"{"methods":["POST"]}"#.to_owned()));
    let (was, now) = (rules(), rules());
    match random.random_range(0..11) {
        0 => Change::Refresh(one),
        1 | 2 => Change::Renew,
        3 => Change::Set(Patch { ttl: Some(one), ends: Some(Ends::Spread), ..Patch::default() }),
        4 => Change::Set(Patch { timeout: Some(one), repeat: Some(Repeat::Idempotent), ..Patch::default() }),
        5 => Change::Set(Patch { ttl: Some(one), timeout: Some(other), hold: Some(third), ..Patch::default() }),
        6 => Change::Rekey(hash(random.random_range(1..3))),
        7 => Change::Delete,
        8 | 9 => Change::Set(Patch { hold: Some(one), rules: Some(RulesChange { was, now }), ..Patch::default() }),
        _ => {
            let settings = Settings { ttl: one, timeout: other, ..Settings::default() };
            Change::Revive { settings, rules: now, unjoined: third }
        }
    }
}

#[tokio::test]
async fn thousands_of_calls_have_the_results_that_they_have_in_memory() {
    let Some(redis) = Redis::start().await else { return };
    let (memory, stored) = (Store::<()>::in_memory(1000), in_redis(&redis));
    let mut random = StdRng::seed_from_u64(14);
    let (mut made, mut changed) = (0, 0);
    for number in 0..4_000 {
        // New ones come in all the time: some tunnels cannot be deleted.
        let age = number / 100 + random.random_range(0..2);
        let token = match random.random_range(0..3) {
            0 => Token::from_name(&format!("app-{age}")).unwrap(),
            kind => uuid(kind << 64 | age),
        };
        let step = match random.random_range(0..4) {
            0 => {
                // An original tunnel has no name.
                let is_keyed = token.is_name() || random.random();
                let record = if is_keyed { keyed(random.random_range(1..3)) } else { original() };
                let one = memory.create(token, record.clone(), HOUR, ()).await;
                let other = stored.create(token, record, HOUR, ()).await;
                assert_eq!(one, other, "{number}: create {token:?}");
                made += usize::from(one.is_ok());
                continue;
            }
            1 => {
                assert_same(&memory.find(&token).await.unwrap(), &stored.find(&token).await.unwrap(), "find");
                continue;
            }
            _ => any_change(&mut random),
        };
        let by = if random.random() { By::Key(hash(random.random_range(1..3))) } else { By::Anybody };
        let one = memory.change(&token, by, &step).await.unwrap();
        let other = stored.change(&token, by, &step).await.unwrap();
        assert_same(&one, &other, &format!("{number}: {token:?} {by:?} {step:?}"));
        changed += usize::from(one.is_some());
    }
    assert!(made > 100 && changed > 200, "{made} made, {changed} changed");
    assert_eq!(stored.failures(), 0);
}

#[tokio::test]
async fn a_name_is_claimed_when_its_tunnel_has_expired_and_a_token_is_not() {
    let Some(redis) = Redis::start().await else { return };
    let store = in_redis(&redis);
    let life = Duration::from_millis(50);
    let (token, name, unjoined) = (uuid(1), Token::from_name("mine").unwrap(), Token::from_name("free").unwrap());
    let ttl = Change::Set(Patch { ttl: Some(life), ..Patch::default() });
    for token in [token, name, unjoined] {
        store.create(token, keyed(1), HOUR, ()).await.unwrap();
        if token != unjoined {
            store.change(&token, By::Anybody, &Change::Renew).await.unwrap().unwrap();
        }
        store.change(&token, By::Key(hash(1)), &ttl).await.unwrap().unwrap();
    }
    for token in [token, unjoined] {
        until("a token to expire", async || store.find(&token).await.unwrap().is_none().then_some(())).await;
        store.create(token, keyed(2), HOUR, ()).await.unwrap();
    }
    let claimed = until("a name to expire", async || match store.find(&name).await.unwrap().unwrap().life {
        Life::Alive(_) => None,
        Life::Claimed(left) => Some(left),
    });
    assert!(claimed.await.abs_diff(CLAIM) < TOLERANCE);
    assert_eq!(store.create(name, keyed(2), HOUR, ()).await, Err(StoreError::Taken));
    let revive = Change::Revive { settings: Settings::default(), rules: None, unjoined: HOUR };
    assert_eq!(store.change(&name, By::Key(hash(2)), &revive).await, Ok(None));
    assert!(store.change(&name, By::Key(hash(1)), &revive).await.unwrap().is_some());
    let left: i64 = redis.ask(&["PTTL", "s2m:t:mine"]);
    assert!(left > 24 * 3600 * 1000, "the key outlives the tunnel by the claim: {left}");
}

#[tokio::test]
async fn what_is_held_for_a_tunnel_is_given_back_when_it_is_deleted_or_expires() {
    let Some(redis) = Redis::start().await else { return };
    let info = redis.url().into_connection_info().unwrap();
    let store = Arc::new(Store::in_redis(vec![info], 2).unwrap());
    let kept = Arc::clone(&store);
    tokio::spawn(async move { kept.keep().await });
    let held = Arc::new(());
    store.create(uuid(1), keyed(1), HOUR, Arc::clone(&held)).await.unwrap();
    assert_eq!(store.create(uuid(1), keyed(1), HOUR, Arc::clone(&held)).await, Err(StoreError::Taken));
    store.create(uuid(2), keyed(1), Duration::from_millis(100), Arc::clone(&held)).await.unwrap();
    let full = store.create(uuid(3), keyed(1), HOUR, Arc::clone(&held)).await;
    assert!(full == Err(StoreError::Full { capacity: 2 }) || store.count() == 1, "{full:?}");
    store.change(&uuid(1), By::Key(hash(1)), &Change::Delete).await.unwrap().unwrap();
    until("both to be forgotten", async || {
        store.purge();
        (Arc::strong_count(&held) <= 1 + usize::from(full.is_ok())).then_some(())
    })
    .await;
}
