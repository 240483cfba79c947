//! Several servers as one relay.

use std::path::PathBuf;

use clap::Args;

use super::Listen;
use super::secret::{Secret, secret_file};
use super::units::at_least;
use crate::defaults;

/// The longest label of a node, in bytes.
const MAX_LABEL: usize = 64;

/// The settings of a cluster. Without `cluster_listen` the server is alone.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterConfig {
    /// Address and port for the other nodes of a cluster, which share a Redis and a secret. It must not be reached from the internet
    /// [default: none, the server is alone]
    #[arg(long, env = "SOCKET2ME_CLUSTER_LISTEN", value_name = "ADDR:PORT")]
    pub cluster_listen: Option<Listen>,
    /// URL at which the other nodes reach that address: http://10.0.0.7:3002, or https:// for TLS with the certificate of --tls-cert.
    /// With http:// the network must be private: requests and answers cross it as they are [default: the address of
    /// --cluster-listen, if it is one]
    #[arg(long, env = "SOCKET2ME_ADVERTISE", value_parser = advertised, value_name = "URL")]
    pub advertise: Option<String>,
    /// File with the secret by which the nodes of a cluster know each other, 32 characters at least
    #[arg(long = "cluster-secret-file", env = "SOCKET2ME_CLUSTER_SECRET_FILE", value_parser = cluster_secret, value_name = "FILE")]
    pub cluster_secret: Option<Secret>,
    /// File with certificates, as PEM, by which those of other nodes are checked, beside the roots of this machine
    #[arg(long, env = "SOCKET2ME_CLUSTER_CA", value_name = "FILE")]
    pub cluster_ca: Option<PathBuf>,
    /// Name of this node in socket2me cluster status, admin list and the log [default: none; each start has a random id]
    #[arg(long, env = "SOCKET2ME_NODE_ID", value_parser = label, value_name = "NAME")]
    pub node_id: Option<String>,
    /// Connections to one other node; each carries a request, a poll or a WebSocket at a time. Beyond: 503
    #[arg(long, env = "SOCKET2ME_MAX_HOPS", default_value = defaults::MAX_HOPS.to_string(), value_parser = at_least(1), value_name = "COUNT")]
    pub max_hops: usize,
}

impl ClusterConfig {
    /// Returns the flags that need another one which is not given, that one, and why. `has_tls` says whether the server has a
    /// certificate in files, and `has_redis` whether its store is shared.
    pub(super) fn unmet(&self, has_tls: bool, has_redis: bool) -> Option<(&'static str, &'static str, &'static str)> {
        let Some(listen) = self.cluster_listen else {
            let given = [
                (self.advertise.is_some(), "--advertise"),
                (self.cluster_secret.is_some(), "--cluster-secret-file"),
                (self.cluster_ca.is_some(), "--cluster-ca"),
                (self.node_id.is_some(), "--node-id"),
            ];
            let (_, flag) = given.into_iter().find(|(is_given, _)| *is_given)?;
            return Some((flag, "--cluster-listen", "without it the server is alone"));
        };
        const LISTEN: &str = "--cluster-listen";
        if self.cluster_secret.is_none() {
            return Some((LISTEN, "--cluster-secret-file", "the nodes of a cluster know each other by a secret"));
        }
        if !has_redis {
            return Some((LISTEN, "--store redis://…", "the nodes of a cluster share their tunnels"));
        }
        match &self.advertise {
            None if !matches!(listen, Listen::Address(address) if !address.ip().is_unspecified()) => {
                Some((LISTEN, "--advertise", "the other nodes must hear at which address they reach this one"))
            }
            Some(url) if url.starts_with("https:") && !has_tls => {
                Some(("--advertise", "--tls-cert", "other nodes are to find a certificate at that URL"))
            }
            Some(_) | None => None,
        }
    }

    /// Returns the URL at which other nodes reach a listener that has this port.
    #[must_use]
    pub fn advertised(&self, port: u16) -> Option<String> {
        self.advertise.clone().or_else(|| match self.cluster_listen? {
            Listen::Address(mut address) => {
                address.set_port(port);
                Some(format!("http://{address}"))
            }
            Listen::Loopback(_) | Listen::Everywhere(_) => None,
        })
    }
}

/// Reads the URL at which other nodes reach this one.
fn advertised(text: &str) -> Result<String, String> {
    let url: Option<http::Uri> = text.trim().parse().ok();
    let is_one = url.as_ref().is_some_and(|url| {
        let has_host = url.authority().is_some_and(|authority| {
            !authority.host().is_empty() && !authority.as_str().contains('@') && authority.port_u16().is_some()
        });
        matches!(url.scheme_str(), Some("http" | "https"))
            && has_host
            && matches!(url.path(), "" | "/")
            && url.query().is_none()
    });
    if is_one {
        return Ok(text.trim().trim_end_matches('/').to_owned());
    }
    Err(format!("`{text}` is not the address of a node: write http://10.0.0.7:3002, with a port and without a path"))
}

/// Reads the secret of a cluster.
fn cluster_secret(path: &str) -> Result<Secret, String> {
    let secret = secret_file(path)?;
    if secret.as_bytes().len() < defaults::MIN_CLUSTER_SECRET {
        return Err(format!(
            "`{path}` has a secret that could be guessed: write {} characters and more into it, as `openssl rand -base64 32` \
             makes them",
            defaults::MIN_CLUSTER_SECRET
        ));
    }
    Ok(secret)
}

/// Reads the label of a node.
fn label(text: &str) -> Result<String, String> {
    let is_one = (1..=MAX_LABEL).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if is_one {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is no name of a node: write 1 to {MAX_LABEL} letters, digits, `-`, `_` and `.`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_advertised_by_a_url_with_a_port() {
        for url in ["http://10.0.0.7:3002", "https://node-1.internal:443", "http://[fd00::1]:3002"] {
            assert_eq!(advertised(&format!(" {url}/ ")).as_deref(), Ok(url));
        }
        for wrong in
            ["", "10.0.0.7:3002", "http://10.0.0.7", "http://a:1/b", "http://a:1/?b", "ftp://a:1", "http://b@a:1"]
        {
            assert!(advertised(wrong).unwrap_err().contains("http://10.0.0.7:3002"), "{wrong}");
        }
    }

    #[test]
    fn a_label_is_a_word() {
        assert_eq!(label("rack-1.b_2").as_deref(), Ok("rack-1.b_2"));
        for wrong in ["", "a b", "\u{e9}", &"a".repeat(65)] {
            assert!(label(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_node_of_a_cluster_needs_a_secret_a_shared_store_and_an_address() {
        let alone = ClusterConfig {
            cluster_listen: None,
            advertise: None,
            cluster_secret: None,
            cluster_ca: None,
            node_id: None,
            max_hops: 1,
        };
        let missing = |config: &ClusterConfig, has_tls, has_redis| {
            config.unmet(has_tls, has_redis).map(|(_, missing, _)| missing)
        };
        assert_eq!(missing(&alone, false, false), None);
        let labelled = ClusterConfig { node_id: Some("a".to_owned()), ..alone.clone() };
        assert_eq!(missing(&labelled, true, true), Some("--cluster-listen"));
        let at = |listen: &str| ClusterConfig { cluster_listen: Some(listen.parse().unwrap()), ..alone.clone() };
        assert_eq!(missing(&at("10.0.0.7:1"), true, true), Some("--cluster-secret-file"));
        let secret = Some(Secret::from("s"));
        let with = |listen: &str| ClusterConfig { cluster_secret: secret.clone(), ..at(listen) };
        assert_eq!(missing(&with("10.0.0.7:1"), true, false), Some("--store redis://…"));
        assert_eq!(missing(&with("10.0.0.7:1"), false, true), None);
        for everywhere in ["1", "0.0.0.0:1", "[::]:1"] {
            assert_eq!(missing(&with(everywhere), false, true), Some("--advertise"), "{everywhere}");
        }
        let advertised = |url: &str| ClusterConfig { advertise: Some(url.to_owned()), ..with("1") };
        assert_eq!(missing(&advertised("http://a:1"), false, true), None);
        assert_eq!(missing(&advertised("https://a:1"), false, true), Some("--tls-cert"));
        assert_eq!(missing(&advertised("https://a:1"), true, true), None);
        assert_eq!(with("10.0.0.7:0").advertised(9).as_deref(), Some("http://10.0.0.7:9"));
    }
}
