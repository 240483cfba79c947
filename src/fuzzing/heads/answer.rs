//! Which headers of an ack reach the visitor.

use bytestring::ByteString;

use super::head::{HOP_BY_HOP, Head, named, pair};
use crate::proto::exchange::headers::{ORIGIN_WIDE, Origin, WIDER_THAN_ORIGIN};
use crate::proto::exchange::{HeadLimits, Response};
use crate::proto::json;
use crate::proto::socket_io::connection::Answer;
use crate::proto::socket_io::packet::Args;

/// The visitor gets the headers that belong to no connection, to no origin and not to the relay. More lines or bytes than the
/// limits allow are an error, also where a later line replaces them. Where there are hosts of tunnels, cookies have no `Domain`.
pub(super) fn check(head: &Head) {
    check_for(head, Origin::Shared, &ORIGIN_WIDE);
    check_for(head, Origin::SharedBesideHosts, &ORIGIN_WIDE);
    check_for(head, Origin::Own, &WIDER_THAN_ORIGIN);
}

fn check_for(head: &Head, origin: Origin, refused: &[&str]) {
    let HeadLimits { lines, bytes } = head.limits;
    let taken: usize =
        head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum();
    let response = Response::decode(&answer(head), head.limits, origin);
    assert_eq!(response.is_ok(), head.headers.len() <= lines && taken <= bytes, "{response:?}, {:?}", head.limits);
    let Ok(response) = response else { return };
    let given = given(head);
    let connection: Vec<_> = given.iter().filter(|(name, _)| name == "connection").map(|(_, value)| value).collect();
    let named = named(&connection);
    let passes = |name: &str| {
        let is_taken = name == "content-length" || name.starts_with("x-socket2me-") || refused.contains(&name);
        !is_taken && !HOP_BY_HOP.contains(&name) && !named.contains(name)
    };
    let mut expected: Vec<_> = given.iter().filter(|(name, _)| passes(name)).cloned().collect();
    for (name, value) in &mut expected {
        if origin != Origin::Shared && name == "set-cookie" {
            *value = without_domain(value);
        }
    }
    if !expected.iter().any(|(name, _)| name == "content-type") {
        expected.push(("content-type".to_owned(), "text/html; charset=utf-8".to_owned()));
    }
    expected.sort();
    let mut got: Vec<_> = response.headers.iter().map(pair).collect();
    got.sort();
    assert_eq!(got, expected);
}

fn without_domain(cookie: &str) -> String {
    let (first, attributes) = cookie.split_once(';').map_or((cookie, None), |(first, rest)| (first, Some(rest)));
    let is_domain = |attribute: &&str| {
        let name = attribute.split_once('=').map_or(*attribute, |(name, _)| name);
        name.trim_matches([' ', '\t']).eq_ignore_ascii_case("domain")
    };
    let kept = attributes.into_iter().flat_map(|rest| rest.split(';')).filter(|attribute| !is_domain(attribute));
    std::iter::once(first).chain(kept).collect::<Vec<_>>().join(";")
}

/// The ack with the headers of a head.
pub(super) fn answer(head: &Head) -> Answer {
    let mut members = Vec::new();
    for name in head.headers.keys() {
        let values: Vec<_> = head.values(name.as_str()).iter().map(|value| quoted(value)).collect();
        if head.has_lists {
            members.push(format!("{}:[{}]", quoted(name.as_str()), values.join(",")));
        } else {
            members.extend(values.iter().map(|value| format!("{}:{value}", quoted(name.as_str()))));
        }
    }
    let args = ByteString::from(format!("[200,\"\",{{{}}}]", members.join(",")));
    Answer { args: Args::parse(args).expect("an array"), attachments: Vec::new() }
}

/// The lines that the ack means.
fn given(head: &Head) -> Vec<(String, String)> {
    let lines = |name| head.headers.get_all(name).iter().map(move |value| pair((name, value)));
    let kept = |name| lines(name).skip(if head.has_lists { 0 } else { lines(name).count() - 1 });
    head.headers.keys().flat_map(kept).collect()
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    json::write_string(text, &mut out);
    out
}
