//! Hosts of tunnels' own, where the server is reached by a loopback host (PROTOCOL.md, "Hosts of tunnels").

use std::time::Duration;

use serde_json::Value;
use socket2me::config::ServeConfig;
use socket2me::proto::exchange::headers::{ORIGIN_WIDE, WIDER_THAN_ORIGIN};
use socket2me::proto::token::Token;

use super::tunnel::{Server, Tunnel, patient};
use super::visitor::{Answer, Visitor, request, request_to, visit};
use crate::support::UNKNOWN;
use crate::support::end::{Asked, End};
use crate::support::keyed::{Keyed, post};

pub(super) const NAMED: &str = r#"{"name":"my-app"}"#;
const HOST: &str = "my-app.localhost:3000";

/// A server, a tunnel of a name, and its end.
pub(super) struct Named {
    pub(super) server: Server,
    pub(super) tunnel: Keyed,
    end: End,
}

impl Named {
    pub(super) async fn open(config: ServeConfig) -> Self {
        let server = Server::start(config).await;
        let tunnel = Keyed::make(server.address, NAMED).await;
        let end = tunnel.join(server.address).await;
        Self { server, tunnel, end }
    }

    /// Sends a request, which must reach the end.
    pub(super) async fn exchange(&mut self, request: &[u8], args: &str) -> (Asked, Answer) {
        let mut visitor = Visitor::connect(self.server.address).await;
        visitor.send(request).await;
        let asked = self.end.asked().await;
        self.end.answer(&asked, args, &[]).await;
        let answer = visitor.answer(request.starts_with(b"HEAD ")).await;
        visitor.finish().await;
        (asked, answer)
    }

    pub(super) async fn visit(&self, request: &[u8]) -> Answer {
        visit(self.server.address, request).await
    }
}

pub(super) fn get(host: &str, target: &str) -> Vec<u8> {
    request_to(host, "GET", target, &[], b"")
}

fn at(public_url: &str) -> ServeConfig {
    ServeConfig { public_url: Some(public_url.to_owned()), ..patient() }
}

fn behind_a_proxy(config: ServeConfig) -> ServeConfig {
    ServeConfig { trust_proxy: vec!["127.0.0.0/8".parse().unwrap()], ..config }
}

#[tokio::test]
async fn every_path_of_a_tunnels_host_is_the_apps() {
    let mut tunnel = Named::open(patient()).await;
    let worker = [("Service-Worker", "script"), ("Sec-Fetch-Dest", "serviceworker")];
    let page = [("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate")];
    for (method, target, headers) in [
        ("GET", "/", &page[..]),
        ("HEAD", "/?", &[]),
        ("GET", "/new", &[("Origin", "https://page.example")]),
        ("POST", "/new", &[("Content-Type", "application/json")]),
        ("OPTIONS", "/new", &[("Access-Control-Request-Method", "POST")]),
        ("GET", "/socket.io/?EIO=4&transport=polling", &[]),
        ("GET", "/socket.io", &[]),
        ("GET", "/healthz", &[]),
        ("GET", "/readyz", &[]),
        ("DELETE", "/tunnel/my-app", &[]),
        ("GET", "/refresh/my-app", &[]),
        ("GET", "/go/my-app", &page),
        ("GET", "/go/x/y?z=1", &worker),
        ("GET", "//a//%2e%2e/b?c[d]=/", &[]),
        ("GET", "/.well-known/acme-challenge", &[]),
        ("GET", "/.well-known/other/x", &[]),
    ] {
        let ask = request_to(HOST, method, target, headers, b"");
        let (asked, answer) = tunnel.exchange(&ask, r#"[201,"the app",{"x-app":"1"}]"#).await;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let search = if query.is_empty() { String::new() } else { format!("?{query}") };
        let request = &asked.request;
        assert_eq!([&*request.method, &*request.url, &*request.search], [method, path, &*search], "{target}");
        assert_eq!((answer.status, answer.header("x-app"), answer.code()), (201, Some("1"), None), "{target}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{target}");
    }
}

#[tokio::test]
async fn the_app_is_at_the_root_of_its_host() {
    for (config, host, forwarded) in [
        (patient(), "my-app.localhost:4711", "my-app.localhost:4711"),
        (behind_a_proxy(patient()), HOST, "outside.example"),
        (at("http://localhost:8080"), HOST, "my-app.localhost:8080"),
        (behind_a_proxy(at("https://LOCALHOST")), HOST, "my-app.localhost"),
    ] {
        let mut tunnel = Named::open(config).await;
        let lie =
            [("X-Forwarded-Prefix", "/evil"), ("X_Forwarded_Prefix", "/evil"), ("X-Forwarded-Host", "outside.example")];
        let (asked, _) = tunnel.exchange(&request_to(host, "GET", "/a", &lie, b""), "[]").await;
        assert_eq!((asked.header("host"), asked.header("x-forwarded-host")), (Some(host), Some(forwarded)));
        assert_eq!((asked.header("x-forwarded-prefix"), asked.header("x_forwarded_prefix")), (None, None));
        // Its path leads to the same tunnel.
        let (asked, _) = tunnel.exchange(&get("localhost:3000", &tunnel.tunnel.at("/a")), "[]").await;
        assert_eq!((&*asked.request.url, asked.header("x-forwarded-prefix")), ("/a", Some("/go/my-app")));
    }
}

#[tokio::test]
async fn case_port_and_one_dot_of_a_host_do_not_matter() {
    let mut tunnel = Named::open(patient()).await;
    for host in
        ["my-app.localhost", "my-app.localhost:1", "my-app.localhost:", "my-app.localhost.", "MY-App.LocalHost.:65535"]
    {
        let (asked, _) = tunnel.exchange(&get(host, "/healthz"), "[]").await;
        assert_eq!((&*asked.request.url, asked.header("host")), ("/healthz", Some(host)));
    }
    for host in ["localhost", "LOCALHOST.:1", "127.0.0.1:3000", "[::1]:3000", "my-app", "my-app.localhost.example", "x"]
    {
        assert_eq!(tunnel.visit(&get(host, "/healthz")).await.text(), "ok\n", "{host}");
    }
    let old = b"GET /healthz HTTP/1.0\r\n\r\n";
    assert_eq!(tunnel.visit(old).await.text(), "ok\n", "HTTP/1.0 without a Host");
}

#[tokio::test]
async fn a_host_that_no_tunnel_has_is_404_and_never_the_servers_own() {
    let server = Server::start(patient()).await;
    let long = "a".repeat(64);
    for label in
        ["unknown", "a.my-app", "www", "localhost", "ab", "", "my_app", "k\u{e4}se", "me@my-app", UNKNOWN, &long]
    {
        let host = format!("{label}.localhost:3000");
        for (method, target, body) in [
            ("GET", "/", ""),
            ("GET", "/new", ""),
            ("POST", "/new", NAMED),
            ("GET", "/socket.io/?EIO=4&transport=polling", ""),
            ("GET", "/healthz", ""),
            ("GET", "/go/x", ""),
        ] {
            let headers = [("Content-Type", "application/json")];
            let answer = visit(server.address, &request_to(&host, method, target, &headers, body.as_bytes())).await;
            assert_eq!((answer.status, answer.code()), (404, Some("token-not-found")), "{host} {method} {target}");
            assert_eq!(
                (answer.error(), answer.header("access-control-allow-origin")),
                ("token not found".into(), None)
            );
        }
    }
    // No tunnel was made.
    assert_eq!(post(server.address, NAMED).await.status, 201);
    let no_end = visit(server.address, &get(HOST, "/")).await;
    assert_eq!((no_end.status, no_end.code()), (502, Some("client-not-connected")));
}

#[tokio::test]
async fn no_end_answers_for_a_certificate_of_its_host() {
    let mut tunnel = Named::open(patient()).await;
    for host in [HOST, "unknown.localhost"] {
        for target in ["/.well-known/acme-challenge/", "/.well-known/acme-challenge/x?y"] {
            let answer = tunnel.visit(&get(host, target)).await;
            assert_eq!((answer.status, answer.code()), (404, Some("not-found")), "{host} {target}");
            assert!(answer.error().contains("/.well-known/acme-challenge/"), "{answer:?}");
        }
    }
    let all = tunnel.visit(&request_to(HOST, "OPTIONS", "*", &[], b"")).await;
    assert_eq!((all.status, all.code()), (404, Some("not-found")), "what an end gets is a path");
    // The end was asked nothing before this, which is no challenge.
    let below = tunnel.tunnel.at("/.well-known/acme-challenge/x");
    let (asked, _) = tunnel.exchange(&get("localhost", &below), "[]").await;
    assert_eq!(asked.request.url, "/.well-known/acme-challenge/x");
}

#[tokio::test]
async fn an_absolute_target_decides_the_host_and_nothing_that_a_proxy_reports() {
    let mut tunnel = Named::open(behind_a_proxy(patient())).await;
    let reported = [("X-Forwarded-Host", HOST), ("Forwarded", "for=192.0.2.1;host=my-app.localhost")];
    for (host, target, is_apps) in [
        ("localhost", "http://my-app.localhost:1/new", true),
        ("relay.example", "http://me:secret@My-App.localhost./new", true),
        (HOST, "http://localhost:3000/healthz", false),
        (HOST, "http://relay.example/healthz", false),
        ("localhost", "/healthz", false),
        ("relay.example", "/healthz", false),
    ] {
        let ask = request_to(host, "GET", target, &reported, b"");
        if is_apps {
            let (asked, answer) = tunnel.exchange(&ask, "[]").await;
            assert_eq!(asked.request.url, "/new", "{host} {target}");
            assert_eq!(answer.header("access-control-allow-origin"), None, "{host} {target}");
        } else {
            assert_eq!(tunnel.visit(&ask).await.text(), "ok\n", "{host} {target}");
        }
    }
    let twice = request_to("localhost", "GET", "/healthz", &[("Host", HOST)], b"");
    assert_eq!(tunnel.visit(&twice).await.code(), Some("invalid-head"));
}

#[tokio::test]
async fn the_host_of_a_token_is_its_uuid() {
    let mut tunnel = Tunnel::patient().await;
    let label = Token::parse(&tunnel.token).unwrap().label().unwrap();
    for host in [format!("{label}.localhost:3000"), format!("{}.localhost", label.to_ascii_uppercase())] {
        let (asked, _) = tunnel.exchange(&get(&host, "/a"), "[]", &[]).await;
        assert_eq!(asked.request.url, "/a", "{host}");
    }
    for label in [tunnel.token.clone(), label.replace('-', "")] {
        let answer = visit(tunnel.server.address, &get(&format!("{label}.localhost"), "/a")).await;
        assert_eq!((answer.status, answer.code()), (404, Some("token-not-found")), "{label}");
    }
    tunnel.still_works().await;
}

fn urls(answer: &Answer) -> [String; 2] {
    let shown: Value = serde_json::from_slice(&answer.body).unwrap();
    ["url", "path_url"].map(|name| shown[name].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn who_makes_a_tunnel_is_told_its_url_at_its_host() {
    for (config, asked, url, base) in [
        (patient(), "localhost:4711", "http://my-app.localhost:4711", "http://localhost:4711"),
        (patient(), "127.0.0.1", "http://my-app.localhost", "http://127.0.0.1"),
        (patient(), "[::1]:3000", "http://my-app.localhost:3000", "http://[::1]:3000"),
        // Who asks from elsewhere does not reach this machine by localhost.
        (patient(), "192.0.2.1:3000", "http://192.0.2.1:3000/go/my-app", "http://192.0.2.1:3000"),
        (patient(), "relay.example", "http://relay.example/go/my-app", "http://relay.example"),
        (at("http://localhost:8080/"), "relay.example", "http://my-app.localhost:8080", "http://localhost:8080"),
        (at("https://127.0.0.1"), "localhost:1", "https://my-app.localhost", "https://127.0.0.1"),
        (at("https://relay.example"), "localhost", "https://relay.example/go/my-app", "https://relay.example"),
        (at("http://localhost/a"), "localhost", "http://localhost/a/go/my-app", "http://localhost/a"),
    ] {
        let server = Server::start(config).await;
        let json = ("Content-Type", "application/json");
        let made = visit(server.address, &request_to(asked, "POST", "/new", &[json], NAMED.as_bytes())).await;
        let expected = [url.to_owned(), format!("{base}/go/my-app")];
        assert_eq!(urls(&made), expected, "{asked}");
        let key = serde_json::from_slice::<Value>(&made.body).unwrap()["key"].as_str().unwrap().to_owned();
        let bearer = format!("Bearer {key}");
        let show = request_to(asked, "GET", "/tunnel/my-app", &[("Authorization", &bearer)], b"");
        assert_eq!(urls(&visit(server.address, &show).await), expected, "{asked}");
    }
    let server = Server::start(patient()).await;
    let json = ("Content-Type", "application/json");
    let made = visit(server.address, &request_to("localhost", "POST", "/new", &[json], b"{}")).await;
    let [url, path_url] = urls(&made);
    let token = Token::parse(path_url.strip_prefix("http://localhost/go/").unwrap()).unwrap();
    assert_eq!(url, format!("http://{}.localhost", token.label().unwrap()));
}

#[tokio::test]
async fn a_server_that_is_reached_by_another_host_or_below_a_path_has_no_hosts_for_tunnels() {
    for public_url in
        ["https://relay.example", "http://192.0.2.1:3000", "http://localhost/tunnels", "http://my.localhost"]
    {
        let mut tunnel = Named::open(at(public_url)).await;
        assert_eq!(tunnel.visit(&get(HOST, "/healthz")).await.text(), "ok\n", "{public_url}");
        let (asked, _) = tunnel.exchange(&get(HOST, &tunnel.tunnel.at("/a")), "[]").await;
        assert!(asked.header("x-forwarded-prefix").unwrap().ends_with("/go/my-app"), "{public_url}");
    }
}

#[tokio::test]
async fn on_its_own_host_an_end_decides_for_its_origin_and_no_further() {
    let mut tunnel = Named::open(patient()).await;
    let protocol = include_str!("../../PROTOCOL.md").to_ascii_lowercase();
    let passing: Vec<_> =
        protocol.lines().filter(|line| line.starts_with('|') && line.ends_with("| passes |")).collect();
    for name in ORIGIN_WIDE {
        let args = format!(r#"[200,"x",{{"{name}":"1","set-cookie":"a=b"}}]"#);
        let (_, answer) = tunnel.exchange(&get(HOST, "/"), &args).await;
        let passes = !WIDER_THAN_ORIGIN.contains(&name);
        assert_eq!((answer.header(name), answer.header("set-cookie")), (passes.then_some("1"), Some("a=b")), "{name}");
        let is_documented = passing.iter().any(|line| line.contains(&format!("`{name}`")));
        assert_eq!(is_documented, passes, "PROTOCOL.md, section 6, about {name}");
        // The origin of its path is everybody's.
        let (_, answer) = tunnel.exchange(&get("localhost", &tunnel.tunnel.at("/")), &args).await;
        assert_eq!(answer.header(name), None, "{name}");
    }
    let (_, answer) = tunnel.exchange(&get(HOST, "/"), r#"[200,"x",{"x-socket2me-error":"1","connection":"x"}]"#).await;
    assert_eq!((answer.code(), answer.header("connection")), (None, Some("close")));
}

#[tokio::test]
async fn requests_at_a_host_count_for_the_rate_limit_and_among_the_tunnels_figures() {
    let config = ServeConfig {
        throttle_interval: Duration::from_secs(3600),
        throttle_interval_max: Some(5),
        throttle_interval_burst_max: Some(5),
        ..patient()
    };
    let mut tunnel = Named::open(config).await;
    // The first request counted was the one that made the tunnel.
    tunnel.exchange(&get(HOST, "/socket.io/"), "[]").await;
    tunnel.exchange(&get(HOST, "/healthz"), "[]").await;
    let figures = tunnel.tunnel.ask(tunnel.server.address, "GET", "").await;
    assert_eq!(serde_json::from_slice::<Value>(&figures.body).unwrap()["figures"]["requests"], 2);
    assert_eq!(tunnel.visit(&get("unknown.localhost", "/healthz")).await.status, 404);
    for host in [HOST, "unknown.localhost"] {
        let answer = tunnel.visit(&get(host, "/healthz")).await;
        assert_eq!((answer.status, answer.code()), (429, Some("throttled")), "{host}");
    }
    assert_eq!(tunnel.visit(&request("GET", "/healthz", &[], b"")).await.status, 200);
}

#[tokio::test]
async fn visitors_of_a_host_wait_for_an_end_that_has_left() {
    let server = Server::start(patient()).await;
    let tunnel = Keyed::make(server.address, r#"{"name":"my-app","hold":60}"#).await;
    let mut end = tunnel.join(server.address).await;
    tunnel.say_leave(&mut end).await;
    let mut visitor = Visitor::connect(server.address).await;
    visitor.send(&get(HOST, "/a")).await;
    let mut next = tunnel.join(server.address).await;
    let asked = next.asked().await;
    assert_eq!((&*asked.request.url, asked.header("x-forwarded-prefix")), ("/a", None));
    next.answer(&asked, r#"["here"]"#, &[]).await;
    assert_eq!(visitor.answer(false).await.text(), "here");
}
