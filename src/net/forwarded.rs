//! The addresses that proxies report in `X-Forwarded-For` and in `Forwarded` (RFC 7239), from the nearest hop to the farthest.
//!
//! Both headers are read from their end. The nearest proxy writes there, behind what a visitor sent, so no bytes of a visitor's
//! change how that proxy's entry is understood.

use std::net::{IpAddr, Ipv6Addr};

use http::HeaderMap;
use http::header::{self, HeaderName};

use crate::proto::headers::is_token;

pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Returns the hops that the headers of a request report, the nearest first. `None` is a hop whose entry is no address.
///
/// With both headers, only a hop that has the same address in both is one: a proxy writes one of them and passes the other
/// on as the visitor sent it.
pub(super) fn hops(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> + '_ {
    let (has_listed, has_standard) = (headers.contains_key(FORWARDED_FOR), headers.contains_key(header::FORWARDED));
    let (mut listed, mut standard) = (listed(headers), elements(headers));
    std::iter::from_fn(move || {
        let listed = listed.next();
        let standard = standard.next().map(|element| node(element?.client?));
        match (has_listed, has_standard) {
            (_, false) => listed,
            (false, true) => standard,
            (true, true) if listed == standard => listed,
            (true, true) => Some(None),
        }
    })
}

/// Returns the addresses of `X-Forwarded-For`.
fn listed(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> + '_ {
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    lines.flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b',')).map(|entry| {
        let entry = entry.trim_ascii();
        node(entry.strip_prefix(b"\"").and_then(|entry| entry.strip_suffix(b"\"")).unwrap_or(entry))
    })
}

/// Reads an address as proxies write it: `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]`,
/// `[2001:db8::1]:4711`. `None` for a name, `unknown`, and anything else.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, rest) = bracketed.split_once(']')?;
        return (rest.is_empty() || is_port(rest.strip_prefix(':')?)).then(|| ipv6(address))?;
    }
    match text.split_once(':') {
        Some((address, port)) if is_port(port) => address.parse().ok().map(IpAddr::V4),
        Some(_) => ipv6(text),
        None => text.parse().ok().map(IpAddr::V4),
    }
}

/// Reads an address of IPv6. The zone behind `%` names an interface of the machine that wrote it, and is no part of it.
fn ipv6(text: &str) -> Option<IpAddr> {
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    address.parse().ok().map(|address: Ipv6Addr| IpAddr::V6(address).to_canonical())
}

/// Returns whether a text is a port, as a number or hidden behind a name such as `_8080` (RFC 7239, section 6.3).
fn is_port(text: &str) -> bool {
    let is_hidden = text.strip_prefix('_').is_some_and(|name| name.bytes().all(is_token));
    is_hidden || (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// An element of `Forwarded`: what one proxy says of the request that came to it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Element<'h> {
    /// `for`: whom the request came from.
    client: Option<&'h [u8]>,
    /// `proto`: the scheme.
    scheme: Option<&'h [u8]>,
    /// `host`: the host that was asked for.
    host: Option<&'h [u8]>,
}

/// Returns the scheme and the host in an element of `Forwarded`, which is counted from the nearest.
pub(super) fn asked_for(headers: &HeaderMap, hop: usize) -> (Option<&str>, Option<&str>) {
    fn text(value: Option<&[u8]>) -> Option<&str> {
        value.filter(|value| value.is_ascii()).and_then(|value| std::str::from_utf8(value).ok())
    }
    let element = elements(headers).nth(hop).flatten().unwrap_or_default();
    (text(element.scheme), text(element.host))
}

/// Returns the elements of `Forwarded`, the nearest first. The first that cannot be read is `None`, and the last.
fn elements(headers: &HeaderMap) -> impl Iterator<Item = Option<Element<'_>>> + '_ {
    let lines = headers.get_all(header::FORWARDED).iter().rev();
    lines.flat_map(|line| {
        let mut rest = Some(line.as_bytes());
        std::iter::from_fn(move || {
            let (element, before) = last_element(rest?).unzip();
            rest = before.flatten();
            Some(element)
        })
    })
}

/// Reads the last element of a line, and returns it with what stands before its comma. `None` if it is none.
fn last_element(line: &[u8]) -> Option<(Element<'_>, Option<&[u8]>)> {
    let (mut element, mut rest) = (Element::default(), line.trim_ascii_end());
    loop {
        // A pair between two semicolons may be absent.
        while let Some(before) = rest.strip_suffix(b";") {
            rest = before.trim_ascii_end();
        }
        let (name, value, before) = last_pair(rest)?;
        let known = match () {
            () if name.eq_ignore_ascii_case(b"for") => Some(&mut element.client),
            () if name.eq_ignore_ascii_case(b"proto") => Some(&mut element.scheme),
            () if name.eq_ignore_ascii_case(b"host") => Some(&mut element.host),
            () => None,
        };
        if known.is_some_and(|known| known.replace(value).is_some()) {
            return None;
        }
        match before.trim_ascii_end().split_last() {
            None => return Some((element, None)),
            Some((b',', before)) => return Some((element, Some(before))),
            Some((b';', before)) => rest = before.trim_ascii_end(),
            Some(_) => return None,
        }
    }
}

/// Reads the pair at the end of a text, `name=value`, and returns it with what stands before it. A value in quotes is returned
/// without them, and with its escapes, which no address has.
fn last_pair(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (before, value) = match text.strip_suffix(b"\"") {
        Some(quoted) => {
            let escapes = |at: usize| quoted[..at].iter().rev().take_while(|&&byte| byte == b'\\').count();
            let is_opening = |&at: &usize| quoted[at] == b'"' && escapes(at).is_multiple_of(2);
            let opening = (0..quoted.len()).rev().find(is_opening)?;
            (&quoted[..opening], &quoted[opening + 1..])
        }
        // Some proxies write addresses of IPv6 and ports without the quotes that RFC 7239, section 6, asks for.
        None => split_word(text, |byte| is_token(byte) || matches!(byte, b':' | b'[' | b']')),
    };
    let (before, name) = split_word(before.strip_suffix(b"=")?, is_token);
    (!name.is_empty()).then_some((name, value, before))
}

/// Splits the longest word of these bytes off the end of a text.
fn split_word(text: &[u8], is_word: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let start = text.iter().rposition(|&byte| !is_word(byte)).map_or(0, |at| at + 1);
    text.split_at(start)
}
