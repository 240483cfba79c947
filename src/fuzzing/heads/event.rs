//! What of a visitor's head reaches the end.

use std::collections::BTreeMap;

use super::head::{HOP_BY_HOP, Head, named, pair};
use crate::fuzzing::keys::{RawMembers, markers};
use crate::net::arrival::Arrival;
use crate::proto::engine_io::Message;
use crate::proto::exchange::{Body, MarkerInHeaders, Visit};
use crate::proto::socket_io::packet::Encoded;
use crate::proto::socket_io::{AckId, Namespace};

/// The headers that the end gets from the relay alone, and the one that the server has answered.
const RELAYS_OWN: [&str; 6] =
    ["content-length", "expect", "x-forwarded-for", "x-forwarded-host", "x-forwarded-prefix", "x-forwarded-proto"];

/// The headers that have one value, of which the first line counts.
const COUNT_ONCE: [&str; 15] = [
    "age",
    "authorization",
    "content-type",
    "etag",
    "expires",
    "from",
    "if-modified-since",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "referer",
    "retry-after",
    "server",
    "user-agent",
];

/// The event has each member once, the headers that pass and the relay's own, and one place for an attachment. It takes `most`
/// bytes at the most.
pub(super) fn check(head: &Head, arrival: &Arrival<'_>, most: usize) {
    let Ok(body) = Body::detect(&head.headers, head.body.clone(), head.options, usize::MAX) else { return };
    let event = match encode(head, arrival, &body) {
        Ok(event) => event,
        Err(MarkerInHeaders) => {
            assert!(matches!(body, Body::Bytes(_)) && head.headers.contains_key("_placeholder"));
            return;
        }
    };
    let Message::Text(packet) = event.text.message() else { panic!("a packet is text") };
    assert!(packet.len() <= most, "{} bytes, {most} allowed", packet.len());
    let prefix = if event.attachments.is_empty() { "20" } else { "51-0" };
    let args = packet.strip_prefix(prefix).expect("an event with the id 0");
    if let Body::Bytes(bytes) = &body {
        assert_eq!((event.attachments.as_slice(), markers(args)), (&[bytes.clone()][..], 1), "{args}");
    }
    check_args(head, arrival, args);
}

/// Encodes the event, of what the relay knows.
pub(super) fn encode(head: &Head, arrival: &Arrival<'_>, body: &Body) -> Result<Encoded, MarkerInHeaders> {
    let host = arrival.host(&head.headers);
    let visit = Visit {
        method: head.method.as_str(),
        path: &head.path,
        query: head.query.as_deref(),
        http_version: "1.1",
        headers: &head.headers,
        remote_address: &arrival.client_text(),
        forwarded_before: &arrival.forwarded_for(&head.headers),
        peer: arrival.peer.text(),
        forwarded_proto: &arrival.scheme(&head.headers),
        forwarded_host: if head.is_public { Some("relay.example") } else { host.as_deref() },
        tunnels_at: Some("/below/go/"),
        token: "TOKEN",
        has_trusted_request_id: arrival.is_proxied(),
        verified: None,
        hides_authorization: false,
        id: "id",
        body,
        body_length: Some(head.body.len() as u64),
        stream: None,
    };
    visit.encode(&Namespace::root(), AckId::new(0).expect("in range"), head.options, &mut String::new())
}

fn check_args(head: &Head, arrival: &Arrival<'_>, args: &str) {
    let (name, RawMembers(members)): (&str, RawMembers<'_>) = serde_json::from_str(args).expect("JSON");
    let (keys, mut values): (Vec<_>, Vec<_>) = members.into_iter().map(|(key, value)| (text(key), value)).unzip();
    let all = "headers rawHeaders method url query search httpVersion remoteAddress id body".split(' ');
    let expected: Vec<_> = all.filter(|key| head.options.raw_headers || *key != "rawHeaders").collect();
    assert_eq!((name, keys.iter().map(|key| &**key).collect::<Vec<_>>()), ("request", expected), "{args}");

    let passing = head.headers.iter().filter(|(name, _)| passes(head, name.as_str())).map(pair);
    let mut lines: Vec<_> = passing.chain(own_headers(head, arrival)).collect();
    let RawMembers(headers) = serde_json::from_str(values.remove(0)).expect("an object");
    let got: BTreeMap<_, _> = headers.iter().map(|(name, value)| (text(name), text(value))).collect();
    assert_eq!((headers.len(), got), (joined(&lines).len(), joined(&lines)), "{args}");
    if head.options.raw_headers {
        let mut raw: Vec<(String, String)> = serde_json::from_str(values.remove(0)).expect("pairs");
        raw.sort();
        lines.sort();
        assert_eq!(raw, lines, "{args}");
    }
    let [method, url, _, search, version, address, id, _] = values[..] else { panic!("{args}") };
    let path = if head.path.is_empty() { "/" } else { &head.path };
    let query =
        head.query.as_deref().filter(|query| !query.is_empty()).map_or(String::new(), |query| format!("?{query}"));
    let address = [address, version, id].map(text);
    assert_eq!([text(method), text(url), text(search)], [head.method.as_str(), path, &query]);
    assert_eq!(address, [&arrival.client_text(), "1.1", "id"]);
}

/// Tells whether a visitor's header reaches the end. No name does that CGI could not tell from one that does not.
fn passes(head: &Head, name: &str) -> bool {
    let plain = name.replace('_', "-");
    let is_taken = HOP_BY_HOP.contains(&&*plain) || RELAYS_OWN.contains(&&*plain) || plain.starts_with("x-socket2me-");
    let is_allowed = plain != "x-request-id" || (name == plain && head.is_proxied());
    !is_taken && is_allowed && !named(&head.values("connection")).contains(name)
}

/// The headers that the relay adds.
fn own_headers(head: &Head, arrival: &Arrival<'_>) -> Vec<(String, String)> {
    let before = Some(head.values("x-forwarded-for").join(", ")).filter(|before| !before.is_empty());
    let way = before.map_or(String::new(), |before| before + ", ") + arrival.peer.text();
    let scheme = asked_for(head, "x-forwarded-proto", &arrival.scheme(&head.headers), "http");
    let host = match arrival.host(&head.headers) {
        _ if head.is_public => "relay.example".to_owned(),
        host => asked_for(head, "x-forwarded-host", &host.unwrap_or_default(), &head.ascii_list("host")),
    };
    let own = [
        ("content-length", head.body.len().to_string()),
        ("x-forwarded-for", way),
        ("x-forwarded-proto", scheme),
        ("x-forwarded-host", host),
        ("x-forwarded-prefix", "/below/go/TOKEN".to_owned()),
    ];
    let present = own.into_iter().filter(|(name, value)| *name != "x-forwarded-host" || !value.is_empty());
    present.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Returns what a trusted proxy says in a header, or in `Forwarded`, where it must have said what was `found`. Otherwise what
/// is so without proxies.
fn asked_for(head: &Head, name: &str, found: &str, otherwise: &str) -> String {
    let said = head.ascii_list(name);
    match head.is_proxied() {
        true if !said.is_empty() => said,
        true if head.values("forwarded").iter().any(|value| value.contains(found)) => found.to_owned(),
        true | false => otherwise.to_owned(),
    }
}

/// Lines as one object: names once, cookies joined otherwise than the rest, and of some the first alone.
fn joined(lines: &[(String, String)]) -> BTreeMap<String, String> {
    let mut members: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in lines {
        match members.get_mut(name) {
            Some(_) if COUNT_ONCE.contains(&&**name) => (),
            Some(all) => all.extend([if name == "cookie" { "; " } else { ", " }, value]),
            None => drop(members.insert(name.clone(), value.clone())),
        }
    }
    members
}

fn text(json: &str) -> String {
    serde_json::from_str(json).expect("a string")
}
