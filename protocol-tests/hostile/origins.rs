//! `--allow-origin` (CVE-2019-13611, CVE-2020-28481): one list holds for CORS, POSTs and WebSockets.

use crate::support::wire::{Answer, Server, UPGRADE};

const FORBIDDEN: &str = r#"{"code":4,"message":"Forbidden"}"#;

/// The answers to a page of this origin: to a polling handshake, a preflight, and a WebSocket handshake.
async fn page(server: &Server, origin: Option<&str>) -> [Answer; 3] {
    let origin: Vec<_> = origin.map(|origin| ("Origin", origin)).into_iter().collect();
    let upgrade = [UPGRADE, &origin].concat();
    [
        server.ask("GET", "/socket.io/?EIO=4&transport=polling", &origin, b"").await,
        server.ask("OPTIONS", "/socket.io/?EIO=4&transport=polling", &origin, b"").await,
        server.ask("GET", "/socket.io/?EIO=4&transport=websocket", &upgrade, b"").await,
    ]
}

#[tokio::test]
async fn only_pages_of_an_allowed_origin_may_connect() {
    let any = ["*"];
    let one = ["https://app.example"];
    let several = ["https://app.example", "http://localhost:8080", "null.example://x"];
    for (allowed, origin, is_allowed) in [
        (&any[..], "https://app.example", true),
        (&any, "null", true),
        (&one, "https://app.example", true),
        (&one, "https://APP.example", true),
        (&one, "http://app.example", false),
        (&one, "https://app.example:443", false),
        (&one, "https://app.example.evil.example", false),
        (&one, "https://evil.example", false),
        (&one, "https://sub.app.example", false),
        (&one, "https://app.example/", false),
        (&one, "null", false),
        (&one, "", false),
        (&one, "*", false),
        (&several, "http://localhost:8080", true),
        (&several, "https://app.example", true),
        (&several, "http://localhost:8081", false),
        (&several, "http://localhost", false),
        (&several, "https://app.example, http://localhost:8080", false),
    ] {
        let server = Server::with(|config| config.allow_origin = allowed.iter().map(|&o| o.to_owned()).collect()).await;
        let answers = page(&server, Some(origin)).await;
        let what = format!("{origin} where {allowed:?} may");
        let statuses = answers.each_ref().map(|answer| answer.status);
        assert_eq!(statuses, if is_allowed { [200, 204, 101] } else { [403; 3] }, "{what}");
        for answer in &answers {
            let granted = answer.header("access-control-allow-origin");
            assert_eq!(granted, is_allowed.then_some(origin), "{what}");
            assert_eq!(answer.header("access-control-allow-credentials").is_some(), is_allowed, "{what}");
            if !is_allowed {
                assert_eq!(answer.text(), FORBIDDEN, "{what}");
            }
        }
        // A request without an origin does not come from a page.
        let answers = page(&server, None).await;
        assert_eq!(answers.each_ref().map(|answer| answer.status), [200, 400, 101], "no origin where {allowed:?} may");
    }
}

#[tokio::test]
async fn another_origin_may_not_use_an_open_session() {
    let server = Server::with(|config| config.allow_origin = vec!["https://app.example".to_owned()]).await;
    let session = server.open().await;
    let target = format!("/socket.io/?{}", session.query("polling"));
    for (method, body) in [("POST", &b"40/alive,"[..]), ("GET", b"")] {
        server.ask(method, &target, &[("Origin", "https://evil.example")], body).await.is(403, FORBIDDEN);
    }
    let upgrade = [UPGRADE, &[("Origin", "https://evil.example")]].concat();
    let target = format!("/socket.io/?{}", session.query("websocket"));
    server.ask("GET", &target, &upgrade, b"").await.is(403, FORBIDDEN);
    session.is_alive().await;
}

/// A cache keeps what each answer was made of apart (RFC 9110, section 12.5.5).
#[tokio::test]
async fn answers_to_pages_vary_by_all_that_they_were_made_of() {
    let server = Server::with(|config| config.allow_origin = vec!["https://app.example".to_owned()]).await;
    let wants = ("Access-Control-Request-Headers", "x-a");
    for (method, origin, status, vary) in [
        ("OPTIONS", "https://app.example", 204, &["access-control-request-headers", "origin"][..]),
        ("GET", "https://app.example", 200, &["origin"]),
        ("OPTIONS", "https://evil.example", 403, &["origin"]),
        ("GET", "https://evil.example", 403, &["origin"]),
    ] {
        let headers = [("Origin", origin), wants];
        let answer = server.ask(method, "/socket.io/?EIO=4&transport=polling", &headers, b"").await;
        let lines = answer.head.lines().filter_map(|line| line.split_once(": "));
        let mut named: Vec<_> = lines
            .filter(|(name, _)| name.eq_ignore_ascii_case("vary"))
            .map(|(_, value)| value.to_lowercase())
            .collect();
        named.sort();
        assert_eq!(
            (answer.status, named.iter().map(String::as_str).collect::<Vec<_>>()),
            (status, vary.to_vec()),
            "{method} {origin}"
        );
    }
}
