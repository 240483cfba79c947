//! What each path answers (PROTOCOL.md, "HTTP routes" and "Errors").

use std::time::Duration;

use http::StatusCode;
use socket2me::config::{ErrorStatus, ServeConfig};

use super::tunnel::{Server, Tunnel, patient};
use super::visitor::{get, request, visit};
use crate::support::UNKNOWN;
use crate::support::end::Asked;

fn is_token(text: &str) -> bool {
    text.len() == 48 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[tokio::test]
async fn new_gives_a_token_in_the_form_that_is_asked_for() {
    let server = Server::start(patient()).await;
    for (accept, content_type, quoted) in [
        (None, "text/plain; charset=utf-8", false),
        (Some("*/*"), "text/plain; charset=utf-8", false),
        (Some("text/html"), "text/plain; charset=utf-8", false),
        (Some("application/json"), "application/json; charset=utf-8", true),
        (Some("application/json, text/plain, */*"), "application/json; charset=utf-8", true),
        (Some("text/html, Application/JSON;q=0.9"), "application/json; charset=utf-8", true),
    ] {
        let headers: Vec<_> = accept.map(|accept| ("Accept", accept)).into_iter().collect();
        let answer = visit(server.address, &request("GET", "/new", &headers, b"")).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)), "{accept:?}");
        let text = answer.text();
        let token = if quoted { serde_json::from_str(&text).unwrap() } else { text };
        assert!(is_token(&token), "{accept:?}: {token}");
        assert_eq!(get(server.address, &format!("/refresh/{token}")).await.text(), "OK", "{accept:?}");
    }
    assert_ne!(server.token().await, server.token().await);
}

/// An error of the relay itself.
#[derive(Clone, Copy)]
struct OwnError {
    status: u16,
    code: &'static str,
    message: &'static str,
}

const TOKEN_NOT_FOUND: OwnError = OwnError { status: 500, code: "token-not-found", message: "token not found" };
/// A name is that of a keyed tunnel, whose statuses are not the original's.
const NAME_NOT_FOUND: OwnError = OwnError { status: 404, ..TOKEN_NOT_FOUND };
const NOT_CONNECTED: OwnError = OwnError { status: 500, code: "client-not-connected", message: "client not connected" };
const NOT_FOUND: OwnError = OwnError {
    status: 404,
    code: "not-found",
    message: "not found: there are /new, /refresh/TOKEN, /tunnel/TOKEN and /go/TOKEN",
};
const NOT_ALLOWED: OwnError =
    OwnError { status: 405, code: "method-not-allowed", message: "method not allowed: use GET, HEAD" };

#[tokio::test]
async fn the_relays_own_errors_have_a_code_and_a_message() {
    let server = Server::start(patient()).await;
    let token = server.token().await;
    for (method, target, OwnError { status, code, message }) in [
        ("GET", format!("/refresh/{UNKNOWN}"), TOKEN_NOT_FOUND),
        ("GET", "/refresh/Nonsense".to_owned(), TOKEN_NOT_FOUND),
        ("GET", "/refresh/a-name".to_owned(), NAME_NOT_FOUND),
        ("GET", "/refresh/".to_owned(), TOKEN_NOT_FOUND),
        ("GET", format!("/go/{UNKNOWN}"), TOKEN_NOT_FOUND),
        ("POST", format!("/go/{UNKNOWN}/a?b=c"), TOKEN_NOT_FOUND),
        ("GET", "/go/Nonsense".to_owned(), TOKEN_NOT_FOUND),
        ("GET", "/go/a-name".to_owned(), NAME_NOT_FOUND),
        ("GET", format!("/go/{token}x"), TOKEN_NOT_FOUND),
        ("GET", format!("/go/{token}"), NOT_CONNECTED),
        ("BREW", format!("/go/{token}/a"), NOT_CONNECTED),
        ("GET", "/nothing".to_owned(), NOT_FOUND),
        ("POST", "/nothing".to_owned(), NOT_FOUND),
        ("GET", "/go".to_owned(), NOT_FOUND),
        ("GET", "/refresh".to_owned(), NOT_FOUND),
        ("GET", "/new/more".to_owned(), NOT_FOUND),
        ("GET", "/socket.iox".to_owned(), NOT_FOUND),
        ("PUT", "/".to_owned(), NOT_ALLOWED),
    ] {
        let answer = visit(server.address, &request(method, &target, &[], b"")).await;
        assert_eq!((answer.status, answer.code()), (status, Some(code)), "{method} {target}: {answer:?}");
        assert_eq!(answer.error(), message, "{method} {target}");
        assert_eq!(answer.header("allow"), (status == 405).then_some("GET, HEAD"), "{method} {target}");
    }
}

#[tokio::test]
async fn refreshing_a_token_says_ok() {
    let server = Server::start(patient()).await;
    let token = server.token().await;
    for _ in 0..2 {
        let answer = get(server.address, &format!("/refresh/{token}")).await;
        assert_eq!((answer.status, answer.text().as_str(), answer.code()), (200, "OK", None));
    }
}

#[tokio::test]
async fn error_status_standard_is_that_of_other_relays() {
    let config = ServeConfig { error_status: ErrorStatus::Standard, ..patient() };
    let mut tunnel = Tunnel::open(config, "").await;
    let idle = tunnel.server.token().await;
    for (target, status, message) in [
        (format!("/go/{UNKNOWN}"), 404, "token not found"),
        (format!("/refresh/{UNKNOWN}"), 404, "token not found"),
        (format!("/go/{idle}"), 502, "client not connected"),
    ] {
        let answer = get(tunnel.server.address, &target).await;
        assert_eq!((answer.status, answer.error().as_str()), (status, message), "{target}");
    }
    let (mut visitor, _) = tunnel.ask(&request("GET", &tunnel.at("/"), &[], b"")).await;
    tunnel.end.close().await;
    let answer = visitor.answer(false).await;
    assert_eq!((answer.status, answer.code()), (502, Some("client-disconnected")));
}

#[tokio::test]
async fn every_method_is_forwarded() {
    let mut tunnel = Tunnel::patient().await;
    for method in ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "PROPFIND", "BREW", "get"] {
        for rest in ["", "/", "/some/where"] {
            let ask = request(method, &tunnel.at(rest), &[], b"");
            let (asked, answer) = tunnel.exchange(&ask, r#"[207,"tea",{"allow":"BREW"}]"#, &[]).await;
            assert_eq!(asked.request.method, method);
            assert_eq!(answer.status, 207, "{method} {rest}");
            assert_eq!(answer.header("allow"), Some("BREW"), "{method} {rest}");
            assert_eq!(answer.header("x-provided-by"), Some("Socket2Me"), "{method} {rest}");
            assert_eq!(answer.header("content-length"), Some("3"), "{method} {rest}");
            assert_eq!(answer.text(), if method == "HEAD" { "" } else { "tea" }, "{method} {rest}");
            assert_eq!(answer.code(), None, "{method} {rest}");
        }
    }
}

/// A tunnel whose acks count as late after a tenth of a second.
async fn impatient(timeout_status: u16) -> Tunnel {
    let config = ServeConfig {
        response_timeout: Duration::from_millis(100),
        timeout_status: StatusCode::from_u16(timeout_status).unwrap(),
        ..ServeConfig::defaults()
    };
    Tunnel::open(config, "").await
}

/// The server goes on after an ack that came too late.
async fn survives_a_late_ack(tunnel: &mut Tunnel, asked: &Asked) {
    tunnel.end.answer(asked, r#"["late"]"#, &[]).await;
    assert_eq!(get(tunnel.server.address, "/healthz").await.status, 200);
}

#[tokio::test]
async fn an_end_that_never_answers_gives_ok() {
    let mut tunnel = impatient(200).await;
    let (mut visitor, asked) = tunnel.ask(&request("GET", &tunnel.at(""), &[], b"")).await;
    let answer = visitor.answer(false).await;
    assert_eq!((answer.status, answer.code(), answer.text().as_str()), (200, Some("client-timed-out"), "OK"));
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(answer.header("x-provided-by"), Some("Socket2Me"));
    assert_eq!(answer.header("cache-control"), Some("no-store"), "the end may answer the next request");
    survives_a_late_ack(&mut tunnel, &asked).await;
}

#[tokio::test]
async fn an_end_that_never_answers_gives_the_error_that_the_operator_wants() {
    for timeout_status in [504, 503, 599] {
        let mut tunnel = impatient(timeout_status).await;
        let (mut visitor, asked) = tunnel.ask(&request("GET", &tunnel.at(""), &[], b"")).await;
        let answer = visitor.answer(false).await;
        assert_eq!((answer.status, answer.code()), (timeout_status, Some("client-timed-out")));
        assert_eq!(answer.reason, if timeout_status == 599 { "unknown" } else { answer.reason.as_str() });
        assert_eq!(answer.error(), "client did not answer in time");
        survives_a_late_ack(&mut tunnel, &asked).await;
    }
}

#[tokio::test]
async fn an_end_cannot_pass_for_the_relay() {
    let mut tunnel = Tunnel::patient().await;
    let ask = request("GET", &tunnel.at(""), &[], b"");
    let headers =
        r#"{"X-Socket2Me-Error":"throttled","x-socket2me-more":"1","X-Provided-By":"me","X-Request-Id":"mine"}"#;
    let (asked, answer) = tunnel.exchange(&ask, &format!(r#"[500,"x",{headers}]"#), &[]).await;
    assert_eq!((answer.status, answer.code(), answer.header("x-socket2me-more")), (500, None, None));
    assert_eq!(answer.header("x-provided-by"), Some("Socket2Me"));
    assert_eq!(answer.header("x-request-id"), Some(asked.request.id.as_str()));
}

#[tokio::test]
async fn head_makes_no_token_and_shows_no_body() {
    let server = Server::start(patient()).await;
    let token = server.token().await;
    for target in
        ["/new", "/", "/healthz", "/readyz", "/nothing", &format!("/refresh/{token}"), &format!("/go/{token}")]
    {
        // `visit` fails if a body follows the head.
        let as_head = visit(server.address, &request("HEAD", target, &[], b"")).await;
        let as_get = get(server.address, target).await;
        assert_eq!(as_head.status, as_get.status, "{target}");
        assert_eq!(as_head.header("content-type"), as_get.header("content-type"), "{target}");
    }
}

#[tokio::test]
async fn the_start_page_and_the_probes_are_served() {
    let server = Server::start(patient()).await;
    let url = format!("http://{}", server.address);
    let token_line = format!("TOKEN=$(curl -s {url}/new)");
    for (accept, content_type, starts) in [
        ("*/*", "text/plain; charset=utf-8", "Socket2Me"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8", "<!doctype html>"),
    ] {
        let answer = visit(server.address, &request("GET", "/", &[("Accept", accept)], b"")).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)), "{accept}");
        assert!(answer.text().starts_with(starts), "{accept}");
        assert!(answer.text().contains(&token_line), "{accept}: {}", answer.text());
        assert!(answer.text().contains(&format!("{url}/go/$TOKEN")), "{accept}");
    }
    for target in ["/healthz", "/readyz"] {
        let answer = get(server.address, target).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok\n"), "{target}");
    }

    let config = ServeConfig { public_url: Some("https://relay.example/".to_owned()), ..patient() };
    let server = Server::start(config).await;
    let page = get(server.address, "/").await.text();
    assert!(page.contains("curl -s https://relay.example/new"), "{page}");
}

/// A page may be an end, so it must be able to read why it gets no token.
#[tokio::test]
async fn pages_of_any_origin_may_read_all_answers_about_tokens() {
    let mut config = patient();
    config.limits.max_tokens = 1;
    let server = Server::start(config).await;
    let token = server.token().await;
    for (method, target, status, code) in [
        ("GET", "/".to_owned(), 200, None),
        ("GET", format!("/refresh/{token}"), 200, None),
        ("HEAD", "/new".to_owned(), 200, None),
        ("GET", "/new".to_owned(), 503, Some("server-busy")),
        ("PUT", "/new".to_owned(), 405, Some("method-not-allowed")),
        ("GET", format!("/refresh/{UNKNOWN}"), 500, Some("token-not-found")),
        ("GET", "/refresh/x?y".to_owned(), 500, Some("token-not-found")),
        ("DELETE", format!("/refresh/{token}"), 405, Some("method-not-allowed")),
    ] {
        let answer = visit(server.address, &request(method, &target, &[("Origin", "https://app.example")], b"")).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{method} {target}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{method} {target}");
        let exposed = answer.header("access-control-expose-headers");
        assert_eq!(exposed, Some("retry-after, x-socket2me-error"), "{method} {target}");
    }
    // What else there is, pages of other origins cannot read.
    for target in ["/healthz", "/readyz", "/nothing", &format!("/go/{token}")] {
        assert_eq!(get(server.address, target).await.header("access-control-allow-origin"), None, "{target}");
    }
}

#[tokio::test]
async fn pages_may_read_that_they_ask_too_often() {
    let config = ServeConfig { throttle_interval_max: Some(1), throttle_interval_burst_max: Some(1), ..patient() };
    let config = ServeConfig { throttle_interval: Duration::from_secs(120), ..config };
    let server = Server::start(config).await;
    server.token().await;
    let answer = get(server.address, "/new").await;
    assert_eq!((answer.status, answer.code()), (429, Some("throttled")));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn a_browser_that_opens_a_page_is_told_of_errors_on_a_page() {
    let mut tunnel = Tunnel::patient().await;
    let html = ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    let opens = [html, ("Sec-Fetch-Mode", "navigate")];
    for (target, status, code, advice) in [
        (format!("/go/{UNKNOWN}/x"), 500, "token-not-found", "Nobody has this address"),
        ("/nothing".to_owned(), 404, "not-found", "nothing here for a browser"),
    ] {
        for headers in [&opens[..], &opens[..1]] {
            let answer = visit(tunnel.server.address, &request("GET", &target, headers, b"")).await;
            assert_eq!((answer.status, answer.code()), (status, Some(code)), "{answer:?}");
            assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            assert!(answer.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
            let text = answer.text();
            assert!(text.contains(advice) && text.contains(&format!("{status} <code>{code}</code>")), "{text}");
            assert!(!text.contains("http-equiv"), "it stays so");
        }
        for headers in [&[][..], &[("Accept", "*/*")], &[html, ("Sec-Fetch-Mode", "cors")]] {
            let answer = visit(tunnel.server.address, &request("GET", &target, headers, b"")).await;
            assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"), "{headers:?}");
        }
    }
    // What an end says is shown, and runs nothing. The head of the request is long gone by then.
    let ask = request("GET", &tunnel.at("/x"), &opens, b"");
    let (_, answer) = tunnel.exchange(&ask, r#"[200,"x",{"<script>alert(1)</script>":"1"}]"#, &[]).await;
    assert_eq!((answer.status, answer.code()), (502, Some("invalid-answer")));
    assert!(answer.text().contains("<meta http-equiv=\"refresh\" content=\"5\">"), "the app may be mended");
    assert!(answer.text().contains("&lt;script&gt;") && !answer.text().contains("<script>"), "{}", answer.text());
}
