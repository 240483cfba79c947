//! Heads with LF, CR or NUL where HTTP has CR LF (RFC 9112, section 2.2). A bare LF ends a line everywhere, as the RFC
//! allows; CR and NUL are refused. Bytes that two readers could split in two ways reach the end in one of the two, or not
//! at all; they never reach another visitor.

use super::{ack, go, id_of};
use crate::support::wire::{Peer, Server, Ws};

/// A request as the end gets it: its headers and its body are JSON.
#[derive(Clone, Copy)]
struct Asked<'a> {
    method: &'a str,
    path: &'a str,
    headers: &'a str,
    body: &'a str,
}

impl<'a> Asked<'a> {
    const fn get(path: &'a str, headers: &'a str) -> Self {
        Self { method: "GET", path, headers, body: "{}" }
    }
}

/// A request that follows each head on its connection, and how the end gets it.
const SECOND: &str = "GET /go/TOKEN/second HTTP/1.1\r\nHost: second\r\nConnection: close\r\n\r\n";
const SECOND_ASKED: Asked<'static> = Asked::get("/second", r#""host":"second""#);

/// A server with one end. The end is of revision 3, where a ping shows whether more is on its way to the end.
struct Tunnel {
    server: Server,
    ws: Ws,
    token: String,
}

impl Tunnel {
    async fn open() -> Self {
        let server = Server::start().await;
        let (ws, token) = server.joined_v3().await;
        Self { server, ws, token }
    }

    /// Sends a head and what follows it, whole or byte by byte; `TOKEN` stands for the token.
    async fn send(&self, bytes: &str, whole: bool) -> Peer {
        let bytes = bytes.replace("TOKEN", &self.token);
        let mut peer = self.server.peer().await;
        for piece in bytes.as_bytes().chunks(if whole { bytes.len() } else { 1 }) {
            // A head that is refused is not read to its end.
            peer.try_send(piece).await;
            tokio::task::yield_now().await;
        }
        peer
    }

    /// The end gets this request and nothing else, and answers with its path.
    async fn is_asked(&mut self, Asked { method, path, headers, body }: Asked<'_>, what: &str) {
        let packet = self.ws.next_text().await;
        let host = headers.split('"').skip_while(|&name| name != "host").nth(2).unwrap();
        let expected = format!(
            concat!(
                r#"["request",{{"headers":{{{},"x-forwarded-for":"127.0.0.1","x-forwarded-proto":"http","#,
                r#""x-forwarded-host":"{}","x-forwarded-prefix":"{}"}},"method":"{}","url":"{}","query":{{}},"#,
                r#""search":"","httpVersion":"1.1","remoteAddress":"127.0.0.1","id":"#
            ),
            headers,
            host,
            go(&self.token),
            method,
            path
        );
        let (_, event) = packet.split_at(packet.find('[').unwrap());
        let rest = event.strip_prefix(&expected).unwrap_or_else(|| panic!("{what}: {event} is not {expected}"));
        assert_eq!(rest.split_once(',').unwrap().1, format!(r#""body":{body}}}]"#), "{what}");
        ack(&mut self.ws, &self.token, &id_of(&packet), &format!(r#"["{path}"]"#)).await;
    }

    /// Runs `what` while another visitor waits on its own connection, and gets its answer and not a byte more.
    async fn beside_another(&mut self, what: impl AsyncFnOnce(&mut Self)) {
        let headers = [("Connection", "close")];
        let mut other = self.server.send("GET", &format!("{}/other", go(&self.token)), &headers, b"").await;
        let id = id_of(&self.ws.next_text().await);
        what(self).await;
        ack(&mut self.ws, &self.token, &id, r#"["for the other"]"#).await;
        other.answer().await.is(200, "for the other");
        assert_eq!(other.until_end().await, b"");
    }

    /// The end gets these requests of a connection, and the visitor its answers in order.
    async fn is_asked_all(&mut self, head: &str, all: &[Asked<'_>]) {
        for whole in [true, false] {
            self.beside_another(async |tunnel: &mut Self| {
                let mut peer = tunnel.send(&format!("{head}{SECOND}"), whole).await;
                for &asked in all {
                    tunnel.is_asked(asked, head).await;
                    peer.answer().await.is(200, asked.path);
                }
                assert_eq!(peer.until_end().await, b"", "{head:?}");
                tunnel.ws.pings().await;
            })
            .await;
        }
    }

    /// The end gets nothing of the connection, on which the server says 400 and no more.
    async fn is_asked_nothing(&mut self, head: &str) {
        for whole in [true, false] {
            self.beside_another(async |tunnel: &mut Self| {
                let mut peer = tunnel.send(&format!("{head}{SECOND}"), whole).await;
                let answers = String::from_utf8(peer.until_end().await).unwrap();
                // Bytes that the server does not read any more may reset the connection, and the answer is lost with it.
                assert!(
                    answers.starts_with("HTTP/1.1 400 ") || (answers.is_empty() && !whole),
                    "{head:?}: {answers:?}"
                );
                assert!(answers.matches("HTTP/1.1 ").count() <= 1, "{head:?}: {answers:?}");
                tunnel.ws.pings().await;
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_bare_lf_ends_a_line_everywhere() {
    let mut tunnel = Tunnel::open().await;
    for (head, headers) in [
        ("GET /go/TOKEN/first HTTP/1.1\nHost: a\n\n", r#""host":"a""#),
        ("GET /go/TOKEN/first HTTP/1.1\nHost: a\r\n\r\n", r#""host":"a""#),
        ("GET /go/TOKEN/first HTTP/1.1\r\nHost: a\n\r\n", r#""host":"a""#),
        ("GET /go/TOKEN/first HTTP/1.1\r\nHost: a\r\n\n", r#""host":"a""#),
        ("\n\nGET /go/TOKEN/first HTTP/1.1\r\nHost: a\r\n\r\n", r#""host":"a""#),
        ("\r\n\nGET /go/TOKEN/first HTTP/1.1\r\nHost: a\r\n\r\n", r#""host":"a""#),
        ("GET /go/TOKEN/first HTTP/1.1\nHost: a\nX-A: 1\r\nX-B: 2\n\n", r#""host":"a","x-a":"1","x-b":"2""#),
        ("GET /go/TOKEN/first HTTP/1.1\r\nHost: a\r\nX-A: 1\nX-B: 2\r\n\r\n", r#""host":"a","x-a":"1","x-b":"2""#),
        ("GET /go/TOKEN/first HTTP/1.1\r\nHost: a\r\nX-A:\nX-B: 2\r\n\r\n", r#""host":"a","x-a":"","x-b":"2""#),
        ("GET /go/TOKEN/first HTTP/1.1\r\nHost: a\r\nX-A: 1 \t\nX-B: 2\r\n\r\n", r#""host":"a","x-a":"1","x-b":"2""#),
        // `Connection` behind a bare LF counts, so the header that it names is not passed on.
        (
            "GET /go/TOKEN/first HTTP/1.1\r\nHost: a\r\nX-A: 1\nConnection: x-b\nX-B: 2\r\n\r\n",
            r#""host":"a","x-a":"1""#,
        ),
    ] {
        tunnel.is_asked_all(head, &[Asked::get("/first", headers), SECOND_ASKED]).await;
    }
}

#[tokio::test]
async fn a_length_behind_a_bare_lf_is_the_length() {
    let mut tunnel = Tunnel::open().await;
    for (headers, body, more) in [
        ("Host: a\nContent-Length: 3\n", "abc", ""),
        ("Host: a\r\nX-A: 1\nContent-Length: 3\r\n", "abc", r#","x-a":"1""#),
        ("Host: a\r\nX-A:\nContent-Length: 3\r\n", "abc", r#","x-a":"""#),
        ("Host: a\r\nX-A: 1\nTransfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n", r#","x-a":"1""#),
        ("Host: a\nContent-Length: 3\nContent-Length: 3\n", "abc", ""),
    ] {
        let head = format!("POST /go/TOKEN/first HTTP/1.1\r\nContent-Type: text/plain\r\n{headers}\r\n{body}");
        let headers = &format!(r#""content-type":"text/plain","host":"a"{more},"content-length":"3""#);
        let first = Asked { method: "POST", path: "/first", headers, body: r#""abc""# };
        tunnel.is_asked_all(&head, &[first, SECOND_ASKED]).await;
    }
}

/// Two lengths, where a reader that does not end lines at a bare LF sees one.
#[tokio::test]
async fn two_lengths_across_a_bare_lf_are_400_and_the_end() {
    let mut tunnel = Tunnel::open().await;
    for headers in [
        "X-A: 1\nContent-Length: 3\r\nContent-Length: 5\r\n",
        "Content-Length: 3\r\nX-A: 1\nContent-Length: 5\r\n",
        "Content-Length: 3\n5\r\n",
        "Content-Length: 3\r\nX-A: 1\nHost: b\r\n",
        "X-A: 1\nTransfer-Encoding: gzip\r\n",
    ] {
        tunnel.is_asked_nothing(&format!("POST /go/TOKEN/first HTTP/1.1\r\nHost: a\r\n{headers}\r\nabc")).await;
    }
}

/// A reader that takes a bare LF for a part of a value must not hand it on (RFC 9110, section 5.5). The requests that the
/// value hides are requests of the same visitor, which gets their answers in order.
#[tokio::test]
async fn two_bare_lf_end_the_head() {
    let mut tunnel = Tunnel::open().await;
    let hidden = "GET /go/TOKEN/hidden HTTP/1.1\r\nHost: hidden\r\n\r\n";
    let first = Asked::get("/first", r#""host":"a","x-a":"1""#);
    let second = Asked::get("/hidden", r#""host":"hidden""#);
    for end in ["\n\n", "\n\r\n", "\r\n\n"] {
        let head = format!("GET /go/TOKEN/first HTTP/1.1\r\nHost: a\r\nX-A: 1{end}{hidden}");
        tunnel.is_asked_all(&head, &[first, second, SECOND_ASKED]).await;
    }
}

#[tokio::test]
async fn a_bare_cr_or_a_nul_is_400_and_the_end() {
    let mut tunnel = Tunnel::open().await;
    for headers in [
        "X-A: 1\rX-B: 2\r\n",
        "X-A: 1\r X-B: 2\r\n",
        "X-A: 1\r\r\n",
        "X-A:\r1\r\n",
        "X-A: \r\n\rX-B: 2\r\n",
        "X\r-A: 1\r\n",
        "X-A\r: 1\r\n",
        "\rX-A: 1\r\n",
        "X-A: 1\n\rX-B: 2\r\n",
        "X-A: 1\r\n\r\r\n",
        "X-A: 1\rContent-Length: 3\r\n",
        "X-A: 1\r\0\n",
        "X-A: 1\0\n",
        "X-A: 1\0\r\n",
        "X-A: \x001\r\n",
        "X-A: 1\n\0\r\n",
        "X\0A: 1\n",
        "\0: 1\n",
        "X-A: 1\n folded\r\n",
        "X-A: 1\n\tfolded\n",
        "X-A:\n 1\n",
        "X-A\n: 1\n",
        "X-A \n: 1\r\n",
    ] {
        for line_end in ["\r\n", "\n"] {
            let head = format!("GET /go/TOKEN/first HTTP/1.1{line_end}Host: a{line_end}{headers}{line_end}");
            tunnel.is_asked_nothing(&head).await;
        }
    }
    for line in [
        "GET /go/TOKEN/first HTTP/1.1\rHost: b",
        "GET /go/TOKEN/first HTTP/1.1\r",
        "GET /go/TOKEN/first HTTP/1.1\0",
        "GET /go/TOKEN/first\r HTTP/1.1",
        "GET /go/TOKEN/first\n HTTP/1.1",
        "GET /go/TOKEN/first\0 HTTP/1.1",
        "GET /go/TOKEN/fi\rrst HTTP/1.1",
        "GET\r/go/TOKEN/first HTTP/1.1",
        "GET\n/go/TOKEN/first HTTP/1.1",
        "G\0T /go/TOKEN/first HTTP/1.1",
        "\rGET /go/TOKEN/first HTTP/1.1",
        "\r\n\rGET /go/TOKEN/first HTTP/1.1",
        "\n\0GET /go/TOKEN/first HTTP/1.1",
    ] {
        tunnel.is_asked_nothing(&format!("{line}\r\nHost: a\r\n\r\n")).await;
    }
}
