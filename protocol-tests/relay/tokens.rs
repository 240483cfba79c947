//! The life of tokens, and which CONNECTs are refused.

use std::time::Duration;

use socket2me::config::{LimitConfig, ServeConfig};

use super::tunnel::{Server, Tunnel, patient};
use super::visitor::{Visitor, get, request};
use crate::support::end::{End, Heard};
use crate::support::{NOT_FOUND, UNKNOWN, within};

#[tokio::test]
async fn an_expired_token_disconnects_its_end_and_is_like_one_that_never_was() {
    let config = ServeConfig { token_ttl: Duration::from_secs(1), token_grace: Some(Duration::ZERO), ..patient() };
    let Tunnel { server, token, mut end } = Tunnel::open(config, "").await;
    assert_eq!(end.text().await, format!("41/{token},"));
    for target in [format!("/go/{token}"), format!("/refresh/{token}")] {
        let answer = get(server.address, &target).await;
        assert_eq!((answer.status, answer.error().as_str()), (500, "token not found"), "{target}");
    }
    // On the same session, on a new one, and with tokens that never existed: the refusal is the same.
    assert_eq!(end.join(&token, "").await, Err(NOT_FOUND.to_owned()));
    let mut end = End::open(server.address).await;
    assert_eq!(end.join(&token, "").await, Err(NOT_FOUND.to_owned()));
    assert_eq!(end.join(UNKNOWN, "").await, Err(NOT_FOUND.to_owned()));
    assert_eq!(end.join("nonsense", "").await, Err(NOT_FOUND.to_owned()));
}

#[tokio::test]
async fn when_all_tokens_are_in_use_new_is_503_and_says_so() {
    let config = patient();
    let limits = LimitConfig { max_tokens: 1, ..config.limits.clone() };
    let mut tunnel = Tunnel::open(ServeConfig { limits, ..config }, "").await;
    let answer = get(tunnel.server.address, "/new").await;
    assert_eq!((answer.status, answer.code()), (503, Some("server-busy")));
    let message =
        "all tokens of this server are in use, 1 of 1: try again later, or ask its operator to raise --max-tokens";
    assert_eq!((answer.error().as_str(), answer.header("retry-after")), (message, Some("1")));
    tunnel.still_works().await;
}

#[tokio::test]
async fn a_refused_end_may_try_again_on_the_same_session() {
    let server = Server::start(patient()).await;
    let token = server.token().await;
    let mut end = End::open(server.address).await;
    assert_eq!(end.join(UNKNOWN, "").await, Err(NOT_FOUND.to_owned()));
    end.join(&token, "").await.unwrap();
    Tunnel { server, token, end }.still_works().await;
}

#[tokio::test]
async fn the_root_namespace_cannot_be_joined() {
    let server = Server::start(patient()).await;
    let mut end = End::open(server.address).await;
    end.send("40").await;
    assert_eq!(
        end.text().await,
        r#"44{"message":"connect to /TOKEN, with a token from GET /new","data":{"code":"bad-namespace"}}"#
    );
}

#[tokio::test]
async fn the_grace_wins_the_race_of_a_late_refresh() {
    let config =
        ServeConfig { token_ttl: Duration::from_millis(1), token_grace: Some(Duration::from_secs(600)), ..patient() };
    let mut tunnel = Tunnel::open(config, "").await;
    assert_eq!(get(tunnel.server.address, &format!("/refresh/{}", tunnel.token)).await.text(), "OK");
    tunnel.still_works().await;
}

#[tokio::test]
async fn a_refreshed_token_outlives_others() {
    let config = ServeConfig { token_ttl: Duration::from_secs(1), token_grace: Some(Duration::ZERO), ..patient() };
    let mut tunnel = Tunnel::open(config, "").await;
    let refresh = format!("GET /refresh/{} HTTP/1.1\r\nHost: a\r\n\r\n", tunnel.token);
    let mut owner = Visitor::connect(tunnel.server.address).await;
    // Two other tokens live and expire one after the other, which takes longer than one life of this token.
    for _ in 0..2 {
        let other = tunnel.server.token().await;
        let mut end = End::connect(tunnel.server.address, &other).await;
        let refreshing = async {
            loop {
                owner.send(refresh.as_bytes()).await;
                assert_eq!(owner.answer(false).await.text(), "OK");
            }
        };
        tokio::select! {
            () = refreshing => unreachable!("it refreshes for ever"),
            heard = end.hear() => assert_eq!(heard, Heard::Text(format!("41/{other},"))),
        }
        owner = Visitor::connect(tunnel.server.address).await;
    }
    tunnel.still_works().await;
}

#[tokio::test]
async fn events_from_an_end_are_ignored() {
    let mut tunnel = Tunnel::patient().await;
    tunnel.end.send(&format!("42/{},[\"hello\",1]", tunnel.token)).await;
    tunnel.end.send(&format!("42/{},7[\"hello\",1]", tunnel.token)).await;
    tunnel.still_works().await;
}

/// A CONNECT_ERROR is final for official clients, and a server that stops is not: its session is closed, so that they come back.
#[tokio::test]
async fn a_server_that_stops_refuses_no_join_and_closes_the_session_instead() {
    let mut tunnel = Tunnel::patient().await;
    let another = tunnel.server.token().await;
    let mut idle = End::open(tunnel.server.address).await;
    let request = request("GET", &tunnel.at("/"), &[], b"");
    let (mut visitor, asked) = tunnel.ask(&request).await;
    let Tunnel { server, token, mut end } = tunnel;
    let address = server.address;
    let stopping = server.stop();
    within("the server to hear of it", async { while get(address, "/readyz").await.status == 200 {} }).await;
    idle.send(&format!("40/{another},")).await;
    assert_eq!(idle.hear().await, Heard::Closed(None));
    // A session that serves another tunnel waits, and goes on.
    end.send(&format!("40/{another},")).await;
    end.answer(&asked, r#"[200,"done"]"#, &[]).await;
    assert_eq!(visitor.answer(false).await.text(), "done");
    assert_eq!(end.hear().await, Heard::Closed(Some(1001)), "{token}");
    stopping.stopped().await;
}
