//! What owners ask of any node holds at all of them.

use std::path::Path;

use serde_json::Value;
use socket2me::config::AdminPlace;

use super::Nodes;
use crate::redis::until;
use crate::relay::visitor::get;
use crate::starting::{BINARY, program};
use crate::support::keyed::Keyed;
use crate::support::within;
use crate::tools::Scratch;

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

/// Runs `socket2me admin` at a node's socket, and returns what it prints.
#[cfg(unix)]
async fn admin(socket: &Path, arguments: &[&str]) -> String {
    let place = format!("--admin=unix:{}", socket.display());
    let arguments = [&["admin", &place], arguments].concat();
    let output = within("the command to end", program(BINARY, &[], &arguments).output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[cfg(unix)]
#[tokio::test]
async fn the_operator_sees_the_tunnels_of_all_nodes_at_any() {
    let scratch = Scratch::new();
    let mut sockets = Vec::new();
    let cluster = Nodes::with(2, |config| {
        let socket = scratch.path().join(format!("admin-{}", sockets.len()));
        config.admin.admin = Some(AdminPlace::Path(socket.clone()));
        sockets.push(socket);
    });
    let Some(mut cluster) = cluster.await else { return };
    let tunnel = Keyed::make(cluster.at(0), r#"{"name":"mine","ends":"spread"}"#).await;
    let mut ends = [tunnel.join(cluster.at(0)).await, tunnel.join(cluster.at(1)).await];
    for socket in &sockets {
        // A node knows the others once its lease is renewed.
        let list = until("both nodes' lines", async || {
            let list = admin(socket, &["list"]).await;
            (list.matches("\nmine   keyed ").count() == 2).then_some(list)
        })
        .await;
        assert!(list.ends_with("\nall             2     2           0          0             0\n"), "{list}");
        let shown: Value = serde_json::from_str(&admin(socket, &["--json", "show", "mine"]).await).unwrap();
        assert_eq!((&shown["figures"]["ends"], &shown["missing"]), (&2.into(), &Value::Null));
    }
    // Ends at any node are disconnected once: those that have come back meanwhile stay.
    assert_eq!(admin(&sockets[0], &["close", "mine"]).await, "ends: 2\n");
    for end in &mut ends {
        end.until_disconnected().await;
    }
    let mut back = tunnel.join(cluster.at(1)).await;
    until("the message in the node's inbox to be taken up", async || {
        cluster.redis.ask::<Vec<String>>(&["KEYS", "s2m:inbox:*"]).is_empty().then_some(())
    })
    .await;
    let asked = async {
        let asked = back.asked().await;
        back.answer(&asked, r#"[200,"still there"]"#, &[]).await;
    };
    let ((), answer) = tokio::join!(asked, get(cluster.at(0), "/go/mine/"));
    assert_eq!(answer.text(), "still there");
    cluster.nodes.pop().unwrap().kill();
    let list = admin(&sockets[0], &["list"]).await;
    assert!(list.contains(" is missing: "), "{list}");
}
