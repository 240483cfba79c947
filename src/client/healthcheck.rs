//! Whether the server on this machine takes requests, for what restarts it or sends visitors to it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::dial::Dialer;
use super::forward::unverified;
use super::server_url::ServerUrl;
use super::stream::Stream;
use crate::causes::words;
use crate::config::HealthcheckConfig;

/// How long the answer may take. Those who ask have times of their own: Docker 30 s, Kubernetes 1 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// The path that answers 200 while the server takes requests, and 503 once it stops.
const PATH: &str = "/readyz";

/// Runs `socket2me healthcheck`: asks the server once, and returns what there is to say of one that takes requests.
///
/// # Errors
/// With what there is to say of a server that is not reached, does not answer in time, or takes no requests.
pub async fn run(config: &HealthcheckConfig) -> Result<String, String> {
    let (url, status) = match &config.url {
        Some(url) => {
            let url = ServerUrl::parse(url)?;
            let status = ask(&url, Certificate::Verified).await;
            (url, status)
        }
        None => ask_here(config).await?,
    };
    match status? {
        StatusCode::OK => Ok(format!("{url}{PATH} is 200: the server takes requests")),
        StatusCode::SERVICE_UNAVAILABLE => Err(format!(
            "{url}{PATH} is 503: the server takes no requests, because it stops or has no place in its cluster"
        )),
        status => Err(format!("{url}{PATH} is {}: this is no Socket2Me", status.as_u16())),
    }
}

/// Asks at each address where the settings say that the server may be, until one answers.
async fn ask_here(config: &HealthcheckConfig) -> Result<(ServerUrl, Result<StatusCode, String>), String> {
    let listen = config.address();
    if listen.port() == 0 {
        return Err(
            "port 0 is another at each start: say where the server is, as in --url http://127.0.0.1:3000".into()
        );
    }
    let mut first = None;
    for address in listen.seen_from_here() {
        let scheme = if config.tls_cert.is_some() || !config.acme.is_empty() { "https" } else { "http" };
        let url = ServerUrl::parse(&format!("{scheme}://{address}"))?;
        let status = ask(&url, Certificate::Any).await;
        if status.is_ok() {
            return Ok((url, status));
        }
        first.get_or_insert((url, status));
    }
    first.ok_or_else(|| format!("no address is known for {listen}"))
}

/// Which certificates a server may show.
#[derive(Clone, Copy)]
enum Certificate {
    /// One for its host that this machine trusts.
    Verified,
    /// Any: the server is on this machine, and asked by an address that its certificate does not name.
    Any,
}

/// Asks one server.
async fn ask(url: &ServerUrl, certificate: Certificate) -> Result<StatusCode, String> {
    match tokio::time::timeout(PATIENCE, ask_patiently(url, certificate)).await {
        Ok(answered) => answered,
        Err(_) => Err(format!("{url}{PATH} does not answer within {} s", PATIENCE.as_secs())),
    }
}

async fn ask_patiently(url: &ServerUrl, certificate: Certificate) -> Result<StatusCode, String> {
    let unanswered = |error: hyper::Error| format!("{url}{PATH} is not answered in HTTP: {}", words(&error));
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(connect(url, certificate).await?)).await.map_err(unanswered)?;
    tokio::spawn(async move {
        // The sender hears of a failure.
        let _ = connection.await;
    });
    let request = Request::get(url.target(PATH)).header(header::HOST, url.authority()).body(Empty::<Bytes>::new());
    let answer = sender.send_request(request.map_err(|error| error.to_string())?).await.map_err(unanswered)?;
    Ok(answer.status())
}

/// Opens a connection. Without TLS it needs no roots of certificates, which a container may not have.
async fn connect(url: &ServerUrl, certificate: Certificate) -> Result<Stream, String> {
    if url.is_tls() && matches!(certificate, Certificate::Verified) {
        return Dialer::new(None)?.dial(url).await.map_err(|error| error.to_string());
    }
    let host = url.host().trim_start_matches('[').trim_end_matches(']');
    let unreached = |error: std::io::Error| {
        format!("{url} is not reached: {error} (is the server running, and does it listen where this command asks?)")
    };
    let stream = TcpStream::connect((host, url.port())).await.map_err(unreached)?;
    if !url.is_tls() {
        return Ok(Stream::Tcp(stream));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(Arc::new(unverified())).connect(name, stream).await.map_err(unreached)?;
    Ok(Stream::Tls(Box::new(stream)))
}
