//! The server's certificate: read from its files at the start, and again when they change.

use std::convert::Infallible;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::sign::CertifiedKey;
use tokio::sync::Notify;
use tokio::time::Instant;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::acme::Shown;
use crate::config::TlsConfig;
use crate::defaults;
use crate::net::challenges::Challenges;
use crate::net::tls::{Certificates, PemError, Tls, certified};
use crate::tasks::blocking;

/// TLS as the settings ask for it.
pub(super) struct Secured {
    /// What the listener does.
    pub(super) tls: Tls,
    /// What visitors are shown.
    certificates: Arc<Certificates>,
    /// What certificate authorities find at the plain listener.
    pub(super) challenges: Arc<Challenges>,
    /// Where the default certificate comes from, if it is in files.
    files: Option<CertificateFiles>,
}

impl Secured {
    /// Reads the certificate. `None` if the settings ask for no TLS. `orders` says whether the server orders certificates itself.
    ///
    /// # Errors
    /// With a sentence for the operator when the files are no certificate with its key.
    pub(super) fn open(config: &TlsConfig, orders: bool) -> io::Result<Option<Self>> {
        let mut files = config.files().map(|(chain, key)| CertificateFiles { chain, key, seen: None, expires: None });
        if files.is_none() && !orders {
            return Ok(None);
        }
        let certificates = Certificates::new();
        if let Some(files) = &mut files {
            let read = files.read().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            files.warn();
            certificates.set_default(read);
        }
        let mut tls = Tls::new(Arc::clone(&certificates)).map_err(io::Error::other)?;
        tls.hsts = config.hsts_header();
        Ok(Some(Self { tls, certificates, files, challenges: Arc::default() }))
    }

    /// Returns what certificates that the server orders itself are shown by.
    pub(super) fn shown(&self) -> Shown {
        Shown::new(Arc::clone(&self.certificates), Arc::clone(&self.challenges), self.files.is_some())
    }

    /// Keeps the certificate up to date that is in files; see [`CertificateFiles::keep`].
    pub(super) async fn keep(self, reload: Arc<Notify>) -> Infallible {
        match self.files {
            Some(files) => files.keep(self.certificates, reload).await,
            None => std::future::pending().await,
        }
    }
}

/// The two files of a certificate.
#[derive(Debug, Clone)]
pub(super) struct CertificateFiles {
    chain: PathBuf,
    key: PathBuf,
    /// What the files were when they were read the last time.
    seen: Option<[Stamp; 2]>,
    /// When the certificate that was read last expires, in seconds since 1970.
    expires: Option<u64>,
}

/// What changes when a file is written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// The file, if another may have its name.
    number: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self { length: metadata.len(), modified: metadata.modified().ok(), number: number(&metadata) })
    }
}

#[cfg(unix)]
fn number(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn number(_: &Metadata) -> u64 {
    0
}

impl CertificateFiles {
    /// Returns what the files are now. `None` while one of them is not there, as when both are about to be replaced.
    fn stamps(&self) -> Option<[Stamp; 2]> {
        Some([Stamp::of(&self.chain)?, Stamp::of(&self.key)?])
    }

    /// Reads both files.
    fn read(&mut self) -> Result<Arc<CertifiedKey>, String> {
        self.seen = self.stamps();
        let (chain, key) = (self.chain.display(), self.key.display());
        let content =
            |path: &Path| std::fs::read(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()));
        let read = certified(&content(&self.chain)?, &content(&self.key)?).map_err(|error| match error {
            PemError::Chain(what) => format!("--tls-cert: `{chain}` {what}"),
            PemError::Key(what) => format!("--tls-key: `{key}` {what}"),
            PemError::Mismatch => format!(
                "the key in `{key}` (--tls-key) is not that of the first certificate in `{chain}` (--tls-cert): the server's own \
                 certificate comes first, and those that it is signed by follow"
            ),
        })?;
        let first = read.cert.first().and_then(|first| X509Certificate::from_der(first).ok());
        self.expires = first.and_then(|(_, first)| u64::try_from(first.validity().not_after.timestamp()).ok());
        Ok(read)
    }

    /// Says in the log if the certificate is about to expire, or has.
    fn warn(&self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if let Some(what) = self.expires.and_then(|expires| expiry(expires, now.as_secs())) {
            tracing::warn!(file = %self.chain.display(), "the certificate {what}");
        }
    }

    /// Shows the certificate in the files to new connections, from now on: whenever the files change, and when `reload` asks for it.
    /// While they hold no pair, for example between the writing of one and of the other, the certificate before stays.
    async fn keep(mut self, certificates: Arc<Certificates>, reload: Arc<Notify>) -> Infallible {
        let mut is_asked = false;
        let mut warned = Instant::now();
        loop {
            // Disks may be slow, and workers have no time.
            let read;
            (self, read) = blocking(move || {
                let is_changed = self.stamps() != self.seen;
                let read = (is_changed || is_asked).then(|| self.read());
                (self, read)
            })
            .await;
            match read {
                Some(Ok(certificate)) => {
                    self.warn();
                    warned = Instant::now();
                    certificates.set_default(certificate);
                    tracing::info!(file = %self.chain.display(), "new connections get the certificate that was read");
                }
                Some(Err(error)) => {
                    tracing::warn!(
                        "{error}. The certificate before is used still: the files are read again when they change"
                    );
                }
                None if warned.elapsed() >= defaults::EXPIRY_LOOK => {
                    warned = Instant::now();
                    self.warn();
                }
                None => (),
            }
            is_asked = tokio::select! {
                () = reload.notified() => true,
                () = tokio::time::sleep(defaults::CERTIFICATE_LOOK) => false,
            };
        }
    }
}

/// Returns what there is to say of a certificate that expires then, if that is soon. Both times are in seconds since 1970.
fn expiry(expires: u64, now: u64) -> Option<String> {
    const DAY: u64 = 24 * 60 * 60;
    match expires.checked_sub(now) {
        None => Some(
            "has expired: visitors and ends refuse it. Renew it: the files are read again when they change".to_owned(),
        ),
        Some(left) if left < defaults::EXPIRES_SOON.as_secs() => {
            Some(format!("expires in {} days and is not renewed", left / DAY))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_that_a_certificate_expires_soon() {
        let day = 24 * 60 * 60;
        for (expires, said) in [
            (100 * day, None),
            (14 * day, None),
            (14 * day - 1, Some("expires in 13 days")),
            (1, Some("expires in 0 days")),
        ] {
            let found = expiry(1_000 * day + expires, 1_000 * day);
            assert_eq!(found.as_deref().map(|found| found.starts_with(said.unwrap())), said.map(|_| true), "{expires}");
        }
        assert!(expiry(999 * day, 1_000 * day).unwrap().starts_with("has expired"));
    }
}
