//! What keeps tunnels apart that are one origin to a browser (PROTOCOL.md, "The shared origin").

use socket2me::config::ServeConfig;
use socket2me::proto::exchange::headers::ORIGIN_WIDE;

use super::tunnel::{Server, Tunnel, patient};
use super::visitor::{Answer, request, visit};
use crate::support::UNKNOWN;

/// The `Accept` of a browser that asks for a page.
const PAGE: (&str, &str) = ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
const NAVIGATE: (&str, &str) = ("Sec-Fetch-Mode", "navigate");
const WORKER: (&str, &str) = ("Service-Worker", "script");

#[tokio::test]
async fn a_navigation_to_a_tunnel_without_a_slash_is_sent_to_its_folder() {
    let server = Server::start(patient()).await;
    let connected = server.token().await;
    // No token is looked up, so the answer tells nothing about it.
    for token in [connected.as_str(), UNKNOWN] {
        for (method, headers, query, location) in [
            ("GET", &[NAVIGATE][..], "", ""),
            ("HEAD", &[NAVIGATE], "", ""),
            ("GET", &[NAVIGATE, ("Accept", "*/*")], "?a=b&c", "?a=b&c"),
            ("GET", &[PAGE], "?", "?"),
            ("GET", &[("Accept", "Text/HTML;q=0.5")], "?//evil.example/", "?//evil.example/"),
            ("GET", &[("Accept", "a/b"), ("Accept", "text/html")], "", ""),
            ("GET", &[NAVIGATE], "?\u{e9}=%C3%A9", "?%C3%A9=%C3%A9"),
        ] {
            let target = format!("/go/{token}{query}");
            let answer = visit(server.address, &request(method, &target, headers, b"")).await;
            let what = format!("{method} {target} {headers:?}: {answer:?}");
            assert_eq!(answer.status, 307, "{what}");
            assert_eq!(answer.header("location"), Some(format!("./{token}/{location}").as_str()), "{what}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
            assert_eq!((answer.body.len(), answer.code()), (0, None), "{what}");
        }
    }
    // The target may have another host than the request; what is relative stays at the host that was asked.
    let absolute = request("GET", &format!("http://evil.example/go/{UNKNOWN}"), &[NAVIGATE], b"");
    assert_eq!(visit(server.address, &absolute).await.header("location"), Some(format!("./{UNKNOWN}/").as_str()));
}

#[tokio::test]
async fn what_is_no_navigation_to_the_tunnel_itself_is_forwarded() {
    let mut tunnel = Tunnel::patient().await;
    for (method, rest, headers) in [
        ("GET", "", &[][..]),
        ("GET", "", &[("Accept", "*/*")]),
        ("GET", "", &[("Accept", "text/*")]),
        ("GET", "", &[("Accept", "text/htmlx, application/json")]),
        ("GET", "", &[("Sec-Fetch-Mode", "cors"), PAGE]),
        ("GET", "", &[("Sec-Fetch-Mode", "no-cors"), PAGE]),
        ("GET", "", &[("Sec-Fetch-Mode", "websocket"), PAGE]),
        ("GET", "", &[("Sec-Fetch-Mode", ""), PAGE]),
        ("POST", "", &[NAVIGATE, PAGE]),
        ("OPTIONS", "", &[NAVIGATE, PAGE]),
        ("GET", "/", &[NAVIGATE, PAGE]),
        ("HEAD", "/?q", &[NAVIGATE, PAGE]),
        ("GET", "/a", &[NAVIGATE, PAGE]),
        ("GET", "/sw.js", &[WORKER]),
        ("GET", "/", &[WORKER]),
        ("GET", "", &[("Service-Worker-Navigation-Preload", "true")]),
    ] {
        let (asked, answer) = tunnel.exchange(&request(method, &tunnel.at(rest), headers, b""), "[]", &[]).await;
        assert_eq!(asked.request.method, method, "{rest} {headers:?}");
        assert_eq!((answer.status, answer.code()), (200, None), "{method} {rest} {headers:?}");
    }
}

#[tokio::test]
async fn nobody_is_sent_to_a_place_that_is_no_token() {
    let server = Server::start(patient()).await;
    let double = format!("{UNKNOWN}%2F..");
    for rest in [
        "https:evil.example",
        "https://evil.example",
        "javascript:x",
        "..",
        ".",
        "%2e%2e",
        r"\\evil",
        r"\evil.example",
        "/evil.example",
        "//evil.example",
        "%0d%0aLocation:%20x",
        "",
        "?https://evil.example",
        "New",
        &UNKNOWN[1..],
        &format!("{UNKNOWN}x"),
        &format!("{UNKNOWN};x"),
        &format!("{UNKNOWN}:80"),
        &format!("{UNKNOWN}\\"),
        &double,
    ] {
        let answer = visit(server.address, &request("GET", &format!("/go/{rest}"), &[NAVIGATE, PAGE], b"")).await;
        assert_eq!((answer.status, answer.code()), (500, Some("token-not-found")), "{rest}: {answer:?}");
        assert_eq!(answer.header("location"), None, "{rest}");
    }
}

#[tokio::test]
async fn no_page_registers_a_service_worker_above_its_tunnel() {
    let tunnel = Tunnel::patient().await;
    let fetch_dest = ("Sec-Fetch-Dest", "serviceworker");
    for headers in [&[WORKER][..], &[("Service-Worker", " SCRIPT ")], &[fetch_dest], &[WORKER, NAVIGATE, PAGE]] {
        for target in [&tunnel.at(""), &tunnel.at("?v=1"), "/go/", "/go/x", &format!("/go/{UNKNOWN}")] {
            let answer = visit(tunnel.server.address, &request("GET", target, headers, b"")).await;
            assert_eq!((answer.status, answer.code()), (403, Some("service-worker-refused")), "{target} {headers:?}");
            assert!(answer.error().contains("/go/TOKEN/"), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn no_response_decides_for_the_whole_origin() {
    let mut tunnel = Tunnel::patient().await;
    let protocol = include_str!("../../PROTOCOL.md").to_ascii_lowercase();
    assert!(ORIGIN_WIDE.is_sorted(), "they are looked up by bisection");
    for name in ORIGIN_WIDE {
        let ask = request("GET", &tunnel.at("/"), &[], b"");
        let (_, answer) = tunnel.exchange(&ask, &format!(r#"[200,"x",{{"{name}":"1","x-a":"1"}}]"#), &[]).await;
        assert_eq!((answer.header(name), answer.header("x-a")), (None, Some("1")), "{name}");
        assert!(protocol.contains(&format!("`{name}`")), "PROTOCOL.md, section 6, does not name {name}");
    }
    for name in ["content-security-policy", "set-cookie", "reporting-endpoints", "cross-origin-opener-policy"] {
        let ask = request("GET", &tunnel.at("/"), &[], b"");
        let (_, answer) = tunnel.exchange(&ask, &format!(r#"[200,"x",{{"{name}":"1"}}]"#), &[]).await;
        assert_eq!(answer.header(name), Some("1"), "{name} decides for its document alone");
    }
}

/// What the end is told with these settings about a visitor with these headers.
async fn told(config: ServeConfig, headers: &[(&str, &str)]) -> (Tunnel, crate::support::end::Asked, Answer) {
    let mut tunnel = Tunnel::open(config, r#"{"rawHeaders":true}"#).await;
    let ask = request("GET", &tunnel.at("/a"), headers, b"");
    let (asked, answer) = tunnel.exchange(&ask, "[]", &[]).await;
    (tunnel, asked, answer)
}

fn behind_a_proxy(config: ServeConfig) -> ServeConfig {
    ServeConfig { trust_proxy: vec!["127.0.0.0/8".parse().unwrap()], ..config }
}

fn at(public_url: &str) -> ServeConfig {
    ServeConfig { public_url: Some(public_url.to_owned()), ..patient() }
}

#[tokio::test]
async fn an_end_is_told_its_prefix_which_nobody_else_can_say() {
    let lie = [("X-Forwarded-Prefix", "/evil"), ("x-forwarded-prefix", "/more"), ("X_Forwarded_Prefix", "/evil")];
    for (config, path) in [
        (patient(), ""),
        (behind_a_proxy(patient()), ""),
        (at("https://relay.example"), ""),
        (at("https://relay.example/"), ""),
        (at("https://relay.example/tunnels"), "/tunnels"),
        (behind_a_proxy(at("https://relay.example:8443/a/b/")), "/a/b"),
    ] {
        let (tunnel, asked, _) = told(config, &lie).await;
        let prefix = format!("{path}/go/{}", tunnel.token);
        assert_eq!(asked.header("x-forwarded-prefix"), Some(prefix.as_str()));
        let raw = asked.request.raw_headers.as_ref().unwrap();
        let said: Vec<_> = raw.iter().filter(|(name, _)| name.replace('_', "-") == "x-forwarded-prefix").collect();
        assert_eq!(said, [&("x-forwarded-prefix".to_owned(), prefix)]);
    }
}

#[tokio::test]
async fn with_a_public_url_the_forwarded_host_is_the_one_it_names() {
    let lie = [("X-Forwarded-Host", "evil.example"), ("X_Forwarded_Host", "evil.example")];
    for (config, host) in [
        (patient(), "relay.example"),
        (behind_a_proxy(patient()), "evil.example"),
        (at("https://outside.example/tunnels/"), "outside.example"),
        (at("https://outside.example:8443"), "outside.example:8443"),
        (behind_a_proxy(at("http://[2001:db8::1]:80/")), "[2001:db8::1]:80"),
    ] {
        let (_, asked, _) = told(config, &lie).await;
        assert_eq!(asked.header("x-forwarded-host"), Some(host));
        assert_eq!((asked.header("x_forwarded_host"), asked.header("host")), (None, Some("relay.example")));
    }
}

#[tokio::test]
async fn a_visitor_cannot_speak_as_the_relay_and_only_a_trusted_proxy_gives_a_request_id() {
    let own = [
        ("X-Request-Id", "theirs"),
        ("X-Socket2Me-Error", "throttled"),
        ("x-socket2me-verified", "1"),
        ("X_Socket2Me_Verified", "1"),
        ("X_Request_Id", "theirs"),
        ("X-Request-Id-2", "2"),
        ("X_Other_Name", "3"),
    ];
    for (config, id) in [(patient(), None), (behind_a_proxy(patient()), Some("theirs"))] {
        let (_, asked, answer) = told(config, &own).await;
        assert_eq!(asked.header("x-request-id"), id);
        let raw = asked.request.raw_headers.as_ref().unwrap();
        let is_own = |name: &str| name == "x_request_id" || name.replace('_', "-").starts_with("x-socket2me-");
        assert!(!asked.request.headers.keys().chain(raw.iter().map(|(name, _)| name)).any(|name| is_own(name)));
        assert_eq!((asked.header("x-request-id-2"), asked.header("x_other_name")), (Some("2"), Some("3")));
        // The exchange has an id of its own, which is never the visitor's.
        assert_eq!(answer.header("x-request-id"), Some(asked.request.id.as_str()));
        assert_ne!(asked.request.id, "theirs");
    }
}
