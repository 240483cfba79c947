//! What is left of a stream in the access log and in the figures.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::super::visitor::request;
use super::Streaming;
use super::frames::TEXT;
use crate::hostile::figures::watched;
use crate::starting::Started;
use crate::support::pattern;
use crate::support::transfer::Transfer;

/// Returns what the next line of the access log says.
async fn line(program: &mut Started) -> Value {
    let line: Value = serde_json::from_str(&program.logged("socket2me::access").await).unwrap();
    let names = ["method", "status", "outcome", "request_bytes", "response_bytes"];
    let fields = &line["fields"];
    assert!(fields["end_ms"].as_f64() <= fields["duration_ms"].as_f64(), "{line}");
    names.map(|name| fields[name].clone()).into_iter().collect()
}

#[tokio::test]
async fn each_stream_has_one_line_in_the_access_log_with_its_bytes_both_ways() {
    let serve = ["--log-format=json", "serve", "--listen=127.0.0.1:0", "--store=memory"];
    let mut program = Started::new(&[], &serve).await;
    let address = SocketAddr::from(([127, 0, 0, 1], program.port()));
    let mut tunnel = Streaming::join(address, "1").await;

    let (visitor, asked) = tunnel.respond("{}").await;
    tunnel.end.send_data(&asked.id, b"hello", 0).await;
    tunnel.end.finish(&asked, 5).await;
    visitor.rest().await.is("hello");
    assert_eq!(line(&mut program).await, json!(["GET", 200, "answered", 0, 5]));

    let (visitor, asked) = tunnel.ask(&request("POST", &tunnel.at("/x"), &[], b"small")).await;
    tunnel.end.respond(&asked, 201, "{}").await;
    tunnel.end.finish(&asked, 0).await;
    visitor.rest().await;
    assert_eq!(line(&mut program).await, json!(["POST", 201, "answered", 5, 0]));

    for answers_by_ack in [false, true] {
        let (visitor, asked) = tunnel.ask(&request("POST", &tunnel.at("/x"), &[], &pattern::bytes(0, 70_000))).await;
        tunnel.end.all_data(&asked, 70_000).await;
        tunnel.end.ended(&asked).await;
        if answers_by_ack {
            tunnel.end.ack(asked.ack, r#"["hi"]"#).await;
        } else {
            tunnel.end.respond(&asked, 200, "{}").await;
            tunnel.end.send_data(&asked.id, b"hi", 0).await;
            tunnel.end.finish(&asked, 2).await;
        }
        visitor.rest().await;
        assert_eq!(line(&mut program).await, json!(["POST", 200, "answered", 70_000, 2]));
    }

    for (code, outcome) in
        [("local-gone", "client-disconnected"), ("local-refused", "client-aborted"), ("timeout", "client-timed-out")]
    {
        let (mut visitor, asked) = tunnel.respond("{}").await;
        tunnel.end.send_data(&asked.id, b"half", 0).await;
        visitor.reads("half").await;
        tunnel.end.abort(&asked, code).await;
        visitor.rest().await;
        assert_eq!(line(&mut program).await, json!(["GET", 200, outcome, 0, 4]));
    }

    let (visitor, asked) = tunnel.get().await;
    tunnel.end.abort(&asked, "local-refused").await;
    visitor.rest().await;
    let line_of_refusal = line(&mut program).await;
    assert_eq!((&line_of_refusal[1], &line_of_refusal[2]), (&json!(502), &json!("client-aborted")));

    let (mut visitor, asked) = tunnel.respond("{}").await;
    tunnel.end.send_data(&asked.id, b"some", 0).await;
    visitor.reads("some").await;
    drop(visitor);
    tunnel.end.aborted(&asked, "visitor-gone").await;
    assert_eq!(line(&mut program).await, json!(["GET", 200, "visitor-left", 0, 4]));

    let (mut visitor, asked) = tunnel.websocket().await;
    visitor.send(TEXT, b"12345").await;
    tunnel.end.message(&asked).await;
    tunnel.end.send_text(&asked, "123", false, 0).await;
    visitor.reads("123").await;
    tunnel.end.say(&format!(r#"["close","{}",1,1000,""]"#, asked.id)).await;
    visitor.closes(Some(1000), "").await;
    visitor.send_close(1000, "").await;
    tunnel.end.closed(&asked).await;
    assert_eq!(line(&mut program).await, json!(["GET", 101, "answered", 5, 3]));

    let (visitor, asked) = tunnel.respond(r#"{"content-length":"0"}"#).await;
    visitor.rest().await.is("");
    assert_eq!(line(&mut program).await, json!(["GET", 200, "answered", 0, 0]));
    tunnel.end.finish(&asked, 0).await;
    assert!(!tunnel.end.has_heard_an_event().await);

    let (visitor, asked) = tunnel.ask(&request("HEAD", &tunnel.at("/x"), &[], b"")).await;
    tunnel.end.respond(&asked, 200, r#"{"content-length":"5"}"#).await;
    visitor.rest().await;
    assert_eq!(line(&mut program).await, json!(["HEAD", 200, "answered", 0, 0]));
    drop(tunnel);
    let (_, lines) = program.stop("-TERM").await;
    assert!(!lines.iter().any(|line| line.contains("socket2me::access")), "one line an exchange: {lines:?}");
}

#[tokio::test]
async fn each_stream_is_counted_once_by_its_outcome() {
    let (server, figures) = watched(|_| ()).await;
    let mut tunnel = Streaming::join(server.address, "1").await;
    for _ in 0..2 {
        let (visitor, asked) = tunnel.respond("{}").await;
        tunnel.end.finish(&asked, 0).await;
        visitor.rest().await.is("");
    }
    let (visitor, asked) = tunnel.respond("{}").await;
    drop(visitor);
    tunnel.end.aborted(&asked, "visitor-gone").await;
    let (visitor, asked) = tunnel.respond("{}").await;
    tunnel.end.send_data(&asked.id, b"x", 1).await;
    tunnel.end.aborted(&asked, "out-of-order").await;
    visitor.rest().await.is_broken("");
    let mut visitor = Transfer::connect(tunnel.address).await;
    visitor.send(&request("GET", &tunnel.at("/x"), &[("Via", asked.header("via").unwrap())], b"")).await;
    assert_eq!(visitor.head().await.status, 508);
    visitor.rest().await;
    figures.until_used("exchanges", |used| used == 0, "all are over").await;
    for (outcome, count) in [("answered", 2), ("visitor-left", 1), ("client-aborted", 1), ("loop", 1)] {
        assert_eq!(figures.outcomes(outcome).await, count, "{outcome}");
    }
}
