//! Which requests reach an end that streams, and which end.

use std::collections::BTreeMap;

use super::super::tunnel::{Server, Tunnel};
use super::super::visitor::{get, request, visit};
use super::frames::UPGRADE;
use super::raw_end::{RawEnd, Request};
use super::{Streaming, patient};
use crate::support::keyed::Keyed;
use crate::support::pattern;
use crate::support::transfer::Transfer;

#[tokio::test]
async fn a_request_that_has_come_through_the_server_is_a_loop() {
    let mut tunnel = Streaming::patient().await;
    let (visitor, asked) = tunnel.ask(&request("GET", &tunnel.at("/x"), &[("Via", "1.0 a, 2 b (c)")], b"")).await;
    let via = asked.header("via").unwrap().to_owned();
    let name = via.strip_prefix("1.0 a, 2 b (c), 1.1 ").unwrap();
    assert!(name.starts_with("socket2me-"), "{via}");
    drop(visitor);
    tunnel.end.aborted(&asked, "visitor-gone").await;
    for via in [via.clone(), format!("1.1 {name}"), format!("1.1 proxy,1.1 {name}, 1.1 cdn")] {
        for body in [&b""[..], b"body"] {
            let answer = visit(tunnel.address, &request("POST", &tunnel.at("/x"), &[("Via", &via)], body)).await;
            assert_eq!((answer.status, answer.code()), (508, Some("loop")), "{via}");
        }
    }
    tunnel.end.hears_nothing().await;
    // Another name is that of another server.
    let (_, asked) = tunnel.ask(&request("GET", &tunnel.at("/x"), &[("Via", &format!("1.1 {name}0"))], b"")).await;
    assert_eq!(asked.header("via").unwrap(), format!("1.1 {name}0, 1.1 {name}"));
}

#[tokio::test]
async fn an_end_that_does_not_stream_gets_requests_as_ever() {
    let mut tunnel = Tunnel::patient().await;
    let (asked, _) = tunnel.exchange(&request("GET", &tunnel.at("/x"), &[("Via", "1.1 a")], b""), "[]", &[]).await;
    assert_eq!(asked.header("via"), Some("1.1 a"));
    let (asked, _) = tunnel.exchange(&request("GET", &tunnel.at("/x"), &[], b""), "[]", &[]).await;
    assert_eq!(asked.header("via"), None);
}

#[tokio::test]
async fn an_end_that_takes_no_websockets_is_asked_for_none() {
    let ask = |target: &str| request("GET", target, UPGRADE, b"");
    let mut plain = Tunnel::patient().await;
    let answer = visit(plain.server.address, &ask(&plain.at("/ws"))).await;
    assert_eq!((answer.status, answer.code()), (501, Some("upgrade-unsupported")));
    plain.still_works().await;
    let mut base64 = Streaming::open(patient(), r#"{"bytes":"base64"}"#).await;
    let answer = visit(base64.address, &ask(&base64.at("/ws"))).await;
    assert_eq!((answer.status, answer.code()), (501, Some("upgrade-unsupported")));
    base64.end.hears_nothing().await;
}

#[tokio::test]
async fn other_upgrades_are_ignored() {
    let mut tunnel = Streaming::patient().await;
    for (method, upgrade) in [("GET", "h2c"), ("GET", "TLS/1.0"), ("POST", "websocket")] {
        let headers =
            [("Upgrade", upgrade), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", crate::support::wire::KEY)];
        let ask = request(method, &tunnel.at("/x"), &headers, b"");
        let ask = String::from_utf8(ask).unwrap().replace("Connection: close", "Connection: close, Upgrade");
        let (mut visitor, asked) = tunnel.ask(ask.as_bytes()).await;
        assert_eq!((asked.object.get("upgrade"), asked.header("upgrade")), (None, None), "{method} {upgrade}");
        tunnel.end.ack(asked.ack, r#"["served"]"#).await;
        assert_eq!(visitor.head().await.status, 200);
        visitor.rest().await.is("served");
    }
}

#[tokio::test]
async fn a_body_that_was_read_for_an_end_that_does_not_stream_reaches_one_that_does() {
    let plain = Tunnel::patient().await;
    let address = plain.server.address;
    let body = pattern::bytes(0, 100_000);
    let mut visitor = Transfer::connect(address).await;
    let target = plain.at("/x");
    let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n");
    visitor.send(head.as_bytes()).await;
    visitor.is_told_to_continue().await;
    let mut end = RawEnd::connect(address, &plain.token, "1").await;
    visitor.send(&body).await;
    let asked = end.request().await;
    assert!(!asked.is_streamed() && asked.attachment.as_deref() == Some(&body[..]));
    end.respond(&asked, 200, "{}").await;
    end.send_data(&asked.id, b"taken", 0).await;
    end.finish(&asked, 5).await;
    assert_eq!(visitor.head().await.status, 200);
    visitor.reads("taken").await;
    visitor.is_between().await;
}

#[tokio::test]
async fn of_two_ends_that_are_asked_one_after_the_other_either_may_stream_and_no_third_is_asked() {
    let server = Server::start(patient()).await;
    let tunnel = Keyed::make(server.address, r#"{"hold":60,"timeout":120,"repeat":"idempotent"}"#).await;
    let put = async || {
        let mut visitor = Transfer::connect(server.address).await;
        visitor.send(&request("PUT", &tunnel.at("/x"), &[], b"body")).await;
        visitor
    };
    let mut plain = tunnel.join(server.address).await;
    let mut visitor = put().await;
    let id = plain.asked().await.request.id;
    drop(plain);
    let mut streaming = join(&server, &tunnel).await;
    let asked = streaming.request().await;
    assert_eq!((&asked.id, asked.is_streamed(), asked.attachment.as_deref()), (&id, false, Some(&b"body"[..])));
    drop(streaming);
    assert_eq!(visitor.head().await.code(), Some("client-disconnected"));

    let mut streaming = join(&server, &tunnel).await;
    let mut visitor = put().await;
    let asked = streaming.request().await;
    drop(streaming);
    let mut plain = tunnel.join(server.address).await;
    assert_eq!(plain.asked().await.request.id, asked.id);
    drop(plain);
    assert_eq!(visitor.head().await.code(), Some("client-disconnected"));
}

/// Joins a keyed tunnel, and asks for streaming.
async fn join(server: &Server, tunnel: &Keyed) -> RawEnd {
    let auth = format!(r#"{{"stream":1,"key":"{}"}}"#, tunnel.key);
    RawEnd::join(server.address, &tunnel.token, &auth).await
}

#[tokio::test]
async fn an_idempotent_request_is_sent_again_if_its_body_is_not_streamed() {
    let server = Server::start(patient()).await;
    let tunnel = Keyed::make(server.address, r#"{"hold":60,"timeout":120,"repeat":"idempotent"}"#).await;
    for (method, length, is_repeated) in [
        ("GET", 0, true),
        ("PUT", 1000, true),
        ("DELETE", 64 << 10, true),
        ("PUT", (64 << 10) + 1, false),
        ("POST", 1000, false),
    ] {
        let mut first = join(&server, &tunnel).await;
        let mut visitor = Transfer::connect(server.address).await;
        visitor.send(&request(method, &tunnel.at("/x"), &[], &pattern::bytes(0, length))).await;
        let asked = first.request().await;
        first.close().await;
        drop(first);
        if is_repeated {
            let mut second = join(&server, &tunnel).await;
            let again = second.request().await;
            assert!(again.attachment == asked.attachment && again.id == asked.id, "{method} {length}");
            second.respond(&again, 200, "{}").await;
            second.finish(&again, 0).await;
            assert_eq!(visitor.head().await.status, 200);
            visitor.rest().await.is("");
        } else {
            assert_eq!(visitor.head().await.code(), Some("client-disconnected"), "{method} {length}");
        }
    }
}

/// Of these ends, the one that is asked.
async fn asked(ends: &mut [RawEnd]) -> (usize, Request) {
    let all = ends.iter_mut().map(|end| Box::pin(end.request()));
    let (asked, number, _) = futures::future::select_all(all).await;
    (number, asked)
}

#[tokio::test]
async fn ends_that_share_a_tunnel_get_as_many_streams_each() {
    let server = Server::start(patient()).await;
    let tunnel = Keyed::make(server.address, r#"{"ends":"spread","timeout":120}"#).await;
    let mut ends = Vec::new();
    for _ in 0..3 {
        ends.push(join(&server, &tunnel).await);
    }
    let mut open = Vec::new();
    let mut counts = BTreeMap::<usize, usize>::new();
    for _ in 0..9 {
        let mut visitor = Transfer::connect(server.address).await;
        visitor.send(&request("GET", &tunnel.at("/x"), &[], b"")).await;
        let (number, request) = asked(&mut ends).await;
        ends[number].respond(&request, 200, "{}").await;
        assert_eq!(visitor.head().await.status, 200);
        *counts.entry(number).or_default() += 1;
        open.push((number, visitor, request));
    }
    assert_eq!(counts, BTreeMap::from([(0, 3), (1, 3), (2, 3)]));
    // One that ends all it has is the next.
    let (done, open): (Vec<_>, Vec<_>) = open.into_iter().partition(|(number, ..)| *number == 1);
    for (number, visitor, request) in done {
        ends[number].finish(&request, 0).await;
        visitor.rest().await.is("");
    }
    let mut visitor = Transfer::connect(server.address).await;
    visitor.send(&request("GET", &tunnel.at("/x"), &[], b"")).await;
    assert_eq!(asked(&mut ends).await.0, 1);
    // The others go on.
    for (number, visitor, request) in open {
        ends[number].send_data(&request.id, b"ok", 0).await;
        ends[number].finish(&request, 2).await;
        visitor.rest().await.is("ok");
    }
}

#[tokio::test]
async fn an_end_that_streams_and_one_that_does_not_may_share_a_tunnel() {
    let server = Server::start(patient()).await;
    let tunnel = Keyed::make(server.address, r#"{"ends":"spread","timeout":120}"#).await;
    let mut streams = join(&server, &tunnel).await;
    let mut plain = tunnel.join(server.address).await;
    let mut visitors = Vec::new();
    for _ in 0..2 {
        let mut visitor = Transfer::connect(server.address).await;
        visitor.send(&request("POST", &tunnel.at("/x"), &[], &pattern::bytes(0, 100_000))).await;
        visitors.push(visitor);
    }
    let asked = streams.request().await;
    assert_eq!(streams.all_data(&asked, 100_000).await, pattern::bytes(0, 100_000));
    streams.ended(&asked).await;
    streams.ack(asked.ack, r#"["served"]"#).await;
    let asked = plain.asked().await;
    plain.answer(&asked, r#"["served"]"#, &[]).await;
    for mut visitor in visitors {
        assert_eq!(visitor.head().await.status, 200);
        visitor.rest().await.is("served");
    }
}

#[tokio::test]
async fn an_end_is_told_what_it_asks_for_in_a_wrong_way() {
    let server = Server::start(patient()).await;
    let token = server.token().await;
    for (asked, message) in [
        (r#"{"ws":"both"}"#, "auth.stream.ws must be 'messages' or 'raw'"),
        (r#"{"window":"9"}"#, "auth.stream.window must be a whole number of bytes"),
        ("2", "auth.stream must be 1 or an object"),
    ] {
        let mut end = crate::support::end::End::open(server.address).await;
        assert_eq!(end.join(&token, &format!(r#"{{"stream":{asked}}}"#)).await, Err(message.to_owned()));
    }
    assert_eq!(get(server.address, &format!("/go/{token}")).await.code(), Some("client-not-connected"));
}
