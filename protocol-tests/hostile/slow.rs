//! Slow peers: the server gives them up, and frees all that they held.

use std::time::Duration;

use socket2me::config::ServeConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::figures::{Figures, watched};
use super::{ack, go, id_of, ms, narrow, serves};
use crate::support::wire::{Peer, Server, frame};
use crate::support::within;

async fn impatient(change: impl FnOnce(&mut ServeConfig)) -> (Server, Figures) {
    watched(|config| {
        config.limits.stall_timeout = ms(1_000);
        config.limits.head_timeout = ms(500);
        change(config);
    })
    .await
}

/// How often a slow peer sends or reads a byte.
const DRIP: Duration = ms(100);

/// Sends byte by byte, or nothing, until the server ends the connection; returns what the server sent.
async fn dripping(peer: &mut Peer, drips: bool) -> Vec<u8> {
    let (mut reading, mut writing) = peer.stream.split();
    let drip = async {
        let mut interval = tokio::time::interval(DRIP);
        loop {
            interval.tick().await;
            if drips && writing.write_all(b"x").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut said = Vec::new();
    let until_end = async {
        tokio::select! {
            _ = reading.read_to_end(&mut said) => (),
            () = drip => (),
        }
    };
    within("the server to give it up", until_end).await;
    said
}

#[tokio::test]
async fn a_head_that_does_not_end_is_given_up() {
    let (server, figures) = impatient(|_| ()).await;
    for start in ["", "G", "GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: "] {
        let mut peer = server.peer().await;
        peer.send(start.as_bytes()).await;
        let said = dripping(&mut peer, start.len() > 1).await;
        assert!(!String::from_utf8_lossy(&said).contains(" 200 "), "{start:?}");
    }
    // A connection that is idle after a request is given up too.
    let mut peer = server.peer().await;
    peer.send(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").await;
    peer.answer().await.is(200, "ok\n");
    assert_eq!(peer.until_end().await, b"");
    figures.all_given_back("slow heads").await;
    assert_eq!(figures.hits("head-timeout").await, 2, "that of a client which says nothing is none");
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_408() {
    let (server, figures) = impatient(|_| ()).await;
    let (mut ws, token) = server.joined().await;
    for drips in [false, true] {
        let mut visitor = server.peer().await;
        let head = format!("POST {} HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n", go(&token));
        visitor.send(&[head.as_bytes(), &[b'x'; 30_000]].concat()).await;
        figures.until_used("bytes", |used| used >= 30_000, "a slow body").await;
        let said = dripping(&mut visitor, drips).await;
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("x-socket2me-error: body-too-slow"), "{said:?}");
        assert!(said.contains("connection: close"), "{said:?}");
        figures.until_used("bytes", |used| used == 0, "a slow body was given up").await;
    }
    assert_eq!((figures.outcomes("body-too-slow").await, figures.hits("stall-timeout").await), (2, 2));
    serves(&server, &mut ws, &token).await;
}

#[tokio::test]
async fn a_polling_body_that_stops_closes_its_session() {
    let (server, figures) = impatient(|_| ()).await;
    let session = server.open().await;
    let mut post = session.begun_post("Content-Length: 100000", &[b'4'; 30_000]).await;
    assert_eq!(post.head().await.status, 400);
    session.is_gone().await;
    drop(post);
    figures.all_given_back("half a polling body").await;
    assert_eq!(figures.hits("stall-timeout").await, 1);
}

#[tokio::test]
async fn a_visitor_that_reads_too_slowly_is_disconnected() {
    const BODY: usize = 12 << 20;
    let (server, figures) = impatient(|_| ()).await;
    let (mut ws, token) = server.joined().await;
    for drips in [false, true] {
        let mut visitor = narrow(&server).await;
        visitor.send(format!("GET {} HTTP/1.1\r\nHost: test\r\n\r\n", go(&token)).as_bytes()).await;
        let id = id_of(&ws.next_text().await);
        ack(&mut ws, &token, &id, &format!(r#"["{}"]"#, "x".repeat(BODY))).await;
        assert_eq!(visitor.head().await.status, 200);
        figures.until_used("bytes", |used| used >= BODY as u64, "a response").await;
        let drip = async {
            let mut interval = tokio::time::interval(DRIP);
            let mut drop = [0; 32];
            loop {
                interval.tick().await;
                if drips {
                    let _ = tokio::io::AsyncReadExt::read(&mut visitor.stream, &mut drop).await;
                }
            }
        };
        tokio::select! {
            () = figures.until_used("bytes", |used| used == 0, "a response that is not read") => (),
            () = drip => (),
        }
        figures.until_used("connections", |used| used == 1, "a visitor that does not read").await;
        serves(&server, &mut ws, &token).await;
    }
    assert_eq!(figures.hits("stall-timeout").await, 2);
}

#[tokio::test]
async fn an_end_that_stops_reading_is_disconnected() {
    let (server, figures) = impatient(|_| ()).await;
    let token = server.token().await;
    let mut end = narrow(&server).await;
    end.send(super::advisories::upgrade("EIO=4&transport=websocket").as_bytes()).await;
    assert_eq!(end.answer().await.status, 101);
    end.send(&frame(0x81, format!("40/{token},").as_bytes())).await;
    server.settle().await;
    let mut visitor = server.visit_as("text/plain", &token, &vec![b'x'; 9 << 20]).await;
    let answer = visitor.answer().await;
    assert_eq!(answer.header("x-socket2me-error"), Some("client-disconnected"));
    drop(visitor);
    figures.all_given_back("an end that stopped reading").await;
    assert_eq!(figures.hits("stall-timeout").await, 1);
    drop(end);
}

#[tokio::test]
async fn a_poll_that_never_comes_ends_the_session() {
    let (server, figures) = impatient(|config| (config.ping_interval, config.ping_timeout) = (ms(500), ms(500))).await;
    let token = server.token().await;
    let session = server.open().await;
    session.post(format!("40/{token},")).await.is(200, "ok");
    let mut visitor = server.visit_as("text/plain", &token, &[b'x'; 300_000]).await;
    assert_eq!(visitor.answer().await.header("x-socket2me-error"), Some("client-disconnected"));
    drop(visitor);
    figures.all_given_back("a poll that never came").await;
    assert_eq!(figures.hits("ping-timeout").await, 1);
}

#[tokio::test]
async fn engineioxide_731_an_upgrade_that_is_never_finished() {
    let (server, figures) = impatient(|config| config.upgrade_timeout = ms(500)).await;
    let session = server.open().await;
    for probed in [false, true] {
        let mut candidate = session.candidate().await;
        if probed {
            candidate.text("2probe").await;
            candidate.expect("3probe").await;
        }
        candidate.closes(None, "a candidate that says nothing").await;
        session.is_alive().await;
    }
    // The client asks for the WebSocket and does not even read the 101.
    let mut peer = server.peer().await;
    peer.send(super::advisories::upgrade(&session.query("websocket")).as_bytes()).await;
    figures.until_used("connections", |used| used == 0, "a candidate that does not read").await;
    session.is_alive().await;
    session.post("1").await.is(200, "ok");
    figures.all_given_back("upgrades").await;
    assert_eq!(figures.hits("upgrade-timeout").await, 3);
}

#[tokio::test]
async fn a_session_that_never_joins_is_closed() {
    let (server, figures) = impatient(|config| config.connect_timeout = ms(1_000)).await;
    let (_polling, _ws) = (server.open().await, server.open_ws().await);
    assert_eq!(figures.used("sessions").await, 2);
    figures.all_given_back("sessions that never join").await;
    assert_eq!(figures.hits("connect-timeout").await, 2);
}

#[tokio::test]
async fn half_a_message_and_then_silence_end_the_session() {
    let (server, figures) = impatient(|config| (config.ping_interval, config.ping_timeout) = (ms(500), ms(500))).await;
    let mut ws = server.open_ws().await;
    ws.peer.send(&frame(0x81, &[b'4'; 100_000])[..50_000]).await;
    figures.until_used("bytes", |used| used >= 50_000, "half a message").await;
    figures.all_given_back("half a message").await;
}
