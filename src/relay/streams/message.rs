//! What the task of an end's session is told of its exchanges.

use std::time::Duration;

use crate::proto::exchange::ExchangeId;
use crate::proto::exchange::stream::server::Owed;
use crate::proto::exchange::stream::{self, AbortCode};

/// Why a session is about to be left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::relay) enum Closing {
    /// Another end takes its place. Its exchanges may go on for this time.
    TakenOver(Duration),
    /// The server stops. Its exchanges may go on for this time.
    Stopping(Duration),
    /// The end is to go on at another node. Its exchanges may go on for this time.
    Moving(Duration),
    /// The token has expired.
    Expired,
    /// The owner has deleted the tunnel.
    Deleted,
}

impl Closing {
    /// Returns what the end is told.
    pub(super) const fn code(self) -> stream::Closing {
        match self {
            Self::TakenOver(_) => stream::Closing::TakenOver,
            Self::Stopping(_) => stream::Closing::Stopping,
            Self::Moving(_) => stream::Closing::Moving,
            Self::Expired => stream::Closing::Expired,
            Self::Deleted => stream::Closing::Deleted,
        }
    }
}

/// What an exchange's tasks tell the session.
#[derive(Debug, Clone, Copy)]
pub(in crate::relay) enum ToSession {
    /// Something waits for the end.
    Offer(ExchangeId),
    /// Something of the end was handed on.
    HandedOn {
        /// The exchange.
        id: ExchangeId,
        /// What is acknowledged now.
        owed: Owed,
        /// The visitor's side had waited for it.
        has_starved: bool,
    },
    /// The exchange is over on the visitor's side, and the end is told this code if it is not over for the end.
    Leave(ExchangeId, Option<AbortCode>),
}
