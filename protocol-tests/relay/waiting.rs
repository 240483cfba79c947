//! Requests of every kind that wait for an end, and what else happens to them meanwhile.

use super::holding::{PATIENT, held_bytes, vacant};
use super::visitor::{Visitor, get, request};
use crate::support::end::Asked;
use crate::support::keyed::Keyed;

/// Each is answered once by the end that comes, as if that had been there from the start.
#[tokio::test]
async fn a_request_of_any_kind_waits() {
    let (server, figures, tunnel) = vacant(PATIENT, |_| ()).await;
    let at = tunnel.at("/x");
    let line = |method: &str, version: &str, rest: &str| {
        format!("{method} {at} HTTP/{version}\r\nHost: test\r\n{rest}\r\n").into_bytes()
    };
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (bytes, method, version) in [
        (line("GET", "1.1", "Connection: close\r\n"), "GET", "1.1"),
        (line("HEAD", "1.1", "Connection: close\r\n"), "HEAD", "1.1"),
        (line("GET", "1.0", ""), "GET", "1.0"),
        (line("GET", "1.0", "Connection: keep-alive\r\n"), "GET", "1.0"),
        (line("DELETE", "1.1", "Content-Length: 0\r\n"), "DELETE", "1.1"),
        (line("OPTIONS", "1.1", upgrade), "OPTIONS", "1.1"),
        (line("QUERY", "1.1", ""), "QUERY", "1.1"),
    ] {
        let mut visitor = held_bytes(&server, &figures, &bytes).await;
        let mut end = tunnel.join(server.address).await;
        let asked = end.asked().await;
        assert_eq!((asked.request.method.as_str(), asked.request.http_version.as_str()), (method, version));
        end.answer(&asked, r#"[200,"served"]"#, &[]).await;
        let answer = visitor.answer(method == "HEAD").await;
        assert_eq!(answer.status, 200, "{method} {version}");
        tunnel.say_leave(&mut end).await;
    }
    figures.all_given_back("requests of every kind").await;
}

#[tokio::test]
async fn a_body_is_asked_for_once_an_end_is_there() {
    let (server, figures, tunnel) = vacant(PATIENT, |_| ()).await;
    let expecting = [("Expect", "100-continue"), ("content-length", "4")];
    let mut visitor = held_bytes(&server, &figures, &request("POST", &tunnel.at("/x"), &expecting, b"")).await;
    let mut end = tunnel.join(server.address).await;
    assert_eq!(visitor.answer(true).await.status, 100);
    visitor.send(b"body").await;
    let asked = end.asked().await;
    end.answer(&asked, r#"[200,"served"]"#, &[]).await;
    assert_eq!(visitor.answer(false).await.text(), "served");
}

/// Whose end does not come, is told so without being asked for the body.
#[tokio::test]
async fn a_body_is_not_asked_for_where_no_end_comes() {
    let (server, figures, tunnel) = vacant(r#"{"hold":1}"#, |_| ()).await;
    let expecting = [("Expect", "100-continue"), ("content-length", "4")];
    let mut visitor = held_bytes(&server, &figures, &request("POST", &tunnel.at("/x"), &expecting, b"")).await;
    let answer = visitor.answer(false).await;
    assert_eq!((answer.status, answer.code()), (502, Some("client-not-connected")));
}

#[tokio::test]
async fn requests_that_follow_on_a_connection_wait_their_turn() {
    let (server, figures, tunnel) = vacant(PATIENT, |_| ()).await;
    let ask = |path: &str| format!("GET {} HTTP/1.1\r\nHost: test\r\n\r\n", tunnel.at(path));
    let three = ["/first", "/second", "/third"].map(ask).concat();
    let mut visitor = held_bytes(&server, &figures, three.as_bytes()).await;
    let mut end = tunnel.join(server.address).await;
    for path in ["/first", "/second", "/third"] {
        let asked: Asked = end.asked().await;
        assert_eq!(asked.request.url, path);
        end.answer(&asked, &format!(r#"[200,"{path}"]"#), &[]).await;
        assert_eq!(visitor.answer(false).await.text(), path);
    }
}

/// What is set counts for requests from then on, and one that waits goes on waiting.
#[tokio::test]
async fn other_settings_leave_those_that_wait_alone() {
    let (server, figures, tunnel) = vacant(PATIENT, |_| ()).await;
    let mut visitor = held_bytes(&server, &figures, &request("GET", &tunnel.at("/x"), &[], b"")).await;
    for fields in [r#"{"hold":0}"#, r#"{"ends":"spread"}"#, r#"{"repeat":"idempotent"}"#, r#"{"ends":"newest"}"#] {
        assert_eq!(tunnel.ask(server.address, "PATCH", fields).await.status, 200, "{fields}");
    }
    let answer = get(server.address, &tunnel.at("/now")).await;
    assert_eq!(answer.code(), Some("client-not-connected"), "a request from then on does not wait");
    let mut end = tunnel.join(server.address).await;
    let asked = end.asked().await;
    end.answer(&asked, r#"[200,"served"]"#, &[]).await;
    assert_eq!(visitor.answer(false).await.text(), "served");
}

/// Its body takes longer than `hold`, and its end leaves meanwhile.
#[tokio::test]
async fn a_visitor_waits_for_as_long_as_hold_says_and_its_body_does_not_count() {
    let (server, figures, tunnel) = vacant(r#"{"hold":2,"timeout":120}"#, |_| ()).await;
    let head = request("POST", &tunnel.at("/slow"), &[("content-length", "4")], b"");
    let mut slow = held_bytes(&server, &figures, &head).await;
    let mut end = tunnel.join(server.address).await;
    figures.until_used("uploads", |used| used == 1, "a body that arrives").await;
    tunnel.say_leave(&mut end).await;
    // Another visitor tells when the time is over.
    let answer = get(server.address, &tunnel.at("/")).await;
    assert_eq!(answer.code(), Some("client-not-connected"));
    slow.send(b"body").await;
    figures.until_used("held", |used| used == 1, "a visitor that waits again").await;
    let mut end = tunnel.join(server.address).await;
    let asked = end.asked().await;
    end.answer(&asked, r#"[200,"served"]"#, &[]).await;
    assert_eq!(slow.answer(false).await.text(), "served");
}

/// A visitor has waited for half its time when its end is lost. Others tell when the time is over.
#[tokio::test]
async fn a_visitor_whose_end_is_lost_waits_for_another_as_long_as_for_the_first() {
    let (server, figures, tunnel) = vacant(r#"{"hold":2,"timeout":120,"repeat":"idempotent"}"#, |_| ()).await;
    let clock = Keyed::make(server.address, r#"{"hold":1}"#).await;
    clock.say_leave(&mut clock.join(server.address).await).await;
    let mut visitor = held_bytes(&server, &figures, &request("GET", &tunnel.at("/x"), &[], b"")).await;
    for answers in [false, true] {
        assert_eq!(get(server.address, &clock.at("/")).await.code(), Some("client-not-connected"));
        let mut end = tunnel.join(server.address).await;
        let asked = end.asked().await;
        if answers {
            end.answer(&asked, r#"[200,"served"]"#, &[]).await;
        }
    }
    assert_eq!(visitor.answer(false).await.text(), "served");
}

/// Each visitor leaves at another moment of its request.
#[tokio::test]
async fn visitors_that_leave_at_any_moment_give_back_what_they_held() {
    let fields = r#"{"hold":60,"timeout":120,"repeat":"idempotent"}"#;
    let (server, figures, tunnel) = vacant(fields, |_| ()).await;
    // While it waits for the first end.
    drop(held_bytes(&server, &figures, &request("PUT", &tunnel.at("/1"), &[], &[b'x'; 40_000])).await);
    drop(held_bytes(&server, &figures, &request("GET", &tunnel.at("/2"), &[], b"")).await);
    // While its body is read.
    let mut end = tunnel.join(server.address).await;
    let mut visitor = Visitor::connect(server.address).await;
    visitor.send(&request("PUT", &tunnel.at("/3"), &[("content-length", "99999")], &[b'x'; 40_000])).await;
    figures.until_used("uploads", |used| used == 1, "a body that arrives").await;
    drop(visitor);
    figures.until_used("uploads", |used| used == 0, "a body that was given up").await;
    // While the end has it.
    let mut visitor = Visitor::connect(server.address).await;
    visitor.send(&request("PUT", &tunnel.at("/4"), &[], &[b'x'; 40_000])).await;
    while end.asked().await.request.url != "/4" {}
    drop(visitor);
    figures.until_used("exchanges", |used| used == 0, "a visitor that has left").await;
    // While it waits for the second end.
    let mut visitor = Visitor::connect(server.address).await;
    visitor.send(&request("PUT", &tunnel.at("/5"), &[], &[b'x'; 40_000])).await;
    end.asked().await;
    assert!(figures.used("bytes").await >= 80_000, "its body and its event are kept and counted");
    drop(end);
    figures.until_used("held", |used| used == 1, "a visitor whose end was lost").await;
    assert!(figures.used("bytes").await >= 40_000, "its body is kept and counted");
    drop(visitor);
    figures.until_used("held", |used| used == 0, "a visitor that has left").await;
    // While the second end has it.
    let mut visitor = Visitor::connect(server.address).await;
    let mut first = tunnel.join(server.address).await;
    visitor.send(&request("PUT", &tunnel.at("/6"), &[], &[b'x'; 40_000])).await;
    first.asked().await;
    drop(first);
    let mut second = tunnel.join(server.address).await;
    assert_eq!(second.asked().await.request.url, "/6");
    drop(visitor);
    figures.until_used("exchanges", |used| used == 0, "a visitor that has left").await;
    drop(second);
    figures.all_given_back("visitors that left").await;
    assert_eq!(figures.get("connected_tunnels").await, 0);
}

/// One has a body to come, and one was sent to an end that did not answer.
#[tokio::test]
async fn a_server_that_stops_lets_nobody_wait_at_any_stage() {
    let fields = r#"{"hold":60,"timeout":120,"repeat":"idempotent"}"#;
    let (server, figures, tunnel) = vacant(fields, |_| ()).await;
    let mut end = tunnel.join(server.address).await;
    let mut lost = Visitor::connect(server.address).await;
    lost.send(&request("GET", &tunnel.at("/x"), &[], b"")).await;
    end.asked().await;
    drop(end);
    figures.until_used("held", |used| used == 1, "a visitor whose end was lost").await;
    let mut slow =
        held_bytes(&server, &figures, &request("POST", &tunnel.at("/y"), &[("content-length", "9")], b"x")).await;
    server.stop();
    for visitor in [&mut lost, &mut slow] {
        let answer = visitor.answer(false).await;
        assert_eq!((answer.status, answer.code()), (503, Some("stopping")));
    }
}
