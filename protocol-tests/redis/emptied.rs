//! Redis has lost its data: connected tunnels are written again.

use std::collections::BTreeMap;

use super::{Keyed, Redis, over, post, until};
use crate::relay::tunnel::{Server, Tunnel};
use crate::relay::visitor::get;
use crate::support::UNKNOWN;
use crate::support::end::{End, Heard};

/// Waits until Redis has a hash with these fields again, but for the end of its life.
async fn is_written_again(redis: &Redis, key: &str, before: &BTreeMap<String, String>) {
    let mut fields: BTreeMap<String, String> = until("a tunnel to be written again", async || {
        Some(redis.ask(&["HGETALL", key])).filter(|fields: &BTreeMap<_, _>| !fields.is_empty())
    })
    .await;
    if let (Some(expires), Some(before)) = (fields.get_mut("expires"), before.get("expires")) {
        expires.clone_from(before);
    }
    assert_eq!(fields, *before);
    assert!(redis.ask::<i64>(&["PTTL", key]) > 0);
}

#[tokio::test]
async fn tunnels_that_are_connected_are_written_again_to_a_redis_that_lost_its_data() {
    let Some(mut redis) = Redis::start().await else { return };
    let mut tunnel = Tunnel::open(over(&redis.url()), "").await;
    let address = tunnel.server.address;
    let keyed = Keyed::make(address, r#"{"name":"my-app","ttl":900,"timeout":3}"#).await;
    let _end = keyed.join(address).await;
    // Redis hears of a keyed tunnel's end after the end does.
    until("Redis to know of the end", async || {
        (redis.ask::<String>(&["HGET", "s2m:t:my-app", "joined"]) == "1").then_some(())
    })
    .await;
    let keys = [tunnel.token.clone(), "s2m:t:my-app".to_owned()];
    let before = keys.each_ref().map(|key| redis.ask::<BTreeMap<String, String>>(&["HGETALL", key]));
    for is_restarted in [false, true] {
        if is_restarted {
            redis.kill();
            redis.delete_data();
            redis.restart(&[]).await;
        } else {
            redis.ask::<String>(&["FLUSHALL"]);
        }
        for (key, before) in keys.iter().zip(&before) {
            is_written_again(&redis, key, before).await;
        }
        tunnel.still_works().await;
        assert_eq!(keyed.ask(address, "PATCH", r#"{"timeout":3}"#).await.status, 200, "the key is the same");
        tunnel.end = End::connect(address, &tunnel.token).await;
        tunnel.still_works().await;
    }
}

/// Until a minute after, a token that is not in Redis may be one that another server is about to write.
#[tokio::test]
async fn an_unknown_token_is_not_final_after_redis_was_found_empty() {
    let Some(redis) = Redis::start().await else { return };
    let server = Server::start(over(&redis.url())).await;
    let token = server.token().await;
    assert_eq!(get(server.address, &format!("/go/{UNKNOWN}")).await.status, 500);
    redis.ask::<String>(&["FLUSHALL"]);
    for _ in 0..2 {
        for target in [format!("/go/{UNKNOWN}"), format!("/refresh/{token}")] {
            assert_eq!(get(server.address, &target).await.code(), Some("store-unavailable"), "{target}");
        }
        let mut end = End::open(server.address).await;
        end.send(&format!("40/{token},")).await;
        let heard = end.hear().await;
        assert!(!matches!(&heard, Heard::Text(text) if text.starts_with("44")), "{heard:?}");
        assert_eq!(post(server.address, r#"{"name":"my-app"}"#).await.code(), Some("store-unavailable"));
        // Now that it has been noticed, it is the same.
        until("the marker", async || (redis.ask::<u32>(&["EXISTS", "s2m:marker"]) == 1).then_some(())).await;
    }
    server.token().await;
}

/// Nobody inherits a URL: what has taken a lost name meanwhile keeps it, and the end that had it leaves.
#[tokio::test]
async fn an_end_whose_lost_name_is_somebody_elses_by_now_leaves() {
    let Some(redis) = Redis::start().await else { return };
    let server = Server::start(over(&redis.url())).await;
    let keyed = Keyed::make(server.address, r#"{"name":"my-app"}"#).await;
    let mut end = keyed.join(server.address).await;
    let fields: Vec<String> = redis.ask(&["HGETALL", "s2m:t:my-app"]);
    let mut taken: Vec<&str> = ["HSET", "s2m:t:my-app"].into_iter().chain(fields.iter().map(String::as_str)).collect();
    let key = taken.iter().position(|word| *word == "key").unwrap();
    let other = "0".repeat(64);
    taken[key + 1] = &other;
    redis.ask::<String>(&["FLUSHALL"]);
    redis.ask::<u32>(&taken);
    assert_eq!(end.text().await, "41/my-app,");
    assert_eq!(redis.ask::<String>(&["HGET", "s2m:t:my-app", "key"]), other);
}
