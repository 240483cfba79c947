//! Hosts of tunnels' own: `http://LABEL.localhost:3000/` beside `http://localhost:3000/go/TOKEN/`.
//!
//! Clients take names below `localhost` for this machine without asking a name server (RFC 6761, section 6.3), so there are such
//! hosts wherever the server is reached by a loopback host, with nothing to set up.

use http::header::{self, HeaderMap};

use crate::proto::token::Token;

/// What the hosts of tunnels end with, behind their labels.
const BELOW_LOCALHOST: &str = ".localhost";

/// The hosts of a server that mean the same machine as the names below `localhost`. Other addresses of 127.0.0.0/8 do not.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Which hosts are tunnels' own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnHosts {
    /// What they end with, in small letters and with its dot. `None` where tunnels have no hosts.
    suffix: Option<&'static str>,
}

impl OwnHosts {
    /// Returns the hosts of tunnels of a server with this URL. There are none if it is no loopback host, or has a path: then what
    /// serves that path has the hosts, too.
    pub(super) fn of(server: &str) -> Self {
        Self { suffix: loopback(server).map(|_| BELOW_LOCALHOST) }
    }

    /// Returns the label of the host that a request asks for, as it came. `None` if that is the server's own.
    ///
    /// `Host` alone says which host that is: a proxy that is to reach a tunnel's host passes it on, and what proxies report of the
    /// visitor's host is for apps.
    pub(super) fn asked(self, headers: &HeaderMap) -> Option<&[u8]> {
        self.suffix?;
        self.label(headers.get(header::HOST)?.as_bytes())
    }

    /// Returns the label in a host, perhaps with a port and a dot behind it. It may be empty, have dots, or be no label at all: all
    /// that ends like a tunnel's host is no host of the server's own.
    fn label(self, host: &[u8]) -> Option<&[u8]> {
        let suffix = self.suffix?;
        let name = host.iter().position(|&byte| byte == b':').map_or(host, |port| &host[..port]);
        let name = name.strip_suffix(b".").unwrap_or(name);
        let (label, end) = name.split_at_checked(name.len().checked_sub(suffix.len())?)?;
        end.eq_ignore_ascii_case(suffix.as_bytes()).then_some(label)
    }

    /// Returns a tunnel's host with the port of `server`, a URL by which the server is reached. `None` if that URL leads to no
    /// tunnel's host: a visitor from elsewhere would look for it on its own machine.
    pub(super) fn host(self, server: &str, token: &Token) -> Option<String> {
        let (suffix, (_, port)) = (self.suffix?, loopback(server)?);
        Some([&token.label()?, suffix, port].concat())
    }

    /// Returns a tunnel's URL at its own host without a slash at its end, as [`Self::host`].
    pub(super) fn url(self, server: &str, token: &Token) -> Option<String> {
        let (scheme, _) = loopback(server)?;
        Some(format!("{scheme}://{}", self.host(server, token)?))
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

    #[test]
    fn a_server_at_a_loopback_host_has_hosts_for_tunnels() {
        let (name, uuid) = (Token::parse("my-app").unwrap(), Token::from_label(UUID.as_bytes()).unwrap());
        for (server, scheme, port) in [
            ("http://localhost:3000", "http", ":3000"),
            ("http://LocalHost", "http", ""),
            ("https://127.0.0.1:8443", "https", ":8443"),
            ("http://[::1]:3000", "http", ":3000"),
        ] {
            let hosts = OwnHosts::of(server);
            assert_eq!(hosts.host(server, &name), Some(format!("my-app.localhost{port}")), "{server}");
            assert_eq!(hosts.url(server, &uuid), Some(format!("{scheme}://{UUID}.localhost{port}")), "{server}");
        }
        let hosts = OwnHosts::of("http://localhost:3000");
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
            assert_eq!(OwnHosts::of(server).suffix, None, "{server}");
            // Asked for by this URL, a server that has hosts tells of none.
            assert_eq!((hosts.host(server, &name), hosts.url(server, &name)), (None, None), "{server}");
        }
        assert_eq!(hosts.url("http://localhost", &Token::parse(&"a".repeat(48)).unwrap()), None, "no UUID");
    }

    #[test]
    fn what_stands_before_the_suffix_is_the_label() {
        let hosts = OwnHosts::of("http://localhost:3000");
        let none = OwnHosts::of("https://relay.example");
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
