//! The URL of the relay that an end connects to.

use std::fmt;
use std::net::IpAddr;

use http::Uri;

/// The URL of a relay: `https://relay.example`, perhaps with a port and a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    is_tls: bool,
    /// The host, an IPv6 address in brackets.
    host: String,
    port: u16,
    /// The path without a slash at its end: empty at the root.
    path: String,
}

impl ServerUrl {
    /// Reads a URL. Without a scheme it is `http` for this machine, and `https` for others.
    ///
    /// # Errors
    /// Fails with what is wrong, for the person who wrote the URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("`{text}` is no URL of a server: {what}, for example https://relay.example");
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, text),
        };
        let uri: Uri = format!("http://{rest}").parse().map_err(|_| wrong("write scheme, host and port"))?;
        if uri.query().is_some() || rest.contains(['#', '@']) {
            return Err(wrong("it has no query, fragment, name or password"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("it names no host"))?;
        let host = host.to_ascii_lowercase();
        let is_tls = match scheme.as_deref() {
            Some("https" | "wss") => true,
            Some("http" | "ws") => false,
            None => !is_loopback(&host),
            Some(_) => return Err(wrong("its scheme is http or https")),
        };
        let usual = if is_tls { 443 } else { 80 };
        let port = port_of(&uri).ok_or_else(|| wrong("its port is none"))?.unwrap_or(usual);
        Ok(Self { is_tls, host, port, path: uri.path().trim_end_matches('/').to_owned() })
    }

    /// Returns whether the server is reached by TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Returns whether the server is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// Returns the host; an address of IPv6 is in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the host, with the port unless it is the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        let usual = if self.is_tls { 443 } else { 80 };
        if self.port == usual { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// Returns the target of a request for this path, which begins with a slash, and perhaps a query.
    #[must_use]
    pub fn target(&self, path: &str) -> String {
        [&self.path, path].concat()
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// Returns the port that a URL names, if it names one. `None` if that is no port: `http` takes 70000 for none at all.
pub(super) fn port_of(uri: &Uri) -> Option<Option<u16>> {
    match uri.authority()?.as_str().strip_prefix(uri.host()?)?.strip_prefix(':') {
        None => Some(None),
        Some(port) => port.parse().ok().filter(|port| *port > 0).map(Some),
    }
}

/// Returns whether a host is this machine's own: `localhost`, a name below it, or a loopback address.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_scheme_a_host_a_port_and_a_path() {
        for (text, shown, authority, target) in [
            ("https://relay.example", "https://relay.example", "relay.example", "/new"),
            ("https://Relay.Example:443/", "https://relay.example", "relay.example", "/new"),
            ("http://relay.example:8080/a/b/", "http://relay.example:8080/a/b", "relay.example:8080", "/a/b/new"),
            ("wss://relay.example", "https://relay.example", "relay.example", "/new"),
            ("relay.example", "https://relay.example", "relay.example", "/new"),
            ("localhost:3000", "http://localhost:3000", "localhost:3000", "/new"),
            ("127.0.0.1:80", "http://127.0.0.1", "127.0.0.1", "/new"),
            ("[::1]:3000", "http://[::1]:3000", "[::1]:3000", "/new"),
            ("http://[2001:db8::1]", "http://[2001:db8::1]", "[2001:db8::1]", "/new"),
        ] {
            let url = ServerUrl::parse(text).unwrap();
            assert_eq!(
                (&*url.to_string(), &*url.authority(), &*url.target("/new")),
                (shown, authority, target),
                "{text}"
            );
        }
        for text in [
            "",
            "ftp://relay.example",
            "https://",
            "https://a b",
            "https://me@relay.example",
            "https://relay.example?x",
            "https://relay.example:0",
            "https://relay.example:70000",
            "https://relay.example/#x",
        ] {
            assert!(ServerUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn this_machine_is_known_by_its_names() {
        for host in
            ["localhost", "LocalHost.", "a.localhost", "127.0.0.1", "127.9.9.9", "[::1]", "::1", "[::ffff:127.0.0.1]"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["relay.example", "localhost.example", "notlocalhost", "10.0.0.1", "[2001:db8::1]", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
