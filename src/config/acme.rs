//! Certificates that the server orders itself.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use clap::{ArgAction, Args};
use tokio::sync::Notify;

use super::TunnelHosts;
use super::tunnel_host::{LONGEST_NAME, is_label, is_number};

/// Let's Encrypt's directory, and the one for trials, whose certificates no browser trusts.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
const STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// Names of one server: each has a certificate of its own, which is renewed every few weeks.
const MOST_NAMES: usize = 100;

/// The settings of certificates from a directory (RFC 8555).
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Certificates")]
pub struct AcmeConfig {
    /// Names of this server, separated by commas, for which it gets certificates and renews them: relay.example.com, or
    /// *.t.example.com with --acme-dns-hook. Their DNS leads here, and so do ports 80 or 443 [default: none]
    #[arg(id = "acme", long = "acme", env = "SOCKET2ME_ACME", value_delimiter = ',', value_name = "DOMAIN")]
    pub names: Vec<AcmeName>,
    /// Agree to the terms of service of the directory, without which it gives no certificates: those of Let's Encrypt are
    /// at letsencrypt.org/repository
    #[arg(id = "acme_agree_tos", long = "acme-agree-tos", env = "SOCKET2ME_ACME_AGREE_TOS")]
    pub agree_tos: bool,
    /// Address at which the directory may write to the operator [default: none]
    #[arg(id = "acme_email", long = "acme-email", env = "SOCKET2ME_ACME_EMAIL", value_parser = email, value_name = "EMAIL")]
    pub email: Option<String>,
    /// Get certificates for trials from Let's Encrypt, which no browser trusts: its limits are wider
    #[arg(id = "acme_staging", long = "acme-staging", env = "SOCKET2ME_ACME_STAGING", conflicts_with = "acme_directory", action = ArgAction::SetTrue)]
    pub staging: bool,
    /// Directory that gives the certificates [default: that of Let's Encrypt]
    #[arg(id = "acme_directory", long = "acme-directory", env = "SOCKET2ME_ACME_DIRECTORY", value_parser = directory, value_name = "URL")]
    pub directory: Option<String>,
    /// PEM file with root certificates to trust a directory of your own by, beside those of this machine [default: none]
    #[arg(id = "acme_ca", long = "acme-ca", env = "SOCKET2ME_ACME_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Program that sets a TXT record in DNS, by which all names are proved then. It is run as PROGRAM present NAME VALUE, and
    /// ends once the record can be looked up; and as PROGRAM cleanup NAME VALUE [default: none]
    #[arg(id = "acme_dns_hook", long = "acme-dns-hook", env = "SOCKET2ME_ACME_DNS_HOOK", value_name = "PROGRAM")]
    pub dns_hook: Option<PathBuf>,
    /// Tells that what has failed is to be tried again now. The program notifies it; it is no flag.
    #[arg(skip)]
    pub retry: Arc<Notify>,
}

/// A name for which a certificate is ordered, in small letters: a domain, perhaps behind `*.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AcmeName(String);

impl AcmeConfig {
    /// Tells whether the server orders certificates.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.names.is_empty()
    }

    /// Returns the URL of the directory.
    #[must_use]
    pub fn directory_url(&self) -> &str {
        match &self.directory {
            Some(url) => url,
            None if self.staging => STAGING,
            None => DIRECTORY,
        }
    }

    /// Returns what is odd about the names, for the log. `hosts` are the hosts of tunnels.
    pub(super) fn warning(&self, hosts: Option<&TunnelHosts>) -> Option<String> {
        let wildcard = format!("*.{}", hosts.filter(|_| self.is_on())?.domain());
        let is_there = self.names.iter().any(|name| name.as_str() == wildcard);
        (!is_there).then(|| {
            format!("--tunnel-host {wildcard} has no certificate: add {wildcard} to --acme, with --acme-dns-hook")
        })
    }

    /// Returns what is wrong with these settings together.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        if !self.is_on() {
            return None;
        }
        if !self.agree_tos {
            return Some(format!(
                "--acme needs --acme-agree-tos: read the terms of service of {}, and give that flag if you agree to them",
                self.directory_url()
            ));
        }
        let wildcard = self.names.iter().find(|name| name.is_wildcard()).filter(|_| self.dns_hook.is_none());
        if let Some(name) = wildcard {
            return Some(format!("--acme {name} needs --acme-dns-hook: names with `*` are proved in DNS alone"));
        }
        let many = self.names.len() > MOST_NAMES;
        many.then(|| format!("--acme has {} names: {MOST_NAMES} are the most", self.names.len()))
    }
}

impl AcmeName {
    /// Returns the name, which may begin with `*.`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether the name stands for all hosts below a domain.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }
}

impl fmt::Display for AcmeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AcmeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.trim().trim_end_matches('.').to_ascii_lowercase();
        let domain = name.strip_prefix("*.").unwrap_or(&name);
        if name.len() > LONGEST_NAME || !domain.split('.').all(is_label) || is_number(domain) || !domain.contains('.') {
            return Err(format!(
                "`{text}` is not a name for a certificate: write relay.example.com, or *.t.example.com for all hosts below t.example.com"
            ));
        }
        Ok(Self(name))
    }
}

/// Reads the URL of a directory, which is one of HTTPS (RFC 8555, section 6.1).
fn directory(text: &str) -> Result<String, String> {
    let uri: Result<http::Uri, _> = text.trim().parse();
    match uri {
        Ok(uri) if uri.scheme_str() == Some("https") && uri.host().is_some() => Ok(text.trim().to_owned()),
        _ => Err("this is not the URL of a directory: write https://HOST/PATH".to_owned()),
    }
}

fn email(text: &str) -> Result<String, String> {
    let is_plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>,;?&%".contains(&byte))
    };
    match text.trim().split_once('@') {
        Some((user, host)) if is_plain(user) && is_plain(host) && !host.contains('@') => Ok(text.trim().to_owned()),
        _ => Err("this is not an address of mail: write NAME@DOMAIN".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_domain_or_all_hosts_below_one() {
        for (text, expected) in [
            ("Relay.Example.com", Some("relay.example.com")),
            (" *.t.example.com. ", Some("*.t.example.com")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("localhost", None),
            ("*", None),
            ("*.com", None),
            ("*.*.example", None),
            ("192.0.2.1", None),
            ("[::1]", None),
            ("a_b.example", None),
            ("relay.example.com:443", None),
            ("https://relay.example.com", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<AcmeName>().ok().as_ref().map(AcmeName::as_str), expected, "{text}");
        }
    }

    #[test]
    fn settings_that_cannot_work_are_told() {
        let config = |name: &str| AcmeConfig { names: vec![name.parse().unwrap()], ..AcmeConfig::default() };
        assert_eq!(AcmeConfig::default().fault(), None);
        assert!(config("a.example").fault().unwrap().contains("--acme-agree-tos"));
        let wildcard = AcmeConfig { agree_tos: true, ..config("*.a.example") };
        assert!(wildcard.fault().unwrap().contains("--acme-dns-hook"));
        assert_eq!(AcmeConfig { dns_hook: Some("hook".into()), ..wildcard }.fault(), None);
        let hosts: TunnelHosts = "*.t.example".parse().unwrap();
        assert!(config("t.example").warning(Some(&hosts)).unwrap().contains("add *.t.example to --acme"));
        assert_eq!(config("*.t.example").warning(Some(&hosts)), None);
        assert_eq!((config("t.example").warning(None), AcmeConfig::default().warning(Some(&hosts))), (None, None));
        let many = AcmeConfig {
            names: vec![config("a.example").names.remove(0); 101],
            agree_tos: true,
            ..AcmeConfig::default()
        };
        assert!(many.fault().unwrap().contains("101"));
    }

    #[test]
    fn a_directory_is_lets_encrypts_unless_another_one_is_named() {
        let config = AcmeConfig::default();
        assert_eq!(config.directory_url(), DIRECTORY);
        assert_eq!(AcmeConfig { staging: true, ..config }.directory_url(), STAGING);
        assert!(directory("https://ca.internal:14000/dir").is_ok());
        assert!(directory("http://ca.internal/dir").is_err() && directory("ca.internal").is_err());
        assert!(email("me@example.com").is_ok() && email("me").is_err() && email("a@b?c=d").is_err());
    }
}
