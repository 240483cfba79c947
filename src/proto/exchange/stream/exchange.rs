//! One exchange as either side sees it: two directions, each with its window and at its stage.
//!
//! ```text
//!   Absent ── 101 ──────────────┐
//!   Held ── pull, or the head ──┴──► Open ── end, close ──► Ended
//! ```

use bytes::Bytes;
use bytestring::ByteString;

use super::abort::AbortCode;
use super::event::{Event, Malformed, Part};
use super::options::{Terms, WebSocketAs};
use super::turns::Place;
use super::window::{self, Receiving, Sending};
use crate::proto::socket_io::AckId;

/// An exchange that begins with a `request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// The request's body follows in events.
    pub is_streamed: bool,
    /// The visitor asks for a WebSocket.
    pub is_upgrade: bool,
    /// What the end may send unacknowledged, in bytes. The server has reserved its memory.
    pub window: usize,
}

/// The acknowledgement that an event is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owed {
    /// The event's ack id.
    pub ack: AckId,
    /// What the event costs of the window, in bytes.
    pub cost: usize,
}

/// What one event has of a direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Bytes, to be acknowledged once they are handed on.
    Data {
        /// The bytes.
        bytes: Bytes,
        /// How they are acknowledged.
        owed: Owed,
    },
    /// A part of a message, to be acknowledged once it is handed on.
    Message {
        /// The part.
        part: Part,
        /// More parts of the same message follow.
        more: bool,
        /// How it is acknowledged.
        owed: Owed,
    },
    /// The direction is complete.
    End {
        /// The trailers, JSON.
        trailers: Option<ByteString>,
    },
    /// The WebSocket closes in this direction.
    Close {
        /// The code.
        code: u16,
        /// The words beside it.
        reason: ByteString,
    },
}

/// How far a direction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing comes, unless a 101 opens it.
    Absent,
    /// It waits: a request's body for `pull`, a response for its head.
    Held,
    Open,
    Ended,
}

/// The side that looks at an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    End,
}

/// An exchange at one side.
#[derive(Debug)]
pub(super) struct Exchange {
    side: Side,
    pub(super) sending: Sending,
    pub(super) receiving: Receiving,
    /// The direction to the end.
    request: Stage,
    /// The direction to the visitor.
    response: Stage,
    /// The visitor asks for a WebSocket.
    is_upgrade: bool,
    /// The end has answered 101.
    is_upgraded: bool,
    /// Parts of a message have come and more follow: whether they are text.
    is_text: Option<bool>,
    pub(super) place: Place,
}

impl Exchange {
    /// Begins an exchange between two sides that have settled these terms.
    pub(super) fn new(side: Side, terms: Terms, Begin { is_streamed, is_upgrade, window }: Begin) -> Self {
        let (sends, takes, is_serial) = match side {
            Side::Server => (terms.window, window, terms.serial),
            Side::End => (window, terms.window, false),
        };
        Self {
            side,
            sending: Sending::new(sends, terms.chunk, is_serial),
            receiving: Receiving::new(takes, terms.chunk),
            request: match (is_streamed, terms.pull) {
                (false, _) => Stage::Absent,
                (true, true) => Stage::Held,
                (true, false) => Stage::Open,
            },
            response: Stage::Held,
            is_upgrade,
            is_upgraded: false,
            is_text: None,
            place: Place::Idle,
        }
    }

    fn incoming(&mut self) -> &mut Stage {
        match self.side {
            Side::Server => &mut self.response,
            Side::End => &mut self.request,
        }
    }

    /// Returns how far the direction is in which this side sends.
    pub(super) fn outgoing(&mut self) -> &mut Stage {
        match self.side {
            Side::Server => &mut self.request,
            Side::End => &mut self.response,
        }
    }

    /// Whether the direction to this side is complete.
    pub(super) fn has_received_all(&self) -> bool {
        match self.side {
            Side::Server => self.response == Stage::Ended,
            Side::End => self.request == Stage::Ended,
        }
    }

    /// Whether no head of a response was sent or received.
    pub(super) fn is_unanswered(&self) -> bool {
        self.response == Stage::Held
    }

    /// Whether the exchange is over because all of it was said: the response, and after a 101 the other direction too.
    pub(super) fn is_complete(&self) -> bool {
        self.response == Stage::Ended && (!self.is_upgraded || self.request == Stage::Ended)
    }

    /// Lets the request's body come that waits for `pull`. Returns false if none does.
    pub(super) fn pull(&mut self) -> bool {
        let waits = self.request == Stage::Held;
        if waits {
            self.request = Stage::Open;
        }
        waits
    }

    /// Notes the head of the response, which opens its direction; a 101 that was asked for opens both.
    pub(super) fn answer(&mut self, status: u16) -> Result<(), Breach> {
        if self.response != Stage::Held {
            return broken("response was sent before");
        }
        match status {
            101 if self.is_upgrade => {
                self.is_upgraded = true;
                self.request = Stage::Open;
            }
            101 => return broken("the visitor has not asked for an upgrade"),
            200..=999 => (),
            _ => return broken("the status must be a whole number from 200 to 999"),
        }
        self.response = Stage::Open;
        Ok(())
    }

    /// Takes an event of the direction to this side. `ack` is the id under which the event is to be acknowledged.
    pub(super) fn take(&mut self, event: Event, ack: Option<AckId>, websocket: WebSocketAs) -> Result<Content, Breach> {
        let is_messages = self.is_upgraded && websocket == WebSocketAs::Messages;
        let stage = *self.incoming();
        let is_open = stage == Stage::Open;
        match event {
            Event::Data { bytes, offset } if is_open && !is_messages => {
                let step = bytes.len() as u64;
                let owed = self.owed(bytes.len(), offset, step, ack)?;
                Ok(Content::Data { bytes, owed })
            }
            Event::Message { part, more, number } if is_open && is_messages => {
                let is_text = matches!(part, Part::Text(_));
                if self.is_text.is_some_and(|before| before != is_text) {
                    return broken("all parts of a message are of one type");
                }
                self.is_text = more.then_some(is_text);
                let owed = self.owed(part.len(), number, 1, ack)?;
                Ok(Content::Message { part, more, owed })
            }
            Event::End { total, trailers } if is_open && !is_messages => {
                self.complete(total)?;
                Ok(Content::End { trailers })
            }
            Event::Close { parts, code, reason } if is_open && is_messages => {
                self.complete(parts)?;
                Ok(Content::Close { code, reason })
            }
            Event::Data { .. } | Event::Message { .. } | Event::End { .. } | Event::Close { .. } => {
                match (stage, is_messages) {
                    (Stage::Absent, _) => broken("the request has no body in events"),
                    (Stage::Held, _) => broken("response comes first, and pull before a body that waits for it"),
                    (Stage::Open, true) => broken("a WebSocket has message and close"),
                    (Stage::Open, false) => broken("message and close are those of a WebSocket in messages mode"),
                    (Stage::Ended, _) => broken("nothing follows end or close"),
                }
            }
            Event::Response { .. } | Event::Pull => broken("response and pull are the end's to send"),
            Event::Abort { .. } => broken("abort has no content"),
        }
    }

    /// Counts an event that is to be acknowledged.
    fn owed(&mut self, bytes: usize, position: u64, step: u64, ack: Option<AckId>) -> Result<Owed, Breach> {
        let Some(ack) = ack else { return broken("data and message must ask for an ack: emit them with a callback") };
        Ok(Owed { ack, cost: self.receiving.receive(bytes, position, step)? })
    }

    /// Ends the direction to this side, which had this many bytes or parts.
    fn complete(&mut self, total: u64) -> Result<(), Breach> {
        if total != self.receiving.position() {
            return Err(window::Breach::Order.into());
        }
        *self.incoming() = Stage::Ended;
        Ok(())
    }
}

/// How the other side has broken the protocol.
#[derive(Debug)]
pub(super) struct Breach {
    pub(super) code: AbortCode,
    pub(super) message: &'static str,
}

impl From<Malformed> for Breach {
    fn from(Malformed(message): Malformed) -> Self {
        Self { code: AbortCode::Protocol, message }
    }
}

impl From<window::Breach> for Breach {
    fn from(breach: window::Breach) -> Self {
        let message = match breach {
            window::Breach::Window => "more is unacknowledged than the window allows",
            window::Breach::Chunk => "the event has more bytes than the chunk of ready",
            window::Breach::Order => "the offset, number or total is not what came before",
        };
        Self { code: breach.into(), message }
    }
}

pub(super) fn broken<T>(message: &'static str) -> Result<T, Breach> {
    Err(Breach { code: AbortCode::Protocol, message })
}
