//! JSONP, which both revisions have (PROTOCOL.md, "JSONP").

use std::fmt::Write as _;

use socket2me::proto::engine_io::Revision;

use super::{E0, E1, E3, E5, NOBODY};
use crate::support::wire::{Answer, Frame, Polling, Server, counted, refusal, refusal_v3, sid_of};

const REVISIONS: [Revision; 2] = [Revision::V3, Revision::V4];

/// The query of a session's requests, but for the transport and the session id.
const fn plain_words(revision: Revision) -> &'static str {
    match revision {
        Revision::V3 => "EIO=3",
        Revision::V4 => "EIO=4",
    }
}

/// The same for a JSONP session.
const fn jsonp_words(revision: Revision) -> &'static str {
    match revision {
        Revision::V3 => "EIO=3&j=0",
        Revision::V4 => "EIO=4&j=0",
    }
}

/// Takes the payload out of a script, which must call the function with this number.
#[track_caller]
fn payload_of(answer: &Answer, number: &str) -> String {
    let text = answer.text();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; charset=UTF-8")), "{text}");
    // With `nosniff`, browsers would refuse to run `text/plain` as a script.
    assert_eq!(answer.header("x-content-type-options"), None);
    assert!(!text.contains(['\u{2028}', '\u{2029}', '\n', '\r']), "no end of a line for a script: {text:?}");
    let argument = text.strip_prefix(&format!("___eio[{number}](")).and_then(|rest| rest.strip_suffix(");"));
    let argument = argument.unwrap_or_else(|| panic!("{text} does not call ___eio[{number}]"));
    serde_json::from_str(argument).unwrap()
}

/// Encodes every byte as `%XX`.
fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut form, byte| {
        write!(form, "%{byte:02X}").unwrap();
        form
    })
}

/// Encodes a payload as clients do: `\n` becomes a backslash and a line feed, and then each line feed becomes `\n`.
fn form(payload: &str) -> String {
    format!("d={}", percent(&payload.replace("\\n", "\\\n").replace('\n', "\\n")))
}

/// Encodes packets as a text payload.
fn payload(revision: Revision, packets: &[&str]) -> String {
    match revision {
        Revision::V3 => counted(packets),
        Revision::V4 => packets.join("\u{1e}"),
    }
}

/// Takes the packet out of a payload, which must have no other.
fn only_packet(revision: Revision, payload: &str) -> &str {
    match revision {
        Revision::V3 => {
            let packet = payload.split_once(':').unwrap().1;
            assert_eq!(payload, counted(&[packet]));
            packet
        }
        Revision::V4 => payload,
    }
}

/// Opens a JSONP session, and in revision 3 takes the `40` that follows the handshake.
async fn open(server: &Server, revision: Revision) -> Polling<'_> {
    let words = jsonp_words(revision);
    let mut session = server.open_as(plain_words(revision)).await;
    session.sid = sid_of(&payload_of(&server.get(&format!("{words}&transport=polling")).await, "0"));
    session.words = words;
    if revision == Revision::V3 {
        assert_eq!(payload_of(&session.poll().await, "0"), "2:40");
    }
    session
}

/// Opens a JSONP session that has joined the namespace of a new token.
async fn joined(server: &Server, revision: Revision) -> (Polling<'_>, String) {
    let (session, token) = (open(server, revision).await, server.token().await);
    post(&session, &form(&payload(revision, &[&format!("40/{token},")]))).await.is(200, "ok");
    assert!(payload_of(&session.poll().await, "0").contains(&format!("40/{token},")));
    (session, token)
}

async fn post(session: &Polling<'_>, form: &str) -> Answer {
    session.post_as("application/x-www-form-urlencoded", form).await
}

#[tokio::test]
async fn a_jsonp_handshake_is_a_script() {
    let server = Server::start().await;
    for revision in REVISIONS {
        let eio = plain_words(revision);
        for (asked, number) in [("0", "0"), ("12", "12"), ("1%29%3Balert%282", "12"), ("a7b", "7"), ("x&j=3", "3")] {
            let answer = server.get(&format!("{eio}&transport=polling&j={asked}")).await;
            let text = payload_of(&answer, number);
            let packet = only_packet(revision, &text);
            assert!(packet.starts_with(r#"0{"sid":""#) && packet.contains(r#""upgrades":["websocket"]"#), "{text}");
            let sid = sid_of(packet);
            assert!(answer.text().starts_with(&format!("___eio[{number}](\"")), "{text}");
            assert!(answer.text().contains(&format!(r#"0{{\"sid\":\"{sid}\","#)), "{text}");
        }
    }
}

#[tokio::test]
async fn a_jsonp_request_without_a_number_is_a_bad_request() {
    let server = Server::start().await;
    for eio in REVISIONS.map(plain_words) {
        for asked in ["x", "", "%D9%A3"] {
            server.get(&format!("{eio}&transport=polling&j={asked}")).await.is(400, E3);
        }
    }
    // Errors are JSON and no scripts, and the order of checks is that of other requests.
    server.get("EIO=4&j=0").await.is(400, E0);
    server.get(&format!("EIO=4&transport=polling&j=0&sid={NOBODY}")).await.is(400, E1);
    server.get("EIO=5&transport=polling&j=0").await.is(400, E5);
}

#[tokio::test]
async fn a_script_escapes_what_javascript_would_misread() {
    let server = Server::start().await;
    let text = "\" \\ \\n \n \r \t \u{1} \u{2028}\u{2029} é € 😀 </script>";
    for revision in REVISIONS {
        let (session, token) = joined(&server, revision).await;
        let _visitor = server.visit_as("text/plain; charset=utf-8", &token, text.as_bytes()).await;
        let answer = session.poll().await;
        let payload = payload_of(&answer, "0");
        let packet = only_packet(revision, &payload);
        assert!(revision == Revision::V4 || packet.is_ascii(), "{payload}");
        let event = packet.strip_prefix(&format!("42/{token},0")).unwrap();
        let event: serde_json::Value = serde_json::from_str(event).unwrap();
        assert_eq!(event[1]["body"], text, "{payload}");
    }
}

#[tokio::test]
async fn a_jsonp_post_is_a_form_with_escaped_line_ends() {
    let server = Server::start().await;
    for revision in REVISIONS {
        let (session, token) = joined(&server, revision).await;
        for (id, (json, expected)) in [
            (r#""plain""#, "plain"),
            (r#""a\nb""#, "a\nb"),
            (r#""a\\nb""#, r"a\nb"),
            (r#""a\\\nb""#, "a\\\nb"),
            (r#""a\\\\nb""#, r"a\\nb"),
            ("\n\n\"x\\n\\n\"\n", "x\n\n"),
            (r#""a+b c&d=e%20;""#, "a+b c&d=e%20;"),
            (r#""é€😀""#, "é€😀"),
        ]
        .into_iter()
        .enumerate()
        {
            let mut visitor = server.visit(&token, b"").await;
            session.poll().await;
            let ack = payload(revision, &[&format!("43/{token},{id}[200,{json}]")]);
            let answer = post(&session, &form(&ack)).await;
            answer.is(200, "ok");
            assert_eq!(visitor.answer().await.parts(), (200, expected.to_owned()), "{revision:?} {json}");
        }
    }
}

/// One text in three spellings: `+` for a space, escapes in lower case, everything escaped.
#[tokio::test]
async fn a_form_may_be_encoded_in_any_way() {
    let server = Server::start().await;
    for revision in REVISIONS {
        let (session, token) = joined(&server, revision).await;
        for id in 0..3 {
            let mut visitor = server.visit(&token, b"").await;
            session.poll().await;
            let ack = payload(revision, &[&format!(r#"43/{token},{id}[200,"a b+c"]"#)]);
            let plain = ack.replace('+', "%2B").replace(' ', "+");
            let form = match id {
                0 => format!("d={plain}"),
                1 => format!("x=1&d={}", plain.replace('"', "%22").replace(':', "%3a")),
                _ => format!("d={}&y", percent(&ack)),
            };
            post(&session, &form).await.is(200, "ok");
            assert_eq!(visitor.answer().await.parts(), (200, "a b+c".to_owned()), "{form}");
        }
    }
}

#[tokio::test]
async fn a_form_without_a_payload_closes_the_session() {
    let server = Server::start().await;
    for revision in REVISIONS {
        for form in ["", "x=1", "D=1%3A2", "e=d", "1:2", "d=", "d=9", "d", "d=%5Cn"] {
            let session = open(&server, revision).await;
            let mut held = session.held_poll().await;
            assert_eq!(post(&session, form).await.parts(), (400, String::new()), "{revision:?} {form}");
            assert_eq!(payload_of(&held.answer().await, "0"), payload(revision, &["1"]), "{revision:?} {form}");
            session.is_gone().await;
        }
    }
}

#[tokio::test]
async fn a_jsonp_session_gets_binary_as_base64() {
    let server = Server::start().await;
    for (revision, base64, ours) in
        [(Revision::V3, "10:b4AQIDBA==", "b4CQg="), (Revision::V4, "\u{1e}bAQIDBA==", "bCQg=")]
    {
        let (mut session, token) = joined(&server, revision).await;
        let mut visitor = server.visit(&token, &[1, 2, 3, 4]).await;
        let text = payload_of(&session.poll().await, "0");
        assert!(text.ends_with(&format!(r#""body":{{"_placeholder":true,"num":0}}}}]{base64}"#)), "{text}");
        let ack = format!(r#"461-/{token},0[200,{{"_placeholder":true,"num":0}}]"#);
        post(&session, &form(&payload(revision, &[&ack, ours]))).await.is(200, "ok");
        assert_eq!(visitor.answer().await.body, [9, 8]);
        // A session that was opened with `j` gets base64 for good, and a request with `j` gets it in its answer.
        session.words = plain_words(revision);
        let _visitor = server.visit(&token, &[1, 2, 3, 4]).await;
        let answer = session.poll().await;
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=UTF-8"));
        assert!(answer.text().ends_with(base64), "{answer:?}");
    }
}

#[tokio::test]
async fn a_jsonp_poll_of_a_plain_session_gets_binary_as_base64() {
    let server = Server::start().await;
    let mut session = server.open_v3("EIO=3").await;
    let token = server.token().await;
    session.post(counted(&[&format!("40/{token}")])).await.is(200, "ok");
    session.poll().await.is(200, &counted(&[&format!("40/{token},")]));
    for (words, number) in [("EIO=3&j=1", "1"), ("EIO=3&j=2", "2")] {
        session.words = words;
        let _visitor = server.visit(&token, &[1, 2, 3, 4]).await;
        let text = payload_of(&session.poll().await, number);
        assert!(text.ends_with("10:b4AQIDBA=="), "{text}");
    }
    session.words = "EIO=3";
    let _visitor = server.visit(&token, &[1, 2, 3, 4]).await;
    assert_eq!(session.poll().await.header("content-type"), Some("application/octet-stream"));
}

#[tokio::test]
async fn the_jsonp_parameter_means_nothing_on_a_websocket() {
    let server = Server::start().await;
    let token = server.token().await;
    // The ack ids of a token go on from one end to the next.
    for (id, j) in ["0", "x", ""].into_iter().enumerate() {
        let mut ws = server.ws(&format!("EIO=3&transport=websocket&j={j}")).await;
        assert!(ws.next_text().await.starts_with(r#"0{"sid":""#));
        ws.expect("40").await;
        ws.text(&format!("40/{token}")).await;
        ws.expect(&format!("40/{token},")).await;
        let _visitor = server.visit(&token, &[1, 2]).await;
        ws.request(&token, id).await;
        assert_eq!(ws.next().await, Frame::Binary(vec![4, 1, 2]), "j={j} is no b64");
        ws.text("1").await;
        ws.closes(None, "goodbye").await;
    }
    let (session, token) = joined(&server, Revision::V4).await;
    let mut ws = session.probed().await;
    ws.text("5").await;
    ws.is_alive().await;
    let _visitor = server.visit(&token, &[1, 2]).await;
    ws.request(&token, 0).await;
    assert_eq!(ws.next().await, Frame::Binary(vec![1, 2]));
}

#[tokio::test]
async fn every_answer_to_a_jsonp_poll_is_a_script() {
    let server = Server::start().await;
    for revision in REVISIONS {
        let session = open(&server, revision).await;
        let mut held = session.held_poll().await;
        post(&session, &form(&payload(revision, &["40/a,"]))).await.is(200, "ok");
        let refused = match revision {
            Revision::V3 => refusal_v3("/a"),
            Revision::V4 => refusal("/a"),
        };
        assert_eq!(payload_of(&held.answer().await, "0"), payload(revision, &[&refused]));
        // A poll is released for an upgrade, and another by the client's close.
        let mut held = session.held_poll().await;
        let mut ws = session.probed().await;
        assert_eq!(payload_of(&held.answer().await, "0"), payload(revision, &["6"]));
        ws.text("6").await;
        ws.closes(None, "no 5").await;
        let mut held = session.held_poll().await;
        post(&session, &form(&payload(revision, &["1"]))).await.is(200, "ok");
        assert_eq!(payload_of(&held.answer().await, "0"), payload(revision, &["6"]));
        session.is_gone().await;
        // Two polls at once.
        let session = open(&server, revision).await;
        let mut first = session.held_poll().await;
        session.poll().await.is(400, "");
        assert_eq!(payload_of(&first.answer().await, "0"), payload(revision, &["1"]));
    }
}

#[tokio::test]
async fn text_of_socket_io_1_in_a_form_is_decoded_twice() {
    let server = Server::start().await;
    let (session, token) = (open(&server, Revision::V3).await, server.token().await);
    post(&session, &form(&counted(&[&format!("40/{token}")]))).await.is(200, "ok");
    session.poll().await;
    let mut visitor = server.visit(&token, b"").await;
    session.poll().await;
    let ack: String = format!(r#"43/{token},0[200,"é€😀\n"]"#).bytes().map(char::from).collect();
    post(&session, &form(&counted(&[&ack]))).await.is(200, "ok");
    visitor.answer().await.is(200, "é€😀\n");
}
