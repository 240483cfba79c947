//! Bodies of requests: along with the event, or behind it as data.

use serde_json::Value;
use socket2me::config::ServeConfig;

use super::super::tunnel::{Server, patient};
use super::super::visitor::request;
use super::Streaming;
use super::raw_end::{RawEnd, Request};
use crate::support::keyed::Keyed;
use crate::support::pattern::{self, Check};
use crate::support::transfer::Transfer;

/// The largest body that goes along with the event.
const INLINE: usize = 64 << 10;

fn post(target: &str, framing: &str) -> Vec<u8> {
    format!("POST {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{framing}\r\n\r\n").into_bytes()
}

/// Takes a body of the pattern, acknowledges it, and answers.
async fn take(tunnel: &mut Streaming, visitor: Transfer, asked: &Request, length: usize) {
    let mut check = Check::default();
    check.take(&tunnel.end.all_data(asked, length).await);
    assert_eq!(tunnel.end.ended(asked).await, (length as u64, None));
    tunnel.end.ack(asked.ack, r#"["taken"]"#).await;
    answered(visitor, "taken").await;
}

async fn answered(mut visitor: Transfer, text: &str) {
    assert_eq!(visitor.head().await.status, 200);
    visitor.rest().await.is(text);
}

#[tokio::test]
async fn a_body_of_known_length_goes_along_with_the_event_up_to_64_kib() {
    let mut tunnel = Streaming::patient().await;
    for length in [1, 1000, INLINE, INLINE + 1] {
        let body = pattern::bytes(0, length);
        let (visitor, asked) = tunnel.ask(&request("POST", &tunnel.at("/up"), &[], &body)).await;
        assert_eq!(asked.is_streamed(), length > INLINE, "{length}");
        assert_eq!(asked.header("content-length"), Some(&*length.to_string()));
        if asked.is_streamed() {
            assert!(asked.object.get("body").is_none() && asked.attachment.is_none());
            take(&mut tunnel, visitor, &asked, length).await;
        } else {
            assert_eq!(asked.object["body"]["_placeholder"], true);
            assert!(asked.attachment.as_ref().unwrap() == &body);
            tunnel.end.ack(asked.ack, r#"["taken"]"#).await;
            answered(visitor, "taken").await;
        }
        tunnel.end.hears_nothing().await;
    }
}

#[tokio::test]
async fn a_chunked_body_is_streamed_as_it_comes_and_has_no_length() {
    let mut tunnel = Streaming::patient().await;
    let (mut visitor, asked) = tunnel.ask(&post(&tunnel.at("/up"), "Transfer-Encoding: chunked")).await;
    assert!(asked.is_streamed());
    assert_eq!((asked.header("content-length"), asked.header("transfer-encoding")), (None, None));
    let mut offset = 0;
    for part in ["a", "second", "and third"] {
        visitor.send(format!("{:x}\r\n{part}\r\n", part.len()).as_bytes()).await;
        let data = tunnel.end.data(&asked).await;
        assert_eq!((&*data.bytes, data.offset), (part.as_bytes(), offset));
        tunnel.end.ack(data.ack, "[]").await;
        offset += part.len() as u64;
    }
    visitor.send(b"0\r\n\r\n").await;
    assert_eq!(tunnel.end.ended(&asked).await, (offset, None));
    tunnel.end.respond(&asked, 200, "{}").await;
    tunnel.end.finish(&asked, 0).await;
    answered(visitor, "").await;
}

#[tokio::test]
async fn trailers_of_a_request_come_with_its_end() {
    let mut tunnel = Streaming::patient().await;
    let (mut visitor, asked) =
        tunnel.ask(&post(&tunnel.at("/up"), "Transfer-Encoding: chunked\r\nTrailer: x-sum")).await;
    visitor.send(b"2\r\nab\r\n0\r\nX-Sum: 42\r\nContent-Length: 7\r\n\r\n").await;
    assert_eq!(tunnel.end.all_data(&asked, 2).await, b"ab");
    assert_eq!(tunnel.end.ended(&asked).await, (2, Some(serde_json::json!({"x-sum": "42"}))));
    tunnel.end.ack(asked.ack, "[]").await;
    answered(visitor, "OK").await;
}

#[tokio::test]
async fn an_end_that_pulls_gets_no_body_before_it_asks() {
    let mut tunnel = Streaming::open(patient(), r#"{"pull":true}"#).await;
    assert_eq!(tunnel.end.ready["pull"], true);
    let body = pattern::bytes(0, 100_000);
    let (visitor, asked) = tunnel.ask(&request("POST", &tunnel.at("/up"), &[], &body)).await;
    // Another exchange has its body meanwhile.
    let (second, asked_second) = tunnel.ask(&request("POST", &tunnel.at("/up"), &[], &body)).await;
    tunnel.end.say(&format!(r#"["pull","{}"]"#, asked_second.id)).await;
    take(&mut tunnel, second, &asked_second, body.len()).await;
    tunnel.end.hears_nothing().await;
    tunnel.end.say(&format!(r#"["pull","{}"]"#, asked.id)).await;
    // The second changes nothing.
    tunnel.end.say(&format!(r#"["pull","{}"]"#, asked.id)).await;
    take(&mut tunnel, visitor, &asked, body.len()).await;
    tunnel.end.hears_nothing().await;
}

/// A response before `pull` leaves the body of the request where it is; the end has no use for it.
#[tokio::test]
async fn an_end_may_answer_without_pulling() {
    let mut tunnel = Streaming::open(patient(), r#"{"pull":true}"#).await;
    let body = pattern::bytes(0, 100_000);
    let (mut visitor, asked) = tunnel.ask(&request("POST", &tunnel.at("/up"), &[], &body)).await;
    tunnel.end.respond(&asked, 403, "{}").await;
    assert_eq!(visitor.head().await.status, 403);
    tunnel.end.hears_nothing().await;
    tunnel.end.finish(&asked, 0).await;
    visitor.rest().await.is("");
    tunnel.end.hears_nothing().await;
}

#[tokio::test]
async fn a_serial_end_gets_one_event_of_an_exchange_at_a_time() {
    let mut tunnel = Streaming::open(patient(), r#"{"serial":true}"#).await;
    assert_eq!(tunnel.end.ready["serial"], true);
    let body = pattern::bytes(0, 150_000);
    let (visitor, asked) = tunnel.ask(&request("POST", &tunnel.at("/up"), &[], &body)).await;
    let mut check = Check::default();
    while check.bytes < 150_000 {
        let data = tunnel.end.data(&asked).await;
        assert_eq!(data.offset, check.bytes);
        check.take(&data.bytes);
        if check.bytes < 150_000 {
            tunnel.end.hears_nothing().await;
        }
        tunnel.end.ack(data.ack, "[]").await;
    }
    assert_eq!(tunnel.end.ended(&asked).await.0, 150_000);
    tunnel.end.ack(asked.ack, r#"["taken"]"#).await;
    answered(visitor, "taken").await;
}

#[tokio::test]
async fn data_are_no_larger_than_the_chunk_that_the_end_asks_for() {
    let mut tunnel = Streaming::open(patient(), r#"{"chunk":300,"window":100}"#).await;
    assert_eq!((&tunnel.end.ready["chunk"], &tunnel.end.ready["window"]), (&300.into(), &300.into()));
    let body = pattern::bytes(0, 70_000);
    let (visitor, asked) = tunnel.ask(&request("POST", &tunnel.at("/up"), &[], &body)).await;
    let mut check = Check::default();
    while check.bytes < 70_000 {
        let data = tunnel.end.data(&asked).await;
        assert!(data.bytes.len() <= 300 && data.offset == check.bytes);
        check.take(&data.bytes);
        tunnel.end.ack(data.ack, "[]").await;
    }
    assert_eq!(tunnel.end.ended(&asked).await.0, 70_000);
    tunnel.end.ack(asked.ack, r#"["taken"]"#).await;
    answered(visitor, "taken").await;
}

#[tokio::test]
async fn an_end_that_wants_base64_gets_strings() {
    let mut tunnel = Streaming::open(patient(), r#"{"bytes":"base64"}"#).await;
    let (mut visitor, asked) = tunnel.ask(&post(&tunnel.at("/up"), "Transfer-Encoding: chunked")).await;
    visitor.send(b"5\r\nhello\r\n0\r\n\r\n").await;
    let data = tunnel.end.event("data").await;
    assert_eq!((&data.args[1], data.attachment), (&Value::from("aGVsbG8="), None));
    assert_eq!(tunnel.end.ended(&asked).await.0, 5);
    tunnel.end.ack(asked.ack, "[]").await;
    answered(visitor, "OK").await;
}

/// The visitor has sent less than half of its body when the answer comes, and sends the rest before it reads.
#[tokio::test]
async fn an_answer_before_the_body_has_come_arrives_whole_and_the_end_hears_no_more() {
    for answers_by_ack in [true, false] {
        let mut tunnel = Streaming::patient().await;
        let body = pattern::bytes(0, 600_000);
        let head = post(&tunnel.at("/up"), &format!("Content-Length: {}", body.len()));
        let (mut visitor, asked) = tunnel.ask(&head).await;
        visitor.send(&body[..100_000]).await;
        let first = tunnel.end.data(&asked).await;
        if answers_by_ack {
            tunnel.end.ack(asked.ack, r#"[403,"no"]"#).await;
        } else {
            tunnel.end.respond(&asked, 403, "{}").await;
            tunnel.end.send_data(&asked.id, b"no", 0).await;
            tunnel.end.finish(&asked, 2).await;
        }
        assert_eq!(visitor.head().await.status, 403);
        // What was on its way before the end had answered, and the acks of its own data.
        visitor.reads("no").await;
        tunnel.end.forget(&asked).await;
        visitor.send(&body[100_000..]).await;
        visitor.rest().await.is("");
        tunnel.end.ack(first.ack, "[]").await;
        tunnel.end.hears_nothing().await;
        tunnel.still_works().await;
    }
}

#[tokio::test]
async fn the_rest_of_a_long_body_is_not_read_for_ever_once_it_was_answered() {
    let mut tunnel = Streaming::patient().await;
    let (mut visitor, asked) = tunnel.ask(&post(&tunnel.at("/up"), "Content-Length: 1000000000")).await;
    tunnel.end.ack(asked.ack, r#"[403,"no"]"#).await;
    for _ in 0..100 {
        visitor.send_until_refused(&[0; 1 << 20]).await;
    }
    // The connection is over, and the server works.
    assert!(visitor.is_over().await);
    tunnel.end.forget(&asked).await;
    tunnel.still_works().await;
}

#[tokio::test]
async fn a_visitor_that_waits_for_100_is_told_to_continue_when_its_body_is_streamed() {
    let mut tunnel = Streaming::patient().await;
    for framing in ["Content-Length: 70000", "Transfer-Encoding: chunked"] {
        let head = post(&tunnel.at("/up"), &format!("{framing}\r\nExpect: 100-continue"));
        let (mut visitor, asked) = tunnel.ask(&head).await;
        visitor.is_told_to_continue().await;
        let body = pattern::bytes(0, 70_000);
        if framing.starts_with('C') {
            visitor.send(&body).await;
        } else {
            visitor.send(&[b"11170\r\n", &body[..], b"\r\n0\r\n\r\n"].concat()).await;
        }
        take(&mut tunnel, visitor, &asked, 70_000).await;
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_told_to_the_end() {
    let mut tunnel = Streaming::patient().await;
    for framing in ["Content-Length: 70000", "Transfer-Encoding: chunked"] {
        let (mut visitor, asked) = tunnel.ask(&post(&tunnel.at("/up"), framing)).await;
        visitor.send(b"3\r\nabc\r\n").await;
        tunnel.end.data(&asked).await;
        visitor.shut().await;
        tunnel.end.aborted(&asked, "visitor-gone").await;
        tunnel.end.hears_nothing().await;
    }
}

#[tokio::test]
async fn a_body_over_the_limit_of_the_operator_is_refused_at_once_or_cut() {
    let config = ServeConfig { max_stream_body: Some(100_000), ..patient() };
    let mut tunnel = Streaming::open(config, "1").await;
    // Announced: the end does not hear of it.
    let mut visitor = Transfer::connect(tunnel.address).await;
    visitor.send(&post(&tunnel.at("/up"), "Content-Length: 100001")).await;
    let head = visitor.head().await;
    assert_eq!((head.status, head.code()), (413, Some("body-too-large")));
    tunnel.end.hears_nothing().await;
    let (mut visitor, asked) = tunnel.ask(&post(&tunnel.at("/up"), "Content-Length: 100000")).await;
    visitor.send(&pattern::bytes(0, 100_000)).await;
    take(&mut tunnel, visitor, &asked, 100_000).await;
    // In chunks, and no head has come.
    let too_much = [b"186a1\r\n", &pattern::bytes(0, 100_001)[..], b"\r\n0\r\n\r\n"].concat();
    for has_head in [false, true] {
        let (mut visitor, asked) = tunnel.ask(&post(&tunnel.at("/up"), "Transfer-Encoding: chunked")).await;
        if has_head {
            tunnel.end.respond(&asked, 200, "{}").await;
            assert_eq!(visitor.head().await.status, 200);
        }
        visitor.send(&too_much).await;
        tunnel.end.drops(&asked, "too-large").await;
        if has_head {
            visitor.rest().await.is_broken("");
        } else {
            let head = visitor.head().await;
            assert_eq!((head.status, head.code()), (413, Some("body-too-large")));
        }
        tunnel.end.hears_nothing().await;
    }
}

/// The relay reads the body to check its signature, and then the end gets it as it gets any other.
#[tokio::test]
async fn a_body_that_was_signed_reaches_the_end_like_any_other() {
    use base64::Engine as _;
    use hmac::{Hmac, KeyInit as _, Mac as _};

    let server = Server::start(patient()).await;
    let verify = r#"{"timeout":120,"rules":{"verify":{"preset":"shopify","secrets":["hush"]}}}"#;
    let Keyed { token, key } = Keyed::make(server.address, verify).await;
    let end = RawEnd::join(server.address, &token, &format!(r#"{{"stream":1,"key":"{key}"}}"#)).await;
    let mut tunnel = Streaming { address: server.address, token, end, server: Some(server) };
    for (length, is_chunked) in [(0, false), (1000, false), (1000, true), (INLINE + 1, false), (1 << 20, true)] {
        let body = pattern::bytes(0, length);
        let signature = Hmac::<sha2::Sha256>::new_from_slice(b"hush").unwrap().chain_update(&body).finalize();
        let signature = base64::engine::general_purpose::STANDARD.encode(signature.into_bytes());
        let framing = match is_chunked {
            true => "Transfer-Encoding: chunked".to_owned(),
            false => format!("Content-Length: {length}"),
        };
        let head = post(&tunnel.at("/up"), &format!("X-Shopify-Hmac-SHA256: {signature}\r\n{framing}"));
        let (start, end) = if is_chunked { (format!("{length:x}\r\n"), "\r\n0\r\n\r\n") } else { (String::new(), "") };
        let (visitor, asked) = tunnel.ask(&[&head, start.as_bytes(), &body[..], end.as_bytes()].concat()).await;
        assert_eq!(asked.header("x-socket2me-verified"), Some("shopify"));
        assert_eq!(asked.is_streamed(), length > INLINE, "{length}");
        if asked.is_streamed() {
            take(&mut tunnel, visitor, &asked, length).await;
        } else {
            assert!(asked.attachment.as_ref().is_some_and(|attached| attached == &body), "{length}");
            tunnel.end.ack(asked.ack, r#"["taken"]"#).await;
            answered(visitor, "taken").await;
        }
    }
}
