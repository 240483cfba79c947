//! An end that breaks the protocol loses its own session, and visitors of another tunnel are served meanwhile.

use std::cell::Cell;
use std::future::Future;

use futures::future::{join, join_all};

use super::figures::watched;
use super::{ack, go, id_of, ms, narrow};
use crate::support::wire::{Server, frame};

/// The least number of exchanges that another tunnel completes meanwhile.
const EXCHANGES: usize = 30;

/// Runs `what` while visitors of another tunnel come one after the other, each of which must be served.
pub(crate) async fn undisturbed(server: &Server, what: impl Future<Output = ()>) {
    let (mut ws, token) = server.joined().await;
    let over = Cell::new(false);
    let answering = async {
        loop {
            let packet = ws.next_text().await;
            if packet == "2" {
                ws.text("3").await;
                continue;
            }
            ack(&mut ws, &token, &id_of(&packet), r#"["served"]"#).await;
        }
    };
    let visiting = async {
        let mut served = 0;
        while served < EXCHANGES || !over.get() {
            server.ask("GET", &go(&token), &[], b"").await.is(200, "served");
            served += 1;
        }
    };
    let what = async {
        what.await;
        over.set(true);
    };
    tokio::select! {
        _ = join(what, visiting) => (),
        () = answering => (),
    }
}

async fn is_not_connected(server: &Server, token: &str) {
    let answer = server.ask("GET", &go(token), &[], b"").await;
    assert_eq!(answer.header("x-socket2me-error"), Some("client-not-connected"));
}

#[tokio::test]
async fn one_bad_packet_or_frame_costs_its_own_session_alone() {
    let server = Server::with(|config| config.max_payload = Some(1_000)).await;
    for (first, payload) in [
        (0x81, &b"4x"[..]),
        (0x81, b"x"),
        (0x81, b"\xff"),
        (0x81, b""),
        (0x81, b"42/other,[\"a\"]"),
        (0x82, b"unannounced"),
        (0xf1, b"reserved bits"),
        (0x81, &[b'4'; 5_000]),
        (0x82, &[0; 5_000]),
    ] {
        undisturbed(&server, async {
            let (mut ws, token) = server.joined().await;
            ws.peer.try_send(&frame(first, payload)).await;
            ws.peer.until_end().await;
            is_not_connected(&server, &token).await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_flood_of_events_is_ignored() {
    let server = Server::start().await;
    undisturbed(&server, async {
        let (mut ws, token) = server.joined().await;
        let event = frame(0x81, format!(r#"42/{token},["flood",{{"a":1}}]"#).as_bytes());
        ws.peer.send(&event.repeat(50_000)).await;
        ws.is_alive().await;
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_connects_closes_its_session() {
    let server = Server::start().await;
    undisturbed(&server, async {
        let (mut ws, token) = server.joined().await;
        let connects: Vec<u8> = (0..20_000).flat_map(|n| frame(0x81, format!("40/{n},").as_bytes())).collect();
        ws.peer.try_send(&connects).await;
        let said = ws.peer.until_end().await;
        assert_eq!(String::from_utf8_lossy(&said).matches("44/").count(), 20, "as many as are refused at the most");
        is_not_connected(&server, &token).await;
    })
    .await;
}

/// Pings are answered while the client reads. When it stops, what waits for it is bounded.
#[tokio::test]
async fn a_flood_of_pings_in_revision_3_is_bounded() {
    let (server, figures) = watched(|config| config.limits.stall_timeout = ms(1_000)).await;
    undisturbed(&server, async {
        let mut peer = narrow(&server).await;
        peer.send(super::advisories::upgrade("EIO=3&transport=websocket").as_bytes()).await;
        assert_eq!(peer.answer().await.status, 101);
        let flood = frame(0x81, b"2").repeat(20_000);
        while peer.try_send(&flood).await {}
    })
    .await;
    figures.all_given_back("a flood of pings").await;
}

#[tokio::test]
async fn an_end_that_never_reads_is_disconnected() {
    let (server, figures) = watched(|config| {
        // Long enough for the other tunnel on a busy machine.
        config.response_timeout = ms(3_000);
        config.limits.stall_timeout = ms(1_000);
    })
    .await;
    undisturbed(&server, async {
        let token = server.token().await;
        let mut peer = narrow(&server).await;
        peer.send(super::advisories::upgrade("EIO=4&transport=websocket").as_bytes()).await;
        peer.send(&frame(0x81, format!("40/{token},").as_bytes())).await;
        assert_eq!(peer.answer().await.status, 101);
        server.settle().await;
        // More and more waits for the end, until the server gives it up.
        let body = vec![b'x'; 1 << 20];
        let mut is_connected = true;
        while is_connected {
            let visits = (0..8).map(async |_| server.visit_as("text/plain", &token, &body).await.answer().await);
            for answer in join_all(visits).await {
                match answer.header("x-socket2me-error") {
                    Some("client-not-connected" | "client-disconnected") => is_connected = false,
                    Some("client-timed-out" | "overloaded" | "server-busy") => (),
                    other => panic!("{other:?}"),
                }
            }
        }
    })
    .await;
    figures.all_given_back("an end that never reads").await;
}

/// Requests that arrive while their session ends are answered too, with 200 or 400.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_amid_the_end_of_its_session_is_answered() {
    let server = Server::start().await;
    for _ in 0..200 {
        let session = server.open().await;
        let target = format!("/socket.io/?{}", session.query("polling"));
        let mut peers = Vec::new();
        for number in 0..12 {
            let packet = if number == 6 { b"1" } else { b"3" };
            peers.push(server.send("POST", &target, &[], packet).await);
        }
        for mut peer in peers {
            // 200 before the close or with it, 400 after it or while another POST is read.
            assert!(matches!(peer.answer().await.status, 200 | 400));
        }
    }
}
