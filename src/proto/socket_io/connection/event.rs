//! What a connection tells its owner.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

use crate::proto::engine_io::CloseReason;
use crate::proto::socket_io::namespace::Namespace;
use crate::proto::socket_io::packet::{AckId, Args};

/// What the application is told.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<W> {
    /// A client asks to join: answer with [`super::Connection::accept`] or [`super::Connection::refuse`].
    Connect {
        /// Where.
        namespace: Namespace,
        /// Its `auth`, a JSON object. Only revision 4 has it.
        auth: Option<ByteString>,
        /// What stood behind the `?` of its namespace, as it was written. Only revision 3 has it.
        query: Option<ByteString>,
    },
    /// A client emitted an event.
    Received {
        /// Where.
        namespace: Namespace,
        /// The name, a JSON string or number, and the arguments.
        args: Args,
        /// What the placeholders in the arguments stand for.
        attachments: Vec<Bytes>,
        /// Set when it wants an ack: answer with [`super::Connection::ack`].
        id: Option<AckId>,
    },
    /// An awaited ack has come, or will not.
    Acked {
        /// Who waited for it.
        waiter: W,
        /// What came of it.
        outcome: Result<Answer, AckError>,
    },
    /// A namespace was left, by whichever side. Said once for each that was joined.
    Disconnected {
        /// Which.
        namespace: Namespace,
        /// Why.
        reason: DisconnectReason,
    },
}

/// The content of an ack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its arguments.
    pub args: Args,
    /// What the placeholders in the arguments stand for.
    pub attachments: Vec<Bytes>,
}

/// Why an ack will not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckError {
    /// Nobody has joined the namespace.
    NotJoined,
    /// Too much waits to be sent already.
    Overloaded,
    /// It did not come in time.
    TimedOut,
    /// The client left, or was made to, or the connection is gone.
    Disconnected,
    /// It came, and was larger than the limit.
    Oversized,
    /// The event has the id of another one whose ack is still awaited. It was not sent.
    DuplicateId,
    /// The event has no id, so that no ack can name it. It was not sent.
    MissingId,
}

/// Why a namespace was left: the reference's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The client said so.
    ClientLeft,
    /// The server said so.
    ServerLeft,
    /// The session ended.
    Closed(CloseReason),
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientLeft => f.write_str("client namespace disconnect"),
            Self::ServerLeft => f.write_str("server namespace disconnect"),
            Self::Closed(reason) => reason.fmt(f),
        }
    }
}
