//! Packets of Socket.IO protocol 5: which are valid, and how acks and attachments arrive (PROTOCOL.md, "Socket.IO",
//! "Attachments" and "What closes the connection").

use super::{send, serves, visitor};
use crate::support::wire::{Frame, Server};

// What is a packet, and what is not

#[tokio::test]
async fn a_malformed_packet_closes_the_connection() {
    let server = Server::start().await;
    for packet in [
        "7",
        "9",
        "a",
        "abc",
        "2/TOKEN",
        "2/TOKEN,",
        "2/TOKEN,[]",
        "2/TOKEN,{}",
        r#"2/TOKEN,"a""#,
        "2/TOKEN,[null]",
        "2/TOKEN,[{}]",
        "2/TOKEN,[true]",
        r#"2/TOKEN,[["a"]]"#,
        r#"2/TOKEN,["connect"]"#,
        r#"2/TOKEN,["\u0064isconnect"]"#,
        r#"2/TOKEN,["newListener"]"#,
        r#"2/TOKEN["a"]"#,
        r#"2/TOKEN,b,["a"]"#,
        r#"2/TOKEN,["a""#,
        r#"2/TOKEN,["a"]]"#,
        r#"2/TOKEN, 1["a"]"#,
        r#"2/TOKEN,-1["a"]"#,
        r#"2/TOKEN,1.5["a"]"#,
        r#"2/TOKEN,1e3["a"]"#,
        r#"2/TOKEN,abc["a"]"#,
        r#"2/TOKEN,9007199254740992["a"]"#,
        r#"2/TOKEN,123456789012345678901["a"]"#,
        "3/TOKEN,1{}",
        "3/TOKEN,1null",
        "3/TOKEN,1[",
        "1/TOKEN,{}",
        "1/TOKEN,1",
        "4/TOKEN,[]",
        r#"4/TOKEN,{"message":"x"}"#,
        "0/other,[]",
        "0/other,null",
        r#"0/other,"x""#,
        "0/other,{}x",
        "0/other,1{}",
        r#"5/TOKEN,["a"]"#,
        r#"5-/TOKEN,["a"]"#,
        r#"5-1-/TOKEN,["a"]"#,
        r#"50-/TOKEN,["a"]"#,
        r#"51.5-/TOKEN,["a"]"#,
        r#"51e1-/TOKEN,["a"]"#,
        r#"5 1-/TOKEN,["a"]"#,
        r#"511-/TOKEN,["a"]"#,
        r#"599999999999999999999-/TOKEN,["a"]"#,
        "61-/TOKEN,0{}",
        "60-/TOKEN,0[]",
    ] {
        let (mut ws, token) = server.joined().await;
        send(&mut ws, packet, &token).await;
        ws.closes(None, packet).await;
    }
}

#[tokio::test]
async fn every_valid_packet_is_accepted() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    for packet in [
        r#"2/TOKEN,["a"]"#,
        "2/TOKEN,[1]",
        r#"2/TOKEN,[""]"#,
        r#"2/TOKEN,12["a"]"#,
        r#"2/TOKEN,0012["a"]"#,
        r#"2/TOKEN,9007199254740991["a"]"#,
        r#"2/TOKEN,["error"]"#,
        r#"2/TOKEN,["__proto__"]"#,
        r#"2/TOKEN,["a",{"__proto__":1}]"#,
        r#"2/TOKEN,["a","\ud800",1e400,{"x":1,"x":2}]"#,
        r#"2/TOKEN, ["a"]"#,
        r#"2/TOKEN,["a",{"_placeholder":true,"num":"x"}]"#,
        "3/TOKEN",
        "3/TOKEN,",
        "3/TOKEN,1",
        "3/TOKEN,[]",
        "3/TOKEN,1[]",
        r#"3/TOKEN,00000001["a"]"#,
    ] {
        send(&mut ws, packet, &token).await;
    }
    let deep = format!(r#"2/TOKEN,["a",{}{}]"#, "[".repeat(20_000), "]".repeat(20_000));
    send(&mut ws, &deep, &token).await;
    serves(&server, &mut ws, &token, 0).await;
}

// Acks

#[tokio::test]
async fn unknown_and_second_acks_are_ignored() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    let mut first = visitor(&server, &mut ws, &token, 0).await;
    let mut second = visitor(&server, &mut ws, &token, 1).await;
    for packet in
        [r#"3/TOKEN,7[200,"unknown"]"#, r#"3/TOKEN,1[200,"b"]"#, r#"3/TOKEN,1[200,"late"]"#, r#"3/TOKEN,0[200,"a"]"#]
    {
        send(&mut ws, packet, &token).await;
    }
    first.answer().await.is(200, "a");
    second.answer().await.is(200, "b");
    send(&mut ws, r#"3/TOKEN,0[200,"late"]"#, &token).await;
    serves(&server, &mut ws, &token, 2).await;
}

#[tokio::test]
async fn an_ack_counts_in_its_own_namespace_alone() {
    let server = Server::start().await;
    let (mut ws, one) = server.joined().await;
    let other = server.token().await;
    ws.join(&other).await;
    let mut visitor = visitor(&server, &mut ws, &one, 0).await;
    send(&mut ws, r#"3/TOKEN,0[200,"wrong"]"#, &other).await;
    send(&mut ws, r#"3/TOKEN,0[200,"right"]"#, &one).await;
    visitor.answer().await.is(200, "right");
}

// Attachments

#[tokio::test]
async fn an_ack_may_carry_attachments() {
    let server = Server::start().await;
    for (packet, attachments, body) in [
        (r#"61-/TOKEN,0[200,{"_placeholder":true,"num":0}]"#, &["\u{1}"][..], "\u{1}"),
        (r#"62-/TOKEN,0[200,{"_placeholder":true,"num":1}]"#, &["zero", "one"], "one"),
        (r#"61-/TOKEN,0[200,{"extra":[{}],"num":0,"_placeholder":true}]"#, &["x"], "x"),
        (r#"61-/TOKEN,0[200,{"_placeholder":true,"num":0}]"#, &[""], ""),
        (r#"61-/TOKEN,0[200,"unused"]"#, &["x"], "unused"),
        (r#"61-/TOKEN,0[200,{"_placeholder":1,"num":9}]"#, &["x"], r#"{"_placeholder":1,"num":9}"#),
        (
            r#"610-/TOKEN,0[200,{"_placeholder":true,"num":0}]"#,
            &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
            "0",
        ),
    ] {
        let (mut ws, token) = server.joined().await;
        let mut visitor = visitor(&server, &mut ws, &token, 0).await;
        send(&mut ws, packet, &token).await;
        for data in attachments {
            ws.binary(data.as_bytes()).await;
        }
        assert_eq!(visitor.answer().await.parts(), (200, body.to_owned()), "{packet}");
        serves(&server, &mut ws, &token, 1).await;
    }
}

#[tokio::test]
async fn heartbeats_may_come_between_attachments() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    let mut visitor = visitor(&server, &mut ws, &token, 0).await;
    send(&mut ws, r#"62-/TOKEN,0[200,{"_placeholder":true,"num":1}]"#, &token).await;
    ws.text("3").await;
    ws.binary(b"a").await;
    ws.frame(0x89, b"ping").await;
    assert_eq!(ws.next().await, Frame::Pong(b"ping".to_vec()));
    ws.text("6").await;
    ws.binary(b"b").await;
    visitor.answer().await.is(200, "b");
    serves(&server, &mut ws, &token, 1).await;
}

#[tokio::test]
async fn a_text_packet_among_attachments_closes_the_connection() {
    let server = Server::start().await;
    for packet in [r#"2/TOKEN,["a"]"#, "0/other,", "1/TOKEN,", r#"61-/TOKEN,0[{"_placeholder":true,"num":0}]"#] {
        let (mut ws, token) = server.joined().await;
        send(&mut ws, r#"52-/TOKEN,["a",{"_placeholder":true,"num":0}]"#, &token).await;
        ws.binary(b"a").await;
        send(&mut ws, packet, &token).await;
        ws.closes(None, packet).await;
    }
}

#[tokio::test]
async fn an_unannounced_attachment_closes_the_connection() {
    let server = Server::start().await;
    let (mut ws, _) = server.joined().await;
    ws.binary(b"a").await;
    ws.closes(None, "none was announced").await;
    let (mut ws, token) = server.joined().await;
    send(&mut ws, r#"51-/TOKEN,["a",{"_placeholder":true,"num":0}]"#, &token).await;
    ws.binary(b"a").await;
    serves(&server, &mut ws, &token, 0).await;
    ws.binary(b"b").await;
    ws.closes(None, "one too many").await;
}

#[tokio::test]
async fn a_placeholder_must_name_an_attachment() {
    let server = Server::start().await;
    for number in ["1", "-1", "0.5", r#""0""#, r#""splice""#, "null", "99999999999999999999"] {
        let (mut ws, token) = server.joined().await;
        send(&mut ws, &format!(r#"51-/TOKEN,["a",{{"_placeholder":true,"num":{number}}}]"#), &token).await;
        ws.binary(b"a").await;
        ws.closes(None, number).await;
    }
    for packet in [r#"51-/TOKEN,["a",{"_placeholder":true}]"#, r#"51-/TOKEN,[{"_placeholder":true,"num":0}]"#] {
        let (mut ws, token) = server.joined().await;
        send(&mut ws, packet, &token).await;
        ws.binary(b"a").await;
        // The server may close at the text, for the event's name, or at the attachment.
        ws.closes(None, packet).await;
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
        let (mut ws, token) = server.joined().await;
        // An event that is too large is dropped, and costs no exchange.
        send(&mut ws, &format!(r#"2/TOKEN,["{long}"]"#), &token).await;
        let mut visitor = visitor(&server, &mut ws, &token, 0).await;
        send(&mut ws, packet, &token).await;
        for length in lengths {
            ws.binary(&vec![0; *length]).await;
        }
        assert_eq!(visitor.answer().await.status, 502, "{packet:.20}");
        serves(&server, &mut ws, &token, 1).await;
    }
}
