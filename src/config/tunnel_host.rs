//! Which hosts `--tunnel-host` gives to tunnels.

use std::fmt;
use std::str::FromStr;

/// The longest name in DNS, in bytes, without the dot at its end.
pub(super) const LONGEST_NAME: usize = 253;

/// The longest label in DNS, in bytes.
const LONGEST_LABEL: usize = 63;

/// The hosts of tunnels: `*.t.example.com`, perhaps with the port at which visitors find them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelHosts {
    /// What stands in place of `*.`, in small letters.
    domain: String,
    port: Option<u16>,
}

impl TunnelHosts {
    /// Returns the domain below which the hosts are, in small letters.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Returns the port of the hosts. `None` if it is that of the server's own URL.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

impl FromStr for TunnelHosts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a name for tunnels' hosts: write *.t.example.com, or *.t.example.com:8443 with a port"
            )
        };
        let name = text.trim().strip_prefix("*.").ok_or_else(wrong)?;
        let (domain, port) = match name.split_once(':') {
            None => (name, None),
            Some((domain, port)) => (domain, Some(port.parse().ok().filter(|&port| port > 0).ok_or_else(wrong)?)),
        };
        let domain = domain.strip_suffix('.').unwrap_or(domain).to_ascii_lowercase();
        // With the longest label and its dot in front.
        if domain.len() + LONGEST_LABEL + 1 > LONGEST_NAME || !domain.split('.').all(is_label) || is_number(&domain) {
            return Err(wrong());
        }
        Ok(Self { domain, port })
    }
}

impl fmt::Display for TunnelHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "*.{}", self.domain)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Tells whether a text is a label of a name in DNS.
pub(super) fn is_label(label: &str) -> bool {
    (1..=LONGEST_LABEL).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Tells whether a domain ends like an address of IPv4, as which clients read it (WHATWG URL, "ends in a number").
pub(super) fn is_number(domain: &str) -> bool {
    domain.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_tunnels_are_below_a_domain() {
        for (text, domain, port) in [
            ("*.t.example.com", "t.example.com", None),
            (" *.T.Example.COM. ", "t.example.com", None),
            ("*.t.example.com:8443", "t.example.com", Some(8443)),
            ("*.test", "test", None),
            ("*.xn--bcher-kva.example", "xn--bcher-kva.example", None),
        ] {
            let hosts: TunnelHosts = text.parse().unwrap();
            assert_eq!((hosts.domain(), hosts.port()), (domain, port), "{text}");
            assert_eq!(hosts.to_string().parse(), Ok(hosts));
        }
        for wrong in [
            "",
            "*",
            "*.",
            "*..example",
            "t.example.com",
            "*.*.example",
            "https://*.t.example.com",
            "*.t.example.com/",
            "*.t.example.com:",
            "*.t.example.com:0",
            "*.t.example.com:65536",
            "*.bücher.example",
            "*.a_b.example",
            "*.-a.example",
            "*.a-.example",
            "*.192.0.2.1",
            &format!("*.{}example", "a.".repeat(95)),
        ] {
            assert!(wrong.parse::<TunnelHosts>().is_err(), "{wrong}");
        }
    }
}
