//! Socket.IO on the wire, rule by rule: what client libraries would hide. In packets, `T` stands for the token.

mod packets_4;
mod protocol_4;

use std::time::{Duration, Instant};

use crate::support::wire::{self, Frame, Peer, Server, Ws, refusal};

/// The rows of a table.
fn rows(table: &str) -> impl Iterator<Item = &str> {
    table.lines().flat_map(|line| line.split(" | "))
}

/// A placeholder of the first attachment.
const PH0: &str = r#"{"_placeholder":true,"num":0}"#;

/// What a visitor gets from a relay whose end is not there.
const NOT_CONNECTED: u16 = 500;

/// Sends an Engine.IO message of this Socket.IO packet.
async fn send(ws: &mut Ws, packet: &str, token: &str) {
    ws.text(&format!("4{packet}").replace("/T", &format!("/{token}")).replace("PH0", PH0)).await;
}

/// A visitor whose request has reached the end.
async fn visitor(server: &Server, ws: &mut Ws, token: &str, id: usize) -> Peer {
    let visitor = server.send("GET", &format!("/go/{token}"), &[], b"").await;
    ws.request(token, id).await;
    visitor
}

/// The end still answers visitors, and nothing else was on its way to it.
async fn serves(server: &Server, ws: &mut Ws, token: &str, id: usize) {
    let mut visitor = visitor(server, ws, token, id).await;
    send(ws, &format!(r#"3/T,{id}[201,"served"]"#), token).await;
    visitor.answer().await.is(201, "served");
}

// CONNECT

#[tokio::test]
async fn connect_is_accepted_in_each_form() {
    let server = Server::start().await;
    for packet in ["0/T", "0/T,", "0/T,{}", r#"0/T,{"token":"x","pid":"p","offset":"o"}"#, r#"0/T,{"body":"raw"}"#] {
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
    let session = wire::sid_of(&ws.next_text().await);
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
        (String::from("0"), r#"44{"message":"connect to /TOKEN, with a token from GET /new"}"#.to_owned()),
        (String::from("0/,{}"), r#"44{"message":"connect to /TOKEN, with a token from GET /new"}"#.to_owned()),
        (String::from("0/random"), refusal("/random")),
        (format!("0/{unknown},{{}}"), refusal(&format!("/{unknown}"))),
        (format!("0/{token}?x=1,"), refusal(&format!("/{token}?x=1"))),
        (
            String::from(r#"0/T,{"body":"x"}"#),
            format!(r#"44/{token},{{"message":"auth.body must be 'raw' or 'parsed'"}}"#),
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
    send(&mut ws, "0/T,", &token).await;
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
    send(&mut ws, "0/T,", &another).await;
    let message = "too many namespaces on one connection: connect with forceNew";
    ws.expect(&format!(r#"44/{another},{{"message":"{message}"}}"#)).await;
    send(&mut ws, "1/T,", &token).await;
    ws.join(&another).await;
}

// Before CONNECT, and without it

#[tokio::test]
async fn a_packet_for_an_unjoined_namespace_closes_the_connection() {
    let server = Server::start().await;
    for packet in rows(
        r#"2["a"] | 2/T,["a"] | 2/T,1["a"] | 3/T,1[] | 3[] | 1 | 1/T, | 4/T,{"message":"x"} | 51-/T,["a",PH0]
61-/T,0[PH0]"#,
    ) {
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
    let deadline = Duration::from_millis(300);
    let server = Server::with(|config| config.connect_timeout = deadline).await;
    let (mut member, token) = server.joined().await;
    let start = Instant::now();
    let mut ws = server.open_ws().await;
    ws.is_alive().await; // A refusal is no join.
    ws.closes(None, "the deadline").await;
    assert!(start.elapsed() >= deadline);
    let session = server.open().await;
    session.poll().await.is(200, "1");
    session.is_gone().await;
    // Who has joined stays, also after having left again.
    serves(&server, &mut member, &token, 0).await;
    send(&mut member, "1/T,", &token).await;
    server.open_ws().await.closes(None, "another's deadline").await;
    member.is_alive().await;
}

// What is a packet, and what is not

#[tokio::test]
async fn a_malformed_packet_closes_the_connection() {
    let server = Server::start().await;
    for packet in rows(
        r#"7 | 9 | a | abc | 2/T | 2/T, | 2/T,[] | 2/T,{} | 2/T,"a" | 2/T,[null] | 2/T,[{}] | 2/T,[true]
2/T,[["a"]] | 2/T,["connect"] | 2/T,["\u0064isconnect"] | 2/T,["newListener"] | 2/T["a"]
2/T,b,["a"] | 2/T,["a" | 2/T,["a"]] | 2/T, 1["a"] | 2/T,-1["a"] | 2/T,1.5["a"] | 2/T,1e3["a"]
2/T,abc["a"] | 2/T,9007199254740992["a"] | 2/T,123456789012345678901["a"] | 3/T,1{} | 3/T,1null
3/T,1[ | 1/T,{} | 1/T,1 | 4/T,[] | 4/T,{"message":"x"} | 0/other,[] | 0/other,null | 0/other,"x"
0/other,{}x | 0/other,1{} | 5/T,["a"] | 5-/T,["a"] | 5-1-/T,["a"] | 50-/T,["a"] | 51.5-/T,["a"]
51e1-/T,["a"] | 5 1-/T,["a"] | 511-/T,["a"] | 599999999999999999999-/T,["a"] | 61-/T,0{} | 60-/T,0[]"#,
    ) {
        let (mut ws, token) = server.joined().await;
        send(&mut ws, packet, &token).await;
        ws.closes(None, packet).await;
    }
}

#[tokio::test]
async fn every_valid_packet_is_accepted() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    for packet in rows(
        r#"2/T,["a"] | 2/T,[1] | 2/T,[""] | 2/T,12["a"] | 2/T,0012["a"] | 2/T,9007199254740991["a"]
2/T,["error"] | 2/T,["__proto__"] | 2/T,["a",{"__proto__":1}]
2/T,["a","\ud800",1e400,{"x":1,"x":2}] | 2/T, ["a"] | 2/T,["a",{"_placeholder":true,"num":"x"}]
3/T | 3/T, | 3/T,1 | 3/T,[] | 3/T,1[] | 3/T,00000001["a"]"#,
    ) {
        send(&mut ws, packet, &token).await;
    }
    let deep = format!(r#"2/T,["a",{}{}]"#, "[".repeat(20_000), "]".repeat(20_000));
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
    for packet in [r#"3/T,7[200,"unknown"]"#, r#"3/T,1[200,"b"]"#, r#"3/T,1[200,"late"]"#, r#"3/T,0[200,"a"]"#] {
        send(&mut ws, packet, &token).await;
    }
    first.answer().await.is(200, "a");
    second.answer().await.is(200, "b");
    send(&mut ws, r#"3/T,0[200,"late"]"#, &token).await;
    serves(&server, &mut ws, &token, 2).await;
}

#[tokio::test]
async fn an_ack_counts_in_its_own_namespace_alone() {
    let server = Server::start().await;
    let (mut ws, one) = server.joined().await;
    let other = server.token().await;
    ws.join(&other).await;
    let mut visitor = visitor(&server, &mut ws, &one, 0).await;
    send(&mut ws, r#"3/T,0[200,"wrong"]"#, &other).await;
    send(&mut ws, r#"3/T,0[200,"right"]"#, &one).await;
    visitor.answer().await.is(200, "right");
}

// Attachments

#[tokio::test]
async fn an_ack_may_carry_attachments() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    for (id, (packet, attachments, expected)) in [
        ("61-/T,ID[200,PH0]", &["\u{1}"][..], "\u{1}"),
        (r#"62-/T,ID[200,{"_placeholder":true,"num":1}]"#, &["zero", "one"], "one"),
        (r#"61-/T,ID[200,{"extra":[{}],"num":0,"_placeholder":true}]"#, &["x"], "x"),
        ("61-/T,ID[200,PH0]", &[""], ""),
        (r#"61-/T,ID[200,"unused"]"#, &["x"], "unused"),
        (r#"61-/T,ID[200,{"_placeholder":1,"num":9}]"#, &["x"], r#"{"_placeholder":1,"num":9}"#),
        ("610-/T,ID[200,PH0]", &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"], "0"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut visitor = visitor(&server, &mut ws, &token, id).await;
        send(&mut ws, &packet.replace("ID", &id.to_string()), &token).await;
        for data in attachments {
            ws.binary(data.as_bytes()).await;
        }
        assert_eq!(visitor.answer().await.parts(), (200, expected.to_owned()), "{packet}");
    }
}

#[tokio::test]
async fn heartbeats_may_come_between_attachments() {
    let server = Server::start().await;
    let (mut ws, token) = server.joined().await;
    let mut visitor = visitor(&server, &mut ws, &token, 0).await;
    send(&mut ws, r#"62-/T,0[200,{"_placeholder":true,"num":1}]"#, &token).await;
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
    for packet in [r#"2/T,["a"]"#, "0/other,", "1/T,", "61-/T,0[PH0]"] {
        let (mut ws, token) = server.joined().await;
        send(&mut ws, r#"52-/T,["a",PH0]"#, &token).await;
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
    send(&mut ws, r#"51-/T,["a",PH0]"#, &token).await;
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
        send(&mut ws, &format!(r#"51-/T,["a",{{"_placeholder":true,"num":{number}}}]"#), &token).await;
        ws.binary(b"a").await;
        ws.closes(None, number).await;
    }
    for packet in [r#"51-/T,["a",{"_placeholder":true}]"#, "51-/T,[PH0]"] {
        let (mut ws, token) = server.joined().await;
        send(&mut ws, packet, &token).await;
        ws.binary(b"a").await;
        // The event's name may be refused with the text already; both ways it is over.
        ws.closes(None, packet).await;
    }
}

#[tokio::test]
async fn an_answer_too_large_costs_its_exchange_alone() {
    let server = Server::with(|config| config.max_payload = Some(1000)).await;
    let (mut ws, token) = server.joined().await;
    let long = "x".repeat(1500);
    send(&mut ws, &format!(r#"2/T,["{long}"]"#), &token).await;
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
        send(&mut ws, &packet.replace("ID", &id.to_string()), &token).await;
        for length in attachments {
            ws.binary(&vec![0; *length]).await;
        }
        assert_eq!(visitor.answer().await.status, 502, "{}", &packet[..10]);
    }
    serves(&server, &mut ws, &token, 4).await;
}

// DISCONNECT

#[tokio::test]
async fn leaving_the_last_namespace_keeps_the_session() {
    let server = Server::start().await;
    for packet in ["1/T", "1/T,"] {
        let (mut ws, token) = server.joined().await;
        let mut waiting = visitor(&server, &mut ws, &token, 0).await;
        send(&mut ws, packet, &token).await;
        assert_eq!(waiting.answer().await.status, NOT_CONNECTED, "{packet}");
        ws.is_alive().await;
        ws.join(&token).await;
        serves(&server, &mut ws, &token, 1).await;
        // What was left by the client is as if it had never been joined.
        send(&mut ws, packet, &token).await;
        send(&mut ws, "3/T,0[]", &token).await;
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
    // The old end finishes what it was asked, and goes then.
    send(&mut old, r#"3/T,0[200,"last words"]"#, &token).await;
    waiting.answer().await.is(200, "last words");
    old.expect(&format!("41/{token},")).await;
    for packet in ["3/T,1[]", r#"2/T,["a"]"#, "1/T,", "61-/T,0[PH0]"] {
        send(&mut old, packet, &token).await;
    }
    old.binary(b"announced").await;
    old.is_alive().await;
    serves(&server, &mut new, &token, 1).await;
    old.join(&token).await;
    new.expect(&format!("41/{token},")).await;
    serves(&server, &mut old, &token, 2).await;
}
