//! Which request goes where.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode, Version};
use hyper::Request;
use hyper::body::Incoming;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::engine::Engine;
use super::failure::Failure;
use super::forward::Forwarder;
use super::forwarded::Forwarded;
use super::metrics::{self, Budgets};
use super::page;
use super::reply::{self, Reply};
use super::socket_io::SocketIo;
use super::throttle::{Throttle, Verdict};
use super::tunnels::Relay;
use crate::config::ServeConfig;
use crate::proto::exchange::headers::list_contains;
use crate::proto::token::Token;
use crate::store::Store;

/// The relay as a whole.
pub(super) struct Router {
    pub(super) engine: Engine<SocketIo<Relay>>,
    pub(super) forwarder: Forwarder,
    pub(super) store: Arc<Store>,
    pub(super) config: Arc<ServeConfig>,
    pub(super) throttle: Throttle,
    pub(super) budgets: Budgets,
    /// Where this server is reached, for the page that says so.
    pub(super) url: String,
    /// Exchanges in flight, so that a stopping server can wait for them.
    pub(super) exchanges: TaskTracker,
    pub(super) draining: AtomicBool,
}

impl Router {
    /// Serves a request.
    ///
    /// From here on the head is lent and not moved: it would have a place in the future of each function on its way, and hyper
    /// moves that future for each request.
    pub(super) async fn route(&self, request: Request<Incoming>, peer: SocketAddr) -> Reply {
        let (mut head, body) = request.into_parts();
        if let Err(failure) = one_host(&head) {
            return failure.reply(self.config.error_status);
        }
        // Ends must be able to answer, however busy or near its end the server is.
        if matches!(head.uri.path(), "/socket.io/" | "/socket.io") {
            let client = Forwarded::client(&head.headers, peer.ip(), &self.config.trust_proxy);
            return self.engine.serve(&mut head, body, SocketAddr::new(client, peer.port())).await;
        }
        match self.serve(&mut head, body, peer).await {
            Ok(reply) => reply,
            Err(failure) => failure.reply(self.config.error_status),
        }
    }

    async fn serve(&self, head: &mut Parts, body: Incoming, peer: SocketAddr) -> Result<Reply, Failure> {
        let path = head.uri.path();
        if path == "/healthz" {
            return self.health();
        }
        if let Some(until) = self.throttle(&head.headers, peer)? {
            tokio::time::sleep_until(until).await;
        }
        if path.starts_with("/go/") {
            if self.draining.load(Ordering::Relaxed) {
                return Err(Failure::Stopping);
            }
            let _in_flight = self.exchanges.token();
            return Ok(self.forwarder.forward(head, body, peer).await);
        }
        let reply = if path == "/" {
            allow_get(&head.method)?;
            page::welcome(&head.headers, &self.url)
        } else if path == "/new" {
            allow_get(&head.method)?;
            self.new_token(head).await?
        } else if let Some(token) = path.strip_prefix("/refresh/") {
            allow_get(&head.method)?;
            self.refresh(token).await?
        } else {
            return Err(Failure::NotFound);
        };
        Ok(readable_by_pages(reply))
    }

    /// What connections may take.
    pub(super) fn connection_limits(&self) -> super::http::Limits {
        let limits = &self.config.limits;
        super::http::Limits {
            connections: Arc::clone(&self.budgets.connections),
            per_address: Arc::clone(&self.budgets.connections_per_address),
            head_timeout: limits.head_timeout,
            max_head: limits.max_head,
            max_headers: limits.max_headers,
            stall_timeout: limits.stall_timeout,
        }
    }

    /// All figures, for an operator.
    pub(super) fn metrics(&self) -> Reply {
        let (tunnels, tokens) = (self.forwarder.tunnels.count(), self.store.count());
        let text = metrics::render(&self.forwarder.exchanges, &self.budgets, self.engine.ended(), tunnels, tokens);
        reply::text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
    }

    fn health(&self) -> Result<Reply, Failure> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(Failure::Stopping);
        }
        Ok(reply::text(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"))
    }

    /// Until when a request has to wait, if it has to.
    fn throttle(&self, headers: &HeaderMap, peer: SocketAddr) -> Result<Option<Instant>, Failure> {
        let client = Forwarded::client(headers, peer.ip(), &self.config.trust_proxy);
        match self.throttle.count(client) {
            Verdict::Pass => Ok(None),
            Verdict::Delay(until) => Ok(Some(until)),
            Verdict::Refuse => Err(Failure::Throttled),
        }
    }

    async fn new_token(&self, head: &Parts) -> Result<Reply, Failure> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(Failure::Stopping);
        }
        let wants_json = accepts_json(&head.headers);
        // A HEAD makes nothing: its answer would be lost, and the token with it.
        if head.method == Method::HEAD {
            return Ok(token_reply("", wants_json));
        }
        let token = Token::from_uuid(uuid::Uuid::new_v4());
        self.store.create(token, self.lifetime()).await?;
        tracing::info!(?token, "token made");
        Ok(token_reply(token.as_str(), wants_json))
    }

    async fn refresh(&self, token: &str) -> Result<Reply, Failure> {
        let token = Token::parse(token).ok_or(Failure::TokenNotFound)?;
        if !self.store.refresh(&token, self.lifetime()).await? {
            return Err(Failure::TokenNotFound);
        }
        tracing::info!(?token, "token refreshed");
        Ok(reply::text(StatusCode::OK, "text/plain; charset=utf-8", "OK"))
    }

    fn lifetime(&self) -> Duration {
        self.config.token_ttl + self.config.grace()
    }
}

/// One Host, and in HTTP/1.1 not none (RFC 9112, section 3.2): a proxy before this may have believed the other one.
fn one_host(head: &Parts) -> Result<(), Failure> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), None) => Ok(()),
        (None, _) if head.version == Version::HTTP_10 => Ok(()),
        (None, _) => Err(Failure::InvalidHead("it has no Host")),
        (Some(_), Some(_)) => Err(Failure::InvalidHead("it has more than one Host")),
    }
}

fn allow_get(method: &Method) -> Result<(), Failure> {
    match *method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Failure::MethodNotAllowed("GET, HEAD")),
    }
}

/// The original's client asks for JSON and parses it; curl, and a shell, want the bare token.
fn token_reply(token: &str, as_json: bool) -> Reply {
    if as_json {
        reply::text(StatusCode::OK, "application/json; charset=utf-8", format!("\"{token}\""))
    } else {
        reply::text(StatusCode::OK, "text/plain; charset=utf-8", Bytes::copy_from_slice(token.as_bytes()))
    }
}

fn accepts_json(headers: &HeaderMap) -> bool {
    let media_types = |value: &HeaderValue| {
        value.as_bytes().split(|&byte| byte == b',').any(|range| {
            let name = range.split(|&byte| byte == b';').next().unwrap_or_default();
            list_contains(name, "application/json")
        })
    };
    headers.get_all(header::ACCEPT).iter().any(media_types)
}

/// A page of any origin may be an end, so it may ask for a token.
fn readable_by_pages(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_who_asks_for_json() {
        for (accept, json) in [
            ("application/json", true),
            ("application/json, text/plain, */*", true),
            ("text/html, Application/JSON;q=0.9", true),
            ("*/*", false),
            ("text/html", false),
            ("application/jsonp", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(accepts_json(&headers), json, "{accept}");
        }
        assert!(!accepts_json(&HeaderMap::new()));
    }
}
