//! The HTTP upgrade to a WebSocket (RFC 6455, section 4.2).

use std::future::Future;

use base64::Engine as _;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{Limits, WebSocket};
use crate::net::reply::{self, Reply};
use crate::proto::headers::list_contains;

/// Tells whether a request asks for a WebSocket.
#[must_use]
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.get_all(header::UPGRADE).iter().any(|value| list_contains(value.as_bytes(), "websocket"))
}

/// A request for a WebSocket that was checked, and can be accepted.
#[derive(Debug)]
pub struct Handshake {
    /// The value of `Sec-WebSocket-Accept`.
    accept: HeaderValue,
}

impl Handshake {
    /// Checks a request for a WebSocket (RFC 6455, section 4.2.1).
    ///
    /// # Errors
    /// With a response, status 400, that says what is wrong with the request: its method, `Connection`,
    /// `Sec-WebSocket-Version` or `Sec-WebSocket-Key`.
    pub fn parse(head: &Parts) -> Result<Self, Box<Reply>> {
        let headers = &head.headers;
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
        let accept = HeaderValue::try_from(derive_accept_key(key));
        accept.map(|accept| Self { accept }).map_err(|_| refusal("the header Sec-WebSocket-Key is wrong"))
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
        (reply, async move { WebSocket::from_upgraded(upgrade?.await.ok()?, limits) })
    }
}

fn refusal(message: &'static str) -> Box<Reply> {
    Box::new(reply::text(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", message))
}
