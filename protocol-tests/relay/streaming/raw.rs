//! Visitors' WebSockets as the bytes of a connection.

use super::Streaming;
use super::frames::ACCEPT;
use super::raw_end::Request;
use crate::support::pattern::{self, Check};
use crate::support::wire::Peer;

const HEADERS: &str = r#"{"sec-websocket-accept":"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=","sec-websocket-protocol":"any",
    "sec-websocket-extensions":"permessage-deflate","x-app":"1"}"#;

async fn open() -> (Streaming, Peer, Request) {
    let mut tunnel = Streaming::open(super::patient(), r#"{"ws":"raw"}"#).await;
    assert_eq!(tunnel.end.ready["ws"], "raw");
    let (head, frames, asked) = tunnel.websocket_with(HEADERS).await;
    assert_eq!(asked.header("sec-websocket-key"), Some(crate::support::wire::KEY));
    assert_eq!((head.header("sec-websocket-accept"), head.header("x-app")), (Some(ACCEPT), Some("1")));
    assert_eq!(head.header("sec-websocket-protocol"), Some("any"));
    assert_eq!(head.header("sec-websocket-extensions"), Some("permessage-deflate"));
    assert_eq!(head.header("upgrade"), Some("websocket"));
    (tunnel, frames.peer, asked)
}

#[tokio::test]
async fn bytes_go_both_ways_as_they_are() {
    let (mut tunnel, mut visitor, asked) = open().await;
    visitor.send(b"\x00no frame\xff").await;
    assert_eq!(tunnel.end.all_data(&asked, 10).await, b"\x00no frame\xff");
    let ack = tunnel.end.send_data(&asked.id, b"\xffneither\x00", 0).await;
    assert_eq!(visitor.exactly(9).await, b"\xffneither\x00");
    tunnel.end.acked(ack).await;
    let body = pattern::bytes(0, 500_000);
    visitor.send(&body[..200_000]).await;
    let mut check = Check::default();
    while check.bytes < 200_000 {
        let data = tunnel.end.data(&asked).await;
        assert_eq!(data.offset, 10 + check.bytes);
        check.take(&data.bytes);
        tunnel.end.ack(data.ack, "[]").await;
    }
    tunnel.end.finish(&asked, 9).await;
    assert!(visitor.until_end().await.is_empty());
    drop(visitor);
    assert_eq!(tunnel.end.ended(&asked).await.0, 200_010);
    tunnel.end.hears_nothing().await;
    tunnel.still_works().await;
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    // The visitor first.
    let (mut tunnel, mut visitor, asked) = open().await;
    shut(&mut visitor).await;
    assert_eq!(tunnel.end.ended(&asked).await, (0, None));
    let ack = tunnel.end.send_data(&asked.id, b"goes on", 0).await;
    assert_eq!(visitor.exactly(7).await, b"goes on");
    tunnel.end.acked(ack).await;
    tunnel.end.finish(&asked, 7).await;
    visitor.ends().await;
    tunnel.end.hears_nothing().await;
    // The end first.
    let (mut tunnel, mut visitor, asked) = open().await;
    tunnel.end.finish(&asked, 0).await;
    visitor.ends().await;
    visitor.send(b"goes on").await;
    assert_eq!(tunnel.end.all_data(&asked, 7).await, b"goes on");
    shut(&mut visitor).await;
    assert_eq!(tunnel.end.ended(&asked).await, (7, None));
    tunnel.end.hears_nothing().await;
}

async fn shut(visitor: &mut Peer) {
    tokio::io::AsyncWriteExt::shutdown(&mut visitor.stream).await.unwrap();
}

#[tokio::test]
async fn an_abort_ends_the_connection() {
    let (mut tunnel, mut visitor, asked) = open().await;
    tunnel.end.abort(&asked, "local-gone").await;
    assert!(visitor.until_end().await.is_empty());
    tunnel.end.hears_nothing().await;
}

#[tokio::test]
async fn a_visitor_whose_connection_breaks_is_gone() {
    let (mut tunnel, visitor, asked) = open().await;
    // A connection that is closed with bytes unread is reset.
    let ack = tunnel.end.send_data(&asked.id, b"unread", 0).await;
    tunnel.end.acked(ack).await;
    within_the_socket(&visitor).await;
    drop(visitor);
    tunnel.end.aborted(&asked, "visitor-gone").await;
    tunnel.end.hears_nothing().await;
}

/// Waits until bytes have come that nobody has read.
async fn within_the_socket(visitor: &Peer) {
    crate::support::within("bytes to come", visitor.stream.readable()).await.unwrap();
}

#[tokio::test]
async fn messages_and_close_are_none_of_a_raw_end() {
    for event in [r#"["close","ID",0,1000,""]"#, r#"["message","ID","text",false,0]"#, r#"["end","ID",1]"#] {
        let (mut tunnel, mut visitor, asked) = open().await;
        tunnel.end.say(&event.replace("ID", &asked.id)).await;
        let code = if event.contains("end") { "out-of-order" } else { "protocol" };
        tunnel.end.aborted(&asked, code).await;
        assert!(visitor.until_end().await.is_empty());
    }
}

#[tokio::test]
async fn nothing_may_follow_the_end_of_a_direction() {
    let (mut tunnel, mut visitor, asked) = open().await;
    tunnel.end.finish(&asked, 0).await;
    visitor.ends().await;
    let ack = tunnel.end.send_data(&asked.id, b"behind", 0).await;
    assert_eq!(tunnel.end.aborted(&asked, "protocol").await.as_deref(), Some("nothing follows end or close"));
    tunnel.end.acked(ack).await;
    tunnel.end.hears_nothing().await;
}
