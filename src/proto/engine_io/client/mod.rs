//! The state machine of a session's client: opening, polling, upgrade, heartbeat and close, without a socket or a clock.
//!
//! ```text
//!             open packet            3probe, and no request       websocket_lost, close
//!   Opening ──────────────► Polling ─────────────────────► WebSocket ──────────────────► Closed(reason)
//!      │                  ▲    │  ▲                            ▲
//!      │                  │    ▼  │ the candidate is lost,     │
//!      │                  │ Probing  says something else, or   │
//!      │                  │          comes too late            │
//!      └── open packet on a WebSocket ─────────────────────────┘
//! ```
//!
//! The owner has the connections. It drains [`ClientSession::next_output`], does what each output says, and tells the session
//! what came of it; while the WebSocket takes more, it sends what [`ClientSession::next_frame`] returns. It sleeps until
//! [`ClientSession::deadline`], and calls [`ClientSession::handle_timeout`]. Whether to come back after the end is for the owner
//! to decide, with another session.
//!
//! - `liveness`: whether the server is still there

mod liveness;

use std::collections::VecDeque;
use std::sync::Arc;

use self::liveness::Liveness;
use super::close_reason::CloseReason;
use super::frame::Frame;
use super::handshake::Handshake;
use super::lower::Lower;
use super::message::Message;
use super::outbox::{BATCH, Outbox, Size};
use super::packet::{ClientPacket, Data, ServerPacket};
use super::payload::{Batch, Body};
use super::polling_text::PollingText;
use super::revision::Revision;
use super::settings::Settings;
use super::transport::{BinaryAs, Transport};
use crate::defaults;
use crate::proto::time::{Instant, earliest};

/// The transports that a client uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transports {
    /// Long-polling.
    Polling,
    /// A WebSocket from the beginning.
    WebSocket,
    /// Long-polling, and a WebSocket once one works.
    Upgrade,
}

/// What the owner does for a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Sends a GET, whose answer goes to [`ClientLink::polled`](crate::proto::link::ClientLink::polled).
    Poll,
    /// Sends a POST, whose answer goes to [`ClientSession::posted`].
    Post(Body),
    /// Opens a WebSocket, and tells [`ClientSession::websocket_opened`] or
    /// [`ClientSession::websocket_lost`]. If the session is open already, it is the candidate.
    OpenWebSocket,
    /// Sends a frame on the candidate.
    Candidate(Frame),
    /// Makes the candidate the transport. Polling is over.
    AdoptCandidate,
    /// Closes the candidate.
    DropCandidate,
}

/// The client's side of one session. See the module's text for how to drive it.
#[derive(Debug)]
pub struct ClientSession {
    revision: Revision,
    settings: Arc<Settings>,
    transports: Transports,
    state: State,
    /// What the server has said when the session opened.
    handshake: Option<Handshake>,
    liveness: Option<Liveness>,
    /// A GET waits for its answer.
    is_polling: bool,
    /// A POST waits for its answer.
    is_posting: bool,
    outbox: Outbox,
    outputs: VecDeque<Output>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The open packet is to come by this time.
    Opening { until: Instant },
    /// On long-polling.
    Polling,
    /// On long-polling, with a candidate that is given up at this time.
    Probing { stage: Stage, until: Instant },
    /// On a WebSocket.
    WebSocket,
    /// Ended. `tail` is what is still to be sent.
    Closed { reason: CloseReason, tail: Tail },
}

/// How far an upgrade is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The candidate is not open, or its probe not answered. Long-polling goes on.
    Waiting,
    /// The probe was answered: no request is sent any more, and the answers of those that were are waited for. What is sent
    /// meanwhile leaves on the candidate.
    Pausing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    Nothing,
    /// The outbox, by a POST that was not sent yet.
    Post,
    /// The outbox, on the WebSocket.
    WebSocket,
}

impl ClientSession {
    /// Begins to open a session. Of the settings, the limits of what waits to be sent and `upgrade_timeout` count; the times of the
    /// heartbeat are the server's.
    #[must_use]
    pub fn open(settings: Arc<Settings>, revision: Revision, transports: Transports, now: Instant) -> Self {
        let mut outputs = VecDeque::new();
        if transports == Transports::WebSocket {
            outputs.push_back(Output::OpenWebSocket);
        }
        Self {
            revision,
            settings,
            transports,
            state: State::Opening { until: now + defaults::OPEN_TIMEOUT },
            handshake: None,
            liveness: None,
            is_polling: false,
            is_posting: false,
            outbox: Outbox::default(),
            outputs,
        }
    }

    /// Returns the revision that the session speaks.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Returns what the server has said when the session opened.
    #[must_use]
    pub fn handshake(&self) -> Option<&Handshake> {
        self.handshake.as_ref()
    }

    /// Returns the query of this session's requests, without a `?`.
    #[must_use]
    pub fn query(&self, transport: Transport) -> String {
        let revision = match self.revision {
            Revision::V3 => "3",
            Revision::V4 => "4",
        };
        let transport = match transport {
            Transport::Polling => "polling",
            Transport::WebSocket => "websocket",
        };
        let mut query = ["EIO=", revision, "&transport=", transport].concat();
        if let Some(handshake) = &self.handshake {
            query.extend(["&sid=", handshake.sid.as_str()]);
        }
        query
    }

    /// Returns how many packets the answer to a poll may have.
    #[must_use]
    pub fn max_packets(&self) -> usize {
        self.settings.max_packets
    }

    /// Returns why the session ended, once it has. Nothing is received after that.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        match self.state {
            State::Closed { reason, .. } => Some(reason),
            State::Opening { .. } | State::Polling | State::Probing { .. } | State::WebSocket => None,
        }
    }

    /// Whether the session has ended and has nothing more to send: its connections can be closed.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        match self.state {
            State::Closed { tail: Tail::Nothing, .. } => !self.is_posting,
            State::Closed { tail: Tail::WebSocket, .. } => self.outbox.is_empty(),
            State::Closed { tail: Tail::Post, .. }
            | State::Opening { .. }
            | State::Polling
            | State::Probing { .. }
            | State::WebSocket => false,
        }
    }

    /// Returns the size of what waits to be sent, in bytes.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.outbox.bytes()
    }

    /// Lets the layer above act on this session. If the layer closes it, that is done when `act` returns.
    pub fn lend<R>(&mut self, now: Instant, act: impl FnOnce(&mut Lower<'_>) -> R) -> R {
        let closed = self.close_reason();
        let mut lower = Lower::new(self.revision, &self.settings, &mut self.outbox, closed, now);
        let result = act(&mut lower);
        if let Some(reason) = lower.closing() {
            self.close(reason);
        }
        result
    }

    /// Notes that the answer to a GET has come, or that none will.
    pub fn poll_ended(&mut self) {
        self.is_polling = false;
    }

    /// Handles the answer to a POST: whether the server has taken it.
    pub fn posted(&mut self, is_taken: bool) {
        self.is_posting = false;
        if !is_taken {
            self.fail(CloseReason::TransportError);
        }
    }

    /// Handles the opening of the WebSocket that was asked for.
    pub fn websocket_opened(&mut self) {
        if matches!(self.state, State::Probing { stage: Stage::Waiting, .. }) {
            let probe = ClientPacket::Ping(Data::Probe).encode(self.revision);
            self.outputs.push_back(Output::Candidate(probe));
        }
    }

    /// Handles the loss of the WebSocket, or that it could not be opened.
    pub fn websocket_lost(&mut self, reason: CloseReason) {
        match self.state {
            State::Probing { .. } => self.state = State::Polling,
            State::Opening { .. } if self.transports != Transports::WebSocket => (),
            State::Opening { .. } | State::WebSocket | State::Closed { tail: Tail::WebSocket, .. } => self.fail(reason),
            State::Polling | State::Closed { .. } => (),
        }
    }

    /// Handles a frame of the candidate.
    pub fn candidate_frame(&mut self, frame: Frame) {
        let State::Probing { stage, until } = self.state else { return };
        match (stage, ServerPacket::decode(frame, self.revision)) {
            (Stage::Waiting, Ok(ServerPacket::Pong(Data::Probe))) => {
                self.state = State::Probing { stage: Stage::Pausing, until };
            }
            (Stage::Waiting | Stage::Pausing, _) => self.drop_candidate(),
        }
    }

    /// Notes that the server was heard of. Returns false while the session is not open.
    pub fn hear(&mut self, now: Instant) -> bool {
        if let Some(liveness) = &mut self.liveness {
            liveness.heard(now);
        }
        self.liveness.is_some() && self.close_reason().is_none()
    }

    /// Handles a packet of the server, and returns the application's data, if the packet carried some.
    pub fn receive(&mut self, packet: ServerPacket<Message>, now: Instant) -> Option<Message> {
        if self.close_reason().is_some() {
            return None;
        }
        self.hear(now);
        match (packet, self.state) {
            (ServerPacket::Open(handshake), State::Opening { .. }) => self.opened(handshake, now),
            // Before the session is open, nothing else means anything.
            (ServerPacket::Open(_), _) | (_, State::Opening { .. }) => self.fail(CloseReason::ParseError),
            (ServerPacket::Message(message), _) => return Some(message),
            (ServerPacket::Ping, _) => self.push(&ClientPacket::Pong(Data::None)),
            (ServerPacket::Close, _) => self.fail(CloseReason::TransportClose),
            (ServerPacket::Pong(_) | ServerPacket::Noop, _) => (),
        }
        None
    }

    /// Closes the session. The server is told, and what waits to be sent is sent before.
    pub fn close(&mut self, reason: CloseReason) {
        let tail = match self.state {
            State::Closed { .. } => return,
            State::Opening { .. } => Tail::Nothing,
            State::Polling | State::Probing { .. } => Tail::Post,
            State::WebSocket => Tail::WebSocket,
        };
        if tail == Tail::Nothing || reason == CloseReason::Overflow {
            return self.fail(reason);
        }
        self.drop_candidate();
        self.outbox.push(ClientPacket::Close.encode(self.revision));
        self.state = State::Closed { reason, tail };
    }

    /// Returns what is next to do, or `None` when all is done.
    pub fn next_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        match self.state {
            State::Opening { .. } if self.transports == Transports::WebSocket => None,
            State::Opening { .. } => self.poll(),
            State::Polling | State::Probing { stage: Stage::Waiting, .. } => self.poll().or_else(|| self.post()),
            State::Probing { stage: Stage::Pausing, .. } if self.is_polling || self.is_posting => None,
            State::Probing { stage: Stage::Pausing, .. } => {
                self.state = State::WebSocket;
                self.outputs.push_back(Output::AdoptCandidate);
                Some(Output::Candidate(ClientPacket::Upgrade.encode(self.revision)))
            }
            State::Closed { reason, tail: Tail::Post } => {
                let output = self.post();
                if output.is_some() && self.outbox.is_empty() {
                    self.state = State::Closed { reason, tail: Tail::Nothing };
                }
                output
            }
            State::WebSocket | State::Closed { .. } => None,
        }
    }

    /// Returns the next frame for the WebSocket, if that is the transport. Call it when the WebSocket takes more.
    pub fn next_frame(&mut self) -> Option<Frame> {
        match self.state {
            State::WebSocket | State::Closed { tail: Tail::WebSocket, .. } => self.outbox.pop(),
            State::Opening { .. } | State::Polling | State::Probing { .. } | State::Closed { .. } => None,
        }
    }

    /// Returns when [`Self::handle_timeout`] must be called at the latest; `None` is never.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let liveness = self.liveness.as_ref().map(Liveness::deadline);
        match self.state {
            State::Opening { until } => Some(until),
            State::Probing { until, .. } => earliest(liveness, Some(until)),
            State::Polling | State::WebSocket => liveness,
            State::Closed { .. } => None,
        }
    }

    /// Does what is due: a ping, the end of a session whose server is silent, the end of an upgrade that takes too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Closed { .. } => return,
            State::Opening { until } if until <= now => return self.fail(CloseReason::PingTimeout),
            State::Probing { until, .. } if until <= now => self.drop_candidate(),
            State::Opening { .. } | State::Polling | State::Probing { .. } | State::WebSocket => (),
        }
        match self.liveness.as_mut().and_then(|liveness| liveness.due(now)) {
            Some(liveness::Due::Ping) => self.push(&ClientPacket::Ping(Data::None)),
            Some(liveness::Due::Death) => self.fail(CloseReason::PingTimeout),
            None => (),
        }
    }

    fn opened(&mut self, handshake: Handshake, now: Instant) {
        self.liveness = Some(Liveness::start(self.revision, &handshake, now));
        self.state = match self.transports {
            Transports::WebSocket => State::WebSocket,
            Transports::Upgrade if handshake.upgrades => {
                self.outputs.push_back(Output::OpenWebSocket);
                State::Probing { stage: Stage::Waiting, until: now + self.settings.upgrade_timeout }
            }
            Transports::Polling | Transports::Upgrade => State::Polling,
        };
        self.handshake = Some(handshake);
    }

    fn poll(&mut self) -> Option<Output> {
        (!std::mem::replace(&mut self.is_polling, true)).then_some(Output::Poll)
    }

    /// Posts what waits to be sent, as much as the server takes at once.
    fn post(&mut self) -> Option<Output> {
        if self.is_posting || self.outbox.is_empty() {
            return None;
        }
        self.is_posting = true;
        let announced = self.handshake.as_ref().map_or(0, |handshake| handshake.max_payload);
        let bytes = if announced == 0 { BATCH.bytes } else { announced };
        let frames = self.outbox.take_batch(Size { frames: self.settings.max_packets, bytes });
        let text = PollingText::default();
        Some(Output::Post(Batch { frames, revision: self.revision, binary: BinaryAs::Frames, text }.encode()))
    }

    fn push(&mut self, packet: &ClientPacket) {
        let frame = packet.encode(self.revision);
        if self.outbox.has_room(Size { frames: 1, bytes: frame.len() }, &self.settings) {
            self.outbox.push(frame);
        } else {
            self.fail(CloseReason::Overflow);
        }
    }

    fn drop_candidate(&mut self) {
        if let State::Probing { .. } = self.state {
            self.state = State::Polling;
            self.outputs.push_back(Output::DropCandidate);
        }
    }

    /// Ends the session without a word to the server: its transport has failed, or brought something that is no packet.
    pub fn fail(&mut self, reason: CloseReason) {
        self.drop_candidate();
        self.outbox.clear();
        let reason = self.close_reason().unwrap_or(reason);
        self.state = State::Closed { reason, tail: Tail::Nothing };
    }
}
