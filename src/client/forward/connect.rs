//! Connections to the local app.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::target::{App, At};
use crate::client::stream::Stream;

/// How long the app may take to take a connection.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait before the next attempt, while an app that restarts is waited for.
const AGAIN: Duration = Duration::from_millis(100);

/// Opens connections to one app.
#[derive(Clone)]
pub(super) struct Connector {
    app: Arc<App>,
    tls: Arc<rustls::ClientConfig>,
    /// How long an app that does not listen is waited for.
    hold: Duration,
}

impl Connector {
    /// Prepares for connections. `tls` holds for apps on other machines: the certificate of one on this machine is not looked at.
    pub(super) fn new(app: App, is_local: bool, tls: &Arc<rustls::ClientConfig>, hold: Duration) -> Self {
        let tls = if is_local { Arc::new(unverified()) } else { Arc::clone(tls) };
        Self { app: Arc::new(app), tls, hold }
    }

    /// Opens a connection. If nothing listens, it is tried again until `hold` has passed.
    pub(super) async fn connect(&self) -> io::Result<Stream> {
        let until = Instant::now() + self.hold;
        loop {
            let error = match tokio::time::timeout(TIMEOUT, self.connect_once()).await {
                Ok(Ok(local)) => return Ok(local),
                Ok(Err(error)) => error,
                Err(_) => io::ErrorKind::TimedOut.into(),
            };
            let may_listen_soon = matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound);
            if !may_listen_soon || Instant::now() + AGAIN > until {
                return Err(error);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn connect_once(&self) -> io::Result<Stream> {
        let stream = match &self.app.at {
            At::Port(port) => {
                let addresses: [SocketAddr; 2] =
                    [(Ipv4Addr::LOCALHOST, *port).into(), (Ipv6Addr::LOCALHOST, *port).into()];
                TcpStream::connect(&addresses[..]).await?
            }
            At::Host(host, port) => {
                let host = host.trim_start_matches('[').trim_end_matches(']');
                TcpStream::connect((host, *port)).await?
            }
            #[cfg(unix)]
            At::Unix(path) => return tokio::net::UnixStream::connect(path).await.map(Stream::Unix),
            #[cfg(not(unix))]
            At::Unix(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        stream.set_nodelay(true)?;
        if !self.app.is_tls {
            return Ok(Stream::Tcp(stream));
        }
        let host = match &self.app.at {
            At::Host(host, _) => host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            At::Port(_) | At::Unix(_) => "localhost".to_owned(),
        };
        let name = ServerName::try_from(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The target is fixed: what a request's URI names counts for nothing.
    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}

/// Returns TLS without a look at the certificate: a dev server on this machine has signed its own, and nobody is in between.
pub(in crate::client) fn unverified() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions of TLS")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        .with_no_client_auth()
}

#[derive(Debug)]
struct Unverified(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
