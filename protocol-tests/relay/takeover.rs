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

/// Ends of a token that join at the same moment, before any of them is the tunnel's: each event has an id of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_ends_that_join_at_once_share_the_tunnels_ack_ids() {
    let server = Server::start(patient()).await;
    for _ in 0..20 {
        let token = server.token().await;
        let ends = futures::future::join_all((0..4).map(|_| End::connect(server.address, &token))).await;
        let visitors = futures::future::join_all((0..4).map(|_| async {
            let mut visitor = Visitor::connect(server.address).await;
            visitor.send(&request("GET", &format!("/go/{token}"), &[], b"")).await;
            visitor
        }))
        .await;
        let mut ids = Vec::new();
        for mut end in ends {
            // The newest is asked four times, the others are told to leave.
            while ids.len() < visitors.len() {
                match end.hear().await {
                    Heard::Text(packet) if packet.starts_with("42") => {
                        ids.push(packet.split('[').next().unwrap().to_owned());
                    }
                    Heard::Text(packet) if packet == format!("41/{token},") => break,
                    other => panic!("{other:?}"),
                }
            }
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 4, "{ids:?}");
    }
}

/// An end is connected at every moment, so every visitor is answered, although ends take over meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_visitor_is_told_during_a_takeover_that_no_end_is_connected() {
    const TAKEOVERS: usize = 300;
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
        let ask = format!("GET /go/{token} HTTP/1.1\r\nHost: relay.example\r\n\r\n");
        let mut visitor = Visitor::connect(address).await;
        while !is_over.load(Ordering::Relaxed) {
            visitor.send(ask.as_bytes()).await;
            let answer = visitor.answer(false).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "served"), "{:?}", answer.code());
            served.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let taking_over = async {
        for _ in 0..TAKEOVERS {
            ends.spawn(serve(End::connect(address, &token).await));
        }
        is_over.store(true, Ordering::Relaxed);
    };
    futures::future::join(visiting, taking_over).await;
    assert!(served.load(Ordering::Relaxed) > TAKEOVERS);
}
