//! A head, read from the bytes of an input.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use ipnet::IpNet;

use crate::net::arrival::Peer;
use crate::proto::exchange::{EndOptions, HeadLimits};

/// What the path of a tunnel begins with.
const TUNNEL: &[u8] = b"/go/TOKEN";

/// The headers of a connection (RFC 9110, section 7.6.1), and those that only proxies use.
pub(super) const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A head, a body, and what there is besides.
///
/// The first three bytes of an input choose. Its lines are the method with the target, and headers; behind an empty line is the
/// body. What HTTP does not allow is left out.
pub(super) struct Head {
    pub(super) method: Method,
    /// The target without the path of the tunnel.
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) options: EndOptions,
    /// The server has a public URL.
    pub(super) is_public: bool,
    /// In an ack, lines of one name are a list. Otherwise each is a member, of which the last counts.
    pub(super) has_lists: bool,
    pub(super) peer: Peer,
    pub(super) trusted: Vec<IpNet>,
    pub(super) limits: HeadLimits,
}

impl Head {
    pub(super) fn read(data: &[u8]) -> Option<Self> {
        let (&[choice, way, limits], text) = data.split_first_chunk()?;
        let (head, body) = match text.windows(2).position(|two| two == b"\n\n") {
            Some(end) => (&text[..end], &text[end + 2..]),
            None => (text, &b""[..]),
        };
        let mut lines = head.split(|&byte| byte == b'\n');
        let request = lines.next().unwrap_or_default();
        let (method, target) = request.split_at(request.iter().position(|&byte| byte == b' ').unwrap_or(request.len()));
        let (path, query) = read_target(target.trim_ascii_start());
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(header) {
            headers.try_append(name, value).ok()?;
        }
        let (peer, trusted) = way_of(way);
        Some(Self {
            method: Method::from_bytes(method).unwrap_or_default(),
            path,
            query,
            headers,
            body: Bytes::copy_from_slice(body),
            options: EndOptions { raw_body: choice & 1 != 0, raw_headers: choice & 2 != 0, ..EndOptions::default() },
            is_public: choice & 4 != 0,
            has_lists: choice & 8 != 0,
            peer,
            trusted,
            limits: match limits {
                0xf0.. => HeadLimits::default(),
                _ => HeadLimits { lines: usize::from(limits >> 4) * 8, bytes: usize::from(limits & 15) * 128 },
            },
        })
    }

    /// Tells whether the peer is a proxy that is trusted.
    pub(super) fn is_proxied(&self) -> bool {
        self.trusted.iter().any(|network| network.contains(&self.peer.address.ip()))
    }

    /// The values of a header as texts, in order.
    pub(super) fn values(&self, name: &str) -> Vec<String> {
        self.headers.get_all(name).iter().map(latin1).collect()
    }

    /// The values of a header that are ASCII, as a list.
    pub(super) fn ascii_list(&self, name: &str) -> String {
        let values: Vec<_> = self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        values.join(", ")
    }
}

/// Chooses the peer and the proxies that are trusted.
fn way_of(way: u8) -> (Peer, Vec<IpNet>) {
    const PEERS: [&str; 8] =
        ["10.0.0.1", "192.0.2.1", "127.0.0.1", "::ffff:10.0.0.1", "2001:db8::1", "::1", "::ffff:127.0.0.1", "10.9.9.9"];
    const TRUSTED: [&[&str]; 4] =
        [&["10.0.0.0/8"], &[], &["127.0.0.0/30", "10.0.0.0/24"], &["2001:db8::/32", "::1/128", "10.0.0.0/8"]];
    let peer = PEERS[usize::from(way & 7)].parse().expect("an address");
    let trusted = TRUSTED[usize::from(way >> 3 & 3)].iter().map(|network| network.parse().expect("a network"));
    (Peer::new(SocketAddr::new(peer, 4711)), trusted.collect())
}

/// Reads a target behind the path of the tunnel. `#` and what follows are no part of it.
fn read_target(target: &[u8]) -> (String, Option<String>) {
    let is_below = matches!(target.first(), Some(b'/' | b'?'));
    let whole = PathAndQuery::try_from(&[TUNNEL, target].concat()[..]).ok().filter(|_| is_below);
    let path = whole.as_ref().map_or("", |whole| &whole.path()[TUNNEL.len()..]);
    (path.to_owned(), whole.as_ref().and_then(|whole| whole.query()).map(str::to_owned))
}

/// Reads a line of a head as hyper does, without the blanks around its value.
fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_at(line.iter().position(|&byte| byte == b':')?);
    Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value[1..].trim_ascii()).ok()?))
}

/// A line as texts.
pub(super) fn pair((name, value): (&HeaderName, &HeaderValue)) -> (String, String) {
    (name.to_string(), latin1(value))
}

/// A value as text: each byte is a character.
pub(super) fn latin1(value: &HeaderValue) -> String {
    value.as_bytes().iter().map(|&byte| char::from(byte)).collect()
}

/// The names in values of `Connection`, in lower case, without the two that are options and no headers.
pub(super) fn named<S: AsRef<str>>(connection: &[S]) -> BTreeSet<String> {
    let items = connection.iter().flat_map(|value| value.as_ref().split(','));
    let names = items.map(|item| item.trim_matches([' ', '\t']).to_ascii_lowercase());
    names.filter(|name| name != "close" && name != "keep-alive").collect()
}
