//! Socket.IO: events and acks in namespaces, over any Engine.IO session (PROTOCOL.md, "Socket.IO").
//!
//! - [`namespace`]: the name of a namespace
//! - [`packet`]: one packet
//! - [`parser`]: the text of a packet, parsed with nom
//! - [`attachments`]: a packet and its binary messages, put together
//! - [`double_utf8`]: text that an old client encoded twice
//! - [`connection`]: the namespaces of one session, their pending acks, the connect deadline; and one namespace from the client's
//!   side

pub mod attachments;
pub mod connection;
pub mod double_utf8;
pub mod namespace;
pub mod packet;
pub mod parser;

pub use self::connection::client::{ClientConnection, ClientEvent};
pub use self::connection::{Connection, Event};
pub use self::namespace::Namespace;
pub use self::packet::{AckId, Packet};
