//! An exchange with its visitor and its end.

use std::time::Duration;

use super::half::Half;
use crate::proto::exchange::stream::{Begin, Terms, WebSocketAs};
use crate::proto::time::Instant;

/// How long what is unacknowledged of an exchange that is over counts.
const UNACKED_FOR: Duration = Duration::from_secs(60);

/// An exchange, and what its peers are like.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) begin: Begin,
    /// To the end.
    pub(super) request: Half,
    /// To the visitor.
    pub(super) response: Half,
    /// The event `request` has come.
    pub(super) has_come: bool,
    /// The head was sent, and has come.
    pub(super) has_answered: bool,
    pub(super) is_answered: bool,
    /// The head was that of an upgrade, for either side.
    pub(super) is_upgraded_at_end: bool,
    pub(super) is_upgraded_at_server: bool,
    pub(super) is_over_at_server: bool,
    pub(super) is_over_at_end: bool,
    /// Since when it has been over at the server, with something unacknowledged.
    pub(super) left_since: Option<Instant>,
    /// The visitor takes nothing.
    pub(super) visitor_stalls: bool,
    /// The end takes nothing.
    pub(super) end_stalls: bool,
    /// The end never acknowledges anything.
    pub(super) is_mute: bool,
    /// The end breaks the protocol.
    pub(super) is_rude: bool,
    is_messages: bool,
}

impl Exchange {
    pub(super) fn new(index: usize, begin: Begin, terms: Terms) -> Self {
        Self {
            begin,
            request: Half::new(2 * index as u64, terms.window),
            response: Half::new(2 * index as u64 + 1, begin.window),
            has_come: false,
            has_answered: false,
            is_answered: false,
            is_upgraded_at_end: false,
            is_upgraded_at_server: false,
            is_over_at_server: false,
            is_over_at_end: false,
            left_since: None,
            visitor_stalls: false,
            end_stalls: false,
            is_mute: false,
            is_rude: false,
            is_messages: terms.websocket == WebSocketAs::Messages,
        }
    }

    /// Whether both directions have messages, as the server and the end know.
    pub(super) fn has_messages_at_server(&self) -> bool {
        self.is_messages && self.is_upgraded_at_server
    }

    pub(super) fn has_messages_at_end(&self) -> bool {
        self.is_messages && self.is_upgraded_at_end
    }

    /// Returns how much of what waits is one large event: a message, or as many bytes as a chunk has.
    pub(super) fn unit(&self, chunk: usize) -> usize {
        if self.is_messages && self.begin.is_upgrade { 1 } else { chunk }
    }

    /// Whether it counts for what a session may have unacknowledged.
    pub(super) fn counts(&self) -> bool {
        !self.is_over_at_server || self.left_since.is_some()
    }

    /// Whether the end has it and has not ended it.
    pub(super) fn is_open_at_end(&self) -> bool {
        self.has_come && !self.is_over_at_end
    }

    /// Whether it may last as long as its peers are as they are.
    pub(super) fn may_last(&self) -> bool {
        self.visitor_stalls || self.end_stalls || self.is_mute || self.is_rude
    }

    /// The session is lost with all that is on its way.
    pub(super) fn lose(&mut self) {
        self.is_over_at_server = true;
        self.is_over_at_end = true;
        self.has_come = true;
        self.left_since = None;
        (self.request.unacked, self.response.unacked) = (0, 0);
        self.request.owed.clear();
        self.response.owed.clear();
    }

    /// Forgets what is unacknowledged if that has counted for long enough. Returns whether something was.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let has_expired = self.left_since.is_some_and(|since| since + UNACKED_FOR <= now);
        if has_expired {
            (self.left_since, self.request.unacked) = (None, 0);
        }
        has_expired
    }

    /// Whether nothing is left of it at either side.
    pub(super) fn is_settled(&self) -> bool {
        self.is_over_at_server
            && self.is_over_at_end
            && self.left_since.is_none()
            && self.response.unacked == 0
            && self.request.owed.is_empty()
            && self.response.owed.is_empty()
    }
}
