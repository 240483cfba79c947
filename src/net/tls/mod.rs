//! TLS at the listener: the handshake of a connection, and the certificates that it shows.

mod certificates;
mod pem;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderValue;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::version::{TLS12, TLS13};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::certificates::ACME_TLS_ALPN;
pub use self::certificates::Certificates;
pub use self::pem::{PemError, certified};
use super::socket::Socket;

/// HTTP/2 in the protocols that clients offer (RFC 9113, section 3.1).
const HTTP_2: &[u8] = b"h2";

/// HTTP/1.1 in the protocols that clients offer (RFC 7301, section 6).
const HTTP_1_1: &[u8] = b"http/1.1";

/// The first byte of a record that begins a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// The record that a connection over a limit gets: the fatal alert `internal_error` (RFC 8446, section 6), which a client may take
/// for a fault that passes.
pub(super) const REFUSAL: &[u8] = &[21, 3, 3, 0, 2, 2, 80];

/// How a listener speaks TLS: versions 1.2 and 1.3, with *ring* as the provider of cryptography. Sessions are resumed by tickets, whose
/// keys change every six hours and are this process' own; no early data is taken.
#[derive(Debug, Clone)]
pub struct Tls {
    acceptor: Acceptor,
    /// Counts handshakes.
    pub handshakes: Arc<Handshakes>,
    /// The value of `Strict-Transport-Security` in every answer, if it is sent.
    pub hsts: Option<HeaderValue>,
}

/// A [`TlsAcceptor`] that can be shown.
#[derive(Clone)]
struct Acceptor(TlsAcceptor);

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

/// Counts how handshakes end.
#[derive(Debug, Default)]
pub struct Handshakes {
    /// Those that were completed.
    pub done: AtomicU64,
    /// Those that failed: no version, cipher or certificate that both have, a connection that ended, nonsense.
    pub failed: AtomicU64,
    /// Those that took too long.
    pub late: AtomicU64,
    /// Connections on which something else than TLS came: mostly requests of plain HTTP.
    pub plain: AtomicU64,
    /// Those of certificate authorities that ask for proof.
    pub challenges: AtomicU64,
}

/// What is spoken after a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    Http1,
    Http2,
}

/// What a peer has begun a connection with.
#[derive(Debug)]
pub(super) enum Greeting {
    /// A handshake, which is complete.
    Tls(Box<TlsStream<Socket>>, Speaks),
    /// Something else than TLS.
    Plain(Socket),
    /// The handshake of a certificate authority, which asks for nothing more.
    Challenge,
    /// Nothing that is served: the handshake failed or took too long.
    Over,
}

impl Tls {
    /// Returns TLS that shows these certificates, and sends no `Strict-Transport-Security`.
    ///
    /// # Errors
    /// When the provider of cryptography has no random bytes for the keys of tickets.
    pub fn new(certificates: Arc<Certificates>) -> Result<Self, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(certificates);
        config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1_1.to_vec(), ACME_TLS_ALPN.to_vec()];
        config.ticketer = ring::Ticketer::new()?;
        let acceptor = Acceptor(TlsAcceptor::from(Arc::new(config)));
        Ok(Self { acceptor, handshakes: Arc::default(), hsts: None })
    }

    /// Completes the handshake of a connection within `timeout`.
    pub(super) async fn greet(&self, socket: Socket, timeout: Duration) -> Greeting {
        let counted = |counter: &AtomicU64| _ = counter.fetch_add(1, Ordering::Relaxed);
        match tokio::time::timeout(timeout, self.shake_hands(socket)).await {
            Ok(Ok(greeting)) => {
                match &greeting {
                    Greeting::Tls(..) => counted(&self.handshakes.done),
                    Greeting::Plain(_) => counted(&self.handshakes.plain),
                    Greeting::Challenge => counted(&self.handshakes.challenges),
                    Greeting::Over => (),
                }
                greeting
            }
            Ok(Err(error)) => {
                counted(&self.handshakes.failed);
                tracing::debug!(%error, "a TLS handshake failed");
                Greeting::Over
            }
            Err(_) => {
                counted(&self.handshakes.late);
                tracing::debug!("a TLS handshake took too long");
                Greeting::Over
            }
        }
    }

    async fn shake_hands(&self, socket: Socket) -> io::Result<Greeting> {
        match socket.first_byte().await? {
            // A client that opens connections in advance, or a check of the port.
            None => Ok(Greeting::Over),
            Some(HANDSHAKE) => {
                let stream = Box::new(self.acceptor.0.accept(socket).await?);
                Ok(match stream.get_ref().1.alpn_protocol() {
                    Some(ACME_TLS_ALPN) => Greeting::Challenge,
                    Some(HTTP_2) => Greeting::Tls(stream, Speaks::Http2),
                    Some(_) | None => Greeting::Tls(stream, Speaks::Http1),
                })
            }
            Some(_) => Ok(Greeting::Plain(socket)),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rcgen::{CertifiedKey as Generated, generate_simple_self_signed};
    use rustls::sign::CertifiedKey;

    use super::*;

    /// Returns a certificate for a name, signed by itself.
    pub(in crate::net) fn certified(name: &str) -> Arc<CertifiedKey> {
        let Generated { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        Arc::new(CertifiedKey::from_der(vec![cert.der().clone()], key, &ring::default_provider()).unwrap())
    }
}
