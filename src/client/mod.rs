//! The other end of the relay: programs of this binary that serve a tunnel's requests.
//!
//! In reading order:
//!
//! - [`server_url`]: the relay's URL; [`dial`]: connections to it, over TCP, a proxy and TLS; [`stream`]: a connection
//! - [`requests`]: requests to the relay; [`websocket`]: the WebSocket of a session; `frames`: its queue of frames to write
//! - [`session`]: one session, as the machines of [`crate::proto`] want it; `polling`: its requests on long-polling
//! - [`exchanges`]: the exchanges of a session, each with a task of a handler; [`visit`]: what such a task gets, and how it answers
//! - [`api`]: the calls of a tunnel's owner; [`saved`]: tunnels that are kept from run to run
//! - [`tunnel`]: a tunnel that is kept open; `unmade`: why one is not made; `backoff`: how long an end waits before it comes back
//! - [`report`]: what an end tells the person or the program that runs it
//! - [`forward`]: requests forwarded to an app on this machine, or served without one
//! - `opening`: a tunnel before it is open, by its settings
//! - [`run`]: the commands; [`up`]: several tunnels in one process; [`output`]: reports as text; [`terminal`]: reports on a terminal, with a status line and keys;
//!   [`doctor`]: what is wrong between this machine and a server; [`healthcheck`]: whether the server on this machine takes requests

pub mod admin;
pub mod api;
mod backoff;
pub mod dial;
pub mod doctor;
pub mod exchanges;
pub mod forward;
mod frames;
pub mod healthcheck;
mod opening;
pub mod output;
mod polling;
pub mod report;
pub mod requests;
pub mod run;
pub mod saved;
pub mod server_url;
pub mod session;
pub mod stream;
pub mod terminal;
pub mod tunnel;
mod unmade;
pub mod up;
pub mod visit;
pub mod websocket;
