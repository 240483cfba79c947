//! The relay as its visitors and its ends see it: what `original.md` lists under routes, request object and ack, as tables,
//! and what happens when somebody leaves, is replaced, expires or asks too much.
//!
//! The server runs in process on a port of its own. The end is a small Socket.IO client on a WebSocket; the visitor writes
//! and reads the bytes of HTTP. Nothing waits for time to pass, but for the event itself.

#![allow(clippy::unwrap_used, reason = "the failure of a test's helper is the test's failure")]

#[path = "relay/ack.rs"]
mod ack;
#[path = "relay/behaviour.rs"]
mod behaviour;
#[path = "relay/bodies.rs"]
mod bodies;
#[path = "support/end.rs"]
mod end;
#[path = "relay/limits.rs"]
mod limits;
#[path = "relay/request.rs"]
mod request;
#[path = "relay/routes.rs"]
mod routes;
#[path = "relay/tokens.rs"]
mod tokens;
#[path = "relay/tunnel.rs"]
mod tunnel;
#[path = "relay/visitor.rs"]
mod visitor;
