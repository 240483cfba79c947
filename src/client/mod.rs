//! The other end of the relay: programs of this binary that serve a tunnel's requests.
//!
//! In reading order:
//!
//! - [`server_url`]: the relay's URL; [`dial`]: connections to it, over TCP, a proxy and TLS
//! - [`requests`]: requests to the relay; [`websocket`]: the WebSocket of a session
//! - [`session`]: one session, as the machines of [`crate::proto`] want it
//! - [`exchanges`]: the exchanges of a session, each with a task of a handler; [`visit`]: what such a task gets, and how it answers

pub mod dial;
pub mod exchanges;
pub mod requests;
pub mod server_url;
pub mod session;
pub mod visit;
pub mod websocket;
