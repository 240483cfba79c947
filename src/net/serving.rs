//! What every connection of a listener is served with: its limits, and the handler of its requests.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use ipnet::IpNet;

use super::arrival::{Arrival, is_trusted};
use super::body::RequestBody;
use super::budget::{Budget, Exempt, PerAddress};
use super::hits::Hits;
use super::linger;
use super::reply::{self, Reply};
#[cfg(feature = "tls")]
use super::tls::Tls;
use crate::defaults;

/// What connections may take, and how their requests are understood.
#[derive(Debug, Clone)]
pub struct Limits {
    /// All connections.
    pub connections: Arc<Budget>,
    /// Connections of one address.
    pub per_address: Arc<PerAddress>,
    /// The bytes that a connection over these limits is sent before it is closed: one HTTP response.
    pub refusal: Bytes,
    /// Makes the response to a head that cannot be read, or whose method no handler has, from its status and a sentence.
    pub error: fn(StatusCode, &str) -> Reply,
    /// Heads that could not be read.
    pub unread_heads: Arc<UnreadHeads>,
    /// Counts the limits that peers hit.
    pub hits: Arc<Hits>,
    /// Connections that are closed before their whole request was read.
    pub lingering: Arc<linger::Limits>,
    /// Time to receive a request's head, and to wait for the next request of a connection that stays open. Beyond it the
    /// connection is closed.
    pub head_timeout: Duration,
    /// Memory for heads of more than 8 KiB while they arrive and until they are answered, in bytes: twice their length. In HTTP/2, for
    /// what the requests of a connection take beyond 16 KiB: their streams and heads until they are answered, and their bodies as
    /// far as they may come before they are read. Beyond it requests are answered 503.
    pub head_memory: Arc<Budget>,
    /// The largest head of a request, in bytes. A larger one is answered 431.
    pub max_head: usize,
    /// The most headers of a request. One with more is answered 431.
    pub max_headers: usize,
    /// How long a peer may read less than [`MIN_BYTES_PER_SECOND`](super::socket::MIN_BYTES_PER_SECOND) of what it is
    /// sent. Beyond it the connection is closed.
    pub stall_timeout: Duration,
    /// Networks of the proxies whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Connections of these proxies begin with a header of the PROXY protocol, and none of others does.
    pub proxy_protocol: bool,
    /// TLS for all connections. `None` is plain HTTP.
    #[cfg(feature = "tls")]
    pub tls: Option<Tls>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Budget::new(defaults::MAX_CONNECTIONS),
            per_address: PerAddress::new(defaults::MAX_CONNECTIONS_PER_ADDRESS, Exempt::default()),
            refusal: Bytes::from_static(
                b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            ),
            error: |status, message| reply::text(status, "text/plain; charset=utf-8", message.to_owned()),
            unread_heads: Arc::default(),
            hits: Arc::default(),
            lingering: Arc::default(),
            head_timeout: defaults::HEAD_TIMEOUT,
            head_memory: Budget::new(defaults::MAX_BUFFERED / 4),
            max_head: defaults::MAX_HEAD,
            max_headers: defaults::MAX_HEADERS,
            stall_timeout: defaults::STALL_TIMEOUT,
            trusted_proxies: Arc::default(),
            proxy_protocol: false,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

impl Limits {
    /// Tells whether a connection from this address begins with a header of the PROXY protocol.
    pub(super) fn has_proxy_header(&self, peer: SocketAddr) -> bool {
        self.proxy_protocol && is_trusted(peer.ip().to_canonical(), &self.trusted_proxies)
    }

    /// Returns the value of `Strict-Transport-Security` in every answer, if it is sent.
    pub(super) fn hsts(&self) -> Option<HeaderValue> {
        #[cfg(feature = "tls")]
        return self.tls.as_ref().and_then(|tls| tls.hsts.clone());
        #[cfg(not(feature = "tls"))]
        return None;
    }
}

/// Counts the heads that could not be read.
#[derive(Debug, Default)]
pub struct UnreadHeads {
    /// Those that were answered in the host's words.
    pub answered: AtomicU64,
    /// Those that hyper answered without a body, because the answer to an earlier request was not written yet.
    pub unexplained: AtomicU64,
}

/// What answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. In HTTP/1 it runs on the task of its connection, whose requests come one after the other; in HTTP/2 on a task
    /// of its own, beside others of its connection. A panic ends that connection, or that request of HTTP/2, without a response, and
    /// no other.
    ///
    /// What is left of the body is dropped: if more than has arrived is left, the reply says that the connection is closed, and
    /// the connection [lingers](super::linger). In HTTP/2 the rest is read within the limits of that. A body that was [taken](RequestBody::take) is its taker's to read or to drop.
    fn serve(
        &self,
        head: &mut Parts,
        body: &mut RequestBody,
        arrival: &Arrival<'_>,
    ) -> impl Future<Output = Reply> + Send;
}

/// Drops a request's URI and headers once they were read: they keep hyper's read buffer alive while a handler waits.
pub fn release_head(head: &mut Parts) {
    head.uri = Uri::default();
    head.headers = HeaderMap::new();
}
