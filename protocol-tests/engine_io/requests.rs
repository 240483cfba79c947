//! Handshakes, errors and CORS (PROTOCOL.md, "Engine.IO requests").

use super::{E0, E1, E2, E3, E3_NOT_UPGRADED, E5, NOBODY, ms, small};
use crate::support::wire::{KEY, Server, UPGRADE, sid_of};

// Handshake

#[tokio::test]
async fn a_polling_handshake_tells_the_session_id_and_the_settings() {
    let server = Server::with(|config| {
        (config.ping_interval, config.ping_timeout, config.max_payload) = (ms(300), ms(200), Some(1_000_000));
    });
    let server = server.await;
    let mut sids = Vec::new();
    for target in ["/socket.io/?EIO=4&transport=polling", "/socket.io?t=x&EIO=4&transport=polling&token=y&sid="] {
        let answer = server.ask("GET", target, &[], b"").await;
        let sid = answer.sid();
        let rest = r#""upgrades":["websocket"],"pingInterval":300,"pingTimeout":200,"maxPayload":1000000}"#;
        answer.is(200, &format!(r#"0{{"sid":"{sid}",{rest}"#));
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=UTF-8"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
        assert!(sid.len() == 20 && sid.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{sid}");
        sids.push(sid);
    }
    assert_ne!(sids[0], sids[1]);
}

#[tokio::test]
async fn a_websocket_handshake_offers_no_upgrade() {
    let server = small().await;
    let text = server.ws("EIO=4&transport=websocket").await.next_text().await;
    let rest = r#""upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000}"#;
    assert_eq!(text, format!(r#"0{{"sid":"{}",{rest}"#, sid_of(&text)));
}

#[tokio::test]
async fn engine_io_is_served_at_its_own_path_alone() {
    let server = Server::start().await;
    for path in ["/socket.io/x", "/socket.io//", "/engine.io/", "/socket.iox"] {
        assert_eq!(server.ask("GET", &format!("{path}?EIO=4&transport=polling"), &[], b"").await.status, 404, "{path}");
        let target = format!("{path}?EIO=4&transport=websocket");
        assert_eq!(server.ask("GET", &target, UPGRADE, b"").await.status, 404, "{path}");
    }
}

// Errors

#[tokio::test]
async fn a_faulty_request_gets_the_error_code_that_is_checked_first() {
    let server = Server::start().await;
    let session = server.open().await;
    let sid = &session.sid;
    for (method, query, error) in [
        ("GET", "", E0),
        ("GET", "EIO=4", E0),
        ("POST", &format!("EIO=4&sid={sid}"), E0),
        ("GET", "EIO=4&transport=webtransport", E0),
        ("GET", "EIO=4&transport=constructor", E0),
        ("GET", "EIO=4&transport=Polling", E0),
        ("GET", &format!("EIO=4&transport=polling&sid={NOBODY}"), E1),
        ("POST", &format!("EIO=4&transport=polling&sid={NOBODY}"), E1),
        ("GET", "EIO=4&transport=polling&sid=__proto__", E1),
        ("GET", "EIO=4&transport=polling&sid=%ff%00", E1),
        ("GET", &format!("EIO=4&transport=polling&sid={sid}x"), E1),
        ("GET", &format!("transport=polling&sid={NOBODY}"), E1),
        ("POST", "EIO=4&transport=polling", E2),
        ("PUT", "EIO=4&transport=polling", E2),
        ("OPTIONS", "EIO=4&transport=polling", E2),
        ("POST", "transport=websocket", E2),
        ("GET", "EIO=4&transport=websocket", E3_NOT_UPGRADED),
        ("GET", "transport=websocket", E3_NOT_UPGRADED),
        ("GET", &format!("EIO=4&transport=websocket&sid={sid}"), E3_NOT_UPGRADED),
        ("POST", &format!("EIO=4&transport=websocket&sid={sid}"), E3),
        ("GET", "transport=polling", E5),
        ("GET", "EIO=abc&transport=polling", E5),
        ("GET", "EIO=5&transport=polling", E5),
        ("GET", "EIO=04&transport=polling", E5),
    ] {
        let answer = server.ask(method, &format!("/socket.io/?{query}"), &[], b"").await;
        assert_eq!(answer.parts(), (400, error.to_owned()), "{method} {query}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{method} {query}");
    }
    let head = server.ask("HEAD", "/socket.io/?EIO=4&transport=polling", &[], b"").await;
    assert_eq!((head.status, head.header("content-length")), (400, Some(E2.len().to_string().as_str())));
    session.is_alive().await;
}

#[tokio::test]
async fn an_unknown_session_id_takes_precedence_over_a_wrong_transport() {
    let server = Server::start().await;
    for (method, transport) in [("GET", "websocket"), ("POST", "websocket"), ("PUT", "polling")] {
        let target = format!("/socket.io/?EIO=4&transport={transport}&sid={NOBODY}");
        assert_eq!(server.ask(method, &target, &[], b"").await.parts(), (400, E1.to_owned()), "{method} {transport}");
    }
}

#[tokio::test]
async fn a_request_of_another_revision_than_its_session_is_a_bad_request() {
    let server = Server::start().await;
    let session = server.open().await;
    for query in ["EIO=3&transport=polling", "transport=polling", "EIO=x&transport=polling"] {
        let target = format!("/socket.io/?{query}&sid={}", session.sid);
        server.ask("GET", &target, &[], b"").await.is(400, E3);
        server.ask("POST", &target, &[], b"40/a,").await.is(400, E3);
    }
    server.no_ws(&format!("EIO=3&transport=websocket&sid={}", session.sid)).await.is(400, E3);
    session.is_alive().await;
}

#[tokio::test]
async fn other_methods_on_a_session_are_405() {
    let server = Server::start().await;
    let session = server.open().await;
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        let target = format!("/socket.io/?{}", session.query("polling"));
        server.ask(method, &target, &[], b"").await.is(405, "");
    }
    session.is_alive().await;
}

#[tokio::test]
async fn a_faulty_websocket_handshake_is_refused_before_the_101() {
    let server = Server::start().await;
    let session = server.open().await;
    server.no_ws("EIO=4").await.is(400, E0);
    server.no_ws(&format!("EIO=4&transport=websocket&sid={NOBODY}")).await.is(400, E1);
    server.no_ws("EIO=5&transport=websocket").await.is(400, E5);
    server.no_ws("transport=websocket").await.is(400, E5);
    server.no_ws(&session.query("polling")).await.is(400, E3);
    for query in ["EIO=4&transport=websocket", &session.query("websocket")] {
        let target = format!("/socket.io/?{query}");
        for (name, value) in [
            ("Sec-WebSocket-Key", "short"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ"),
            ("Sec-WebSocket-Key", ""),
            ("Connection", "keep-alive"),
            ("Upgrade", "h2c"),
        ] {
            let answer = server.ask("GET", &target, &upgrade_but(name, value), b"").await;
            assert_eq!(answer.status, 400, "{name}: {value}");
        }
        for version in ["12", ""] {
            let answer = server.ask("GET", &target, &upgrade_but("Sec-WebSocket-Version", version), b"").await;
            assert_eq!((answer.status, answer.header("sec-websocket-version")), (400, Some("13")), "{version}");
        }
        assert_eq!(server.ask("POST", &target, UPGRADE, b"").await.status, 400);
    }
    session.is_alive().await;
    session.candidate().await.text("2probe").await;
}

/// The headers that ask for a WebSocket, where one has another value, or is left out if that value is empty.
fn upgrade_but<'h>(name: &str, value: &'h str) -> Vec<(&'h str, &'h str)> {
    let change = |&(header, usual): &(&'static str, &'static str)| (header, if header == name { value } else { usual });
    UPGRADE.iter().map(change).filter(|(_, value)| !value.is_empty()).collect()
}

#[tokio::test]
async fn the_101_accepts_no_extension() {
    let server = Server::start().await;
    let deflate = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits");
    let asked = [("upgrade", "WebSocket"), ("connection", "keep-alive, upgrade"), UPGRADE[2], UPGRADE[3], deflate];
    let answer = server.send("GET", "/socket.io/?EIO=4&transport=websocket", &asked, b"").await.answer().await;
    assert_eq!((answer.status, answer.header("sec-websocket-extensions")), (101, None), "{KEY}");
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    assert!(answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
}

// CORS

#[tokio::test]
async fn the_origin_of_a_request_is_allowed_with_credentials() {
    let server = Server::start().await;
    for (query, status) in [("EIO=4&transport=polling", 200), ("", 400)] {
        let target = format!("/socket.io/?{query}");
        let answer = server.ask("GET", &target, &[("Origin", "http://a.b")], b"").await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some("http://a.b"));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(answer.header("vary"), Some("Origin"));
        let answer = server.ask("GET", &target, &[], b"").await;
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
}

#[tokio::test]
async fn a_preflight_allows_the_headers_it_asks_for() {
    let server = Server::start().await;
    let asked = [("Origin", "http://a.b"), ("Access-Control-Request-Headers", "content-type,x-mine")];
    for query in ["", "?EIO=4&transport=polling&sid=x"] {
        let answer = server.ask("OPTIONS", &format!("/socket.io/{query}"), &asked, b"").await;
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("access-control-allow-origin"), Some("http://a.b"));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(answer.header("access-control-allow-methods"), Some("GET,POST"));
        assert_eq!(answer.header("access-control-allow-headers"), Some("content-type,x-mine"));
    }
}
