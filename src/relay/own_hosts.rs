//! Hosts of tunnels' own: `https://LABEL.t.example.com/` beside `https://example.com/go/TOKEN/`.
//!
//! The operator names them. Clients take names below `localhost` for this machine without asking a name server (RFC 6761,
//! section 6.3), so there are such hosts wherever the server is reached by a loopback host, with nothing to set up.

use std::sync::Arc;

use http::header::{self, HeaderMap};

use crate::config::TunnelHosts;
use crate::proto::exchange::headers::Origin;
use crate::proto::token::Token;

/// What the hosts of tunnels end with where the operator names none, behind their labels.
const BELOW_LOCALHOST: &str = ".localhost";

/// The hosts of a server that mean the same machine as the names below `localhost`. Other addresses of 127.0.0.0/8 do not.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Which hosts are tunnels' own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnHosts {
    /// What they end with, in small letters and with its dot. `None` where tunnels have no hosts.
    suffix: Option<Arc<str>>,
    /// The operator has named them. Otherwise they are this machine's, for those who ask it by a loopback host.
    are_named: bool,
    /// The port that the operator has named with them.
    port: Option<u16>,
}

impl OwnHosts {
    /// Returns the hosts of tunnels of a server with this URL. Where the operator names none, there are none if that is no loopback
    /// host, or has a path: then what serves that path has the hosts, too.
    ///
    /// # Errors
    /// When the server's own host would be a tunnel's, with a sentence for the operator.
    pub(super) fn new(named: Option<&TunnelHosts>, server: &str) -> Result<Self, String> {
        let Some(named) = named else {
            let suffix = loopback(server).map(|_| BELOW_LOCALHOST.into());
            return Ok(Self { suffix, are_named: false, port: None });
        };
        let suffix = Some(format!(".{}", named.domain()).into());
        let hosts = Self { suffix, are_named: true, port: named.port() };
        let host = Authority::of(server).host;
        if hosts.label(host.as_bytes()).is_none() {
            return Ok(hosts);
        }
        Err(format!(
            "--public-url has the host {host}, which --tunnel-host {named} makes a tunnel's: the server needs a host that is not \
             below {}",
            named.domain()
        ))
    }

    /// Returns whose the origin of the server's own host is, at which all tunnels have their paths.
    pub(super) fn origin_of_paths(&self) -> Origin {
        if self.are_named { Origin::SharedBesideHosts } else { Origin::Shared }
    }

    /// Returns the label of the host that a request asks for, as it came. `None` if that is the server's own.
    ///
    /// `Host` alone says which host that is: a proxy that is to reach a tunnel's host passes it on, and what proxies report of the
    /// visitor's host is for apps.
    pub(super) fn asked<'h>(&self, headers: &'h HeaderMap) -> Option<&'h [u8]> {
        self.suffix.as_ref()?;
        self.label(headers.get(header::HOST)?.as_bytes())
    }

    /// Returns the label in a host, perhaps with a port and a dot behind it. It may be empty, have dots, or be no label at all: all
    /// that ends like a tunnel's host is no host of the server's own.
    fn label<'h>(&self, host: &'h [u8]) -> Option<&'h [u8]> {
        let suffix = self.suffix.as_deref()?;
        let name = host.iter().position(|&byte| byte == b':').map_or(host, |port| &host[..port]);
        let name = name.strip_suffix(b".").unwrap_or(name);
        let (label, end) = name.split_at_checked(name.len().checked_sub(suffix.len())?)?;
        end.eq_ignore_ascii_case(suffix.as_bytes()).then_some(label)
    }

    /// Returns a tunnel's host with the port that the operator has named, else with that of `server`, a URL by which the server is
    /// reached. `None` if there are no hosts but this machine's, and that URL is no loopback host: a visitor from elsewhere would
    /// look for the tunnel's host on its own machine.
    pub(super) fn host(&self, server: &str, token: &Token) -> Option<String> {
        let suffix = self.suffix.as_deref()?;
        let own_port = self.port.map(|port| format!(":{port}"));
        let port = if self.are_named { Authority::of(server).port } else { loopback(server)?.1 };
        Some([&*token.label()?, suffix, own_port.as_deref().unwrap_or(port)].concat())
    }

    /// Returns a tunnel's URL at its own host without a slash at its end, as [`Self::host`].
    pub(super) fn url(&self, server: &str, token: &Token) -> Option<String> {
        let (scheme, _) = server.split_once("://")?;
        Some(format!("{scheme}://{}", self.host(server, token)?))
    }
}

/// The host and the port in a URL.
struct Authority<'u> {
    /// An address of IPv6 has its brackets.
    host: &'u str,
    /// With its colon, or empty.
    port: &'u str,
}

impl<'u> Authority<'u> {
    fn of(url: &'u str) -> Self {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let authority = rest.find(['/', '?', '#']).map_or(rest, |end| &rest[..end]);
        let authority = authority.rsplit_once('@').map_or(authority, |(_, behind)| behind);
        let port = authority.rfind([':', ']']).filter(|&at| authority.as_bytes()[at] == b':');
        let (host, port) = authority.split_at(port.unwrap_or(authority.len()));
        Self { host, port: if port == ":" { "" } else { port } }
    }
}

/// Returns the scheme and the port of a URL that is a loopback host and nothing more, the port with its colon or empty.
fn loopback(url: &str) -> Option<(&str, &str)> {
    let (scheme, authority) = url.split_once("://")?;
    let port = LOOPBACK.iter().find_map(|host| {
        let (start, port) = authority.split_at_checked(host.len())?;
        start.eq_ignore_ascii_case(host).then_some(port)
    })?;
    let is_port = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some((scheme, port))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const UUID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

    fn of(server: &str) -> OwnHosts {
        OwnHosts::new(None, server).unwrap()
    }

    fn named(hosts: &str, server: &str) -> Result<OwnHosts, String> {
        OwnHosts::new(Some(&hosts.parse().unwrap()), server)
    }

    #[test]
    fn hosts_that_the_operator_names_have_the_scheme_and_the_port_of_the_server_or_their_own_port() {
        let (name, uuid) = (Token::parse("my-app").unwrap(), Token::from_label(UUID.as_bytes()).unwrap());
        for (hosts, server, url) in [
            ("*.t.example", "https://relay.example", "https://my-app.t.example"),
            ("*.t.example", "https://relay.example:8443/tunnels", "https://my-app.t.example:8443"),
            ("*.t.example", "http://192.0.2.1:3000", "http://my-app.t.example:3000"),
            ("*.t.example", "http://me:x@[2001:db8::1]:80?a=b:c", "http://my-app.t.example:80"),
            ("*.t.example", "http://[2001:db8::1]", "http://my-app.t.example"),
            ("*.t.example", "http://localhost:", "http://my-app.t.example"),
            ("*.T.example:444", "https://relay.example:8443", "https://my-app.t.example:444"),
        ] {
            assert_eq!(named(hosts, server).unwrap().url(server, &name).as_deref(), Some(url), "{hosts} {server}");
        }
        let hosts = named("*.t.example", "https://t.example").unwrap();
        assert_eq!(hosts.host("https://t.example", &uuid), Some(format!("{UUID}.t.example")));
        assert_eq!(hosts.label(b"My-App.T.Example.:443"), Some(&b"My-App"[..]));
        // They stand in place of those of this machine.
        assert_eq!((hosts.label(b"my-app.localhost"), hosts.label(b"t.example")), (None, None));
        assert_eq!(
            (hosts.origin_of_paths(), of("http://localhost").origin_of_paths()),
            (Origin::SharedBesideHosts, Origin::Shared)
        );
    }

    #[test]
    fn the_host_of_the_server_is_no_tunnels() {
        for server in ["https://relay.t.example", "https://RELAY.T.example.:8443/a", "https://a.b.t.example"] {
            assert!(named("*.t.example", server).unwrap_err().contains("--tunnel-host *.t.example"), "{server}");
        }
        assert!(named("*.t.example", "https://relayt.example").is_ok());
    }

    #[test]
    fn a_server_at_a_loopback_host_has_hosts_for_tunnels() {
        let (name, uuid) = (Token::parse("my-app").unwrap(), Token::from_label(UUID.as_bytes()).unwrap());
        for (server, scheme, port) in [
            ("http://localhost:3000", "http", ":3000"),
            ("http://LocalHost", "http", ""),
            ("https://127.0.0.1:8443", "https", ":8443"),
            ("http://[::1]:3000", "http", ":3000"),
        ] {
            let hosts = of(server);
            assert_eq!(hosts.host(server, &name), Some(format!("my-app.localhost{port}")), "{server}");
            assert_eq!(hosts.url(server, &uuid), Some(format!("{scheme}://{UUID}.localhost{port}")), "{server}");
        }
        let hosts = of("http://localhost:3000");
        for server in [
            "https://relay.example",
            "http://192.0.2.1:3000",
            "http://127.0.0.5:3000",
            "http://0.0.0.0:3000",
            "http://[::]:3000",
            "http://[::1:3000",
            "http://localhost.:3000",
            "http://localhost.example",
            "http://relay.localhost:3000",
            "http://localhost:3000/tunnels",
            "http://localhost:",
            "http://localhost:x",
            "http://me@localhost",
            "http://localhost@relay.example",
            "http://",
            "localhost:3000",
        ] {
            assert_eq!(of(server).suffix, None, "{server}");
            // Asked for by this URL, a server that has hosts tells of none.
            assert_eq!((hosts.host(server, &name), hosts.url(server, &name)), (None, None), "{server}");
        }
        assert_eq!(hosts.url("http://localhost", &Token::parse(&"a".repeat(48)).unwrap()), None, "no UUID");
    }

    #[test]
    fn what_stands_before_the_suffix_is_the_label() {
        let hosts = of("http://localhost:3000");
        let none = of("https://relay.example");
        for (host, label) in [
            ("my-app.localhost", Some("my-app")),
            ("my-app.localhost:3000", Some("my-app")),
            ("my-app.localhost:1", Some("my-app")),
            ("my-app.localhost:", Some("my-app")),
            ("my-app.localhost:x", Some("my-app")),
            ("my-app.localhost.", Some("my-app")),
            ("my-app.localhost.:3000", Some("my-app")),
            ("My-App.LOCALHOST:3000", Some("My-App")),
            ("a.b.localhost", Some("a.b")),
            (".localhost", Some("")),
            ("me@my-app.localhost", Some("me@my-app")),
            ("my-app.localhost..", None),
            ("localhost", None),
            ("localhost.", None),
            ("localhost:3000", None),
            ("my-applocalhost", None),
            ("my-app.localhost.example", None),
            ("127.0.0.1:3000", None),
            ("[::1]:3000", None),
            ("relay.example", None),
            ("", None),
            (":", None),
            (".", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            assert_eq!(hosts.asked(&headers), label.map(str::as_bytes), "{host}");
            assert_eq!(none.asked(&headers), None, "{host}");
        }
        assert_eq!(hosts.asked(&HeaderMap::new()), None);
    }
}
