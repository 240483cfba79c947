//! Where a server listens.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::defaults;

/// Where a server listens: `192.0.2.1:3000`, `localhost:3000`, `3000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// At one address.
    Address(SocketAddr),
    /// At both loopback addresses, of IPv4 and of IPv6, which `localhost` may mean.
    Loopback(u16),
    /// On all interfaces, those of IPv4 and of IPv6.
    Everywhere(u16),
}

impl Listen {
    /// Returns what `--listen` says, else `--port` on all interfaces, else the default, both loopback addresses.
    pub(super) fn chosen(listen: Option<Self>, port: Option<u16>) -> Self {
        listen.or(port.map(Self::Everywhere)).unwrap_or(Self::Loopback(defaults::LOOPBACK_PORT))
    }

    /// Returns the addresses at which a program on this machine may reach a server that listens here, in the order in which they
    /// are tried.
    #[must_use]
    pub fn seen_from_here(self) -> Vec<SocketAddr> {
        let (ipv4, ipv6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
        let hosts = match self {
            Self::Address(address) if address.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) => vec![ipv4],
            Self::Address(address) if address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED) => return vec![address],
            Self::Address(_) | Self::Loopback(_) | Self::Everywhere(_) => vec![ipv4, ipv6],
        };
        hosts.into_iter().map(|host| SocketAddr::new(host, self.port())).collect()
    }

    /// Returns the port; 0 is one that the system chooses.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::Address(address) => address.port(),
            Self::Loopback(port) | Self::Everywhere(port) => port,
        }
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|_| is_number)
        };
        let text = text.trim();
        if let Some(port) = port(text.strip_prefix(':').unwrap_or(text)) {
            return Ok(Self::Everywhere(port));
        }
        if let Some((host, number)) = text.rsplit_once(':')
            && host.eq_ignore_ascii_case("localhost")
            && let Some(port) = port(number)
        {
            return Ok(Self::Loopback(port));
        }
        text.parse().map(Self::Address).map_err(|_| {
            format!("`{text}` is not an address and a port: write 127.0.0.1:3000, [::1]:3000, localhost:3000, or 3000 for all interfaces")
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Loopback(port) => write!(f, "localhost:{port}"),
            Self::Everywhere(port) => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), *port).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_where_it_listens() {
        for (listen, expected) in [
            ("192.0.2.1:80", &["192.0.2.1:80"][..]),
            ("[2001:db8::1]:80", &["[2001:db8::1]:80"]),
            ("0.0.0.0:80", &["127.0.0.1:80"]),
            ("[::]:80", &["127.0.0.1:80", "[::1]:80"]),
            ("localhost:80", &["127.0.0.1:80", "[::1]:80"]),
            ("80", &["127.0.0.1:80", "[::1]:80"]),
        ] {
            let listen: Listen = listen.parse().unwrap();
            let asked: Vec<_> = listen.seen_from_here().iter().map(ToString::to_string).collect();
            assert_eq!(asked, expected, "{listen}");
        }
    }

    #[test]
    fn an_address_may_be_a_port_alone_or_localhost() {
        for (text, expected) in [
            ("127.0.0.1:3000", Some(Listen::Address("127.0.0.1:3000".parse().unwrap()))),
            ("[::1]:3000", Some(Listen::Address("[::1]:3000".parse().unwrap()))),
            ("0.0.0.0:0", Some(Listen::Address("0.0.0.0:0".parse().unwrap()))),
            ("localhost:3000", Some(Listen::Loopback(3000))),
            ("LocalHost:0", Some(Listen::Loopback(0))),
            ("3000", Some(Listen::Everywhere(3000))),
            (" :3000 ", Some(Listen::Everywhere(3000))),
            ("", None),
            (":", None),
            ("+1", None),
            ("65536", None),
            ("::3000", None),
            ("127.0.0.1", None),
            ("localhost", None),
            ("localhost:", None),
            ("localhost:+1", None),
            ("relay.example:3000", None),
            ("http://localhost:3000", None),
        ] {
            let read: Result<Listen, _> = text.parse();
            assert_eq!(read.as_ref().ok(), expected.as_ref(), "{text}: {read:?}");
            if let Ok(listen) = read {
                assert_eq!(listen.to_string().parse().map(|again: Listen| again.to_string()), Ok(listen.to_string()));
            }
        }
    }
}
