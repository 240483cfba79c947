//! Answers arrive: those given before the body is read, those to heads that cannot be read, and those that hyper would not
//! write.

use super::figures::watched;
use super::{ack, go, id_of};
use crate::support::wire::{Answer, Peer, Server, UPGRADE};

const MIB: usize = 1 << 20;

/// Sends a head, and then a whole body before it reads anything, as Python's `http.client` does. Returns the answer, after
/// which the server has closed its half of the connection.
async fn answer_after_all(server: &Server, head: &str, body: &[u8]) -> Answer {
    let mut peer = server.peer().await;
    peer.send(format!("{head}\r\n").as_bytes()).await;
    for part in body.chunks(64 << 10) {
        peer.send(part).await;
    }
    let answer = peer.answer().await;
    assert_eq!(answer.header("connection"), Some("close"), "{head:?}");
    peer.ends().await;
    answer
}

#[track_caller]
fn is_error(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.header("x-socket2me-error")), (status, Some(code)), "{}", answer.text());
    assert!(answer.text().starts_with(r#"{"Error":""#), "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
}

#[tokio::test]
async fn an_answer_before_the_body_arrives_after_all_of_it() {
    let server = Server::start().await;
    let (without_end, (_ws, with_end)) = (server.token().await, server.joined().await);
    let large = vec![b'x'; 22 * MIB];
    let upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    for (target, bytes, headers, status, code) in [
        (go(&without_end), 3 * MIB, "", 500, "client-not-connected"),
        (go("Nobody"), 3 * MIB, "", 500, "token-not-found"),
        (go(&with_end), large.len(), "", 413, "body-too-large"),
        ("/nothing".to_owned(), MIB, "", 404, "not-found"),
        ("/nothing".to_owned(), 8 * MIB, upgrade, 404, "not-found"),
        ("/new".to_owned(), 8 * MIB, "Connection: close\r\n", 415, "unsupported-media-type"),
    ] {
        let head = format!("POST {target} HTTP/1.1\r\nHost: test\r\n{headers}Content-Length: {bytes}\r\n");
        is_error(&answer_after_all(&server, &head, &large[..bytes]).await, status, code);
    }
    // A body of unknown length is read until it is over the limit.
    let head = format!("POST {} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n", go(&with_end));
    let chunks = [format!("{:x}\r\n", large.len()).as_bytes(), &large, b"\r\n0\r\n\r\n"].concat();
    is_error(&answer_after_all(&server, &head, &chunks).await, 413, "body-too-large");
    let head = "POST /nothing HTTP/1.0\r\nContent-Length: 8388608\r\n";
    is_error(&answer_after_all(&server, head, &large[..8 * MIB]).await, 404, "not-found");
}

/// hyper hands a connection over when it closes, if any request on it has asked for an upgrade.
#[tokio::test]
async fn an_answer_before_the_body_arrives_although_an_earlier_request_asked_for_an_upgrade() {
    let server = Server::start().await;
    let mut peer = server.peer().await;
    peer.send(b"GET /healthz HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n").await;
    peer.answer().await.is(200, "ok\n");
    peer.send(b"POST /nothing HTTP/1.1\r\nHost: test\r\nContent-Length: 8388608\r\n\r\n").await;
    for _ in 0..128 {
        peer.send(&[b'x'; 64 << 10]).await;
    }
    is_error(&peer.answer().await, 404, "not-found");
    peer.ends().await;
}

#[tokio::test]
async fn an_answer_to_an_end_before_its_body_arrives_after_all_of_it() {
    let server = Server::start().await;
    let sid = server.get("EIO=4&transport=polling").await.sid();
    for (query, bytes, status) in [
        ("EIO=4&transport=nothing".to_owned(), 3 * MIB, 400),
        ("EIO=4&transport=polling&sid=unknown".to_owned(), 3 * MIB, 400),
        (format!("EIO=4&transport=polling&sid={sid}"), 40 * MIB, 413),
    ] {
        let head = format!("POST /socket.io/?{query} HTTP/1.1\r\nHost: test\r\nContent-Length: {bytes}\r\n");
        assert_eq!(answer_after_all(&server, &head, &vec![b'4'; bytes]).await.status, status, "{query}");
    }
}

#[tokio::test]
async fn a_body_that_has_arrived_whole_keeps_its_connection() {
    let server = Server::start().await;
    let token = server.token().await;
    let mut peer = server.peer().await;
    let large = "x".repeat(4 << 10);
    for body in ["", "x", &large] {
        let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
        for framed in [format!("Content-Length: {}\r\n\r\n{body}", body.len()), chunked] {
            peer.send(format!("POST {} HTTP/1.1\r\nHost: test\r\n{framed}", go(&token)).as_bytes()).await;
            let answer = peer.answer().await;
            is_error(&answer, 500, "client-not-connected");
            assert_eq!(answer.header("connection"), None);
        }
    }
}

#[tokio::test]
async fn a_body_that_the_client_has_not_begun_is_not_asked_for() {
    let server = Server::start().await;
    let mut peer = server.peer().await;
    peer.send(b"POST /nothing HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 9000000\r\n\r\n").await;
    let answer = peer.answer().await;
    is_error(&answer, 404, "not-found");
    assert_eq!(answer.header("connection"), Some("close"));
    peer.ends().await;
}

#[tokio::test]
async fn connections_that_linger_are_counted_by_address_and_in_all() {
    let limits: [fn(&mut socket2me::config::LimitConfig); 2] =
        [|limits| limits.max_lingering = 1, |limits| limits.max_lingering_per_address = Some(1)];
    for (limit, flag) in limits.into_iter().zip(["max-lingering", "max-lingering-per-address"]) {
        let (server, figures) = watched(|config| limit(&mut config.limits)).await;
        let unread = "POST /nothing HTTP/1.1\r\nHost: test\r\nContent-Length: 9000000\r\n\r\n";
        let mut lingers = server.peer().await;
        lingers.send(unread.as_bytes()).await;
        is_error(&lingers.answer().await, 404, "not-found");
        lingers.ends().await;
        figures.until_used("lingering", |used| used == 1, "it lingers").await;
        let mut closed = server.peer().await;
        closed.send(unread.as_bytes()).await;
        assert!(closed.until_end().await.starts_with(b"HTTP/1.1 404 "));
        assert_eq!(figures.hits(flag).await, 1);
        drop(lingers);
        figures.until_used("lingering", |used| used == 0, "its client has closed").await;
    }
}

#[tokio::test]
async fn a_refused_connection_lingers() {
    let (server, figures) = watched(|config| config.limits.max_connections = 1).await;
    let mut held = server.peer().await;
    held.send(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").await;
    held.answer().await.is(200, "ok\n");
    let head = "POST /nothing HTTP/1.1\r\nHost: test\r\nContent-Length: 3145728\r\n";
    is_error(&answer_after_all(&server, head, &vec![b'x'; 3 * MIB]).await, 503, "server-busy");
    figures.until_used("lingering", |used| used == 0, "its client has closed").await;
}

#[tokio::test]
async fn a_head_that_cannot_be_read_gets_an_error_of_the_relay() {
    let (server, figures) = watched(|_| ()).await;
    let (long, body) = ("x".repeat(70_000), vec![b'x'; 3 * MIB]);
    let many = "X-A: 1\r\n".repeat(101);
    let heads = [
        ("GET /go/x?a=\" HTTP/1.1\r\nHost: test\r\n".to_owned(), 400, "invalid-head"),
        ("GET /go/<x> HTTP/1.1\r\nHost: test\r\n".to_owned(), 400, "invalid-head"),
        ("GET /go/`x` HTTP/1.1\r\nHost: test\r\n".to_owned(), 400, "invalid-head"),
        ("GET /new HTTP/1.1\r\nno colon\r\n".to_owned(), 400, "invalid-head"),
        ("POST /new HTTP/1.0\r\nTransfer-Encoding: chunked\r\n".to_owned(), 400, "invalid-head"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n".to_owned(), 400, "invalid-head"),
        (format!("GET /new HTTP/1.1\r\nHost: test\r\nX-A: {long}{long}\r\n"), 431, "head-too-large"),
        (format!("GET /new HTTP/1.1\r\nHost: test\r\n{many}"), 431, "head-too-large"),
    ];
    for (head, status, code) in &heads {
        is_error(&answer_after_all(&server, head, &body).await, *status, code);
    }
    assert_eq!(figures.get(r#"unread_heads_total{body="error"}"#).await, heads.len() as u64);
    assert_eq!(figures.get(r#"unread_heads_total{body="none"}"#).await, 0);
    let server = Server::with(|config| config.limits.max_head = 1 << 20).await;
    let head = format!("GET /{long} HTTP/1.1\r\nHost: test\r\n");
    is_error(&answer_after_all(&server, &head, b"").await, 414, "head-too-large");
}

#[tokio::test]
async fn a_pipelined_head_that_cannot_be_read_is_answered_after_the_request_before_it() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    let mut peer = server.peer().await;
    peer.send(format!("GET {} HTTP/1.1\r\nHost: test\r\n\r\nGET /\" HTTP/1.1\r\n\r\n", go(&token)).as_bytes()).await;
    let id = id_of(&ws.next_text().await);
    ack(&mut ws, &token, &id, r#"["first"]"#).await;
    peer.answer().await.is(200, "first");
    is_error(&peer.answer().await, 400, "invalid-head");
    peer.ends().await;
}

/// What an end answers is never taken for an answer of hyper's own.
#[tokio::test]
async fn an_ends_answer_may_look_like_a_refused_head() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    let body = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let mut peer = server.peer().await;
    for repeat in [1, 2, 20_000] {
        peer.send(format!("GET {} HTTP/1.1\r\nHost: test\r\n\r\n", go(&token)).as_bytes()).await;
        let id = id_of(&ws.next_text().await);
        let body = body.repeat(repeat);
        ack(&mut ws, &token, &id, &format!("[{body:?}]")).await;
        peer.answer().await.is(200, &body);
    }
}

#[tokio::test]
async fn connect_is_405() {
    let server = Server::start().await;
    let (_ws, token) = server.joined().await;
    for target in ["test:443", "/", "/healthz", &go(&token), "/socket.io/?EIO=4&transport=polling"] {
        let answer = server.ask("CONNECT", target, &[], b"").await;
        is_error(&answer, 405, "method-not-allowed");
        assert_eq!((answer.header("connection"), answer.header("allow").is_some()), (Some("close"), true));
    }
}

/// nginx speaks HTTP/1.0 to its upstream and drops `Upgrade` and `Connection` unless it is told otherwise.
#[tokio::test]
async fn a_websocket_behind_a_proxy_that_drops_the_upgrade_is_told_so() {
    let server = Server::start().await;
    let session = server.open().await.sid.clone();
    let headers: String = UPGRADE.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    for (version, headers) in
        [("1.0", headers.as_str()), ("1.0", ""), ("1.1", "Connection: close\r\n"), ("1.1", "Connection: Upgrade\r\n")]
    {
        for sid in [String::new(), format!("&sid={session}")] {
            let target = format!("/socket.io/?EIO=4&transport=websocket{sid}");
            let mut peer = server.peer().await;
            peer.send(format!("GET {target} HTTP/{version}\r\nHost: test\r\n{headers}\r\n").as_bytes()).await;
            let answer = peer.answer().await;
            assert_eq!(answer.status, 400, "{version} {headers:?}: {}", answer.text());
            let text = answer.text();
            assert!(text.starts_with(r#"{"code":3,"message":"Bad request"#), "{text}");
            for line in [
                "proxy_http_version 1.1;",
                "proxy_set_header Upgrade $http_upgrade;",
                "proxy_set_header Connection upgrade;",
            ] {
                assert!(text.contains(line), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn an_absolute_target_says_which_host_is_meant() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    for (target, host) in [
        ("http://elsewhere.example:81", "elsewhere.example:81"),
        ("http://name:password@elsewhere.example", "elsewhere.example"),
        ("", "test"),
    ] {
        let mut peer: Peer = server.send("GET", &format!("{target}{}", go(&token)), &[], b"").await;
        let request = ws.next_text().await;
        for name in ["host", "x-forwarded-host"] {
            assert!(request.contains(&format!(r#""{name}":"{host}""#)), "{target}: {request}");
        }
        ack(&mut ws, &token, &id_of(&request), r#"["ok"]"#).await;
        peer.answer().await.is(200, "ok");
    }
}

#[tokio::test]
async fn a_transfer_coding_other_than_one_chunked_is_refused() {
    let server = Server::start().await;
    let (_ws, token) = server.joined().await;
    for codings in [
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity, chunked",
    ] {
        let mut peer = server.peer().await;
        let head = format!("POST {} HTTP/1.1\r\nHost: test\r\n{codings}\r\n\r\n0\r\n\r\n", go(&token));
        peer.send(head.as_bytes()).await;
        let answer = peer.answer().await;
        is_error(&answer, 400, "invalid-head");
        assert_eq!(answer.header("connection"), Some("close"), "{codings}");
    }
}
