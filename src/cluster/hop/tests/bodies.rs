//! What a visitor gets of a request that is handed on, and what the other node gets of it.

use std::task::{Context, Poll};

use futures::FutureExt as _;
use http::{HeaderValue, Method, Version, header};
use http_body::Frame;
use http_body_util::BodyExt as _;

use super::*;
use crate::net::reply::ReplyBody;
use crate::net::streaming::{Broken, Source};

/// A source whose frames a test sends.
pub(super) struct Frames(pub(super) mpsc::Receiver<Result<Frame<Bytes>, Broken>>);

impl Source for Frames {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.0.poll_recv(cx)
    }
}

/// Returns what the other node has seen of a request.
fn seen(asked: &Asked<'_>) -> String {
    let Asked { head, arrival, note, .. } = asked;
    let headers: Vec<_> =
        head.headers.iter().map(|(name, value)| format!("{name}={}", value.as_bytes().escape_ascii())).collect();
    let client = arrival.client_text();
    let scheme = arrival.scheme(&head.headers);
    format!(
        "{} {} {:?} from {client} by {scheme} as {} {:?}: {}",
        head.method,
        head.uri,
        head.version,
        note.kind,
        note.id,
        headers.join(" ")
    )
}

/// A node that answers with what it sees of requests.
async fn seeing() -> Callee {
    Callee::start(|asked| {
        let seen = seen(&asked);
        async move {
            let body = asked.body.collect().await.unwrap().to_bytes();
            reply::text(StatusCode::OK, "text/plain", format!("{seen}|{}", body.escape_ascii()))
        }
        .boxed()
    })
    .await
}

#[tokio::test]
async fn the_other_node_sees_the_head_as_the_visitor_has_sent_it() {
    let callee = seeing().await;
    let first = Arriving::before(&[&callee]).await;
    for (request, expected) in [
        (
            "GET /go/x?a=b HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nConnection: close, x-a, x-socket2me-hop\r\nX-B: \"\u{e9}\"\r\n\r\n",
            "GET /go/x?a=b HTTP/1.1 from 127.0.0.1 by http as visit Some(\"id-1\"): host=a x-a=1 \
                connection=close, x-a, x-socket2me-hop x-b=\\\"\\xc3\\xa9\\\"|",
        ),
        (
            "POST / HTTP/1.1\r\nTE: trailers\r\nContent-Length: 4\r\nHost: a\r\nConnection: close\r\nKeep-Alive: 5\r\n\r\nbody",
            "POST / HTTP/1.1 from 127.0.0.1 by http as visit Some(\"id-1\"): te=trailers content-length=4 host=a \
                connection=close keep-alive=5|body",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n\
                4\r\nbody\r\n0\r\n\r\n",
            "POST / HTTP/1.1 from 127.0.0.1 by http as visit Some(\"id-1\"): host=a transfer-encoding=chunked \
                expect=100-continue connection=close|body",
        ),
        ("GET /old HTTP/1.0\r\n\r\n", "GET /old HTTP/1.0 from 127.0.0.1 by http as visit Some(\"id-1\"): |"),
        (
            "DELETE http://a/x HTTP/1.1\r\nHost: a\r\nX-Socket2me-Hop: 1 1 x {}\r\nConnection: close\r\n\r\n",
            "DELETE http://a/x HTTP/1.1 from 127.0.0.1 by http as visit Some(\"id-1\"): host=a connection=close|",
        ),
    ] {
        let response = first.answer(request).await;
        assert_eq!(response.rsplit("\r\n\r\n").next().unwrap(), expected, "{response}");
        assert!(response.contains(" 200 OK\r\n"), "{response}");
    }
    // All of them went over one connection, which is kept.
    assert_eq!(first.hops.pool().count(callee.node), (1, 1));
}

#[tokio::test]
async fn the_visitors_address_is_told_and_its_proxies_are_believed_as_at_the_first_node() {
    let limits = Limits { trusted_proxies: ["127.0.0.0/8".parse().unwrap()].into(), ..Limits::default() };
    let callee = Callee::start_with('a', 2, limits, |asked| {
        let text = format!("{} {}", asked.arrival.client_text(), asked.arrival.scheme(&asked.head.headers));
        async { reply::text(StatusCode::OK, "text/plain", text) }.boxed()
    })
    .await;
    let first = Arriving::before(&[&callee]).await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\r\n";
    assert_eq!(body_of(&first.answer(request).await), "192.0.2.7 https");
}

#[tokio::test]
async fn two_framings_of_one_body_never_reach_the_other_node() {
    let callee = seeing().await;
    let first = Arriving::before(&[&callee]).await;
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
        4\r\nbody\r\n0\r\n\r\n";
    let response = first.answer(request).await;
    assert!(response.starts_with("HTTP/1.1 400 ") || response.ends_with("|body"), "{response}");
    // The connection of the next request begins where the last ended.
    let next = first.answer("GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(body_of(&next).starts_with("GET /next "), "{next}");
}

#[tokio::test]
async fn a_mebibyte_goes_up_and_comes_down_while_it_is_sent() {
    let callee = Callee::start(|asked| {
        let (sender, receiver) = mpsc::channel(1);
        let mut body = asked.body.take().unwrap();
        tokio::spawn(async move {
            while let Some(frame) = body.frame().await {
                sender.send(Ok(frame.unwrap())).await.unwrap();
            }
        });
        async { Reply::new(ReplyBody::from_source(Box::new(Frames(receiver)), None)) }.boxed()
    })
    .await;
    let first = Arriving::before(&[&callee]).await;
    let sent = bytes(1 << 20);
    let mut visitor = first.visitor().await;
    visitor.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\nConnection: close\r\n\r\n").await;
    // The head of the response comes before the body was sent.
    let head = visitor.read_to("\r\n\r\n").await;
    assert_eq!(head_of(&head), ["HTTP/1.1 200 OK", "connection: close", "transfer-encoding: chunked"]);
    let (mut reader, mut writer) = visitor.stream.into_split();
    let reading = async {
        let mut read = Vec::new();
        reader.read_to_end(&mut read).await.unwrap();
        read
    };
    let (read, written) = within("the echo", futures::future::join(reading, writer.write_all(&sent))).await;
    written.unwrap();
    assert!(unchunked(&read) == sent);
    assert_eq!(first.hops.pool().count(callee.node), (1, 1), "all was sent and read: the connection is kept");
}

/// The end of a response is not the end of the request.
#[tokio::test]
async fn a_body_goes_on_after_the_response_has_ended() {
    let (tell, mut bodies) = mpsc::channel(1);
    let callee = Callee::start(move |asked| {
        let (body, tell) = (asked.body.take().unwrap(), tell.clone());
        tokio::spawn(
            async move { tell.try_send(body.collect().await.map(http_body_util::Collected::to_bytes)).unwrap() },
        );
        async { reply::text(StatusCode::OK, "text/plain", "early") }.boxed()
    })
    .await;
    let first = Arriving::before(&[&callee]).await;
    let mut visitor = first.visitor().await;
    visitor.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n").await;
    visitor.read_to("early").await;
    let sent = bytes(1 << 20);
    visitor.send(&sent[..1 << 19]).await;
    visitor.send(&sent[1 << 19..]).await;
    assert!(within("the body", bodies.recv()).await.unwrap().unwrap() == sent);
    // The next request is served, on the same connections.
    visitor.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    visitor.read_to("early").await;
    assert_eq!(first.hops.pool().count(callee.node).0, 1);
}

/// Returns the data of a chunked body.
fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    loop {
        let line = memchr::memmem::find(body, b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&body[..line]).unwrap(), 16).unwrap();
        data.extend_from_slice(&body[line + 2..line + 2 + length]);
        body = &body[line + 2 + length + 2..];
        if length == 0 {
            return data;
        }
    }
}

#[tokio::test]
async fn a_length_that_the_other_node_promises_reaches_the_visitor() {
    let sent = bytes(1 << 20);
    let answered = sent.clone();
    let callee = Callee::start(move |_| {
        let mut reply = Reply::new(ReplyBody::from(answered.clone()));
        reply.headers_mut().insert(header::ETAG, HeaderValue::from_static("\"1\""));
        async { reply }.boxed()
    })
    .await;
    let first = Arriving::before(&[&callee]).await;
    let mut visitor = first.visitor().await;
    visitor.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let head = visitor.read_to("\r\n\r\n").await;
    assert_eq!(head_of(&head), ["HTTP/1.1 200 OK", "connection: close", "content-length: 1048576", "etag: \"1\""]);
    assert!(visitor.read_all().await == sent);
    assert_eq!(first.hops.pool().count(callee.node), (1, 1));
}

#[tokio::test]
async fn events_reach_the_visitor_one_by_one() {
    let (sender, receiver) = mpsc::channel(1);
    let receiver = Mutex::new(Some(receiver));
    let callee = Callee::start(move |_| {
        let source = Frames(receiver.lock().unwrap().take().unwrap());
        let mut reply = Reply::new(ReplyBody::from_source(Box::new(source), None));
        reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        async { reply }.boxed()
    })
    .await;
    let first = Arriving::before(&[&callee]).await;
    let mut visitor = first.visitor().await;
    visitor.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    visitor.read_to("\r\n\r\n").await;
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        sender.try_send(Ok(Frame::data(event.into()))).unwrap();
        visitor.read_to(event).await;
    }
}

/// A node that sends back the trailers of a request, and names them in its response if the request has a path.
async fn returning_trailers() -> Callee {
    Callee::start(|asked| {
        async {
            let sent = asked.body.collect().await.unwrap().trailers().cloned().unwrap();
            let (sender, receiver) = mpsc::channel(2);
            sender.try_send(Ok(Frame::data("body".into()))).unwrap();
            sender.try_send(Ok(Frame::trailers(sent))).unwrap();
            let mut reply = Reply::new(ReplyBody::from_source(Box::new(Frames(receiver)), None));
            if asked.head.uri.path() != "/" {
                reply.headers_mut().insert(header::TRAILER, HeaderValue::from_static("x-sum"));
            }
            reply
        }
        .boxed()
    })
    .await
}

/// Sends a request with a trailer, and returns the response.
async fn answer_with_trailers(first: &Arriving, path: &str, te: &str) -> String {
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nTE: {te}\r\nTransfer-Encoding: chunked");
    first.answer(&format!("{head}\r\nConnection: close, te\r\n\r\n2\r\nup\r\n0\r\nx-sum: 7\r\n\r\n")).await
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let callee = returning_trailers().await;
    let first = Arriving::before(&[&callee]).await;
    for (path, te, names, end) in [
        ("/named", "trailers", "trailer: x-sum\r\n", "0\r\nx-sum: 7\r\n\r\n"),
        ("/named", "", "trailer: x-sum\r\n", "0\r\n\r\n"),
        ("/", "trailers", "", "0\r\n\r\n"),
    ] {
        let response = answer_with_trailers(&first, path, te).await;
        assert!(response.ends_with(&format!("\r\n\r\n4\r\nbody\r\n{end}")), "{response}");
        assert_eq!(response.split_inclusive('\n').filter(|line| line.contains("railer")).collect::<String>(), names);
    }
    assert_eq!(first.hops.pool().count(callee.node), (1, 1));
}

/// Names the trailers of all responses for its visitors: as in HTTP/2, where nothing needs to be named.
struct Naming(Front);

impl Handler for Naming {
    async fn serve(&self, head: &mut Parts, body: &mut RequestBody, arrival: &Arrival<'_>) -> Reply {
        let mut reply = self.0.serve(head, body, arrival).await;
        reply.headers_mut().insert(header::TRAILER, HeaderValue::from_static("x-sum"));
        reply
    }
}

#[tokio::test]
async fn trailers_that_nothing_has_named_pass() {
    let callee = returning_trailers().await;
    let first = Arriving::serving(hops('a', 8), vec![(callee.node, callee.advertise())], Naming).await;
    let response = answer_with_trailers(&first, "/", "trailers").await;
    assert!(response.ends_with("\r\n\r\n4\r\nbody\r\n0\r\nx-sum: 7\r\n\r\n"), "{response}");
}

#[tokio::test]
async fn a_response_without_a_body_is_as_the_other_node_makes_it() {
    let callee = Callee::start(|asked| {
        let (method, path) = (asked.head.method.clone(), asked.head.uri.path().to_owned());
        async move {
            assert_eq!(asked.head.version, Version::HTTP_11);
            let (_, receiver) = mpsc::channel(1);
            let length = if path == "/known" { Some(12) } else { None };
            let mut reply = match &*path {
                "/204" | "/304" => Reply::default(),
                _ => Reply::new(ReplyBody::from_source(Box::new(Frames(receiver)), length)),
            };
            assert!(method == Method::HEAD || path.len() == 4);
            *reply.status_mut() = path[1..].parse().unwrap_or(StatusCode::OK);
            if let Some(length) = length {
                reply.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
            reply
        }
        .boxed()
    })
    .await;
    let first = Arriving::before(&[&callee]).await;
    for (request, expected) in [
        ("HEAD /known", &["HTTP/1.1 200 OK", "connection: close", "content-length: 12"][..]),
        ("HEAD /unknown", &["HTTP/1.1 200 OK", "connection: close"]),
        ("GET /204", &["HTTP/1.1 204 No Content", "connection: close"]),
        ("GET /304", &["HTTP/1.1 304 Not Modified", "connection: close"]),
        ("HEAD /304", &["HTTP/1.1 304 Not Modified", "connection: close"]),
    ] {
        let response = first.answer(&format!("{request} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(head_of(&response), expected, "{request}");
        assert_eq!(body_of(&response), "", "{request}");
    }
    assert_eq!(first.hops.pool().count(callee.node), (1, 1));
}

#[tokio::test]
async fn statuses_without_a_name_and_marks_of_ends_pass_without_harm() {
    let callee = Callee::start(|_| {
        let mut reply = reply::text(StatusCode::MISDIRECTED_REQUEST, "text/plain", "an end's");
        reply.headers_mut().insert("x-socket2me-hop", HeaderValue::from_static("elsewhere"));
        reply.headers_mut().insert("x-kept", HeaderValue::from_static("1"));
        async { reply }.boxed()
    })
    .await;
    let first = Arriving::before(&[&callee]).await;
    let response = first.answer("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 421 ") && response.contains("x-kept: 1\r\n"), "{response}");
    assert!(!response.contains("x-socket2me-hop") && response.ends_with("an end's"), "{response}");
}

#[tokio::test]
async fn what_is_sent_of_a_body_is_counted() {
    let callee = seeing().await;
    let mut first = Arriving::before(&[&callee]).await;
    let large = "x".repeat(100_000);
    for (body, count) in [
        (String::new(), 0),
        ("Content-Length: 4\r\n\r\nbody".to_owned(), 4),
        (format!("Content-Length: 100000\r\n\r\n{large}"), 100_000),
        ("Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n2\r\nup\r\n0\r\n\r\n".to_owned(), 6),
    ] {
        let end = if body.is_empty() { "\r\n" } else { "" };
        let response = first.answer(&format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{body}{end}")).await;
        assert!(response.starts_with("HTTP/1.1 200"), "{response:.200}");
        assert_eq!(first.sendings.recv().await.unwrap().bytes(), (count, 0));
    }
}
