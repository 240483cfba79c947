//! Who a request is from when proxies stand between: `X-Forwarded-*`, believed only from the proxies that the operator trusts.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderMap;
use http::header::{self, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The peer of a connection: a client or a proxy. Clones share their text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The peer's address. An IPv4 address is never written as IPv6.
    pub address: SocketAddr,
    /// The address without its port, as text.
    text: Arc<str>,
}

impl Peer {
    /// Returns the peer of a connection from this address.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        // A socket for both families shows IPv4 peers as IPv6 addresses.
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { address, text: address.ip().to_string().into() }
    }

    /// Returns the address without its port, as text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// How a request arrived. Computed once for each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The peer of the connection: the client itself or the nearest proxy.
    pub peer: Peer,
    /// The client's address, as far as proxies are believed.
    pub client: IpAddr,
    /// The peer is a proxy that the operator trusts.
    is_proxied: bool,
}

impl Arrival {
    /// Looks at a request with these headers that `peer` sent.
    #[must_use]
    pub fn new(headers: &HeaderMap, peer: &Peer, trusted: &[IpNet]) -> Self {
        let address = peer.address.ip();
        let is_proxied = is_trusted(address, trusted);
        let client =
            if is_proxied { first_untrusted(&text(headers, &FORWARDED_FOR), address, trusted) } else { address };
        Self { peer: peer.clone(), client, is_proxied }
    }

    /// Returns whether the request came from a proxy that the operator trusts.
    #[must_use]
    pub fn is_proxied(&self) -> bool {
        self.is_proxied
    }

    /// Returns the client's address as text.
    #[must_use]
    pub fn client_text(&self) -> Cow<'_, str> {
        if self.client == self.peer.address.ip() {
            Cow::Borrowed(self.peer.text())
        } else {
            Cow::Owned(self.client.to_string())
        }
    }

    /// Returns `X-Forwarded-For` as received: the farthest hop first, without the peer itself. Empty where there is none.
    #[must_use]
    pub fn forwarded_for(headers: &HeaderMap) -> Cow<'_, str> {
        text(headers, &FORWARDED_FOR)
    }

    /// Returns the scheme that the client used, `http` or what a trusted proxy says.
    #[must_use]
    pub fn scheme<'h>(&self, headers: &'h HeaderMap) -> Cow<'h, str> {
        self.believed(headers, &FORWARDED_PROTO).unwrap_or(Cow::Borrowed("http"))
    }

    /// Returns the host that the client asked for: what a trusted proxy says, else the request's `Host`.
    #[must_use]
    pub fn host<'h>(&self, headers: &'h HeaderMap) -> Option<Cow<'h, str>> {
        self.believed(headers, &FORWARDED_HOST).or_else(|| non_empty(text(headers, &header::HOST)))
    }

    fn believed<'h>(&self, headers: &'h HeaderMap, name: &HeaderName) -> Option<Cow<'h, str>> {
        if self.is_proxied { non_empty(text(headers, name)) } else { None }
    }
}

fn non_empty(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    Some(text).filter(|text| !text.is_empty())
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// Walks from the nearest hop to the farthest, and returns the first that is no trusted proxy. If all are trusted, or an
/// entry is no address, returns the last one reached.
fn first_untrusted(list: &str, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer;
    for entry in list.rsplit(',') {
        let Ok(address) = entry.trim().parse::<IpAddr>() else { break };
        client = address.to_canonical();
        if !is_trusted(client, trusted) {
            break;
        }
    }
    client
}

/// Returns the values of a header as one list, without those that are not ASCII text.
fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Cow<'h, str> {
    let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    match (values.next(), values.next()) {
        (None, _) => Cow::Borrowed(""),
        (Some(only), None) => Cow::Borrowed(only),
        (Some(first), Some(second)) => {
            let all: Vec<_> = [first, second].into_iter().chain(values).collect();
            Cow::Owned(all.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        for (peer, forwarded_for, client, plain_peer) in [
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
            let arrival = Arrival::new(&headers, &Peer::new(SocketAddr::new(peer.parse().unwrap(), 1)), &trusted);
            let is_believed = peer != "192.0.2.1";
            assert_eq!([&*arrival.client_text(), arrival.peer.text()], [client, plain_peer], "{peer} {forwarded_for}");
            assert_eq!(Arrival::forwarded_for(&headers), forwarded_for);
            assert_eq!(arrival.scheme(&headers), if is_believed { "https" } else { "http" });
            let host = if is_believed { "outside.example" } else { "inside.example" };
            assert_eq!(arrival.host(&headers).as_deref(), Some(host));
        }
    }
}
