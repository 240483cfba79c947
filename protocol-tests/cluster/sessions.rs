//! The requests of one session come to any node.

use std::net::SocketAddr;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use socket2me::config::ServeConfig;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::{Nodes, draining};
use crate::redis::until;
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
    /// Opens a session whose client is the end of a tunnel.
    async fn join(nodes: Vec<SocketAddr>, tunnel: &Keyed) -> Self {
        let mut session = Self::open(nodes).await;
        let Keyed { token, key } = tunnel;
        assert_eq!(session.post(&format!(r#"40/{token},{{"key":"{key}"}}"#)).await.text(), "ok");
        let joined = session.poll().await;
        assert!(joined.starts_with(&format!("40/{token},{{")), "{joined}");
        session
    }

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

    /// Goes on by a WebSocket through this node.
    async fn upgrade(&self, node: SocketAddr) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
        let url = format!("ws://{node}{}", self.target("websocket"));
        let (mut websocket, _) = within("the upgrade", tokio_tungstenite::connect_async(url)).await.unwrap();
        websocket.send(Message::text("2probe")).await.unwrap();
        assert_eq!(websocket.next().await.unwrap().unwrap(), Message::text("3probe"));
        websocket.send(Message::text("5")).await.unwrap();
        websocket
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
            let id = id(&event);
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
    let session = Session::join(vec![cluster.at(0), cluster.at(1)], &tunnel).await;
    let mut websocket = session.upgrade(cluster.at(1)).await;
    for visitor in 0..2 {
        let address = cluster.at(visitor);
        let visiting = tokio::spawn(async move { get(address, "/go/mine/").await });
        let event = within("an event", websocket.next()).await.unwrap().unwrap().into_text().unwrap();
        let id = id(&event);
        websocket.send(Message::text(format!(r#"43/mine,{id}[200,"upgraded"]"#))).await.unwrap();
        assert_eq!(within("the answer", visiting).await.unwrap().text(), "upgraded");
    }
}

/// Returns the id of an event.
fn id(event: &str) -> &str {
    event.strip_prefix("42/mine,").unwrap().split('[').next().unwrap()
}

/// Balancers need some time to notice that a node stops.
#[tokio::test]
async fn a_session_that_upgrades_through_a_node_that_stops_moves_before_that_ends() {
    let slowly = |config: &mut ServeConfig| config.drain_timeout = Duration::from_secs(120);
    let Some(mut cluster) = Nodes::with(2, slowly).await else { return };
    let tunnel = Keyed::make(cluster.at(0), r#"{"name":"mine","hold":10}"#).await;
    let session = Session::join(vec![cluster.at(0)], &tunnel).await;
    let (staying, leaving) = (cluster.at(0), cluster.nodes.remove(1));
    let through = leaving.address;
    let stopping = leaving.stop();
    draining(through).await;
    let mut websocket = session.upgrade(through).await;
    let visiting = tokio::spawn(async move { get(staying, "/go/mine/").await });
    let event = within("an event", websocket.next()).await.unwrap().unwrap().into_text().unwrap();
    // What its end was asked before is answered, and then the session ends.
    until("the end to leave", async || {
        let of_tunnel = tunnel.ask(staying, "GET", "").await.text();
        of_tunnel.contains(r#""ends":0"#).then_some(())
    })
    .await;
    let answer = format!(r#"43/mine,{}[200,"answered"]"#, id(&event));
    websocket.send(Message::text(answer)).await.unwrap();
    assert_eq!(within("the answer", visiting).await.unwrap().text(), "answered");
    let last = within("the end of the session", websocket.next()).await.unwrap().unwrap();
    assert!(last.is_close() || last == Message::text("1"), "{last:?}");
    drop(websocket);
    within("the node to end", stopping.stopped()).await;
}

#[tokio::test]
async fn a_poll_that_waits_at_a_node_that_stops_is_answered_and_costs_no_answer() {
    let Some(mut cluster) = Nodes::start(2).await else { return };
    let tunnel = Keyed::make(cluster.at(0), r#"{"name":"mine"}"#).await;
    let mut session = Session::join(vec![cluster.at(0)], &tunnel).await;
    let (staying, leaving) = (cluster.at(0), cluster.nodes.remove(1));
    let through = leaving.address;
    let visiting = tokio::spawn(async move { get(staying, "/go/mine/").await });
    let event = session.poll().await;
    let target = session.target("polling");
    let waiting = tokio::spawn(async move { get(through, &target).await.text() });
    let ended = leaving.stop();
    assert_eq!(within("the poll's answer", waiting).await.unwrap(), "6");
    assert_eq!(session.post(&format!(r#"43/mine,{}[200,"polled"]"#, id(&event))).await.text(), "ok");
    assert_eq!(within("the answer", visiting).await.unwrap().text(), "polled");
    within("the node to end", ended.stopped()).await;
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
