//! Where a server listens.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

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
