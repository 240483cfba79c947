//! Servers that share a Redis: one orders, and all show what it gets.

use std::time::Duration;

use socket2me::store::{Seal, Store};

use super::directory::Directory;
use super::server::{NAME, Server, settings};
use crate::redis::server::Redis;
use crate::support::within;

/// A store in a Redis, which is connected.
fn store(redis: &Redis) -> Store {
    Store::in_redis(redis.url().parse::<socket2me::config::RedisUrl>().unwrap().servers().unwrap(), 10).unwrap()
}

#[tokio::test]
async fn of_servers_that_share_a_redis_one_orders_and_both_show_the_certificate() {
    let Some(redis) = Redis::start().await else { return };
    let directory = Directory::start().await;
    let config = settings(&directory, &[NAME]);
    let one = Server::over(&directory, &config, true, (store(&redis), Seal::default())).await;
    // The names lead to this one: it shows what the other one is asked for.
    let two = Server::over(&directory, &config, true, (store(&redis), Seal::default())).await;
    let certificate = one.certificate(NAME, None).await;
    assert_eq!(two.certificate(NAME, None).await, certificate);
    {
        let state = directory.state();
        assert_eq!((state.accounts.len(), state.orders.len()), (1, 1));
    }
    // All that was kept is lost, and written again by those who have it.
    redis.ask::<()>(&["FLUSHALL"]);
    let is_there = |pattern| !redis.ask::<Vec<String>>(&["KEYS", pattern]).is_empty();
    let written = async {
        while !is_there("s2m:v:acme/*/name/*") || !is_there("s2m:v:acme/*/account") {
            tokio::task::yield_now().await;
        }
    };
    within("all to be written again", written).await;
    let third = Server::over(&directory, &config, true, (store(&redis), Seal::default())).await;
    assert_eq!(third.certificate(NAME, None).await, certificate);
    assert_eq!(directory.state().orders.len(), 1);
}

#[tokio::test]
async fn a_value_and_a_lease_in_redis_are_those_of_all_servers() {
    let Some(redis) = Redis::start().await else { return };
    let (one, two) = (store(&redis), store(&redis));
    let (a, b) = (one.values(), two.values());
    let minute = Duration::from_secs(60);
    let asked = async {
        assert_eq!(a.get("acme/x").await, Ok(None));
        a.put("acme/x", "text").await.unwrap();
        assert_eq!(b.get("acme/x").await, Ok(Some("text".to_owned())));
        assert_eq!((a.put_if("acme/x", None, "a").await, b.put_if("acme/y", None, "").await), (Ok(false), Ok(true)));
        assert_eq!(
            (a.put_if("acme/y", Some(""), "1").await, b.put_if("acme/y", None, "2").await),
            (Ok(true), Ok(false))
        );
        assert_eq!(
            (b.put_if("acme/y", Some(""), "2").await, b.get("acme/y").await),
            (Ok(false), Ok(Some("1".to_owned())))
        );
        assert_eq!((a.lease("acme", "one", minute).await, b.lease("acme", "two", minute).await), (Ok(true), Ok(false)));
        assert_eq!((a.lease("acme", "one", minute).await, b.lease("other", "two", minute).await), (Ok(true), Ok(true)));
        assert_eq!(
            (a.lease("acme", "one", Duration::ZERO).await, b.lease("acme", "two", minute).await),
            (Ok(true), Ok(true))
        );
        assert_eq!(a.lease("acme", "one", Duration::from_millis(5)).await, Ok(false));
    };
    tokio::select! {
        never = one.keep() => match never {},
        never = two.keep() => match never {},
        () = asked => (),
    }
    let left: u64 = redis.ask(&["PTTL", "s2m:l:acme"]);
    assert!((50_000..=60_000).contains(&left), "{left}");
}
