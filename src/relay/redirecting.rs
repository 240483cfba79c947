//! The plain listener beside one that speaks TLS: it sends visitors to the same URL with `https`, and answers certificate
//! authorities and checks of health.

use std::io;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{StatusCode, Uri};
use tokio::net::TcpListener;

use super::bind::bind;
use super::failure::Failure;
use super::own_hosts::OwnHosts;
use super::page;
use super::route::{self, CHALLENGES};
use crate::config::{ErrorStatus, Listen, ServeConfig};
use crate::net::arrival::Arrival;
use crate::net::body::RequestBody;
use crate::net::challenges::Challenges;
use crate::net::listener::Handler;
use crate::net::reply::{self, Reply};

/// The longest name of a host (RFC 1035, section 2.3.4), in bytes.
const LONGEST_HOST: usize = 253;

/// Answers the requests of the plain listener.
pub(super) struct Redirecting<H> {
    /// The port of the `https` URLs, with its colon. Empty for 443.
    port: String,
    challenges: Arc<Challenges>,
    hosts: OwnHosts,
    error_status: ErrorStatus,
    /// Answers `/healthz` and `/readyz`.
    server: Arc<H>,
}

impl<H> Redirecting<H> {
    /// Sends visitors to the port of `--public-url`, or else to `port`, that of the listener that speaks TLS.
    pub(super) fn new(
        config: &ServeConfig,
        port: u16,
        challenges: Arc<Challenges>,
        hosts: OwnHosts,
        server: Arc<H>,
    ) -> Self {
        let public = config.public_url.as_ref();
        let public = public.and_then(|url| url.parse::<Uri>().ok()).filter(|url| url.scheme_str() == Some("https"));
        let port = public.map_or(port, |url| url.port_u16().unwrap_or(443));
        let port = if port == 443 { String::new() } else { format!(":{port}") };
        Self { port, challenges, hosts, error_status: config.error_status, server }
    }

    /// Returns the URL with `https` of what a request asks for. `None` where its host is none.
    fn url(&self, head: &Parts) -> Option<HeaderValue> {
        let host = host(&head.headers)?;
        let target = head.uri.path_and_query().filter(|target| target.as_str().starts_with('/'))?;
        HeaderValue::from_str(&format!("https://{host}{}{target}", self.port)).ok()
    }
}

impl<H: Handler> Handler for Redirecting<H> {
    async fn serve(&self, head: &mut Parts, body: &mut RequestBody, arrival: &Arrival<'_>) -> Reply {
        match self.answer(head, body) {
            Ok(Some(reply)) => reply,
            Ok(None) => self.server.serve(head, body, arrival).await,
            Err(failure) => failure.reply(self.error_status, page::is_shown(&head.headers)),
        }
    }
}

impl<H> Redirecting<H> {
    /// Returns the answer to a request. `None` is the server's own.
    fn answer(&self, head: &mut Parts, body: &RequestBody) -> Result<Option<Reply>, Failure> {
        route::check_head(head, body)?;
        let path = head.uri.path();
        if let Some(token) = path.strip_prefix(CHALLENGES) {
            let authorization = self.challenges.get(token).ok_or(Failure::NotFound)?;
            return Ok(Some(reply::text(StatusCode::OK, "application/octet-stream", authorization)));
        }
        if matches!(path, "/healthz" | "/readyz") && self.hosts.asked(&head.headers).is_none() {
            return Ok(None);
        }
        let url = self.url(head).ok_or(Failure::InvalidHead("it names no host to which https could lead"))?;
        let mut reply =
            reply::text(StatusCode::PERMANENT_REDIRECT, "text/plain; charset=utf-8", "this is at https://\n");
        reply.headers_mut().insert(header::LOCATION, url);
        Ok(Some(reply))
    }
}

/// Binds the plain listener, if there is one.
///
/// # Errors
/// When an address cannot be listened on.
pub(super) async fn listeners(listen: Option<Listen>) -> io::Result<Vec<TcpListener>> {
    let Some(listen) = listen else { return Ok(Vec::new()) };
    let bound = bind(listen).await;
    let listeners = bound.map_err(|error| io::Error::new(error.kind(), format!("--http-listen: {error}")))?;
    for listener in &listeners {
        tracing::info!(address = %listener.local_addr()?, "listening for plain HTTP, which is sent on to https");
    }
    Ok(listeners)
}

/// Returns the host that a request names, without its port: a name or an address, and nothing that could be read otherwise.
fn host(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let end = host.rfind([':', ']']).filter(|&at| host.as_bytes()[at] == b':').unwrap_or(host.len());
    let host = &host[..end];
    let is_address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match is_address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            (1..=LONGEST_HOST).contains(&host.len()) && host.bytes().all(is_of_name)
        }
    };
    is_host.then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(redirecting: &Redirecting<()>, host: &'static str, target: &str) -> Option<String> {
        let mut head = http::Request::builder().uri(target).body(()).unwrap().into_parts().0;
        head.headers.insert(header::HOST, HeaderValue::from_static(host));
        Some(redirecting.url(&head)?.to_str().unwrap().to_owned())
    }

    fn redirecting(public_url: Option<&str>, port: u16) -> Redirecting<()> {
        let config = ServeConfig { public_url: public_url.map(str::to_owned), ..ServeConfig::defaults() };
        let hosts = OwnHosts::new(None, "https://relay.example").unwrap();
        Redirecting::new(&config, port, Arc::default(), hosts, Arc::new(()))
    }

    #[test]
    fn a_visitor_is_sent_to_the_same_host_path_and_query() {
        let redirecting = redirecting(None, 443);
        for (host, target, expected) in [
            ("relay.example", "/", Some("https://relay.example/")),
            ("relay.example:80", "/go/x?a=b&c=%20", Some("https://relay.example/go/x?a=b&c=%20")),
            ("App.t.example", "//other.example/", Some("https://App.t.example//other.example/")),
            ("[2001:db8::1]:80", "/", Some("https://[2001:db8::1]/")),
            ("192.0.2.1", "/", Some("https://192.0.2.1/")),
            ("", "/", None),
            (":80", "/", None),
            ("me@other.example", "/", None),
            ("a/b", "/", None),
            ("a b", "/", None),
            ("[::1", "/", None),
            ("[x]", "/", None),
            ("relay.example", "*", None),
        ] {
            assert_eq!(url(&redirecting, host, target).as_deref(), expected, "{host} {target}");
        }
    }

    #[test]
    fn the_port_is_that_of_the_public_url_or_of_the_listener() {
        for (public_url, port, expected) in [
            (None, 443, "https://a/"),
            (None, 8443, "https://a:8443/"),
            (Some("https://relay.example"), 8443, "https://a/"),
            (Some("https://relay.example:444/x"), 8443, "https://a:444/"),
            (Some("http://relay.example:81"), 8443, "https://a:8443/"),
        ] {
            assert_eq!(url(&redirecting(public_url, port), "a:80", "/").as_deref(), Some(expected));
        }
    }
}
