//! What comes back from an app: whole, by and by, broken off, or not at all.

use std::time::Duration;

use super::Forwarded;
use super::app::App;
use crate::relay::visitor::visit;
use crate::support::transfer::Transfer;
use crate::support::{ms, pattern};

#[tokio::test]
async fn a_request_reaches_the_app_and_its_answer_the_visitor() {
    let mut tunnel = Forwarded::start().await;
    let request = tunnel.request("POST", "/a//b%2F?q=%20", &[("content-type", "text/plain")], b"hello");
    let response = "HTTP/1.1 201 Created\r\nContent-Type: text/html\r\nContent-Length: 2\r\nX-A: 1\r\nX-A: 2\r\n\r\nhi";
    let (mut asked, answer) = tunnel.exchange(&request, response).await;
    assert_eq!(asked.line(), "POST /a//b%2F?q=%20 HTTP/1.1");
    assert_eq!((asked.header("content-length"), asked.header("content-type")), (Some("5"), Some("text/plain")));
    assert_eq!(asked.exactly(5).await, b"hello");
    assert_eq!((answer.status, answer.text().as_str(), answer.all("x-a")), (201, "hi", vec!["1", "2"]));
    let served = tunnel.forward.served().await;
    assert_eq!((&*served.method, served.target.as_str()), ("POST", "/a//b%2F?q=%20"));
    assert_eq!((served.status, served.bytes, served.error), (Some(201), 2, None));
    tunnel.forward.stop().await;
}

#[tokio::test]
async fn an_answer_without_a_type_gets_none() {
    let tunnel = Forwarded::start().await;
    let request = tunnel.request("GET", "/", &[], b"");
    let answering = async {
        tunnel.app.asked().await.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    };
    let visiting = async {
        let mut visitor = Transfer::connect(tunnel.server.address).await;
        visitor.send(&request).await;
        let head = visitor.head().await;
        assert_eq!((head.header("content-type"), head.header("content-length")), (None, Some("2")));
        visitor.rest().await.is("hi");
    };
    tokio::join!(answering, visiting);
}

#[tokio::test]
async fn heads_alone_keep_what_they_say_of_a_body() {
    let tunnel = Forwarded::start().await;
    for (method, response, status, length) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 12345\r\n\r\n", 200, Some("12345")),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", 304, None),
        ("DELETE", "HTTP/1.1 204 No Content\r\n\r\n", 204, None),
    ] {
        let request = tunnel.request(method, "/", &[], b"");
        // No connection is kept, so that each request has one of its own.
        let response = response.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        let (asked, answer) = tunnel.exchange(&request, &response).await;
        assert_eq!(asked.line(), format!("{method} / HTTP/1.1"));
        assert_eq!((answer.status, answer.header("content-length")), (status, length));
        assert_eq!(answer.header("connection"), Some("close"), "of the visitor's own connection");
    }
}

#[tokio::test]
async fn each_part_of_an_answer_reaches_the_visitor_at_once() {
    let tunnel = Forwarded::start().await;
    let mut visitor = Transfer::connect(tunnel.server.address).await;
    visitor.send(&tunnel.request("GET", "/events", &[("te", "trailers")], b"")).await;
    let mut asked = tunnel.app.asked().await;
    asked.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    assert_eq!(visitor.head().await.header("content-type"), Some("text/event-stream"));
    for part in ["a", "bc", "def"] {
        asked.send(format!("{:x}\r\n{part}\r\n", part.len()).as_bytes()).await;
        visitor.reads(part).await;
    }
    asked.send(b"0\r\nX-Sum: 6\r\n\r\n").await;
    let rest = visitor.rest().await;
    rest.is("");
    assert_eq!(rest.trailers, ["x-sum: 6"]);
}

#[tokio::test]
async fn a_body_without_a_length_is_framed_whatever_the_method() {
    let tunnel = Forwarded::start().await;
    for method in ["GET", "DELETE", "POST", "QUERY"] {
        let request = tunnel.request(method, "/", &[("transfer-encoding", "chunked")], b"5\r\nhello\r\n0\r\n\r\n");
        let answering = async {
            let mut asked = tunnel.app.asked().await;
            assert_eq!((asked.header("transfer-encoding"), asked.header("content-length")), (Some("chunked"), None));
            let body = asked.until(b"0\r\n\r\n").await;
            assert_eq!(String::from_utf8(body).unwrap(), "5\r\nhello\r\n");
            asked.send(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
        };
        let ((), answer) = tokio::join!(answering, visit(tunnel.server.address, &request));
        assert_eq!(answer.status, 204, "{method}");
    }
}

#[tokio::test]
async fn a_large_body_goes_both_ways() {
    let tunnel = Forwarded::start().await;
    let length = 3_000_000;
    let body: Vec<u8> = (0..3).flat_map(|part| pattern::bytes(part * 1_000_000, 1_000_000).to_vec()).collect();
    let mut visitor = Transfer::connect(tunnel.server.address).await;
    let request = tunnel.request("PUT", "/", &[], &body);
    let answering = async {
        let mut asked = tunnel.app.asked().await;
        assert_eq!(asked.header("content-length"), Some("3000000"));
        assert!(asked.exactly(length).await == body);
        asked.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes()).await;
        asked.send(&body).await;
    };
    let visiting = async {
        visitor.send(&request).await;
        assert_eq!(visitor.head().await.header("content-length"), Some("3000000"));
        let rest = visitor.rest().await;
        assert!(rest.is_complete && rest.body == body);
    };
    tokio::join!(answering, visiting);
}

#[tokio::test]
async fn an_early_answer_arrives_while_the_upload_goes_on() {
    let tunnel = Forwarded::start().await;
    let mut visitor = Transfer::connect(tunnel.server.address).await;
    let head = tunnel.request("POST", "/", &[("content-length", "100000000")], b"");
    visitor.send(&head).await;
    visitor.send(&pattern::bytes(0, 500_000)).await;
    let mut asked = tunnel.app.asked().await;
    asked
        .send(
            b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\nContent-Type: a/b\r\nConnection: close\r\n\r\nbig",
        )
        .await;
    drop(asked);
    assert_eq!(visitor.head().await.status, 413);
    visitor.reads("big").await;
}

#[tokio::test]
async fn a_visitor_that_leaves_is_told_to_the_app() {
    let mut tunnel = Forwarded::start().await;
    let mut visitor = Transfer::connect(tunnel.server.address).await;
    visitor.send(&tunnel.request("GET", "/", &[], b"")).await;
    let mut asked = tunnel.app.asked().await;
    asked.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata").await;
    visitor.head().await;
    drop(visitor);
    asked.is_over().await;
    let served = tunnel.forward.served().await;
    assert_eq!((served.status, served.error.as_deref()), (Some(200), Some("the visitor has left")));
}

#[tokio::test]
async fn an_upload_whose_visitor_leaves_does_not_look_complete_to_the_app() {
    let tunnel = Forwarded::start().await;
    let mut visitor = Transfer::connect(tunnel.server.address).await;
    visitor.send(&tunnel.request("POST", "/", &[("transfer-encoding", "chunked")], b"5\r\nhello\r\n")).await;
    let mut asked = tunnel.app.asked().await;
    assert_eq!(asked.until(b"hello\r\n").await, b"5\r\n");
    drop(visitor);
    // The connection ends, and no last chunk comes before that.
    asked.is_over().await;
    assert_eq!(asked.rest(), "");
}

#[tokio::test]
async fn an_answer_that_breaks_off_looks_broken() {
    let mut tunnel = Forwarded::start().await;
    for (head, what) in [("Content-Length: 100", "the length"), ("Transfer-Encoding: chunked", "the last chunk")] {
        let mut visitor = Transfer::connect(tunnel.server.address).await;
        visitor.send(&tunnel.request("GET", "/", &[], b"")).await;
        let mut asked = tunnel.app.asked().await;
        let body = if head.starts_with('C') { "half" } else { "4\r\nhalf\r\n" };
        asked.send(format!("HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n{head}\r\n\r\n{body}").as_bytes()).await;
        assert_eq!(visitor.head().await.status, 200);
        visitor.reads("half").await;
        asked.reset();
        visitor.rest().await.is_broken("");
        let why = tunnel.forward.served().await.error.unwrap_or_else(|| panic!("{what} is missing"));
        assert!(why.starts_with("the app's response broke off"), "{why}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_at_once_is_an_error() {
    let mut tunnel = Forwarded::start().await;
    let answering = async {
        let mut asked = tunnel.app.asked().await;
        asked.send(b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 100\r\n\r\nhalf").await;
    };
    let request = tunnel.request("GET", "/", &[], b"");
    let ((), answer) = tokio::join!(answering, visit(tunnel.server.address, &request));
    assert_eq!((answer.status, answer.code()), (502, Some("client-aborted")));
    assert!(answer.error().contains("the app's response broke off"), "{}", answer.error());
    assert!(tunnel.forward.served().await.error.unwrap().starts_with("the app's response broke off"));
}

#[tokio::test]
async fn an_app_that_does_not_listen_is_named() {
    let mut tunnel = Forwarded::start().await;
    let request = tunnel.request("GET", "/", &[], b"");
    let address = tunnel.app.stop();
    let answer = visit(tunnel.server.address, &request).await;
    assert_eq!((answer.status, answer.code()), (502, Some("client-aborted")));
    assert!(answer.error().contains(&format!("nothing answers at http://{address}")), "{}", answer.error());
    assert!(tunnel.forward.served().await.error.unwrap().starts_with("nothing answers at"));
}

#[tokio::test]
async fn an_app_that_restarts_is_waited_for() {
    let tunnel = Forwarded::with(|options| options.hold = Duration::from_secs(30)).await;
    let request = tunnel.request("GET", "/", &[], b"");
    let address = tunnel.app.stop();
    let mut visiting = tokio::spawn({
        let (server, request) = (tunnel.server.address, request.clone());
        async move { visit(server, &request).await }
    });
    assert!(tokio::time::timeout(ms(300), &mut visiting).await.is_err(), "the visitor has an answer already");
    let app = App::at(address).await;
    app.asked().await.send(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(visiting.await.unwrap().status, 204);
}

#[tokio::test]
async fn no_request_chooses_another_server() {
    let tunnel = Forwarded::start().await;
    for target in ["//evil.example/x", "/http://evil.example/", "/@evil.example", "/..//../x", "/\\evil.example"] {
        let request = tunnel.request("GET", target, &[], b"");
        let (asked, answer) = tunnel.exchange(&request, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
        assert_eq!((asked.line(), answer.status), (&*format!("GET {target} HTTP/1.1"), 204));
        assert_eq!(asked.header("host"), Some(&*tunnel.app.address.to_string()));
    }
}
