//! How long an exchange may take, and stand still. The server's clock moves only where a test says so.

use std::time::Duration;

use socket2me::config::ServeConfig;
use socket2me::proto::exchange::stream::EVENT_COST;

use super::super::visitor::request;
use super::clock::ClockedServer;
use super::raw_end::{RawEnd, Request};
use super::{Streaming, patient};
use crate::support::keyed::Keyed;
use crate::support::pattern;
use crate::support::transfer::Transfer;

/// The time for an answer in these tests, in seconds. It is longer than an exchange may stand still.
const TIMEOUT: u64 = 100;

fn config() -> ServeConfig {
    ServeConfig { response_timeout: Duration::from_secs(TIMEOUT), ..patient() }
}

/// The visitor gets what is sent for an end of an original tunnel that does not answer.
async fn is_told_ok(mut visitor: Transfer) {
    let head = visitor.head().await;
    assert_eq!((head.status, head.code()), (200, Some("client-timed-out")));
    visitor.rest().await.is("OK");
}

#[tokio::test]
async fn an_end_that_does_not_answer_in_time_hears_that_it_is_too_late() {
    let (clock, mut tunnel) = Streaming::clocked(config(), "1").await;
    let (visitor, asked) = tunnel.get().await;
    clock.pass(TIMEOUT - 1, &mut tunnel.end).await;
    tunnel.end.hears_nothing().await;
    clock.pass(2, &mut tunnel.end).await;
    is_told_ok(visitor).await;
    tunnel.end.aborted(&asked, "timeout").await;
    tunnel.end.respond(&asked, 200, "{}").await;
    tunnel.end.ack(asked.ack, r#"["late"]"#).await;
    tunnel.end.hears_nothing().await;
    tunnel.still_works().await;
}

#[tokio::test]
async fn a_keyed_tunnel_has_a_time_of_its_own_and_its_visitors_get_504() {
    let clock = ClockedServer::start(config()).await;
    let tunnel = Keyed::make(clock.address, r#"{"timeout":20}"#).await;
    let auth = format!(r#"{{"stream":1,"key":"{}"}}"#, tunnel.key);
    let mut end = RawEnd::join(clock.address, &tunnel.token, &auth).await;
    let mut visitor = Transfer::connect(clock.address).await;
    visitor.send(&request("GET", &tunnel.at("/x"), &[], b"")).await;
    let asked = end.request().await;
    clock.pass(19, &mut end).await;
    end.hears_nothing().await;
    clock.pass(2, &mut end).await;
    let head = visitor.head().await;
    assert_eq!((head.status, head.code()), (504, Some("client-timed-out")));
    end.aborted(&asked, "timeout").await;
}

#[tokio::test]
async fn the_time_for_an_answer_begins_when_the_end_has_acknowledged_the_whole_request() {
    let (clock, mut tunnel) = Streaming::clocked(config(), "1").await;
    let body = pattern::bytes(0, 70_000);
    let (visitor, asked) = tunnel.ask(&request("POST", &tunnel.at("/up"), &[], &body)).await;
    let mut unacked = Vec::new();
    let mut came = 0;
    while came < body.len() {
        let data = tunnel.end.data(&asked).await;
        came += data.bytes.len();
        unacked.push(data.ack);
    }
    assert_eq!(tunnel.end.ended(&asked).await.0, 70_000);
    let last = unacked.pop().unwrap();
    // Each ack is progress.
    for ack in unacked {
        clock.pass(50, &mut tunnel.end).await;
        tunnel.end.ack(ack, "[]").await;
        tunnel.end.settle().await;
    }
    clock.pass(50, &mut tunnel.end).await;
    tunnel.end.ack(last, "[]").await;
    tunnel.end.settle().await;
    clock.pass(TIMEOUT - 1, &mut tunnel.end).await;
    tunnel.end.hears_nothing().await;
    clock.pass(2, &mut tunnel.end).await;
    is_told_ok(visitor).await;
    tunnel.end.aborted(&asked, "timeout").await;
}

/// Begins an upload of which a first part has come.
async fn uploading(tunnel: &mut Streaming) -> (Transfer, Request, u64) {
    let ask = request("POST", &tunnel.at("/up"), &[("transfer-encoding", "chunked")], b"3\r\nabc\r\n");
    let (visitor, asked) = tunnel.ask(&ask).await;
    let first = tunnel.end.data(&asked).await;
    (visitor, asked, first.ack)
}

#[tokio::test]
async fn an_upload_may_stand_still_for_a_minute() {
    let (clock, mut tunnel) = Streaming::clocked(config(), "1").await;
    let (mut visitor, asked, ack) = uploading(&mut tunnel).await;
    tunnel.end.ack(ack, "[]").await;
    clock.pass(59, &mut tunnel.end).await;
    visitor.send(b"3\r\ndef\r\n").await;
    let second = tunnel.end.data(&asked).await;
    tunnel.end.ack(second.ack, "[]").await;
    clock.pass(59, &mut tunnel.end).await;
    tunnel.end.hears_nothing().await;
    clock.pass(2, &mut tunnel.end).await;
    tunnel.end.aborted(&asked, "timeout").await;
    let head = visitor.head().await;
    assert_eq!((head.status, head.code()), (408, Some("body-too-slow")));
}

#[tokio::test]
async fn an_end_that_acknowledges_nothing_for_a_minute_is_given_up() {
    let (clock, mut tunnel) = Streaming::clocked(config(), "1").await;
    let (mut visitor, asked, _) = uploading(&mut tunnel).await;
    visitor.send(b"0\r\n\r\n").await;
    tunnel.end.ended(&asked).await;
    clock.pass(59, &mut tunnel.end).await;
    tunnel.end.hears_nothing().await;
    clock.pass(2, &mut tunnel.end).await;
    tunnel.end.aborted(&asked, "timeout").await;
    is_told_ok(visitor).await;
}

#[tokio::test]
async fn an_end_that_takes_nothing_of_an_upload_for_a_minute_is_given_up() {
    for has_answered in [false, true] {
        let (clock, mut tunnel) = Streaming::clocked(config(), "1").await;
        // More than the window and what is read ahead; the rest fits in the system's buffers.
        let body = pattern::bytes(0, 400_000);
        let (mut visitor, asked) = tunnel.ask(&request("POST", &tunnel.at("/up"), &[], &body)).await;
        let window = usize::try_from(tunnel.end.ready["window"].as_u64().unwrap()).unwrap();
        // The last event is cut to what the window has left, if that is more than an event costs beside its bytes.
        let mut unacked = 0;
        while unacked + EVENT_COST < window {
            unacked += tunnel.end.data(&asked).await.bytes.len() + EVENT_COST;
        }
        if has_answered {
            tunnel.end.respond(&asked, 200, r#"{"content-type":"text/event-stream"}"#).await;
            assert_eq!(visitor.head().await.status, 200);
        }
        clock.pass(59, &mut tunnel.end).await;
        tunnel.end.hears_nothing().await;
        // What is read ahead may still have moved in the first of these seconds.
        clock.pass(31, &mut tunnel.end).await;
        tunnel.end.aborted(&asked, "timeout").await;
        if has_answered {
            visitor.rest().await.is_broken("");
        } else {
            is_told_ok(visitor).await;
        }
    }
}

#[tokio::test]
async fn a_response_of_which_nothing_comes_for_a_minute_is_cut() {
    for headers in ["{}", r#"{"content-length":"9"}"#] {
        let (clock, mut tunnel) = Streaming::clocked(config(), "1").await;
        let (mut visitor, asked) = tunnel.respond(headers).await;
        for (offset, part) in [(0, b"a"), (1, b"b")] {
            clock.pass(59, &mut tunnel.end).await;
            tunnel.end.hears_nothing().await;
            let ack = tunnel.end.send_data(&asked.id, part, offset).await;
            visitor.exactly(1).await;
            tunnel.end.acked(ack).await;
        }
        clock.pass(59, &mut tunnel.end).await;
        tunnel.end.hears_nothing().await;
        clock.pass(2, &mut tunnel.end).await;
        tunnel.end.aborted(&asked, "timeout").await;
        visitor.rest().await.is_broken("");
    }
}

#[tokio::test]
async fn a_visitor_that_takes_nothing_for_half_a_minute_is_given_up() {
    let (clock, mut tunnel) = Streaming::clocked(config(), "1").await;
    let mut visitor = Transfer::narrow(tunnel.address).await;
    visitor.send(&request("GET", &tunnel.at("/x"), &[], b"")).await;
    let asked = tunnel.end.request().await;
    tunnel.end.respond(&asked, 200, "{}").await;
    tunnel.end.until_stalled(&asked).await;
    clock.pass(29, &mut tunnel.end).await;
    assert!(!tunnel.end.has_heard_an_event().await);
    // As long as any visitor may take nothing, `--stall-timeout`.
    clock.pass(2, &mut tunnel.end).await;
    tunnel.end.aborted(&asked, "visitor-gone").await;
}

#[tokio::test]
async fn an_event_stream_may_be_silent_for_hours() {
    let (clock, mut tunnel) = Streaming::clocked(config(), "1").await;
    let (mut visitor, asked) = tunnel.respond(r#"{"content-type":"Text/Event-Stream; charset=utf-8"}"#).await;
    clock.pass(2 * 3600, &mut tunnel.end).await;
    tunnel.end.send_data(&asked.id, b"data: 1\n\n", 0).await;
    visitor.reads("data: 1\n\n").await;
    tunnel.end.finish(&asked, 9).await;
    visitor.rest().await.is("");
}

#[tokio::test]
async fn an_upload_that_goes_on_behind_the_head_has_no_time_for_an_answer() {
    let (clock, mut tunnel) = Streaming::clocked(config(), "1").await;
    let (mut visitor, asked, ack) = uploading(&mut tunnel).await;
    tunnel.end.respond(&asked, 200, r#"{"content-type":"text/event-stream"}"#).await;
    assert_eq!(visitor.head().await.status, 200);
    tunnel.end.ack(ack, "[]").await;
    for _ in 0..4 {
        clock.pass(50, &mut tunnel.end).await;
        visitor.send(b"1\r\nx\r\n").await;
        let data = tunnel.end.data(&asked).await;
        tunnel.end.ack(data.ack, "[]").await;
    }
    visitor.send(b"0\r\n\r\n").await;
    assert_eq!(tunnel.end.ended(&asked).await.0, 7);
    tunnel.end.finish(&asked, 0).await;
    visitor.rest().await.is("");
}
