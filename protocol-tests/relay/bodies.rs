//! The body of a request, as the end gets it (PROTOCOL.md, "Bodies").

use socket2me::config::ServeConfig;

use super::tunnel::{Tunnel, patient};
use super::visitor::{Visitor, request, visit};
use crate::support::end::Body;

fn json(text: &str) -> Body {
    Body::Json(text.to_owned())
}

fn buffer(bytes: &[u8]) -> Body {
    Body::Buffer(bytes.to_vec())
}

#[tokio::test]
async fn every_field_of_a_form_arrives_or_the_form_is_413() {
    let mut tunnel = Tunnel::open(ServeConfig { max_body: 1 << 20, ..patient() }, "").await;
    let fields = |count: usize| (0..count).map(|number| format!("f{number}={number}")).collect::<Vec<_>>().join("&");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for count in [1, 1_000, 1_500, 15_000] {
        let ask = request("POST", &tunnel.at(""), &form, fields(count).as_bytes());
        let (asked, _) = tunnel.exchange(&ask, "[]", &[]).await;
        let body = asked.request.body.get();
        assert_eq!(body.matches(':').count(), count);
        assert!(body.ends_with(&format!(r#""f{0}":"{0}"}}"#, count - 1)), "{count}");
    }
    let ask = request("POST", &tunnel.at(""), &form, fields(20_000).as_bytes());
    let answer = visit(tunnel.server.address, &ask).await;
    assert_eq!((answer.status, answer.code()), (413, Some("body-too-large")));
    assert!(answer.error().starts_with("the fields of the form take more than "), "{}", answer.error());
    tunnel.still_works().await;
}

#[tokio::test]
async fn json_and_forms_in_other_character_sets_are_415() {
    let mut tunnel = Tunnel::patient().await;
    for content_type in ["application/json; charset=utf-16", "application/x-www-form-urlencoded; charset=koi8-r"] {
        let ask = request("POST", &tunnel.at(""), &[("content-type", content_type)], b"\"a\"");
        let answer = visit(tunnel.server.address, &ask).await;
        assert_eq!((answer.status, answer.code()), (415, Some("unsupported-charset")), "{content_type}");
        assert!(answer.error().contains("send UTF-8"), "{}", answer.error());
    }
    tunnel.still_works().await;
}

#[tokio::test]
async fn each_content_type_arrives_as_json_text_or_bytes() {
    let mut tunnel = Tunnel::patient().await;
    let untouched = r#"{"b":1.0,"a":1e400,"a":12345678901234567890123,"n":-0,"é":"\u0041\/", "l":[ ]}"#;
    let multipart = b"--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n\0\xff\x80\r\n--x--\r\n";
    let every_byte: Vec<u8> = (0..=255).collect();
    for (content_type, body, expected) in [
        ("application/json", untouched.as_bytes(), json(untouched)),
        ("application/json; charset=utf-8", b"[1,2]", json("[1,2]")),
        ("Application/JSON", b"null", json("null")),
        ("application/json", b"\"text\"", json("\"text\"")),
        ("application/problem+json", b"{}", json("{}")),
        ("application/json", br#"{"_placeholder":true,"num":7}"#, json(r#"{"_placeholder":true,"num":7}"#)),
        (
            "application/x-www-form-urlencoded",
            b"a[b]=c&l=1&l=2&s=%20+",
            json(r#"{"a":{"b":"c"},"l":["1","2"],"s":"  "}"#),
        ),
        ("application/x-www-form-urlencoded", b"\xef\xbb\xbfa=1", json(r#"{"a":"1"}"#)),
        ("application/json;charset=latin1", b"\"caf\xe9\"", json("\"café\"")),
        ("text/plain", b"line\r\n\"quoted\" \\", json(r#""line\r\n\"quoted\" \\""#)),
        ("text/plain; charset=utf-8", "日本 é".as_bytes(), json("\"日本 é\"")),
        ("text/plain", b"caf\xe9", buffer(b"caf\xe9")),
        ("text/plain; charset=iso-8859-1", b"cafe", buffer(b"cafe")),
        ("application/xml", b"<a>1</a>", json("\"<a>1</a>\"")),
        ("text/xml", b"<a/>", json("\"<a/>\"")),
        ("image/svg+xml", b"<svg/>", json("\"<svg/>\"")),
        ("image/png", b"\x89PNG\r\n\x1a\n\0", buffer(b"\x89PNG\r\n\x1a\n\0")),
        ("application/octet-stream", &every_byte, buffer(&every_byte)),
        ("multipart/form-data; boundary=x", multipart, buffer(multipart)),
        ("", b"untyped", buffer(b"untyped")),
        ("application/json", b"", json("{}")),
        ("text/plain", b"", json("{}")),
        ("", b"", json("{}")),
    ] {
        for chunked in [false, true] {
            let mut headers = vec![("content-type", content_type)];
            headers.retain(|(_, value)| !value.is_empty());
            let mut sent = body.to_vec();
            if chunked {
                headers.push(("transfer-encoding", "chunked"));
                sent = chunks(body);
            } else if body.is_empty() && !content_type.is_empty() {
                headers.push(("content-length", "0"));
            }
            let (asked, answer) = tunnel.exchange(&request("POST", &tunnel.at(""), &headers, &sent), "[]", &[]).await;
            assert_eq!(asked.body(), expected, "{content_type} {chunked}");
            assert_eq!(answer.status, 200, "{content_type} {chunked}");
            assert_eq!(asked.header("transfer-encoding"), None, "{content_type} {chunked}");
            let length = asked.header("content-length").map(|length| length.parse().unwrap());
            let announced = chunked || !content_type.is_empty() || !body.is_empty();
            assert_eq!(length, announced.then_some(body.len()), "{content_type} {chunked}");
        }
    }
}

/// Encodes a body in chunks of 3 bytes.
fn chunks(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(3) {
        out.extend(format!("{:x}\r\n", chunk.len()).bytes());
        out.extend(chunk);
        out.extend(b"\r\n");
    }
    out.extend(b"0\r\n\r\n");
    out
}

#[tokio::test]
async fn json_may_be_deep() {
    let mut tunnel = Tunnel::patient().await;
    let deep = ["[".repeat(10_000), "]".repeat(10_000)].concat();
    let ask = request("POST", &tunnel.at(""), &[("content-type", "application/json")], deep.as_bytes());
    let (asked, _) = tunnel.exchange(&ask, "[]", &[]).await;
    assert!(asked.body() == Body::Json(deep), "the end got something else");
}

#[tokio::test]
async fn a_body_comes_with_every_method() {
    let mut tunnel = Tunnel::patient().await;
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "BREW"] {
        let ask = request(method, &tunnel.at(""), &[("content-type", "text/plain")], b"hello");
        let (asked, _) = tunnel.exchange(&ask, "[]", &[]).await;
        assert_eq!(asked.body(), json("\"hello\""), "{method}");
    }
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let mut tunnel = Tunnel::patient().await;
    let large: Vec<u8> = (0..5 << 20).map(|index: u32| index.to_le_bytes()[index as usize % 3]).collect();
    let ask = request("POST", &tunnel.at(""), &[], &large);
    let placeholder = r#"[{"_placeholder":true,"num":0}]"#;
    let (asked, answer) = tunnel.exchange(&ask, placeholder, &[&large]).await;
    assert!(asked.body() == Body::Buffer(large.clone()), "the end got other bytes");
    assert!(answer.body == large, "the visitor got other bytes");
}

#[tokio::test]
async fn json_that_does_not_parse_is_the_visitors_fault() {
    let mut tunnel = Tunnel::patient().await;
    for body in [
        &b"{no json"[..],
        b"{",
        b"[1,]",
        b"{'a':1}",
        b"{\"a\":}",
        b"01",
        b"NaN",
        b"1 2",
        b" ",
        b"\"\xff\"",
        b"\"\n\"",
        b"{\"a\":1}x",
    ] {
        let ask = request("POST", &tunnel.at("/bad"), &[("content-type", "application/json")], body);
        let answer = visit(tunnel.server.address, &ask).await;
        let shown = String::from_utf8_lossy(body);
        assert_eq!((answer.status, answer.code()), (400, Some("invalid-body")), "{shown}");
        assert!(answer.error().contains("JSON"), "{shown}: {}", answer.error());
        assert!(!answer.text().contains(".rs"), "{shown}");
    }
    tunnel.still_works().await;
}

#[tokio::test]
async fn raw_mode_passes_the_exact_bytes() {
    let mut tunnel = Tunnel::open(patient(), r#"{"body":"raw"}"#).await;
    for (content_type, body) in [
        ("application/json", &b" {\"a\" : 1.0}\n"[..]),
        ("application/json", b"{no json"),
        ("application/x-www-form-urlencoded", b"a=1&a=%zz"),
        ("text/plain", b"text"),
        ("image/png", b"\x89PNG"),
        ("text/plain", b""),
    ] {
        let ask = request("POST", &tunnel.at(""), &[("content-type", content_type)], body);
        let (asked, _) = tunnel.exchange(&ask, "[]", &[]).await;
        assert_eq!(asked.body(), buffer(body), "{content_type}");
    }
}

#[tokio::test]
async fn an_end_with_wrong_options_is_refused_with_a_reason() {
    let tunnel = Tunnel::patient().await;
    let token = tunnel.server.token().await;
    for (auth, refused) in [
        (r#"{"body":"stream"}"#, Some("auth.body must be 'raw' or 'parsed'")),
        (r#"{"rawHeaders":1}"#, Some("auth.rawHeaders must be true or false")),
        (r#"{"body":"parsed","rawHeaders":false,"other":[1]}"#, None),
    ] {
        let mut end = crate::support::end::End::open(tunnel.server.address).await;
        assert_eq!(end.join(&token, auth).await.err().as_deref(), refused, "{auth}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let config = ServeConfig { max_body: 10, ..patient() };
    let mut tunnel = Tunnel::open(config, "").await;
    let go = tunnel.at("/large");
    let head = |framing: &str| format!("POST {go} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").into_bytes();
    for (name, sent) in [
        // The body does not arrive at all, or its last chunk does not.
        ("announced", head("Content-Length: 11")),
        ("announced, far too large", head("Content-Length: 99999999999999")),
        ("announced and expecting", head("Content-Length: 11\r\nExpect: 100-continue")),
        ("in chunks", [&head("Transfer-Encoding: chunked")[..], b"a\r\n0123456789\r\n1\r\nx\r\n"].concat()),
        ("in one chunk", [&head("Transfer-Encoding: chunked")[..], b"b\r\n0123456789x\r\n"].concat()),
    ] {
        let mut visitor = Visitor::connect(tunnel.server.address).await;
        visitor.send(&sent).await;
        let answer = visitor.answer(false).await;
        assert_eq!((answer.status, answer.code()), (413, Some("body-too-large")), "{name}");
        assert_eq!(answer.error(), "the body is over the limit of 10 bytes", "{name}");
        assert_eq!(answer.header("connection"), Some("close"), "{name}");
        visitor.finish().await;
    }
    let at_the_limit = request("POST", &tunnel.at(""), &[], b"0123456789");
    let (asked, _) = tunnel.exchange(&at_the_limit, "[]", &[]).await;
    assert_eq!(asked.body(), buffer(b"0123456789"));
    tunnel.still_works().await;
}

#[tokio::test]
async fn a_visitor_that_sends_on_gets_its_413_all_the_same() {
    let config = ServeConfig { max_body: 10, ..patient() };
    let mut tunnel = Tunnel::open(config, "").await;
    let ask = request("POST", &tunnel.at("/large"), &[], &vec![b'x'; 20 << 20]);
    let mut visitor = Visitor::connect(tunnel.server.address).await;
    // The server may end the connection while the visitor sends, but not before the answer has arrived.
    visitor.send_until_refused(&ask).await;
    assert_eq!(visitor.answer(false).await.status, 413);
    tunnel.still_works().await;
}

#[tokio::test]
async fn a_body_that_waits_for_100_continue_is_asked_for() {
    let mut tunnel = Tunnel::patient().await;
    let mut visitor = Visitor::connect(tunnel.server.address).await;
    let head = "Host: a\r\nExpect: 100-continue\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\n";
    visitor.send(format!("POST {} HTTP/1.1\r\n{head}", tunnel.at("")).as_bytes()).await;
    assert_eq!(visitor.answer(false).await.status, 100);
    visitor.send(b"body").await;
    let asked = tunnel.end.asked().await;
    assert_eq!((asked.body(), asked.header("expect")), (json("\"body\""), None));
    tunnel.end.answer(&asked, r#"[201,"done"]"#, &[]).await;
    let answer = visitor.answer(false).await;
    assert_eq!((answer.status, answer.text().as_str()), (201, "done"));
}

#[tokio::test]
async fn a_body_that_does_not_arrive_whole_is_not_forwarded() {
    let mut tunnel = Tunnel::patient().await;
    let whole = request("POST", &tunnel.at("/half"), &[("content-type", "text/plain")], b"0123456789");
    let mut visitor = Visitor::connect(tunnel.server.address).await;
    visitor.send(&whole[..whole.len() - 5]).await;
    drop(visitor);
    tunnel.still_works().await;
}
