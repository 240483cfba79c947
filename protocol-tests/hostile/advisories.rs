//! Faults that other servers of these protocols had. Each test is named after the advisory.

use std::collections::HashSet;

use super::figures::watched;
use super::{ack, go, id_of, serves};
use crate::support::wire::{Frame, Server, UPGRADE, Ws, frame, refusal, sid_of};

const E0: &str = r#"{"code":0,"message":"Transport unknown"}"#;

/// Writes a request for a WebSocket.
pub(crate) fn upgrade(query: &str) -> String {
    let headers = UPGRADE.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>();
    format!("GET /socket.io/?{query} HTTP/1.1\r\nHost: test\r\n{headers}\r\n")
}

/// An id is twenty characters of base64, 120 random bits, and each place of it varies.
#[tokio::test]
async fn cve_2017_16031_session_ids_are_not_predictable() {
    let server = Server::start().await;
    let mut sids = HashSet::new();
    for _ in 0..300 {
        assert!(sids.insert(server.get("EIO=4&transport=polling").await.sid()));
    }
    for place in 0..20 {
        let different: HashSet<u8> = sids.iter().map(|sid| sid.as_bytes()[place]).collect();
        assert!(different.len() > 40, "place {place}: {different:?}");
    }
}

#[tokio::test]
async fn cve_2016_10518_a_pong_has_the_bytes_of_its_ping_and_no_others() {
    let server = Server::start().await;
    let mut ws = server.open_ws().await;
    for length in [0, 1, 2, 124, 125] {
        ws.frame(0x89, &vec![0xa5; length]).await;
        assert_eq!(ws.next().await, Frame::Pong(vec![0xa5; length]));
    }
    ws.frame(0x89, &[0; 126]).await;
    ws.closes(Some(1002), "a ping has 125 bytes at the most").await;
}

/// Values of headers that made parsers of the handshake crash or loop for ever.
#[tokio::test]
async fn ghsa_5v72_cve_2021_32640_crafted_extensions_and_protocols() {
    let server = Server::start().await;
    for name in ["Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"] {
        for value in [
            "constructor",
            "__proto__; __proto__=1",
            "permessage-deflate; constructor=1, permessage-deflate; client_max_window_bits=\"8",
            "permessage-deflate; server_max_window_bits=99999999999999999999",
            ";;;,,,===\"",
            &",".repeat(30_000),
            &format!("a{}b", " ".repeat(30_000)),
            &"a; b=c, ".repeat(4_000),
        ] {
            let mut peer = server
                .send("GET", "/socket.io/?EIO=4&transport=websocket", &[UPGRADE, &[(name, value)]].concat(), b"")
                .await;
            let answer = peer.answer().await;
            let what = format!("{name}: {value:.80}");
            // Of the subprotocols only a list of names is taken, as in the reference; no extension is.
            let is_picked = name == "Sec-WebSocket-Protocol" && value == "constructor";
            if name == "Sec-WebSocket-Protocol" && !is_picked {
                answer.is(400, "the header Sec-WebSocket-Protocol must be a list of different names");
                continue;
            }
            assert_eq!((answer.status, answer.header(name)), (101, is_picked.then_some(value)), "{what}");
            let mut ws = Ws { peer };
            assert!(ws.next_text().await.starts_with("0{"), "{what}");
            ws.is_alive().await;
        }
    }
}

/// The frame arrives with the request, before a listener for errors could be attached.
#[tokio::test]
async fn cve_2022_21676_an_invalid_frame_right_after_the_upgrade() {
    let server = Server::start().await;
    for first in [0xc1, 0xa1, 0x91, 0x83, 0x8b, 0x80, 0x09] {
        let mut peer = server.peer().await;
        peer.send(&[upgrade("EIO=4&transport=websocket").as_bytes(), &frame(first, b"2probe")].concat()).await;
        assert_eq!(peer.answer().await.status, 101);
        // The open packet may or may not have been sent before the server read the frame.
        let mut ws = Ws { peer };
        let mut said = ws.next().await;
        if matches!(said, Frame::Text(_)) {
            said = ws.next().await;
        }
        assert_eq!(said, Frame::Close(Some(1002)), "{first:#x} on a new session");
        ws.peer.ends().await;

        let session = server.open().await;
        let mut peer = server.peer().await;
        peer.send(&[upgrade(&session.query("websocket")).as_bytes(), &frame(first, b"2probe")].concat()).await;
        assert_eq!(peer.answer().await.status, 101);
        Ws { peer }.closes(Some(1002), &format!("{first:#x} on a candidate")).await;
        session.is_alive().await;
    }
}

#[tokio::test]
async fn cve_2022_41940_a_reset_while_a_rejected_upgrade_is_closed() {
    let (server, figures) = watched(|_| ()).await;
    let session = server.open().await;
    let rejected = ["EIO=4&transport=websocket&sid=nobody", "EIO=9&transport=websocket", "EIO=4&transport=x"];
    for query in rejected.iter().cycle().take(60) {
        let mut peer = server.peer().await;
        peer.stream.set_zero_linger().unwrap();
        peer.send(upgrade(query).as_bytes()).await;
    }
    figures.until_used("connections", |used| used == 0, "all were reset").await;
    session.is_alive().await;
}

#[tokio::test]
async fn cve_2023_31125_odd_transports_on_an_upgrade() {
    let server = Server::start().await;
    let session = server.open().await;
    for transport in
        ["constructor", "__proto__", "toString", "hasOwnProperty", "", "websocket%00", "%ff", "polling,websocket", "0"]
    {
        server.no_ws(&format!("EIO=4&transport={transport}")).await.is(400, E0);
        server.no_ws(&format!("EIO=4&transport={transport}&sid={}", session.sid)).await.is(400, E0);
    }
    for query in ["EIO=4", "EIO=4&transport[]=websocket", "EIO=4&transport", "EIO=4&TRANSPORT=websocket"] {
        server.no_ws(query).await.is(400, E0);
    }
    session.is_alive().await;
}

/// Reading a number or a name that never ends takes time in proportion to its bytes.
#[tokio::test]
async fn cve_2020_36049_long_digits_and_namespaces() {
    const LENGTH: usize = 4_000_000;
    let server = Server::start().await;
    let (digits, zeros, name) = ("9".repeat(LENGTH), "0".repeat(LENGTH), "n".repeat(LENGTH));
    for packet in [
        format!("45{digits}"),
        format!("45{digits}-[\"a\"]"),
        format!("45{zeros}1-[\"a\"]"),
        format!("42{digits}[\"a\"]"),
        format!("42{digits}"),
        format!("43{digits}[]"),
        format!("42/{name}"),
        format!("42/{name},[\"a\"]"),
    ] {
        let mut ws = server.open_ws().await;
        ws.peer.try_send(&frame(0x81, packet.as_bytes())).await;
        ws.closes(None, &packet[..20]).await;
    }
    let mut ws = server.open_ws().await;
    ws.text(&format!("40/{name},")).await;
    ws.expect(&format!(r#"44/{},{{"message":"Invalid namespace"}}"#, "n".repeat(255))).await;
}

#[tokio::test]
async fn cve_2020_36048_a_polling_body_in_many_small_chunks() {
    let server = Server::start().await;
    let session = server.open().await;
    let mut post = session.begun_post("Transfer-Encoding: chunked", b"1\r\n4\r\n1\r\n2\r\n").await;
    post.send(&[b"1\r\nx\r\n".repeat(200_000), b"0\r\n\r\n".to_vec()].concat()).await;
    // The body is a valid payload, but its packet closes the session.
    post.answer().await.is(200, "ok");
    session.is_gone().await;
}

#[tokio::test]
async fn cve_2024_37890_more_headers_than_the_limit_on_an_upgrade() {
    let server = Server::start().await;
    for count in [96, 200, 2_000] {
        let headers = [UPGRADE, &vec![("X-A", ""); count]].concat();
        let answer = server.ask("GET", "/socket.io/?EIO=4&transport=websocket", &headers, b"").await;
        assert_eq!(answer.status, 431, "{count}");
    }
    server.open_ws().await.is_alive().await;
}

/// A parser that starts over with each read needs minutes for this head.
#[tokio::test]
async fn cve_2023_43669_a_long_head_in_small_pieces() {
    let server = Server::start().await;
    let head = format!("GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: {}\r\n\r\n", "x".repeat(60_000));
    let mut peer = server.peer().await;
    for piece in head.as_bytes().chunks(7) {
        peer.send(piece).await;
    }
    peer.answer().await.is(200, "ok\n");
}

#[tokio::test]
async fn cve_2026_48802_pongs_start_no_tasks() {
    let (server, figures) = watched(|_| ()).await;
    let mut ws = server.open_ws().await;
    ws.is_alive().await;
    let before = figures.get("tasks").await;
    ws.peer.send(&frame(0x81, b"3").repeat(10_000)).await;
    ws.is_alive().await;
    let after = figures.get("tasks").await;
    assert!(after <= before + 1, "{before} tasks, and then {after}");
}

#[tokio::test]
async fn deep_json_and_odd_names_from_visitors_reach_the_end() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for body in [&*deep, r#"{"__proto__":{"a":1},"constructor":1,"a":1,"a":2}"#] {
        let mut visitor = server.visit_as("application/json", &token, body.as_bytes()).await;
        let request = ws.next_text().await;
        assert!(request.contains(&format!(r#""body":{body}"#)), "{request:.300}");
        ack(&mut ws, &token, &id_of(&request), "[]").await;
        assert_eq!(visitor.answer().await.status, 200);
    }
    for query in [format!("a{}=1", "[b]".repeat(5_000)), "__proto__[a]=1&constructor=1".to_owned(), "&=".repeat(10_000)]
    {
        let mut visitor = server.send("GET", &format!("{}?{query}", go(&token)), &[], b"").await;
        let id = id_of(&ws.next_text().await);
        ack(&mut ws, &token, &id, "[]").await;
        assert_eq!(visitor.answer().await.status, 200);
    }
}

#[tokio::test]
async fn nothing_is_compressed() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    let accept = [("Accept-Encoding", "gzip, deflate, br, zstd")];
    let handshake = server.ask("GET", "/socket.io/?EIO=4&transport=polling", &accept, b"").await;
    assert_eq!(handshake.header("content-encoding"), None);
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", sid_of(&handshake.text()));
    let mut poll = server.send("GET", &target, &accept, b"").await;
    server.ask("POST", &target, &[], b"40/a,").await.is(200, "ok");
    let answer = poll.answer().await;
    assert_eq!((answer.text(), answer.header("content-encoding")), (refusal("/a"), None));
    serves(&server, &mut ws, &token).await;
}
