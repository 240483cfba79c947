//! Polling bodies of revision 3, which clients of socket.io 1 and 2 speak (PROTOCOL.md, "Polling bodies").

use crate::support::wire::{Answer, Polling, Server, counted};

/// A packet of a body of bytes.
#[derive(Debug, PartialEq)]
enum Packet {
    Text(String),
    Binary(Vec<u8>),
}

/// Encodes packets as a body of bytes.
fn framed(packets: &[Packet]) -> Vec<u8> {
    let mut body = Vec::new();
    for packet in packets {
        let (kind, data) = match packet {
            Packet::Text(text) => (0, text.as_bytes()),
            Packet::Binary(data) => (1, data.as_slice()),
        };
        body.push(kind);
        body.extend(data.len().to_string().bytes().map(|digit| digit - b'0'));
        body.push(0xff);
        body.extend_from_slice(data);
    }
    body
}

/// Decodes a body of bytes.
fn unframed(mut body: &[u8]) -> Vec<Packet> {
    let mut packets = Vec::new();
    while let Some((kind, rest)) = body.split_first() {
        let digits = rest.iter().position(|&byte| byte == 0xff).unwrap();
        let length = rest[..digits].iter().fold(0, |length, digit| length * 10 + usize::from(*digit));
        let (data, rest) = rest[digits + 1..].split_at(length);
        packets.push(match kind {
            0 => Packet::Text(String::from_utf8(data.to_vec()).unwrap()),
            1 => Packet::Binary(data.to_vec()),
            other => panic!("{other} is no kind of packet"),
        });
        body = rest;
    }
    packets
}

/// Encodes text as UTF-8 twice, as clients of socket.io 1 do in a polling payload.
fn doubled(text: &str) -> String {
    text.bytes().map(char::from).collect()
}

/// Opens a polling session of revision 3 and joins the namespace of a new token. `ending` follows the token in the CONNECT:
/// clients of socket.io 2 write a comma, those of socket.io 1 nothing.
async fn joined<'s>(server: &'s Server, words: &'static str, ending: &str) -> (Polling<'s>, String) {
    let (session, token) = (server.open_v3(words).await, server.token().await);
    session.post(counted(&[&format!("40/{token}{ending}")])).await.is(200, "ok");
    session.poll().await.is(200, &counted(&[&format!("40/{token},")]));
    (session, token)
}

const OCTETS: &str = "application/octet-stream";
const TEXT: &str = "text/plain; charset=UTF-8";

fn content_type(answer: &Answer) -> Option<&str> {
    answer.header("content-type")
}

// Text payloads

#[tokio::test]
async fn lengths_count_utf16_code_units_both_ways() {
    let server = Server::start().await;
    let (session, token) = joined(&server, "EIO=3", ",").await;
    for (id, text) in ["€", "😀", "aé€😀", ""].into_iter().enumerate() {
        let mut visitor = server.visit_as("text/plain", &token, b"").await;
        assert!(session.poll().await.text().contains(&format!(r#":42/{token},{id}["request",{{"#)));
        // The second packet shows whether the length of the first was right.
        session.post(counted(&[&format!(r#"43/{token},{id}[200,"{text}"]"#), "2"])).await.is(200, "ok");
        visitor.answer().await.is(200, text);
        session.poll().await.is(200, "1:3");
    }
    for (namespace, length) in [("/é", 24), ("/€", 24), ("/😀", 25)] {
        session.post(counted(&[&format!("40{namespace},")])).await.is(200, "ok");
        session.poll().await.is(200, &format!(r#"{length}:44{namespace},"Invalid namespace""#));
    }
    session.post("0:01:20:").await.is(200, "ok");
    session.poll().await.is(200, "1:3");
}

/// In text and in bytes: here a length without its packet and a kind that does not exist follow the ack.
#[tokio::test]
async fn packets_before_a_malformed_one_are_delivered() {
    let server = Server::start().await;
    for is_text in [true, false] {
        let (session, token) = joined(&server, "EIO=3", "").await;
        let mut visitor = server.visit(&token, b"").await;
        session.poll().await;
        let ack = format!(r#"43/{token},0[201,"yes"]"#);
        let answer = if is_text {
            session.post(counted(&[&ack]) + "1:9").await
        } else {
            session.post_as(OCTETS, [framed(&[Packet::Text(ack)]), vec![2]].concat()).await
        };
        answer.is(400, "");
        visitor.answer().await.is(201, "yes");
        session.is_gone().await;
    }
}

#[tokio::test]
async fn a_malformed_payload_closes_the_session() {
    let server = Server::start().await;
    let texts = [
        "",
        "2x",
        "2:2",
        "1:62",
        "4:4€",
        "2:4😀",
        "1:b",
        "5:bAQID",
        "4:b4!!",
        "-1:4",
        "1.5:4a",
        ":4",
        "a:4",
        "abc",
        "1:9",
        "4:4ab",
        "99999999999:4a",
        " 1:4",
        "1e0:4",
        "0x1:4",
        "6\u{1e}6",
        "1;6",
    ];
    let bytes: [&[u8]; 16] = [
        b"",
        b"\x00",
        b"\x00\x01\xff",
        b"\x00\xff",
        b"\x00\x0a\xff4hello4hello",
        b"\x00\x01\x02\x03",
        b"\x00\x06\xff4hell",
        b"\x02\x01\xff6",
        b"\x00\x01\xff6\x00",
        b"\x00\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\xff6",
        b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\xff6",
        b"\x00\x02\xff4\xff",
        b"\x00\x01\xff9",
        b"\x01\x01\xff\x09",
        b"\x01\x01\xff4",
        b"1:2",
    ];
    let texts = texts.iter().map(|body| ("text/plain;charset=UTF-8", body.as_bytes())).chain([("", &b"2:4\xff"[..])]);
    for (content_type, body) in texts.chain(bytes.iter().map(|body| (OCTETS, *body))) {
        let session = server.open_v3("EIO=3").await;
        let mut held = session.held_poll().await;
        let shown = format!("{content_type} {}", String::from_utf8_lossy(body).escape_debug());
        assert_eq!(session.post_as(content_type, body).await.parts(), (400, String::new()), "{shown}");
        assert_eq!(held.answer().await.parts(), (200, "1:1".to_owned()), "{shown}");
        session.is_gone().await;
    }
}

// Text beyond ASCII

#[tokio::test]
async fn json_is_ascii_over_polling_and_unchanged_on_a_websocket() {
    let server = Server::start().await;
    let (session, token) = joined(&server, "EIO=3", "").await;
    let text = "é \u{80} ÿ € \u{2028} 😀";
    let _visitor = server.visit_as("text/plain; charset=utf-8", &token, text.as_bytes()).await;
    let body = session.poll().await.text();
    assert!(body.is_ascii(), "{body}");
    assert!(body.to_lowercase().ends_with(r#""body":"\u00e9 \u0080 \u00ff \u20ac \u2028 \ud83d\ude00"}]"#), "{body}");
    assert_eq!(body.split_once(':').map(|(length, packet)| (length.parse(), packet.len())), {
        let packet = body.find(':').map(|at| body.len() - at - 1).unwrap();
        Some((Ok(packet), packet))
    });
    let mut ws = session.probed().await;
    ws.text("5").await;
    let _visitor = server.visit_as("text/plain; charset=utf-8", &token, text.as_bytes()).await;
    let packet = ws.request(&token, 1).await;
    assert!(packet.ends_with(&format!(r#""body":"{text}"}}]"#)), "{packet}");
}

/// Only the JSON is escaped: a client knows its namespace by its exact name.
#[tokio::test]
async fn names_of_namespaces_are_not_escaped() {
    let server = Server::start().await;
    for name in ["/é", "/\u{80}", "/a b€", "/\"é\""] {
        let session = server.open_v3("EIO=3").await;
        session.post(counted(&[&format!("40{name},")])).await.is(200, "ok");
        let refusal = counted(&[&format!(r#"44{name},"Invalid namespace""#)]);
        assert_eq!(session.poll().await.parts(), (200, refusal), "{name}");
    }
}

#[tokio::test]
async fn text_of_socket_io_1_over_polling_is_decoded_twice() {
    let server = Server::start().await;
    let (session, token) = joined(&server, "EIO=3&b64=1", "").await;
    for (id, text) in ["é€😀", "Ã©", "ascii"].into_iter().enumerate() {
        let mut visitor = server.visit(&token, b"").await;
        session.poll().await;
        // The length counts the bytes of the text encoded once, as measured with these clients.
        let ack = format!(r#"43/{token},{id}[200,"{text}"]"#);
        session.post(format!("{}:{}1:2", ack.len(), doubled(&ack))).await.is(200, "ok");
        assert_eq!(visitor.answer().await.text(), text);
        session.poll().await.is(200, "1:3");
    }
    // Bodies of bytes and WebSockets carry text encoded once.
    let mut visitor = server.visit(&token, b"").await;
    session.poll().await;
    let ack = format!(r#"43/{token},3[200,"Ã©"]"#);
    session.post_as(OCTETS, framed(&[Packet::Text(ack)])).await.is(200, "ok");
    visitor.answer().await.is(200, "Ã©");
    let mut ws = session.probed().await;
    ws.text("5").await;
    let mut visitor = server.visit(&token, b"").await;
    ws.request(&token, 4).await;
    ws.text(&format!(r#"43/{token},4[200,"Ã©"]"#)).await;
    visitor.answer().await.is(200, "Ã©");
}

#[tokio::test]
async fn text_of_socket_io_2_is_decoded_once() {
    let server = Server::start().await;
    for ending in [",", "?x=1,"] {
        let (session, token) = joined(&server, "EIO=3", ending).await;
        for (id, text) in ["Ã©", "é", "Ã©€", "Ã©"].into_iter().enumerate() {
            let mut visitor = server.visit(&token, b"").await;
            session.poll().await;
            session.post(counted(&[&format!(r#"43/{token},{id}[200,"{text}"]"#)])).await.is(200, "ok");
            visitor.answer().await.is(200, text);
        }
    }
}

/// A client of socket.io 1 never writes the comma, so the CONNECT decides although its query could be text encoded twice.
#[tokio::test]
async fn a_comma_shows_socket_io_2_even_after_ambiguous_text() {
    let server = Server::start().await;
    let (session, token) = joined(&server, "EIO=3", "?x=Ã©,").await;
    let mut visitor = server.visit(&token, b"").await;
    session.poll().await;
    session.post(counted(&[&format!(r#"43/{token},0[200,"Ã©"]"#)])).await.is(200, "ok");
    visitor.answer().await.is(200, "Ã©");
}

/// Old engines leave half a surrogate pair in JSON, and some text is not UTF-8 once decoded. Neither changes what is known
/// of the client, which joined without a comma.
#[tokio::test]
async fn a_broken_string_of_socket_io_1_does_not_change_how_later_text_is_read() {
    let server = Server::start().await;
    let (session, token) = joined(&server, "EIO=3&b64=1", "").await;
    for (id, (doubled_text, expected)) in [
        (doubled("é"), "é"),
        // As engine.io-parser 1.3 (socket.io-client 1.7.4) writes "é" and U+D83D.
        (doubled("é") + "\u{ed}\u{a0}\u{bd}" + &doubled("😀"), "é\u{fffd}😀"),
        (doubled("é") + "\u{ff}", "Ã©\u{ff}"),
        (doubled("é"), "é"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut visitor = server.visit(&token, b"").await;
        session.poll().await;
        session.post(counted(&[&format!(r#"43/{token},{id}[200,"{doubled_text}"]"#)])).await.is(200, "ok");
        visitor.answer().await.is(200, expected);
    }
}

// Binary

#[tokio::test]
async fn packets_with_binary_are_sent_as_bytes() {
    let server = Server::start().await;
    let (session, token) = joined(&server, "EIO=3", "").await;
    let mut visitor =
        server.send("POST", &format!("/go/{token}/?q=%C3%A9%E2%82%AC"), &[("X", "y")], &[1, 2, 3, 4]).await;
    let answer = session.poll().await;
    assert_eq!((answer.status, content_type(&answer)), (200, Some(OCTETS)));
    let packets = unframed(&answer.body);
    let [Packet::Text(text), Packet::Binary(data)] = packets.as_slice() else { panic!("{packets:?}") };
    assert!(text.starts_with(&format!(r#"451-/{token},0["request",{{"#)), "{text}");
    assert!(text.ends_with(r#""body":{"_placeholder":true,"num":0}}]"#), "{text}");
    assert_eq!(data, &[4, 1, 2, 3, 4]);
    assert_eq!(answer.body, framed(&packets), "no leading zeros");
    // The next body is text again, and base64 is understood from a client that did not ask for it.
    let ack = format!(r#"461-/{token},0[200,{{"_placeholder":true,"num":0}}]"#);
    session.post(counted(&[&ack, "b4CQgH", "2"])).await.is(200, "ok");
    assert_eq!(visitor.answer().await.body, [9, 8, 7]);
    let answer = session.poll().await;
    answer.is(200, "1:3");
    assert_eq!(content_type(&answer), Some(TEXT));
}

/// In a browser, socket.io 1 cannot read more than about 65,536 bytes of text over polling. Its own servers always sent
/// bytes.
#[tokio::test]
async fn long_text_is_sent_as_bytes_to_socket_io_1_unless_it_asked_for_base64() {
    let server = Server::start().await;
    let long = "aé😀".repeat(10_000);
    for (words, ending, content_type_expected) in
        [("EIO=3", "", OCTETS), ("EIO=3&b64=1", "", TEXT), ("EIO=3", ",", TEXT)]
    {
        let (session, token) = joined(&server, words, ending).await;
        let mut visitor = server.visit_as("text/plain; charset=utf-8", &token, long.as_bytes()).await;
        let answer = session.poll().await;
        assert_eq!((answer.status, content_type(&answer)), (200, Some(content_type_expected)), "{words} {ending}");
        if content_type_expected == OCTETS {
            let packets = unframed(&answer.body);
            let [Packet::Text(text)] = packets.as_slice() else { panic!("{} packets", packets.len()) };
            assert!(text.ends_with(&format!(r#""body":"{long}"}}]"#)));
        }
        session.post(counted(&[&format!(r#"43/{token},0[200,"ok"]"#)])).await.is(200, "ok");
        visitor.answer().await.is(200, "ok");
    }
}

#[tokio::test]
async fn a_session_opened_with_b64_gets_binary_as_base64() {
    let server = Server::start().await;
    let (mut session, token) = joined(&server, "EIO=3&b64=1", "").await;
    // `b64` holds for the transport, so later requests need not repeat it.
    for (id, words) in ["EIO=3&b64=1", "EIO=3", "x=1"].into_iter().enumerate() {
        session.words = words;
        let mut visitor = server.visit(&token, &[1, 2, 3, 4]).await;
        let answer = session.poll().await;
        assert!(answer.text().ends_with(r#""body":{"_placeholder":true,"num":0}}]10:b4AQIDBA=="#), "{answer:?}");
        assert_eq!(content_type(&answer), Some(TEXT));
        let ack = format!(r#"461-/{token},{id}[200,{{"_placeholder":true,"num":0}}]"#);
        session.post_as(OCTETS, framed(&[Packet::Text(ack), Packet::Binary(vec![4, 9, 8])])).await.is(200, "ok");
        assert_eq!(visitor.answer().await.body, [9, 8]);
    }
    // A later request cannot turn it on.
    let (mut session, token) = joined(&server, "EIO=3", "").await;
    session.words = "EIO=3&b64=1";
    let _visitor = server.visit(&token, &[1]).await;
    assert_eq!(content_type(&session.poll().await), Some(OCTETS));
}

/// As python-socketio 4 does: it pings first, posts bytes only, and sends the head and the body of a request apart.
#[tokio::test]
async fn a_client_may_post_bytes_from_its_first_ping_to_its_close() {
    let server = Server::start().await;
    let (session, token) = (server.open_as("EIO=3").await, server.token().await);
    let post = async |body: &[u8]| {
        let framing = format!("Content-Type: {OCTETS}\r\nContent-Length: {}", body.len());
        let mut post = session.begun_post(&framing, b"").await;
        server.settle().await;
        post.send(body).await;
        post.answer().await.is(200, "ok");
    };
    post(b"\x00\x01\xff2").await;
    session.poll().await.is(200, "2:401:3");
    post(&[b"\x00\x05\x01\xff40/", token.as_bytes()].concat()).await;
    session.poll().await.is(200, &format!("52:40/{token},"));
    let mut visitor = server.visit(&token, &[1, 2]).await;
    assert_eq!(unframed(&session.poll().await.body)[1], Packet::Binary(vec![4, 1, 2]));
    let ack = format!(r#"461-/{token},0[200,{{"_placeholder":true,"num":0}}]"#);
    post(&framed(&[Packet::Text(ack), Packet::Binary(vec![4, 9, 8])])).await;
    assert_eq!(visitor.answer().await.body, [9, 8]);
    let mut held = session.held_poll().await;
    post(b"\x00\x02\xff\x34\x31").await;
    post(b"\x00\x01\xff\x31").await;
    held.answer().await.is(200, "1:6");
    session.is_gone().await;
}
