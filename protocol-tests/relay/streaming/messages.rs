//! Visitors' WebSockets, message by message.

use super::super::visitor::{request, visit};
use super::Streaming;
use super::frames::{
    ACCEPT, BINARY, CLOSE, FIRST_BINARY, FIRST_TEXT, Frames, LAST, PING, PONG, TEXT, UPGRADE, WITHIN, ask_for,
};
use super::raw_end::Request;
use crate::support::pattern;

/// Closes the WebSocket in order, from the end's side, after this many parts of the end.
async fn close(tunnel: &mut Streaming, mut visitor: Frames, asked: &Request, parts: u64, came: u64) {
    tunnel.end.say(&format!(r#"["close","{}",{parts},1000,"bye"]"#, asked.id)).await;
    visitor.closes(Some(1000), "bye").await;
    visitor.send_close(1000, "bye").await;
    assert_eq!(tunnel.end.closed(asked).await, (came, 1000, "bye".to_owned()));
    visitor.ends().await;
    tunnel.end.hears_nothing().await;
}

#[tokio::test]
async fn messages_go_both_ways() {
    let mut tunnel = Streaming::patient().await;
    let (head, mut visitor, asked) = tunnel.websocket_with(r#"{"set-cookie":"a=b"}"#).await;
    assert_eq!(head.header("sec-websocket-accept"), Some(ACCEPT));
    assert_eq!((head.header("sec-websocket-protocol"), head.header("set-cookie")), (None, Some("a=b")));
    assert_eq!(asked.header("sec-websocket-protocol"), Some("chat.v2, chat.v1"));
    for (number, text) in ["one", "", "\u{e9}\u{1f600}\"\\\u{0}"].into_iter().enumerate() {
        let number = number as u64;
        visitor.send(TEXT, text.as_bytes()).await;
        let message = tunnel.end.message(&asked).await;
        assert_eq!((message.text.as_deref(), message.more, message.number), (Some(text), false, number));
        tunnel.end.ack(message.ack, "[]").await;
        let ack = tunnel.end.send_text(&asked, text, false, number).await;
        visitor.reads(text).await;
        tunnel.end.acked(ack).await;
    }
    visitor.send(BINARY, b"\x00\xff").await;
    let message = tunnel.end.message(&asked).await;
    assert_eq!((message.bytes.as_deref(), message.number), (Some(&b"\x00\xff"[..]), 3));
    tunnel.end.ack(message.ack, "[]").await;
    let ack = tunnel.end.send_binary(&asked, b"\xfe\x01", false, 3).await;
    assert_eq!(visitor.next().await, (BINARY, b"\xfe\x01".to_vec()));
    tunnel.end.acked(ack).await;
    close(&mut tunnel, visitor, &asked, 4, 4).await;
    tunnel.still_works().await;
}

#[tokio::test]
async fn the_server_answers_pings() {
    let mut tunnel = Streaming::patient().await;
    let (mut visitor, asked) = tunnel.websocket().await;
    visitor.send(PING, b"there?").await;
    assert_eq!(visitor.next().await, (PONG, b"there?".to_vec()));
    tunnel.end.hears_nothing().await;
    close(&mut tunnel, visitor, &asked, 0, 0).await;
}

#[tokio::test]
async fn the_end_chooses_among_the_subprotocols_that_the_visitor_has_named() {
    let mut tunnel = Streaming::patient().await;
    let (head, visitor, asked) = tunnel.websocket_with(r#"{"sec-websocket-protocol":"chat.v1"}"#).await;
    assert_eq!(head.header("sec-websocket-protocol"), Some("chat.v1"));
    close(&mut tunnel, visitor, &asked, 0, 0).await;
    let (mut visitor, asked) = tunnel.ask_for_websocket().await;
    tunnel.end.respond(&asked, 101, r#"{"sec-websocket-protocol":"chat"}"#).await;
    let head = visitor.head().await;
    assert_eq!((head.status, head.code()), (502, Some("invalid-answer")));
    tunnel.end.aborted(&asked, "protocol").await;
    tunnel.end.hears_nothing().await;
}

#[tokio::test]
async fn an_end_may_refuse_with_any_other_response() {
    let mut tunnel = Streaming::patient().await;
    let (mut visitor, asked) = tunnel.ask_for_websocket().await;
    tunnel.end.respond(&asked, 403, "{}").await;
    let ack = tunnel.end.send_data(&asked.id, b"not you", 0).await;
    tunnel.end.finish(&asked, 7).await;
    assert_eq!(visitor.head().await.status, 403);
    visitor.reads("not you").await;
    visitor.is_between().await;
    tunnel.end.acked(ack).await;
    let (mut visitor, asked) = tunnel.ask_for_websocket().await;
    tunnel.end.ack(asked.ack, r#"[401,"who?"]"#).await;
    assert_eq!(visitor.head().await.status, 401);
    visitor.reads("who?").await;
    tunnel.end.hears_nothing().await;
    // An ack is no way to grant one.
    let (mut visitor, asked) = tunnel.ask_for_websocket().await;
    tunnel.end.ack(asked.ack, "[101]").await;
    let head = visitor.head().await;
    assert_eq!((head.status, head.code()), (502, Some("invalid-answer")));
}

#[tokio::test]
async fn a_wrong_handshake_does_not_reach_the_end() {
    let mut tunnel = Streaming::patient().await;
    for (without, instead, status) in [
        ("Sec-WebSocket-Key", None, 400),
        ("Sec-WebSocket-Key", Some("short"), 400),
        ("Sec-WebSocket-Version", None, 400),
        ("Sec-WebSocket-Version", Some("12"), 426),
    ] {
        let headers = UPGRADE.iter().filter_map(|&(name, value)| match name == without {
            true => instead.map(|value| (name, value)),
            false => Some((name, value)),
        });
        let ask = request("GET", &tunnel.at("/ws"), &headers.collect::<Vec<_>>(), b"");
        let answer = visit(tunnel.address, &ask).await;
        assert!([400, status].contains(&answer.status), "{without} {instead:?}: {answer:?}");
        assert_eq!(answer.code(), Some("invalid-head"));
    }
    tunnel.end.hears_nothing().await;
}

#[tokio::test]
async fn a_visitor_that_closes_gets_the_code_of_the_end() {
    let mut tunnel = Streaming::patient().await;
    for (sent, told) in [(Some((4001, "enough")), (4001, "enough")), (Some((1000, "")), (1000, "")), (None, (1005, ""))]
    {
        let (mut visitor, asked) = tunnel.websocket().await;
        match sent {
            Some((code, reason)) => visitor.send_close(code, reason).await,
            None => visitor.send(CLOSE, b"").await,
        }
        assert_eq!(tunnel.end.closed(&asked).await, (0, told.0, told.1.to_owned()));
        // What the end still sends has nobody to read it, and is acknowledged.
        let ack = tunnel.end.send_text(&asked, "late", false, 0).await;
        tunnel.end.say(&format!(r#"["close","{}",1,4002,"too"]"#, asked.id)).await;
        let (first, _) = visitor.message().await;
        // The server may answer the close frame before the end has spoken.
        assert!(matches!(first, CLOSE | TEXT));
        tunnel.end.acked(ack).await;
        tunnel.end.hears_nothing().await;
    }
}

/// Neither side waits for a goodbye for ever, and the end hears that there is none.
#[tokio::test]
async fn a_goodbye_that_is_not_answered_ends_the_websocket_after_five_seconds() {
    for is_ends in [true, false] {
        let (clock, mut tunnel) = Streaming::clocked(super::patient(), "1").await;
        let (mut visitor, asked) = tunnel.websocket().await;
        if is_ends {
            tunnel.end.say(&format!(r#"["close","{}",0,1000,""]"#, asked.id)).await;
            visitor.closes(Some(1000), "").await;
        } else {
            visitor.send_close(1000, "").await;
            tunnel.end.closed(&asked).await;
        }
        clock.pass(4, &mut tunnel.end).await;
        tunnel.end.hears_nothing().await;
        clock.pass(2, &mut tunnel.end).await;
        tunnel.end.aborted(&asked, "timeout").await;
        visitor.peer.until_end().await;
    }
}

#[tokio::test]
async fn a_silent_visitor_is_asked_whether_it_is_there() {
    let (clock, mut tunnel) = Streaming::clocked(super::patient(), "1").await;
    let (mut visitor, asked) = tunnel.websocket().await;
    for _ in 0..3 {
        clock.pass(31, &mut tunnel.end).await;
        assert_eq!(visitor.next().await.0, PING);
        visitor.send(PONG, b"").await;
        // Behind the answer.
        visitor.send(TEXT, b"here").await;
        let message = tunnel.end.message(&asked).await;
        tunnel.end.ack(message.ack, "[]").await;
    }
    clock.pass(31, &mut tunnel.end).await;
    assert_eq!(visitor.next().await.0, PING);
    clock.pass(31, &mut tunnel.end).await;
    tunnel.end.aborted(&asked, "visitor-gone").await;
}

#[tokio::test]
async fn a_close_of_the_end_has_its_code_if_that_may_be_sent() {
    let mut tunnel = Streaming::patient().await;
    for (code, sent) in [
        (1000, Some(1000)),
        (1001, Some(1001)),
        (4999, Some(4999)),
        (1005, None),
        (1006, Some(1011)),
        (999, Some(1011)),
        (5000, Some(1011)),
        (0, Some(1011)),
    ] {
        let (mut visitor, asked) = tunnel.websocket().await;
        tunnel.end.say(&format!(r#"["close","{}",0,{code},"why"]"#, asked.id)).await;
        visitor.closes(sent, "why").await;
        visitor.send_close(1000, "").await;
        assert_eq!(tunnel.end.closed(&asked).await.1, 1000);
        visitor.ends().await;
        tunnel.end.hears_nothing().await;
    }
}

#[tokio::test]
async fn a_message_that_a_close_comes_in_the_middle_of_is_none() {
    let mut tunnel = Streaming::patient().await;
    // Of the visitor.
    let (mut visitor, asked) = tunnel.websocket().await;
    let part = pattern::bytes(0, 40_000);
    visitor.send(FIRST_BINARY, &part).await;
    visitor.send_close(1001, "").await;
    let mut came = Vec::new();
    let mut parts = 0;
    while came.len() < part.len() && tunnel.end.next_is("message").await {
        let message = tunnel.end.message(&asked).await;
        assert!(message.more);
        came.extend_from_slice(&message.bytes.unwrap());
        tunnel.end.ack(message.ack, "[]").await;
        parts += 1;
    }
    assert_eq!(tunnel.end.closed(&asked).await, (parts, 1001, String::new()));
    // Of the end.
    let (mut visitor, asked) = tunnel.websocket().await;
    tunnel.end.send_text(&asked, "half", true, 0).await;
    tunnel.end.say(&format!(r#"["close","{}",1,1000,""]"#, asked.id)).await;
    let (first, payload) = visitor.next().await;
    assert_eq!((first, &*payload), (FIRST_TEXT, &b"half"[..]));
    visitor.closes(Some(1000), "").await;
    visitor.send_close(1000, "").await;
    tunnel.end.closed(&asked).await;
}

#[tokio::test]
async fn a_large_message_comes_in_parts_both_ways() {
    let mut tunnel = Streaming::open(super::patient(), r#"{"chunk":10000}"#).await;
    let (mut visitor, asked) = tunnel.websocket().await;
    let body = pattern::bytes(0, 200_000);
    // In three frames, between which a ping may come.
    visitor.send(FIRST_BINARY, &body[..70_000]).await;
    visitor.send(PING, b"").await;
    visitor.send(WITHIN, &body[70_000..130_000]).await;
    visitor.send(LAST, &body[130_000..]).await;
    let (mut came, mut number, mut more) = (Vec::new(), 0, true);
    while more {
        let message = tunnel.end.message(&asked).await;
        assert_eq!(message.number, number);
        let bytes = message.bytes.unwrap();
        assert!(bytes.len() <= 10_000);
        came.extend_from_slice(&bytes);
        more = message.more;
        number += 1;
        tunnel.end.ack(message.ack, "[]").await;
    }
    assert!(came == body);
    assert_eq!(visitor.next().await.0, PONG);
    let mut acks = Vec::new();
    for (part, bytes) in body.chunks(10_000).enumerate() {
        acks.push(tunnel.end.send_binary(&asked, bytes, part < 19, part as u64).await);
    }
    let (first, whole) = visitor.message().await;
    assert!(first == BINARY && whole == body);
    for ack in acks {
        tunnel.end.acked(ack).await;
    }
    close(&mut tunnel, visitor, &asked, 20, number).await;
}

#[tokio::test]
async fn text_is_cut_between_characters() {
    let mut tunnel = Streaming::open(super::patient(), r#"{"chunk":256}"#).await;
    let (mut visitor, asked) = tunnel.websocket().await;
    for text in ["a\u{20ac}".repeat(1000), "\u{1f600}".repeat(300), "\u{1}".repeat(2000)] {
        visitor.send(TEXT, text.as_bytes()).await;
        let (mut came, mut more) = (String::new(), true);
        while more {
            let message = tunnel.end.message(&asked).await;
            let part = message.text.unwrap();
            assert!(part.len() <= 256 && !part.contains('\u{fffd}'), "{part}");
            came.push_str(&part);
            more = message.more;
            tunnel.end.ack(message.ack, "[]").await;
        }
        assert!(came == text);
    }
}

#[tokio::test]
async fn what_breaks_the_rules_of_websockets_closes_it_and_the_end_hears_why() {
    let mut tunnel = Streaming::patient().await;
    for (first, payload, code) in
        [(TEXT, &b"\xff"[..], 1007), (WITHIN, b"", 1002), (0x83, b"", 1002), (CLOSE, b"\x03\xed", 1002)]
    {
        let (mut visitor, asked) = tunnel.websocket().await;
        visitor.send(first, payload).await;
        assert_eq!(tunnel.end.closed(&asked).await, (0, code, String::new()), "{first:#x}");
        tunnel.end.say(&format!(r#"["close","{}",0,{code},""]"#, asked.id)).await;
        visitor.ends_with(u16::try_from(code).unwrap()).await;
        tunnel.end.hears_nothing().await;
    }
}

#[tokio::test]
async fn what_an_end_must_not_send_behind_a_101_breaks_the_websocket_off() {
    let mut tunnel = Streaming::patient().await;
    for event in [
        r#"["end","ID",0]"#,
        r#"["close","ID",1,1000,""]"#,
        r#"["close","ID",0,"1000",""]"#,
        r#"["message","ID","no ack",false,0]"#,
        r#"["response","ID",101,{}]"#,
    ] {
        let (visitor, asked) = tunnel.websocket().await;
        tunnel.end.say(&event.replace("ID", &asked.id)).await;
        let code = if event.contains("ID\",1,1000") { "out-of-order" } else { "protocol" };
        tunnel.end.aborted(&asked, code).await;
        visitor.ends_with(1014).await;
        tunnel.end.hears_nothing().await;
    }
    let (visitor, asked) = tunnel.websocket().await;
    let first = tunnel.end.send_text(&asked, "a", true, 0).await;
    let second = tunnel.end.send_binary(&asked, b"b", false, 1).await;
    tunnel.end.aborted(&asked, "protocol").await;
    tunnel.end.acked(first).await;
    tunnel.end.acked(second).await;
    drop(visitor);
    let (visitor, asked) = tunnel.websocket().await;
    tunnel.end.say(&format!(r#"["close","{}",0,1000,""]"#, asked.id)).await;
    let ack = tunnel.end.send_text(&asked, "behind", false, 0).await;
    tunnel.end.aborted(&asked, "protocol").await;
    tunnel.end.acked(ack).await;
    drop(visitor);
    tunnel.end.hears_nothing().await;
}

#[tokio::test]
async fn a_visitor_that_vanishes_is_gone_and_an_end_that_does_is_a_bad_gateway() {
    let mut tunnel = Streaming::patient().await;
    let (visitor, asked) = tunnel.websocket().await;
    drop(visitor);
    tunnel.end.aborted(&asked, "visitor-gone").await;
    tunnel.end.hears_nothing().await;
    let (visitor, asked) = tunnel.websocket().await;
    tunnel.end.abort(&asked, "local-gone").await;
    visitor.ends_with(1014).await;
    let (visitor, _) = tunnel.websocket().await;
    tunnel.end.close().await;
    visitor.ends_with(1014).await;
}

#[tokio::test]
async fn what_a_visitor_sends_right_behind_its_request_is_not_lost() {
    let mut tunnel = Streaming::patient().await;
    let early = [ask_for(&tunnel.at("/ws")), crate::support::wire::frame(TEXT, b"early")].concat();
    let (mut visitor, asked) = tunnel.ask(&early).await;
    tunnel.end.respond(&asked, 101, "{}").await;
    assert_eq!(visitor.head().await.status, 101);
    assert_eq!(tunnel.end.message(&asked).await.text.as_deref(), Some("early"));
}
