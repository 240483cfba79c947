//! Ends go from node to node.

use std::time::{Duration, Instant};

use super::Nodes;
use crate::relay::visitor::{Visitor, get, request, visit};
use crate::support::end::{Body, Heard};
use crate::support::keyed::Keyed;

#[tokio::test]
async fn an_end_takes_over_from_one_at_another_node() {
    let Some(cluster) = Nodes::start(2).await else { return };
    let tunnel = Keyed::make(cluster.at(0), r#"{"name":"mine"}"#).await;
    let mut first = tunnel.join(cluster.at(0)).await;
    let mut second = tunnel.join(cluster.at(1)).await;
    // The first is told to leave.
    first.until_disconnected().await;
    for node in [0, 1] {
        let asked = async {
            let asked = second.asked().await;
            second.answer(&asked, r#"[200,"second"]"#, &[]).await;
        };
        let ((), answer) = tokio::join!(asked, get(cluster.at(node), "/go/mine/"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "second"));
    }
}

#[tokio::test]
async fn visitors_that_wait_at_one_node_reach_an_end_that_joins_at_another() {
    let Some(cluster) = Nodes::start(3).await else { return };
    let tunnel = Keyed::make(cluster.at(0), r#"{"name":"mine","hold":10}"#).await;
    let mut first = tunnel.join(cluster.at(0)).await;
    first.close().await;
    for (visitor, end) in [(0, 1), (2, 0)] {
        let address = cluster.at(visitor);
        let waiting = tokio::spawn(async move { get(address, "/go/mine/").await });
        let mut end = tunnel.join(cluster.at(end)).await;
        let asked = end.asked().await;
        end.answer(&asked, r#"[200,"came"]"#, &[]).await;
        assert_eq!(waiting.await.unwrap().text(), "came");
        end.close().await;
    }
}

/// The node that has checked a password hands the request on as it came: the other checks it, too.
#[tokio::test]
async fn a_password_is_good_for_the_node_to_which_an_end_has_moved() {
    let Some(cluster) = Nodes::start(2).await else { return };
    let rules = r#"{"name":"mine","hold":10,"rules":{"basic":{"users":{"me":"a password"}}}}"#;
    let tunnel = Keyed::make(cluster.at(0), rules).await;
    tunnel.join(cluster.at(0)).await.close().await;
    let visitor = cluster.at(0);
    let with_password = request("GET", "/go/mine/", &[("authorization", "Basic bWU6YSBwYXNzd29yZA==")], b"");
    let waiting = tokio::spawn(async move { visit(visitor, &with_password).await });
    let mut end = tunnel.join(cluster.at(1)).await;
    let asked = end.asked().await;
    assert_eq!(asked.header("authorization"), None);
    end.answer(&asked, r#"[200,"came"]"#, &[]).await;
    assert_eq!(waiting.await.unwrap().text(), "came");
    assert_eq!(get(visitor, "/go/mine/").await.code(), Some("auth-required"));
}

#[tokio::test]
async fn a_node_that_stops_sends_its_ends_to_others_and_no_visitor_notices() {
    let Some(mut cluster) = Nodes::start(2).await else { return };
    let tunnel = Keyed::make(cluster.at(0), r#"{"name":"mine","hold":10}"#).await;
    let mut end = tunnel.join(cluster.at(0)).await;
    let (staying, leaving) = (cluster.at(1), cluster.nodes.remove(0));
    // An exchange is in flight when the node is told to stop, and the end answers it.
    let in_flight = tokio::spawn(async move { get(staying, "/go/mine/first").await });
    let asked = end.asked().await;
    let stopping = leaving.stop();
    end.answer(&asked, r#"[200,"answered"]"#, &[]).await;
    // Official clients come back by themselves after the end of a session, and not after that of a namespace.
    loop {
        match end.hear().await {
            Heard::Closed(_) | Heard::Lost => break,
            Heard::Text(text) => assert!(!text.starts_with("41"), "{text}"),
            Heard::Binary(_) => (),
        }
    }
    assert_eq!(in_flight.await.unwrap().text(), "answered");
    // Another comes while the tunnel has no end.
    let held = tokio::spawn(async move { get(staying, "/go/mine/second").await });
    let mut end = tunnel.join(staying).await;
    let asked = end.asked().await;
    assert_eq!(asked.request.url, "/second");
    end.answer(&asked, r#"[200,"moved"]"#, &[]).await;
    assert_eq!(held.await.unwrap().text(), "moved");
    stopping.stopped().await;
}

#[tokio::test]
async fn a_tunnel_whose_node_is_gone_waits_for_its_end_at_any_node() {
    let Some(mut cluster) = Nodes::start(3).await else { return };
    let tunnel = Keyed::make(cluster.at(0), r#"{"name":"mine","hold":10}"#).await;
    let end = tunnel.join(cluster.at(0)).await;
    // The node gives its lease back, so others know at once.
    let (one, other) = (cluster.at(1), cluster.at(2));
    let leaving = cluster.nodes.remove(0).stop();
    drop(end);
    leaving.stopped().await;
    let mut held = tokio::spawn(async move { get(one, "/go/mine/").await });
    let mut end = tunnel.join(other).await;
    let asked = tokio::select! {
        asked = end.asked() => asked,
        answer = &mut held => panic!("the visitor did not wait: {:?}", answer.unwrap()),
    };
    end.answer(&asked, r#"[200,"came back"]"#, &[]).await;
    assert_eq!(held.await.unwrap().text(), "came back");
}

/// Official clients send an answer in the session that they have by then.
#[tokio::test]
async fn an_answer_that_comes_after_an_end_has_moved_is_no_other_visitors() {
    let Some(cluster) = Nodes::start(2).await else { return };
    let tunnel = Keyed::make(cluster.at(0), r#"{"name":"mine"}"#).await;
    let (here, there) = (cluster.at(0), cluster.at(1));
    let mut end = tunnel.join(here).await;
    let first = tokio::spawn(async move { get(here, "/go/mine/first").await });
    let asked_first = end.asked().await;
    drop(end);
    let mut end = tunnel.join(there).await;
    assert_eq!(first.await.unwrap().code(), Some("client-disconnected"));
    let second = tokio::spawn(async move { get(there, "/go/mine/second").await });
    let asked_second = end.asked().await;
    assert_ne!(asked_first.id, asked_second.id);
    end.answer(&asked_first, r#"[200,"first"]"#, &[]).await;
    end.answer(&asked_second, r#"[200,"second"]"#, &[]).await;
    assert_eq!(second.await.unwrap().text(), "second");
}

#[tokio::test]
async fn a_body_that_comes_while_its_end_goes_to_another_node_arrives_there() {
    let Some(cluster) = Nodes::start(2).await else { return };
    let tunnel = Keyed::make(cluster.at(0), r#"{"name":"mine"}"#).await;
    let mut first = tunnel.join(cluster.at(0)).await;
    for visitor in 0..2 {
        let mut visitor = Visitor::connect(cluster.at(visitor)).await;
        visitor
            .send(b"POST /go/mine/ HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nfirst")
            .await;
        let mut second = tunnel.join(cluster.at(1)).await;
        first.until_disconnected().await;
        visitor.send(b"last").await;
        let asked = second.asked().await;
        assert_eq!(asked.body(), Body::Json(r#""firstlast""#.to_owned()));
        second.answer(&asked, r#"[200,"whole"]"#, &[]).await;
        assert_eq!(visitor.answer(false).await.text(), "whole");
        first = tunnel.join(cluster.at(0)).await;
        second.until_disconnected().await;
    }
}

/// A balancer does not know at once that a node stops.
#[tokio::test]
async fn a_node_that_stops_serves_visitors_until_balancers_know_also_without_an_end() {
    let Some(mut cluster) = Nodes::with(2, |config| config.drain_timeout = Duration::from_secs(4)).await else {
        return;
    };
    let tunnel = Keyed::make(cluster.at(0), r#"{"name":"mine"}"#).await;
    let mut end = tunnel.join(cluster.at(0)).await;
    let (address, leaving) = (cluster.at(1), cluster.nodes.remove(1));
    let (told, stopping) = (Instant::now(), leaving.stop());
    let mut served = 0;
    while get(address, "/readyz").await.status == 200 {}
    while told.elapsed() < Duration::from_millis(1_500) {
        let asked = async {
            let asked = end.asked().await;
            end.answer(&asked, r#"[200,"served"]"#, &[]).await;
        };
        let ((), answer) = tokio::join!(asked, get(address, "/go/mine/"));
        assert_eq!(answer.text(), "served");
        served += 1;
    }
    assert!(served > 1);
    stopping.stopped().await;
    assert!(told.elapsed() < Duration::from_secs(4), "nothing was left to wait for");
}
