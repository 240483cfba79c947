//! Who a visitor is, when proxies stand between: `X-Forwarded-*`, believed only from those the operator trusts.

use std::borrow::Cow;
use std::net::IpAddr;

use http::HeaderMap;
use http::header::{self, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What is known of a visitor's way here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Forwarded<'h> {
    /// The visitor, as far as proxies are believed.
    pub(crate) client: IpAddr,
    /// Everybody on the way, the nearest last, but for who brought the request; empty where nobody is known.
    pub(crate) before: Cow<'h, str>,
    /// Who brought the request.
    pub(crate) peer: IpAddr,
    /// `http` or `https`.
    pub(crate) proto: Cow<'h, str>,
    /// The host that the visitor asked for.
    pub(crate) host: Option<Cow<'h, str>>,
}

impl<'h> Forwarded<'h> {
    /// The visitor alone.
    pub(crate) fn client(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
        let peer = peer.to_canonical();
        if !is_trusted(peer, trusted) {
            return peer;
        }
        first_untrusted(&text(headers, &FORWARDED_FOR), peer, trusted)
    }

    /// Looks at a request that `peer` brought.
    pub(crate) fn of(headers: &'h HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> Self {
        // A socket for both families shows IPv4 peers in IPv6 clothes.
        let peer = peer.to_canonical();
        let believed = is_trusted(peer, trusted);
        let before = text(headers, &FORWARDED_FOR);
        let believed_text =
            |name| if believed { Some(text(headers, &name)).filter(|value| !value.is_empty()) } else { None };
        Self {
            client: if believed { first_untrusted(&before, peer, trusted) } else { peer },
            before,
            peer,
            proto: believed_text(FORWARDED_PROTO).unwrap_or(Cow::Borrowed("http")),
            host: believed_text(FORWARDED_HOST)
                .or_else(|| Some(text(headers, &header::HOST)).filter(|host| !host.is_empty())),
        }
    }
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// From the nearest on, the first who is no trusted proxy; if all are, or one is no address, the farthest that is known.
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
    fn believes_only_trusted_proxies() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        for (peer, said, client, plain_peer) in [
            ("192.0.2.1", "", "192.0.2.1", "192.0.2.1"),
            ("192.0.2.1", "198.51.100.7", "192.0.2.1", "192.0.2.1"),
            ("10.0.0.1", "198.51.100.7", "198.51.100.7", "10.0.0.1"),
            ("10.0.0.1", "203.0.113.9, 198.51.100.7, 10.0.0.2", "198.51.100.7", "10.0.0.1"),
            ("10.0.0.1", "nonsense", "10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3", "10.0.0.1"),
            ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7", "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            if !said.is_empty() {
                headers.insert(FORWARDED_FOR, HeaderValue::from_str(said).unwrap());
            }
            headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
            headers.insert(FORWARDED_HOST, HeaderValue::from_static("outside.example"));
            headers.insert(header::HOST, HeaderValue::from_static("inside.example"));
            let found = Forwarded::of(&headers, peer.parse().unwrap(), &trusted);
            let believed = peer != "192.0.2.1";
            assert_eq!([found.client, found.peer].map(|it| it.to_string()), [client, plain_peer], "{peer} {said}");
            assert_eq!(found.before, said);
            assert_eq!(found.proto, if believed { "https" } else { "http" });
            assert_eq!(found.host.as_deref(), Some(if believed { "outside.example" } else { "inside.example" }));
        }
    }
}
