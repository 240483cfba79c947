//! TLS at the server's own listener.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::sync::Notify;

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

    /// Returns whether the server speaks TLS.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.tls_cert.is_some()
    }
}
