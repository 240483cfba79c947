//! What exchanges reserve of the tunnel's memory, and that all of it is given back.

use super::super::visitor::request;
use super::Streaming;
use super::raw_end::{RawEnd, Request};
use crate::hostile::figures::watched;
use crate::support::keyed::Keyed;
use crate::support::pattern;
use crate::support::transfer::Transfer;

/// Of this, one tunnel may have a quarter.
const MEMORY: usize = (4 << 20) + 40_000;

#[tokio::test]
async fn windows_are_reserved_and_become_smaller_until_visitors_are_told_that_the_server_is_busy() {
    let (server, figures) = watched(|config| config.limits.max_buffered = Some(MEMORY)).await;
    let mut tunnel = Streaming::join(server.address, r#"{"chunk":1000}"#).await;
    let (mut windows, mut open) = (Vec::new(), Vec::new());
    let busy = loop {
        let mut visitor = Transfer::connect(tunnel.address).await;
        visitor.send(&request("GET", &tunnel.at("/x"), &[], b"")).await;
        tokio::select! {
            biased;
            head = visitor.head() => break head,
            asked = tunnel.end.request() => {
                windows.push(asked.window());
                open.push((visitor, asked));
            }
        }
    };
    assert_eq!((busy.status, busy.code(), busy.header("retry-after")), (503, Some("server-busy"), Some("1")));
    let counts = [256 << 10, 64 << 10, 1000].map(|size| windows.iter().filter(|&&window| window == size).count());
    // While less than half of the tunnel's memory is reserved; while there is any; one event each.
    assert_eq!(counts, [3, 4, 7], "{windows:?}");
    assert!(windows.is_sorted_by(|larger, smaller| larger >= smaller));
    let reserved: usize = windows.iter().map(|&window| window.max(1256)).sum();
    assert!(figures.used("bytes").await >= reserved as u64);
    // The smallest window takes one event at a time.
    let (mut visitor, asked) = open.pop().unwrap();
    tunnel.end.respond(&asked, 200, "{}").await;
    assert_eq!(visitor.head().await.status, 200);
    for number in 0..20 {
        let bytes = pattern::bytes(1000 * number, 1000);
        let ack = tunnel.end.send_data(&asked.id, &bytes, 1000 * number).await;
        assert!(visitor.exactly(1000).await == bytes);
        tunnel.end.acked(ack).await;
    }
    tunnel.end.finish(&asked, 20_000).await;
    visitor.rest().await.is("");
    // What one gives back, another gets.
    let (visitor, again) = tunnel.get().await;
    assert_eq!(again.window(), 1000);
    drop((visitor, open));
    drop(tunnel);
    figures.all_given_back("windows").await;
}

#[tokio::test]
async fn what_is_read_ahead_of_a_body_is_reserved_too() {
    let (server, figures) = watched(|_| ()).await;
    let mut tunnel = Streaming::join(server.address, "1").await;
    let before = figures.used("bytes").await;
    let ask = request("POST", &tunnel.at("/up"), &[("transfer-encoding", "chunked")], b"3\r\nabc\r\n");
    let (visitor, asked) = tunnel.ask(&ask).await;
    tunnel.end.data(&asked).await;
    let reserved = figures.used("bytes").await - before;
    assert!(reserved >= (256 << 10) + (64 << 10), "{reserved}");
    drop(visitor);
    tunnel.end.aborted(&asked, "visitor-gone").await;
    figures.until_used("bytes", |used| used <= before, "an upload").await;
    drop(tunnel);
    figures.all_given_back("an upload").await;
}

/// Each way in which an exchange can end.
#[tokio::test]
async fn whatever_becomes_of_an_exchange_nothing_of_it_stays() {
    let (server, figures) = watched(|_| ()).await;
    let mut tunnel = Streaming::join(server.address, "1").await;
    let before = figures.used("bytes").await;
    for way in 0..6 {
        let body = pattern::bytes(0, 100_000);
        let (mut visitor, asked) = tunnel.ask(&request("POST", &tunnel.at("/up"), &[], &body)).await;
        let first = tunnel.end.data(&asked).await;
        if way > 0 {
            tunnel.end.respond(&asked, 200, "{}").await;
            assert_eq!(visitor.head().await.status, 200);
            tunnel.end.send_data(&asked.id, b"part", 0).await;
            visitor.reads("part").await;
        }
        end(&mut tunnel, visitor, &asked, way).await;
        tunnel.end.ack(first.ack, "[]").await;
        figures.until_used("bytes", |used| used <= before, &format!("way {way}")).await;
        figures.until_used("uploads", |used| used == 0, &format!("way {way}")).await;
        figures.until_used("exchanges", |used| used == 0, &format!("way {way}")).await;
        tunnel.end.forget(&asked).await;
    }
    let (visitor, _) = tunnel.ask_for_websocket().await;
    drop(tunnel);
    drop(visitor);
    figures.all_given_back("all").await;
}

async fn end(tunnel: &mut Streaming, visitor: Transfer, asked: &Request, way: usize) {
    match way {
        0 => tunnel.end.ack(asked.ack, "[]").await,
        1 => tunnel.end.finish(asked, 4).await,
        2 => tunnel.end.abort(asked, "local-gone").await,
        3 => {
            drop(visitor);
            return tunnel.end.drops(asked, "visitor-gone").await;
        }
        4 => {
            tunnel.end.finish(asked, 5).await;
            tunnel.end.drops(asked, "out-of-order").await;
        }
        _ => {
            tunnel.end.respond(asked, 200, "{}").await;
            tunnel.end.drops(asked, "protocol").await;
        }
    }
    visitor.rest().await;
}

/// A body is read whole where its signature is checked. It counts as long as it waits for an end that takes nothing.
#[tokio::test]
async fn a_body_that_was_read_for_its_signature_counts_until_the_end_has_it() {
    const LENGTH: usize = 1 << 20;
    let (server, figures) = watched(|_| ()).await;
    let rules = r#"{"timeout":120,"rules":{"verify":{"preset":"token","header":"x-t","secrets":["hush"]}}}"#;
    let Keyed { token, key } = Keyed::make(server.address, rules).await;
    let auth = format!(r#"{{"stream":{{"version":1,"window":1024,"pull":true}},"key":"{key}"}}"#);
    let end = RawEnd::join(server.address, &token, &auth).await;
    let mut tunnel = Streaming { address: server.address, token, end, server: None };
    let before = figures.used("bytes").await;
    let body = pattern::bytes(0, LENGTH);
    let (visitor, _) = tunnel.ask(&request("POST", &tunnel.at("/up"), &[("x-t", "hush")], &body)).await;
    let counted = figures.used("bytes").await - before;
    assert!(counted >= LENGTH as u64, "{counted}");
    drop((visitor, tunnel));
    figures.all_given_back("a body that nobody took").await;
}
