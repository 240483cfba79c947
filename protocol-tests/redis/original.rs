//! What the original server keeps in Redis is served, and both servers can share one Redis.

use std::collections::BTreeMap;

use super::{Keyed, Redis, over, until};
use crate::relay::tunnel::{Server, Tunnel};
use crate::relay::visitor::get;
use crate::support::end::{End, Heard};
use crate::support::{NOT_FOUND, UNKNOWN};

/// Makes tokens as the original server does: a hash, and then its expiry.
fn make_as_original(redis: &Redis, token: &str, seconds: u32) {
    redis.ask::<u32>(&["HSET", token, "ip", "::ffff:192.0.2.7", "created", "1764000000", "socketId", ""]);
    redis.ask::<u32>(&["EXPIRE", token, &seconds.to_string()]);
}

/// A token of the original server's.
fn token(number: u128) -> String {
    socket2me::proto::token::Token::from_uuid(uuid::Uuid::from_u128(number)).to_string()
}

#[tokio::test]
async fn a_token_that_the_original_server_made_is_served_refreshed_and_expires() {
    let Some(redis) = Redis::start().await else { return };
    let server = Server::start(over(&redis.url())).await;
    for number in 1..=2 {
        make_as_original(&redis, &token(number), 2);
    }
    let mut end = End::connect(server.address, &token(2)).await;
    assert_eq!(get(server.address, &format!("/refresh/{}", token(1))).await.text(), "OK");
    let left: i64 = redis.ask(&["TTL", &token(1)]);
    assert!((21_000..=21_660).contains(&left), "six hours and a minute: {left}");
    let kept = End::connect(server.address, &token(1)).await;
    assert_eq!(end.text().await, format!("41/{},", token(2)), "it has expired");
    assert_eq!(get(server.address, &format!("/go/{}", token(2))).await.error(), "token not found");
    Tunnel { server, token: token(1), end: kept }.still_works().await;
}

/// The end is disconnected only if Redis does not have the token: not when it should have expired.
#[tokio::test]
async fn a_token_that_the_original_server_refreshes_lives_on_here() {
    let Some(redis) = Redis::start().await else { return };
    let server = Server::start(over(&redis.url())).await;
    make_as_original(&redis, &token(1), 2);
    make_as_original(&redis, &token(2), 3);
    let kept = End::connect(server.address, &token(1)).await;
    let mut end = End::connect(server.address, &token(2)).await;
    redis.ask::<u32>(&["EXPIRE", &token(1), "600"]);
    assert_eq!(end.text().await, format!("41/{},", token(2)));
    Tunnel { server, token: token(1), end: kept }.still_works().await;
}

#[tokio::test]
async fn a_token_is_made_as_the_original_server_makes_it() {
    let Some(redis) = Redis::start().await else { return };
    let server = Server::start(over(&redis.url())).await;
    let token = server.token().await;
    let fields: BTreeMap<String, String> = redis.ask(&["HGETALL", &token]);
    assert_eq!(fields.keys().collect::<Vec<_>>(), ["created", "ip", "socketId"]);
    assert!(fields["created"].parse::<u64>().unwrap() > 1_764_000_000 && fields["socketId"].is_empty());
    let left: i64 = redis.ask(&["TTL", &token]);
    assert!((21_600..=21_660).contains(&left), "{left}");
    // A keyed one is under a prefix, and the original server finds none of its token.
    let keyed = Keyed::make(server.address, "{}").await;
    assert_eq!(redis.ask::<u32>(&["EXISTS", &keyed.token]), 0);
    let fields: BTreeMap<String, String> = redis.ask(&["HGETALL", &format!("s2m:t:{}", keyed.token)]);
    assert!(fields.values().all(|value| !value.contains(&keyed.key)), "the key is nowhere");
}

#[tokio::test]
async fn a_key_of_another_type_or_under_a_name_is_no_tunnel() {
    let Some(redis) = Redis::start().await else { return };
    let server = Server::start(over(&redis.url())).await;
    redis.ask::<String>(&["SET", UNKNOWN, "a text"]);
    redis.ask::<u32>(&["HSET", "my-app", "ip", "192.0.2.7"]);
    for token in [UNKNOWN, "my-app"] {
        assert_eq!(get(server.address, &format!("/refresh/{token}")).await.error(), "token not found", "{token}");
        let mut end = End::open(server.address).await;
        assert_eq!(end.join(token, "").await, Err(NOT_FOUND.to_owned()), "{token}");
    }
    Keyed::make(server.address, r#"{"name":"my-app"}"#).await;
    assert_eq!(redis.ask::<String>(&["HGET", "my-app", "ip"]), "192.0.2.7");
}

#[tokio::test]
async fn two_servers_over_one_redis_have_the_same_tunnels() {
    let Some(redis) = Redis::start().await else { return };
    let (one, other) = (Server::start(over(&redis.url())).await, Server::start(over(&redis.url())).await);
    let token = one.token().await;
    assert_eq!(get(other.address, &format!("/refresh/{token}")).await.text(), "OK");
    let mut tunnel = Tunnel { end: End::connect(other.address, &token).await, server: other, token };
    tunnel.still_works().await;
    let keyed = Keyed::make(one.address, r#"{"name":"my-app"}"#).await;
    let mut end = keyed.join(tunnel.server.address).await;
    assert_eq!(keyed.ask(one.address, "PATCH", r#"{"timeout":7}"#).await.status, 200);
    let shown = keyed.ask(tunnel.server.address, "GET", "").await.text();
    assert!(shown.contains(r#""timeout":7"#), "{shown}");
    // A server that has lost its memory knows them still.
    one.stop().stopped().await;
    let again = Server::start(over(&redis.url())).await;
    assert_eq!(keyed.ask(again.address, "GET", "").await.status, 200);
    assert_eq!(keyed.ask(tunnel.server.address, "DELETE", "").await.status, 204);
    assert_eq!(end.hear().await, Heard::Text("41/my-app,".to_owned()));
    until("the tunnel to be gone", async || (keyed.ask(again.address, "GET", "").await.status == 404).then_some(()))
        .await;
}

/// The join of an original tunnel is one call: a script with two reads. That of a keyed one is one call with one read, and after
/// the end has joined another that renews its life.
#[tokio::test]
async fn a_join_waits_for_one_call_of_redis() {
    let Some(redis) = Redis::start().await else { return };
    let server = Server::start(over(&redis.url())).await;
    let calls = |command: &str| {
        let statistics: String = redis.ask(&["INFO", "commandstats"]);
        let calls = statistics.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        calls.map_or(0, |calls| calls.split(',').next().unwrap().parse::<u32>().unwrap())
    };
    let (token, keyed) = (server.token().await, Keyed::make(server.address, "{}").await);
    redis.ask::<String>(&["CONFIG", "RESETSTAT"]);
    let _end = End::connect(server.address, &token).await;
    assert_eq!((calls("hmget"), calls("hset")), (2, 0));
    let _keyed_end = keyed.join(server.address).await;
    until("the renewal", async || (calls("hset") == 1).then_some(())).await;
    assert_eq!(calls("hmget"), 4);
}
