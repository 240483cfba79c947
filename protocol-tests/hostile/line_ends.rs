//! Heads with LF, CR and NUL where HTTP has CR LF (RFC 9112, section 2.2): a bare LF ends a line, as a reader may have it, and
//! does so everywhere; the others are no part of a head. What two readers could split in two ways reaches the end as one of
//! them, or not at all, and never another visitor.

use super::{ack, go, id_of};
use crate::support::wire::{Peer, Server, Ws};

/// What an end is asked: headers as JSON, method, path and body.
type Seen<'s> = (&'s str, &'s str, &'s str, &'s str);

/// What comes behind each head on its connection, and how the end sees it.
const SECOND: &str = "GET T/second HTTP/1.1\r\nHost: second\r\nConnection: close\r\n\r\n";
const SECOND_SEEN: Seen<'static> = (r#""host":"second""#, "GET", "/second", "{}");

/// An end. It is of revision 3, where asking whether more is on its way costs no refused CONNECT.
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

    /// A head and what is behind it, in one piece or byte by byte; `T` is the tunnel's URL.
    async fn send(&self, bytes: &str, whole: bool) -> Peer {
        let bytes = bytes.replace("T/", &format!("{}/", go(&self.token)));
        let mut peer = self.server.peer().await;
        for piece in bytes.as_bytes().chunks(if whole { bytes.len() } else { 1 }) {
            // A head that is refused is not read to its end.
            peer.try_send(piece).await;
            tokio::task::yield_now().await;
        }
        peer
    }

    /// The end is asked this and nothing else, and answers with the path.
    async fn is_asked(&mut self, seen: Seen<'_>, what: &str) {
        let (headers, method, path, body) = seen;
        let packet = self.ws.next_text().await;
        let host = headers.split('"').skip_while(|&name| name != "host").nth(2).unwrap();
        let expected = format!(
            concat!(
                r#"["request",{{"headers":{{{},"x-forwarded-for":"127.0.0.1","x-forwarded-proto":"http","#,
                r#""x-forwarded-host":"{}"}},"method":"{}","url":"{}","query":{{}},"search":"","#,
                r#""httpVersion":"1.1","remoteAddress":"127.0.0.1","id":"#
            ),
            headers, host, method, path
        );
        let (_, event) = packet.split_at(packet.find('[').unwrap());
        let rest = event.strip_prefix(&expected).unwrap_or_else(|| panic!("{what}: {event} is not {expected}"));
        assert_eq!(rest.split_once(',').unwrap().1, format!(r#""body":{body}}}]"#), "{what}");
        ack(&mut self.ws, &self.token, &id_of(&packet), &format!(r#"["{path}"]"#)).await;
    }

    /// Runs `what` while another visitor waits on a connection of his own: he gets his answer and not a byte more.
    async fn beside_another(&mut self, what: impl AsyncFnOnce(&mut Self)) {
        let headers = [("Connection", "close")];
        let mut other = self.server.send("GET", &format!("{}/other", go(&self.token)), &headers, b"").await;
        let id = id_of(&self.ws.next_text().await);
        what(self).await;
        ack(&mut self.ws, &self.token, &id, r#"["for the other"]"#).await;
        other.answer().await.is(200, "for the other");
        assert_eq!(other.until_end().await, b"");
    }

    async fn sees(&mut self, head: &str, all: &[Seen<'_>]) {
        for whole in [true, false] {
            self.beside_another(async |tunnel: &mut Self| {
                let mut peer = tunnel.send(&format!("{head}{SECOND}"), whole).await;
                for &seen in all {
                    tunnel.is_asked(seen, head).await;
                    peer.answer().await.is(200, seen.2);
                }
                assert_eq!(peer.until_end().await, b"", "{head:?}");
                tunnel.ws.pings().await;
            })
            .await;
        }
    }

    /// One 400, and then the end of the connection.
    async fn sees_nothing_of(&mut self, head: &str) {
        for whole in [true, false] {
            self.beside_another(async |tunnel: &mut Self| {
                let mut peer = tunnel.send(&format!("{head}{SECOND}"), whole).await;
                let answers = String::from_utf8(peer.until_end().await).unwrap();
                // Bytes that nobody reads any more may reset the connection, and the answer with it.
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
        ("GET T/first HTTP/1.1\nHost: a\n\n", r#""host":"a""#),
        ("GET T/first HTTP/1.1\nHost: a\r\n\r\n", r#""host":"a""#),
        ("GET T/first HTTP/1.1\r\nHost: a\n\r\n", r#""host":"a""#),
        ("GET T/first HTTP/1.1\r\nHost: a\r\n\n", r#""host":"a""#),
        ("\n\nGET T/first HTTP/1.1\r\nHost: a\r\n\r\n", r#""host":"a""#),
        ("\r\n\nGET T/first HTTP/1.1\r\nHost: a\r\n\r\n", r#""host":"a""#),
        ("GET T/first HTTP/1.1\nHost: a\nX-A: 1\r\nX-B: 2\n\n", r#""host":"a","x-a":"1","x-b":"2""#),
        ("GET T/first HTTP/1.1\r\nHost: a\r\nX-A: 1\nX-B: 2\r\n\r\n", r#""host":"a","x-a":"1","x-b":"2""#),
        ("GET T/first HTTP/1.1\r\nHost: a\r\nX-A:\nX-B: 2\r\n\r\n", r#""host":"a","x-a":"","x-b":"2""#),
        ("GET T/first HTTP/1.1\r\nHost: a\r\nX-A: 1 \t\nX-B: 2\r\n\r\n", r#""host":"a","x-a":"1","x-b":"2""#),
        // What the line tells of the connection stays with the connection.
        ("GET T/first HTTP/1.1\r\nHost: a\r\nX-A: 1\nConnection: x-b\nX-B: 2\r\n\r\n", r#""host":"a","x-a":"1""#),
    ] {
        tunnel.sees(head, &[(headers, "GET", "/first", "{}"), SECOND_SEEN]).await;
    }
}

#[tokio::test]
async fn a_length_behind_a_bare_lf_is_the_length() {
    let mut tunnel = Tunnel::open().await;
    let seen = |length| format!(r#""content-type":"text/plain","host":"a"{length},"content-length":"3""#);
    for (headers, body, before) in [
        ("Host: a\nContent-Length: 3\n", "abc", ""),
        ("Host: a\r\nX-A: 1\nContent-Length: 3\r\n", "abc", r#","x-a":"1""#),
        ("Host: a\r\nX-A:\nContent-Length: 3\r\n", "abc", r#","x-a":"""#),
        ("Host: a\r\nX-A: 1\nTransfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n", r#","x-a":"1""#),
        ("Host: a\nContent-Length: 3\nContent-Length: 3\n", "abc", ""),
    ] {
        let head = format!("POST T/first HTTP/1.1\r\nContent-Type: text/plain\r\n{headers}\r\n{body}");
        let first = &*seen(before);
        tunnel.sees(&head, &[(first, "POST", "/first", r#""abc""#), SECOND_SEEN]).await;
    }
    // Two lengths, of which one reader sees one: they are two here.
    for headers in [
        "X-A: 1\nContent-Length: 3\r\nContent-Length: 5\r\n",
        "Content-Length: 3\r\nX-A: 1\nContent-Length: 5\r\n",
        "Content-Length: 3\n5\r\n",
        "Content-Length: 3\r\nX-A: 1\nHost: b\r\n",
        "X-A: 1\nTransfer-Encoding: gzip\r\n",
    ] {
        tunnel.sees_nothing_of(&format!("POST T/first HTTP/1.1\r\nHost: a\r\n{headers}\r\nabc")).await;
    }
}

/// Whoever takes a bare LF for a part of a value must not hand it on (RFC 9110, section 5.5). The requests that it hides are
/// requests of the same visitor, and he gets their answers, in order.
#[tokio::test]
async fn two_bare_lf_end_the_head() {
    let mut tunnel = Tunnel::open().await;
    let hidden = "GET T/hidden HTTP/1.1\r\nHost: hidden\r\n\r\n";
    let hidden_seen = (r#""host":"hidden""#, "GET", "/hidden", "{}");
    for end in ["\n\n", "\n\r\n", "\r\n\n"] {
        let first = (r#""host":"a","x-a":"1""#, "GET", "/first", "{}");
        let head = format!("GET T/first HTTP/1.1\r\nHost: a\r\nX-A: 1{end}{hidden}");
        tunnel.sees(&head, &[first, hidden_seen, SECOND_SEEN]).await;
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
            let head = format!("GET T/first HTTP/1.1{line_end}Host: a{line_end}{headers}{line_end}");
            tunnel.sees_nothing_of(&head).await;
        }
    }
    for line in [
        "GET T/first HTTP/1.1\rHost: b",
        "GET T/first HTTP/1.1\r",
        "GET T/first HTTP/1.1\0",
        "GET T/first\r HTTP/1.1",
        "GET T/first\n HTTP/1.1",
        "GET T/first\0 HTTP/1.1",
        "GET T/fi\rrst HTTP/1.1",
        "GET\rT/first HTTP/1.1",
        "GET\nT/first HTTP/1.1",
        "G\0T T/first HTTP/1.1",
        "\rGET T/first HTTP/1.1",
        "\r\n\rGET T/first HTTP/1.1",
        "\n\0GET T/first HTTP/1.1",
    ] {
        tunnel.sees_nothing_of(&format!("{line}\r\nHost: a\r\n\r\n")).await;
    }
}
