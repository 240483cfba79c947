//! The table of states in PROTOCOL.md, section 11: what each event of an end leads to before the head, after it, and when the
//! exchange is over. Events of an upgraded connection are in `messages` and `raw`.

use super::super::visitor::request;
use super::Streaming;
use super::raw_end::Request;
use crate::support::pattern;
use crate::support::transfer::Transfer;
use crate::support::wire::Server;

/// What is wrong with an event.
const SECOND: &str = "response was sent before";
const TOO_EARLY: &str = "response comes first, and pull before a body that waits for it";
const STATUS: &str = "the status must be a whole number from 200 to 999";
const RESPONSE_SHAPE: &str = "response has an id, a status and headers, such as ('1-2', 200, {})";
const DATA_SHAPE: &str = "data has an id, bytes and the offset, such as ('1-2', Buffer.from('abc'), 0)";
const END_SHAPE: &str = "end has an id and the number of all bytes, such as ('1-2', 3)";
const NO_ACK: &str = "data and message must ask for an ack: emit them with a callback";
const NO_WEBSOCKET: &str = "message and close are those of a WebSocket in messages mode";
const ORDER: &str = "the offset, number or total is not what came before";
const CHUNK: &str = "the event has more bytes than the chunk of ready";

/// The visitor gets the relay's own error.
async fn failed(mut visitor: Transfer, status: u16, code: &str, message: &str) {
    let head = visitor.head().await;
    assert_eq!((head.status, head.code()), (status, Some(code)));
    let rest = visitor.rest().await;
    assert!(rest.is_complete && rest.text().contains(message), "{} and not {message}", rest.text());
}

/// Sends an event, of which `ID` is the exchange.
async fn say(tunnel: &mut Streaming, asked: &Request, event: &str) {
    tunnel.end.say(&event.replace("ID", &asked.id)).await;
}

#[tokio::test]
async fn an_event_that_must_not_come_before_the_head_breaks_the_exchange_off() {
    let mut tunnel = Streaming::patient().await;
    for (event, message) in [
        (r#"["end","ID",0]"#, TOO_EARLY),
        (r#"["close","ID",0,1000,""]"#, TOO_EARLY),
        (r#"["response","ID",101,{}]"#, "the visitor has not asked for an upgrade"),
        (r#"["response","ID",100,{}]"#, STATUS),
        (r#"["response","ID",199,{}]"#, STATUS),
        (r#"["response","ID",1000,{}]"#, STATUS),
        (r#"["response","ID",-1,{}]"#, RESPONSE_SHAPE),
        (r#"["response","ID","200",{}]"#, RESPONSE_SHAPE),
        (r#"["response","ID"]"#, RESPONSE_SHAPE),
        (r#"["end","ID","0"]"#, END_SHAPE),
        (r#"["data","ID",{"0":1},0]"#, DATA_SHAPE),
        (r#"["data","ID"]"#, DATA_SHAPE),
        (r#"["abort","ID"]"#, "abort has an id and a code, such as ('1-2', 'local-gone')"),
    ] {
        let (visitor, asked) = tunnel.get().await;
        say(&mut tunnel, &asked, event).await;
        assert_eq!(tunnel.end.aborted(&asked, "protocol").await.as_deref(), Some(message), "{event}");
        failed(visitor, 502, "client-aborted", message).await;
        // It is over: nothing is heard of it any more.
        tunnel.end.respond(&asked, 200, "{}").await;
        tunnel.end.ack(asked.ack, r#"["late"]"#).await;
        tunnel.end.hears_nothing().await;
    }
    let (visitor, asked) = tunnel.get().await;
    let ack = tunnel.end.send_data(&asked.id, b"abc", 0).await;
    assert_eq!(tunnel.end.aborted(&asked, "protocol").await.as_deref(), Some(TOO_EARLY));
    tunnel.end.acked(ack).await;
    failed(visitor, 502, "client-aborted", TOO_EARLY).await;
    let (visitor, asked) = tunnel.get().await;
    let ack = tunnel.end.send_text(&asked, "abc", false, 0).await;
    assert_eq!(tunnel.end.aborted(&asked, "protocol").await.as_deref(), Some(TOO_EARLY));
    tunnel.end.acked(ack).await;
    failed(visitor, 502, "client-aborted", TOO_EARLY).await;
    tunnel.end.hears_nothing().await;
}

#[tokio::test]
async fn a_head_that_http_cannot_carry_is_an_invalid_answer() {
    let mut tunnel = Streaming::patient().await;
    for headers in [r#"{"a b":"c"}"#, r#"{"x":"a\nb"}"#, r#"{"x":{}}"#, "7"] {
        let (mut visitor, asked) = tunnel.get().await;
        tunnel.end.respond(&asked, 200, headers).await;
        assert!(tunnel.end.aborted(&asked, "protocol").await.is_some(), "{headers}");
        let head = visitor.head().await;
        assert_eq!((head.status, head.code()), (502, Some("invalid-answer")), "{headers}");
        tunnel.end.hears_nothing().await;
    }
}

#[tokio::test]
async fn an_event_that_must_not_come_after_the_head_breaks_the_transfer() {
    let mut tunnel = Streaming::patient().await;
    for (event, code, message) in [
        (r#"["response","ID",200,{}]"#, "protocol", SECOND),
        (r#"["response","ID",101,{}]"#, "protocol", SECOND),
        (r#"["end","ID",3]"#, "out-of-order", ORDER),
        (r#"["end","ID",1]"#, "out-of-order", ORDER),
        (r#"["end","ID"]"#, "protocol", END_SHAPE),
        (r#"["end","ID",2,7]"#, "protocol", END_SHAPE),
        (r#"["close","ID",0,1000,""]"#, "protocol", NO_WEBSOCKET),
        (r#"["data","ID","AAAA",2]"#, "protocol", NO_ACK),
        (r#"["message","ID","text",false,0]"#, "protocol", NO_WEBSOCKET),
    ] {
        let (mut visitor, asked) = tunnel.respond("{}").await;
        let first = tunnel.end.send_data(&asked.id, b"ok", 0).await;
        visitor.reads("ok").await;
        tunnel.end.acked(first).await;
        say(&mut tunnel, &asked, event).await;
        assert_eq!(tunnel.end.aborted(&asked, code).await.as_deref(), Some(message), "{event}");
        visitor.rest().await.is_broken("");
        tunnel.end.hears_nothing().await;
    }
    tunnel.still_works().await;
}

#[tokio::test]
async fn data_that_are_too_large_or_out_of_order_break_the_transfer_and_are_acknowledged_once() {
    let mut tunnel = Streaming::open(super::patient(), r#"{"chunk":1000}"#).await;
    for (length, offset, code, message) in [
        (1001, 2, "chunk-too-large", CHUNK),
        (10, 0, "out-of-order", ORDER),
        (10, 3, "out-of-order", ORDER),
        (0, 1, "out-of-order", ORDER),
    ] {
        let (mut visitor, asked) = tunnel.respond("{}").await;
        let first = tunnel.end.send_data(&asked.id, b"ok", 0).await;
        visitor.reads("ok").await;
        tunnel.end.acked(first).await;
        let second = tunnel.end.send_data(&asked.id, &pattern::bytes(0, length), offset).await;
        assert_eq!(tunnel.end.aborted(&asked, code).await.as_deref(), Some(message), "{length} {offset}");
        tunnel.end.acked(second).await;
        visitor.rest().await.is_broken("");
        tunnel.end.hears_nothing().await;
    }
}

#[tokio::test]
async fn what_comes_of_an_exchange_that_is_over_is_acknowledged_and_ignored() {
    let mut tunnel = Streaming::patient().await;
    let (visitor, asked) = tunnel.respond("{}").await;
    tunnel.end.finish(&asked, 0).await;
    visitor.rest().await.is("");
    for id in [&*asked.id, "0-1", "never", ""] {
        let acks = [
            tunnel.end.send_data(id, b"late", 0).await,
            tunnel.end.send_data(id, b"", 77).await,
            tunnel.end.ask(&format!(r#"["message","{id}","text",false,0]"#)).await,
            tunnel.end.ask(&format!(r#"["data","{id}",7,0]"#)).await,
        ];
        for event in ["response\",\"ID\",200,{}", "end\",\"ID\",9", "close\",\"ID\",0,1000,\"\"", "pull\",\"ID\""] {
            tunnel.end.say(&format!("[\"{event}]").replace("ID", id)).await;
        }
        tunnel.end.say(&format!(r#"["abort","{id}","local-gone"]"#)).await;
        for ack in acks {
            assert_eq!(tunnel.end.acked(ack).await, None);
        }
        tunnel.end.hears_nothing().await;
    }
    tunnel.end.ack(asked.ack, r#"["late"]"#).await;
    tunnel.still_works().await;
}

#[tokio::test]
async fn an_ack_before_the_head_is_the_whole_answer_and_what_follows_is_ignored() {
    let mut tunnel = Streaming::patient().await;
    for (args, status, body) in [("[]", 200, "OK"), (r#"["text"]"#, 200, "text"), (r#"[404,"no"]"#, 404, "no")] {
        let (mut visitor, asked) = tunnel.get().await;
        tunnel.end.ack(asked.ack, args).await;
        tunnel.end.respond(&asked, 500, "{}").await;
        let ack = tunnel.end.send_data(&asked.id, b"more", 0).await;
        assert_eq!(visitor.head().await.status, status, "{args}");
        visitor.rest().await.is(body);
        tunnel.end.acked(ack).await;
        tunnel.end.hears_nothing().await;
    }
}

#[tokio::test]
async fn an_ack_after_the_head_is_ignored() {
    let mut tunnel = Streaming::patient().await;
    for args in ["[]", r#"[404,"no"]"#] {
        let (mut visitor, asked) = tunnel.get().await;
        tunnel.end.respond(&asked, 202, "{}").await;
        tunnel.end.ack(asked.ack, args).await;
        assert_eq!(visitor.head().await.status, 202);
        tunnel.end.send_data(&asked.id, b"body", 0).await;
        tunnel.end.finish(&asked, 4).await;
        visitor.rest().await.is("body");
    }
}

/// As clients do that acknowledge an event when its handler returns.
#[tokio::test]
async fn an_ack_in_one_post_behind_the_head_or_an_abort_is_ignored() {
    let server = Server::start().await;
    let token = server.token().await;
    let polling = server.open().await;
    polling.post(format!(r#"40/{token},{{"stream":1}}"#)).await.is(200, "ok");
    for (event, status) in
        [(r#""response","ID",202,{}"#, 202), (r#""response","ID",99,{}"#, 502), (r#""abort","ID","too-large""#, 413)]
    {
        let mut visitor = Transfer::connect(server.address).await;
        visitor.send(&request("GET", &format!("/go/{token}/x"), &[], b"")).await;
        let (ack, id) = loop {
            let polled = polling.poll().await.text();
            let Some(at) = polled.find(r#"["request""#) else { continue };
            let (_, id) = polled[at..].split_once(r#""id":""#).unwrap();
            let ack = polled[..at].rsplit_once(',').unwrap().1;
            break (ack.to_owned(), id.split('"').next().unwrap().to_owned());
        };
        let event = event.replace("ID", &id);
        polling.post(format!("42/{token},[{event}]\x1e43/{token},{ack}[404,\"no\"]")).await.is(200, "ok");
        assert_eq!(visitor.head().await.status, status, "{event}");
        if status == 202 {
            polling.post(format!(r#"42/{token},["end","{id}",0]"#)).await.is(200, "ok");
            visitor.rest().await.is("");
        }
    }
}

#[tokio::test]
async fn an_ack_answers_a_request_whose_body_still_comes() {
    let mut tunnel = Streaming::patient().await;
    let body = pattern::bytes(0, 200_000);
    let (mut visitor, asked) = tunnel.ask(&request("POST", &tunnel.at("/up"), &[], &body)).await;
    let first = tunnel.end.data(&asked).await;
    tunnel.end.ack(asked.ack, r#"[201,"made"]"#).await;
    assert_eq!(visitor.head().await.status, 201);
    visitor.rest().await.is("made");
    tunnel.end.forget(&asked).await;
    tunnel.end.ack(first.ack, "[]").await;
    tunnel.still_works().await;
}

#[tokio::test]
async fn events_that_are_none_of_a_stream_are_ignored() {
    let mut tunnel = Streaming::patient().await;
    for event in [r#"["Data","x",7]"#, r#"["request","x"]"#, r#"["ready",{}]"#, r#"["closing",{}]"#, "[7]"] {
        tunnel.end.say(event).await;
    }
    tunnel.still_works().await;
}
