//! Connections to the relay: over TCP, through the HTTP proxy that the environment names, with TLS.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tower_service::Service as _;

use super::server_url::ServerUrl;
use super::stream::Stream;
use crate::causes::words;
#[cfg(any(target_os = "android", target_os = "linux"))]
use crate::defaults::UNSENT;
use crate::trust;

/// How long a connection may take, with its proxy and its TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long one of a host's addresses may take, where it has several.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens connections.
#[derive(Debug, Clone)]
pub struct Dialer {
    tcp: HttpConnector,
    proxies: Arc<Matcher>,
    tls: Arc<rustls::ClientConfig>,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum DialError {
    /// The server's certificate is not to be trusted.
    Certificate(String),
    /// The proxy opens no connection to the server.
    Proxy(String),
    /// The server is not reached.
    Unreachable(String),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(why) => write!(f, "the server's certificate is refused: {why}"),
            Self::Proxy(why) => write!(f, "the proxy opens no connection to the server: {why}"),
            Self::Unreachable(why) => write!(f, "the server is not reached: {why}"),
        }
    }
}

impl Error for DialError {}

impl Dialer {
    /// Prepares for connections. Certificates must be signed by a root of this machine, or of the PEM file `ca`.
    ///
    /// # Errors
    /// When the file has no certificates, and when this machine has no roots.
    pub fn new(ca: Option<&Path>) -> Result<Self, String> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(ADDRESS_TIMEOUT));
        Ok(Self { tcp, proxies: Arc::new(Matcher::from_env()), tls: Arc::new(trust::tls(ca)?) })
    }

    /// Returns what holds for TLS connections: roots, versions, and the one provider of cryptography.
    #[must_use]
    pub fn tls(&self) -> &Arc<rustls::ClientConfig> {
        &self.tls
    }

    /// Returns the proxy that connections go through, without the name and the password for it.
    #[must_use]
    pub fn proxy(&self, url: &ServerUrl) -> Option<String> {
        let proxy = self.intercept(url, &uri(url).ok()?)?;
        let (scheme, host) = (proxy.uri().scheme_str().unwrap_or("http"), proxy.uri().host()?);
        let port = proxy.uri().port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{scheme}://{host}{port}"))
    }

    fn intercept(&self, url: &ServerUrl, uri: &Uri) -> Option<Intercept> {
        // As Go's and Python's clients do: a proxy could not reach this machine by that name.
        if url.is_loopback() { None } else { self.proxies.intercept(uri) }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// With what has failed.
    pub async fn dial(&self, url: &ServerUrl) -> Result<Stream, DialError> {
        match tokio::time::timeout(CONNECT_TIMEOUT, self.dial_patiently(url)).await {
            Ok(dialled) => dialled,
            Err(_) => Err(DialError::Unreachable(format!("no connection in {} s", CONNECT_TIMEOUT.as_secs()))),
        }
    }

    async fn dial_patiently(&self, url: &ServerUrl) -> Result<Stream, DialError> {
        let uri = uri(url)?;
        let proxy = self.intercept(url, &uri);
        let stream = match proxy {
            None => self.tcp.clone().call(uri).await.map_err(|error| DialError::Unreachable(words(&error)))?,
            Some(proxy) => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), self.tcp.clone());
                if let Some(authorization) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(authorization.clone());
                }
                tunnel.call(uri).await.map_err(|error| refused(&error))?
            }
        };
        let stream = stream.into_inner();
        #[cfg(any(target_os = "android", target_os = "linux"))]
        let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT);
        if !url.is_tls() {
            return Ok(Stream::Tcp(stream));
        }
        let host = url.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|error| DialError::Unreachable(error.to_string()))?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = connector.connect(name, stream).await.map_err(|error| of_tls(&error))?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

/// Returns what connectors want to know of a server.
fn uri(url: &ServerUrl) -> Result<Uri, DialError> {
    let scheme = if url.is_tls() { "https" } else { "http" };
    let uri = format!("{scheme}://{}:{}", url.host(), url.port()).parse();
    uri.map_err(|error| DialError::Unreachable(format!("{error}")))
}

/// Returns why a proxy has opened no connection.
fn refused(error: &(dyn Error + 'static)) -> DialError {
    let words = words(error);
    DialError::Proxy(if words.contains("authorization required") {
        format!("{words}: put name and password into HTTPS_PROXY, as in http://NAME:PASSWORD@HOST:PORT")
    } else {
        words
    })
}

/// Returns why a TLS handshake has failed.
fn of_tls(error: &io::Error) -> DialError {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(why)) => DialError::Certificate(why.to_string()),
        Some(rustls::Error::InvalidMessage(_)) => DialError::Unreachable(format!("it does not speak TLS ({error})")),
        Some(_) | None => DialError::Unreachable(error.to_string()),
    }
}
