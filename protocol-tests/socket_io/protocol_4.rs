//! Socket.IO protocol 4, which clients of socket.io 1 and 2 speak on Engine.IO 3 (PROTOCOL.md, "Socket.IO packets").

use std::time::Duration;

use super::{NOT_CONNECTED, send, serves, visitor};
use crate::support::wire::{Frame, Server, Ws, counted, refusal_v3};

/// Sends a packet, which must be answered with the other; `TOKEN` stands for the token in both.
async fn exchange(ws: &mut Ws, packet: &str, expected: &str, token: &str) {
    send(ws, packet, token).await;
    ws.expect(&format!("4{}", expected.replace("TOKEN", token))).await;
}

/// Whether the end gets a body as its exact bytes. The end must have joined.
async fn is_raw(server: &Server, ws: &mut Ws, token: &str, id: usize) -> bool {
    let _visitor = server.visit_as("application/json", token, b"[1]").await;
    let text = ws.request(token, id).await;
    let raw = text.starts_with("451-");
    if raw {
        assert_eq!(ws.next().await, Frame::Binary(b"\x04[1]".to_vec()));
    } else {
        assert!(text.ends_with(r#""body":[1]}]"#), "{text}");
    }
    raw
}

/// Opens a WebSocket whose handshake has these words in its query.
async fn open_with(server: &Server, words: &str) -> Ws {
    let mut ws = server.ws(&format!("EIO=3&transport=websocket{words}")).await;
    assert!(ws.next_text().await.starts_with("0{"));
    ws.expect("40").await;
    ws
}

// CONNECT

#[tokio::test]
async fn connect_is_accepted_in_each_form() {
    let server = Server::start().await;
    for packet in ["0/TOKEN", "0/TOKEN,", "0/TOKEN?x=1", "0/TOKEN?x=1&y=%2F?,", "0/TOKEN?,", "0/TOKEN,{}"] {
        let (mut ws, token) = (server.open_ws_v3().await, server.token().await);
        exchange(&mut ws, packet, "0/TOKEN,", &token).await;
        serves(&server, &mut ws, &token, 0).await;
    }
}

#[tokio::test]
async fn a_connect_sent_before_the_handshake_was_read_is_accepted() {
    let server = Server::start().await;
    let (session, token) = (server.open_as("EIO=3").await, server.token().await);
    session.post(counted(&[&format!("40/{token}")])).await.is(200, "ok");
    session.poll().await.is(200, &counted(&["40", &format!("40/{token},")]));
    let mut ws = server.ws("EIO=3&transport=websocket").await;
    send(&mut ws, "0/TOKEN", &token).await;
    assert!(ws.next_text().await.starts_with("0{"));
    ws.expect("40").await;
    ws.expect(&format!("40/{token},")).await;
}

#[tokio::test]
async fn options_may_come_in_a_query() {
    let server = Server::start().await;
    for (handshake, packet, expected) in [
        ("", "0/TOKEN?body=raw,", true),
        ("", "0/TOKEN?body=raw", true),
        ("", "0/TOKEN?x=1&body=raw&y=2,", true),
        ("", "0/TOKEN?body=parsed,", false),
        // Clients of socket.io 1 and 2 repeat the query of their URL in the handshake. Those of 1 send it nowhere else.
        ("&body=raw", "0/TOKEN", true),
        ("&body=raw", "0/TOKEN,", true),
        ("&body=parsed", "0/TOKEN,", false),
        // The query of the namespace takes precedence.
        ("&body=raw", "0/TOKEN?body=parsed,", false),
        ("&body=parsed", "0/TOKEN?body=raw,", true),
    ] {
        let (mut ws, token) = (open_with(&server, handshake).await, server.token().await);
        exchange(&mut ws, packet, "0/TOKEN,", &token).await;
        assert_eq!(is_raw(&server, &mut ws, &token, 0).await, expected, "{handshake} {packet}");
    }
    let (mut ws, token) = (server.open_ws_v3().await, server.token().await);
    exchange(&mut ws, "0/TOKEN?rawHeaders=true,", "0/TOKEN,", &token).await;
    let _visitor = server.visit(&token, b"").await;
    assert!(ws.request(&token, 0).await.contains(r#""rawHeaders":[["host","test"]"#));
}

#[tokio::test]
async fn options_may_come_with_a_polling_handshake() {
    let server = Server::start().await;
    let (session, token) = (server.open_v3("EIO=3&body=raw").await, server.token().await);
    session.post(counted(&[&format!("40/{token}")])).await.is(200, "ok");
    session.poll().await.is(200, &counted(&[&format!("40/{token},")]));
    let mut ws = session.probed().await;
    ws.text("5").await;
    assert!(is_raw(&server, &mut ws, &token, 0).await);
}

// Refusals

#[tokio::test]
async fn wrong_options_are_refused_with_a_string() {
    let server = Server::start().await;
    for (handshake, packet, option) in [
        ("", "0/TOKEN?body=x,", "body"),
        ("", "0/TOKEN?body", "body"),
        ("", "0/TOKEN?rawHeaders=1,", "rawHeaders"),
        ("&body=x", "0/TOKEN", "body"),
        ("&rawHeaders=yes", "0/TOKEN,", "rawHeaders"),
    ] {
        let (mut ws, token) = (open_with(&server, handshake).await, server.token().await);
        send(&mut ws, packet, &token).await;
        let text = ws.next_text().await;
        let message = text.strip_prefix(&format!("44/{token},")).unwrap_or_else(|| panic!("{text} is no refusal"));
        let message: String = serde_json::from_str(message).unwrap();
        assert!(message.starts_with(&format!("bad-option: {option}")), "{packet}: {message}");
        // The connection stays open for another CONNECT.
        exchange(&mut ws, "0/TOKEN?body=raw&rawHeaders=true,", "0/TOKEN,", &token).await;
        assert!(is_raw(&server, &mut ws, &token, 0).await);
    }
}

#[tokio::test]
async fn refusals_repeat_the_namespace_byte_for_byte() {
    let server = Server::start().await;
    let mut ws = server.open_ws_v3().await;
    for (written, echoed) in [
        ("/random", "/random"),
        ("/random,", "/random"),
        ("/random?token=x,", "/random"),
        ("/a b,", "/a b"),
        ("/a%3Db,", "/a%3Db"),
        ("/..,", "/.."),
        ("//x,", "//x"),
        ("/a/../b,", "/a/../b"),
        ("/A:B@c", "/A:B@c"),
        ("/a#b,", "/a#b"),
    ] {
        ws.text(&format!("40{written}")).await;
        ws.expect(&refusal_v3(echoed)).await;
    }
    ws.pings().await;
}

#[tokio::test]
async fn an_invalid_namespace_is_refused() {
    let server = Server::start().await;
    let mut ws = server.open_ws_v3().await;
    let longest = format!("/{}", "n".repeat(255));
    ws.text(&format!("40{longest},")).await;
    ws.expect(&refusal_v3(&longest)).await;
    for (namespace, shown) in [
        (format!("{longest}n"), longest.as_str()),
        ("/é".to_owned(), "/é"),
        ("/\u{80}".to_owned(), "/\u{80}"),
        ("/😀".to_owned(), "/😀"),
        ("/a\u{7}".to_owned(), "/a\u{7}"),
        ("/\u{7f}".to_owned(), "/\u{7f}"),
    ] {
        ws.text(&format!("40{namespace},")).await;
        ws.expect(&format!(r#"44{shown},"Invalid namespace""#)).await;
    }
    ws.pings().await;
}

#[tokio::test]
async fn twenty_refusals_close_the_connection() {
    let server = Server::start().await;
    let mut ws = server.open_ws_v3().await;
    for _ in 0..20 {
        ws.text("40/a").await;
        ws.expect(&refusal_v3("/a")).await;
    }
    ws.closes(None, "the twentieth refusal").await;
}

// Namespaces: joined, not joined, left

#[tokio::test]
async fn a_second_connect_is_answered_again() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined_v3().await;
    let mut waiting = visitor(&server, &mut ws, &token, 0).await;
    for packet in ["0/TOKEN", "0/TOKEN,", "0/TOKEN?x=1,"] {
        exchange(&mut ws, packet, "0/TOKEN,", &token).await;
    }
    for packet in ["0", "0/", "0/,", "0/?x=1,"] {
        exchange(&mut ws, packet, "0", &token).await;
    }
    send(&mut ws, r#"3/TOKEN,0[200,"asked before"]"#, &token).await;
    waiting.answer().await.is(200, "asked before");
    serves(&server, &mut ws, &token, 1).await;
}

#[tokio::test]
async fn packets_for_an_unjoined_namespace_are_ignored() {
    let server = Server::start().await;
    let (mut ws, joined) = server.joined_v3().await;
    let token = server.token().await;
    for packet in [
        r#"2/TOKEN,["a"]"#,
        r#"2/TOKEN,1["a"]"#,
        r#"2/TOKEN,["connect"]"#,
        "3/TOKEN,1[]",
        "3/TOKEN,",
        "1/TOKEN",
        "1/TOKEN,",
        r#"4/TOKEN,"x""#,
        r#"2/random,["a"]"#,
        "1/é",
    ] {
        send(&mut ws, packet, &token).await;
        ws.pings().await;
    }
    // The attachments of an ignored packet are ignored with it.
    for packet in [
        r#"52-/TOKEN,["a",{"_placeholder":true,"num":0}]"#,
        r#"52-/TOKEN,7["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#,
        r#"62-/TOKEN,0[{"_placeholder":true,"num":0}]"#,
        r#"52-/TOKEN,["a"]"#,
    ] {
        send(&mut ws, packet, &token).await;
        ws.binary(b"\x04a").await;
        ws.pings().await;
        ws.text("b4").await;
        ws.pings().await;
    }
    exchange(&mut ws, "0/TOKEN", "0/TOKEN,", &token).await;
    serves(&server, &mut ws, &token, 0).await;
    serves(&server, &mut ws, &joined, 0).await;
    // An attachment that was not announced closes the connection, and so does text among attachments.
    ws.binary(b"\x04a").await;
    ws.closes(None, "a stray attachment").await;
    for packet in [r#"2/TOKEN,["a"]"#, "0/TOKEN", "1/TOKEN", r#"51-/TOKEN,["a",{"_placeholder":true,"num":0}]"#] {
        let mut ws = server.open_ws_v3().await;
        send(&mut ws, r#"51-/TOKEN,["a",{"_placeholder":true,"num":0}]"#, &token).await;
        send(&mut ws, packet, &token).await;
        ws.closes(None, packet).await;
    }
}

#[tokio::test]
async fn events_of_the_default_namespace_are_ignored() {
    let server = Server::start().await;
    let mut ws = server.open_ws_v3().await;
    for packet in [r#"2["a"]"#, r#"21["a"]"#, "3[]", "31[]", r#"2/,["a"]"#] {
        send(&mut ws, packet, "").await;
    }
    send(&mut ws, r#"51-["a",{"_placeholder":true,"num":0}]"#, "").await;
    ws.binary(b"\x04a").await;
    ws.pings().await;
}

#[tokio::test]
async fn the_default_namespace_can_be_left() {
    let server = Server::start().await;
    for packet in ["1", "1/", "1/,"] {
        let (mut ws, token) = server.joined_v3().await;
        for _ in 0..2 {
            send(&mut ws, packet, &token).await;
        }
        serves(&server, &mut ws, &token, 0).await;
        exchange(&mut ws, "0", "0", &token).await;
        serves(&server, &mut ws, &token, 1).await;
    }
}

#[tokio::test]
async fn leaving_a_token_keeps_the_session() {
    let server = Server::start().await;
    for packet in ["1/TOKEN", "1/TOKEN,"] {
        let (mut ws, token) = server.joined_v3().await;
        let mut waiting = visitor(&server, &mut ws, &token, 0).await;
        send(&mut ws, packet, &token).await;
        assert_eq!(waiting.answer().await.status, NOT_CONNECTED, "{packet}");
        send(&mut ws, r#"3/TOKEN,0[200,"late"]"#, &token).await;
        ws.pings().await;
        exchange(&mut ws, "0/TOKEN", "0/TOKEN,", &token).await;
        serves(&server, &mut ws, &token, 1).await;
    }
}

#[tokio::test]
async fn a_newer_end_takes_over() {
    let server = Server::start().await;
    let (mut old, token) = server.joined_v3().await;
    let mut waiting = visitor(&server, &mut old, &token, 0).await;
    // The newer end may be of another revision.
    let mut new = server.open_ws().await;
    new.join(&token).await;
    exchange(&mut old, r#"3/TOKEN,0[200,"last words"]"#, "1/TOKEN,", &token).await;
    waiting.answer().await.is(200, "last words");
    send(&mut old, r#"2/TOKEN,["a"]"#, &token).await;
    old.pings().await;
    serves(&server, &mut new, &token, 1).await;
    exchange(&mut old, "0/TOKEN,", "0/TOKEN,", &token).await;
    new.expect(&format!("41/{token},")).await;
    serves(&server, &mut old, &token, 2).await;
}

#[tokio::test]
async fn an_expired_token_disconnects_its_end() {
    let (life, none) = (Duration::from_secs(1), Some(Duration::ZERO));
    let server = Server::with(|config| (config.token_ttl, config.token_grace) = (life, none)).await;
    let (mut ws, token) = server.joined_v3().await;
    ws.expect(&format!("41/{token},")).await;
    send(&mut ws, "0/TOKEN", &token).await;
    ws.expect(&refusal_v3(&format!("/{token}"))).await;
    ws.pings().await;
}

#[tokio::test]
async fn there_is_no_connect_deadline() {
    let server = Server::with(|config| config.connect_timeout = Duration::from_millis(200)).await;
    let (mut ws, session) = (server.open_ws_v3().await, server.open_v3("EIO=3").await);
    // A later client of revision 4 is closed at the deadline, which shows that it has passed for the others.
    server.open_ws().await.closes(None, "the deadline").await;
    ws.pings().await;
    session.pings().await;
}
