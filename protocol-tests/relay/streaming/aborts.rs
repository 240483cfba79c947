//! Exchanges that a side breaks off, and sides that vanish.

use super::super::tunnel::patient;
use super::super::visitor::{get, request};
use super::Streaming;
use super::raw_end::RawEnd;
use crate::support::pattern;
use crate::support::transfer::Transfer;

#[tokio::test]
async fn each_code_of_an_end_has_its_status_where_no_head_has_come() {
    let mut tunnel = Streaming::patient().await;
    for (code, status, error) in [
        ("local-gone", 502, "client-aborted"),
        ("local-refused", 502, "client-aborted"),
        ("protocol", 502, "client-aborted"),
        ("out-of-order", 502, "client-aborted"),
        ("another", 502, "client-aborted"),
        ("too-large", 413, "body-too-large"),
        ("timeout", 504, "client-timed-out"),
    ] {
        let (mut visitor, asked) = tunnel.get().await;
        tunnel.end.say(&format!(r#"["abort","{}","{code}","it is <down>"]"#, asked.id)).await;
        let head = visitor.head().await;
        assert_eq!((head.status, head.code()), (status, Some(error)), "{code}");
        let rest = visitor.rest().await;
        let shown = if code == "another" { "local-gone" } else { code };
        rest.is(&format!(r#"{{"Error":"client gave the request up: {shown}: it is <down>"}}"#));
        // The end has said it itself.
        tunnel.end.hears_nothing().await;
    }
    let (mut visitor, asked) = tunnel.get().await;
    tunnel.end.abort(&asked, "local-gone").await;
    assert_eq!(visitor.head().await.status, 502);
    visitor.rest().await.is(r#"{"Error":"client gave the request up: local-gone"}"#);
}

#[tokio::test]
async fn an_abort_after_the_head_breaks_the_transfer_whatever_its_code_and_its_framing() {
    let mut tunnel = Streaming::patient().await;
    for headers in ["{}", r#"{"content-length":"9"}"#] {
        for code in ["local-gone", "too-large", "timeout", "another"] {
            let (mut visitor, asked) = tunnel.respond(headers).await;
            let ack = tunnel.end.send_data(&asked.id, b"half", 0).await;
            visitor.reads("half").await;
            tunnel.end.acked(ack).await;
            tunnel.end.abort(&asked, code).await;
            visitor.rest().await.is_broken("");
            tunnel.end.hears_nothing().await;
        }
    }
}

#[tokio::test]
async fn an_end_hears_once_of_a_visitor_that_leaves_before_the_head() {
    let mut tunnel = Streaming::patient().await;
    let (visitor, asked) = tunnel.get().await;
    drop(visitor);
    tunnel.end.aborted(&asked, "visitor-gone").await;
    tunnel.end.respond(&asked, 200, "{}").await;
    let ack = tunnel.end.send_data(&asked.id, b"late", 0).await;
    tunnel.end.acked(ack).await;
    tunnel.end.finish(&asked, 4).await;
    tunnel.end.hears_nothing().await;
    tunnel.still_works().await;
}

#[tokio::test]
async fn an_end_hears_once_of_a_visitor_that_leaves_in_a_download() {
    let mut tunnel = Streaming::patient().await;
    for headers in ["{}", r#"{"content-length":"9999"}"#, r#"{"content-type":"text/event-stream"}"#] {
        let (mut visitor, asked) = tunnel.respond(headers).await;
        let ack = tunnel.end.send_data(&asked.id, b"some", 0).await;
        visitor.reads("some").await;
        tunnel.end.acked(ack).await;
        drop(visitor);
        // Nothing is on its way, so the server learns it from the connection alone.
        tunnel.end.aborted(&asked, "visitor-gone").await;
        tunnel.end.hears_nothing().await;
    }
}

/// The visitor takes nothing, and as much waits for it as the window allows.
#[tokio::test]
async fn an_end_hears_once_of_a_visitor_that_leaves_a_stalled_download_and_all_its_data_are_acknowledged() {
    let mut tunnel = Streaming::patient().await;
    let mut visitor = Transfer::narrow(tunnel.address).await;
    visitor.send(&request("GET", &tunnel.at("/x"), &[], b"")).await;
    let asked = tunnel.end.request().await;
    tunnel.end.respond(&asked, 200, "{}").await;
    let acks = tunnel.end.until_stalled(&asked).await;
    drop(visitor);
    tunnel.end.aborted(&asked, "visitor-gone").await;
    for ack in acks {
        tunnel.end.acked(ack).await;
    }
    tunnel.end.hears_nothing().await;
    tunnel.still_works().await;
}

/// The end acknowledges nothing, so the server reads nothing of the visitor.
#[tokio::test]
async fn an_end_hears_once_of_a_visitor_that_leaves_a_stalled_upload() {
    for has_answered in [false, true] {
        let mut tunnel = Streaming::open(patient(), r#"{"window":256,"chunk":256}"#).await;
        let head = format!("POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n", tunnel.at("/up"));
        let (mut visitor, asked) = tunnel.ask(head.as_bytes()).await;
        if has_answered {
            tunnel.end.respond(&asked, 200, "{}").await;
            assert_eq!(visitor.head().await.status, 200);
        }
        // More than the server reads ahead, and no more than its system keeps: behind that, nothing is heard of a visitor.
        visitor.send(&pattern::bytes(0, 100_000)).await;
        tunnel.end.data(&asked).await;
        tunnel.end.hears_nothing().await;
        drop(visitor);
        tunnel.end.aborted(&asked, "visitor-gone").await;
        tunnel.end.hears_nothing().await;
        tunnel.still_works().await;
    }
}

#[tokio::test]
async fn a_session_that_is_lost_costs_its_exchanges_and_none_of_them_looks_complete() {
    for ends_in_order in [true, false] {
        let mut tunnel = Streaming::patient().await;
        let (mut waiting, _) = tunnel.get().await;
        let (mut reading, asked) = tunnel.respond("{}").await;
        tunnel.end.send_data(&asked.id, b"half", 0).await;
        reading.reads("half").await;
        let ask = request("POST", &tunnel.at("/up"), &[("transfer-encoding", "chunked")], b"3\r\nabc\r\n");
        let (mut sending, asked) = tunnel.ask(&ask).await;
        tunnel.end.data(&asked).await;
        let newer = RawEnd::connect(tunnel.address, &get(tunnel.address, "/new").await.text(), "1").await;
        let mut older = std::mem::replace(&mut tunnel.end, newer);
        if ends_in_order {
            older.close().await;
        }
        drop(older);
        assert_eq!(waiting.head().await.code(), Some("client-disconnected"));
        reading.rest().await.is_broken("");
        assert_eq!(sending.head().await.code(), Some("client-disconnected"));
    }
}

#[tokio::test]
async fn an_end_that_leaves_the_namespace_loses_its_exchanges() {
    let mut tunnel = Streaming::patient().await;
    let (mut waiting, _) = tunnel.get().await;
    let (reading, _) = tunnel.respond("{}").await;
    tunnel.end.leave_namespace().await;
    assert_eq!(waiting.head().await.code(), Some("client-disconnected"));
    reading.rest().await.is_broken("");
}

#[tokio::test]
async fn what_breaks_one_exchange_leaves_the_others_alone() {
    let mut tunnel = Streaming::patient().await;
    let (mut stays, asked_stays) = tunnel.respond("{}").await;
    let (goes, asked_goes) = tunnel.respond("{}").await;
    tunnel.end.send_data(&asked_goes.id, b"x", 7).await;
    tunnel.end.aborted(&asked_goes, "out-of-order").await;
    goes.rest().await.is_broken("");
    let (leaves, asked_leaves) = tunnel.get().await;
    drop(leaves);
    tunnel.end.aborted(&asked_leaves, "visitor-gone").await;
    tunnel.end.send_data(&asked_stays.id, b"stays", 0).await;
    stays.reads("stays").await;
    tunnel.end.finish(&asked_stays, 5).await;
    stays.rest().await.is("");
}
