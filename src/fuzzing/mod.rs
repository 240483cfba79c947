//! The bodies of the fuzz targets. They are here so that every test build compiles them, and an ordinary test replays the
//! seeds in `fuzz/seeds`; the targets in `fuzz/fuzz_targets` only call them.
//!
//! Each takes any bytes, and panics when an invariant does not hold.

#[cfg(feature = "server")]
mod cluster;
mod heads;
mod input;
mod keys;
mod peers;
mod sequence;
mod streams;

use bytes::Bytes;
use bytestring::ByteString;
use http::HeaderMap;
use serde_json::value::RawValue;

#[cfg(feature = "server")]
pub use self::cluster::{Late, Store, cluster};
pub use self::heads::heads;
use self::keys::{RawMembers, markers};
pub use self::peers::peers;
pub use self::sequence::sequence;
pub use self::streams::streams;
use crate::defaults::{MAX_ATTACHMENTS, MAX_DEPTH, MAX_PACKETS};
use crate::proto::engine_io::jsonp::{self, Jsonp};
use crate::proto::engine_io::payload::{Batch, Body, Packets};
use crate::proto::engine_io::query::{Method, Request};
use crate::proto::engine_io::{BinaryAs, ClientPacket, Frame, Message, PollingText, Revision};
use crate::proto::exchange::headers::{ORIGIN_WIDE, Origin};
use crate::proto::exchange::{Body as VisitBody, EndOptions, HeadLimits, Response, Visit, is_without_content, query};
use crate::proto::json;
use crate::proto::socket_io::attachments::{self, Assembly, Bounds, Whole};
use crate::proto::socket_io::connection::Answer;
use crate::proto::socket_io::packet::Args;
use crate::proto::socket_io::parser;
use crate::proto::socket_io::{AckId, Namespace};
use crate::proto::websocket::parts::read_in_parts;
use crate::proto::websocket::{Item, Opcode, ReadLimits, Reader, Violation, write_head};

/// A Socket.IO packet that is accepted, written and read again, is the same packet. The first byte chooses the revision.
pub fn socket_io_packet(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    let revision = revision(choice);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(parsed) = parser::parse(&ByteString::from(text), MAX_ATTACHMENTS, revision) else { return };
    assert!(parsed.missing <= MAX_ATTACHMENTS);
    let mut assembly = Assembly::default();
    let mut whole = assembly.begin(parsed.clone());
    for _ in 0..parsed.missing {
        whole = assembly.attach(Bytes::from_static(b"attachment"), Bounds { bytes: usize::MAX, depth: MAX_DEPTH });
    }
    // Placeholders that name no attachment are an error of the whole packet.
    let Ok(whole) = whole else { return };
    let Some(Whole::Packet(packet)) = whole else { panic!("all attachments were given: {whole:?}") };
    assert!(!assembly.is_waiting());
    let encoded = packet.encode();
    assert_eq!(encoded.attachments.len(), parsed.missing);
    let Message::Text(again) = encoded.text.message() else { panic!("a packet is text") };
    assert_eq!(parser::parse(&again, MAX_ATTACHMENTS, revision), Ok(parsed));
}

/// The packets of an Engine.IO payload, written and read again, are the same packets. The first byte chooses the
/// revision, the form of the body, and whether the answer may be binary, and is binary when it is long.
pub fn engine_io_payload(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    let revision = revision(choice);
    let body = Bytes::copy_from_slice(data);
    let body = if choice & 2 == 0 {
        let Ok(text) = ByteString::try_from(body) else { return };
        Body::Text(text)
    } else {
        Body::Binary(body)
    };
    let packets: Vec<ClientPacket> = Packets::new(body, revision, MAX_PACKETS).map_while(Result::ok).collect();
    let frames: Vec<Frame> = packets.iter().map(|packet| packet.encode(revision)).collect();
    for (packet, frame) in packets.iter().zip(&frames) {
        assert_eq!(ClientPacket::decode(frame.clone(), revision).as_ref(), Ok(packet));
    }
    if packets.is_empty() {
        return;
    }
    let binary = if choice & 4 == 0 { BinaryAs::Frames } else { BinaryAs::Base64 };
    let text = PollingText { to_ascii: None, long_as_bytes: choice & 8 != 0 };
    let body = Batch { frames, revision, binary, text }.encode();
    let again: Result<Vec<_>, _> = Packets::new(body, revision, MAX_PACKETS).collect();
    assert_eq!(again, Ok(packets));
}

/// WebSocket frames are the same in whatever parts they come, and hold no more memory than their bytes and the growth
/// that is allowed. The first bytes choose the parts, and whether heads are made valid.
pub fn websocket(data: &[u8]) {
    let Some((&[size, choice], data)) = data.split_first_chunk() else { return };
    let mut input = data.to_vec();
    if choice & 1 != 0 {
        make_heads_valid(&mut input);
    }
    let max_message = if choice & 2 == 0 { 1000 } else { 1 << 20 };
    let (items, violation) = websocket_items(&input, input.len().max(1), max_message);
    for size in [1, usize::from(size).max(1)] {
        assert_eq!(websocket_items(&input, size, max_message), (items.clone(), violation));
    }
    let (again, expected) = written(items);
    assert_eq!(websocket_items(&again, again.len().max(1), max_message), (expected, None));
}

/// Without help few inputs have more than one frame: those of clients are masked, and use no reserved bits.
fn make_heads_valid(input: &mut [u8]) {
    let mut at = 0;
    while at + 6 < input.len() {
        input[at] &= 0x8f;
        input[at + 1] = input[at + 1] & 0x7f | 0x80;
        at += 6 + usize::from(input[at + 1] & 0x7f);
    }
}

/// Items as a server writes them, but masked with zeros; and those of them that were written.
fn written(items: Vec<Item>) -> (Vec<u8>, Vec<Item>) {
    let (mut bytes, mut left) = (Vec::new(), Vec::new());
    for item in items {
        let (opcode, payload) = match &item {
            Item::Text(text) => (Opcode::Text, &text.as_bytes()[..]),
            Item::Binary(data) => (Opcode::Binary, &data[..]),
            Item::Ping(data) => (Opcode::Ping, &data[..]),
            Item::Pong | Item::Close { .. } | Item::Oversized(_) => continue,
        };
        let start = bytes.len();
        write_head(opcode, payload.len(), &mut bytes);
        bytes[start + 1] |= 0x80;
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload);
        left.push(item);
    }
    (bytes, left)
}

fn websocket_items(input: &[u8], size: usize, max_message: usize) -> (Vec<Item>, Option<Violation>) {
    let mut reader = Reader::new(ReadLimits { message: max_message, oversized: 3 * max_message });
    read_in_parts(&mut reader, input, size, 1 + size % 16)
}

/// A packet's text and its binary messages, cut from the input by lengths of one byte each, in any order.
pub fn attachments(data: &[u8]) {
    const BOUNDS: Bounds = Bounds { bytes: 64, depth: MAX_DEPTH };
    let mut assembly = Assembly::default();
    let mut rest = data;
    while let Some((&length, tail)) = rest.split_first() {
        let (part, tail) = tail.split_at(usize::from(length & 0x7f).min(tail.len()));
        rest = tail;
        let whole = if length & 0x80 == 0 {
            let Ok(text) = std::str::from_utf8(part) else { continue };
            let Ok(parsed) = parser::parse(&ByteString::from(text), MAX_ATTACHMENTS, Revision::V3) else { continue };
            assembly.begin(parsed)
        } else {
            assembly.attach(Bytes::copy_from_slice(part), BOUNDS)
        };
        assert!(assembly.bytes() <= BOUNDS.bytes + data.len());
        match whole {
            Ok(Some(_)) => assert!(!assembly.is_waiting()),
            Ok(None) => assert!(assembly.is_waiting()),
            Err(_) => (),
        }
    }
}

/// A request to the Engine.IO path, and a query or form as qs reads it, whose JSON is JSON. Beside an attachment, nothing of a
/// query looks like the place of one.
pub fn queries(data: &[u8]) {
    let mut out = String::new();
    query::parse(data).write_json(&mut out);
    assert_eq!(json::check(&out), Ok(()), "{out}");
    // Not as a `Value`: serde_json takes an object with a certain key for a number or raw text of its own.
    let _: &RawValue = serde_json::from_str(&out).expect("serde_json agrees");
    if let Some(payload) = jsonp::payload_of_form(data) {
        assert!(payload.len() <= 3 * data.len(), "a byte that is no UTF-8 becomes three");
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    check_marker(text);
    for method in [Method::Get, Method::Post, Method::Other] {
        for upgrade in [false, true] {
            let request = Request::parse(method, text, upgrade);
            let opens = matches!(request, Ok(Request::Open { .. }));
            assert!(!opens || method == Method::Get, "{text}");
        }
    }
    if let Some(jsonp) = Jsonp::parse(text) {
        let script = jsonp.script(text);
        assert!(script.starts_with("___eio[") && script.ends_with("\");"), "{script}");
        assert!(!script.contains(['\u{2028}', '\u{2029}', '\n', '\r']), "one line, to any script engine");
    }
}

/// In the event of a request with this query and a body of bytes, only the body looks like the place of an attachment.
fn check_marker(query: &str) {
    let visit = Visit {
        method: "POST",
        path: "",
        query: Some(query),
        http_version: "1.1",
        headers: &HeaderMap::new(),
        remote_address: "",
        forwarded_before: "",
        peer: "",
        forwarded_proto: "",
        forwarded_host: None,
        tunnels_at: Some("/go/"),
        token: "TOKEN",
        has_trusted_request_id: false,
        verified: None,
        hides_authorization: false,
        id: "",
        body: &VisitBody::Bytes(Bytes::new()),
        body_length: None,
        stream: None,
    };
    let mut draft = String::new();
    let id = AckId::new(0).expect("in range");
    let event = visit.encode(&Namespace::root(), id, EndOptions::default(), &mut draft).expect("no headers");
    let Message::Text(packet) = event.text.message() else { panic!("a packet is text") };
    let args = packet.strip_prefix("51-0").expect("an event with an attachment");
    assert_eq!(markers(args), 1, "{args}");
}

/// An ack of any arguments is a response that HTTP can carry, or an error. Behind each NUL is an attachment.
pub fn answer(data: &[u8]) {
    let mut parts = data.split(|&byte| byte == 0);
    let Ok(text) = std::str::from_utf8(parts.next().unwrap_or_default()) else { return };
    let Ok(args) = Args::parse(ByteString::from(text)) else { return };
    let attachments: Vec<Bytes> = parts.map(Bytes::copy_from_slice).collect();
    let Ok(response) = Response::decode(&Answer { args, attachments }, HeadLimits::default(), Origin::Shared) else {
        return;
    };
    let HeadLimits { bytes, lines } = HeadLimits::default();
    assert!(response.headers.len() <= lines + 1 && response.bytes() - response.body.len() <= bytes + 64, "the head");
    let bound = 64 + 8 * data.len();
    assert!(response.body.len() <= bound, "{} of {}", response.body.len(), data.len());
    assert!(!response.status.is_informational());
    assert!(response.body.is_empty() || !is_without_content(response.status), "{} with a body", response.status);
    for (name, value) in &response.headers {
        assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{name}");
        assert!(!name.as_str().starts_with("x-socket2me-") && *name != "content-length" && *name != "connection");
        assert!(!ORIGIN_WIDE.contains(&name.as_str()), "{name} decides for other tunnels");
    }
}

/// A text is JSON for us when it is for serde_json; its parts are the parts that serde_json finds, and strings mean the
/// same.
pub fn json(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let is_json = json::check(text).is_ok();
    assert_eq!(is_json, serde_json::from_str::<&RawValue>(text).is_ok(), "{text}");
    // With blanks behind it, the shortest object is read as a long one is.
    let long = text.to_owned() + &" ".repeat(256);
    assert_eq!(json::check(&long).is_ok(), is_json, "{text}");
    assert_eq!(json::elements(&long).ok(), json::elements(text).ok(), "{text}");
    // With a long string beside it, the shortest string is unescaped while it is checked.
    let array = format!("[{text},\"{}\"]", "x".repeat(256));
    let mut unescaped = Vec::new();
    let found = json::for_each_element_unescaping(&array, |element, text| unescaped.push((element, text)));
    assert_eq!(found.is_ok(), json::elements(&array).is_ok(), "{array}");
    for (element, text) in unescaped.into_iter().filter(|_| found.is_ok()) {
        assert!(text.is_none_or(|text| json::unquote(&array[element]).as_bytes() == text), "{array}");
    }
    if let Ok(elements) = json::elements(text) {
        let theirs: Vec<&RawValue> = serde_json::from_str(text).expect("an array for serde_json too");
        let ours: Vec<&str> = elements.into_iter().map(|range| &text[range]).collect();
        assert_eq!(ours, theirs.iter().map(|value| value.get()).collect::<Vec<_>>());
    }
    let mut members = Vec::new();
    let walked = json::for_each_member(text, |json::Member { key, value }| members.push((&text[key], &text[value])));
    assert_eq!(walked.ok().map(|()| members), serde_json::from_str(text).ok().map(|RawMembers(members)| members));
    let found = attachments::placeholders(text, &[const { Bytes::new() }; 3], MAX_DEPTH).unwrap_or_default();
    assert!(found.iter().all(|(range, number)| text.is_char_boundary(range.start) && *number < 3));
    if is_json {
        check_ascii(text);
    }
    let mut quoted = String::new();
    json::write_string(text, &mut quoted);
    assert_eq!(serde_json::from_str::<String>(&quoted).ok().as_deref(), Some(text));
}

/// JSON in ASCII is JSON, and means the same.
fn check_ascii(text: &str) {
    let ascii = json::to_ascii(text);
    assert!(ascii.is_ascii() && json::check(&ascii).is_ok());
    // serde_json refuses lone surrogates, and is the judge of all other strings.
    if let Ok(string) = serde_json::from_str::<String>(text) {
        assert_eq!(json::unquote(text.trim_ascii()), string);
        assert_eq!(serde_json::from_str::<String>(&ascii).ok(), Some(string));
    }
}

fn revision(choice: u8) -> Revision {
    if choice & 1 == 0 { Revision::V4 } else { Revision::V3 }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Feeds a target its committed seeds.
    fn replay(target: &str, body: fn(&[u8])) {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let mut count = 0;
        for seed in std::fs::read_dir(&seeds).unwrap() {
            body(&std::fs::read(seed.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "no seeds in {}", seeds.display());
    }

    #[test]
    fn replays_the_seeds() {
        replay("socket_io_packet", super::socket_io_packet);
        replay("engine_io_payload", super::engine_io_payload);
        replay("attachments", super::attachments);
        replay("queries", super::queries);
        replay("answer", super::answer);
        replay("heads", super::heads);
        replay("json", super::json);
        #[cfg(feature = "server")]
        replay("cluster", super::cluster);
        replay("sequence", super::sequence);
        replay("peers", super::peers);
        replay("streams", super::streams);
        replay("websocket", super::websocket);
    }
}
