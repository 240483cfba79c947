//! A master and its replicas: the master keeps the tunnels, and so does the next one.

use super::program::Started;
use super::{Redis, over, until};
use crate::relay::tunnel::{Server, Tunnel};
use crate::relay::visitor::get;

/// Two servers, of which the second begins as the replica of the first.
struct Pair {
    first: Redis,
    second: Redis,
}

impl Pair {
    async fn start() -> Option<Self> {
        let pair = Self { first: Redis::start().await?, second: Redis::start().await? };
        follow(&pair.second, &pair.first).await;
        Some(pair)
    }

    /// The URLs of both, the replica's before the master's.
    fn urls(&self) -> String {
        format!("{},{}", self.second.url(), self.first.url())
    }
}

/// Makes a server a replica, and waits until it follows its master.
async fn follow(replica: &Redis, master: &Redis) {
    // A master waits for more replicas before it sends its data, unless by way of the disk.
    master.ask::<String>(&["CONFIG", "SET", "repl-diskless-sync", "no"]);
    replica.ask::<String>(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]);
    until("a replica to follow its master", async || {
        let info: String = replica.ask(&["INFO", "replication"]);
        info.contains("master_link_status:up").then_some(())
    })
    .await;
}

fn promote(replica: &Redis) {
    replica.ask::<String>(&["REPLICAOF", "NO", "ONE"]);
}

fn has(redis: &Redis, token: &str) -> bool {
    redis.ask::<u32>(&["EXISTS", token]) == 1
}

/// Waits until tunnels are made in this Redis. Returns the token of one.
async fn keeps(redis: &Redis, server: &Server) -> String {
    until("tunnels to be kept in the master", async || {
        let answer = get(server.address, "/new").await;
        (answer.status == 200).then(|| answer.text()).filter(|token| has(redis, token))
    })
    .await
}

#[tokio::test]
async fn the_master_is_found_among_several_servers_and_followed_when_it_is_another_one() {
    let Some(mut pair) = Pair::start().await else { return };
    let mut tunnel = Tunnel::open(over(&pair.urls()), "").await;
    until("the replica to have the tunnel", async || has(&pair.second, &tunnel.token).then_some(())).await;
    promote(&pair.second);
    follow(&pair.first, &pair.second).await;
    let token = keeps(&pair.second, &tunnel.server).await;
    tunnel.still_works().await;
    until("the replica to have the other tunnel", async || has(&pair.first, &token).then_some(())).await;
    pair.second.kill();
    promote(&pair.first);
    keeps(&pair.first, &tunnel.server).await;
    tunnel.still_works().await;
    for token in [&tunnel.token, &token] {
        assert_eq!(get(tunnel.server.address, &format!("/refresh/{token}")).await.text(), "OK");
    }
}

#[tokio::test]
async fn a_master_that_says_nothing_is_left_for_the_next_one() {
    let Some(pair) = Pair::start().await else { return };
    let mut tunnel = Tunnel::open(over(&pair.urls()), "").await;
    until("the replica to have the tunnel", async || has(&pair.second, &tunnel.token).then_some(())).await;
    pair.first.signal("-STOP");
    promote(&pair.second);
    keeps(&pair.second, &tunnel.server).await;
    tunnel.still_works().await;
    let another = Server::start(over(&pair.urls())).await;
    keeps(&pair.second, &another).await;
}

#[tokio::test]
async fn a_master_is_kept_while_it_answers_and_the_one_with_replicas_is_taken_next() {
    let Some(mut pair) = Pair::start().await else { return };
    let Some(third) = Redis::start().await else { return };
    let server = Server::start(over(&format!("{},{}", pair.urls(), third.url()))).await;
    server.token().await;
    follow(&third, &pair.first).await;
    promote(&pair.second);
    let token = server.token().await;
    assert!(has(&pair.first, &token), "the server stays with its master");
    follow(&third, &pair.second).await;
    pair.first.kill();
    pair.first.restart(&[]).await;
    keeps(&pair.second, &server).await;
    // Whichever is named first.
    let another = Server::start(over(&format!("{},{}", pair.first.url(), pair.second.url()))).await;
    keeps(&pair.second, &another).await;
}

#[tokio::test]
async fn a_master_that_lacks_its_replicas_is_left_for_one_that_takes_writes() {
    let Some(pair) = Pair::start().await else { return };
    pair.first.ask::<String>(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    // The order in which the old master would be taken.
    let urls = format!("{},{}", pair.first.url(), pair.second.url());
    let mut tunnel = Tunnel::open(over(&urls), "").await;
    until("the replica to have the tunnel", async || has(&pair.second, &tunnel.token).then_some(())).await;
    pair.second.ask::<String>(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    promote(&pair.second);
    until("an answer that nothing can be written", async || {
        (get(tunnel.server.address, "/new").await.status == 503).then_some(())
    })
    .await;
    // What was written before is read meanwhile.
    tunnel.still_works().await;
    pair.second.ask::<String>(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    keeps(&pair.second, &tunnel.server).await;
    tunnel.still_works().await;
}

/// Asks for a token until there is none, and returns the log.
async fn log_without_a_master(url: &str) -> String {
    let server = Started::new(&[("REDIS_URL", url), ("SOCKET2ME_LOG", "socket2me=info,redis=trace")]);
    assert_eq!(get(server.address(), "/new").await.code(), Some("store-unavailable"));
    server.log()
}

#[tokio::test]
async fn the_log_says_what_each_server_is_if_none_is_a_master_and_has_no_password() {
    let Some((mut replica, mut gone)) = Redis::start().await.zip(Redis::start().await) else { return };
    gone.kill();
    replica.kill();
    replica.restart(&["--replicaof", "127.0.0.1", "1", "--requirepass", "hunter2"]).await;
    let url = |port| format!("redis://:hunter2@127.0.0.1:{port}");
    let log = log_without_a_master(&format!("{},{}", url(replica.port), url(gone.port))).await;
    let is_told = format!("127.0.0.1:{} is a replica of 127.0.0.1:1", replica.port);
    let fails = format!("127.0.0.1:{} fails", gone.port);
    assert!(log.contains(&is_told) && log.contains(&fails) && log.contains("no server is a master"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
    let log =
        log_without_a_master(&format!("{},redis://127.0.0.1:1", url(replica.port).replace("hunter2", "hunter3"))).await;
    assert!(log.contains("no server is a master") && !log.contains("hunter"), "{log}");
}

#[tokio::test]
async fn only_with_several_servers_the_user_must_be_allowed_to_ask_for_the_master() {
    let Some(redis) = Redis::start().await else { return };
    redis.ask::<String>(&["ACL", "SETUSER", "tunnels", "on", ">hunter2", "~*", "&*", "+@all", "-role", "-info"]);
    let url = format!("redis://tunnels:hunter2@127.0.0.1:{}", redis.port);
    let server = Started::new(&[("REDIS_URL", &url)]);
    server.works().await;
    drop(server.log());
    let both = format!("{url},redis://127.0.0.1:1");
    let log = log_without_a_master(&both).await;
    assert!(log.contains("allow it with ACL SETUSER NAME +role") && !log.contains("hunter2"), "{log}");
    redis.ask::<String>(&["ACL", "SETUSER", "tunnels", "+role"]);
    let server = Started::new(&[("REDIS_URL", &both)]);
    server.works().await;
    drop(server.log());
}

#[tokio::test]
async fn a_master_that_takes_writes_without_its_replicas_is_warned_of() {
    let Some(pair) = Pair::start().await else { return };
    pair.first.ask::<String>(&["ACL", "SETUSER", "tunnels", "on", ">hunter2", "~*", "&*", "+@all", "-info", "-config"]);
    let of_user = pair.first.url().replace("redis://", "redis://tunnels:hunter2@");
    for (wanted, url, is_warned) in
        [("0", pair.first.url(), true), ("0", pair.urls(), true), ("0", of_user, false), ("1", pair.first.url(), false)]
    {
        pair.first.ask::<String>(&["CONFIG", "SET", "min-replicas-to-write", wanted]);
        let server = Started::new(&[("REDIS_URL", &url)]);
        server.works().await;
        let log = server.log();
        assert_eq!(log.contains("set min-replicas-to-write 1"), is_warned, "{wanted} {url}: {log}");
    }
}
