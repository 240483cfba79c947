//! Who a request is from when proxies stand between: `X-Forwarded-*`, believed only from the proxies that the operator trusts.

use std::borrow::Cow;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderMap;
use http::header::{self, HeaderName};
use ipnet::IpNet;

use super::budget::Client;
use super::forwarded::{self, FORWARDED_FOR};
use super::turn::Turn;
use crate::proto::headers::value_to_text;

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The peer of a connection: a client or a proxy.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The peer's address. An IPv4 address is never written as IPv6.
    pub address: SocketAddr,
    /// The address without its port, as text.
    text: Arc<str>,
    /// Knows when the peer of a connection that is open has left.
    turn: Option<Arc<Turn>>,
    /// The scheme of URLs that lead to the connection.
    scheme: &'static str,
}

impl Peer {
    /// Returns the peer of a connection from this address.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        // A socket for both families shows IPv4 peers as IPv6 addresses.
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { address, text: address.ip().to_string().into(), turn: None, scheme: "http" }
    }

    /// Makes this the peer of the connection with this turn.
    pub(super) fn on(self, turn: &Arc<Turn>) -> Self {
        Self { turn: Some(Arc::clone(turn)), ..self }
    }

    /// Makes this the peer of a connection that is TLS, or is not.
    pub(super) fn by_tls(self, is_tls: bool) -> Self {
        Self { scheme: if is_tls { "https" } else { "http" }, ..self }
    }

    /// Returns a peer whose request this one passes on: it has left when this one has.
    pub(crate) fn passes_on(&self, address: SocketAddr, is_tls: bool) -> Self {
        Self { turn: self.turn.clone(), ..Self::new(address).by_tls(is_tls) }
    }

    /// Returns whether the connection is TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.scheme == "https"
    }

    /// Returns the address without its port, as text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// How a request arrived. Computed once for each request.
#[derive(Debug)]
pub struct Arrival<'p> {
    /// The peer of the connection: the client itself or the nearest proxy.
    pub peer: &'p Peer,
    /// The client, as far as proxies are believed.
    pub client: Client,
    /// The peer is a proxy that the operator trusts.
    is_proxied: bool,
    /// The request has an `X-Forwarded-For`, perhaps from a stranger.
    has_forwarded_for: bool,
    /// The hop at which the walk ended, counted from the nearest: its element of `Forwarded` speaks of the client.
    hop: Option<usize>,
}

impl<'p> Arrival<'p> {
    /// Looks at a request with these headers that `peer` sent.
    ///
    /// Walks from the nearest hop to the farthest. The client is the first that is no trusted proxy, or the farthest if all
    /// are. A hop that cannot be read ends the walk at the hop before: that address is a proxy's, whose client is unknown,
    /// and no limit exempts it.
    #[must_use]
    pub fn new(headers: &HeaderMap, peer: &'p Peer, trusted: &[IpNet]) -> Self {
        let address = peer.address.ip();
        let mut arrival = Self {
            peer,
            client: address.into(),
            is_proxied: is_trusted(address, trusted),
            has_forwarded_for: headers.contains_key(FORWARDED_FOR),
            hop: None,
        };
        if arrival.is_proxied {
            arrival.walk(headers, trusted);
        }
        arrival
    }

    fn walk(&mut self, headers: &HeaderMap, trusted: &[IpNet]) {
        for (number, hop) in forwarded::hops(headers).enumerate() {
            let Some(address) = hop else {
                self.client.can_be_exempt = false;
                // A proxy may hide the address and tell the rest. Beside `X-Forwarded-For`, a visitor may have written it.
                if !self.has_forwarded_for {
                    self.hop = Some(number);
                }
                return;
            };
            // Another machine's loopback is not this machine.
            let can_be_exempt = is_trusted(address, trusted) || self.peer.address.ip().is_loopback();
            (self.client, self.hop) = (Client { address, can_be_exempt }, Some(number));
            if !is_trusted(address, trusted) {
                return;
            }
        }
    }

    /// Returns whether the request came from a proxy that the operator trusts.
    #[must_use]
    pub fn is_proxied(&self) -> bool {
        self.is_proxied
    }

    /// Completes when the peer has left: it has closed its sending half or reset the connection, even while nothing is read or
    /// written, or the connection was given up. Linux tells of it at once, other systems perhaps with the next read or write. A peer
    /// that has sent more than the system's buffer takes leaves behind those bytes: its end arrives once they are read.
    ///
    /// Never completes after an upgrade: the owner of the upgraded connection learns of its end by reading. Each call makes the
    /// connection watch for its peer for the rest of the request.
    pub fn gone(&self) -> impl Future<Output = ()> + Send + use<> {
        let gone = self.peer.turn.as_ref().map(|turn| turn.watch());
        async {
            match gone {
                Some(gone) => gone.cancelled_owned().await,
                None => std::future::pending().await,
            }
        }
    }

    /// Returns the client's address as text.
    #[must_use]
    pub fn client_text(&self) -> Cow<'_, str> {
        if self.client.address == self.peer.address.ip() {
            Cow::Borrowed(self.peer.text())
        } else {
            Cow::Owned(self.client.address.to_string())
        }
    }

    /// Returns whether the request has the header by which most proxies report an address, and the peer is no proxy that the
    /// operator trusts.
    #[must_use]
    pub fn is_unbelieved(&self) -> bool {
        !self.is_proxied && self.has_forwarded_for
    }

    /// Returns `X-Forwarded-For` as received: the farthest hop first, without the peer itself. Empty where there is none.
    #[must_use]
    pub fn forwarded_for<'h>(&self, headers: &'h HeaderMap) -> Cow<'h, str> {
        if !self.has_forwarded_for {
            return Cow::Borrowed("");
        }
        joined(headers.get_all(FORWARDED_FOR).iter().map(value_to_text))
    }

    /// Returns the scheme that the client used: what a trusted proxy says, else `https` where the connection is TLS and `http` where
    /// it is not.
    #[must_use]
    pub fn scheme<'h>(&self, headers: &'h HeaderMap) -> Cow<'h, str> {
        self.believed(headers, &FORWARDED_PROTO, |(scheme, _)| scheme).unwrap_or(Cow::Borrowed(self.peer.scheme))
    }

    /// Returns the host that the client asked for: what a trusted proxy says, else the request's `Host`.
    #[must_use]
    pub fn host<'h>(&self, headers: &'h HeaderMap) -> Option<Cow<'h, str>> {
        self.believed(headers, &FORWARDED_HOST, |(_, host)| host).or_else(|| non_empty(text(headers, &header::HOST)))
    }

    /// Returns what a trusted proxy says in this header, or in the element of `Forwarded` that names the client.
    fn believed<'h>(
        &self,
        headers: &'h HeaderMap,
        name: &HeaderName,
        standard: impl FnOnce((Option<&'h str>, Option<&'h str>)) -> Option<&'h str>,
    ) -> Option<Cow<'h, str>> {
        if !self.is_proxied {
            return None;
        }
        non_empty(text(headers, name)).or_else(|| {
            let value = standard(forwarded::asked_for(headers, self.hop?));
            non_empty(Cow::Borrowed(value?))
        })
    }
}

fn non_empty(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    Some(text).filter(|text| !text.is_empty())
}

/// Tells whether an address is a trusted proxy's.
pub(super) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// Returns the values of a header as one list, without those that are not ASCII text.
fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Cow<'h, str> {
    joined(headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(Cow::Borrowed))
}

fn joined<'h>(mut values: impl Iterator<Item = Cow<'h, str>>) -> Cow<'h, str> {
    let Some(first) = values.next() else { return Cow::Borrowed("") };
    values.fold(first, |list, value| Cow::Owned(list.into_owned() + ", " + &value))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const TRUSTED: &str = "10.0.0.0/8";

    fn peer(address: &str) -> Peer {
        Peer::new(SocketAddr::new(address.parse().unwrap(), 1))
    }

    fn arrival<'p>(peer: &'p Peer, headers: &HeaderMap) -> Arrival<'p> {
        Arrival::new(headers, peer, &[TRUSTED.parse().unwrap(), "127.0.0.0/30".parse().unwrap()])
    }

    fn headers(lines: &[(&HeaderName, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        for (address, forwarded_for, client, plain_peer) in [
            ("192.0.2.1", "", "192.0.2.1", "192.0.2.1"),
            ("192.0.2.1", "198.51.100.7", "192.0.2.1", "192.0.2.1"),
            ("10.0.0.1", "198.51.100.7", "198.51.100.7", "10.0.0.1"),
            ("10.0.0.1", "203.0.113.9, 198.51.100.7, 10.0.0.2", "198.51.100.7", "10.0.0.1"),
            ("10.0.0.1", "nonsense", "10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3", "10.0.0.1"),
            ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7", "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            if !forwarded_for.is_empty() {
                headers.insert(FORWARDED_FOR, HeaderValue::from_str(forwarded_for).unwrap());
            }
            headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
            headers.insert(FORWARDED_HOST, HeaderValue::from_static("outside.example"));
            headers.insert(header::HOST, HeaderValue::from_static("inside.example"));
            let peer = peer(address);
            let arrival = arrival(&peer, &headers);
            let is_believed = address != "192.0.2.1";
            assert_eq!([&*arrival.client_text(), peer.text()], [client, plain_peer], "{address} {forwarded_for}");
            assert_eq!(arrival.forwarded_for(&headers), forwarded_for);
            assert_eq!(arrival.scheme(&headers), if is_believed { "https" } else { "http" });
            let host = if is_believed { "outside.example" } else { "inside.example" };
            assert_eq!(arrival.host(&headers).as_deref(), Some(host));
            assert_eq!(arrival.is_unbelieved(), !is_believed && !forwarded_for.is_empty());
        }
    }

    /// The client behind a trusted proxy, with `?` where it is a proxy that stands for clients of whom nothing is known.
    fn client(lines: &[(&HeaderName, &[u8])]) -> String {
        let Client { address, can_be_exempt } = arrival(&peer("10.0.0.1"), &headers(lines)).client;
        format!(
            "{address}{}",
            if can_be_exempt || !is_trusted(address, &[TRUSTED.parse().unwrap()]) { "" } else { "?" }
        )
    }

    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        for (entry, expected) in [
            ("203.0.113.9", "203.0.113.9"),
            ("203.0.113.9:4711", "203.0.113.9"),
            ("\"203.0.113.9:4711\"", "203.0.113.9"),
            ("[203.0.113.9]", "10.0.0.1?"),
            ("2001:db8::9", "2001:db8::9"),
            ("[2001:db8::9]", "2001:db8::9"),
            ("[2001:db8::9]:4711", "2001:db8::9"),
            ("\"[2001:db8::9]:4711\"", "2001:db8::9"),
            ("\"[2001:db8::9]:_hidden\"", "2001:db8::9"),
            ("fe80::9%eth0", "fe80::9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("[::ffff:203.0.113.9]:4711", "203.0.113.9"),
            ("unknown", "10.0.0.1?"),
            ("_hidden", "10.0.0.1?"),
            ("203.0.113.9:", "10.0.0.1?"),
            ("203.0.113.9:port", "10.0.0.1?"),
            ("203.0.113.09", "10.0.0.1?"),
            ("[2001:db8::9", "10.0.0.1?"),
            ("[2001:db8::9]4711", "10.0.0.1?"),
            ("\"203.0.113.9", "10.0.0.1?"),
            ("visitor.example", "10.0.0.1?"),
        ] {
            assert_eq!(client(&[(&FORWARDED_FOR, entry.as_bytes())]), expected, "{entry}");
            let is_quoted = entry.contains('"');
            let element = if is_quoted { format!("for={entry}") } else { format!("for=\"{entry}\"") };
            assert_eq!(client(&[(&header::FORWARDED, element.as_bytes())]), expected, "{element}");
        }
    }

    #[test]
    fn what_cannot_be_read_ends_the_walk_and_is_no_exemption() {
        for (list, expected) in [
            (&b"\xe9, 203.0.113.9"[..], "203.0.113.9"),
            (b"203.0.113.9, \xe9", "10.0.0.1?"),
            (b"203.0.113.9,", "10.0.0.1?"),
            (b"203.0.113.9, ,10.0.0.2", "10.0.0.2?"),
            (b"203.0.113.9, nonsense, 10.0.0.2", "10.0.0.2?"),
            (b"", "10.0.0.1?"),
            (b",", "10.0.0.1?"),
            (b"10.0.0.3,10.0.0.2", "10.0.0.3"),
        ] {
            assert_eq!(client(&[(&FORWARDED_FOR, list)]), expected, "{}", list.escape_ascii());
        }
        let lines: &[(&HeaderName, &[u8])] =
            &[(&FORWARDED_FOR, b"198.51.100.7, \xe9"), (&FORWARDED_FOR, b"203.0.113.9")];
        assert_eq!(client(lines), "203.0.113.9", "the last line is the nearest proxy's");
        assert_eq!(client(&[]), "10.0.0.1", "a proxy that reports nobody speaks for itself");
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        for (list, expected) in [
            (&b"for=203.0.113.9"[..], "203.0.113.9"),
            (b"For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            (b"for=192.0.2.60; proto=http; by=203.0.113.43", "192.0.2.60"),
            (b"for=198.51.100.7, for=203.0.113.9;proto=https;host=\"a, for=192.0.2.1\"", "203.0.113.9"),
            (b"for=198.51.100.7, for=203.0.113.9;ext=\"a\\\"b\\\\\"", "203.0.113.9"),
            (b"for=198.51.100.7 , proto=https;for=10.0.0.2;;", "198.51.100.7"),
            (b"for=[2001:db8::9]:4711", "2001:db8::9"),
            (b"x=\", for=203.0.113.9", "203.0.113.9"),
            (b"for=\xe9;;;, for=203.0.113.9", "203.0.113.9"),
            (b"for=203.0.113.9,", "10.0.0.1?"),
            (b"for=203.0.113.9;for=203.0.113.9", "10.0.0.1?"),
            (b"by=203.0.113.9", "10.0.0.1?"),
            (b"203.0.113.9", "10.0.0.1?"),
            (b"=203.0.113.9", "10.0.0.1?"),
            (b"for=\"203.0.113.9", "10.0.0.1?"),
            (b"for=203.0.113.9 proto=http", "10.0.0.1?"),
            (b"for=198.51.100.7, for=unknown, for=10.0.0.2", "10.0.0.2?"),
        ] {
            assert_eq!(client(&[(&header::FORWARDED, list)]), expected, "{}", list.escape_ascii());
        }
    }

    #[test]
    fn of_two_headers_that_do_not_agree_neither_is_believed() {
        for (list, standard, expected) in [
            ("203.0.113.9", "for=203.0.113.9", "203.0.113.9"),
            ("203.0.113.9, 10.0.0.2", "for=203.0.113.9, for=10.0.0.2", "203.0.113.9"),
            ("203.0.113.9, 10.0.0.2", "for=198.51.100.7, for=10.0.0.2", "10.0.0.2?"),
            ("203.0.113.9", "for=198.51.100.7", "10.0.0.1?"),
            ("203.0.113.9", "", "10.0.0.1?"),
            ("10.0.0.2", "for=203.0.113.9, for=10.0.0.2", "10.0.0.2?"),
        ] {
            let lines: [(&HeaderName, &[u8]); 2] =
                [(&FORWARDED_FOR, list.as_bytes()), (&header::FORWARDED, standard.as_bytes())];
            assert_eq!(client(&lines), expected, "{list} | {standard}");
        }
    }

    #[test]
    fn the_element_of_the_client_tells_scheme_and_host() {
        let list =
            b"for=198.51.100.7;proto=ftp, for=203.0.113.9;proto=https;host=\"a.example\", for=10.0.0.2;proto=http";
        for (lines, scheme, host) in [
            (&[(&header::FORWARDED, &list[..])][..], "https", Some("a.example")),
            (&[(&header::FORWARDED, b"for=_hidden;proto=https")], "https", None),
            (&[(&header::FORWARDED, b"for=203.0.113.9;proto=http"), (&FORWARDED_PROTO, b"https")], "https", None),
            (&[(&header::FORWARDED, b"for=198.51.100.7;proto=https"), (&FORWARDED_FOR, b"203.0.113.9")], "http", None),
        ] {
            let headers = headers(lines);
            let peer = peer("10.0.0.1");
            let arrival = arrival(&peer, &headers);
            assert_eq!((&*arrival.scheme(&headers), arrival.host(&headers).as_deref()), (scheme, host), "{lines:?}");
        }
    }

    #[test]
    fn the_loopback_of_another_machine_is_not_this_machine() {
        for (address, can_be_exempt) in [("10.0.0.1", false), ("127.0.0.1", true)] {
            let client = arrival(&peer(address), &headers(&[(&FORWARDED_FOR, b"127.0.0.9")])).client;
            assert_eq!(client, Client { address: "127.0.0.9".parse().unwrap(), can_be_exempt }, "{address}");
        }
    }

    /// Bytes that a header can have, most of them with a meaning in a list.
    fn list() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            prop::sample::select(vec![
                "for=",
                "\"",
                "\\",
                ",",
                ";",
                "=",
                "[",
                "]",
                ":",
                " ",
                "10.0.0.2",
                "198.51.100.7",
                "\\\""
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
            prop_oneof![0x20..0x7f_u8, 0x80..=0xff_u8].prop_map(|byte| vec![byte]),
        ];
        prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_visitor_change_what_the_proxy_behind_them_says(said in list(), is_line in any::<bool>()) {
            for (name, entry) in [(&FORWARDED_FOR, &b"203.0.113.9"[..]), (&header::FORWARDED, b"for=\"203.0.113.9:1\"")] {
                let joined = [&said[..], b", ", entry].concat();
                let lines: &[(&HeaderName, &[u8])] = if is_line { &[(name, &said), (name, entry)] } else { &[(name, &joined)] };
                prop_assert_eq!(client(lines), "203.0.113.9");
            }
        }

        #[test]
        fn a_proxy_that_reports_something_is_exempt_only_if_it_names_a_proxy(said in list()) {
            for name in [&FORWARDED_FOR, &header::FORWARDED] {
                let client = arrival(&peer("10.0.0.1"), &headers(&[(name, &said)])).client;
                let names_a_proxy = said.windows(3).any(|part| part == b"10.");
                prop_assert!(names_a_proxy || !client.can_be_exempt || !is_trusted(client.address, &[TRUSTED.parse().unwrap()]));
            }
        }
    }
}
