//! Responses that come by and by: the head, data, their acks, the end.

use socket2me::config::{PathHtml, ServeConfig};

use super::super::tunnel::patient;
use super::super::visitor::request;
use super::Streaming;
use crate::support::transfer::Transfer;

#[tokio::test]
async fn the_visitor_gets_the_head_before_any_data_and_data_as_they_come() {
    let mut tunnel = Streaming::patient().await;
    let (mut visitor, asked) = tunnel.get().await;
    assert_eq!((asked.is_streamed(), &asked.object["method"]), (false, &"GET".into()));
    tunnel.end.respond(&asked, 201, r#"{"x-made":"1","content-type":"text/plain"}"#).await;
    let head = visitor.head().await;
    assert_eq!((head.status, head.header("x-made"), head.header("content-type")), (201, Some("1"), Some("text/plain")));
    assert_eq!((head.header("transfer-encoding"), head.header("content-length")), (Some("chunked"), None));
    assert_eq!((head.header("x-request-id"), head.header("x-provided-by")), (Some(&*asked.id), Some("Socket2Me")));
    let mut offset = 0;
    for part in ["first", "", "second, \u{e9}", "3"] {
        let ack = tunnel.end.send_data(&asked.id, part.as_bytes(), offset).await;
        visitor.reads(part).await;
        assert_eq!(tunnel.end.acked(ack).await, None);
        offset += part.len() as u64;
    }
    tunnel.end.finish(&asked, offset).await;
    visitor.rest().await.is("");
    tunnel.end.hears_nothing().await;
    tunnel.still_works().await;
}

#[tokio::test]
async fn an_event_stream_reaches_the_visitor_event_by_event() {
    let mut tunnel = Streaming::patient().await;
    let (mut visitor, asked) = tunnel.respond(r#"{"content-type":"text/event-stream"}"#).await;
    let mut offset = 0;
    for number in 0..20 {
        let event = format!("data: {number}\n\n");
        let ack = tunnel.end.send_data(&asked.id, event.as_bytes(), offset).await;
        offset += event.len() as u64;
        // The next is not sent before this one is there.
        visitor.reads(&event).await;
        tunnel.end.acked(ack).await;
    }
    tunnel.end.finish(&asked, offset).await;
    visitor.rest().await.is("");
}

#[tokio::test]
async fn many_data_without_a_pause_arrive_in_order_and_each_is_acknowledged_once() {
    let mut tunnel = Streaming::patient().await;
    let (visitor, asked) = tunnel.respond("{}").await;
    let mut acks = Vec::new();
    for number in 0..200_u64 {
        acks.push(tunnel.end.send_data(&asked.id, format!("{number:04}").as_bytes(), 4 * number).await);
    }
    tunnel.end.finish(&asked, 800).await;
    visitor.rest().await.is(&(0..200).map(|number| format!("{number:04}")).collect::<String>());
    for ack in acks {
        tunnel.end.acked(ack).await;
    }
    tunnel.end.hears_nothing().await;
}

#[tokio::test]
async fn bytes_in_base64_are_bytes_too() {
    let mut tunnel = Streaming::open(patient(), r#"{"bytes":"base64"}"#).await;
    assert_eq!(tunnel.end.ready["bytes"], "base64");
    let (visitor, asked) = tunnel.respond("{}").await;
    let ack = tunnel.end.ask(&format!(r#"["data","{}","aGVsbG8=",0]"#, asked.id)).await;
    tunnel.end.finish(&asked, 5).await;
    visitor.rest().await.is("hello");
    tunnel.end.acked(ack).await;
}

#[tokio::test]
async fn trailers_reach_a_visitor_that_takes_them_if_the_head_has_named_them() {
    let mut tunnel = Streaming::patient().await;
    let cases = [
        (&[("TE", "trailers")][..], r#"{"trailer":"x-sum"}"#, &["x-sum: 42"][..]),
        (&[], r#"{"trailer":"x-sum"}"#, &[]),
        (&[("TE", "trailers")], "{}", &[]),
    ];
    for (headers, response, trailers) in cases {
        let (mut visitor, asked) = tunnel.ask(&request("GET", &tunnel.at("/x"), headers, b"")).await;
        tunnel.end.respond(&asked, 200, response).await;
        visitor.head().await;
        tunnel.end.send_data(&asked.id, b"body", 0).await;
        tunnel.end.say(&format!(r#"["end","{}",4,{{"x-sum":"42","content-length":"9"}}]"#, asked.id)).await;
        let rest = visitor.rest().await;
        rest.is("body");
        assert_eq!(rest.trailers, trailers, "{headers:?} {response}");
    }
}

#[tokio::test]
async fn an_announced_length_is_kept() {
    let mut tunnel = Streaming::patient().await;
    for headers in [r#"{"content-length":"6"}"#, r#"{"Content-Length":6}"#] {
        let (mut visitor, asked) = tunnel.get().await;
        tunnel.end.respond(&asked, 200, headers).await;
        let head = visitor.head().await;
        assert_eq!((head.header("content-length"), head.header("transfer-encoding")), (Some("6"), None), "{headers}");
        tunnel.end.send_data(&asked.id, b"abc", 0).await;
        let ack = tunnel.end.send_data(&asked.id, b"def", 3).await;
        visitor.rest().await.is("abcdef");
        tunnel.end.acked(ack).await;
        tunnel.end.finish(&asked, 6).await;
        tunnel.end.settle().await;
    }
    // A part of something is as any other response.
    let (mut visitor, asked) = tunnel.ask(&request("GET", &tunnel.at("/x"), &[("Range", "bytes=2-4")], b"")).await;
    assert_eq!(asked.header("range"), Some("bytes=2-4"));
    tunnel.end.respond(&asked, 206, r#"{"content-range":"bytes 2-4/9","content-length":"3"}"#).await;
    let head = visitor.head().await;
    assert_eq!((head.status, head.header("content-range")), (206, Some("bytes 2-4/9")));
    tunnel.end.send_data(&asked.id, b"cde", 0).await;
    tunnel.end.finish(&asked, 3).await;
    visitor.rest().await.is("cde");
}

#[tokio::test]
async fn more_or_fewer_bytes_than_announced_break_the_transfer() {
    let mut tunnel = Streaming::patient().await;
    let (visitor, asked) = tunnel.respond(r#"{"content-length":"6"}"#).await;
    let ack = tunnel.end.send_data(&asked.id, b"abc", 0).await;
    tunnel.end.finish(&asked, 3).await;
    let message = tunnel.end.aborted(&asked, "protocol").await;
    assert_eq!(message.as_deref(), Some("the response has fewer bytes than its content-length"));
    visitor.rest().await.is_broken("abc");
    tunnel.end.acked(ack).await;

    let (mut visitor, asked) = tunnel.respond(r#"{"content-length":"6"}"#).await;
    let first = tunnel.end.send_data(&asked.id, b"abc", 0).await;
    visitor.reads("abc").await;
    tunnel.end.acked(first).await;
    let second = tunnel.end.send_data(&asked.id, b"defg", 3).await;
    let message = tunnel.end.aborted(&asked, "protocol").await;
    assert_eq!(message.as_deref(), Some("the response has more bytes than its content-length"));
    tunnel.end.acked(second).await;
    visitor.rest().await.is_broken("");
    tunnel.end.hears_nothing().await;
}

#[tokio::test]
async fn what_an_end_sends_of_a_body_that_the_response_must_not_have_is_acknowledged_and_dropped() {
    let mut tunnel = Streaming::patient().await;
    for (method, status, headers, length) in [
        ("HEAD", 200, r#"{"content-length":"5"}"#, Some("5")),
        ("HEAD", 200, "{}", None),
        ("GET", 204, "{}", None),
        ("GET", 205, "{}", Some("0")),
        // A server may leave it out (RFC 9110, section 15.4.5).
        ("GET", 304, r#"{"content-length":"5","etag":"\"x\""}"#, None),
        ("GET", 304, "{}", None),
    ] {
        let (mut visitor, asked) = tunnel.ask(&request(method, &tunnel.at("/x"), &[], b"")).await;
        tunnel.end.respond(&asked, status, headers).await;
        let head = visitor.head().await;
        assert_eq!((head.status, head.header("content-length")), (status, length), "{method} {status} {headers}");
        let first = tunnel.end.send_data(&asked.id, b"hello", 0).await;
        tunnel.end.acked(first).await;
        visitor.rest().await.is("");
        let second = tunnel.end.send_data(&asked.id, b" you", 5).await;
        tunnel.end.acked(second).await;
        tunnel.end.finish(&asked, 9).await;
        tunnel.end.hears_nothing().await;
    }
}

#[tokio::test]
async fn a_visitor_of_http_1_0_gets_a_body_until_the_connection_closes_and_a_reset_instead_of_half_of_one() {
    let mut tunnel = Streaming::patient().await;
    let ask = format!("GET {} HTTP/1.0\r\nHost: a\r\n\r\n", tunnel.at("/x"));
    for is_whole in [true, false] {
        let (mut visitor, asked) = tunnel.ask(ask.as_bytes()).await;
        assert_eq!(asked.object["httpVersion"], "1.0");
        tunnel.end.respond(&asked, 200, "{}").await;
        let head = visitor.head().await;
        assert_eq!((head.header("transfer-encoding"), head.header("content-length")), (None, None));
        tunnel.end.send_data(&asked.id, b"hello", 0).await;
        visitor.reads("hello").await;
        if is_whole {
            tunnel.end.finish(&asked, 5).await;
        } else {
            tunnel.end.abort(&asked, "local-gone").await;
        }
        let rest = visitor.rest().await;
        assert_eq!((rest.is_complete, rest.was_reset), (is_whole, !is_whole));
    }
}

#[tokio::test]
async fn a_connection_that_stays_open_serves_the_next_request_after_a_streamed_response() {
    let mut tunnel = Streaming::patient().await;
    let ask = format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", tunnel.at("/x"));
    let mut visitor = Transfer::connect(tunnel.address).await;
    for headers in ["{}", r#"{"content-length":"2"}"#, "{}"] {
        visitor.send(ask.as_bytes()).await;
        let asked = tunnel.end.request().await;
        tunnel.end.respond(&asked, 200, headers).await;
        assert_eq!(visitor.head().await.status, 200);
        tunnel.end.send_data(&asked.id, b"ok", 0).await;
        tunnel.end.finish(&asked, 2).await;
        visitor.reads("ok").await;
        visitor.is_between().await;
    }
}

#[tokio::test]
async fn a_document_that_comes_by_and_by_runs_in_a_sandbox_or_is_refused() {
    const HTML: &str = r#"{"content-type":"text/html","set-cookie":"a=1"}"#;
    let mut tunnel = Streaming::open(ServeConfig { path_html: PathHtml::Sandbox, ..patient() }, "1").await;
    let (mut visitor, asked) = tunnel.get().await;
    tunnel.end.respond(&asked, 200, HTML).await;
    let head = visitor.head().await;
    assert_eq!(head.header("content-security-policy"), Some("sandbox allow-scripts allow-forms"));
    assert_eq!(head.header("set-cookie"), Some(&*format!("a=1; Path={}", tunnel.at("/"))));
    tunnel.end.finish(&asked, 0).await;
    visitor.rest().await.is("");

    let mut tunnel = Streaming::open(ServeConfig { path_html: PathHtml::Refuse, ..patient() }, "1").await;
    let (mut visitor, asked) = tunnel.get().await;
    tunnel.end.respond(&asked, 200, HTML).await;
    let head = visitor.head().await;
    assert_eq!((head.status, head.code(), head.header("set-cookie")), (403, Some("html-refused"), None));
    // Nobody reads the rest.
    tunnel.end.aborted(&asked, "visitor-gone").await;
    let (visitor, asked) = tunnel.respond(r#"{"content-type":"application/json"}"#).await;
    tunnel.end.send_data(&asked.id, b"{}", 0).await;
    tunnel.end.finish(&asked, 2).await;
    visitor.rest().await.is("{}");
}
