//! What owners ask of any node holds at all of them.

use super::Nodes;
use crate::redis::until;
use crate::relay::visitor::get;
use crate::support::keyed::Keyed;

#[tokio::test]
async fn rules_that_are_set_at_one_node_hold_for_ends_at_another() {
    let Some(cluster) = Nodes::start(3).await else { return };
    let tunnel = Keyed::make(cluster.at(0), r#"{"name":"mine"}"#).await;
    let mut end = tunnel.join(cluster.at(1)).await;
    let changed = tunnel.ask(cluster.at(2), "PATCH", r#"{"rules":{"deny":["127.0.0.0/8"]}}"#).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    for node in 0..3 {
        assert_eq!(get(cluster.at(node), "/go/mine/").await.code(), Some("address-refused"), "{node}");
    }
    let changed = tunnel.ask(cluster.at(0), "PATCH", r#"{"rules":{"deny":null}}"#).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let asked = async {
        let asked = end.asked().await;
        end.answer(&asked, r#"[200,"open"]"#, &[]).await;
    };
    let ((), answer) = tokio::join!(asked, get(cluster.at(2), "/go/mine/"));
    assert_eq!(answer.text(), "open");
}

#[tokio::test]
async fn a_tunnel_that_is_deleted_at_one_node_ends_at_all() {
    let Some(cluster) = Nodes::start(2).await else { return };
    for name in ["newest", "spread"] {
        let tunnel = Keyed::make(cluster.at(0), &format!(r#"{{"name":"{name}","ends":"{name}"}}"#)).await;
        let mut ends = vec![tunnel.join(cluster.at(1)).await];
        if name == "spread" {
            ends.push(tunnel.join(cluster.at(0)).await);
        }
        let deleted = tunnel.ask(cluster.at(0), "DELETE", "").await;
        assert_eq!(deleted.status, 204, "{}", deleted.text());
        for end in &mut ends {
            end.until_disconnected().await;
        }
        for node in 0..2 {
            let path = format!("/go/{name}/");
            until("the tunnel to be unknown", async || {
                (get(cluster.at(node), &path).await.code() == Some("token-not-found")).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn ends_that_share_requests_are_at_several_nodes() {
    let Some(cluster) = Nodes::start(2).await else { return };
    let tunnel = Keyed::make(cluster.at(0), r#"{"name":"mine","ends":"spread"}"#).await;
    let mut ends = [tunnel.join(cluster.at(0)).await, tunnel.join(cluster.at(1)).await];
    // Each node asks its own end while that has little to do.
    for (node, end) in ends.iter_mut().enumerate() {
        let asked = async {
            let asked = end.asked().await;
            end.answer(&asked, r#"[200,"own"]"#, &[]).await;
        };
        let ((), answer) = tokio::join!(asked, get(cluster.at(node), "/go/mine/"));
        assert_eq!(answer.text(), "own");
    }
    // One that has left gets nothing more, wherever visitors come.
    ends[0].close().await;
    let [_, other] = &mut ends;
    for node in [0, 1, 0] {
        let asked = async {
            let asked = other.asked().await;
            other.answer(&asked, r#"[200,"other"]"#, &[]).await;
        };
        let ((), answer) = tokio::join!(asked, get(cluster.at(node), "/go/mine/"));
        assert_eq!(answer.text(), "other");
    }
}
