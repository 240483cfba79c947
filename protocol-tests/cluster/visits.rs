//! A visitor comes to one node, and the end is at another.

use super::Nodes;
use crate::relay::visitor::{get, request, visit};
use crate::support::end::End;
use crate::support::keyed::Keyed;

#[tokio::test]
async fn a_visitor_reaches_an_end_at_another_node() {
    let Some(cluster) = Nodes::start(3).await else { return };
    let tunnel = Keyed::make(cluster.at(0), r#"{"name":"mine"}"#).await;
    let mut end = tunnel.join(cluster.at(1)).await;
    for visitor in [0, 1, 2, 0, 1, 2] {
        let asked = async {
            let asked = end.asked().await;
            end.answer(&asked, r#"[201,"hello"]"#, &[]).await;
            asked
        };
        let body = b"what a visitor sends";
        let request = request("POST", "/go/mine/a?b=c", &[("x-own", "1"), ("content-type", "text/plain")], body);
        let (asked, answer) = tokio::join!(asked, visit(cluster.at(visitor), &request));
        assert_eq!((answer.status, answer.text().as_str()), (201, "hello"), "{visitor}");
        assert_eq!((asked.request.url.as_str(), asked.request.search.as_str()), ("/a", "?b=c"));
        assert_eq!(asked.header("x-own"), Some("1"));
        assert_eq!(asked.header("x-forwarded-for"), Some("127.0.0.1"));
    }
}

#[tokio::test]
async fn an_original_tunnel_is_reached_from_any_node() {
    let Some(cluster) = Nodes::start(2).await else { return };
    let token: String = get(cluster.at(0), "/new").await.text();
    let mut end = End::connect(cluster.at(0), &token).await;
    let path = format!("/go/{token}/");
    for node in [1, 0] {
        let asked = async {
            let asked = end.asked().await;
            end.answer(&asked, r#"[200,"original"]"#, &[]).await;
        };
        let address = cluster.at(node);
        let ((), answer) = tokio::join!(asked, get(address, &path));
        assert_eq!((answer.status, answer.text().as_str()), (200, "original"));
    }
    // The failure of an original tunnel looks as it does without a cluster.
    end.close().await;
    for node in [0, 1] {
        let answer = crate::redis::until("the end to have left", async || {
            let answer = get(cluster.at(node), &path).await;
            (answer.code() == Some("client-not-connected")).then_some(answer)
        })
        .await;
        assert_eq!((answer.status, answer.error().as_str()), (500, "client not connected"), "{node}");
    }
}

/// Else a browser that comes to another node each time would see it again and again.
#[tokio::test]
async fn a_browser_sees_the_page_before_a_tunnel_at_one_node_and_not_at_the_others() {
    let Some(cluster) = Nodes::with(2, |config| config.interstitial = true).await else { return };
    let tunnel = Keyed::make(cluster.at(0), r#"{"name":"mine","ends":"spread"}"#).await;
    let mut ends = [tunnel.join(cluster.at(0)).await, tunnel.join(cluster.at(1)).await];
    let page = visit(cluster.at(0), &request("GET", "/go/mine/", &[("accept", "text/html")], b"")).await;
    assert_eq!(page.code(), Some("interstitial"));
    let cookie = page.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    for (node, end) in ends.iter_mut().enumerate() {
        let asked = async {
            let asked = end.asked().await;
            end.answer(&asked, r#"[200,"app"]"#, &[]).await;
        };
        let again = request("GET", "/go/mine/", &[("accept", "text/html"), ("cookie", &cookie)], b"");
        let ((), answer) = tokio::join!(asked, visit(cluster.at(node), &again));
        assert_eq!(answer.text(), "app", "{node}");
    }
}
