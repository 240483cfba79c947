//! Every flag that sets a limit has a figure that says how often the limit was hit. Tests of the limits themselves are in
//! `budgets`, `memory` and `slow`, and look at the figure, too.

use clap::CommandFactory as _;
use socket2me::config::Cli;

use super::figures::watched;
use super::{ack, go, id_of, ms, serves};

/// Flags that set no limit which a peer could hit.
const NO_LIMITS: [&str; 59] = [
    // Where the server is, and what it shows.
    "listen",
    "port",
    "public-url",
    "tunnel-host",
    "trust-proxy",
    "metrics-listen",
    "config",
    "tls-cert",
    "tls-key",
    "http-listen",
    "hsts",
    "hsts-subdomains",
    "acme",
    "acme-agree-tos",
    "acme-email",
    "acme-staging",
    "acme-directory",
    "acme-ca",
    "acme-dns-hook",
    "cluster-listen",
    "advertise",
    "cluster-secret-file",
    "cluster-ca",
    "node-id",
    "access-log",
    "log-query",
    "log",
    "log-format",
    // Where tunnels are, how long they live, and who makes them.
    "store",
    "redis-url",
    "token-ttl",
    "token-grace",
    "create-secret-file",
    "secrets-key-file",
    // Exchanges that fail for these are counted by their code.
    "key-requests",
    "key-bytes",
    "key-window",
    "proxy-protocol",
    "admin",
    "admin-secret-file",
    "require-keys",
    "allow-original",
    // Limits of what an owner may ask for: beyond, `socket2me_failed_requests_total` counts an `invalid-request`.
    "max-ttl",
    "max-timeout",
    "max-hold",
    // Which status, which protocol, which pages.
    "timeout-status",
    "error-status",
    "engine-io",
    "allow-origin",
    "path-html",
    "allow-robots",
    "interstitial",
    // The pace of what the server does. `ping-timeout` and `throttle-interval-max` are the limits.
    "ping-interval",
    "throttle-interval-ms",
    // Nobody reads the figures of a server that has stopped.
    "drain-timeout",
    "help",
    "version",
    "h",
    "V",
];

#[tokio::test]
async fn every_limit_has_a_figure() {
    let (_server, figures) = watched(|_| ()).await;
    let all = figures.all().await;
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    let flags: Vec<_> = serve.get_arguments().filter_map(clap::Arg::get_long).collect();
    for flag in &flags {
        let has_figure = all.contains(&format!("\nsocket2me_limit_hits_total{{limit=\"{flag}\"}} 0\n"));
        assert_ne!(has_figure, NO_LIMITS.contains(flag), "--{flag}");
    }
    let named =
        all.lines().filter_map(|line| line.strip_prefix("socket2me_limit_hits_total{limit=\"")?.split('"').next());
    let unknown: Vec<_> = named.filter(|name| !flags.contains(name)).collect();
    assert_eq!(unknown, Vec::<&str>::new(), "no flag sets these");
}

#[tokio::test]
async fn an_answer_and_a_request_over_their_limits_are_counted_by_the_limit() {
    let (server, figures) = watched(|config| {
        (config.limits.max_response_headers, config.limits.max_response_head) = (3, 2 << 10);
        (config.max_body, config.max_payload) = (100, Some(4 << 10));
        config.response_timeout = ms(300);
    })
    .await;
    let (mut ws, token) = server.joined().await;
    let long = "x".repeat(3 << 10);
    for (answer, limit) in [
        (r#"[200,"",{"a":["1","2","3","4"]}]"#.to_owned(), "max-response-headers"),
        (format!(r#"[200,"",{{"a":"{long}"}}]"#), "max-response-head"),
        (format!(r#"["{long}{long}"]"#), "max-payload"),
    ] {
        let mut visitor = server.send("GET", &go(&token), &[], b"").await;
        let id = id_of(&ws.next_text().await);
        ack(&mut ws, &token, &id, &answer).await;
        assert_eq!(visitor.answer().await.status, 502, "{limit}");
        assert_eq!(figures.hits(limit).await, 1, "{limit}");
    }
    assert_eq!(server.ask("POST", &go(&token), &[], &[b'x'; 101]).await.status, 413);
    assert_eq!(figures.hits("max-body").await, 1);
    let mut visitor = server.send("GET", &go(&token), &[], b"").await;
    visitor.answer().await.is(200, "OK");
    assert_eq!(figures.hits("response-timeout").await, 1);
    let id = id_of(&ws.next_text().await);
    ack(&mut ws, &token, &id, r#"["late"]"#).await;
    serves(&server, &mut ws, &token).await;
    let polling = server.open().await;
    assert_eq!(polling.post(&"4".repeat(5 << 10)).await.status, 413);
    assert_eq!(figures.hits("max-payload").await, 2);
}

#[tokio::test]
async fn a_request_that_is_delayed_is_counted() {
    let (server, figures) = watched(|config| {
        (config.throttle_interval, config.throttle_interval_max) = (ms(500), Some(1));
    })
    .await;
    for _ in 0..2 {
        assert_eq!(server.ask("GET", "/new", &[], b"").await.status, 200);
    }
    assert_eq!(
        (figures.hits("throttle-interval-max").await, figures.hits("throttle-interval-burst-max").await),
        (1, 0)
    );
}

/// How many sessions are open, by transport and revision.
async fn sessions(figures: &super::figures::Figures) -> [u64; 4] {
    let mut counts = [0; 4];
    let kinds = [("polling", 3), ("polling", 4), ("websocket", 3), ("websocket", 4)];
    for (count, (transport, revision)) in counts.iter_mut().zip(kinds) {
        *count = figures.get(&format!(r#"sessions{{transport="{transport}",revision="{revision}"}}"#)).await;
    }
    counts
}

#[tokio::test]
async fn sessions_are_counted_by_transport_and_revision() {
    let (server, figures) = watched(|_| ()).await;
    let (first, third) = (server.open().await, server.open_v3("EIO=3").await);
    let (mut ws, mut ws_v3) = (server.open_ws().await, server.open_ws_v3().await);
    assert_eq!(sessions(&figures).await, [1, 1, 1, 1]);
    let mut upgraded = first.probed().await;
    upgraded.text("5").await;
    upgraded.is_alive().await;
    assert_eq!(sessions(&figures).await, [1, 0, 1, 2]);
    third.post("1:1").await.is(200, "ok");
    ws.text("1").await;
    ws_v3.text("1").await;
    drop((ws, ws_v3, upgraded));
    figures.all_given_back("sessions").await;
    assert_eq!(sessions(&figures).await, [0; 4]);
}
