//! Visitors that wait for an end, as an attack: they take what their limits allow, and neighbours are served meanwhile.

use futures::future::join_all;

use super::figures::watched;
use super::{go, serves};
use crate::support::UNKNOWN;
use crate::support::keyed::Keyed;
use crate::support::wire::{Peer, Server};

/// As many visitors as attack at once.
const CROWD: usize = 60;

/// Sends a request that announces a body and sends one byte of it.
async fn half_a_request(server: &Server, target: &str) -> Peer {
    let mut peer = server.peer().await;
    let head = format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\nx");
    peer.send(head.as_bytes()).await;
    peer
}

#[tokio::test]
async fn a_crowd_at_tunnels_without_ends_is_bounded_and_neighbours_are_served() {
    let (server, figures) = watched(|config| {
        (config.limits.max_held, config.limits.max_held_per_tunnel) = (30, 20);
        config.throttle_interval = std::time::Duration::ZERO;
    })
    .await;
    let (mut ws, neighbour) = server.joined().await;
    let mut vacant = Vec::new();
    for _ in 0..2 {
        let tunnel = Keyed::make(server.address, r#"{"hold":60}"#).await;
        tunnel.say_leave(&mut tunnel.join(server.address).await).await;
        vacant.push(tunnel);
    }
    let targets = [vacant[0].at("/"), vacant[1].at("/")];
    let mut crowd = join_all((0..CROWD).map(|number| half_a_request(&server, &targets[number % 2]))).await;
    // All that may wait, wait; the others are told so.
    figures.until_used("held", |used| used == 30, "those that wait").await;
    for name in [UNKNOWN, "nobody-here", &"x".repeat(48)] {
        let answer = server.ask("GET", &go(name), &[], b"").await;
        assert_eq!(answer.header("x-socket2me-error"), Some("token-not-found"), "{name}");
    }
    serves(&server, &mut ws, &neighbour).await;
    let used = ["bytes", "uploads", "exchanges"].map(|budget| figures.used(budget));
    assert_eq!(join_all(used).await, [0, 0, 0], "those that wait have read nothing");
    let refused = figures.outcomes("too-many-held").await;
    assert_eq!(usize::try_from(refused).unwrap(), CROWD - 30);
    // The tunnels end, and nobody waits any more.
    for tunnel in &vacant {
        assert_eq!(tunnel.ask(server.address, "DELETE", "").await.status, 204);
    }
    for peer in &mut crowd {
        assert!(matches!(peer.answer().await.status, 404 | 503));
    }
    drop((crowd, ws));
    figures.all_given_back("a crowd").await;
}
