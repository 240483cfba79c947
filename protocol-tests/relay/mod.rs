//! The relay as its visitors and its ends see it: routes, the request event and the ack as tables, and what happens when somebody leaves, is replaced, expires or asks too much.
//!
//! The server runs in process on a port of its own. The end is a small Socket.IO client on a WebSocket; the visitor writes
//! and reads the bytes of HTTP. Nothing waits for time to pass, but for the event itself.

mod ack;
mod behaviour;
mod bodies;
mod limits;
mod request;
mod routes;
mod tokens;
mod tunnel;
mod visitor;
