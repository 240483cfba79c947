//! The HTTP upgrade to a WebSocket (RFC 6455, section 4.2).

use std::collections::HashSet;
use std::future::Future;

use base64::Engine as _;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{Limits, WebSocket};
use crate::net::reply::{self, Reply};
use crate::proto::headers::list_contains;

/// Tells whether a request asks for a WebSocket. In HTTP/1.0 none can (RFC 9110, section 7.8): proxies speak it that do not
/// know what an upgrade is.
#[must_use]
pub fn is_upgrade(head: &Parts) -> bool {
    head.version >= Version::HTTP_11 && names_websocket(&head.headers)
}

fn names_websocket(headers: &HeaderMap) -> bool {
    headers.get_all(header::UPGRADE).iter().any(|value| list_contains(value.as_bytes(), "websocket"))
}

/// A request for a WebSocket that was checked, and can be accepted.
#[derive(Debug)]
pub struct Handshake {
    /// The value of `Sec-WebSocket-Accept`.
    accept: HeaderValue,
    /// The subprotocol that the client is told.
    subprotocol: Option<HeaderValue>,
}

impl Handshake {
    /// Checks a request for a WebSocket (RFC 6455, section 4.2.1).
    ///
    /// # Errors
    /// With a response, status 400, that says what is wrong with the request: its version, its method,
    /// `Connection`, `Sec-WebSocket-Version`, `Sec-WebSocket-Key` or `Sec-WebSocket-Protocol`.
    pub fn parse(head: &Parts) -> Result<Self, Box<Reply>> {
        let headers = &head.headers;
        if head.version < Version::HTTP_11 {
            return Err(refusal("a WebSocket needs HTTP/1.1; in nginx: proxy_http_version 1.1;"));
        }
        if head.method != Method::GET {
            return Err(refusal("a WebSocket is asked for with GET"));
        }
        if !headers.get_all(header::CONNECTION).iter().any(|value| list_contains(value.as_bytes(), "upgrade")) {
            return Err(refusal("the header Connection must name Upgrade"));
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes) != Some(b"13") {
            let mut reply = refusal("the header Sec-WebSocket-Version must be 13");
            reply.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            return Err(reply);
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY).map_or(&[][..], HeaderValue::as_bytes);
        let decoded = base64::engine::general_purpose::STANDARD.decode(key);
        if !decoded.is_ok_and(|bytes| bytes.len() == 16) {
            return Err(refusal("the header Sec-WebSocket-Key must be base64 of 16 bytes"));
        }
        let accept = HeaderValue::try_from(derive_accept_key(key))
            .map_err(|_| refusal("the header Sec-WebSocket-Key is wrong"))?;
        let subprotocol = first_subprotocol(headers).map_err(refusal)?;
        Ok(Self { accept, subprotocol })
    }

    /// Returns the response 101, and the WebSocket once that response was sent. `None` when it never is: the peer left before,
    /// or the connection cannot be upgraded.
    ///
    /// The future must be run by another task than the request's: it completes after the handler has returned the response.
    pub fn accept(
        self,
        head: &mut Parts,
        limits: Limits,
    ) -> (Reply, impl Future<Output = Option<WebSocket>> + Send + 'static) {
        let upgrade = head.extensions.remove::<OnUpgrade>();
        let mut reply = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
        let headers = reply.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        headers.extend(self.subprotocol.map(|name| (header::SEC_WEBSOCKET_PROTOCOL, name)));
        (reply, async move { WebSocket::from_upgraded(upgrade?.await.ok()?, limits) })
    }
}

/// Returns the first subprotocol that a client names. Nothing here depends on it, but browsers close a WebSocket whose server
/// picks none of those they named (RFC 6455, section 4.1); the reference server picks the first, too.
///
/// # Errors
/// With what is wrong, for a list with an item that is no name, or that stands there twice.
fn first_subprotocol(headers: &HeaderMap) -> Result<Option<HeaderValue>, &'static str> {
    const WRONG: &str = "the header Sec-WebSocket-Protocol must be a list of different names";
    let mut named = HashSet::new();
    let mut first = None;
    for line in headers.get_all(header::SEC_WEBSOCKET_PROTOCOL) {
        for name in line.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            let is_name = !name.is_empty() && name.iter().copied().all(is_token_character);
            if !is_name || !named.insert(name) {
                return Err(WRONG);
            }
            first.get_or_insert(name);
        }
    }
    first.map(HeaderValue::from_bytes).transpose().map_err(|_| WRONG)
}

/// Tells whether a byte may stand in a token (RFC 9110, section 5.6.2).
fn is_token_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn refusal(message: &'static str) -> Box<Reply> {
    Box::new(reply::text(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", message))
}
