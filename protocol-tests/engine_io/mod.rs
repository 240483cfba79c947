//! Engine.IO on the wire (PROTOCOL.md, "Engine.IO"): what client libraries would hide.

mod jsonp;
mod payloads_3;
mod polling;
mod requests;
mod revision_3;
mod websocket;

use std::time::Duration;

use crate::support::ms;
use crate::support::wire::Server;

const E0: &str = r#"{"code":0,"message":"Transport unknown"}"#;
const E1: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
const E2: &str = r#"{"code":2,"message":"Bad handshake method"}"#;
const E3: &str = r#"{"code":3,"message":"Bad request"}"#;
const E3_NOT_UPGRADED: &str = concat!(
    r#"{"code":3,"message":"Bad request: this is no WebSocket handshake. It needs HTTP/1.1 and the headers Upgrade and "#,
    "Connection, which a proxy must pass on. In nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; ",
    r#"proxy_set_header Connection upgrade;"}"#
);
const E5: &str = r#"{"code":5,"message":"Unsupported protocol version"}"#;

/// A well-formed session id that no session has.
const NOBODY: &str = "abcdefghij-_ABCDEFGH";

/// Starts a server with this heartbeat.
async fn beating(interval: Duration, timeout: Duration) -> Server {
    Server::with(|config| (config.ping_interval, config.ping_timeout) = (interval, timeout)).await
}

/// Starts a server whose `maxPayload` is 1000 bytes.
async fn small() -> Server {
    Server::with(|config| config.max_payload = Some(1000)).await
}
