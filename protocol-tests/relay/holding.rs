//! Visitors of a tunnel whose end has left wait for the next one, and requests that an end did not answer are sent again.

use socket2me::config::ServeConfig;

use super::tunnel::{Server, patient};
use super::visitor::{Visitor, get, request};
use crate::hostile::figures::{Figures, watched};
use crate::support::end::{End, Heard};
use crate::support::keyed::Keyed;
use crate::support::wire::Server as Watched;

/// A tunnel whose visitors wait longer than a test takes.
pub(super) const PATIENT: &str = r#"{"hold":60,"timeout":120}"#;

/// A server with its figures, and a tunnel whose end has left.
pub(super) async fn vacant(fields: &str, change: impl FnOnce(&mut ServeConfig)) -> (Watched, Figures, Keyed) {
    let (server, figures) = watched(|config| {
        *config = ServeConfig { metrics_listen: config.metrics_listen, ..patient() };
        change(config);
    })
    .await;
    let tunnel = Keyed::make(server.address, fields).await;
    let mut end = tunnel.join(server.address).await;
    tunnel.say_leave(&mut end).await;
    (server, figures, tunnel)
}

/// Sends a request that is held.
async fn held(server: &Watched, figures: &Figures, tunnel: &Keyed, method: &str, body: &[u8]) -> Visitor {
    held_bytes(server, figures, &request(method, &tunnel.at("/x"), &[], body)).await
}

/// Sends these bytes, a request that is held.
pub(super) async fn held_bytes(server: &Watched, figures: &Figures, bytes: &[u8]) -> Visitor {
    let before = figures.used("held").await;
    let mut visitor = Visitor::connect(server.address).await;
    visitor.send(bytes).await;
    figures.until_used("held", |used| used == before + 1, "a visitor that waits").await;
    visitor
}

#[tokio::test]
async fn visitors_wait_for_the_end_that_comes_back() {
    let (server, figures, tunnel) = vacant(PATIENT, |_| ()).await;
    let body = vec![b'x'; 200 << 10];
    let mut visitors = [
        held(&server, &figures, &tunnel, "GET", b"").await,
        held(&server, &figures, &tunnel, "POST", b"short").await,
        held(&server, &figures, &tunnel, "PUT", &body).await,
    ];
    assert_eq!((figures.used("exchanges").await, figures.used("bytes").await), (0, 0), "no body was read");
    let mut end = tunnel.join(server.address).await;
    let mut methods = Vec::new();
    for _ in 0..3 {
        let asked = end.asked().await;
        let length = asked.header("content-length").unwrap_or("0").to_owned();
        methods.push(asked.request.method.clone());
        end.answer(&asked, &format!(r#"[200,"{length}"]"#), &[]).await;
    }
    methods.sort();
    assert_eq!(methods, ["GET", "POST", "PUT"]);
    for (visitor, expected) in visitors.iter_mut().zip(["0", "5", "204800"]) {
        let answer = visitor.answer(false).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, expected));
    }
    drop(end);
    figures.all_given_back("visitors that waited").await;
}

#[tokio::test]
async fn a_visitor_whose_end_does_not_come_back_in_time_is_told_so() {
    let (server, figures, tunnel) = vacant(r#"{"hold":1}"#, |_| ()).await;
    let mut visitor = held(&server, &figures, &tunnel, "POST", b"body").await;
    let answer = visitor.answer(false).await;
    assert_eq!((answer.status, answer.code()), (502, Some("client-not-connected")));
    figures.all_given_back("a visitor that waited").await;
}

#[tokio::test]
async fn nobody_waits_for_an_end_that_never_was_or_where_the_owner_wants_no_waiting() {
    // Whoever waited would be one too many.
    let (server, _, tunnel) = vacant(r#"{"hold":0}"#, |config| config.limits.max_held = 0).await;
    let unjoined = Keyed::make(server.address, PATIENT).await;
    let original = server.token().await;
    let mut end = End::connect(server.address, &original).await;
    end.send(&format!(r#"42/{original},["leave"]"#)).await;
    assert_eq!(end.text().await, format!("41/{original},"));
    for target in [tunnel.at("/"), unjoined.at("/"), format!("/go/{original}")] {
        assert_eq!(get(server.address, &target).await.code(), Some("client-not-connected"), "{target}");
    }
    let answer = get(server.address, "/go/nobody/").await;
    assert_eq!((answer.status, answer.code()), (404, Some("token-not-found")));
}

#[tokio::test]
async fn a_visitor_that_leaves_frees_its_place() {
    let (server, figures, tunnel) = vacant(PATIENT, |config| config.limits.max_held = 1).await;
    for body in [&b""[..], b"with a body"] {
        drop(held(&server, &figures, &tunnel, "GET", body).await);
        let what = "a visitor that has left";
        if body.is_empty() {
            figures.until_used("held", |used| used == 0, what).await;
        }
    }
}

#[tokio::test]
async fn more_visitors_than_may_wait_are_503_and_those_that_wait_are_answered() {
    type Limit = fn(&mut ServeConfig);
    let limits: [(&str, Limit); 3] = [
        ("max-held", |config| config.limits.max_held = 2),
        ("max-held-per-tunnel", |config| config.limits.max_held_per_tunnel = 2),
        ("max-held-per-address", |config| config.limits.max_held_per_address = Some(2)),
    ];
    for (budget, limit) in limits {
        let (server, figures, tunnel) = vacant(PATIENT, limit).await;
        let mut waiting = Vec::new();
        for _ in 0..2 {
            waiting.push(held(&server, &figures, &tunnel, "GET", b"").await);
        }
        let answer = get(server.address, &tunnel.at("/")).await;
        assert_eq!((answer.status, answer.code()), (503, Some("too-many-held")), "{budget}");
        assert_eq!(answer.header("retry-after"), Some("1"), "{budget}");
        assert_eq!(figures.hits(budget).await, 1, "{budget}");
        let mut end = tunnel.join(server.address).await;
        for _ in 0..2 {
            let asked = end.asked().await;
            end.answer(&asked, "[]", &[]).await;
        }
        for visitor in &mut waiting {
            assert_eq!(visitor.answer(false).await.status, 200, "{budget}");
        }
    }
}

#[tokio::test]
async fn a_server_that_stops_and_an_owner_that_deletes_the_tunnel_let_nobody_wait() {
    let (server, figures, tunnel) = vacant(PATIENT, |_| ()).await;
    let mut visitor = held(&server, &figures, &tunnel, "GET", b"").await;
    assert_eq!(tunnel.ask(server.address, "DELETE", "").await.status, 204);
    let answer = visitor.answer(false).await;
    assert_eq!((answer.status, answer.code()), (404, Some("token-not-found")));
    let (server, figures, tunnel) = vacant(PATIENT, |_| ()).await;
    let mut visitor = held(&server, &figures, &tunnel, "GET", b"").await;
    server.stop();
    let answer = visitor.answer(false).await;
    assert_eq!((answer.status, answer.code()), (503, Some("stopping")));
}

#[tokio::test]
async fn an_end_that_leaves_answers_what_it_has_and_gets_nothing_new() {
    let (server, figures, tunnel) = vacant(PATIENT, |_| ()).await;
    let mut leaving = tunnel.join(server.address).await;
    let mut first = Visitor::connect(server.address).await;
    first.send(&request("POST", &tunnel.at("/first"), &[], b"")).await;
    let owed = leaving.asked().await;
    leaving.send(&format!(r#"42/{},7["leave"]"#, tunnel.token)).await;
    assert_eq!(leaving.text().await, format!("43/{},7[]", tunnel.token));
    let mut second = held(&server, &figures, &tunnel, "POST", b"").await;
    leaving.answer(&owed, r#"["first"]"#, &[]).await;
    assert_eq!(leaving.text().await, format!("41/{},", tunnel.token));
    assert_eq!(first.answer(false).await.text(), "first");
    let mut next = tunnel.join(server.address).await;
    let asked = next.asked().await;
    next.answer(&asked, r#"["second"]"#, &[]).await;
    assert_eq!(second.answer(false).await.text(), "second");
}

/// Sends a request and makes the end that gets it end its connection.
async fn lost(server: &Server, tunnel: &Keyed, method: &str) -> Visitor {
    let mut end = tunnel.join(server.address).await;
    let mut visitor = Visitor::connect(server.address).await;
    visitor.send(&request(method, &tunnel.at("/x"), &[], if method == "PUT" { b"body" } else { b"" })).await;
    assert_eq!(end.asked().await.request.method, method);
    visitor
}

#[tokio::test]
async fn a_request_that_its_end_did_not_answer_is_sent_again_where_the_owner_wants_that() {
    let server = Server::start(patient()).await;
    let tunnel = Keyed::make(server.address, r#"{"hold":60,"timeout":120,"repeat":"idempotent"}"#).await;
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
        let mut visitor = lost(&server, &tunnel, method).await;
        let mut next = tunnel.join(server.address).await;
        let asked = next.asked().await;
        let body = if method == "PUT" { "4" } else { "0" };
        assert_eq!(asked.request.method, method);
        assert_eq!(asked.header("content-length").unwrap_or("0"), body, "{method}");
        next.answer(&asked, r#"[200,"again"]"#, &[]).await;
        assert_eq!(visitor.answer(method == "HEAD").await.status, 200, "{method}");
    }
    for method in ["POST", "PATCH"] {
        let answer = lost(&server, &tunnel, method).await.answer(false).await;
        assert_eq!((answer.status, answer.code()), (502, Some("client-disconnected")), "{method}");
    }
    assert_eq!(tunnel.ask(server.address, "PATCH", r#"{"repeat":"never"}"#).await.status, 200);
    let answer = lost(&server, &tunnel, "GET").await.answer(false).await;
    assert_eq!((answer.status, answer.code()), (502, Some("client-disconnected")), "never");
}

/// It has reached an end, and that no other has come does not change this.
#[tokio::test]
async fn a_request_that_cannot_be_sent_again_has_lost_its_end() {
    let server = Server::start(patient()).await;
    for hold in [0, 1] {
        let fields = format!(r#"{{"hold":{hold},"timeout":120,"repeat":"idempotent"}}"#);
        let tunnel = Keyed::make(server.address, &fields).await;
        let answer = lost(&server, &tunnel, "GET").await.answer(false).await;
        assert_eq!((answer.status, answer.code()), (502, Some("client-disconnected")), "{hold}");
    }
}

#[tokio::test]
async fn a_request_that_ends_its_ends_ends_two_and_not_three() {
    let server = Server::start(patient()).await;
    let tunnel = Keyed::make(server.address, r#"{"hold":60,"timeout":120,"repeat":"idempotent"}"#).await;
    let mut visitor = lost(&server, &tunnel, "GET").await;
    let mut second = tunnel.join(server.address).await;
    second.asked().await;
    drop(second);
    let answer = visitor.answer(false).await;
    assert_eq!((answer.status, answer.code()), (502, Some("client-disconnected")));
    let mut third = tunnel.join(server.address).await;
    let mut next = Visitor::connect(server.address).await;
    next.send(&request("GET", &tunnel.at("/next"), &[], b"")).await;
    assert_eq!(third.asked().await.request.url, "/next", "the third end does not see it");
}

#[tokio::test]
async fn an_end_that_answers_late_is_not_asked_again() {
    let server = Server::start(patient()).await;
    let tunnel = Keyed::make(server.address, r#"{"hold":60,"timeout":1,"repeat":"idempotent"}"#).await;
    let mut end = tunnel.join(server.address).await;
    let mut visitor = Visitor::connect(server.address).await;
    visitor.send(&request("GET", &tunnel.at("/x"), &[], b"")).await;
    let asked = end.asked().await;
    let answer = visitor.answer(false).await;
    assert_eq!((answer.status, answer.code()), (504, Some("client-timed-out")));
    end.answer(&asked, "[]", &[]).await;
    tunnel.say_leave(&mut end).await;
    assert_eq!(end.hear().await, Heard::Text(format!("41/{},", tunnel.token)), "nothing else was sent");
}
