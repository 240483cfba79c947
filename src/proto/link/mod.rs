//! A session and the layer above it, driven and drained together: the server's [`ServerLink`], and the client's [`ClientLink`].
//!
//! What comes from outside enters here: requests, frames, the time. Then the owner drains [`ServerLink::next_event`],
//! [`ServerLink::next_output`] and [`ServerLink::next_frame`], and sleeps until [`ServerLink::deadline`].
//!
//! - `client`: the client's side

mod client;

use bytestring::ByteString;

pub use self::client::ClientLink;
use super::engine_io::payload::{Body, Packets};
use super::engine_io::session::{Output, PollAnswer, PostError, UpgradeError, UpgradeTicket};
use super::engine_io::{
    BinaryAs, ClientPacket, CloseReason, DecodeError, Frame, Lower, Message, PollingText, Rejection, Revision, Session,
};
use super::limit::Limit;
use super::time::{Instant, earliest};

/// A protocol above Engine.IO: Socket.IO ([`super::socket_io::Connection`]), or another.
pub trait Layer {
    /// What the layer tells the application.
    type Event;

    /// Handles the opening of the session. A server's layer is made when it opens, and is not told.
    fn opened(&mut self, _lower: &mut Lower<'_>) {}

    /// Handles a message of the peer.
    fn message(&mut self, message: Message, lower: &mut Lower<'_>);

    /// Handles the text of a message that came in a polling body of revision 3, where clients of socket.io 1 encode
    /// text twice, and returns what the client meant. See [`PollingText`].
    fn polled_text(&mut self, text: ByteString) -> ByteString {
        text
    }

    /// Returns how the text of polling answers is written.
    fn polling_text(&self) -> PollingText {
        PollingText::default()
    }

    /// Handles a message over the limit, whose content was dropped. `start` is the start of its text, `None` for a
    /// binary message.
    fn oversized(&mut self, start: Option<&str>, lower: &mut Lower<'_>);

    /// Returns when [`Self::handle_timeout`] must be called at the latest; `None` is never.
    fn deadline(&self) -> Option<Instant>;

    /// Does what is due.
    fn handle_timeout(&mut self, lower: &mut Lower<'_>);

    /// Returns the size of the messages that were received in part, in bytes.
    fn buffered_bytes(&self) -> usize {
        0
    }

    /// Handles the end of the session. Called once; no message comes after it.
    fn closed(&mut self, reason: CloseReason);

    /// Returns the next event for the application, or `None` when all were returned.
    fn next_event(&mut self) -> Option<Self::Event>;
}

/// The server's side of one session, and the layer on it. `P` is what a poll is answered with, see [`Session`].
#[derive(Debug)]
pub struct ServerLink<L, P> {
    session: Session<P>,
    layer: L,
    closed: bool,
}

impl<L: Layer, P> ServerLink<L, P> {
    /// Puts a layer on a session that was just opened.
    pub fn new(session: Session<P>, layer: L) -> Self {
        Self { session, layer, closed: false }
    }

    /// Returns the session.
    pub fn session(&self) -> &Session<P> {
        &self.session
    }

    /// Returns the size of what waits to be sent, and of the messages that were received in part, in bytes.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.session.buffered_bytes() + self.layer.buffered_bytes()
    }

    /// Notes whether the WebSocket has not taken all that was sent on it, see [`Session::set_behind`].
    pub fn set_behind(&mut self, is_behind: bool) {
        self.session.set_behind(is_behind);
    }

    /// Returns the poll that waits, see [`Session::parked`].
    pub fn parked(&mut self) -> Option<&mut P> {
        self.session.parked()
    }

    /// Returns whether the transport takes more than what waits, see [`Session::wants_more`].
    #[must_use]
    pub fn wants_more(&mut self) -> bool {
        self.session.wants_more()
    }

    /// Lets the application act: on its layer, with the session below it to send on.
    pub fn act<R>(&mut self, now: Instant, act: impl FnOnce(&mut L, &mut Lower<'_>) -> R) -> R {
        let result = self.lend(now, act);
        self.settle();
        result
    }

    /// Handles a poll. It is answered by an [`Output::Poll`].
    pub fn poll(&mut self, to: P, revision: Option<Revision>, now: Instant) {
        self.session.poll(to, revision, now);
        self.settle();
    }

    /// Answers the poll that waits, see [`Session::answer_poll`].
    pub fn answer_poll(&mut self) {
        self.session.answer_poll();
    }

    /// Handles the loss of the client whose poll waits.
    pub fn poll_lost(&mut self, now: Instant) {
        self.session.poll_lost(now);
        self.settle();
    }

    /// Handles a POST whose body is about to be read.
    ///
    /// # Errors
    /// See [`Session::begin_post`].
    pub fn begin_post(&mut self, revision: Option<Revision>, now: Instant) -> Result<(), PostError> {
        let result = self.session.begin_post(revision, now);
        self.settle();
        result
    }

    /// Handles the body of the POST that was begun, or the reason to close the session because there is none.
    ///
    /// # Errors
    /// When the session has ended meanwhile, or the body is not a payload, which closes the session.
    pub fn end_post(&mut self, body: Result<Body, CloseReason>, now: Instant) -> Result<(), PostError> {
        self.session.end_post();
        let body = match body {
            Ok(body) => body,
            Err(reason) => {
                self.close(reason, now);
                return Err(PostError::Broken);
            }
        };
        if self.session.close_reason().is_some() {
            return Err(PostError::Rejected(Rejection::SessionUnknown));
        }
        let revision = self.session.revision();
        let perhaps_encoded_twice = revision == Revision::V3 && matches!(body, Body::Text(_));
        for packet in Packets::new(body, revision, self.session.max_packets()) {
            let packet = match packet {
                Ok(ClientPacket::Message(Message::Text(text))) if perhaps_encoded_twice => {
                    ClientPacket::Message(Message::Text(self.layer.polled_text(text)))
                }
                Ok(packet) => packet,
                Err(error) => {
                    if error == DecodeError::TooManyPackets {
                        self.session.hit(Limit::Packets);
                    }
                    self.close(CloseReason::ParseError, now);
                    return Err(PostError::Broken);
                }
            };
            self.packet(packet, now);
        }
        self.settle();
        Ok(())
    }

    /// Handles a WebSocket that asks to take over.
    ///
    /// # Errors
    /// See [`Session::reserve_upgrade`].
    pub fn reserve_upgrade(
        &mut self,
        revision: Option<Revision>,
        binary: BinaryAs,
        now: Instant,
    ) -> Result<UpgradeTicket, UpgradeError> {
        let result = self.session.reserve_upgrade(revision, binary, now);
        self.settle();
        result
    }

    /// Handles a frame of a candidate WebSocket.
    pub fn candidate_frame(&mut self, ticket: UpgradeTicket, frame: Frame, now: Instant) {
        self.session.candidate_frame(ticket, frame, now);
        self.settle();
    }

    /// Handles the loss of a candidate WebSocket.
    pub fn candidate_lost(&mut self, ticket: UpgradeTicket) {
        self.session.candidate_lost(ticket);
    }

    /// Handles a frame of the WebSocket.
    pub fn websocket_frame(&mut self, frame: Frame, now: Instant) {
        match ClientPacket::decode(frame, self.session.revision()) {
            Ok(packet) => self.packet(packet, now),
            Err(_) => self.session.close(CloseReason::ParseError, now),
        }
        self.settle();
    }

    /// Handles a WebSocket message over the limit, which was dropped. `start` is the start of its text, `None` for a
    /// binary message.
    pub fn websocket_oversized(&mut self, start: Option<&str>, now: Instant) {
        if !self.session.hear(now) {
            return self.settle();
        }
        match start_of_message(start) {
            Some(start) => self.lend(now, |layer, lower| layer.oversized(start, lower)),
            None => self.session.close(CloseReason::ParseError, now),
        }
        self.settle();
    }

    /// Handles the loss of the WebSocket.
    pub fn websocket_lost(&mut self, reason: CloseReason, now: Instant) {
        self.session.websocket_lost(reason, now);
        self.settle();
    }

    /// Ends the session, see [`Session::close`].
    pub fn close(&mut self, reason: CloseReason, now: Instant) {
        self.session.close(reason, now);
        self.settle();
    }

    /// Returns when [`Self::handle_timeout`] must be called at the latest; `None` is never.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.closed {
            return self.session.deadline();
        }
        earliest(self.session.deadline(), self.layer.deadline())
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.session.handle_timeout(now);
        self.settle();
        if !self.closed {
            self.act(now, Layer::handle_timeout);
        }
    }

    /// Returns the next event for the application, or `None` when all were returned.
    pub fn next_event(&mut self) -> Option<L::Event> {
        self.layer.next_event()
    }

    /// Returns what is next to do for the transport, or `None` when all is done.
    pub fn next_output(&mut self) -> Option<Output<P>> {
        let mut output = self.session.next_output()?;
        if let Output::Poll { answer: PollAnswer::Packets(batch), .. } = &mut output {
            batch.text = self.layer.polling_text();
        }
        Some(output)
    }

    /// Returns the next frame for the WebSocket, see [`Session::next_frame`].
    pub fn next_frame(&mut self) -> Option<Frame> {
        self.session.next_frame()
    }

    fn packet(&mut self, packet: ClientPacket, now: Instant) {
        if let Some(message) = self.session.receive(packet, now) {
            self.lend(now, |layer, lower| layer.message(message, lower));
        }
    }

    fn lend<R>(&mut self, now: Instant, act: impl FnOnce(&mut L, &mut Lower<'_>) -> R) -> R {
        self.session.lend(now, |lower| act(&mut self.layer, lower))
    }

    /// Tells the layer once that the session has ended, whatever the reason.
    fn settle(&mut self) {
        if !self.closed
            && let Some(reason) = self.session.close_reason()
        {
            self.closed = true;
            self.layer.closed(reason);
        }
    }
}

/// Returns the start of the text of a message over the limit, `Some(None)` for a binary one. Returns `None` for a packet that is no
/// message, of which none may be large.
fn start_of_message(start: Option<&str>) -> Option<Option<&str>> {
    // Binary comes in base64 where the client wants no binary frames.
    match start.filter(|start| !start.starts_with('b')) {
        None => Some(None),
        Some(start) => start.strip_prefix('4').map(Some),
    }
}
