//! Socket.IO protocol 5, which current clients speak: joining and leaving namespaces (PROTOCOL.md, "Socket.IO packets" and
//! "What closes the connection").

use std::time::{Duration, Instant};

use super::{NOT_CONNECTED, send, serves, visitor};
use crate::support::wire::{Server, refusal, sid_of};

// CONNECT

#[tokio::test]
async fn connect_is_accepted_in_each_form() {
    let server = Server::start().await;
    for packet in [
        "0/TOKEN",
        "0/TOKEN,",
        "0/TOKEN,{}",
        r#"0/TOKEN,{"token":"x","pid":"p","offset":"o"}"#,
        r#"0/TOKEN,{"body":"raw"}"#,
    ] {
        let (mut ws, token) = (server.open_ws().await, server.token().await);
        send(&mut ws, packet, &token).await;
        let sid = ws.has_joined(&token).await;
        assert_eq!(sid.len(), 20, "{packet}");
        serves(&server, &mut ws, &token, 0).await;
    }
}

#[tokio::test]
async fn every_namespace_has_its_own_sid_and_requests() {
    let server = Server::start().await;
    let mut ws = server.ws("EIO=4&transport=websocket").await;
    let session = sid_of(&ws.next_text().await);
    let (first, second) = (server.token().await, server.token().await);
    let sids = [session, ws.join(&first).await, ws.join(&second).await];
    assert!(sids[0] != sids[1] && sids[1] != sids[2] && sids[0] != sids[2], "{sids:?}");
    serves(&server, &mut ws, &second, 0).await;
    serves(&server, &mut ws, &first, 0).await;
    serves(&server, &mut ws, &second, 1).await;
}

#[tokio::test]
async fn a_refused_connect_keeps_the_connection() {
    let server = Server::start().await;
    let (mut ws, token) = (server.open_ws().await, server.token().await);
    let unknown = token.replace(|letter: char| letter.is_ascii_digit(), "A");
    for (packet, expected) in [
        (
            String::from("0"),
            r#"44{"message":"connect to /TOKEN, with a token from GET /new","data":{"code":"bad-namespace"}}"#
                .to_owned(),
        ),
        (
            String::from("0/,{}"),
            r#"44{"message":"connect to /TOKEN, with a token from GET /new","data":{"code":"bad-namespace"}}"#
                .to_owned(),
        ),
        (String::from("0/random"), refusal("/random")),
        (format!("0/{unknown},{{}}"), refusal(&format!("/{unknown}"))),
        (format!("0/{token}?x=1,"), refusal(&format!("/{token}?x=1"))),
        (
            String::from(r#"0/TOKEN,{"body":"x"}"#),
            format!(r#"44/{token},{{"message":"auth.body must be 'raw' or 'parsed'","data":{{"code":"bad-option"}}}}"#),
        ),
    ] {
        send(&mut ws, &packet, &token).await;
        ws.expect(&expected).await;
    }
    ws.join(&token).await;
    serves(&server, &mut ws, &token, 0).await;
}

#[tokio::test]
async fn a_second_connect_closes_the_connection() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    send(&mut ws, "0/TOKEN,", &token).await;
    ws.closes(None, "a second CONNECT").await;
    let gone = server.send("GET", &format!("/go/{token}"), &[], b"").await.answer().await;
    assert_eq!(gone.status, NOT_CONNECTED);
}

#[tokio::test]
async fn an_invalid_namespace_is_refused() {
    let server = Server::start().await;
    let mut ws = server.open_ws().await;
    let longest = format!("/{}", "n".repeat(255));
    ws.text(&format!("40{longest},")).await;
    ws.expect(&refusal(&longest)).await;
    for (namespace, shown) in [(format!("{longest}n"), longest.as_str()), (format!("{longest}{longest}"), &longest)] {
        ws.text(&format!("40{namespace},")).await;
        ws.expect(&format!(r#"44{shown},{{"message":"Invalid namespace"}}"#)).await;
    }
    for namespace in ["/a\u{7}", "/\u{1e}", "/a\nb", "/\u{85}"] {
        ws.text(&format!("40{namespace},")).await;
        ws.expect(&format!(r#"44{namespace},{{"message":"Invalid namespace"}}"#)).await;
    }
    ws.is_alive().await;
}

#[tokio::test]
async fn twenty_refusals_close_the_connection() {
    let server = Server::start().await;
    let mut ws = server.open_ws().await;
    for _ in 0..20 {
        ws.is_alive().await;
    }
    ws.closes(None, "the twentieth refusal").await;
}

#[tokio::test]
async fn one_connection_may_join_a_hundred_namespaces() {
    let server = Server::start().await;
    let mut ws = server.open_ws().await;
    let mut token = String::new();
    for _ in 0..100 {
        token = server.token().await;
        ws.join(&token).await;
    }
    let another = server.token().await;
    send(&mut ws, "0/TOKEN,", &another).await;
    let message = "too many namespaces on one connection: connect with forceNew";
    ws.expect(&format!(r#"44/{another},{{"message":"{message}"}}"#)).await;
    send(&mut ws, "1/TOKEN,", &token).await;
    ws.join(&another).await;
}

// Before CONNECT, and without it

#[tokio::test]
async fn a_packet_for_an_unjoined_namespace_closes_the_connection() {
    let server = Server::start().await;
    for packet in [
        r#"2["a"]"#,
        r#"2/TOKEN,["a"]"#,
        r#"2/TOKEN,1["a"]"#,
        "3/TOKEN,1[]",
        "3[]",
        "1",
        "1/TOKEN,",
        r#"4/TOKEN,{"message":"x"}"#,
        r#"51-/TOKEN,["a",{"_placeholder":true,"num":0}]"#,
        r#"61-/TOKEN,0[{"_placeholder":true,"num":0}]"#,
    ] {
        for elsewhere in [false, true] {
            let (mut ws, other) =
                if elsewhere { server.joined().await } else { (server.open_ws().await, String::new()) };
            let token = server.token().await;
            send(&mut ws, packet, &token).await;
            ws.closes(None, &format!("{packet}, joined elsewhere: {}", !other.is_empty())).await;
        }
    }
}

#[tokio::test]
async fn a_connection_that_joins_nothing_in_time_is_closed() {
    let deadline = Duration::from_secs(1);
    let server = Server::with(|config| config.connect_timeout = deadline).await;
    let (mut member, token) = server.joined().await;
    let start = Instant::now();
    let mut ws = server.open_ws().await;
    ws.is_alive().await; // A refused CONNECT does not count as a join.
    ws.closes(None, "the deadline").await;
    assert!(start.elapsed() >= deadline);
    let session = server.open().await;
    session.poll().await.is(200, "1");
    session.is_gone().await;
    // A connection that has joined once stays open, even after it has left its last namespace.
    serves(&server, &mut member, &token, 0).await;
    send(&mut member, "1/TOKEN,", &token).await;
    server.open_ws().await.closes(None, "another's deadline").await;
    member.is_alive().await;
}

// DISCONNECT

#[tokio::test]
async fn leaving_the_last_namespace_keeps_the_session() {
    let server = Server::start().await;
    for packet in ["1/TOKEN", "1/TOKEN,"] {
        let (mut ws, token) = server.joined().await;
        let mut waiting = visitor(&server, &mut ws, &token, 0).await;
        send(&mut ws, packet, &token).await;
        assert_eq!(waiting.answer().await.status, NOT_CONNECTED, "{packet}");
        ws.is_alive().await;
        ws.join(&token).await;
        serves(&server, &mut ws, &token, 1).await;
        // A namespace that the client has left counts as never joined.
        send(&mut ws, packet, &token).await;
        send(&mut ws, "3/TOKEN,0[]", &token).await;
        ws.closes(None, packet).await;
    }
}

#[tokio::test]
async fn packets_that_cross_the_servers_goodbye_are_ignored() {
    let server = Server::start().await;
    let (mut old, token) = server.joined().await;
    let mut waiting = visitor(&server, &mut old, &token, 0).await;
    let mut new = server.open_ws().await;
    new.join(&token).await;
    // The older end answers what it was asked, and is then disconnected.
    send(&mut old, r#"3/TOKEN,0[200,"last words"]"#, &token).await;
    waiting.answer().await.is(200, "last words");
    old.expect(&format!("41/{token},")).await;
    for packet in ["3/TOKEN,1[]", r#"2/TOKEN,["a"]"#, "1/TOKEN,", r#"61-/TOKEN,0[{"_placeholder":true,"num":0}]"#] {
        send(&mut old, packet, &token).await;
    }
    old.binary(b"announced").await;
    old.is_alive().await;
    serves(&server, &mut new, &token, 1).await;
    old.join(&token).await;
    new.expect(&format!("41/{token},")).await;
    serves(&server, &mut old, &token, 2).await;
}
