//! Requests that two readers could read in two ways (RFC 9112, section 11.2). The server answers once and ends the
//! connection, so that nothing behind such a request is taken for another.

use super::{ack, go, id_of};
use crate::support::wire::{Answer, Server};

/// The request that a smuggler wants the server to see.
const SMUGGLED: &str = "GET /new HTTP/1.1\r\nHost: test\r\n\r\n";

/// Sends the bytes, and returns all answers until the server ends the connection.
async fn answers(server: &Server, request: &[u8]) -> String {
    let mut peer = server.peer().await;
    peer.try_send(request).await;
    String::from_utf8_lossy(&peer.until_end().await).into_owned()
}

/// The request is refused with this status, and what follows it is not served.
async fn is_refused(server: &Server, request: &str, status: u16) {
    let shown = request.get(..120).unwrap_or(request);
    let answers = answers(server, request.as_bytes()).await;
    assert!(answers.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?}: {answers:?}");
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{shown:?}: {answers:?}");
}

#[tokio::test]
async fn what_is_not_http_is_400_and_the_end() {
    let server = Server::start().await;
    let long = "x".repeat(100);
    for head in [
        // Conflicting or malformed lengths.
        "POST /go/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        "POST /go/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\nx",
        "POST /go/x HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
        "POST /go/x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nx",
        "POST /go/x HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\nx",
        "POST /go/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\nx",
        "POST /go/x HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nx",
        "POST /go/x HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nx",
        // Transfer codings that do not end in `chunked`, or that HTTP/1.0 does not have.
        "POST /go/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "POST /go/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
        "POST /go/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST /go/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        "POST /go/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n",
        "POST /go/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "POST /go/x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        // Lines that another reader could take for parts of other lines.
        "GET /go/x HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n folded\r\n\r\n",
        "GET /go/x HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\tfolded\r\n\r\n",
        "GET /go/x HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET /go/x HTTP/1.1\r\nHost: a\r\nX-A: 1\rX-B: 2\r\n\r\n",
        "GET /go/x HTTP/1.1\r\nHost: a\r\nX-A: 1\0\r\n\r\n",
        "GET /go/x HTTP/1.1\r\nHost: a\r\nX\0A: 1\r\n\r\n",
        "GET /go/x HTTP/1.1\r\nHost: a\r\nX-A : 1\r\n\r\n",
        "POST /go/x HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\nx",
        "POST /go/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST /go/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
        "GET /go/x HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n",
        "GET /go/x HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        // Malformed request lines.
        "GET /go/x\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /go/x y HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET  /go/x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /go/x HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET /go/x HTTP/9.9\r\nHost: a\r\n\r\n",
        "GET /go/x\r\nHost: a\r\n\r\n",
        "G\u{e9}T /go/x HTTP/1.1\r\nHost: a\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0 a TLS hello\r\n\r\n",
        &format!("{long}\r\n\r\n"),
    ] {
        is_refused(&server, &format!("{head}{SMUGGLED}"), 400).await;
    }
    assert!(server.token().await.len() == 48);
}

#[tokio::test]
async fn h2_with_prior_knowledge_is_not_spoken() {
    let server = Server::start().await;
    let answers = answers(&server, format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{SMUGGLED}").as_bytes()).await;
    assert!(!answers.contains(" 200 ") && answers.matches("HTTP/1.1 ").count() <= 1, "{answers:?}");
}

/// A proxy in front of the server may have believed the other length, so what follows may not be a request. The server must
/// refuse the request, or close the connection after its answer (RFC 9112, section 6.1).
#[tokio::test]
async fn content_length_beside_chunked_ends_the_connection() {
    let server = Server::start().await;
    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: gzip, chunked\r\n",
    ] {
        let request = format!("POST /go/x HTTP/1.1\r\nHost: a\r\n{headers}\r\n0\r\n\r\n{SMUGGLED}");
        let mut peer = server.peer().await;
        peer.send(request.as_bytes()).await;
        let first = peer.head().await;
        assert!(first.status == 400 || first.header("connection") == Some("close"), "{headers:?}: {}", first.head);
        let rest = String::from_utf8_lossy(&peer.until_end().await).into_owned();
        assert!(!rest.contains("HTTP/1.1 "), "{headers:?}: {rest}");
    }
}

#[tokio::test]
async fn malformed_chunks_break_the_body() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    for chunks in [
        "x\r\n",
        "-1\r\n",
        "0x1\r\nx\r\n0\r\n\r\n",
        " 1\r\nx\r\n0\r\n\r\n",
        "1\nx\r\n0\r\n\r\n",
        "1\r\nxx\r\n0\r\n\r\n",
        "1\r\nx\n0\r\n\r\n",
        "10000000000000000\r\nx",
        "fffffffffffffffff\r\nx",
        "1;a\nb\r\nx\r\n0\r\n\r\n",
        "1\rX\nx\r\n0\r\n\r\n",
        "0\r\nno trailer\r\rx\r\n\r\n",
    ] {
        let head = format!("POST {} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", go(&token));
        let answers = answers(&server, format!("{head}{chunks}{SMUGGLED}").as_bytes()).await;
        assert!(answers.starts_with("HTTP/1.1 400 "), "{chunks:?}: {answers:?}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{chunks:?}: {answers:?}");
    }
    ws.is_alive().await;
    // An extension or trailers without an end break the body too.
    for endless in [format!("1;{}", "x".repeat(100_000)), format!("0\r\n{}", "X-A: b\r\n".repeat(100_000))] {
        let head = format!("POST {} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", go(&token));
        let answers = answers(&server, format!("{head}{endless}").as_bytes()).await;
        assert!(answers.is_empty() || answers.starts_with("HTTP/1.1 400 "), "{answers:?}");
    }
}

#[tokio::test]
async fn chunk_extensions_and_trailers_are_dropped() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    let head = format!("POST {} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n", go(&token));
    let mut peer = server.peer().await;
    let body = "3;a=b;c=\"d\"\r\nabc\r\n0\r\nContent-Length: 7\r\nX-Trailer: 1\r\n\r\n";
    peer.send(format!("{head}Content-Type: text/plain\r\n\r\n{body}").as_bytes()).await;
    let request = ws.next_text().await;
    assert!(request.contains(r#""body":"abc""#) && !request.contains("trailer"), "{request}");
    assert!(request.contains(r#""content-length":"3""#), "{request}");
    ack(&mut ws, &token, &id_of(&request), r#"["ok"]"#).await;
    peer.answer().await.is(200, "ok");
}

fn is_invalid_head(answer: &Answer, what: &str) {
    assert_eq!((answer.status, answer.header("x-socket2me-error")), (400, Some("invalid-head")), "{what}");
    assert_eq!(answer.header("connection"), Some("close"), "{what}");
}

/// RFC 9112, section 3.2: a request has at most one Host, and in HTTP/1.1 exactly one.
#[tokio::test]
async fn two_hosts_are_an_invalid_head() {
    let server = Server::start().await;
    for target in ["/new", "/", "/healthz", "/nothing", "/go/x", "/refresh/x", "/go/x?y"] {
        for hosts in ["Host: a\r\nHost: b\r\n", "Host: a\r\nX-A: 1\r\nhOST: a\r\n"] {
            let mut peer = server.peer().await;
            peer.send(format!("GET {target} HTTP/1.1\r\n{hosts}\r\n{SMUGGLED}").as_bytes()).await;
            is_invalid_head(&peer.answer().await, target);
            assert_eq!(peer.until_end().await, b"", "{target}");
        }
    }
}

#[tokio::test]
async fn two_hosts_are_an_invalid_head_for_engine_io_too() {
    let server = Server::start().await;
    let mut peer = server.peer().await;
    let target = "/socket.io/?EIO=4&transport=polling";
    peer.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").as_bytes()).await;
    is_invalid_head(&peer.answer().await, target);
}

#[tokio::test]
async fn no_host_is_an_invalid_head() {
    let server = Server::start().await;
    let mut peer = server.peer().await;
    peer.send(b"GET /healthz HTTP/1.1\r\n\r\n").await;
    is_invalid_head(&peer.answer().await, "HTTP/1.1 without a Host");
    let mut peer = server.peer().await;
    peer.send(b"GET /healthz HTTP/1.0\r\n\r\n").await;
    peer.answer().await.is(200, "ok\n");
}

#[tokio::test]
async fn targets_are_not_normalised() {
    let server = Server::start().await;
    let token = server.token().await;
    for (line, status, code) in [
        (format!("GET http://elsewhere{} HTTP/1.1", go(&token)), 500, Some("client-not-connected")),
        ("GET http://elsewhere/healthz HTTP/1.1".to_owned(), 200, None),
        ("GET http://elsewhere HTTP/1.1".to_owned(), 200, None),
        ("OPTIONS * HTTP/1.1".to_owned(), 404, Some("not-found")),
        ("CONNECT elsewhere:443 HTTP/1.1".to_owned(), 405, Some("method-not-allowed")),
        ("GET //elsewhere/new HTTP/1.1".to_owned(), 404, Some("not-found")),
        (format!("GET /x/../go/{token} HTTP/1.1"), 404, Some("not-found")),
        (format!("GET /go%2f{token} HTTP/1.1"), 404, Some("not-found")),
        (format!("GET /go//{token} HTTP/1.1"), 500, Some("token-not-found")),
        (format!("GET /GO/{token} HTTP/1.1"), 404, Some("not-found")),
    ] {
        let mut peer = server.peer().await;
        peer.send(format!("{line}\r\nHost: test\r\n\r\n").as_bytes()).await;
        let answer = peer.answer().await;
        assert_eq!((answer.status, answer.header("x-socket2me-error")), (status, code), "{line}");
    }
}

#[tokio::test]
async fn heads_over_the_limits_are_431_and_the_end() {
    let server = Server::start().await;
    let headers = "X-A: 1\r\n".repeat(100);
    // The limit is checked between reads, and one read may bring as much again as the limit.
    let value = "x".repeat(200 << 10);
    for request in [
        format!("GET /healthz HTTP/1.1\r\nHost: a\r\n{headers}\r\n{SMUGGLED}"),
        format!("GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: {value}\r\n\r\n{SMUGGLED}"),
        format!("GET /healthz HTTP/1.1\r\nHost: a\r\n{value}: 1\r\n\r\n{SMUGGLED}"),
    ] {
        is_refused(&server, &request, 431).await;
    }
    is_refused(&server, &format!("GET /{value} HTTP/1.1\r\nHost: a\r\n\r\n{SMUGGLED}"), 431).await;
}
