//! The HTTP upgrade to a WebSocket (RFC 6455, section 4.2).

use std::collections::HashSet;
use std::future::Future;

use base64::Engine as _;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{Limits, WebSocket};
use crate::net::reply::{self, Reply};
use crate::net::upgrade;
use crate::proto::headers::{is_token, list_contains};

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
    /// The subprotocols that the client names.
    named: Vec<HeaderValue>,
    /// The one that it is told.
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
        let named = subprotocols(headers).map_err(refusal)?;
        let subprotocol = named.first().cloned();
        Ok(Self { accept, named, subprotocol })
    }

    /// Chooses the subprotocol that the client is told, or none, in place of the first that it names. Returns false, and changes
    /// nothing, if the client does not name it.
    #[must_use]
    pub fn choose(&mut self, subprotocol: Option<&[u8]>) -> bool {
        let chosen = subprotocol.map(|name| self.named.iter().find(|named| named.as_bytes() == name));
        if chosen == Some(None) {
            return false;
        }
        self.subprotocol = chosen.flatten().cloned();
        true
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
        let upgrade = upgrade::accept(head);
        let mut reply = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
        let headers = reply.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        headers.extend(self.subprotocol.map(|name| (header::SEC_WEBSOCKET_PROTOCOL, name)));
        (reply, async move {
            let (connection, read) = upgrade.await?;
            Some(WebSocket::new(connection, read, limits))
        })
    }
}

/// Returns the subprotocols that a client names. The first is chosen unless somebody knows better: browsers close a WebSocket whose
/// server picks none of those they named (RFC 6455, section 4.1), and the reference server picks the first, too.
///
/// # Errors
/// With what is wrong, for a list with an item that is no name, or that stands there twice.
fn subprotocols(headers: &HeaderMap) -> Result<Vec<HeaderValue>, &'static str> {
    const WRONG: &str = "the header Sec-WebSocket-Protocol must be a list of different names";
    let mut seen = HashSet::new();
    let mut named = Vec::new();
    for line in headers.get_all(header::SEC_WEBSOCKET_PROTOCOL) {
        for name in line.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            let is_name = !name.is_empty() && name.iter().copied().all(is_token);
            if !is_name || !seen.insert(name) {
                return Err(WRONG);
            }
            named.push(HeaderValue::from_bytes(name).map_err(|_| WRONG)?);
        }
    }
    Ok(named)
}

fn refusal(message: &'static str) -> Box<Reply> {
    Box::new(reply::text(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", message))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_subprotocol_is_chosen_among_those_that_the_client_names() {
        let request = Request::get("/")
            .header("connection", "upgrade")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-protocol", "first, second")
            .header("sec-websocket-protocol", "third");
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        let limits = Limits { max_message: 0, memory: crate::net::budget::Budget::new(0) };
        for (chosen, told) in [
            (None, Some("first")),
            (Some(None), None),
            (Some(Some("second")), Some("second")),
            (Some(Some("third")), Some("third")),
            (Some(Some("fourth")), Some("first")),
        ] {
            let mut handshake = Handshake::parse(&head).unwrap();
            if let Some(chosen) = chosen {
                assert_eq!(handshake.choose(chosen.map(str::as_bytes)), told == chosen);
            }
            let (reply, _) = handshake.accept(&mut head, limits.clone());
            assert_eq!(reply.headers().get("sec-websocket-protocol").map(|name| name.to_str().unwrap()), told);
        }
    }
}
