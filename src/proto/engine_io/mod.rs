//! Engine.IO: sessions over long-polling and WebSocket (PROTOCOL.md, "Engine.IO").
//!
//! - [`revision`], [`transport`], [`sid`], [`settings`]: the values that everything else names
//! - [`frame`]: what carries one packet; `base64`: bytes as text
//! - [`message`]: the application's data, and how text is written
//! - [`handshake`], [`packet`]: one packet and its frame
//! - [`payload`]: the packets of one polling body; [`polling_text`]: how such a body is written for old clients
//! - [`jsonp`]: such a body as a script and as a form
//! - [`query`]: what an HTTP request to the path wants
//! - [`session`]: the state machine of one session, with its heartbeat and its upgrade; [`close_reason`]: why it ended
//! - [`client`]: the state machine of the client's side
//! - [`lower`]: what the layer above may do to a session

pub(in crate::proto) mod base64;
pub mod client;
pub mod close_reason;
pub mod frame;
pub mod handshake;
pub mod jsonp;
pub mod lower;
pub mod message;
mod outbox;
pub mod packet;
pub mod payload;
pub mod polling_text;
pub mod query;
pub mod revision;
pub mod session;
pub mod settings;
pub mod sid;
pub mod transport;

pub use self::client::ClientSession;
pub use self::close_reason::CloseReason;
pub use self::frame::{DecodeError, Frame};
pub use self::handshake::Handshake;
pub use self::lower::Lower;
pub use self::message::{Message, Outgoing, Space};
pub use self::packet::{ClientPacket, ServerPacket};
pub use self::polling_text::PollingText;
pub use self::query::{Method, Rejection, Request};
pub use self::revision::Revision;
pub use self::session::Session;
pub use self::settings::Settings;
pub use self::sid::Sid;
pub use self::transport::{BinaryAs, Transport};
