//! The memory for bodies and messages on their way: all that a peer can make the server keep is counted in it, and is given
//! back.

use super::figures::{Figures, watched};
use super::{ack, go, id_of, ms, narrow, serves};
use crate::support::wire::{Frame, Server, Ws, frame};

/// Starts a server with this much memory, a quarter of it for each tunnel.
async fn with_memory(bytes: usize) -> (Server, Figures) {
    watched(|config| {
        config.limits.max_buffered = Some(bytes);
        config.max_body = 64 << 20;
        config.max_payload = Some(64 << 20);
    })
    .await
}

fn upload(token: &str, announced: usize) -> Vec<u8> {
    let head = "Host: test\r\nContent-Type: text/plain\r\nContent-Length:";
    format!("POST {} HTTP/1.1\r\n{head} {announced}\r\n\r\n", go(token)).into_bytes()
}

#[tokio::test]
async fn an_upload_is_counted_while_it_comes() {
    let (server, figures) = with_memory(400_000).await;
    let (mut ws, token) = server.joined().await;
    let (mut other, others) = server.joined().await;
    let mut slow = server.peer().await;
    slow.send(&[&upload(&token, 90_000)[..], &[b'x'; 60_000]].concat()).await;
    figures.until_used("bytes", |used| used >= 60_000, "an upload").await;
    // The tunnel's quarter has no room for a second upload. Small requests and other tunnels go on.
    let mut refused = server.peer().await;
    refused.send(&[&upload(&token, 60_000)[..], &[b'x'; 60_000]].concat()).await;
    let answer = refused.answer().await;
    assert_eq!((answer.status, answer.header("x-socket2me-error")), (503, Some("server-busy")));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(figures.outcomes("server-busy").await, 1);
    serves(&server, &mut ws, &token).await;
    let mut visitor = server.visit_as("text/plain", &others, &[b'x'; 60_000]).await;
    let id = id_of(&other.next_text().await);
    ack(&mut other, &others, &id, "[]").await;
    assert_eq!(visitor.answer().await.status, 200);
    drop(slow);
    figures.until_used("bytes", |used| used == 0, "the upload was broken off").await;
    assert_eq!(figures.outcomes("body-incomplete").await + figures.outcomes("visitor-left").await, 1);
    serves(&server, &mut ws, &token).await;
}

/// The buffer of a head that grows is twice as long as the head.
#[tokio::test]
async fn a_long_head_is_counted_until_it_is_answered() {
    let (server, figures) = with_memory(1_000_000).await;
    let (mut ws, token) = server.joined().await;
    let head = format!("GET {} HTTP/1.1\r\nHost: test\r\nX-Long: {}", go(&token), "x".repeat(60_000));
    for way in ["answered", "cut"] {
        let mut visitor = server.peer().await;
        visitor.send(head.as_bytes()).await;
        figures.until_used("head_bytes", |used| used >= 120_000, way).await;
        assert!(figures.used("bytes").await >= 120_000, "the part of the whole");
        if way == "cut" {
            drop(visitor);
        } else {
            visitor.send(b"\r\n\r\n").await;
            let id = id_of(&ws.next_text().await);
            ack(&mut ws, &token, &id, "[]").await;
            let answer = visitor.answer().await;
            assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "the buffer goes with it");
        }
        figures.until_used("head_bytes", |used| used == 0, way).await;
    }
}

#[tokio::test]
async fn long_heads_take_a_quarter_of_the_memory_and_short_ones_none() {
    let (server, figures) = with_memory(400_000).await;
    let (mut ws, token) = server.joined().await;
    let head = format!("GET {} HTTP/1.1\r\nHost: test\r\nX-Long: {}", go(&token), "x".repeat(30_000));
    let mut first = server.peer().await;
    first.send(head.as_bytes()).await;
    figures.until_used("head_bytes", |used| used >= 60_000, "the first").await;
    let mut second = server.peer().await;
    second.send(head.as_bytes()).await;
    let answer = second.answer().await;
    assert_eq!((answer.status, answer.header("x-socket2me-error")), (503, Some("server-busy")));
    assert_eq!((answer.header("retry-after"), answer.header("connection")), (Some("1"), Some("close")));
    assert_eq!(
        answer.text(),
        r#"{"Error":"the server has no memory left for a head of this size, try again in a moment"}"#
    );
    serves(&server, &mut ws, &token).await;
    drop(first);
    figures.until_used("head_bytes", |used| used == 0, "the first is gone").await;
    let mut third = server.peer().await;
    third.send(&[head.as_bytes(), b"\r\n\r\n"].concat()).await;
    let id = id_of(&ws.next_text().await);
    ack(&mut ws, &token, &id, "[]").await;
    assert_eq!(third.answer().await.status, 200);
}

/// hyper keeps the buffer in which it has written a head.
#[tokio::test]
async fn an_answer_with_a_long_head_is_the_last_of_its_connection() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    for (length, connection) in [(100, None), (20_000, Some("close"))] {
        let mut visitor = server.visit(&token, b"").await;
        let id = id_of(&ws.next_text().await);
        ack(&mut ws, &token, &id, &format!(r#"[200,"",{{"x-long":"{}"}}]"#, "x".repeat(length))).await;
        let answer = visitor.answer().await;
        assert_eq!((answer.status, answer.header("connection")), (200, connection), "{length}");
        assert_eq!(answer.header("x-long").map(str::len), Some(length));
    }
}

/// A control character takes six bytes in an event, and a field of a form takes more than its text.
#[tokio::test]
async fn what_a_body_becomes_is_counted_before_it_is_made() {
    let (server, figures) = with_memory(4_000_000).await;
    let (mut ws, token) = server.joined().await;
    for (content_type, body) in
        [("text/plain", vec![1; 200_000]), ("application/x-www-form-urlencoded", b"a&".repeat(10_000))]
    {
        let answer = server.visit_as(content_type, &token, &body).await.answer().await;
        assert_eq!((answer.status, answer.header("x-socket2me-error")), (503, Some("server-busy")), "{content_type}");
        figures.until_used("bytes", |used| used == 0, content_type).await;
        serves(&server, &mut ws, &token).await;
    }
}

#[tokio::test]
async fn an_upload_is_counted_while_its_ack_is_awaited() {
    let (server, figures) = with_memory(4_000_000).await;
    let (mut ws, token) = server.joined().await;
    for way in ["answered", "visitor gone", "end gone"] {
        let mut visitor = server.visit_as("text/plain", &token, &[b'x'; 300_000]).await;
        let id = id_of(&ws.next_text().await);
        figures.until_used("bytes", |used| used >= 300_000, way).await;
        match way {
            "answered" => {
                ack(&mut ws, &token, &id, "[]").await;
                assert_eq!(visitor.answer().await.status, 200);
            }
            "visitor gone" => drop(visitor),
            _ => {
                ws.text("1").await;
                assert_eq!(visitor.answer().await.header("x-socket2me-error"), Some("client-disconnected"));
            }
        }
        figures.until_used("bytes", |used| used == 0, way).await;
    }
}

#[tokio::test]
async fn an_unread_response_is_counted_until_it_is_read() {
    const BODY: usize = 9 << 20;
    let (server, figures) = with_memory(64 << 20).await;
    let (mut ws, token) = server.joined().await;
    for way in ["read", "cut"] {
        let mut visitor = narrow(&server).await;
        visitor.send(format!("GET {} HTTP/1.1\r\nHost: test\r\n\r\n", go(&token)).as_bytes()).await;
        let id = id_of(&ws.next_text().await);
        ack(&mut ws, &token, &id, &format!(r#"["{}"]"#, "x".repeat(BODY))).await;
        assert_eq!(visitor.head().await.status, 200);
        figures.until_used("bytes", |used| used >= BODY as u64, way).await;
        if way == "read" {
            visitor.exactly(BODY).await;
        }
        drop(visitor);
        figures.until_used("bytes", |used| used == 0, way).await;
    }
    // The tunnel's quarter has no room for two such responses.
    let mut held = Vec::new();
    for status in [200, 503] {
        let mut visitor = narrow(&server).await;
        visitor.send(format!("GET {} HTTP/1.1\r\nHost: test\r\n\r\n", go(&token)).as_bytes()).await;
        let id = id_of(&ws.next_text().await);
        ack(&mut ws, &token, &id, &format!(r#"["{}"]"#, "x".repeat(BODY))).await;
        assert_eq!(visitor.head().await.status, status);
        held.push(visitor);
    }
    assert_eq!(figures.outcomes("server-busy").await, 1);
}

#[tokio::test]
async fn a_poll_for_whose_answer_there_is_no_memory_ends_its_session() {
    let (server, figures) = with_memory(400_000).await;
    let token = server.token().await;
    let polling = server.open().await;
    polling.post(format!("40/{token},")).await.is(200, "ok");
    assert_eq!(polling.poll().await.status, 200);
    let mut poll = polling.held_poll().await;
    // Uploads that do not end, in tunnels of their own, leave 130,000 bytes.
    let mut held = Vec::new();
    for number in 1..=3 {
        let (end, token) = server.joined().await;
        let mut slow = server.peer().await;
        slow.send(&[&upload(&token, 90_000)[..], &[b'x'; 89_999]].concat()).await;
        figures.until_used("bytes", |used| used >= number * 89_999, "an upload").await;
        held.push((end, slow));
    }
    // The event takes six times as much, and so does the answer beside it.
    let mut visitor = server.visit_as("text/plain", &token, &[1; 13_000]).await;
    assert_eq!(poll.answer().await.status, 503);
    assert_eq!(visitor.answer().await.header("x-socket2me-error"), Some("client-disconnected"));
}

async fn half_a_message(ws: &mut Ws, bytes: usize) {
    part_of_a_message(ws, bytes, 2 * bytes).await;
}

async fn part_of_a_message(ws: &mut Ws, bytes: usize, whole: usize) {
    let message = frame(0x81, &vec![b'4'; whole]);
    ws.peer.send(&message[..bytes]).await;
}

#[tokio::test]
async fn half_a_websocket_message_is_counted() {
    let (server, figures) = with_memory(4_000_000).await;
    let mut ws = server.open_ws().await;
    half_a_message(&mut ws, 300_000).await;
    // Memory that is reserved for the rest of the message counts too.
    figures.until_used("bytes", |used| (300_000..=600_000).contains(&used), "half a message").await;
    drop(ws);
    figures.until_used("bytes", |used| used == 0, "its connection is gone").await;
}

#[tokio::test]
async fn memory_reserved_for_a_message_grows_with_what_has_arrived() {
    let (server, figures) = with_memory(4_000_000).await;
    // While memory is plentiful, 31 times the bytes that have arrived are reserved; the first bytes, here a head alone, count as
    // 16 KiB.
    for (arrived, reserved) in [(14, 507_904..=507_904), (20_000, 600_000..=640_000)] {
        let mut ws = server.open_ws().await;
        part_of_a_message(&mut ws, arrived, 900_000).await;
        figures.until_used("bytes", |used| reserved.contains(&used), "a start").await;
        drop(ws);
        figures.until_used("bytes", |used| used == 0, "its connection is gone").await;
    }
    let (mut first, mut second) = (server.open_ws().await, server.open_ws().await);
    half_a_message(&mut first, 500_000).await;
    figures.until_used("bytes", |used| used == 1_000_000, "a quarter of the memory").await;
    // Otherwise as much again as has arrived.
    part_of_a_message(&mut second, 100_000, 900_000).await;
    figures.until_used("bytes", |used| (1_100_000..=1_200_000).contains(&used), "no plenty").await;
    drop((first, second));
    figures.all_given_back("rooms").await;
}

#[tokio::test]
async fn no_memory_for_a_websocket_message_closes_with_1013() {
    let (server, figures) = with_memory(400_000).await;
    let mut ws = server.open_ws().await;
    let message = frame(0x81, &[b'4'; 450_000]);
    ws.peer.try_send(&message).await;
    ws.closes(Some(1013), "no memory").await;
    assert_eq!(figures.hits("max-buffered").await, 1);
    figures.all_given_back("no memory").await;
}

/// Control frames may come between fragments (RFC 6455, section 5.4). The fragments that have arrived still count.
#[tokio::test]
async fn a_ping_between_fragments_does_not_hide_them() {
    let (server, figures) = with_memory(4_000_000).await;
    let mut ws = server.open_ws().await;
    ws.frame(0x01, &[b'4'; 150_000]).await;
    for _ in 0..2 {
        ws.frame(0x89, b"hide").await;
        assert_eq!(ws.next().await, Frame::Pong(b"hide".to_vec()));
        ws.frame(0x00, &[b'4'; 150_000]).await;
    }
    figures.until_used("bytes", |used| used >= 450_000, "three fragments and pings between them").await;
}

/// Heads of fragments are not kept, so empty fragments need no memory. Neither empty nor tiny fragments may use up the
/// memory that others need.
#[tokio::test]
async fn cve_2026_48779_a_flood_of_tiny_fragments() {
    let (server, figures) = with_memory(800_000).await;
    let (mut good, token) = server.joined().await;
    for (payload, count) in [(&b""[..], 200_000), (b"4", 110_000)] {
        let mut ws = server.open_ws().await;
        ws.frame(0x01, b"4").await;
        let flood = frame(0x00, payload).repeat(count);
        if ws.peer.try_send(&flood).await {
            // The connection may have been closed or not, but it must not use more than its quarter.
            server.settle().await;
            let used = figures.used("bytes").await;
            assert!(used <= 200_000, "{count} of {payload:?} take {used} bytes");
        }
        let mut visitor = server.visit_as("text/plain", &token, &[b'x'; 100_000]).await;
        let id = id_of(&good.next_text().await);
        ack(&mut good, &token, &id, "[]").await;
        assert_eq!(visitor.answer().await.status, 200);
    }
}

/// As the help text of `--max-buffered` says.
#[tokio::test]
async fn one_session_gets_a_quarter_of_the_memory() {
    let (server, figures) = with_memory(4_000_000).await;
    let mut ws = server.open_ws().await;
    let message = frame(0x81, &[b'4'; 3_000_000]);
    ws.peer.try_send(&message[..2_000_000]).await;
    let _ = ws.peer.until_end().await;
    assert_eq!(figures.hits("max-buffered").await, 1);
}

#[tokio::test]
async fn attachments_that_wait_for_others_are_counted() {
    let (server, figures) = with_memory(4_000_000).await;
    for way in ["complete", "cut", "left"] {
        let (mut ws, token) = server.joined().await;
        ws.text(&format!(r#"452-/{token},["a",{{"_placeholder":true,"num":1}}]"#)).await;
        ws.binary(&[7; 300_000]).await;
        figures.until_used("bytes", |used| used >= 300_000, way).await;
        match way {
            "complete" => ws.binary(b"").await,
            "cut" => drop(ws),
            // Text while attachments are due closes the session.
            _ => ws.text(&format!("41/{token},")).await,
        }
        figures.until_used("bytes", |used| used == 0, way).await;
    }
}

#[tokio::test]
async fn a_text_that_waits_for_its_attachments_is_counted() {
    let (server, figures) = with_memory(4_000_000).await;
    let (mut ws, token) = server.joined().await;
    ws.text(&format!(r#"451-/{token},["a","{}"]"#, "x".repeat(300_000))).await;
    figures.until_used("bytes", |used| used >= 300_000, "a text whose attachment does not come").await;
    ws.binary(b"").await;
    figures.until_used("bytes", |used| used == 0, "it came").await;
}

#[tokio::test]
async fn a_half_polling_body_is_counted() {
    let (server, figures) = with_memory(400_000).await;
    let session = server.open().await;
    let post = session.begun_post("Content-Length: 300000", &[b'4'; 200_000]).await;
    figures.until_used("bytes", |used| used >= 200_000, "half a body").await;
    drop(post);
    figures.until_used("bytes", |used| used == 0, "it was cut").await;
    let session = server.open().await;
    let mut post = session.begun_post("Content-Length: 450000", b"4").await;
    post.try_send(&[b'4'; 449_999]).await;
    assert_eq!(post.head().await.status, 503);
    session.is_gone().await;
    assert_eq!(figures.hits("max-buffered").await, 1);
    figures.until_used("bytes", |used| used == 0, "a connection that lingers").await;
    drop(post);
    figures.all_given_back("a body without memory").await;
}

/// Requests wait for an end that does not poll, even after their visitors have been answered.
#[tokio::test]
async fn what_waits_for_a_poll_is_counted() {
    let (server, figures) = watched(|config| config.response_timeout = ms(100)).await;
    let token = server.token().await;
    let session = server.open().await;
    session.post(format!("40/{token},")).await.is(200, "ok");
    assert_eq!(session.poll().await.status, 200);
    let mut visitor = server.visit_as("text/plain", &token, &[b'x'; 300_000]).await;
    visitor.answer().await.is(200, "OK");
    figures.until_used("bytes", |used| used >= 300_000, "a request that is not collected").await;
    session.post("1").await.is(200, "ok");
    figures.until_used("bytes", |used| used == 0, "its session is over").await;
}

/// An answer to a poll still counts after it has left the session, until the client has read it.
#[tokio::test]
async fn an_unread_answer_to_a_poll_is_counted() {
    const BODY: usize = 9 << 20;
    let (server, figures) = watched(|config| config.response_timeout = ms(100)).await;
    let token = server.token().await;
    let session = server.open().await;
    session.post(format!("40/{token},")).await.is(200, "ok");
    assert_eq!(session.poll().await.status, 200);
    let mut visitor = server.visit_as("text/plain", &token, &vec![b'x'; BODY]).await;
    visitor.answer().await.is(200, "OK");
    let mut poll = narrow(&server).await;
    let target = format!("/socket.io/?{}", session.query("polling"));
    poll.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).await;
    assert_eq!(poll.head().await.status, 200);
    figures.until_used("bytes", |used| used >= BODY as u64, "an answer to a poll that is not read").await;
    drop(poll);
    figures.until_used("bytes", |used| used == 0, "the poll was cut").await;
}

/// What the exchanges of an older end hold of the tunnel's quarter, the next end finds held.
#[tokio::test]
async fn a_takeover_keeps_the_memory_that_a_tunnel_holds() {
    let (server, figures) = with_memory(400_000).await;
    let (mut older, token) = server.joined().await;
    let mut waiting = server.visit_as("text/plain", &token, &[b'x'; 60_000]).await;
    let id = id_of(&older.next_text().await);
    let mut newer = server.open_ws().await;
    newer.join(&token).await;
    let mut refused = server.visit_as("text/plain", &token, &[b'x'; 60_000]).await;
    let answer = refused.answer().await;
    assert_eq!((answer.status, answer.header("x-socket2me-error")), (503, Some("server-busy")));
    assert_eq!(figures.outcomes("server-busy").await, 1);
    ack(&mut older, &token, &id, "[]").await;
    assert_eq!(waiting.answer().await.status, 200);
    figures.until_used("bytes", |used| used == 0, "the first is answered").await;
    serves(&server, &mut newer, &token).await;
}
