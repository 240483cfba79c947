//! The relay as visitors and ends see it: routes, the request event and the ack as tables; then what happens when a visitor
//! or an end leaves, when an end is replaced, when a token expires, and when a limit is hit.
//!
//! Each test has a server of its own in this process, on a free port. The end is a small Socket.IO client on a WebSocket;
//! the visitor writes and reads the bytes of HTTP. Tests wait for events, and not for time to pass.

mod ack;
mod api_table;
mod behaviour;
mod bodies;
mod holding;
mod hosts;
mod keyed;
mod leaving;
mod limits;
mod named_hosts;
mod notices;
mod path_html;
mod proxy_protocol;
mod request;
mod restless;
mod routes;
mod rules;
mod several;
mod shared_origin;
mod streaming;
mod takeover;
mod tokens;
pub(crate) mod tunnel;
pub(crate) mod visitor;
mod waiting;
