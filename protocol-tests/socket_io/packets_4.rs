//! Packets of Socket.IO protocol 4, where they differ from those of protocol 5.

use super::{rows, send, serves, visitor};
use crate::support::wire::{Server, counted};

// Packets

#[tokio::test]
async fn reserved_names_are_events_like_others() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined_v3().await;
    for name in ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener", "error"] {
        send(&mut ws, &format!(r#"2/T,["{name}"]"#), &token).await;
        send(&mut ws, &format!(r#"2["{name}",1]"#), &token).await;
    }
    serves(&server, &mut ws, &token, 0).await;
}

#[tokio::test]
async fn a_malformed_packet_closes_the_connection() {
    let server = Server::start().await;
    for packet in rows(
        r#"7 | abc | 2/T,[] | 2/T,{} | 2/T,[null] | 2/T,[{}] | 2/T,[["a"]] | 2/T["a"] | 2/T,["a" | 2/T,-1["a"]
2/T,9007199254740992["a"] | 3/T,1{} | 4/T,[] | 4/T,"x" | 4"x" | 5/T,["a"] | 50-/T,["a"] | 511-/T,["a"]
511-/other,["a"] | 2/other,[] | 7/other,"#,
    ) {
        let (mut ws, token) = server.joined_v3().await;
        send(&mut ws, packet, &token).await;
        ws.closes(None, packet).await;
    }
}

// Acks and attachments

#[tokio::test]
async fn an_ack_may_carry_attachments() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined_v3().await;
    for (id, (packet, attachments, expected)) in [
        (r#"3/T,ID[200,"é€😀"]"#, &[][..], "é€😀"),
        ("3/T,ID[]", &[], "OK"),
        ("61-/T,ID[200,PH0]", &["bytes"], "bytes"),
        (r#"62-/T,ID[200,{"_placeholder":true,"num":1}]"#, &["zero", "one"], "one"),
        ("61-/T,ID[200,PH0]", &[""], ""),
    ]
    .into_iter()
    .enumerate()
    {
        let mut visitor = visitor(&server, &mut ws, &token, id).await;
        send(&mut ws, &packet.replace("ID", &id.to_string()), &token).await;
        for data in attachments {
            ws.binary(format!("\u{4}{data}").as_bytes()).await;
        }
        assert_eq!(visitor.answer().await.parts(), (200, expected.to_owned()), "{packet}");
    }
}

#[tokio::test]
async fn pings_among_attachments_are_answered() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined_v3().await;
    let mut waiting = visitor(&server, &mut ws, &token, 0).await;
    for (packet, id) in [(r#"52-/T,["a",PH0]"#, None), (r#"62-/T,0[200,{"_placeholder":true,"num":1}]"#, Some(0))] {
        send(&mut ws, packet, &token).await;
        ws.pings().await;
        ws.binary(b"\x04a").await;
        ws.pings().await;
        ws.text("6").await;
        ws.binary(b"\x04b").await;
        if id.is_some() {
            waiting.answer().await.is(200, "b");
        }
    }
    // The same over polling, in several bodies and in one.
    let (session, token) = (server.open_v3("EIO=3").await, server.token().await);
    session.post(counted(&[&format!("40/{token}")])).await.is(200, "ok");
    session.poll().await;
    for (id, whole) in [false, true].into_iter().enumerate() {
        let mut visitor = server.visit(&token, b"").await;
        session.poll().await;
        let ack = format!(r#"461-/{token},{id}[200,{{"_placeholder":true,"num":0}}]"#);
        if whole {
            session.post(counted(&[&ack, "2", "b4CQg="])).await.is(200, "ok");
        } else {
            session.post(counted(&[&ack])).await.is(200, "ok");
            session.post("1:2").await.is(200, "ok");
            session.post("6:b4CQg=").await.is(200, "ok");
        }
        session.poll().await.is(200, "1:3");
        assert_eq!(visitor.answer().await.body, [9, 8]);
    }
}

#[tokio::test]
async fn an_answer_too_large_costs_its_exchange_alone() {
    let server = Server::with(|config| config.max_payload = Some(1000)).await;
    let (mut ws, token) = server.joined_v3().await;
    let long = "x".repeat(1500);
    for (id, (packet, attachments)) in [
        (format!(r#"3/T,ID[200,"{long}"]"#), &[][..]),
        (String::from("61-/T,ID[200,PH0]"), &[1001][..]),
        (String::from("62-/T,ID[200,PH0]"), &[501, 500]),
        (format!(r#"62-/T,ID[200,"{long}"]"#), &[1, 1]),
    ]
    .into_iter()
    .enumerate()
    {
        let mut visitor = visitor(&server, &mut ws, &token, id).await;
        // Before it, what is as large for a namespace that was never joined, which is nobody's.
        for packet in [packet.replace("/T", "/other"), packet] {
            send(&mut ws, &packet.replace("ID", &id.to_string()), &token).await;
            for length in attachments {
                ws.binary(&[&[4][..], &vec![0; *length]].concat()).await;
                ws.pings().await;
            }
        }
        assert_eq!(visitor.answer().await.status, 502, "row {id}");
    }
    send(&mut ws, &format!(r#"2/T,["{long}"]"#), &token).await;
    serves(&server, &mut ws, &token, 4).await;
}

/// A client with `forceBase64` sends its attachments as text: they are as much part of the answer.
#[tokio::test]
async fn an_attachment_too_large_in_base64_costs_its_exchange_alone() {
    let server = Server::with(|config| config.max_payload = Some(1000)).await;
    let (mut ws, token) = server.joined_v3().await;
    let mut waiting = visitor(&server, &mut ws, &token, 0).await;
    send(&mut ws, "61-/T,0[200,PH0]", &token).await;
    ws.text(&format!("b4{}", "A".repeat(1600))).await;
    assert_eq!(waiting.answer().await.status, 502);
    serves(&server, &mut ws, &token, 1).await;
}
