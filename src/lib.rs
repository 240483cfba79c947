//! Socket2Me: a public URL for an app behind NAT.
//!
//! A visitor's HTTP request to `/go/TOKEN/…` becomes the Socket.IO event `request` for the *end*: the program that has joined
//! the namespace `/TOKEN`. The ack of that event becomes the HTTP response.
//!
//! In reading order:
//!
//! - [`config`]: the settings of `socket2me serve`, as flags and environment variables; [`defaults`] has their defaults
//! - [`proto`]: Engine.IO, Socket.IO and the exchange as plain values and state machines, without I/O
//! - [`net`]: sockets: connections, bodies, WebSockets, and budgets for what peers share
//! - [`acme`]: certificates from a directory, ordered and renewed
//! - [`cluster`]: other servers of the same relay: requests that are handed on to them
//! - [`engine`]: an Engine.IO and Socket.IO server for any host
//! - [`relay`]: the product: tokens, tunnels, exchanges
//! - [`store`]: which tokens exist
//! - [`client`]: `socket2me forward` and its like, which ask a server from elsewhere
//! - [`log`], [`process`], [`service`]: the program's log, its descriptors and signals, and its service manager
//!
//! ARCHITECTURE.md walks with a request, a frame and a poll through these modules, and says where to change what.
//!
//! `proto`, `net` and `engine` are a Socket.IO server library: with `default-features = false` only they are built. The relay
//! is one host of it, and `examples/echo.rs` is another. `fuzzing`, behind the feature of that name, holds the bodies of the
//! fuzz targets.
//!
//! What holds everywhere:
//!
//! - Uses point one way: `relay` uses all the others, `engine` uses `net` and `proto`, `net` uses `proto`. A test fails
//!   otherwise.
//! - `proto` is pure: bytes and the time go in; bytes, events and the next deadline come out.
//! - One task owns a session. Other tasks send it commands through a mailbox.
//! - What peers take of a shared resource is counted against a limit, and comes back when its holder is dropped.
//! - An exchange has exactly one outcome, which is logged and counted.
//!
//! What is absent, on purpose: a task or timer per heartbeat, upgrade, ack or deadline (they are state); a lock of
//! `std` held across an await; a channel or buffer that a peer can fill without a limit; a JSON tree of anything that is only passed on; unsafe code.

// Some of `net` serves the relay alone, and the map links to the relay's modules. A build with the relay finds code that is
// really dead and links that are really broken.
#![cfg_attr(not(feature = "server"), allow(dead_code, rustdoc::broken_intra_doc_links))]

#[cfg(feature = "server")]
pub mod acme;
#[cfg(feature = "server")]
mod causes;
#[cfg(feature = "server")]
pub mod client;
#[cfg(feature = "server")]
pub mod cluster;
#[cfg(feature = "server")]
pub mod config;
pub mod defaults;
pub mod engine;
#[cfg(feature = "server")]
mod expiring;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
#[cfg(feature = "server")]
pub mod log;
pub mod net;
#[cfg(feature = "server")]
pub mod process;
pub mod proto;
#[cfg(feature = "server")]
pub mod relay;
#[cfg(feature = "server")]
pub mod service;
#[cfg(feature = "server")]
pub mod store;
mod tables;
#[cfg(feature = "server")]
mod tasks;
#[cfg(feature = "server")]
mod trust;
