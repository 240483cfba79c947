//! Redis is away: connected tunnels do not notice, each call ends in time, and all works when it is back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::proxy::Proxy;
use super::{Keyed, Redis, over, post, until};
use crate::relay::tunnel::{Server, Tunnel};
use crate::relay::visitor::get;
use crate::support::UNKNOWN;
use crate::support::end::{End, Heard};
use crate::support::within;

/// The time for a call is half a second; the rest is the machine's.
const IN_TIME: Duration = Duration::from_millis(1_500);

/// A server over a Redis, with an original tunnel and a keyed one, each with its end.
struct World {
    redis: Redis,
    tunnel: Tunnel,
    keyed: Keyed,
    keyed_end: End,
}

impl World {
    async fn over(redis: Redis, url: &str) -> Self {
        let tunnel = Tunnel::open(over(url), "").await;
        let keyed = Keyed::make(tunnel.server.address, r#"{"name":"my-app"}"#).await;
        let keyed_end = keyed.join(tunnel.server.address).await;
        Self { redis, tunnel, keyed, keyed_end }
    }

    async fn start() -> Option<Self> {
        let redis = Redis::start().await?;
        let url = redis.url();
        Some(Self::over(redis, &url).await)
    }

    fn address(&self) -> SocketAddr {
        self.tunnel.server.address
    }

    /// Redis is away now.
    async fn endures(&mut self) {
        let address = self.address();
        until("an answer that Redis is away", async || {
            let answer = get(address, "/new").await;
            (answer.code() == Some("store-unavailable")).then_some(())
        })
        .await;
        self.tunnel.still_works().await;
        self.each_call_ends_in_time().await;
        for _ in 0..10 {
            self.tunnel.still_works().await;
        }
        self.no_end_is_refused_for_good().await;
    }

    async fn each_call_ends_in_time(&self) {
        let address = self.address();
        let refresh = format!("/refresh/{}", self.tunnel.token);
        let unknown = format!("/go/{UNKNOWN}");
        let begun = Instant::now();
        let calls = futures::future::join_all([
            Box::pin(get(address, "/new")) as std::pin::Pin<Box<dyn Future<Output = _>>>,
            Box::pin(get(address, &refresh)),
            Box::pin(get(address, &unknown)),
            Box::pin(post(address, "{}")),
            Box::pin(post(address, r#"{"name":"another"}"#)),
            Box::pin(self.keyed.ask(address, "GET", "")),
            Box::pin(self.keyed.ask(address, "PATCH", r#"{"ttl":900}"#)),
            Box::pin(self.keyed.ask(address, "DELETE", "")),
        ]);
        for (number, answer) in calls.await.into_iter().enumerate() {
            assert_eq!((answer.status, answer.code()), (503, Some("store-unavailable")), "{number}: {answer:?}");
        }
        assert!(begun.elapsed() < IN_TIME, "{:?}", begun.elapsed());
    }

    /// The session is closed, for its client to come back: there is no `44`, after which a client gives up.
    async fn no_end_is_refused_for_good(&self) {
        let mut end = End::open(self.address()).await;
        end.send(&format!("40/{},", self.tunnel.token)).await;
        match end.hear().await {
            Heard::Closed(_) | Heard::Lost => (),
            Heard::Text(text) => assert_eq!(text, "1", "the session closes"),
            heard @ Heard::Binary(_) => panic!("{heard:?}"),
        }
    }

    /// Redis is back, with the tunnels: nothing has happened after all that was told to have failed.
    async fn works_again(mut self) {
        let address = self.address();
        until("a token to be made", async || (get(address, "/new").await.status == 200).then_some(())).await;
        assert_eq!(get(address, &format!("/refresh/{}", self.tunnel.token)).await.text(), "OK");
        self.tunnel.still_works().await;
        self.tunnel.end = End::connect(address, &self.tunnel.token).await;
        self.tunnel.still_works().await;
        let taken_over = self.keyed.join(address).await;
        within("the end before to leave", self.keyed_end.text()).await;
        drop(taken_over);
        assert_eq!(self.keyed.ask(address, "DELETE", "").await.status, 204);
    }
}

#[tokio::test]
async fn a_redis_that_is_stopped_costs_connected_tunnels_nothing() {
    let Some(mut world) = World::start().await else { return };
    world.redis.signal("-STOP");
    world.endures().await;
    world.redis.signal("-CONT");
    world.works_again().await;
}

#[tokio::test]
async fn a_redis_that_is_killed_and_comes_back_with_its_data_costs_connected_tunnels_nothing() {
    let Some(mut world) = World::start().await else { return };
    world.redis.kill();
    world.endures().await;
    world.redis.restart(&[]).await;
    world.works_again().await;
}

#[tokio::test]
async fn a_redis_that_becomes_a_replica_is_away_until_it_is_a_master() {
    let Some(mut world) = World::start().await else { return };
    world.redis.ask::<String>(&["REPLICAOF", "127.0.0.1", "1"]);
    world.endures().await;
    world.redis.ask::<String>(&["REPLICAOF", "NO", "ONE"]);
    world.works_again().await;
}

#[tokio::test]
async fn a_network_that_loses_all_bytes_costs_connected_tunnels_nothing() {
    let Some(redis) = Redis::start().await else { return };
    let proxy = Proxy::before(redis.port).await;
    let mut world = World::over(redis, &proxy.url).await;
    proxy.swallow(true);
    world.endures().await;
    proxy.swallow(false);
    world.works_again().await;
}

#[tokio::test]
async fn a_server_starts_without_its_redis_and_works_once_it_is_there() {
    let Some(mut redis) = Redis::start().await else { return };
    redis.kill();
    let server = Server::start(over(&redis.url())).await;
    let answer = get(server.address, "/new").await;
    assert_eq!(
        (answer.status, answer.code(), answer.header("retry-after")),
        (503, Some("store-unavailable"), Some("1"))
    );
    redis.restart(&[]).await;
    until("a token to be made", async || (get(server.address, "/new").await.status == 200).then_some(())).await;
}

/// An end is asked about in Redis when its token should have expired. While Redis is away, it stays.
#[tokio::test]
async fn an_end_whose_token_expires_while_redis_is_away_stays_until_redis_says_so() {
    let Some(redis) = Redis::start().await else { return };
    let config = socket2me::config::ServeConfig {
        token_ttl: Duration::from_secs(1),
        token_grace: Some(Duration::ZERO),
        ..over(&redis.url())
    };
    let mut tunnel = Tunnel::open(config, "").await;
    redis.signal("-STOP");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        tunnel.still_works().await;
    }
    redis.signal("-CONT");
    assert_eq!(tunnel.end.text().await, format!("41/{},", tunnel.token));
}

/// The session is not closed for a join that cannot be decided, since it serves another tunnel.
#[tokio::test]
async fn a_join_on_a_session_that_serves_another_tunnel_waits_until_redis_is_back() {
    let Some(redis) = Redis::start().await else { return };
    let mut tunnel = Tunnel::open(over(&redis.url()), "").await;
    let (address, another) = (tunnel.server.address, tunnel.server.token().await);
    redis.signal("-STOP");
    until("Redis to be away", async || (get(address, "/new").await.status == 503).then_some(())).await;
    tunnel.end.send(&format!("40/{another},")).await;
    tunnel.still_works().await;
    redis.signal("-CONT");
    let text = tunnel.end.text().await;
    assert!(text.starts_with(&format!("40/{another},{{\"sid\":")), "{text}");
    tunnel.still_works().await;
}
