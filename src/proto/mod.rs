//! Everything that can be known without a socket, a task, a lock, a clock or randomness.
//!
//! **The contract.** What stands below this module is plain values and `&mut self` state machines. They take bytes and
//! the time, and return bytes, events and the next deadline. Nothing here reads a clock, draws a random number, waits,
//! locks or does I/O; the test `proto_is_pure` fails when a file names something that could. So a heartbeat is tested over a
//! simulated day, sequences of operations are fuzzed, and server, client and the tests' peers can share one machine.
//!
//! In reading order:
//!
//! - [`time`]: a moment, as a value
//! - [`token`]: the name in the public URL; `key`: the secret of its owner
//! - `node`: the id of one server of a cluster
//! - [`limit`]: which limits a peer can hit
//! - [`headers`]: values of HTTP headers, as lists and as text
//! - [`json`]: JSON as text: checked, cut and spliced, never rebuilt
//! - [`websocket`]: its frames, in and out
//! - [`engine_io`]: packets, payloads, requests, and the session
//! - [`socket_io`]: packets, attachments, and the connection
//! - [`link`]: a session and the layer above it, drained together
//! - [`exchange`]: a visitor's request as an event, an ack as a response

pub mod engine_io;
pub mod exchange;
pub mod headers;
pub mod json;
#[cfg(feature = "server")]
pub mod key;
pub mod limit;
pub mod link;
#[cfg(feature = "server")]
pub mod node;
pub mod socket_io;
pub mod time;
pub mod token;
pub mod websocket;
mod wtf8;
