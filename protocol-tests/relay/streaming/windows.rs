//! How much may be sent and not acknowledged, in both directions.

use super::super::tunnel::patient;
use super::super::visitor::request;
use super::Streaming;
use super::raw_end::Data;
use crate::support::pattern::{self, Check};
use crate::support::transfer::Transfer;

/// What an event costs beside its bytes.
const COST: usize = 256;

#[tokio::test]
async fn ready_says_what_holds() {
    for (asked, chunk, window) in [
        ("1", 65_536, 262_144),
        ("true", 65_536, 262_144),
        (r#"{"version":9,"window":99999999,"chunk":99999999}"#, 65_536, 4 << 20),
        (r#"{"window":0,"chunk":0}"#, 256, 256),
    ] {
        let tunnel = Streaming::open(patient(), asked).await;
        let ready = &tunnel.end.ready;
        assert_eq!((&ready["stream"], &ready["chunk"], &ready["window"]), (&1.into(), &chunk.into(), &window.into()));
        assert_eq!(
            (&ready["ws"], &ready["pull"], &ready["serial"]),
            (&"messages".into(), &false.into(), &false.into())
        );
        let path_url = format!("http://{}/go/{}", tunnel.address, tunnel.token);
        assert_eq!([&ready["token"], &ready["path_url"]], [&*tunnel.token, &*path_url]);
        assert!(ready["expires"].as_u64().unwrap() > 1_600_000_000_000, "{ready}");
        assert_eq!(ready["idle"], 60_000);
    }
}

/// The visitor reads nothing, and the end does not wait for acks.
#[tokio::test]
async fn an_end_that_sends_more_than_the_window_is_cut_off_and_each_of_its_data_is_acknowledged_once() {
    let mut tunnel = Streaming::patient().await;
    let mut visitor = Transfer::narrow(tunnel.address).await;
    visitor.send(&request("GET", &tunnel.at("/x"), &[], b"")).await;
    let asked = tunnel.end.request().await;
    assert_eq!(asked.window(), 256 << 10);
    tunnel.end.respond(&asked, 200, "{}").await;
    let (mut acks, mut sent) = (Vec::new(), 0);
    while !tunnel.end.has_heard_an_event().await {
        let bytes = pattern::bytes(sent, 60_000);
        acks.push(tunnel.end.send_data(&asked.id, &bytes, sent).await);
        sent += bytes.len() as u64;
        assert!(sent < 64 << 20, "nothing holds the end back");
    }
    let message = tunnel.end.aborted(&asked, "window-exceeded").await;
    assert_eq!(message.as_deref(), Some("more is unacknowledged than the window allows"));
    assert_eq!(visitor.head().await.status, 200);
    let rest = visitor.rest().await;
    assert!(!rest.is_complete);
    let mut check = Check::default();
    check.take(&rest.body);
    for ack in acks {
        tunnel.end.acked(ack).await;
    }
    tunnel.end.hears_nothing().await;
    tunnel.still_works().await;
}

#[tokio::test]
async fn an_end_that_keeps_to_the_window_sends_all_of_it_to_a_visitor_that_reads_late() {
    let mut tunnel = Streaming::patient().await;
    let mut visitor = Transfer::narrow(tunnel.address).await;
    visitor.send(&request("GET", &tunnel.at("/x"), &[], b"")).await;
    let asked = tunnel.end.request().await;
    tunnel.end.respond(&asked, 200, "{}").await;
    let mut acks = Vec::new();
    for number in 0..4 {
        let bytes = pattern::bytes(number * 65_000, 65_000);
        acks.push(tunnel.end.send_data(&asked.id, &bytes, number * 65_000).await);
    }
    assert!(4 * (65_000 + COST) <= asked.window());
    tunnel.end.finish(&asked, 4 * 65_000).await;
    tunnel.end.settle().await;
    assert_eq!(visitor.head().await.status, 200);
    let rest = visitor.rest().await;
    let mut check = Check::default();
    check.take(&rest.body);
    assert_eq!((rest.is_complete, check.bytes), (true, 260_000));
    for ack in acks {
        tunnel.end.acked(ack).await;
    }
    tunnel.end.hears_nothing().await;
}

#[tokio::test]
async fn an_ack_tells_a_larger_window_when_the_visitor_has_waited() {
    let mut tunnel = Streaming::patient().await;
    let (mut visitor, asked) = tunnel.respond("{}").await;
    let (mut windows, mut sent) = (Vec::new(), 0);
    while windows.len() < 4 {
        let bytes = pattern::bytes(sent, 65_536);
        let ack = tunnel.end.send_data(&asked.id, &bytes, sent).await;
        assert!(visitor.exactly(65_536).await == bytes);
        windows.extend(tunnel.end.acked(ack).await);
        sent += 65_536;
        assert!(sent < 256 << 20, "{windows:?}");
    }
    assert_eq!(windows, [512 << 10, 1 << 20, 2 << 20, 4 << 20]);
    for _ in 0..200 {
        let ack = tunnel.end.send_data(&asked.id, &pattern::bytes(sent, 65_536), sent).await;
        visitor.exactly(65_536).await;
        assert_eq!(tunnel.end.acked(ack).await, None, "4 MiB is the most");
        sent += 65_536;
    }
    tunnel.end.finish(&asked, sent).await;
    visitor.rest().await.is("");
}

/// Takes data of an upload until the window has no room for more, and returns them.
async fn fill(tunnel: &mut Streaming, asked: &super::Request, check: &mut Check, window: usize) -> Vec<Data> {
    let (mut unacked, mut all) = (0, Vec::new());
    while unacked + COST < window {
        let data = tunnel.end.data(asked).await;
        assert_eq!(data.offset, check.bytes);
        check.take(&data.bytes);
        unacked += data.bytes.len() + COST;
        all.push(data);
    }
    assert!(unacked <= window, "{unacked} of {window}");
    tunnel.end.hears_nothing().await;
    all
}

#[tokio::test]
async fn the_server_sends_no_more_than_the_window_until_an_ack_raises_it() {
    let mut tunnel = Streaming::open(patient(), r#"{"window":65536,"chunk":16384}"#).await;
    let mut visitor = Transfer::connect(tunnel.address).await;
    let target = tunnel.at("/up");
    let uploading = tokio::spawn(async move {
        visitor.send(&request("POST", &target, &[], &pattern::bytes(0, 1 << 20))).await;
        visitor
    });
    let asked = tunnel.end.request().await;
    let mut check = Check::default();
    let mut window = 65_536;
    for told in ["[131072]", "[99999999]", "[]"] {
        let all = fill(&mut tunnel, &asked, &mut check, window).await;
        for data in all {
            tunnel.end.ack(data.ack, told).await;
        }
        window *= 2;
    }
    // The rest, as it comes.
    while check.bytes < 1 << 20 {
        let data = tunnel.end.data(&asked).await;
        check.take(&data.bytes);
        tunnel.end.ack(data.ack, "[-1]").await;
    }
    assert_eq!(tunnel.end.ended(&asked).await.0, 1 << 20);
    tunnel.end.ack(asked.ack, "[]").await;
    uploading.await.unwrap().rest().await;
}

#[tokio::test]
async fn empty_data_are_acknowledged_too() {
    let mut tunnel = Streaming::patient().await;
    let mut visitor = Transfer::narrow(tunnel.address).await;
    visitor.send(&request("GET", &tunnel.at("/x"), &[], b"")).await;
    let asked = tunnel.end.request().await;
    tunnel.end.respond(&asked, 200, "{}").await;
    assert_eq!(visitor.head().await.status, 200);
    for _ in 0..2000 {
        let ack = tunnel.end.send_data(&asked.id, b"", 0).await;
        tunnel.end.acked(ack).await;
    }
    tunnel.end.finish(&asked, 0).await;
    visitor.rest().await.is("");
}
