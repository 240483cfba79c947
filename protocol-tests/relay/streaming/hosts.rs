//! Streaming on a host that is the tunnel's own.

use socket2me::config::ServeConfig;
use socket2me::proto::exchange::headers::{ORIGIN_WIDE, WIDER_THAN_ORIGIN};
use socket2me::proto::token::Token;

use super::super::tunnel::Server;
use super::super::visitor::{get, request_to, visit};
use super::frames::{ACCEPT, Frames, TEXT, ask_for};
use super::{Streaming, patient};
use crate::support::wire::{Peer, sid_of};

/// The label of a tunnel's host.
fn label(token: &str) -> String {
    Token::parse(token).unwrap().label().unwrap()
}

#[tokio::test]
async fn ready_names_the_host_and_the_path() {
    let tunnel = Streaming::patient().await;
    let url = format!("http://{}.localhost:{}", label(&tunnel.token), tunnel.address.port());
    assert_eq!(tunnel.end.ready["url"], url);
    for (public_url, url, path_url) in [
        ("https://localhost", "https://LABEL.localhost", "https://localhost/go/TOKEN"),
        ("https://relay.example/a", "https://relay.example/a/go/TOKEN", "https://relay.example/a/go/TOKEN"),
    ] {
        let config = ServeConfig { public_url: Some(public_url.to_owned()), ..patient() };
        let tunnel = Streaming::open(config, "1").await;
        let expected =
            [url, path_url].map(|url| url.replace("LABEL", &label(&tunnel.token)).replace("TOKEN", &tunnel.token));
        assert_eq!([&tunnel.end.ready["url"], &tunnel.end.ready["path_url"]], expected.each_ref().map(|url| &**url));
    }
}

#[tokio::test]
async fn ready_names_the_host_by_which_the_end_came() {
    let server = Server::start(patient()).await;
    let address = server.address;
    let token = get(address, "/new").await.text();
    let long = format!("{}:65535", "a".repeat(254));
    for (host, base) in [
        ("lan-host:3000", "http://lan-host:3000"),
        ("192.0.2.1", "http://192.0.2.1"),
        // What is no host, or too long for one, is not kept for as long as the session lives.
        ("", &format!("http://{address}")),
        (&*long, &format!("http://{address}")),
    ] {
        let ask = async |method, sid: &str, body: &str| {
            let target = format!("/socket.io/?EIO=4&transport=polling{sid}");
            visit(address, &request_to(host, method, &target, &[], body.as_bytes())).await.text()
        };
        let sid = format!("&sid={}", sid_of(&ask("GET", "", "").await));
        assert_eq!(ask("POST", &sid, &format!(r#"40/{token},{{"stream":{{"version":1}}}}"#)).await, "ok");
        let mut heard = String::new();
        while !heard.contains("\"ready\"") {
            heard += &ask("GET", &sid, "").await;
        }
        assert!(heard.contains(&format!(r#""path_url":"{base}/go/{token}""#)), "{host}: {heard}");
        let has_own_host = heard.contains(&format!(r#""url":"http://{}.localhost"#, label(&token)));
        assert_eq!(has_own_host, base.starts_with("http://127."), "{host}: {heard}");
    }
}

#[tokio::test]
async fn a_websocket_of_a_tunnels_host_reaches_the_end_whatever_its_path() {
    for path in ["/", "/socket.io/?EIO=4&transport=websocket"] {
        let mut tunnel = Streaming::patient().await;
        let host = format!("Host: {}.localhost:3000", label(&tunnel.token));
        let ask = String::from_utf8(ask_for(path)).unwrap().replace("Host: relay.example", &host);
        let (mut visitor, asked) = tunnel.ask(ask.as_bytes()).await;
        assert_eq!(
            (&asked.object["url"], &asked.object["upgrade"]),
            (&path.split('?').next().into(), &"websocket".into())
        );
        assert_eq!(asked.header("x-forwarded-prefix"), None);
        tunnel.end.respond(&asked, 101, r#"{"service-worker-allowed":"/"}"#).await;
        let head = visitor.head().await;
        assert_eq!((head.status, head.header("sec-websocket-accept")), (101, Some(ACCEPT)));
        let mut visitor = Frames { peer: Peer::new(visitor.into_stream()) };
        visitor.send(TEXT, b"there?").await;
        assert_eq!(tunnel.end.message(&asked).await.text.as_deref(), Some("there?"));
        tunnel.end.send_text(&asked, "here", false, 0).await;
        visitor.reads("here").await;
    }
}

#[tokio::test]
async fn the_head_of_a_stream_decides_for_its_own_origin_and_no_further() {
    let mut tunnel = Streaming::patient().await;
    let all: Vec<_> = ORIGIN_WIDE.iter().map(|name| format!(r#""{name}":"1""#)).collect();
    let headers = format!("{{{}}}", all.join(","));
    let host = format!("{}.localhost:3000", label(&tunnel.token));
    for (host, target, is_own) in [(host.as_str(), "/x", true), ("localhost", &tunnel.at("/x"), false)] {
        let (mut visitor, asked) = tunnel.ask(&request_to(host, "GET", target, &[], b"")).await;
        tunnel.end.respond(&asked, 200, &headers).await;
        let head = visitor.head().await;
        for name in ORIGIN_WIDE {
            let passes = is_own && !WIDER_THAN_ORIGIN.contains(&name);
            assert_eq!(head.header(name), passes.then_some("1"), "{host} {name}");
        }
        tunnel.end.finish(&asked, 0).await;
        assert!(visitor.rest().await.is_complete);
    }
}

#[tokio::test]
async fn a_request_that_an_end_passes_on_to_its_host_is_a_loop() {
    let mut tunnel = Streaming::patient().await;
    let host = format!("{}.localhost", label(&tunnel.token));
    let (_visitor, asked) = tunnel.ask(&request_to(&host, "GET", "/x", &[], b"")).await;
    let via = asked.header("via").unwrap().to_owned();
    let answer = visit(tunnel.address, &request_to(&host, "GET", "/x", &[("Via", &via)], b"")).await;
    assert_eq!((answer.status, answer.code()), (508, Some("loop")));
}
