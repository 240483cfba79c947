//! Tunnels are isolated: an end acks and sees only its own exchanges. A refused token does not tell why it is refused.

use std::time::Instant;

use super::{ack, go, id_of, serves, visitor};
use crate::support::wire::{Answer, Frame, Server};
use crate::support::{NOT_FOUND, UNKNOWN, ms};

/// Ack ids of a token are not used again for its next end, which may be the same program and still owe an answer to an
/// earlier visitor.
#[tokio::test]
async fn a_late_ack_from_before_a_reconnect_answers_no_visitor() {
    let server = Server::start().await;
    for way in ["another session", "another join of the same session"] {
        let (mut ws, token) = server.joined().await;
        let (mut first, owed) = visitor(&server, &mut ws, &token).await;
        if way == "another session" {
            drop(ws);
            ws = server.open_ws().await;
        } else {
            ws.text(&format!("41/{token},")).await;
        }
        assert_eq!(first.answer().await.header("x-socket2me-error"), Some("client-disconnected"), "{way}");
        ws.join(&token).await;
        let (mut second, id) = visitor(&server, &mut ws, &token).await;
        ack(&mut ws, &token, &owed, r#"["for the first visitor"]"#).await;
        ack(&mut ws, &token, &id, r#"["for the second"]"#).await;
        assert_eq!(second.answer().await.text(), "for the second", "{way}");
    }
}

#[tokio::test]
async fn a_late_ack_after_the_timeout_answers_no_visitor() {
    let server = Server::with(|config| config.response_timeout = ms(1_000)).await;
    let (mut ws, token) = server.joined().await;
    let (mut first, owed) = visitor(&server, &mut ws, &token).await;
    first.answer().await.is(200, "OK");
    let (mut second, id) = visitor(&server, &mut ws, &token).await;
    ack(&mut ws, &token, &owed, r#"["late"]"#).await;
    ack(&mut ws, &token, &id, r#"["in time"]"#).await;
    second.answer().await.is(200, "in time");
}

#[tokio::test]
async fn a_replaced_ends_acks_answer_what_it_was_asked_and_nothing_else() {
    let server = Server::start().await;
    let (mut older, token) = server.joined().await;
    let (mut first, owed) = visitor(&server, &mut older, &token).await;
    let mut newer = server.open_ws().await;
    newer.join(&token).await;
    let (mut second, id) = visitor(&server, &mut newer, &token).await;
    // The older end guesses ids, which are ascending numbers.
    for guess in 0..20 {
        if owed != guess.to_string() {
            ack(&mut older, &token, &guess.to_string(), r#"["stolen"]"#).await;
        }
    }
    ack(&mut older, &token, &id, r#"["of the older"]"#).await;
    ack(&mut older, &token, &owed, r#"["of the older"]"#).await;
    first.answer().await.is(200, "of the older");
    older.expect(&format!("41/{token},")).await;
    ack(&mut older, &token, &id, r#"["stolen"]"#).await;
    older.is_alive().await;
    ack(&mut newer, &token, &id, r#"["of the newer"]"#).await;
    second.answer().await.is(200, "of the newer");
}

/// In revision 3, packets for a namespace that was not joined are ignored and do not close the session, so it may guess on.
#[tokio::test]
async fn an_ack_in_another_namespace_answers_nothing_in_revision_3() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    let (mut waiting, id) = visitor(&server, &mut ws, &token).await;
    let (mut stranger, own) = server.joined_v3().await;
    let guesses: Vec<String> = (0..20).map(|guess| guess.to_string()).chain([id.clone()]).collect();
    for guess in &guesses {
        for namespace in [&*format!("/{token},"), &format!("/{token}?x=1,"), "/,", "", &format!("/{own},")] {
            stranger.text(&format!(r#"43{namespace}{guess}["stolen"]"#)).await;
            stranger.text(&format!(r#"461-{namespace}{guess}[200,{{"_placeholder":true,"num":0}}]"#)).await;
            stranger.binary(b"\x04stolen").await;
        }
    }
    stranger.pings().await;
    ack(&mut ws, &token, &id, r#"["mine"]"#).await;
    waiting.answer().await.is(200, "mine");
    serves(&server, &mut ws, &token).await;
}

#[tokio::test]
async fn an_end_sees_the_requests_of_its_own_token_alone() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    let (mut curious, own) = server.joined().await;
    // Names that are nearly the other tunnel's token.
    for namespace in
        [&token[..47], &format!("{token}/"), &format!("{token}?x"), &format!("{token} "), &token.to_lowercase()]
    {
        curious.text(&format!("40/{namespace},")).await;
        assert!(curious.next_text().await.starts_with("44/"), "{namespace}");
    }
    let mut waiting = Vec::new();
    for number in 0..20 {
        let mut visitor = server.peer().await;
        visitor.send(format!("GET {}/{number} HTTP/1.1\r\nHost: test\r\n\r\n", go(&token)).as_bytes()).await;
        let id = id_of(&ws.next_text().await);
        waiting.push((visitor, id));
    }
    curious.is_alive().await;
    for (visitor, id) in &mut waiting {
        ack(&mut ws, &token, id, r#"["mine"]"#).await;
        visitor.answer().await.is(200, "mine");
    }
    serves(&server, &mut curious, &own).await;
}

/// What an answer tells, without its date and its request id.
fn seen(answer: &Answer) -> (u16, Vec<String>, String) {
    let changing = ["date", "x-request-id"];
    let lines = answer
        .head
        .lines()
        .filter(|line| !changing.iter().any(|name| line.to_ascii_lowercase().starts_with(&format!("{name}:"))));
    (answer.status, lines.map(str::to_owned).collect(), answer.text())
}

#[tokio::test]
async fn unknown_expired_and_malformed_tokens_look_alike() {
    let server = Server::with(|config| {
        config.token_ttl = ms(100);
        config.token_grace = Some(ms(0));
    });
    let server = server.await;
    let expired = server.token().await;
    let begun = Instant::now();
    while server.ask("GET", &go(&expired), &[], b"").await.header("x-socket2me-error") != Some("token-not-found") {
        assert!(begun.elapsed() < ms(5_000), "the token does not expire");
    }
    let long = "a".repeat(300);
    let tokens = [&*expired, UNKNOWN, "Nonsense", "", &long, &UNKNOWN[..47], "%00", "../new", "a,b", "__proto__"];
    for method in ["GET", "POST", "DELETE", "OPTIONS"] {
        let unknown = seen(&server.ask(method, &go(UNKNOWN), &[], b"").await);
        assert_eq!(unknown.0, 500);
        for token in tokens {
            assert_eq!(seen(&server.ask(method, &go(token), &[], b"").await), unknown, "{method} {token}");
        }
    }
    let unknown = seen(&server.ask("GET", &format!("/refresh/{UNKNOWN}"), &[], b"").await);
    for token in tokens {
        let answer = server.ask("GET", &format!("/refresh/{token}"), &[], b"").await;
        assert_eq!(seen(&answer), unknown, "refresh {token}");
    }
    for auth in ["", "{}", r#"{"body":"raw"}"#, r#"{"body":"nonsense"}"#] {
        let mut ws = server.open_ws().await;
        ws.text(&format!("40/{UNKNOWN},{auth}")).await;
        let refusal = ws.next_text().await;
        assert!(refusal.contains(NOT_FOUND), "{refusal}");
        for token in [&*expired, "nonsense", "a?b", "__proto__"] {
            ws.text(&format!("40/{token},{auth}")).await;
            let text = ws.next_text().await;
            assert_eq!(text, refusal.replace(UNKNOWN, token), "{token} {auth}");
        }
    }
    let mut ws = server.open_ws_v3().await;
    for token in [&*expired, UNKNOWN, "nonsense"] {
        ws.text(&format!("40/{token},")).await;
        assert_eq!(ws.next().await, Frame::Text(format!(r#"44/{token},"token-not-found: {NOT_FOUND}""#)));
    }
}
