//! Packets of Socket.IO protocol 4, where they differ from those of protocol 5.

use super::{send, serves, visitor};
use crate::support::wire::{Server, counted};

// Packets

#[tokio::test]
async fn reserved_names_are_events_like_others() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined_v3().await;
    for name in ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener", "error"] {
        send(&mut ws, &format!(r#"2/TOKEN,["{name}"]"#), &token).await;
        send(&mut ws, &format!(r#"2["{name}",1]"#), &token).await;
    }
    serves(&server, &mut ws, &token, 0).await;
}

#[tokio::test]
async fn a_malformed_packet_closes_the_connection() {
    let server = Server::start().await;
    for packet in [
        "7",
        "abc",
        "2/TOKEN,[]",
        "2/TOKEN,{}",
        "2/TOKEN,[null]",
        "2/TOKEN,[{}]",
        r#"2/TOKEN,[["a"]]"#,
        r#"2/TOKEN["a"]"#,
        r#"2/TOKEN,["a""#,
        r#"2/TOKEN,-1["a"]"#,
        r#"2/TOKEN,9007199254740992["a"]"#,
        "3/TOKEN,1{}",
        "4/TOKEN,[]",
        r#"4/TOKEN,"x""#,
        r#"4"x""#,
        r#"5/TOKEN,["a"]"#,
        r#"50-/TOKEN,["a"]"#,
        r#"511-/TOKEN,["a"]"#,
        r#"511-/other,["a"]"#,
        "2/other,[]",
        "7/other,",
    ] {
        let (mut ws, token) = server.joined_v3().await;
        send(&mut ws, packet, &token).await;
        ws.closes(None, packet).await;
    }
}

// Acks and attachments

#[tokio::test]
async fn an_ack_may_carry_attachments() {
    let server = Server::start().await;
    for (packet, attachments, body) in [
        (r#"3/TOKEN,0[200,"é€😀"]"#, &[][..], "é€😀"),
        ("3/TOKEN,0[]", &[], "OK"),
        (r#"61-/TOKEN,0[200,{"_placeholder":true,"num":0}]"#, &["bytes"], "bytes"),
        (r#"62-/TOKEN,0[200,{"_placeholder":true,"num":1}]"#, &["zero", "one"], "one"),
        (r#"61-/TOKEN,0[200,{"_placeholder":true,"num":0}]"#, &[""], ""),
    ] {
        let (mut ws, token) = server.joined_v3().await;
        let mut visitor = visitor(&server, &mut ws, &token, 0).await;
        send(&mut ws, packet, &token).await;
        for data in attachments {
            ws.binary(format!("\u{4}{data}").as_bytes()).await;
        }
        assert_eq!(visitor.answer().await.parts(), (200, body.to_owned()), "{packet}");
        serves(&server, &mut ws, &token, 1).await;
    }
}

#[tokio::test]
async fn pings_among_attachments_are_answered() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined_v3().await;
    let mut waiting = visitor(&server, &mut ws, &token, 0).await;
    for packet in
        [r#"52-/TOKEN,["a",{"_placeholder":true,"num":0}]"#, r#"62-/TOKEN,0[200,{"_placeholder":true,"num":1}]"#]
    {
        send(&mut ws, packet, &token).await;
        ws.pings().await;
        ws.binary(b"\x04a").await;
        ws.pings().await;
        ws.text("6").await;
        ws.binary(b"\x04b").await;
    }
    waiting.answer().await.is(200, "b");
}

/// The ack, the ping and the attachment come in one polling body, and then in three.
#[tokio::test]
async fn pings_among_attachments_are_answered_over_polling() {
    let server = Server::start().await;
    let (session, token) = (server.open_v3("EIO=3").await, server.token().await);
    session.post(counted(&[&format!("40/{token}")])).await.is(200, "ok");
    session.poll().await;
    for (id, bodies) in [&[3][..], &[1, 1, 1]].into_iter().enumerate() {
        let mut visitor = server.visit(&token, b"").await;
        session.poll().await;
        let ack = format!(r#"461-/{token},{id}[200,{{"_placeholder":true,"num":0}}]"#);
        let mut packets = &[&*ack, "2", "b4CQg="][..];
        for &count in bodies {
            let body;
            (body, packets) = packets.split_at(count);
            session.post(counted(body)).await.is(200, "ok");
        }
        session.poll().await.is(200, "1:3");
        assert_eq!(visitor.answer().await.body, [9, 8]);
    }
}

#[tokio::test]
async fn an_answer_too_large_costs_its_exchange_alone() {
    let server = Server::with(|config| config.max_payload = Some(1000)).await;
    let long = "x".repeat(1500);
    for (packet, lengths) in [
        (&*format!(r#"3/TOKEN,0[200,"{long}"]"#), &[][..]),
        (r#"61-/TOKEN,0[200,{"_placeholder":true,"num":0}]"#, &[1001]),
        (r#"62-/TOKEN,0[200,{"_placeholder":true,"num":0}]"#, &[501, 500]),
        (&format!(r#"62-/TOKEN,0[200,"{long}"]"#), &[1, 1]),
    ] {
        let (mut ws, token) = server.joined_v3().await;
        let mut visitor = visitor(&server, &mut ws, &token, 0).await;
        // Before it, a packet as large for a namespace that was never joined: it answers no exchange.
        for packet in [&*packet.replace("TOKEN", "other"), packet] {
            send(&mut ws, packet, &token).await;
            for length in lengths {
                ws.binary(&[&[4][..], &vec![0; *length]].concat()).await;
                ws.pings().await;
            }
        }
        assert_eq!(visitor.answer().await.status, 502, "{packet:.20}");
        send(&mut ws, &format!(r#"2/TOKEN,["{long}"]"#), &token).await;
        serves(&server, &mut ws, &token, 1).await;
    }
}

/// A client with `forceBase64` sends attachments as text, which count as part of the answer.
#[tokio::test]
async fn an_attachment_too_large_in_base64_costs_its_exchange_alone() {
    let server = Server::with(|config| config.max_payload = Some(1000)).await;
    let (mut ws, token) = server.joined_v3().await;
    let mut waiting = visitor(&server, &mut ws, &token, 0).await;
    send(&mut ws, r#"61-/TOKEN,0[200,{"_placeholder":true,"num":0}]"#, &token).await;
    ws.text(&format!("b4{}", "A".repeat(1600))).await;
    assert_eq!(waiting.answer().await.status, 502);
    serves(&server, &mut ws, &token, 1).await;
}
