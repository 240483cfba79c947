//! A newer end takes over a tunnel: what stays the tunnel's, and what visitors notice.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::tunnel::{Server, Tunnel, patient};
use super::visitor::{Visitor, get, request};
use crate::support::end::{End, Heard};

#[tokio::test]
async fn a_takeover_keeps_the_tunnels_limits() {
    let mut config = patient();
    (config.limits.max_exchanges, config.limits.max_exchanges_per_tunnel) = (40, 10);
    let mut tunnel = Tunnel::open(config, "").await;
    let neighbour = tunnel.server.token().await;
    let mut neighbours_end = End::connect(tunnel.server.address, &neighbour).await;
    let ask = request("GET", &tunnel.at(""), &[], b"");
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(tunnel.ask(&ask).await.0);
    }
    let mut older = Vec::new();
    for _ in 0..4 {
        let newer = End::connect(tunnel.server.address, &tunnel.token).await;
        older.push(std::mem::replace(&mut tunnel.end, newer));
        let answer = get(tunnel.server.address, &tunnel.at("")).await;
        assert_eq!((answer.status, answer.code()), (503, Some("overloaded")));
    }
    let mut visitor = Visitor::connect(tunnel.server.address).await;
    visitor.send(&request("GET", &format!("/go/{neighbour}"), &[], b"")).await;
    let asked = neighbours_end.asked().await;
    neighbours_end.answer(&asked, r#"["served"]"#, &[]).await;
    assert_eq!(visitor.answer(false).await.text(), "served");
}

#[tokio::test]
async fn an_ack_id_is_not_used_again_by_the_next_end() {
    let mut tunnel = Tunnel::patient().await;
    let (mut first, owed) = tunnel.ask(&request("GET", &tunnel.at("/first"), &[], b"")).await;
    let newer = End::connect(tunnel.server.address, &tunnel.token).await;
    let mut older = std::mem::replace(&mut tunnel.end, newer);
    let (mut second, owed_by_newer) = tunnel.ask(&request("GET", &tunnel.at("/second"), &[], b"")).await;
    assert_ne!(owed.id, owed_by_newer.id);
    older.answer(&owed, r#"["first"]"#, &[]).await;
    tunnel.end.answer(&owed_by_newer, r#"["second"]"#, &[]).await;
    assert_eq!(first.answer(false).await.text(), "first");
    assert_eq!(second.answer(false).await.text(), "second");
}

/// An end is connected at every moment, so every visitor is answered, although ends take over meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_visitor_is_told_during_a_takeover_that_no_end_is_connected() {
    // Enough takeovers, and enough visits meanwhile, to show the fault every time.
    const ENOUGH: usize = 100;
    let server = Server::start(patient()).await;
    let token = server.token().await;
    let (address, is_over, served) = (server.address, AtomicBool::new(false), AtomicUsize::new(0));
    let serve = |mut end: End| async move {
        loop {
            let Heard::Text(packet) = end.hear().await else { return };
            let Some(rest) = packet.strip_prefix("42/") else { return };
            let head = rest.split('[').next().unwrap_or_default();
            end.send(&format!("43/{head}[\"served\"]")).await;
        }
    };
    let mut ends = tokio::task::JoinSet::new();
    ends.spawn(serve(End::connect(address, &token).await));
    let visiting = futures::future::join_all((0..6).map(|_| async {
        // Making the event of a long body takes a while, in which another end may take over.
        let head = "Host: relay.example\r\nContent-Type: text/plain\r\nContent-Length: 65536\r\n\r\n";
        let ask = format!("POST /go/{token} HTTP/1.1\r\n{head}{}", "\"".repeat(65536));
        let mut visitor = Visitor::connect(address).await;
        while !is_over.load(Ordering::Relaxed) {
            visitor.send(ask.as_bytes()).await;
            let answer = visitor.answer(false).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "served"), "{:?}", answer.code());
            served.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let taking_over = async {
        let mut takeovers = 0;
        while takeovers < ENOUGH || served.load(Ordering::Relaxed) < ENOUGH {
            ends.spawn(serve(End::connect(address, &token).await));
            takeovers += 1;
        }
        is_over.store(true, Ordering::Relaxed);
    };
    futures::future::join(visiting, taking_over).await;
}
