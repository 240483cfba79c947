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
        /// The namespace.
        namespace: Namespace,
        /// The client's `auth`, a JSON object. Only revision 4 has it.
        auth: Option<ByteString>,
        /// What stood behind the `?` of the namespace, as the client wrote it. Only revision 3 has it.
        query: Option<ByteString>,
    },
    /// A client emitted an event.
    Received {
        /// The namespace.
        namespace: Namespace,
        /// The name, a JSON string or number, and the arguments.
        args: Args,
        /// What the placeholders in the arguments stand for.
        attachments: Vec<Bytes>,
        /// Set when the client wants an ack: answer with [`super::Connection::ack`].
        id: Option<AckId>,
    },
    /// An awaited ack has come, or will not.
    Acked {
        /// What waited for the ack.
        waiter: W,
        /// The ack, or why it will not come.
        outcome: Result<Answer, AckError>,
    },
    /// An ack has come that no waiter is kept for: its event was emitted without one, or it is late, a second one, or its id was
    /// never used.
    Unawaited {
        /// The namespace.
        namespace: Namespace,
        /// The id of the ack.
        id: AckId,
        /// Its content. [`AckError::Oversized`] if that was over the limit.
        outcome: Result<Answer, AckError>,
    },
    /// A namespace was left, by either side. Said once for each that was joined.
    Disconnected {
        /// The namespace.
        namespace: Namespace,
        /// Why it was left.
        reason: DisconnectReason,
    },
}

/// The content of an ack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The arguments.
    pub args: Args,
    /// What the placeholders in the arguments stand for.
    pub attachments: Vec<Bytes>,
}

/// Why an ack will not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckError {
    /// The client is not in the namespace. The event was not sent.
    NotJoined,
    /// Too much waits to be sent already. The event was not sent.
    Overloaded,
    /// The ack did not come in time.
    TimedOut,
    /// The client left the namespace, or was made to leave, or the session has ended.
    Disconnected,
    /// The ack came, and was larger than the limit.
    Oversized,
    /// The event has the id of another event whose ack is still awaited. It was not sent.
    DuplicateId,
    /// The event has no id, so that no ack can name it. It was not sent.
    MissingId,
}

/// Why a namespace was left: the reference's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The client left.
    ClientLeft,
    /// The server made it leave.
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
