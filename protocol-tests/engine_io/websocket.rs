//! The upgrade and the WebSocket itself (PROTOCOL.md, "Engine.IO packets" and "A session").

use std::time::Instant;

use super::{E3, ms, small};
use crate::support::wire::{Frame, Server, UPGRADE, refusal};

// Upgrade

#[tokio::test]
async fn an_upgrade_neither_loses_nor_repeats_a_packet() {
    let server = Server::start().await;
    let session = server.open().await;
    let mut ws = session.candidate().await;
    // While the candidate is silent, polling goes on.
    let mut held = session.held_poll().await;
    session.post("40/a,").await.is(200, "ok");
    held.answer().await.is(200, &refusal("/a"));
    // The probe releases the poll that waits, and each that comes after it.
    let mut held = session.held_poll().await;
    ws.text("2probe").await;
    ws.expect("3probe").await;
    held.answer().await.is(200, "6");
    session.poll().await.is(200, "6");
    // Before the `5`, data goes over polling. What waits at the `5` goes over the WebSocket, and a noop never does.
    session.is_alive().await;
    session.post("40/b,").await.is(200, "ok");
    ws.text("5").await;
    ws.expect(&refusal("/b")).await;
    ws.is_alive().await;
    session.poll().await.is(400, E3);
    session.post("40/c,").await.is(400, E3);
    session.candidate().await.closes(None, "on a WebSocket already").await;
    ws.is_alive().await;
}

#[tokio::test]
async fn a_poll_that_meets_the_end_of_an_upgrade_is_rejected() {
    let server = Server::start().await;
    let session = server.open().await;
    let mut ws = session.probed().await;
    let mut poll = server.send("GET", &format!("/socket.io/?{}", session.query("polling")), &[], b"").await;
    ws.text("5").await;
    poll.answer().await.is(400, E3);
    ws.is_alive().await;
}

#[tokio::test]
async fn a_wrong_frame_drops_the_candidate_and_polling_goes_on() {
    let server = Server::start().await;
    for frames in [&["40/a,"][..], &["2"], &["5"], &["x"], &[""], &["2probe", "40/a,"], &["2probe", "2probe"]] {
        let session = server.open().await;
        let mut ws = session.candidate().await;
        for frame in frames {
            ws.text(frame).await;
        }
        if frames.len() == 2 {
            ws.expect("3probe").await;
        }
        ws.closes(None, &format!("{frames:?}")).await;
        session.is_alive().await;
    }
}

#[tokio::test]
async fn an_upgrade_that_takes_too_long_drops_the_candidate() {
    let server = Server::with(|config| config.upgrade_timeout = ms(500)).await;
    for probed in [false, true] {
        let session = server.open().await;
        let start = Instant::now();
        let mut ws = session.candidate().await;
        if probed {
            ws.text("2probe").await;
            ws.expect("3probe").await;
        }
        ws.closes(None, "timeout").await;
        assert!(start.elapsed() >= ms(500));
        session.is_alive().await;
    }
}

#[tokio::test]
async fn a_second_candidate_is_closed_and_the_first_goes_on() {
    let server = Server::start().await;
    let session = server.open().await;
    let mut ws = session.candidate().await;
    session.candidate().await.closes(None, "beside a candidate").await;
    ws.text("2probe").await;
    ws.expect("3probe").await;
    session.candidate().await.closes(None, "beside a candidate that has probed").await;
    ws.text("5").await;
    ws.is_alive().await;
}

#[tokio::test]
async fn a_lost_candidate_leaves_the_session_polling() {
    let server = Server::start().await;
    let session = server.open().await;
    let mut ws = session.candidate().await;
    ws.frame(0x88, &[]).await;
    server.settle().await;
    session.is_alive().await;
    drop(session.probed().await);
    server.settle().await;
    session.is_alive().await;
    // Polls are held again, and another candidate may come.
    let mut held = session.held_poll().await;
    let _candidate = session.probed().await;
    held.answer().await.is(200, "6");
}

#[tokio::test]
async fn a_session_that_ends_closes_its_candidate() {
    let server = Server::start().await;
    for body in ["1", "9"] {
        let session = server.open().await;
        let mut ws = session.probed().await;
        session.post(body).await;
        ws.closes(None, body).await;
    }
}

// WebSocket

#[tokio::test]
async fn binary_may_come_as_base64_text() {
    let server = Server::start().await;
    let (mut ws, token) = (server.open_ws().await, server.token().await);
    ws.join(&token).await;
    let mut visitor = server.visit(&token, &[9]).await;
    ws.request(&token, 0).await;
    assert_eq!(ws.next().await, Frame::Binary(vec![9]), "binary has no type byte");
    ws.text(&format!(r#"461-/{token},0[200,{{"_placeholder":true,"num":0}}]"#)).await;
    ws.text("bAQIDBA==").await;
    assert_eq!(visitor.answer().await.body, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_websocket_opened_with_b64_gets_binary_as_base64() {
    let server = Server::start().await;
    let token = server.token().await;
    let mut ws = server.ws("EIO=4&transport=websocket&b64=1").await;
    ws.next_text().await;
    ws.join(&token).await;
    let _visitor = server.visit(&token, &[1, 2, 3, 4]).await;
    ws.request(&token, 0).await;
    ws.expect("bAQIDBA==").await;
}

#[tokio::test]
async fn a_frame_against_rfc_6455_closes_with_the_code_for_it() {
    let server = small().await;
    for (first, payload, code) in [
        (0x82, &[0; 4001][..], 1009),
        (0x81, b"4\xff", 1007),
        (0xc1, b"40/a,", 1002),
        (0x83, b"40/a,", 1002),
        (0x80, b"40/a,", 1002),
        (0x09, b"fragmented ping", 1002),
    ] {
        let mut ws = server.open_ws().await;
        ws.frame(first, payload).await;
        ws.closes(Some(code), &format!("{first:#x}")).await;
    }
    let mut ws = server.open_ws().await;
    ws.peer.send(b"\x81\x0540/a,").await;
    ws.closes(Some(1002), "no mask").await;
}

#[tokio::test]
async fn an_invalid_packet_closes_the_websocket() {
    let server = Server::start().await;
    for text in ["1", "", "4", "abc", "7", "b!!!!"] {
        let mut ws = server.open_ws().await;
        ws.text(text).await;
        ws.closes(None, text).await;
    }
}

#[tokio::test]
async fn control_frames_and_packets_without_a_meaning_leave_the_session_alone() {
    let server = Server::start().await;
    let mut ws = server.open_ws().await;
    for text in ["0", "0{}", "3", "5", "6"] {
        ws.text(text).await;
    }
    ws.is_alive().await;
    ws.frame(0x89, b"are you there").await;
    assert_eq!(ws.next().await, Frame::Pong(b"are you there".to_vec()));
    ws.frame(0x8a, b"nobody asked").await;
    ws.frame(0x01, b"40/").await;
    ws.frame(0x89, b"between").await;
    ws.frame(0x80, b"a,").await;
    assert_eq!(ws.next().await, Frame::Pong(b"between".to_vec()));
    ws.expect(&refusal("/a")).await;
}

#[tokio::test]
async fn a_close_frame_is_echoed() {
    let server = Server::start().await;
    let mut ws = server.open_ws().await;
    ws.frame(0x88, &1000_u16.to_be_bytes()).await;
    ws.closes(Some(1000), "with a code").await;
    let mut candidate = server.open().await.candidate().await;
    candidate.frame(0x88, &[]).await;
    candidate.closes(None, "without one").await;
}

#[tokio::test]
async fn a_request_before_the_upgrade_is_answered_first() {
    let server = Server::start().await;
    let mut peer = server.peer().await;
    let upgrade: String = UPGRADE.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let requests = format!(
        "GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n\
         GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: test\r\n{upgrade}\r\n"
    );
    peer.send(requests.as_bytes()).await;
    assert_eq!(peer.answer().await.status, 200);
    assert_eq!(peer.answer().await.status, 101);
    let open = peer.exactly(4).await;
    assert_eq!((open[0], open[2], open[3]), (0x81, b'0', b'{'), "{open:?}");
}

/// The reference server picks the first, and browsers close a WebSocket whose server picks none (RFC 6455, section 4.1).
#[tokio::test]
async fn the_first_subprotocol_that_a_client_names_is_picked() {
    let server = Server::start().await;
    let refusal = "the header Sec-WebSocket-Protocol must be a list of different names";
    for (lines, picked) in [
        (&[][..], Ok(None)),
        (&["chat"], Ok(Some("chat"))),
        (&["v2.chat, v1.chat"], Ok(Some("v2.chat"))),
        (&[" a!#$%&'*+-.^_`|~Z9 ,b"], Ok(Some("a!#$%&'*+-.^_`|~Z9"))),
        (&["b", "a"], Ok(Some("b"))),
        (&[""], Err(refusal)),
        (&["a,,b"], Err(refusal)),
        (&["a,"], Err(refusal)),
        (&["a b"], Err(refusal)),
        (&["a, b;q=1"], Err(refusal)),
        (&["a, b, a"], Err(refusal)),
        (&["a", "a"], Err(refusal)),
        (&["\u{e9}"], Err(refusal)),
    ] {
        let named: Vec<_> = lines.iter().map(|&line| ("Sec-WebSocket-Protocol", line)).collect();
        let headers = [UPGRADE, &named].concat();
        for query in ["EIO=4&transport=websocket", "EIO=3&transport=websocket"] {
            let answer = server.ask("GET", &format!("/socket.io/?{query}"), &headers, b"").await;
            match picked {
                Ok(picked) => {
                    let got = (answer.status, answer.header("sec-websocket-protocol"));
                    assert_eq!(got, (101, picked), "{lines:?}");
                }
                Err(refusal) => answer.is(400, refusal),
            }
        }
    }
    // A WebSocket for a session that polls, too.
    let session = server.open().await;
    let target = format!("/socket.io/?{}", session.query("websocket"));
    let answer = server.ask("GET", &target, &[UPGRADE, &[("Sec-WebSocket-Protocol", "x, y")]].concat(), b"").await;
    assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, Some("x")));
}
