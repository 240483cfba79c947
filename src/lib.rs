//! Socket2Me: a public URL for an app behind NAT.
//!
//! A visitor's HTTP request to `/go/TOKEN/…` becomes the Socket.IO event `request` for whoever has joined the namespace
//! `/TOKEN`, and the ack of that event becomes the HTTP response.
//!
//! In reading order:
//!
//! - [`proto`]: Engine.IO, Socket.IO and the exchange as plain values and state machines, without I/O
//! - [`config`]: flags, environment, defaults
//! - [`store`]: where tokens live
//! - [`net`]: sockets for either side of the wire
//! - [`engine`]: an Engine.IO and Socket.IO server for any host
//! - [`relay`]: the product: tokens, tunnels, exchanges
//! - `fuzzing`: the bodies of the fuzz targets, behind the feature of that name
//!
//! The two protocol layers make a Socket.IO server of their own, with the relay as one host: `examples/echo.rs` is another.
//!
//! What is absent, on purpose: a task or timer per heartbeat, upgrade, ack or deadline (they are state); a lock held
//! across an await; an unbounded channel or buffer; a JSON tree of anything that is only passed on; unsafe code.

// Some of `net` serves the relay alone, and the map links to the relay's modules. A build with the relay finds code that is
// really dead and links that are really broken.
#![cfg_attr(not(feature = "server"), allow(dead_code, rustdoc::broken_intra_doc_links))]

#[cfg(feature = "server")]
pub mod config;
pub mod defaults;
pub mod engine;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod net;
pub mod proto;
#[cfg(feature = "server")]
pub mod relay;
#[cfg(feature = "server")]
pub mod store;
mod tables;
