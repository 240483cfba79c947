//! The rate limit, a full mailbox, and answers that are too large.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use socket2me::config::ServeConfig;

use super::tunnel::{Server, Tunnel, patient};
use super::visitor::{Answer, get, request, visit};
use crate::support::end::End;
use crate::support::keyed::Keyed;
use crate::support::within;

#[tokio::test]
async fn requests_over_the_burst_are_429() {
    let config = ServeConfig {
        // The window does not end while the test runs.
        throttle_interval: Duration::from_secs(3600),
        throttle_interval_max: Some(4),
        throttle_interval_burst_max: Some(4),
        ..patient()
    };
    let mut tunnel = Tunnel::open(config, "").await;
    // The first request counted was the one for the tunnel's token.
    tunnel.still_works().await;
    assert_eq!(get(tunnel.server.address, &format!("/refresh/{}", tunnel.token)).await.status, 200);
    assert_eq!(get(tunnel.server.address, "/nothing").await.status, 404);
    for target in ["/new", "/", "/nothing", &tunnel.at("/x"), &format!("/refresh/{}", tunnel.token)] {
        let answer = get(tunnel.server.address, target).await;
        assert_eq!((answer.status, answer.code()), (429, Some("throttled")), "{target}");
        assert_eq!(answer.error(), "too many requests from this address, slow down", "{target}");
        assert_eq!(answer.header("retry-after"), Some("1"), "{target}");
    }
    // Neither probes nor the connections of ends are counted.
    for target in ["/healthz", "/readyz"] {
        assert_eq!(get(tunnel.server.address, target).await.status, 200);
    }
    drop(End::connect(tunnel.server.address, &tunnel.token).await);
}

/// A server behind a trusted proxy that answers one request of each address.
async fn behind_a_proxy() -> Server {
    let config = ServeConfig {
        throttle_interval: Duration::from_secs(3600),
        throttle_interval_max: Some(1),
        throttle_interval_burst_max: Some(1),
        trust_proxy: vec!["127.0.0.0/8".parse().unwrap()],
        ..patient()
    };
    Server::start(config).await
}

#[tokio::test]
async fn visitors_whose_address_cannot_be_read_share_the_limit_of_their_proxy() {
    for unreadable in [
        &b"X-Forwarded-For: 192.0.2.1,"[..],
        b"X-Forwarded-For:",
        b"X-Forwarded-For: 192.0.2.1, , ",
        b"X-Forwarded-For: \xe9",
        b"X-Forwarded-For: unknown",
        b"Forwarded: for=_hidden",
        b"Forwarded: by=192.0.2.1",
        b"X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.2",
    ] {
        let server = behind_a_proxy().await;
        let ask = [b"GET /new HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", unreadable, b"\r\n\r\n"].concat();
        let statuses = [visit(server.address, &ask).await.status, visit(server.address, &ask).await.status];
        assert_eq!(statuses, [200, 429], "{}", unreadable.escape_ascii());
    }
}

#[tokio::test]
async fn visitors_are_counted_by_the_address_that_their_proxy_writes_in_any_form() {
    let server = behind_a_proxy().await;
    for (line, status) in [
        (&b"X-Forwarded-For: \xe9, 192.0.2.1"[..], 200),
        (b"X-Forwarded-For: 192.0.2.1:4711", 429),
        (b"Forwarded: for=\"192.0.2.1:4712\";proto=https", 429),
        (b"X-Forwarded-For: \xe9\r\nX-Forwarded-For: 192.0.2.2", 200),
        (b"Forwarded: for=192.0.2.9, for=192.0.2.2", 429),
        (b"X-Forwarded-For: [2001:db8::1]:4711", 200),
        (b"X-Forwarded-For: 2001:db8::2", 429),
    ] {
        let ask = [b"GET /new HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", line, b"\r\n\r\n"].concat();
        assert_eq!(visit(server.address, &ask).await.status, status, "{}", line.escape_ascii());
    }
}

#[tokio::test]
async fn visitors_behind_a_trusted_proxy_are_counted_by_their_own_address() {
    let server = behind_a_proxy().await;
    for (visitor, status) in [("192.0.2.1", 200), ("192.0.2.1", 429), ("192.0.2.2", 200), ("192.0.2.2", 429)] {
        let answer = visit(server.address, &request("GET", "/new", &[("X-Forwarded-For", visitor)], b"")).await;
        assert_eq!(answer.status, status, "{visitor}");
    }
}

#[tokio::test]
async fn requests_over_the_limit_wait_for_the_next_window() {
    let config = ServeConfig {
        throttle_interval: Duration::from_millis(300),
        throttle_interval_max: Some(1),
        throttle_interval_burst_max: Some(100),
        ..patient()
    };
    let server = Server::start(config).await;
    let begun = Instant::now();
    // Each window serves one request and delays one to its end, so four requests take a whole window.
    for _ in 0..4 {
        assert_eq!(get(server.address, "/new").await.status, 200);
    }
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn this_machine_is_not_limited_by_default() {
    let server = Server::start(patient()).await;
    for _ in 0..500 {
        assert_eq!(get(server.address, "/nothing").await.status, 404);
    }
}

#[tokio::test]
async fn too_much_for_an_end_that_does_not_read_is_503_for_the_rest() {
    is_503_for_the_rest(ServeConfig { max_waiting_commands: 1, ..patient() }).await;
    is_503_for_the_rest(ServeConfig { max_payload: Some(2 << 20), ..patient() }).await;
}

/// More is sent than may wait for the session's task, or for its end to read.
async fn is_503_for_the_rest(config: ServeConfig) {
    const BODY: usize = 1 << 20;
    const VISITORS: usize = 25;
    let config = ServeConfig { max_body: BODY, ..config };
    let server = Server::start(config).await;
    // Nothing is sent again: the end lives.
    let tunnel = Keyed::make(server.address, r#"{"timeout":120,"repeat":"idempotent"}"#).await;
    let mut end = tunnel.join(server.address).await;
    // A text body makes each request one message, so that `select!` may drop `asked` without losing half a request.
    let ask = request("PUT", &tunnel.at(""), &[("content-type", "text/plain")], &vec![b'x'; BODY]);
    let mut visits: FuturesUnordered<_> = (0..VISITORS).map(|_| visit(server.address, &ask)).collect();
    let overloaded = |answer: &Answer| {
        assert_eq!((answer.status, answer.code()), (503, Some("overloaded")));
        assert_eq!(answer.header("retry-after"), Some("1"));
    };
    // The end has answered nothing yet, so the first answer is a refusal.
    overloaded(&within("a refusal", visits.next()).await.unwrap());
    let mut served = 0;
    while !visits.is_empty() {
        tokio::select! {
            answer = visits.next() => {
                let answer = answer.unwrap();
                if answer.status == 200 { served += 1 } else { overloaded(&answer) }
            }
            asked = end.asked() => end.answer(&asked, r#"["read"]"#, &[]).await,
        }
    }
    assert!(served > 0, "requests that were there before are served");
    Tunnel { server, token: tunnel.token, end }.still_works().await;
}

#[tokio::test]
async fn an_answer_over_the_limit_costs_its_exchange_alone() {
    let config = ServeConfig { max_payload: Some(1_000), ..patient() };
    let mut tunnel = Tunnel::open(config, "").await;
    let ask = request("GET", &tunnel.at(""), &[], b"");
    let large = vec![b'x'; 1_500];
    let text = format!("[{:?}]", String::from_utf8_lossy(&large));
    let placeholder = r#"[{"_placeholder":true,"num":0}]"#;
    for (args, attachments) in [(text.as_str(), &[][..]), (placeholder, &[large.as_slice()])] {
        let (_, answer) = tunnel.exchange(&ask, args, attachments).await;
        assert_eq!((answer.status, answer.code()), (502, Some("answer-too-large")), "{args}");
        assert_eq!(answer.error(), "the client's answer is over the limit of the server", "{args}");
        tunnel.still_works().await;
    }
}

#[tokio::test]
async fn by_default_an_answer_of_the_largest_body_fits() {
    let config = ServeConfig { max_body: 100_000, ..patient() };
    let mut tunnel = Tunnel::open(config, "").await;
    let ask = request("GET", &tunnel.at(""), &[], b"");
    let body = vec![0xa5; 100_000];
    let (_, answer) = tunnel.exchange(&ask, r#"[200,{"_placeholder":true,"num":0}]"#, &[&body]).await;
    assert!(answer.status == 200 && answer.body == body, "{}", answer.status);
}
