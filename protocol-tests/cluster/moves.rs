//! Ends go from node to node.

use std::time::{Duration, Instant};

use socket2me::client::visit::{Visit, handler};
use socket2me::proto::engine_io::Revision;
use socket2me::proto::engine_io::client::Transports;
use tokio::sync::mpsc;

use super::{Nodes, draining};
use crate::redis::until;
use crate::relay::visitor::{Visitor, get, request, visit};
use crate::support::end::{Body, End};
use crate::support::keyed::Keyed;
use crate::support::streaming_end::StreamingEnd;
use crate::support::within;

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
    end.until_closed("41").await;
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

/// Its session was there before, or its client has a connection that a balancer has led here.
#[tokio::test]
async fn an_end_that_comes_to_a_node_that_stops_is_sent_on() {
    let Some(mut cluster) = Nodes::start(2).await else { return };
    let tunnel = Keyed::make(cluster.at(0), r#"{"name":"mine"}"#).await;
    let leaving = cluster.nodes.remove(1);
    let (address, mut end) = (leaving.address, End::open(leaving.address).await);
    let stopping = leaving.stop();
    draining(address).await;
    end.send(&format!(r#"40/mine,{{"key":"{}"}}"#, tunnel.key)).await;
    end.until_closed("40").await;
    stopping.stopped().await;
}

#[tokio::test]
async fn a_visitor_that_waits_at_a_node_that_stops_reaches_an_end_at_another() {
    let Some(mut cluster) = Nodes::start(2).await else { return };
    let tunnel = Keyed::make(cluster.at(0), r#"{"name":"mine","hold":60}"#).await;
    let mut end = tunnel.join(cluster.at(1)).await;
    let (staying, leaving) = (cluster.at(0), cluster.nodes.remove(1));
    let address = leaving.address;
    // No node keeps a copy of a body as large as this.
    let length = 100_000;
    let head = |length| format!("POST /go/mine/ HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    // The node that stops reads this one, which has come to the other.
    let mut early = Visitor::connect(staying).await;
    early.send(&[head(length), vec![b'b'; length / 2]].concat()).await;
    let answer = async {
        let asked = end.asked().await;
        end.answer(&asked, r#"[200,"before"]"#, &[]).await;
    };
    let ((), before) = tokio::join!(answer, get(staying, "/go/mine/"));
    assert_eq!(before.text(), "before");
    let stopping = leaving.stop();
    end.until_disconnected().await;
    let mut waiting = Vec::new();
    for (node, length) in [(address, 0), (address, length), (staying, length)] {
        let mut visitor = Visitor::connect(node).await;
        visitor.send(&[head(length), vec![b'b'; length]].concat()).await;
        waiting.push(visitor);
    }
    // It is past the time in which balancers notice.
    until("the node to take no visitors", async || (get(address, "/new").await.status == 503).then_some(())).await;
    early.send(&vec![b'b'; length / 2]).await;
    waiting.push(early);
    let mut end = tunnel.join(staying).await;
    for _ in &waiting {
        let asked = end.asked().await;
        end.answer(&asked, r#"[200,"moved"]"#, &[]).await;
    }
    for visitor in &mut waiting {
        assert_eq!(visitor.answer(false).await.text(), "moved");
    }
    stopping.stopped().await;
}

/// Ends leave one after the other, and have the same time.
#[tokio::test]
async fn an_end_that_streams_and_does_not_answer_before_its_node_stops_is_given_up_with_that_reason() {
    let Some(mut cluster) = Nodes::with(2, |config| config.drain_timeout = Duration::from_secs(4)).await else {
        return;
    };
    let leaving = cluster.nodes.remove(1);
    let (address, mut ends, mut waiting) = (leaving.address, Vec::new(), Vec::new());
    for _ in 0..3 {
        let token = leaving.token().await;
        let (tell, mut asked) = mpsc::channel(1);
        let silent = handler(move |visit: Visit| {
            let tell = tell.clone();
            async move {
                tell.send(()).await.unwrap();
                let _kept = visit;
                std::future::pending::<()>().await;
            }
        });
        let by = (Revision::V4, Transports::WebSocket);
        ends.push(StreamingEnd::connect(address, &token, by, "1", silent).await);
        let target = format!("/go/{token}/");
        waiting.push(tokio::spawn(async move { get(address, &target).await }));
        within("the request", asked.recv()).await.unwrap();
    }
    let stopping = leaving.stop();
    for visitor in waiting {
        assert_eq!(within("the answer", visitor).await.unwrap().code(), Some("stopping"));
    }
    stopping.stopped().await;
}

/// A balancer that looks into no connection goes on with those that it has.
#[tokio::test]
async fn a_node_that_stops_keeps_no_connection() {
    let Some(mut cluster) = Nodes::start(2).await else { return };
    let tunnel = Keyed::make(cluster.at(0), r#"{"name":"mine"}"#).await;
    let mut end = tunnel.join(cluster.at(0)).await;
    // The last to start knows the others.
    let leaving = cluster.nodes.remove(1);
    let address = leaving.address;
    let mut visitor = Visitor::connect(address).await;
    let ask = b"GET /go/mine/ HTTP/1.1\r\nHost: a\r\n\r\n";
    let answered = async |end: &mut End| {
        let asked = end.asked().await;
        end.answer(&asked, r#"[200,"answered"]"#, &[]).await;
    };
    visitor.send(ask).await;
    answered(&mut end).await;
    assert_eq!(visitor.answer(false).await.header("connection"), None);
    let stopping = leaving.stop();
    draining(address).await;
    visitor.send(ask).await;
    answered(&mut end).await;
    let last = visitor.answer(false).await;
    assert_eq!((last.text().as_str(), last.header("connection")), ("answered", Some("close")));
    visitor.finish().await;
    stopping.stopped().await;
}

/// A rule reads the body before there is an end, and the first node keeps no copy of it.
#[tokio::test]
async fn a_signed_body_that_waits_at_another_node_reaches_an_end_that_joins_elsewhere() {
    let Some(cluster) = Nodes::start(2).await else { return };
    let verify = r#"{"preset":"github","secrets":["a secret of theirs"],"mode":"warn"}"#;
    let fields = format!(r#"{{"name":"mine","hold":20,"rules":{{"verify":{verify}}}}}"#);
    let tunnel = Keyed::make(cluster.at(0), &fields).await;
    let (visitors, mut end) = (cluster.at(0), tunnel.join(cluster.at(1)).await);
    let first = async {
        let asked = end.asked().await;
        end.answer(&asked, r#"[200,"there"]"#, &[]).await;
    };
    let ((), there) = tokio::join!(first, get(visitors, "/go/mine/"));
    assert_eq!(there.text(), "there");
    // The first node believes for a while that the other one has the end.
    end.close().await;
    let mut visitor = Visitor::connect(visitors).await;
    visitor.send(&request("POST", "/go/mine/", &[], &[b'b'; 100_000])).await;
    let mut end = tunnel.join(visitors).await;
    let asked = end.asked().await;
    end.answer(&asked, r#"[200,"came"]"#, &[]).await;
    assert_eq!(visitor.answer(false).await.text(), "came");
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
    // Of the larger ones, no node keeps a copy for another try.
    for (visitor, length) in [(0, 4), (1, 4), (0, 100_000), (1, 100_000)] {
        let mut visitor = Visitor::connect(cluster.at(visitor)).await;
        let (last, sum) = ("l".repeat(length), 5 + length);
        let head =
            format!("POST /go/mine/ HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: {sum}\r\n\r\n");
        visitor.send(format!("{head}first").as_bytes()).await;
        let mut second = tunnel.join(cluster.at(1)).await;
        first.until_disconnected().await;
        visitor.send(last.as_bytes()).await;
        let asked = second.asked().await;
        assert_eq!(asked.body(), Body::Json(format!(r#""first{last}""#)));
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
