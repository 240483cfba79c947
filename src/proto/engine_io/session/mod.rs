//! The state machine of one session: transport, heartbeat, upgrade and close, without a socket or a clock.
//!
//! ```text
//!                 reserve_upgrade              2probe                 5
//!   ┌─────────┐ ────────────────► ┌─────────┐ ──────► ┌─────────┐ ────────► ┌───────────┐
//!   │ Polling │                   │ Probing │         │ Probing │           │ WebSocket │
//!   │  slot   │ ◄──────────────── │ Waiting │         │ Probed  │           │           │
//!   └─────────┘   wrong frame,    └─────────┘         └─────────┘           └───────────┘
//!        │        lost, too late ◄─────────────────────────┘                      │
//!        ▼                                                                        ▼
//!     Closed(reason): perhaps one last poll is answered, or the last frames leave; then it is finished
//! ```
//!
//! `P` is what the caller answers a poll with. The session keeps it while the poll waits, so that nobody else needs to
//! know whether one does. Feed events to the methods, then drain [`Session::next_output`] and, while the WebSocket
//! takes more, [`Session::next_frame`]; sleep until [`Session::deadline`] and call [`Session::handle_timeout`].
//!
//! - `heartbeat`: whether the client is still there, and when it is given up
//! - `requests`: polls and POSTs; `upgrade`: the candidate for a WebSocket
//! - `state`: the states above; `output`: what the session tells its owner

mod heartbeat;
mod output;
mod requests;
mod state;
#[cfg(test)]
mod tests;
mod upgrade;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use self::heartbeat::{Due, Heartbeat};
pub use self::output::{Output, PollAnswer, PostError, UpgradeError, UpgradeTicket};
use self::state::{Probing, Slot, State, Tail};
use super::close_reason::CloseReason;
use super::frame::Frame;
use super::handshake::Handshake;
use super::lower::Lower;
use super::message::Message;
use super::outbox::{self, Outbox, Size};
use super::packet::{ClientPacket, Data, ServerPacket};
use super::payload::{self, Batch};
use super::polling_text::PollingText;
use super::revision::Revision;
use super::settings::Settings;
use super::sid::Sid;
use super::transport::{BinaryAs, Transport};
use crate::proto::limit::Limit;
use crate::proto::time::{Instant, earliest};

/// How long an orderly close waits for the poll that takes it to the client.
const FAREWELL: Duration = Duration::from_secs(30);

/// How long a client that said goodbye may still collect the poll that it sent beside its goodbye.
const LAST_NOOP: Duration = Duration::from_secs(1);

/// One session. See the module's text for how to drive it.
#[derive(Debug)]
pub struct Session<P> {
    sid: Sid,
    revision: Revision,
    settings: Arc<Settings>,
    state: State<P>,
    heartbeat: Heartbeat,
    posting: bool,
    /// How binary messages travel on the present transport.
    binary: BinaryAs,
    /// The open packet was not sent yet. It is the whole answer to the first poll, as the suites of revision 3 demand.
    opening: bool,
    next_ticket: UpgradeTicket,
    outbox: Outbox,
    outputs: VecDeque<Output<P>>,
}

impl<P> Session<P> {
    /// Opens a session. Its open packet waits for the first poll, or for the WebSocket that asked for the session.
    #[must_use]
    pub fn open(settings: Arc<Settings>, sid: Sid, revision: Revision, transport: Transport, now: Instant) -> Self {
        let mut outbox = Outbox::default();
        outbox.push(
            ServerPacket::Open(Handshake {
                sid,
                upgrades: transport == Transport::Polling,
                ping_interval: settings.ping_interval,
                ping_timeout: settings.ping_timeout,
                max_payload: settings.max_payload,
            })
            .encode(revision),
        );
        Self {
            sid,
            revision,
            state: match transport {
                Transport::Polling => State::Polling(Slot::Empty),
                Transport::WebSocket => State::WebSocket,
            },
            heartbeat: Heartbeat::start(revision, &settings, now),
            posting: false,
            binary: BinaryAs::Frames,
            opening: true,
            next_ticket: UpgradeTicket::FIRST,
            outbox,
            outputs: VecDeque::new(),
            settings,
        }
    }

    /// Returns the same session, whose transport carries binary messages in this way.
    #[must_use]
    pub fn with_binary_as(self, binary: BinaryAs) -> Self {
        Self { binary, ..self }
    }

    /// Returns the session's id.
    #[must_use]
    pub fn sid(&self) -> Sid {
        self.sid
    }

    /// Returns the revision that the session speaks.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Returns the transport that carries the session, or carried it last.
    #[must_use]
    pub fn transport(&self) -> Transport {
        match self.state {
            State::WebSocket | State::Closed { tail: Tail::WebSocket, .. } => Transport::WebSocket,
            State::Polling(_) | State::Probing(_) | State::Closed { .. } => Transport::Polling,
        }
    }

    /// Returns how many packets one polling body may have.
    #[must_use]
    pub fn max_packets(&self) -> usize {
        self.settings.max_packets
    }

    /// Returns why the session ended, once it has. Nothing is sent or received after that.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.state.close_reason()
    }

    /// Whether the session has ended and owes nobody a last word: it can be dropped once its outputs are drained.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Closed { tail: Tail::Nothing, .. })
    }

    /// Whether the session has ended on a WebSocket, and nothing is left to be written there.
    #[must_use]
    pub fn is_closed_and_sent(&self) -> bool {
        matches!(self.state, State::Closed { tail: Tail::WebSocket, .. }) && self.outbox.is_empty()
    }

    /// Returns the size of what waits to be sent, in bytes.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.outbox.bytes()
    }

    /// Returns whether the transport takes more than what waits: the WebSocket when nothing waits, and a poll until its answer is
    /// full.
    #[must_use]
    pub fn wants_more(&mut self) -> bool {
        match self.state {
            State::WebSocket => self.outbox.is_empty(),
            State::Polling(_) | State::Probing(_) => self.state.parked().is_some() && self.outbox.fits_a_batch(),
            State::Closed { .. } => false,
        }
    }

    /// Notes whether the WebSocket has not taken all that was sent on it: the peer does not read, or not as fast.
    pub fn set_behind(&mut self, is_behind: bool) {
        self.outbox.set_behind(is_behind);
    }

    /// Returns the poll that waits, for its owner to watch whether its client is still there.
    pub fn parked(&mut self) -> Option<&mut P> {
        self.state.parked()
    }

    /// Lets the layer above act on this session. If the layer closes it, that is done when `act` returns.
    pub fn lend<R>(&mut self, now: Instant, act: impl FnOnce(&mut Lower<'_>) -> R) -> R {
        let closed = self.close_reason();
        let mut lower = Lower::new(self.revision, &self.settings, &mut self.outbox, closed, now);
        let result = act(&mut lower);
        let (hit, closing) = (lower.limit_hit(), lower.closing());
        self.outputs.extend(hit.map(Output::LimitHit));
        if let Some(reason) = closing {
            self.close(reason, now);
        }
        result
    }

    /// Tells the owner that the client has hit a limit.
    pub fn hit(&mut self, limit: Limit) {
        self.outputs.push_back(Output::LimitHit(limit));
    }

    /// Notes that the client was heard of. Returns false when the session has ended, perhaps just now: the client is heard no more.
    pub fn hear(&mut self, now: Instant) -> bool {
        self.handle_timeout(now);
        let is_open = self.close_reason().is_none();
        if is_open {
            self.heartbeat.heard(&self.settings, now);
        }
        is_open
    }

    /// Handles a packet of the client, and returns the application's data, if the packet carried some.
    pub fn receive(&mut self, packet: ClientPacket, now: Instant) -> Option<Message> {
        if !self.hear(now) {
            return None;
        }
        match (packet, self.revision) {
            (ClientPacket::Message(message), Revision::V3 | Revision::V4) => return Some(message),
            (ClientPacket::Pong(_), Revision::V4) => {
                self.heartbeat.pong(&self.settings, now);
            }
            // What came with the ping is not sent back, as in the reference.
            (ClientPacket::Ping(_), Revision::V3) => self.push(ServerPacket::Pong(Data::None), now),
            // A packet that only the server may send: the client has lost its way.
            (ClientPacket::Ping(_), Revision::V4) | (ClientPacket::Pong(_), Revision::V3) => {
                self.close(CloseReason::TransportError, now);
            }
            (ClientPacket::Close, Revision::V3 | Revision::V4) => self.closed_by_client(now),
            (ClientPacket::Upgrade | ClientPacket::Ignored, Revision::V3 | Revision::V4) => (),
        }
        None
    }

    /// Closes the session. After an orderly close the client is told: by the poll that waits or the next one, or on its
    /// WebSocket.
    pub fn close(&mut self, reason: CloseReason, now: Instant) {
        if self.close_reason().is_some() {
            return;
        }
        let orderly = matches!(reason, CloseReason::ForcedServerClose | CloseReason::ServerShuttingDown);
        if !orderly {
            self.outbox.clear();
        }
        self.drop_candidate();
        let mut tail = Tail::Nothing;
        if matches!(self.state, State::WebSocket) {
            tail = if orderly { Tail::WebSocket } else { Tail::Nothing };
        } else {
            self.outbox.push(ServerPacket::Close.encode(self.revision));
            if let Some(to) = self.state.take_parked() {
                self.answer_with_batch(to);
            }
            // On shutdown nobody waits for the next poll: the client notices the closed port.
            if reason == CloseReason::ForcedServerClose && !self.outbox.is_empty() {
                tail = Tail::Poll { until: now + FAREWELL };
            }
        }
        self.state = State::Closed { reason, tail };
    }

    /// Handles the loss of the WebSocket, or the end of all that was owed to it.
    pub fn websocket_lost(&mut self, reason: CloseReason, now: Instant) {
        self.close(reason, now);
        self.finish();
        self.outbox.clear();
    }

    /// Returns what is next to do for the transport, or `None` when all is done.
    pub fn next_output(&mut self) -> Option<Output<P>> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if self.outbox.is_empty() {
            return None;
        }
        let to = self.state.take_parked()?;
        let frames = if std::mem::take(&mut self.opening) {
            self.outbox.pop().into_iter().collect()
        } else {
            self.outbox.take_batch(outbox::BATCH)
        };
        Some(Output::Poll { to, answer: self.packets(frames) })
    }

    /// Returns the next frame for the WebSocket, if that is the transport. Call it when the WebSocket takes more.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let frame = match self.state {
            State::WebSocket | State::Closed { tail: Tail::WebSocket, .. } => self.outbox.pop()?,
            State::Polling(_) | State::Probing(_) | State::Closed { .. } => return None,
        };
        match (frame, self.binary) {
            (Frame::Binary(data), BinaryAs::Base64) => Some(payload::base64_frame(&data, self.revision)),
            (frame, BinaryAs::Base64 | BinaryAs::Frames) => Some(frame),
        }
    }

    /// Returns when [`Self::handle_timeout`] must be called at the latest; `None` is never.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let heartbeat = match &self.state {
            State::Polling(_) | State::Probing(_) | State::WebSocket => Some(self.heartbeat.deadline()),
            State::Closed { .. } => None,
        };
        earliest(heartbeat, self.state.deadline())
    }

    /// Does what is due: the heartbeat, the end of an upgrade that takes too long, the release of a held poll.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.state {
            State::Closed { tail: Tail::Poll { until }, .. } if *until <= now => {
                self.outbox.clear();
                return self.finish();
            }
            State::Closed { .. } => return,
            State::Probing(probing) if probing.until <= now => {
                self.drop_candidate();
                self.hit(Limit::UpgradeTimeout);
            }
            State::Probing(Probing { slot: Slot::Parked { release_at, .. }, .. })
                if release_at.is_some_and(|at| at <= now) =>
            {
                *release_at = None;
                self.answer_poll();
            }
            State::Probing(_) | State::Polling(_) | State::WebSocket => (),
        }
        match self.heartbeat.due(&self.settings, now) {
            Some(Due::Ping) => self.outbox.push(ServerPacket::Ping.encode(self.revision)),
            Some(Due::Death) => {
                self.close(CloseReason::PingTimeout, now);
                self.hit(Limit::PingTimeout);
            }
            None => (),
        }
    }

    /// Answers the poll that waits, if one does, also if nothing waits to be sent: its client polls again at once.
    pub fn answer_poll(&mut self) {
        // The noop is an answer and no part of the outbox, from which it could still end up on the WebSocket.
        if self.outbox.is_empty()
            && let Some(to) = self.state.take_parked()
        {
            let noop = self.packets(vec![ServerPacket::Noop.encode(self.revision)]);
            self.answer(to, noop);
        }
    }

    /// Queues a packet that a peer could cause any number of. Over the limits the session is closed: its peer does not
    /// read.
    fn push(&mut self, packet: ServerPacket, now: Instant) {
        let frame = packet.encode(self.revision);
        if !self.outbox.has_room(Size { frames: 1, bytes: frame.len() }, &self.settings) {
            self.hit(Limit::Buffered);
            return self.close(CloseReason::Overflow, now);
        }
        self.outbox.push(frame);
    }

    fn closed_by_client(&mut self, now: Instant) {
        self.outbox.clear();
        self.drop_candidate();
        let noop = ServerPacket::Noop.encode(self.revision);
        let tail = if matches!(self.state, State::WebSocket) {
            Tail::Nothing
        } else if let Some(to) = self.state.take_parked() {
            let noop = self.packets(vec![noop]);
            self.answer(to, noop);
            Tail::Nothing
        } else {
            // The poll that the client sent beside its goodbye may come after it.
            self.outbox.push(noop);
            Tail::Poll { until: now + LAST_NOOP }
        };
        self.state = State::Closed { reason: CloseReason::TransportClose, tail };
    }

    fn finish(&mut self) {
        if let State::Closed { tail, .. } = &mut self.state {
            *tail = Tail::Nothing;
        }
    }

    fn answer(&mut self, to: P, answer: PollAnswer) {
        self.outputs.push_back(Output::Poll { to, answer });
    }

    fn answer_with_batch(&mut self, to: P) {
        let frames = self.outbox.take_batch(outbox::BATCH);
        let packets = self.packets(frames);
        self.answer(to, packets);
    }

    fn packets(&self, frames: Vec<Frame>) -> PollAnswer {
        // The layer above says how the text is written; the link asks it.
        let text = PollingText::default();
        PollAnswer::Packets(Batch { frames, revision: self.revision, binary: self.binary, text })
    }
}
