//! Every limit of `--help`, set low: what exceeds it gets the right answer and is counted, and is served again when others
//! have left. The limit on memory has a file of its own, `memory`.

use std::time::{Duration, Instant};

use super::figures::watched;
use super::{UNKNOWN, ack, go, ms, narrow, serves, visitor};
use crate::support::wire::{Answer, Peer, Server};

pub(crate) const TOO_MANY_SESSIONS: &str = r#"{"code":4,"message":"Too many sessions, try again later"}"#;

/// The connection gets a whole 503 without a request, and is closed.
async fn is_refused(mut peer: Peer) {
    let answer = peer.answer().await;
    assert_eq!((answer.status, answer.header("x-socket2me-error")), (503, Some("server-busy")));
    assert_eq!((answer.header("retry-after"), answer.header("connection")), (Some("1"), Some("close")));
    assert_eq!(answer.text(), r#"{"Error":"too many connections, try again in a while"}"#);
    assert_eq!(peer.until_end().await, b"");
}

async fn is_served(peer: &mut Peer) {
    peer.send(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").await;
    peer.answer().await.is(200, "ok\n");
}

#[tokio::test]
async fn connections_over_the_limit_are_refused() {
    let (server, figures) = watched(|config| config.limits.max_connections = 3).await;
    let mut held = [server.peer().await, server.peer().await, server.peer().await];
    for peer in &mut held {
        is_served(peer).await;
    }
    assert_eq!(figures.used("connections").await, 3);
    is_refused(server.peer().await).await;
    assert_eq!((figures.hits("max-connections").await, figures.used("connections").await), (1, 3));
    for peer in &mut held {
        is_served(peer).await;
    }
    drop(held);
    figures.all_given_back("connections").await;
    is_served(&mut server.peer().await).await;
}

#[tokio::test]
async fn connections_of_one_address_over_its_limit_are_refused() {
    let (server, figures) = watched(|config| config.limits.max_connections_per_address = Some(2)).await;
    let (mut ws, token) = server.joined().await;
    serves(&server, &mut ws, &token).await;
    figures.until_used("connections", |used| used == 1, "the end alone").await;
    let mut second = server.peer().await;
    is_served(&mut second).await;
    is_refused(server.peer().await).await;
    assert_eq!(figures.hits("max-connections-per-address").await, 1);
    ws.is_alive().await;
    drop((ws, second));
    figures.all_given_back("connections of one address").await;
    is_served(&mut server.peer().await).await;
}

#[tokio::test]
async fn sessions_over_the_limit_are_refused() {
    let (server, figures) = watched(|config| config.limits.max_sessions = 2).await;
    let (polling, mut ws) = (server.open().await, server.open_ws().await);
    assert_eq!(figures.used("sessions").await, 2);
    server.get("EIO=4&transport=polling").await.is(503, TOO_MANY_SESSIONS);
    server.get("EIO=3&transport=polling").await.is(503, TOO_MANY_SESSIONS);
    server.no_ws("EIO=4&transport=websocket").await.is(503, TOO_MANY_SESSIONS);
    assert_eq!(figures.hits("max-sessions").await, 3);
    ws.is_alive().await;
    polling.is_alive().await;
    polling.post("1").await.is(200, "ok");
    polling.poll().await.is(200, "6");
    figures.until_used("sessions", |used| used == 1, "one has left").await;
    server.open_ws().await.is_alive().await;
    drop(ws);
    figures.all_given_back("sessions").await;
}

#[tokio::test]
async fn sessions_of_one_address_over_its_limit_are_refused() {
    let (server, figures) = watched(|config| {
        config.limits.max_sessions_per_address = Some(1);
        config.trust_proxy = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let target = "/socket.io/?EIO=4&transport=polling";
    for (address, status) in [
        ("192.0.2.1", 200),
        ("192.0.2.1", 503),
        ("::ffff:192.0.2.1", 503),
        ("192.0.2.2, 192.0.2.1", 503),
        ("192.0.2.2", 200),
        ("2001:db8::1", 200),
        ("2001:db8::2", 503),
        // Visitors whom the proxy does not name share its address.
        ("", 200),
        ("", 503),
    ] {
        let answer = server.ask("GET", target, &[("X-Forwarded-For", address)], b"").await;
        assert_eq!(answer.status, status, "{address}");
    }
    // The proxy itself is not limited.
    for _ in 0..2 {
        assert_eq!(server.ask("GET", target, &[], b"").await.status, 200);
    }
    assert_eq!((figures.hits("max-sessions-per-address").await, figures.used("sessions").await), (5, 6));
}

#[tokio::test]
async fn no_token_is_made_over_the_limit_until_one_expires() {
    let (server, figures) = watched(|config| {
        config.limits.max_tokens = 2;
        (config.token_ttl, config.token_grace) = (ms(500), Some(ms(0)));
    })
    .await;
    let begun = Instant::now();
    let _ = (server.token().await, server.token().await);
    let answer = server.ask("GET", "/new", &[], b"").await;
    assert_eq!((answer.status, answer.header("x-socket2me-error")), (503, Some("server-busy")));
    assert_eq!((answer.header("retry-after"), figures.get("tokens").await), (Some("1"), 2));
    assert_eq!(figures.hits("max-tokens").await, 1);
    while server.ask("GET", "/new", &[], b"").await.status != 200 {
        assert!(begun.elapsed() < ms(10_000), "no token expires");
    }
}

/// Asks a server behind a proxy for a token, as this visitor.
async fn new_token(server: &Server, visitor: &str) -> Answer {
    server.ask("GET", "/new", &[("X-Forwarded-For", visitor)], b"").await
}

#[tokio::test]
async fn no_token_is_made_for_an_address_over_its_limit_until_one_expires() {
    let (server, figures) = watched(|config| {
        config.limits.max_tunnels_per_address = Some(2);
        config.trust_proxy = vec!["127.0.0.0/8".parse().unwrap()];
        (config.token_ttl, config.token_grace) = (ms(2_000), Some(ms(0)));
    })
    .await;
    let begun = Instant::now();
    let mut refreshed = Vec::new();
    for visitor in ["192.0.2.1", "192.0.2.2", "2001:db8::1", "192.0.2.1", "2001:db8::2"] {
        let answer = new_token(&server, visitor).await;
        assert_eq!(answer.status, 200, "{visitor}");
        refreshed.push(answer.text());
    }
    for visitor in ["192.0.2.1", "2001:db8::3"] {
        let answer = new_token(&server, visitor).await;
        assert_eq!((answer.status, answer.header("x-socket2me-error")), (429, Some("too-many-tunnels")), "{visitor}");
        assert!(answer.text().contains("too many tunnels of this address, 2 of 2"), "{}", answer.text());
    }
    assert_eq!((figures.hits("max-tunnels-per-address").await, figures.get("tokens").await), (2, 5));
    // The proxy itself makes as many as it likes.
    for _ in 0..5 {
        server.token().await;
    }
    // A refresh keeps a token and its place.
    assert_eq!(server.ask("GET", &format!("/refresh/{}", refreshed[0]), &[], b"").await.status, 200);
    while new_token(&server, "192.0.2.1").await.status != 200 {
        assert!(begun.elapsed() < ms(20_000), "no token expires");
    }
}

#[tokio::test]
async fn a_limit_of_zero_for_one_address_is_no_limit() {
    let (server, figures) = watched(|config| {
        config.limits.max_tunnels_per_address = Some(0);
        config.limits.max_connections_per_address = Some(0);
        config.limits.max_sessions_per_address = Some(0);
        config.limits.max_uploads_per_address = Some(0);
        (config.throttle_interval_max, config.throttle_interval_burst_max) = (Some(0), Some(0));
    })
    .await;
    let (mut ws, token) = server.joined().await;
    serves(&server, &mut ws, &token).await;
    for limit in ["max-tunnels", "max-connections", "max-sessions", "max-uploads"] {
        assert_eq!(figures.hits(&format!("{limit}-per-address")).await, 0, "{limit}");
    }
    assert_eq!(figures.hits("throttle-interval-burst-max").await, 0);
}

#[tokio::test]
async fn exchanges_over_the_limit_of_a_tunnel_or_of_the_server_are_503() {
    let (server, figures) = watched(|config| {
        (config.limits.max_exchanges, config.limits.max_exchanges_per_tunnel) = (3, 2);
    })
    .await;
    let ((mut one, first), (mut other, second)) = (server.joined().await, server.joined().await);
    let mut waiting = vec![visitor(&server, &mut one, &first).await, visitor(&server, &mut one, &first).await];
    let refused = |answer: Answer, code| {
        assert_eq!((answer.status, answer.header("x-socket2me-error")), (503, Some(code)));
        assert_eq!(answer.header("retry-after"), Some("1"));
    };
    refused(server.ask("GET", &go(&first), &[], b"").await, "overloaded");
    let (mut third, id) = visitor(&server, &mut other, &second).await;
    refused(server.ask("GET", &go(&second), &[], b"").await, "server-busy");
    assert_eq!(figures.used("exchanges").await, 3);
    assert_eq!((figures.outcomes("overloaded").await, figures.outcomes("server-busy").await), (1, 1));
    assert_eq!((figures.hits("max-exchanges").await, figures.hits("max-exchanges-per-tunnel").await), (1, 1));
    // One visitor hangs up, one is answered, and one loses its end.
    drop(waiting.pop());
    figures.until_used("exchanges", |used| used == 2, "a visitor hung up").await;
    ack(&mut other, &second, &id, r#"["x"]"#).await;
    third.answer().await.is(200, "x");
    drop(one);
    assert_eq!(waiting[0].0.answer().await.status, 500);
    figures.until_used("exchanges", |used| used == 0, "an end left").await;
    serves(&server, &mut other, &second).await;
    assert_eq!((figures.outcomes("visitor-left").await, figures.outcomes("client-disconnected").await), (1, 1));
    assert_eq!((figures.outcomes("answered").await, figures.get("exchanges_begun_total").await), (2, 6));
}

#[tokio::test]
async fn a_namespace_over_the_limit_is_refused_until_another_is_left() {
    const REFUSAL: &str = "too many namespaces on one connection: connect with forceNew";
    let (server, figures) = watched(|config| config.limits.max_namespaces = 2).await;
    let (mut ws, first) = server.joined().await;
    let (second, third) = (server.token().await, server.token().await);
    ws.join(&second).await;
    ws.text(&format!("40/{third},")).await;
    ws.expect(&format!(r#"44/{third},{{"message":"{REFUSAL}"}}"#)).await;
    assert_eq!(figures.hits("max-namespaces").await, 1);
    ws.text(&format!("41/{first},")).await;
    ws.join(&third).await;
    serves(&server, &mut ws, &third).await;
}

#[tokio::test]
async fn what_an_end_sends_with_its_join_is_limited() {
    let (server, figures) = watched(|config| config.limits.max_auth = 100).await;
    let (mut ws, _) = server.joined().await;
    let token = server.token().await;
    let auth = |length: usize| format!(r#"{{"x":"{}"}}"#, "y".repeat(length - r#"{"x":""}"#.len()));
    ws.text(&format!("40/{token},{}", auth(101))).await;
    ws.expect(&format!(r#"44/{token},{{"message":"auth is over the limit of 100 bytes"}}"#)).await;
    ws.text(&format!("40/{token},{}", auth(100))).await;
    assert!(ws.next_text().await.starts_with(&format!(r#"40/{token},{{"sid""#)));
    serves(&server, &mut ws, &token).await;

    let (mut ws, _) = server.joined_v3().await;
    let token = server.token().await;
    ws.text(&format!("40/{token}?x={},", "y".repeat(99))).await;
    ws.expect(&format!(r#"44/{token},"the query of the namespace is over the limit of 100 bytes""#)).await;
    ws.text(&format!("40/{token}?x={},", "y".repeat(98))).await;
    ws.expect(&format!("40/{token},")).await;
    serves(&server, &mut ws, &token).await;
    assert_eq!(figures.hits("max-auth").await, 2);
}

/// A client of revision 3 is always in the default namespace, so it could otherwise join no token with a limit of one.
#[tokio::test]
async fn the_default_namespace_of_revision_3_is_not_counted() {
    let server = Server::with(|config| config.limits.max_namespaces = 1).await;
    let (mut ws, token) = server.joined_v3().await;
    serves(&server, &mut ws, &token).await;
}

#[tokio::test]
async fn cve_2026_33151_more_attachments_than_the_limit_close_the_session() {
    let (server, figures) = watched(|config| config.limits.max_attachments = 2).await;
    for (count, fits) in [(1, true), (2, true), (3, false), (10, false), (99, false)] {
        let (mut ws, token) = server.joined().await;
        ws.text(&format!(r#"45{count}-/{token},["a"]"#)).await;
        if fits {
            for _ in 0..count {
                ws.binary(b"x").await;
            }
            serves(&server, &mut ws, &token).await;
        } else {
            ws.closes(None, &format!("{count} attachments")).await;
        }
    }
    assert_eq!(figures.hits("max-attachments").await, 3);
}

const PARSE_ERRORS: &str = r#"sessions_ended_total{reason="parse-error"}"#;

#[tokio::test]
async fn json_too_deep_in_a_packet_with_attachments_closes_the_session() {
    let (server, figures) = watched(|config| config.limits.max_depth = 8).await;
    for (depth, fits) in [(1, true), (7, true), (8, false), (5_000, false)] {
        let (mut ws, token) = server.joined().await;
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        ws.text(&format!(r#"451-/{token},["a",{open}{{"_placeholder":true,"num":0}}{close}]"#)).await;
        ws.binary(b"x").await;
        if fits {
            serves(&server, &mut ws, &token).await;
        } else {
            ws.closes(None, &format!("{depth} levels")).await;
        }
    }
    assert_eq!((figures.get(PARSE_ERRORS).await, figures.hits("max-depth").await), (2, 2));
}

#[tokio::test]
async fn too_many_packets_in_a_polling_body_close_the_session() {
    let (server, figures) = watched(|config| config.limits.max_packets = 3).await;
    let polling = server.open().await;
    polling.post("3\x1e3\x1e3").await.is(200, "ok");
    polling.is_alive().await;
    assert_eq!(polling.post("3\x1e3\x1e3\x1e3").await.status, 400);
    polling.is_gone().await;
    assert_eq!((figures.get(PARSE_ERRORS).await, figures.hits("max-packets").await), (1, 1));
}

#[tokio::test]
async fn heads_over_their_limits_are_431() {
    for (max_headers, count, status) in [(10, 9, 200), (10, 10, 431), (300, 299, 200), (300, 300, 431)] {
        let (server, figures) = watched(|config| config.limits.max_headers = max_headers).await;
        let headers = vec![("X-A", "1"); count];
        assert_eq!(server.ask("GET", "/healthz", &headers, b"").await.status, status, "{count} of {max_headers}");
        figures.all_given_back("a head").await;
        let hits = (figures.hits("max-headers").await, figures.hits("max-head").await);
        assert_eq!(hits, (u64::from(status == 431), 0), "{count} of {max_headers}");
    }
    for (max_head, length, status) in [(8 << 10, 7 << 10, 200), (8 << 10, 40 << 10, 431), (1 << 20, 900 << 10, 200)] {
        let (server, figures) = watched(|config| config.limits.max_head = max_head).await;
        let answer = server.ask("GET", "/healthz", &[("X-A", &"x".repeat(length))], b"").await;
        assert_eq!(answer.status, status, "{length} of {max_head}");
        let hits = (figures.hits("max-headers").await, figures.hits("max-head").await);
        assert_eq!(hits, (0, u64::from(status == 431)), "{length} of {max_head}");
    }
}

#[tokio::test]
async fn requests_of_one_address_over_the_rate_limit_are_counted_and_are_no_exchanges() {
    let (server, figures) = watched(|config| {
        config.throttle_interval = Duration::from_secs(3600);
        config.throttle_interval_burst_max = Some(1);
    })
    .await;
    for (status, code, refused) in [(500, "token-not-found", 0), (429, "throttled", 1)] {
        let answer = server.ask("GET", &go(UNKNOWN), &[], b"").await;
        assert_eq!((answer.status, answer.header("x-socket2me-error")), (status, Some(code)));
        assert_eq!(answer.header("x-request-id").is_some(), refused == 0, "{code}");
        assert_eq!(figures.hits("throttle-interval-burst-max").await, refused, "{code}");
    }
    assert_eq!((figures.outcomes("token-not-found").await, figures.get("exchanges_begun_total").await), (1, 1));
    let all = figures.all().await;
    for code in ["throttled", "head-too-large", "not-found", "method-not-allowed"] {
        assert!(!all.contains(&format!("outcome=\"{code}\"")), "{code} would always be 0");
    }
}

#[tokio::test]
async fn visitors_that_send_no_body_do_not_shut_a_tunnel() {
    let (server, figures) = watched(|config| {
        config.limits.max_exchanges_per_tunnel = 1;
        (config.limits.max_uploads, config.limits.max_uploads_per_address) = (3, Some(2));
        config.trust_proxy = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let (mut ws, token) = server.joined().await;
    let silent = |address: &'static str| {
        let (server, token) = (&server, &token);
        async move {
            let mut peer = server.peer().await;
            let head = format!(
                "POST {} HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: {address}\r\nContent-Length: 10\r\n\r\n",
                go(token)
            );
            peer.send(head.as_bytes()).await;
            peer
        }
    };
    let mut held = vec![silent("192.0.2.1").await, silent("192.0.2.1").await];
    figures.until_used("uploads", |used| used == 2, "two bodies are arriving").await;
    let answer = silent("192.0.2.1").await.answer().await;
    assert_eq!((answer.status, answer.header("x-socket2me-error")), (429, Some("too-many-uploads")));
    assert_eq!((answer.header("retry-after"), answer.header("connection")), (Some("1"), Some("close")));
    held.push(silent("192.0.2.2").await);
    figures.until_used("uploads", |used| used == 3, "three bodies are arriving").await;
    let answer = silent("192.0.2.3").await.answer().await;
    assert_eq!((answer.status, answer.header("x-socket2me-error")), (503, Some("server-busy")));
    assert_eq!((figures.hits("max-uploads").await, figures.hits("max-uploads-per-address").await), (1, 1));
    // The tunnel's only place is free, and a body that comes with its head waits for nothing.
    serves(&server, &mut ws, &token).await;
    let whole = [("X-Forwarded-For", "192.0.2.1"), ("Content-Type", "text/plain")];
    let mut visitor = server.send("POST", &go(&token), &whole, b"whole").await;
    let id = super::id_of(&ws.next_text().await);
    ack(&mut ws, &token, &id, r#"["served"]"#).await;
    visitor.answer().await.is(200, "served");
    drop(held);
    figures.until_used("uploads", |used| used == 0, "the visitors have left").await;
}

#[tokio::test]
async fn an_exchange_has_its_place_until_its_response_is_read() {
    let (server, figures) = watched(|config| config.limits.max_exchanges_per_tunnel = 1).await;
    let (mut ws, token) = server.joined().await;
    let mut visitor = narrow(&server).await;
    visitor.send(format!("GET {} HTTP/1.1\r\nHost: test\r\n\r\n", go(&token)).as_bytes()).await;
    let id = super::id_of(&ws.next_text().await);
    ack(&mut ws, &token, &id, &format!(r#"["{}"]"#, "x".repeat(8 << 20))).await;
    assert_eq!(visitor.head().await.status, 200);
    assert_eq!((figures.used("exchanges").await, figures.outcomes("answered").await), (1, 0));
    let answer = server.ask("GET", &go(&token), &[], b"").await;
    assert_eq!((answer.status, answer.header("x-socket2me-error")), (503, Some("overloaded")));
    visitor.exactly(8 << 20).await;
    figures.until_used("exchanges", |used| used == 0, "the response is read").await;
    assert_eq!(figures.outcomes("answered").await, 1);
    serves(&server, &mut ws, &token).await;
}
