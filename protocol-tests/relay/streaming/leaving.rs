//! Ends whose place others take, ends that say `leave`, and servers that stop.

use std::time::Duration;

use socket2me::config::ServeConfig;

use super::super::tunnel::Server;
use super::super::visitor::request;
use super::clock::ClockedServer;
use super::raw_end::RawEnd;
use super::{Streaming, patient};
use crate::support::keyed::Keyed;
use crate::support::transfer::Transfer;

fn config() -> ServeConfig {
    ServeConfig { drain_timeout: Duration::from_secs(100), ..patient() }
}

/// Waits until an end is told why it is about to be left.
async fn hears_closing(end: &mut RawEnd, code: &str) {
    assert_eq!(end.event("closing").await.args, [serde_json::json!({ "code": code })]);
}

/// Another end takes the place of the tunnel's, which is returned.
async fn take_over(tunnel: &mut Streaming) -> RawEnd {
    let newer = RawEnd::connect(tunnel.address, &tunnel.token, "1").await;
    std::mem::replace(&mut tunnel.end, newer)
}

#[tokio::test]
async fn an_end_without_exchanges_leaves_at_once_when_another_takes_its_place() {
    let mut tunnel = Streaming::patient().await;
    let mut older = take_over(&mut tunnel).await;
    hears_closing(&mut older, "taken-over").await;
    older.leaves().await;
    tunnel.still_works().await;
}

#[tokio::test]
async fn exchanges_of_an_end_go_on_after_a_takeover_and_then_it_leaves() {
    let mut tunnel = Streaming::patient().await;
    let (mut reading, asked_reading) = tunnel.respond("{}").await;
    let (mut waiting, asked_waiting) = tunnel.get().await;
    let mut older = take_over(&mut tunnel).await;
    hears_closing(&mut older, "taken-over").await;
    tunnel.still_works().await;
    older.send_data(&asked_reading.id, b"goes on", 0).await;
    reading.reads("goes on").await;
    older.ack(asked_waiting.ack, r#"["by ack"]"#).await;
    assert_eq!(waiting.head().await.status, 200);
    waiting.rest().await.is("by ack");
    older.finish(&asked_reading, 7).await;
    reading.rest().await.is("");
    older.leaves().await;
    tunnel.still_works().await;
}

#[tokio::test]
async fn what_is_open_long_after_a_takeover_is_broken_off() {
    let (clock, mut tunnel) = Streaming::clocked(config(), "1").await;
    let (reading, asked_reading) = tunnel.respond(r#"{"content-type":"text/event-stream"}"#).await;
    let (mut waiting, asked_waiting) = tunnel.get().await;
    let mut older = take_over(&mut tunnel).await;
    hears_closing(&mut older, "taken-over").await;
    for _ in 0..8 {
        clock.pass(10, &mut older).await;
        tunnel.end.settle().await;
    }
    older.hears_nothing().await;
    clock.advance(Duration::from_secs(15)).await;
    let mut codes = Vec::new();
    for _ in 0..2 {
        let event = older.event("abort").await;
        assert!([&*asked_reading.id, &*asked_waiting.id].contains(&event.args[0].as_str().unwrap()));
        codes.push(event.args[1].as_str().unwrap().to_owned());
    }
    assert_eq!(codes, ["taken-over"; 2]);
    older.leaves().await;
    reading.rest().await.is_broken("");
    let head = waiting.head().await;
    assert_eq!((head.status, head.code()), (502, Some("client-disconnected")));
    tunnel.still_works().await;
}

#[tokio::test]
async fn a_server_that_stops_lets_exchanges_end() {
    let mut tunnel = Streaming::patient().await;
    let (visitor, asked) = tunnel.respond("{}").await;
    let stopping = tunnel.server.take().unwrap().stop();
    hears_closing(&mut tunnel.end, "stopping").await;
    tunnel.end.send_data(&asked.id, b"the rest", 0).await;
    tunnel.end.finish(&asked, 8).await;
    visitor.rest().await.is("the rest");
    tunnel.end.is_closed().await;
    stopping.stopped().await;
}

#[tokio::test]
async fn a_server_that_stops_breaks_off_what_does_not_end() {
    let (mut clock, mut tunnel) = Streaming::clocked(config(), "1").await;
    let (reading, _) = tunnel.respond(r#"{"content-type":"text/event-stream"}"#).await;
    let (mut waiting, _) = tunnel.get().await;
    clock.stop();
    hears_closing(&mut tunnel.end, "stopping").await;
    clock.pass(80, &mut tunnel.end).await;
    tunnel.end.hears_nothing().await;
    clock.advance(Duration::from_secs(15)).await;
    for _ in 0..2 {
        assert_eq!(tunnel.end.event("abort").await.args[1], "stopping");
    }
    reading.rest().await.is_broken("");
    let head = waiting.head().await;
    assert_eq!((head.status, head.code()), (503, Some("stopping")));
    tunnel.end.is_closed().await;
}

#[tokio::test]
async fn an_end_hears_that_its_tunnel_is_deleted_before_it_is_disconnected() {
    let server = Server::start(patient()).await;
    let tunnel = Keyed::make(server.address, "{}").await;
    let auth = format!(r#"{{"stream":1,"key":"{}"}}"#, tunnel.key);
    let mut end = RawEnd::join(server.address, &tunnel.token, &auth).await;
    assert_eq!(end.ready["expires"], serde_json::Value::Null);
    let mut visitor = Transfer::connect(server.address).await;
    visitor.send(&request("GET", &tunnel.at("/x"), &[], b"")).await;
    let asked = end.request().await;
    end.respond(&asked, 200, "{}").await;
    visitor.head().await;
    assert_eq!(tunnel.ask(server.address, "DELETE", "").await.status, 204);
    hears_closing(&mut end, "deleted").await;
    end.leaves().await;
    visitor.rest().await.is_broken("");
}

#[tokio::test]
async fn an_end_hears_that_its_token_expires_before_it_is_disconnected() {
    let config = ServeConfig { token_ttl: Duration::from_secs(30), token_grace: Some(Duration::ZERO), ..patient() };
    let clock = ClockedServer::start(config).await;
    let mut tunnel = Streaming::join(clock.address, "1").await;
    let (visitor, _) = tunnel.respond("{}").await;
    clock.pass(20, &mut tunnel.end).await;
    tunnel.end.hears_nothing().await;
    clock.advance(Duration::from_secs(20)).await;
    hears_closing(&mut tunnel.end, "expired").await;
    tunnel.end.leaves().await;
    visitor.rest().await.is_broken("");
}

#[tokio::test]
async fn an_end_that_says_leave_stays_until_its_streams_are_over() {
    let mut tunnel = Streaming::patient().await;
    let (mut visitor, asked) = tunnel.respond("{}").await;
    let ack = tunnel.end.ask(r#"["leave"]"#).await;
    tunnel.end.acked(ack).await;
    let mut other = Transfer::connect(tunnel.address).await;
    other.send(&request("GET", &tunnel.at("/other"), &[], b"")).await;
    assert_eq!(other.head().await.code(), Some("client-not-connected"));
    tunnel.end.send_data(&asked.id, b"stays", 0).await;
    visitor.reads("stays").await;
    tunnel.end.finish(&asked, 5).await;
    visitor.rest().await.is("");
    tunnel.end.leaves().await;
}
