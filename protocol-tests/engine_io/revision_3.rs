//! Revision 3, which clients of socket.io 1 and 2 speak: where it differs from revision 4 (PROTOCOL.md, "Engine.IO").

use socket2me::proto::engine_io::Revision;

use super::{E3, E5, small};
use crate::support::wire::{Frame, Polling, Server, counted, refusal_v3};

// Handshake

#[tokio::test]
async fn a_polling_handshake_is_a_single_packet() {
    let server = Server::start().await;
    for words in ["EIO=3", "EIO=3&b64=1"] {
        let answer = server.get(&format!("{words}&transport=polling")).await;
        let rest = r#""upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":"#;
        let text = answer.text();
        let (length, packet) = text.split_once(':').unwrap();
        assert!(packet.starts_with(&format!(r#"0{{"sid":"{}",{rest}"#, answer.sid())), "{text}");
        assert_eq!((length.parse(), packet.find('}')), (Ok(packet.len()), Some(packet.len() - 1)), "{text}");
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; charset=UTF-8")));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let mut session = server.open_as(words).await;
        session.poll().await.is(200, "2:40");
        session.sid = answer.sid();
        session.poll().await.is(200, "2:40");
    }
}

#[tokio::test]
async fn a_websocket_joins_the_default_namespace_right_after_its_handshake() {
    let server = Server::start().await;
    let mut ws = server.ws("EIO=3&transport=websocket").await;
    let open = ws.next_text().await;
    assert!(open.starts_with(r#"0{"sid":""#) && open.contains(r#""upgrades":[],"#), "{open}");
    ws.expect("40").await;
    ws.pings().await;
}

#[tokio::test]
async fn only_revisions_3_and_4_open_a_session() {
    let server = Server::start().await;
    for words in ["EIO=2", "EIO=5", "EIO=03", "EIO=3.0", "EIO=", "x=1"] {
        server.get(&format!("{words}&transport=polling")).await.is(400, E5);
        server.no_ws(&format!("{words}&transport=websocket")).await.is(400, E5);
    }
}

#[tokio::test]
async fn a_revision_that_is_turned_off_opens_no_session() {
    for (on, opened, refused) in [(Revision::V3, "EIO=3", "EIO=4"), (Revision::V4, "EIO=4", "EIO=3")] {
        let server = Server::with(|config| config.engine_io = vec![on]).await;
        server.get(&format!("{refused}&transport=polling")).await.is(400, E5);
        server.no_ws(&format!("{refused}&transport=websocket")).await.is(400, E5);
        let mut session = server.open_as(opened).await;
        session.words = refused;
        session.poll().await.is(400, E3);
        assert!(server.ws(&format!("{opened}&transport=websocket")).await.next_text().await.starts_with('0'));
    }
}

#[tokio::test]
async fn a_request_of_another_revision_than_its_session_is_a_bad_request() {
    let server = Server::start().await;
    let mut session = server.open_v3("EIO=3").await;
    for words in ["EIO=4", "EIO=2", "EIO=", "EIO=x"] {
        session.words = words;
        session.poll().await.is(400, E3);
        session.post("1:2").await.is(400, E3);
        server.no_ws(&session.query("websocket")).await.is(400, E3);
    }
    // A request without `EIO` is of revision 3.
    session.words = "x=1";
    session.pings().await;
    let mut ws = session.probed().await;
    ws.text("5").await;
    ws.pings().await;
}

// Polls and POSTs

#[tokio::test]
async fn a_ping_is_answered_without_its_data() {
    let server = Server::start().await;
    let session = server.open_v3("EIO=3").await;
    let mut ws = server.open_ws_v3().await;
    for ping in ["2", "2abc", "2probe"] {
        let mut held = session.held_poll().await;
        session.post(counted(&[ping])).await.is(200, "ok");
        held.answer().await.is(200, "1:3");
        ws.text(ping).await;
        ws.expect("3").await;
    }
    session.post("1:21:21:2").await.is(200, "ok");
    session.poll().await.is(200, "1:31:31:3");
}

#[tokio::test]
async fn a_pong_from_the_client_closes_the_session() {
    let server = Server::start().await;
    for pong in ["3", "3probe"] {
        let session = server.open_v3("EIO=3").await;
        let mut held = session.held_poll().await;
        session.post(counted(&[pong])).await.is(200, "ok");
        held.answer().await.is(200, "1:1");
        session.is_gone().await;
        let mut ws = server.open_ws_v3().await;
        ws.text(pong).await;
        ws.closes(None, pong).await;
    }
}

#[tokio::test]
async fn two_polls_at_once_close_the_session() {
    let server = Server::start().await;
    let session = server.open_v3("EIO=3").await;
    let mut first = session.held_poll().await;
    session.poll().await.is(400, "");
    first.answer().await.is(200, "1:1");
    session.is_gone().await;
}

#[tokio::test]
async fn the_clients_close_releases_one_poll() {
    let server = Server::start().await;
    for waits in [true, false] {
        let session = server.open_v3("EIO=3").await;
        let held = if waits { Some(session.held_poll().await) } else { None };
        session.post("1:1").await.is(200, "ok");
        match held {
            Some(mut held) => held.answer().await.is(200, "1:6"),
            None => session.poll().await.is(200, "1:6"),
        }
        session.is_gone().await;
    }
}

#[tokio::test]
async fn the_servers_close_comes_with_the_next_poll() {
    let server = Server::start().await;
    let session = server.open_v3("EIO=3").await;
    // After twenty refusals the server closes the session.
    let names: Vec<_> = (0..20).map(|number| format!("/{number}")).collect();
    session.post(names.iter().map(|name| counted(&[&format!("40{name}")])).collect::<String>()).await.is(200, "ok");
    // An answer has 16 packets at most.
    let refusals: Vec<_> = names.iter().map(|name| counted(&[&refusal_v3(name)])).collect();
    session.poll().await.is(200, &refusals[..16].concat());
    session.poll().await.is(200, &format!("{}1:1", refusals[16..].concat()));
    session.is_gone().await;
}

#[tokio::test]
async fn a_post_of_bytes_over_the_limit_is_413_and_closes_the_session() {
    let server = small().await;
    let session = server.open_v3("EIO=3").await;
    let mut held = session.held_poll().await;
    session.post_as("application/octet-stream", [0; 1001]).await.is(413, "");
    held.answer().await.is(200, "1:1");
    session.is_gone().await;
}

// Upgrade

#[tokio::test]
async fn an_upgrade_neither_loses_nor_repeats_a_packet() {
    let server = Server::start().await;
    let session = server.open_v3("EIO=3").await;
    let mut ws = session.candidate().await;
    // While the candidate is silent, polling goes on.
    session.pings().await;
    let mut held = session.held_poll().await;
    ws.text("2probe").await;
    ws.expect("3probe").await;
    held.answer().await.is(200, "1:6");
    session.poll().await.is(200, "1:6");
    // Before the `5`, data goes over polling. What waits at the `5` goes over the WebSocket, and a noop never does.
    session.pings().await;
    session.post("5:40/b,").await.is(200, "ok");
    ws.text("5").await;
    ws.expect(&refusal_v3("/b")).await;
    ws.pings().await;
    session.poll().await.is(400, E3);
    session.post("1:2").await.is(400, E3);
    session.candidate().await.closes(None, "on a WebSocket already").await;
    ws.pings().await;
}

#[tokio::test]
async fn a_wrong_frame_drops_the_candidate_and_polling_goes_on() {
    let server = Server::start().await;
    for frames in [&["40/a"][..], &["2"], &["3"], &["5"], &["1:2"], &[""], &["2probe", "2"], &["2probe", "2probe"]] {
        let session = server.open_v3("EIO=3").await;
        let mut ws = session.candidate().await;
        for frame in frames {
            ws.text(frame).await;
        }
        if frames.len() == 2 {
            ws.expect("3probe").await;
        }
        ws.closes(None, &format!("{frames:?}")).await;
        session.pings().await;
    }
}

/// Sends a visitor's bytes, which the poll must bring as base64 or as bytes.
async fn polls_binary(server: &Server, session: &Polling<'_>, token: &str, is_text: bool, when: &str) {
    let _visitor = server.visit(token, &[1, 2, 3, 4]).await;
    // After a probe, polls are released with a noop.
    let answer = loop {
        let answer = session.poll().await;
        if answer.body != b"1:6" {
            break answer;
        }
    };
    let (content_type, end): (_, &[u8]) = if is_text {
        ("text/plain; charset=UTF-8", b"10:b4AQIDBA==")
    } else {
        ("application/octet-stream", b"\x01\x05\xff\x04\x01\x02\x03\x04")
    };
    assert_eq!(answer.header("content-type"), Some(content_type), "{when}");
    assert!(answer.body.ends_with(end), "{when}");
}

/// A candidate's `b64` counts from the moment when the candidate is the session's transport.
#[tokio::test]
async fn base64_is_chosen_for_each_transport_by_itself() {
    let server = Server::start().await;
    for (polling, websocket) in [("EIO=3", "EIO=3&b64=1"), ("EIO=3&b64=1", "EIO=3"), ("EIO=3&b64=1", "EIO=3&b64=true")]
    {
        let (mut session, token) = (server.open_v3(polling).await, server.token().await);
        session.post(counted(&[&format!("40/{token}")])).await.is(200, "ok");
        assert_eq!(session.poll().await.status, 200);
        let is_text = polling.contains("b64");
        for fails in [true, false] {
            session.words = websocket;
            let mut ws = session.candidate().await;
            session.words = polling;
            polls_binary(&server, &session, &token, is_text, "beside a silent candidate").await;
            ws.text("2probe").await;
            ws.expect("3probe").await;
            polls_binary(&server, &session, &token, is_text, "beside a probed candidate").await;
            if fails {
                ws.text("6").await;
                ws.closes(None, "no 5").await;
                polls_binary(&server, &session, &token, is_text, "after a candidate that failed").await;
                continue;
            }
            ws.text("5").await;
            ws.pings().await;
            let _visitor = server.visit(&token, &[1, 2, 3, 4]).await;
            ws.request(&token, 5).await;
            let expected = if websocket.contains("b64") {
                Frame::Text("b4AQIDBA==".to_owned())
            } else {
                Frame::Binary(vec![4, 1, 2, 3, 4])
            };
            assert_eq!(ws.next().await, expected, "{polling}, then {websocket}");
        }
    }
}

// WebSocket

#[tokio::test]
async fn binary_on_a_websocket_has_its_type_in_front() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined_v3().await;
    let rows = [
        (Frame::Binary(vec![4, 9, 8]), &[9, 8][..]),
        (Frame::Binary(vec![4, 4]), &[4]),
        (Frame::Binary(vec![4]), &[]),
        (Frame::Text("b4CQg=".to_owned()), &[9, 8]),
        (Frame::Text("b4CQg".to_owned()), &[9, 8]),
        (Frame::Text("b4".to_owned()), &[]),
    ];
    for (id, (frame, expected)) in rows.into_iter().enumerate() {
        let mut visitor = server.visit(&token, &[1, 2, 3, 4]).await;
        ws.request(&token, id).await;
        assert_eq!(ws.next().await, Frame::Binary(vec![4, 1, 2, 3, 4]));
        ws.text(&format!(r#"461-/{token},{id}[200,{{"_placeholder":true,"num":0}}]"#)).await;
        match &frame {
            Frame::Binary(data) => ws.binary(data).await,
            Frame::Text(text) => ws.text(text).await,
            Frame::Pong(_) | Frame::Close(_) => panic!("{frame:?}"),
        }
        assert_eq!(visitor.answer().await.body, expected, "{frame:?}");
    }
}

#[tokio::test]
async fn a_websocket_opened_with_b64_gets_binary_as_base64() {
    let server = Server::start().await;
    let token = server.token().await;
    let mut ws = server.ws("EIO=3&transport=websocket&b64=1").await;
    assert!(ws.next_text().await.starts_with("0{"));
    ws.expect("40").await;
    ws.text(&format!("40/{token}")).await;
    ws.expect(&format!("40/{token},")).await;
    let _visitor = server.visit(&token, &[1, 2, 3, 4]).await;
    ws.request(&token, 0).await;
    ws.expect("b4AQIDBA==").await;
}

#[tokio::test]
async fn an_invalid_packet_closes_the_websocket() {
    let server = Server::start().await;
    for text in ["1", "", "4", "abc", "7", "b", "bAQID", "b4!!!!", "1:2"] {
        let mut ws = server.open_ws_v3().await;
        ws.text(text).await;
        ws.closes(None, text).await;
    }
    for data in [&b""[..], b"\x00", b"\x01\x02", b"\x05\x04", b"4", b"\xff"] {
        let (mut ws, token) = server.joined_v3().await;
        // An attachment is due, so that only the type byte is wrong.
        ws.text(&format!(r#"451-/{token},["a",{{"_placeholder":true,"num":0}}]"#)).await;
        ws.binary(data).await;
        ws.closes(None, &format!("{data:?}")).await;
    }
}

#[tokio::test]
async fn packets_without_a_meaning_are_ignored() {
    let server = Server::start().await;
    let mut ws = server.open_ws_v3().await;
    let session = server.open_v3("EIO=3").await;
    for text in ["0", "0{}", "5", "6"] {
        ws.text(text).await;
        session.post(counted(&[text])).await.is(200, "ok");
    }
    ws.pings().await;
    session.pings().await;
}
