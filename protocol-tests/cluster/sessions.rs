//! The requests of one session come to any node.

use std::net::SocketAddr;

use futures::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;

use super::Nodes;
use crate::relay::visitor::{Answer, get, request, visit};
use crate::support::keyed::Keyed;
use crate::support::within;

/// A session on long-polling, whose requests come to other nodes in turn.
struct Session {
    nodes: Vec<SocketAddr>,
    sid: String,
    next: usize,
}

impl Session {
    async fn open(nodes: Vec<SocketAddr>) -> Self {
        let opened = get(nodes[0], "/socket.io/?EIO=4&transport=polling").await.text();
        let sid = opened.split("\"sid\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        assert_eq!(sid.len(), 32, "{sid}");
        Self { nodes, sid, next: 1 }
    }

    fn target(&self, transport: &str) -> String {
        format!("/socket.io/?EIO=4&transport={transport}&sid={}", self.sid)
    }

    fn node(&mut self) -> SocketAddr {
        self.next += 1;
        self.nodes[self.next % self.nodes.len()]
    }

    async fn poll(&mut self) -> String {
        get(self.node(), &self.target("polling")).await.text()
    }

    async fn post(&mut self, packets: &str) -> Answer {
        let request = request("POST", &self.target("polling"), &[("content-type", "text/plain")], packets.as_bytes());
        visit(self.node(), &request).await
    }
}

#[tokio::test]
async fn polls_and_posts_of_a_session_come_to_any_node() {
    let Some(cluster) = Nodes::start(3).await else { return };
    let tunnel = Keyed::make(cluster.at(0), r#"{"name":"mine"}"#).await;
    let mut session = Session::open((0..3).map(|node| cluster.at(node)).collect()).await;
    for _ in 0..2 {
        assert_eq!(session.post(&format!(r#"40/mine,{{"key":"{}"}}"#, tunnel.key)).await.text(), "ok");
        let joined = session.poll().await;
        assert!(joined.starts_with("40/mine,{"), "{joined}");
        for visitor in 0..3 {
            let address = cluster.at(visitor);
            let visiting = tokio::spawn(async move { get(address, "/go/mine/").await });
            let event = session.poll().await;
            let id = event.strip_prefix("42/mine,").unwrap().split('[').next().unwrap();
            assert_eq!(session.post(&format!(r#"43/mine,{id}[200,"polled"]"#)).await.text(), "ok");
            assert_eq!(within("the answer", visiting).await.unwrap().text(), "polled");
        }
        assert_eq!(session.post("41/mine,").await.text(), "ok");
    }
}

#[tokio::test]
async fn an_upgrade_that_comes_to_another_node_is_passed_on() {
    let Some(cluster) = Nodes::start(2).await else { return };
    let tunnel = Keyed::make(cluster.at(0), r#"{"name":"mine"}"#).await;
    let mut session = Session::open(vec![cluster.at(0), cluster.at(1)]).await;
    assert_eq!(session.post(&format!(r#"40/mine,{{"key":"{}"}}"#, tunnel.key)).await.text(), "ok");
    session.poll().await;
    let url = format!("ws://{}{}", cluster.at(1), session.target("websocket"));
    let (mut websocket, _) = within("the upgrade", tokio_tungstenite::connect_async(url)).await.unwrap();
    websocket.send(Message::text("2probe")).await.unwrap();
    assert_eq!(websocket.next().await.unwrap().unwrap(), Message::text("3probe"));
    websocket.send(Message::text("5")).await.unwrap();
    for visitor in 0..2 {
        let address = cluster.at(visitor);
        let visiting = tokio::spawn(async move { get(address, "/go/mine/").await });
        let event = within("an event", websocket.next()).await.unwrap().unwrap().into_text().unwrap();
        let id = event.strip_prefix("42/mine,").unwrap().split('[').next().unwrap();
        websocket.send(Message::text(format!(r#"43/mine,{id}[200,"upgraded"]"#))).await.unwrap();
        assert_eq!(within("the answer", visiting).await.unwrap().text(), "upgraded");
    }
}

#[tokio::test]
async fn an_id_that_no_node_of_the_cluster_has_made_is_unknown_and_leads_nowhere() {
    let Some(cluster) = Nodes::start(2).await else { return };
    let session = Session::open(vec![cluster.at(0)]).await;
    let forged = |at: usize| {
        let mut sid = session.sid.clone().into_bytes();
        sid[at] = if sid[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(sid).unwrap()
    };
    for sid in [forged(0), forged(9), forged(31), "A".repeat(32), "A".repeat(20)] {
        for node in 0..2 {
            let answer = get(cluster.at(node), &format!("/socket.io/?EIO=4&transport=polling&sid={sid}")).await;
            assert_eq!(answer.status, 400, "{sid}: {}", answer.text());
        }
    }
}
