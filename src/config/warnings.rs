//! What is odd about the settings of a server together.

use super::units::size_text;
use super::{Listen, ServeConfig};

impl ServeConfig {
    /// Returns what is odd about the settings together, for the log: the server works, but perhaps not as somebody meant it.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let memory = self.max_buffered();
        if self.max_body > memory / 4 {
            warnings.push(format!(
                "bodies of more than a quarter of --max-buffered ({}) are refused, although --max-body is {}: raise the first \
                 to {}, or lower the second",
                size_text(memory),
                size_text(self.max_body),
                size_text(self.max_body.saturating_mul(4))
            ));
        }
        if self.create_secret.is_none() && self.tunnel_host.is_none() && self.is_open_to_others() {
            warnings.push(
                "anybody who reaches this server may make tunnels, and to browsers all of them are one origin: give each a host with \
                 --tunnel-host, or choose who makes them with --create-secret-file"
                    .to_owned(),
            );
        }
        warnings.extend(self.acme.warning(self.tunnel_host.as_ref().filter(|_| !self.tls.is_on())));
        if self.proxy_protocol && self.trust_proxy.is_empty() {
            warnings.push(
                "--proxy-protocol has no effect without --trust-proxy, which says whose headers are read".to_owned(),
            );
        }
        if let Some(network) = self.trust_proxy.iter().find(|network| network.prefix_len() == 0) {
            warnings.push(format!(
                "--trust-proxy {network} trusts everybody: visitors choose their address, and have no limits"
            ));
        }
        warnings
    }

    /// Tells whether other machines reach the server without a proxy on this one.
    fn is_open_to_others(&self) -> bool {
        match self.address() {
            Listen::Address(address) => !address.ip().is_loopback(),
            Listen::Loopback(_) => false,
            Listen::Everywhere(_) => true,
        }
    }
}
