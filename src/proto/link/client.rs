//! The client's side of one session, and the layer on it.

use super::{Layer, start_of_message};
use crate::proto::engine_io::client::Output;
use crate::proto::engine_io::packet::ServerPacket;
use crate::proto::engine_io::payload::{Body, Packets};
use crate::proto::engine_io::{ClientSession, CloseReason, Frame, Lower, Message};
use crate::proto::time::{Instant, earliest};

/// The client's side of one session, and the layer on it. See [`ClientSession`] for how to drive it.
#[derive(Debug)]
pub struct ClientLink<L> {
    session: ClientSession,
    layer: L,
    /// The layer was told that the session is open.
    is_open: bool,
    closed: bool,
}

impl<L: Layer> ClientLink<L> {
    /// Puts a layer on a session that is about to open.
    pub fn new(session: ClientSession, layer: L) -> Self {
        Self { session, layer, is_open: false, closed: false }
    }

    /// Returns the session.
    pub fn session(&self) -> &ClientSession {
        &self.session
    }

    /// Returns the size of what waits to be sent, and of the messages that were received in part, in bytes.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.session.buffered_bytes() + self.layer.buffered_bytes()
    }

    /// Lets the application act: on its layer, with the session below it to send on.
    pub fn act<R>(&mut self, now: Instant, act: impl FnOnce(&mut L, &mut Lower<'_>) -> R) -> R {
        let result = self.session.lend(now, |lower| act(&mut self.layer, lower));
        self.settle(now);
        result
    }

    /// Handles the answer to a GET: the body of a 200, or why there is none.
    pub fn polled(&mut self, answer: Result<Body, CloseReason>, now: Instant) {
        self.session.poll_ended();
        match answer {
            Ok(body) => {
                for packet in Packets::of_server(body, self.session.revision(), self.session.max_packets()) {
                    match packet {
                        Ok(packet) => self.packet(packet, now),
                        Err(_) => self.session.fail(CloseReason::ParseError),
                    }
                }
            }
            Err(reason) => self.session.fail(reason),
        }
        self.settle(now);
    }

    /// Handles the answer to a POST, see [`ClientSession::posted`].
    pub fn posted(&mut self, is_taken: bool, now: Instant) {
        self.session.posted(is_taken);
        self.settle(now);
    }

    /// Handles the opening of the WebSocket, see [`ClientSession::websocket_opened`].
    pub fn websocket_opened(&mut self) {
        self.session.websocket_opened();
    }

    /// Handles a frame of the WebSocket that is the transport.
    pub fn websocket_frame(&mut self, frame: Frame, now: Instant) {
        match ServerPacket::decode(frame, self.session.revision()) {
            Ok(packet) => self.packet(packet, now),
            Err(_) => self.session.fail(CloseReason::ParseError),
        }
        self.settle(now);
    }

    /// Handles a WebSocket message over the limit, which was dropped. `start` is the start of its text, `None` for a
    /// binary message.
    pub fn websocket_oversized(&mut self, start: Option<&str>, now: Instant) {
        match start_of_message(start) {
            // What the session's end has crossed.
            _ if self.session.close_reason().is_some() => (),
            Some(start) if self.session.hear(now) => {
                self.session.lend(now, |lower| self.layer.oversized(start, lower));
            }
            // Only a message may be large, and before the session is open it means nothing.
            Some(_) | None => self.session.fail(CloseReason::ParseError),
        }
        self.settle(now);
    }

    /// Handles a frame of the candidate, see [`ClientSession::candidate_frame`].
    pub fn candidate_frame(&mut self, frame: Frame) {
        self.session.candidate_frame(frame);
    }

    /// Handles the loss of the WebSocket, see [`ClientSession::websocket_lost`].
    pub fn websocket_lost(&mut self, reason: CloseReason, now: Instant) {
        self.session.websocket_lost(reason);
        self.settle(now);
    }

    /// Closes the session, see [`ClientSession::close`].
    pub fn close(&mut self, reason: CloseReason, now: Instant) {
        self.session.close(reason);
        self.settle(now);
    }

    /// Returns when [`Self::handle_timeout`] must be called at the latest; `None` is never.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let layer = if self.closed { None } else { self.layer.deadline() };
        earliest(self.session.deadline(), layer)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.session.handle_timeout(now);
        self.settle(now);
        if !self.closed {
            self.act(now, Layer::handle_timeout);
        }
    }

    /// Returns the next event for the application, or `None` when all were returned.
    pub fn next_event(&mut self) -> Option<L::Event> {
        self.layer.next_event()
    }

    /// Returns what is next to do for the transport, or `None` when all is done.
    pub fn next_output(&mut self) -> Option<Output> {
        self.session.next_output()
    }

    /// Returns the next frame for the WebSocket, see [`ClientSession::next_frame`].
    pub fn next_frame(&mut self) -> Option<Frame> {
        self.session.next_frame()
    }

    fn packet(&mut self, packet: ServerPacket<Message>, now: Instant) {
        if let Some(message) = self.session.receive(packet, now) {
            self.session.lend(now, |lower| self.layer.message(message, lower));
        }
        // Before the next packet, which may be a message.
        self.settle(now);
    }

    /// Tells the layer once that the session is open, and once that it has ended, whatever the reason.
    fn settle(&mut self, now: Instant) {
        if !self.is_open && self.session.handshake().is_some() && self.session.close_reason().is_none() {
            self.is_open = true;
            self.session.lend(now, |lower| self.layer.opened(lower));
        }
        if !self.closed
            && let Some(reason) = self.session.close_reason()
        {
            self.closed = true;
            self.layer.closed(reason);
        }
    }
}
