//! Requests to a directory: each over a connection of its own, with this program's TLS, within a time and a size.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{HOST, HeaderValue, RETRY_AFTER};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tower_service::Service as _;

use crate::causes::words;
use crate::trust;

/// How long a request may take, with its connection.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The most bytes of an answer: a chain of certificates has some thousands.
const MAX_ANSWER: usize = 256 << 10;

/// Makes requests. Clones are of one client.
#[derive(Debug, Clone)]
pub(super) struct Http {
    tcp: HttpConnector,
    tls: Arc<rustls::ClientConfig>,
    last: Arc<Last>,
}

/// What the last answer was.
#[derive(Debug, Default)]
struct Last {
    wait: AtomicU64,
    is_success: AtomicBool,
}

/// No answer has come.
#[derive(Debug)]
pub(super) struct Unreached(pub(super) String);

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the directory is not reached: {}", self.0)
    }
}

impl std::error::Error for Unreached {}

impl Http {
    /// Makes a client that trusts the roots of this machine, and those in the PEM file `ca`.
    ///
    /// # Errors
    /// When the file has no certificates, and when this machine has no roots.
    pub(super) fn new(ca: Option<&Path>) -> Result<Self, String> {
        let tls = trust::tls(ca).map_err(|error| if ca.is_some() { format!("--acme-ca {error}") } else { error })?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(TIMEOUT / 2));
        Ok(Self { tcp, tls: Arc::new(tls), last: Arc::default() })
    }

    /// Returns for how many seconds the last answer has asked to wait (RFC 8555, section 6.6); 0 if it has not.
    pub(super) fn wait(&self) -> u64 {
        self.last.wait.load(Ordering::Relaxed)
    }

    /// Tells whether the last answer says that what was asked for is done.
    pub(super) fn is_success(&self) -> bool {
        self.last.is_success.load(Ordering::Relaxed)
    }

    async fn send(mut self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, String> {
        let (mut parts, body) = request.into_parts();
        let uri = std::mem::take(&mut parts.uri);
        let (authority, host) = (uri.authority().map(ToString::to_string), uri.host().map(str::to_owned));
        let (Some(authority), Some(host), Some("https")) = (authority, host, uri.scheme_str()) else {
            return Err(format!("`{uri}` is not a URL of HTTPS"));
        };
        parts.uri = Uri::from(uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
        parts.headers.insert(HOST, HeaderValue::try_from(authority).map_err(|error| error.to_string())?);
        let stream = self.tcp.call(uri).await.map_err(|error| words(&error))?.into_inner();
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(self.tls).connect(name, stream).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| words(&error))?;
        let Ok(body) = body.collect().await;
        let request = Request::from_parts(parts, Full::new(body.to_bytes()));
        let exchange = async {
            let (parts, body) = sender.send_request(request).await.map_err(|error| words(&error))?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| error.to_string())?;
            Ok(Response::from_parts(parts, Full::new(body.to_bytes())))
        };
        tokio::pin!(exchange, connection);
        let answer = tokio::select! {
            answer = &mut exchange => answer,
            // The answer may be there still.
            _ = &mut connection => exchange.await,
        };
        answer.map(BytesResponse::from)
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let http = self.clone();
        Box::pin(async move {
            let last = Arc::clone(&http.last);
            let answer = tokio::time::timeout(TIMEOUT, http.send(request)).await;
            let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())));
            let asked = answer.as_ref().map_or(0, |answer| retry_after(&answer.parts.headers, SystemTime::now()));
            last.wait.store(asked, Ordering::Relaxed);
            let is_success = answer.as_ref().is_ok_and(|answer| answer.parts.status.is_success());
            last.is_success.store(is_success, Ordering::Relaxed);
            answer.map_err(|why| Error::Other(Box::new(Unreached(why))))
        })
    }
}

/// Returns for how many seconds an answer asks to wait: it says that in seconds, or as a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> u64 {
    let Some(text) = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()) else { return 0 };
    let until = || httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok();
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let date = || until().map_or(0, |until| until.saturating_sub(now).as_secs());
    text.trim().parse().unwrap_or_else(|_| date())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_says_how_long_to_wait_in_seconds_or_as_a_date() {
        let now = httpdate::parse_http_date("Fri, 31 Dec 1999 23:59:00 GMT").unwrap();
        for (text, seconds) in [
            ("120", 120),
            (" 7 ", 7),
            ("Fri, 31 Dec 1999 23:59:59 GMT", 59),
            ("Fri, 31 Dec 1999 23:00:00 GMT", 0),
            ("soon", 0),
            ("-1", 0),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            assert_eq!(retry_after(&headers, now), seconds, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), 0);
    }
}
