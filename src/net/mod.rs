//! Sockets for either side of the wire. Nothing here knows Engine.IO, Socket.IO or the relay.
//!
//! In reading order:
//!
//! - [`listener`]: accepts connections and stops in order; `serving`: the limits of connections, and the handler of requests
//! - `greeted`: a listener whose connections say something before their first request
//! - `http1`: a connection that speaks HTTP/1; `http2`, with the feature `tls`: one that speaks HTTP/2, which TLS negotiates, and
//!   `claims`: the memory that its requests take
//! - [`connection`]: one accepted connection; [`socket`]: what is below it, given up when its peer does not read
//! - [`tls`], with the feature `tls`: the handshake of a connection, and the certificates that it shows
//! - [`challenges`], with the feature `tls`: what certificate authorities find over plain HTTP
//! - `http_connection`: a connection while it speaks HTTP, with the memory of the head that arrives; `turn`: whether a reply is
//!   owed, or hyper writes by itself
//! - [`linger`]: the close of a connection whose client is still sending
//! - [`body`]: request bodies, read whole within a size, a pace and a memory budget; `left`: what is left of one
//! - [`reply`]: responses that this process makes itself; [`streaming`]: bodies of responses that arrive by and by
//! - [`websocket`]: the HTTP upgrade and its 101, messages in and out, the closing handshake; [`upgrade`]: the bare connection
//!   after a 101
//! - `proxy_protocol`: whose connection a proxy passes on, as it says before the first byte
//! - [`arrival`]: who a request is from, behind proxies; `forwarded`: what the headers of proxies say of that
//! - [`budget`]: what all peers share and none may use up: connections, sessions, exchanges, bytes of memory
//! - [`hits`]: how often limits were hit that no budget counts
//! - `buffers`, `clock`, `seldom`: read and write buffers of a thread; the runtime's time as a plain value; lines of the log
//!   with a limit

pub mod arrival;
pub mod body;
pub mod budget;
pub(crate) mod buffers;
#[cfg(feature = "tls")]
pub mod challenges;
#[cfg(feature = "tls")]
mod claims;
pub(crate) mod clock;
pub mod connection;
mod forwarded;
pub(crate) mod greeted;
pub mod hits;
mod http1;
#[cfg(feature = "tls")]
mod http2;
mod http_connection;
mod left;
pub mod linger;
pub mod listener;
mod proxy_protocol;
pub mod reply;
pub(crate) mod seldom;
mod serving;
pub mod socket;
pub mod streaming;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
pub mod tls;
pub(crate) mod turn;
pub mod upgrade;
pub mod websocket;
