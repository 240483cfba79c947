//! Payloads, polls, POSTs and the heartbeat of revision 4 (PROTOCOL.md, "Polling bodies", "Engine.IO requests" and "A
//! session").

use std::time::Instant;

use super::{E1, beating, ms, small};
use crate::support::wire::{Server, refusal};
use crate::support::within;

// Payloads

#[tokio::test]
async fn packets_of_one_body_are_handled_in_order() {
    let server = Server::start().await;
    let session = server.open().await;
    session.post("40/a,\x1e0{}\x1e40/b\x1e5\x1e6\x1e3\x1e40/c,{}").await.is(200, "ok");
    session.poll().await.is(200, &[refusal("/a"), refusal("/b"), refusal("/c")].join("\x1e"));
}

#[tokio::test]
async fn binary_is_base64_both_ways() {
    let server = Server::start().await;
    let (session, token) = (server.open().await, server.token().await);
    session.post(format!("40/{token},")).await.is(200, "ok");
    assert!(session.poll().await.text().starts_with("40/"));
    let rows: [(&str, &[u8]); 4] = [("AQIDBA==", &[1, 2, 3, 4]), ("AQI", &[1, 2]), ("4AQID", &[0xe0, 4, 8]), ("", &[])];
    for (id, (base64, bytes)) in rows.into_iter().enumerate() {
        let mut visitor = server.visit(&token, &[1, 2, 3, 4]).await;
        let text = session.poll().await.text();
        assert!(text.starts_with(&format!(r#"451-/{token},{id}["request",{{"#)), "{text}");
        assert!(text.ends_with("}]\x1ebAQIDBA=="), "{text}");
        let ack = format!("461-/{token},{id}[200,{{\"_placeholder\":true,\"num\":0}}]\x1eb{base64}");
        session.post(ack).await.is(200, "ok");
        assert_eq!(visitor.answer().await.body, bytes, "b{base64}");
    }
}

#[tokio::test]
async fn packets_before_a_malformed_one_are_delivered() {
    let server = Server::start().await;
    let (session, token) = (server.open().await, server.token().await);
    session.post(format!("40/{token},")).await.is(200, "ok");
    assert_eq!(session.poll().await.status, 200);
    let mut visitor = server.visit(&token, b"x").await;
    assert_eq!(session.poll().await.status, 200);
    session.post(format!("43/{token},0[201,\"yes\"]\x1e9")).await.is(400, "");
    visitor.answer().await.is(201, "yes");
    session.is_gone().await;
}

#[tokio::test]
async fn a_malformed_post_closes_the_session() {
    let server = Server::start().await;
    let bodies: [&[u8]; 9] =
        [b"", b"9", b"a", b"abc", b"40/a,\x1e", b"\x1e40/a,", b"40/a,\x1e\x1e40/b,", b"b!!!!", b"4\xff"];
    for body in bodies {
        let session = server.open().await;
        let mut held = session.held_poll().await;
        let shown = String::from_utf8_lossy(body);
        assert_eq!(session.post(body).await.parts(), (400, String::new()), "{shown:?}");
        assert_eq!(held.answer().await.parts(), (200, "1".to_owned()), "{shown:?}");
        session.is_gone().await;
    }
}

#[tokio::test]
async fn a_post_of_bytes_closes_the_session() {
    let server = Server::start().await;
    let session = server.open().await;
    session.post_as("application/octet-stream", "40/a,").await.is(400, "");
    session.is_gone().await;
}

// Polls and POSTs

#[tokio::test]
async fn a_poll_waits_for_the_first_packet() {
    let server = Server::start().await;
    let session = server.open().await;
    let mut held = session.held_poll().await;
    let answer = session.post("40/a,").await;
    answer.is(200, "ok");
    assert_eq!(answer.header("content-type"), Some("text/html"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let answer = held.answer().await;
    answer.is(200, &refusal("/a"));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=UTF-8"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn two_polls_at_once_close_the_session() {
    let server = Server::start().await;
    let session = server.open().await;
    let mut first = session.held_poll().await;
    session.poll().await.is(400, "");
    first.answer().await.is(200, "1");
    session.is_gone().await;
}

#[tokio::test]
async fn a_poll_that_is_broken_off_closes_the_session() {
    let server = Server::start().await;
    let session = server.open().await;
    drop(session.held_poll().await);
    within("the session to end", async { while session.post("6").await.status == 200 {} }).await;
    session.is_gone().await;
}

#[tokio::test]
async fn two_posts_at_once_close_the_session() {
    let server = Server::start().await;
    let session = server.open().await;
    let mut held = session.held_poll().await;
    let mut first = session.begun_post("Content-Length: 5", b"40").await;
    server.settle().await;
    session.post("40/b,").await.is(400, "");
    held.answer().await.is(200, "1");
    first.send(b"/a,").await;
    assert_eq!(first.answer().await.status, 400);
    session.is_gone().await;
}

#[tokio::test]
async fn a_post_that_is_broken_off_closes_the_session() {
    let server = Server::start().await;
    let session = server.open().await;
    let mut held = session.held_poll().await;
    let first = session.begun_post("Content-Length: 5", b"40").await;
    server.settle().await;
    drop(first);
    held.answer().await.is(200, "1");
    session.is_gone().await;
}

#[tokio::test]
async fn a_post_over_the_limit_is_413_and_closes_the_session() {
    let server = small().await;
    let session = server.open().await;
    session.post(format!("{:>1000}", "").replacen(' ', "6", 1)).await.is(200, "ok");
    let chunk = [&b"258\r\n"[..], &[b'6'; 0x258], b"\r\n"].concat();
    for (framing, start) in
        [("Content-Length: 1001", vec![]), ("Transfer-Encoding: chunked", [&chunk[..], &chunk].concat())]
    {
        let session = server.open().await;
        let mut held = session.held_poll().await;
        let mut post = session.begun_post(framing, &start).await;
        let answer = post.answer().await;
        assert_eq!(answer.parts(), (413, String::new()), "{framing}");
        assert_eq!(answer.header("connection"), Some("close"), "{framing}");
        held.answer().await.is(200, "1");
        session.is_gone().await;
    }
}

#[tokio::test]
async fn the_clients_close_releases_the_waiting_poll() {
    let server = Server::start().await;
    let session = server.open().await;
    let mut held = session.held_poll().await;
    session.post("1").await.is(200, "ok");
    held.answer().await.is(200, "6");
    session.is_gone().await;
}

#[tokio::test]
async fn one_poll_after_the_clients_close_is_released() {
    let server = Server::start().await;
    let session = server.open().await;
    session.post("40/a,\x1e1").await.is(200, "ok");
    session.poll().await.is(200, "6");
    session.is_gone().await;
    session.post("6").await.is(400, E1);
}

#[tokio::test]
async fn the_servers_close_comes_with_the_next_poll() {
    let server = Server::start().await;
    let session = server.open().await;
    // After twenty refusals the server closes the session.
    let names: Vec<_> = (0..20).map(|number| format!("/{number}")).collect();
    session.post(names.iter().map(|name| format!("40{name}")).collect::<Vec<_>>().join("\x1e")).await.is(200, "ok");
    // An answer has 16 packets at most.
    let refusals: Vec<_> = names.iter().map(|name| refusal(name)).collect();
    session.poll().await.is(200, &refusals[..16].join("\x1e"));
    session.poll().await.is(200, &format!("{}\x1e1", refusals[16..].join("\x1e")));
    session.is_gone().await;
}

#[tokio::test]
async fn a_stopping_server_closes_every_session() {
    let server = Server::start().await;
    let mut ws = server.open_ws().await;
    let mut held = server.open().await.held_poll().await;
    server.stop();
    held.answer().await.is(200, "1");
    ws.closes(Some(1001), "shutdown").await;
}

// Heartbeat

#[tokio::test]
async fn pings_come_over_polling_after_each_interval() {
    let server = beating(ms(150), ms(5000)).await;
    let mut before = Instant::now();
    let session = server.open().await;
    for _ in 0..3 {
        session.poll().await.is(200, "2");
        assert!(before.elapsed() >= ms(150), "a ping after {:?}", before.elapsed());
        before = Instant::now();
        session.post("3").await.is(200, "ok");
    }
    session.post("3\x1e3").await.is(200, "ok");
    session.is_alive().await;
}

#[tokio::test]
async fn pings_come_on_a_websocket_after_each_interval() {
    let server = beating(ms(150), ms(5000)).await;
    let mut before = Instant::now();
    let mut ws = server.open_ws().await;
    for _ in 0..3 {
        ws.expect("2").await;
        assert!(before.elapsed() >= ms(150), "a ping after {:?}", before.elapsed());
        before = Instant::now();
        ws.text("3").await;
    }
    ws.text("3").await;
    ws.is_alive().await;
}

#[tokio::test]
async fn a_missing_pong_closes_the_session() {
    let server = beating(ms(150), ms(500)).await;
    let start = Instant::now();
    let session = server.open().await;
    session.poll().await.is(200, "2");
    session.poll().await.is(200, "1");
    assert!(start.elapsed() >= ms(650));
    session.is_gone().await;
    let start = Instant::now();
    let mut ws = server.open_ws().await;
    ws.expect("2").await;
    ws.closes(None, "no pong").await;
    assert!(start.elapsed() >= ms(650));
}

/// Waits for `count` heartbeats of another session.
async fn heartbeats(server: &Server, count: usize) {
    let mut ws = server.open_ws().await;
    for _ in 0..count {
        ws.expect("2").await;
        ws.text("3").await;
    }
}

#[tokio::test]
async fn a_session_that_never_polls_ends_after_interval_and_timeout() {
    let server = beating(ms(150), ms(500)).await;
    let start = Instant::now();
    let session = server.open().await;
    heartbeats(&server, 5).await;
    assert!(start.elapsed() >= ms(650));
    session.is_gone().await;
}

#[tokio::test]
async fn another_packet_gives_the_pong_more_time() {
    let server = beating(ms(100), ms(600)).await;
    let mut ws = server.open_ws().await;
    ws.expect("2").await;
    heartbeats(&server, 3).await;
    let sent = Instant::now();
    ws.text("6").await;
    ws.closes(None, "no pong").await;
    assert!(sent.elapsed() >= ms(600), "closed after {:?}", sent.elapsed());
}

#[tokio::test]
async fn a_ping_from_the_client_closes_the_session() {
    let server = Server::start().await;
    for ping in ["2", "2probe"] {
        let session = server.open().await;
        session.post(ping).await.is(200, "ok");
        session.is_gone().await;
        let mut ws = server.open_ws().await;
        ws.text(ping).await;
        ws.closes(None, ping).await;
    }
}
