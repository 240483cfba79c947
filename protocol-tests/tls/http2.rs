//! HTTP/2 as curl and h2load speak it.

use std::process::Stdio;

use super::Secure;
use super::ends::answer_as_an_end;
use super::frames::*;
use crate::starting::{answers, program};
use crate::support::within;

/// Makes a tunnel with an end that answers with what it got.
async fn tunnel(secure: &Secure) -> String {
    let made = secure.curl(&["--http2", &secure.url("/new")]).await;
    let token = made.rsplit_once("\r\n").unwrap().1.to_owned();
    answer_as_an_end(secure, &token).await;
    token
}

#[tokio::test]
async fn a_client_gets_http_2_if_it_asks_for_it_by_tls_and_http_1_otherwise() {
    let secure = Secure::start(&[]).await;
    for (flag, line) in [("--http2", "HTTP/2 200"), ("--http1.1", "HTTP/1.1 200 OK"), ("--no-alpn", "HTTP/1.1 200 OK")]
    {
        let answer = secure.curl(&[flag, &secure.url("/healthz")]).await;
        assert!(answer.starts_with(line), "{flag}: {answer}");
        let head = secure.curl(&[flag, "-I", &secure.url("/")]).await;
        assert!(head.to_ascii_lowercase().contains("\r\ncontent-length: "), "{flag}: {head}");
    }
}

#[tokio::test]
async fn there_is_no_http_2_without_tls() {
    let mut secure = Secure::start(&["--http-listen=127.0.0.1:0"]).await;
    let line = secure.server.logged("listening for plain HTTP").await;
    let port = line.rsplit_once("127.0.0.1:").unwrap().1;
    let port: u16 = port.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
    let answer = answers(("127.0.0.1", port), str::from_utf8(PREFACE).unwrap()).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    // The offer of an upgrade is not taken.
    let upgrade = "GET /healthz HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\n";
    let answer = answers(("127.0.0.1", port), upgrade).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn visitors_reach_ends_by_http_2_with_bodies_cookies_and_their_host() {
    let secure = Secure::start(&["--max-body=20MiB", "--max-payload=64MiB"]).await;
    let token = tunnel(&secure).await;
    let url = secure.url(&format!("/go/{token}/"));
    for size in [0, 1, 300 << 10, 12 << 20] {
        secure.authority.scratch.write("body", "x".repeat(size));
        let data = format!("@{}", secure.authority.file("body").display());
        for expect in ["Expect:", "Expect: 100-continue"] {
            let answer = secure
                .curl(&["--http2", "-H", expect, "-H", "Content-Type: text/plain", "--data-binary", &data, &url])
                .await;
            assert!(
                answer.starts_with("HTTP/2 200") && answer.contains(&format!("\"size\":{size}")),
                "{size} {expect}"
            );
            assert!(answer.contains("\"proto\":\"https\"") && answer.contains("\"host\":\"localhost:"), "{answer}");
        }
    }
    // Beyond the limit, while curl still sends.
    secure.authority.scratch.write("body", "x".repeat(30 << 20));
    let data = format!("@{}", secure.authority.file("body").display());
    let answer = secure.curl(&["--http2", "--data-binary", &data, &url]).await;
    assert!(answer.starts_with("HTTP/2 413"), "{answer}");
    // Browsers and h2 libraries send each cookie as a line of its own.
    let mut client = Frames::open(&secure).await;
    let cookies = [header("cookie", "a=1"), header("cookie", "b=2")].concat();
    let block = [request("GET", &format!("/go/{token}/")), cookies].concat();
    client.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).await;
    let answer = client.until("the body", |frame| frame.kind == DATA).await;
    let text = String::from_utf8(answer.payload).unwrap();
    assert!(text.contains(r#""cookie":"a=1; b=2""#) && text.contains(r#""host":"test""#), "{text}");
}

#[tokio::test]
async fn requests_of_one_connection_do_not_wait_for_each_other() {
    let secure = Secure::start(&[]).await;
    let mut client = Frames::open(&secure).await;
    let head = [request("POST", "/new"), header("content-type", "application/json")].concat();
    client.send(&frame(HEADERS, END_HEADERS, 1, &head)).await;
    client.get(3, "/healthz").await;
    client.response(3).await;
    client.send(&frame(DATA, END_STREAM, 1, b"{}")).await;
    client.response(1).await;
}

#[tokio::test]
async fn a_host_that_is_not_the_authority_and_connect_are_refused() {
    let secure = Secure::start(&[]).await;
    let mut client = Frames::open(&secure).await;
    let block = [request("GET", "/healthz"), header("host", "other.example")].concat();
    client.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).await;
    // Entries 12 and 7 of the static table have no 400 of their own: the status is a literal or an index.
    let answer = client.response(1).await;
    assert!(answer.payload[0] == 0x8c, "400 is entry 12: {answer:?}");
    let connect = [header(":method", "CONNECT"), header(":authority", "other.example:80")].concat();
    client.send(&frame(HEADERS, END_STREAM | END_HEADERS, 3, &connect)).await;
    client.response(3).await;
    client.get(5, "/healthz").await;
    assert!(client.response(5).await.payload[0] == 0x88, "200 is entry 8");
}

#[tokio::test]
async fn a_server_that_stops_lets_requests_of_http_2_finish() {
    let secure = Secure::start(&[]).await;
    let mut client = Frames::open(&secure).await;
    client.get(1, "/healthz").await;
    client.response(1).await;
    let Secure { server, authority } = secure;
    let (code, _) = server.stop("-TERM").await;
    assert_eq!((code, client.ends().await), (Some(0), None));
    drop(authority);
}

#[tokio::test]
async fn h2load_has_no_request_that_fails() {
    let secure = Secure::start(&["--throttle-interval-ms=0"]).await;
    let url = secure.url("/healthz");
    let mut h2load = program("h2load", &[], &["-n", "2000", "-c", "10", "-m", "20", &url]);
    let Ok(output) = within("h2load", h2load.stderr(Stdio::inherit()).output()).await else {
        eprintln!("without h2load (Debian's nghttp2-client), nothing is asked in bulk");
        return;
    };
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("2000 succeeded, 0 failed, 0 errored"), "{told}");
}
