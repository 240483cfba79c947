//! TLS at the server's own listener.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use http::HeaderValue;
use tokio::sync::Notify;

use super::Listen;
use super::units::time_from;

/// The settings of TLS. Without a certificate the server speaks plain HTTP.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsConfig {
    /// File with the server's certificate and those that it is signed by, as PEM: the server speaks TLS. Read again when it changes,
    /// and on SIGHUP [default: none, plain HTTP]
    #[arg(long, env = "SOCKET2ME_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// File with the key of that certificate, as PEM, not encrypted
    #[arg(long, env = "SOCKET2ME_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Address and port for plain HTTP, mostly 80: visitors are sent on to https [default: none]
    #[arg(long, env = "SOCKET2ME_HTTP_LISTEN", value_name = "ADDR:PORT")]
    pub http_listen: Option<Listen>,
    /// Time for which browsers ask for this host by https alone, as Strict-Transport-Security tells them [default: it is not sent]
    #[arg(long, env = "SOCKET2ME_HSTS", value_parser = time_from(Duration::from_secs(1)), value_name = "TIME")]
    pub hsts: Option<Duration>,
    /// Make --hsts hold for all hosts below this one, too
    #[arg(long, env = "SOCKET2ME_HSTS_SUBDOMAINS")]
    pub hsts_subdomains: bool,
    /// Tells that files are to be read again now. The program notifies it; it is no flag.
    #[arg(skip)]
    pub reload: Arc<Notify>,
}

impl TlsConfig {
    /// Returns the files of the certificate and of its key.
    #[must_use]
    pub fn files(&self) -> Option<(PathBuf, PathBuf)> {
        self.tls_cert.clone().zip(self.tls_key.clone())
    }

    /// Returns the value of `Strict-Transport-Security`, if it is sent.
    #[must_use]
    pub fn hsts_header(&self) -> Option<HeaderValue> {
        let below = if self.hsts_subdomains { "; includeSubDomains" } else { "" };
        HeaderValue::try_from(format!("max-age={}{below}", self.hsts?.as_secs())).ok()
    }

    /// Returns the flags that need another one which is not given, and that one.
    /// `orders` says whether the server orders certificates itself.
    pub(super) fn unmet(&self, orders: bool) -> Option<(&'static str, &'static str, &'static str)> {
        let pair = "a certificate and its key go together";
        let is_on = self.is_on() || orders;
        let tls = "without TLS there is nothing to send visitors to";
        match self {
            Self { tls_cert: Some(_), tls_key: None, .. } => Some(("--tls-cert", "--tls-key", pair)),
            Self { tls_cert: None, tls_key: Some(_), .. } => Some(("--tls-key", "--tls-cert", pair)),
            Self { http_listen: Some(_), .. } if !is_on => Some(("--http-listen", "--tls-cert or --acme", tls)),
            Self { hsts: Some(_), .. } if !is_on => Some((
                "--hsts",
                "--tls-cert or --acme",
                "browsers heed it over TLS alone, and a proxy with TLS sends its own",
            )),
            Self { hsts_subdomains: true, hsts: None, .. } => Some(("--hsts-subdomains", "--hsts", "it has no time")),
            _ => None,
        }
    }

    /// Returns whether the server speaks TLS with a certificate in files.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.tls_cert.is_some()
    }
}
