//! What an end's event leads to at the server.

use bytes::Bytes;
use bytestring::ByteString;

use super::abort::AbortCode;
use super::event::Part;
use super::exchange::{Content, Owed};
use crate::proto::exchange::ExchangeId;
use crate::proto::socket_io::AckId;

/// What an end's event leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// The event is acknowledged at once: nobody wants it any more.
    Ack(AckId),
    /// The head of the response.
    Head {
        /// The exchange.
        id: ExchangeId,
        /// The status.
        status: u16,
        /// The headers, JSON.
        headers: ByteString,
    },
    /// Bytes for the visitor, to be acknowledged once they are handed on.
    Data {
        /// The exchange.
        id: ExchangeId,
        /// The bytes.
        bytes: Bytes,
        /// How they are acknowledged.
        owed: Owed,
    },
    /// A part of a message for the visitor, to be acknowledged once it is handed on.
    Message {
        /// The exchange.
        id: ExchangeId,
        /// The part.
        part: Part,
        /// More parts of the same message follow.
        more: bool,
        /// How it is acknowledged.
        owed: Owed,
    },
    /// The response, or this direction of the connection, is complete.
    End {
        /// The exchange.
        id: ExchangeId,
        /// The trailers, JSON.
        trailers: Option<ByteString>,
    },
    /// The WebSocket closes in this direction.
    Close {
        /// The exchange.
        id: ExchangeId,
        /// The code.
        code: u16,
        /// The words beside it.
        reason: ByteString,
    },
    /// The request's body is wanted.
    Pull(ExchangeId),
    /// The end gives the exchange up.
    Aborted {
        /// The exchange.
        id: ExchangeId,
        /// Why.
        code: AbortCode,
        /// Words for a person.
        message: Option<ByteString>,
    },
    /// The end has broken the protocol. The exchange is over, and the end is to be told.
    Breach {
        /// The exchange.
        id: ExchangeId,
        /// Which rule.
        code: AbortCode,
        /// What was wrong.
        message: &'static str,
        /// The event is acknowledged, too.
        ack: Option<AckId>,
    },
}

impl Effect {
    /// Returns the effect of an event that has content for the visitor.
    pub(super) fn of(id: ExchangeId, content: Content) -> Self {
        match content {
            Content::Data { bytes, owed } => Self::Data { id, bytes, owed },
            Content::Message { part, more, owed } => Self::Message { id, part, more, owed },
            Content::End { trailers } => Self::End { id, trailers },
            Content::Close { code, reason } => Self::Close { id, code, reason },
        }
    }
}
