//! One namespace of a session, from the client's side.
//!
//! ```text
//!            the session opens        CONNECT                DISCONNECT, leave, the session ends
//!   Waiting ──────────────────► Joining ────────► Joined ──────────────────────────────────────► Over
//!                                  │ CONNECT_ERROR                                                ▲
//!                                  └──────────────────────────────────────────────────────────────┘
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use super::acks::{Acks, Awaited};
use super::event::{AckError, Answer, DisconnectReason};
use super::{Settings, send, send_encoded};
use crate::proto::engine_io::{CloseReason, Lower, Message, Revision};
use crate::proto::link::Layer;
use crate::proto::socket_io::attachments::{Assembly, Bounds, Dropped, Whole};
use crate::proto::socket_io::namespace::Namespace;
use crate::proto::socket_io::packet::{AckId, Args, Encoded, Packet};
use crate::proto::socket_io::parser::{self, ParseError};
use crate::proto::time::{Instant, earliest};
use crate::tables;

/// What a client brings when it joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    None,
    /// `auth`, a JSON object, of a client of revision 4.
    Auth(ByteString),
    /// The namespace with its query ([`Namespace::with_query`]), of a client of revision 3.
    Query(Namespace),
}

/// What the application of a client is told.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientEvent<W> {
    /// The server has let the client in.
    Joined,
    /// The server does not let the client in. `data` is JSON: `{"message":…}`, or in revision 3 a string.
    Refused {
        /// Why not.
        data: Option<ByteString>,
    },
    /// The server emitted an event.
    Received {
        /// The name, a JSON string or number, and the arguments.
        args: Args,
        /// What the placeholders in the arguments stand for.
        attachments: Vec<Bytes>,
        /// Set when the server wants an ack: answer with [`ClientConnection::ack`].
        id: Option<AckId>,
    },
    /// An awaited ack has come, or will not.
    Acked {
        /// What waited for the ack.
        waiter: W,
        /// The ack, or why it will not come.
        outcome: Result<Answer, AckError>,
    },
    /// The namespace was left, by either side. Said once if it was joined.
    Left {
        /// Why it was left.
        reason: DisconnectReason,
    },
}

/// The Socket.IO layer of a client's session that joins one namespace. `W` is what waits for an ack, and comes back in
/// [`ClientEvent::Acked`] exactly once.
#[derive(Debug)]
pub struct ClientConnection<W> {
    settings: Arc<Settings>,
    namespace: Namespace,
    credentials: Credentials,
    phase: Phase<W>,
    assembly: Assembly,
    attachments_due: Option<Instant>,
    events: VecDeque<ClientEvent<W>>,
}

#[derive(Debug)]
enum Phase<W> {
    /// The session is not open yet.
    Waiting,
    Joining {
        /// The server must have decided by then.
        until: Instant,
    },
    Joined(Acks<W>),
    Over,
}

impl<W> ClientConnection<W> {
    /// Makes the layer of a session that is about to open. Of the settings, the times and the limits of attachments count.
    #[must_use]
    pub fn new(settings: Arc<Settings>, namespace: Namespace, credentials: Credentials) -> Self {
        Self {
            settings,
            namespace,
            credentials,
            phase: Phase::Waiting,
            assembly: Assembly::default(),
            attachments_due: None,
            events: VecDeque::new(),
        }
    }

    /// Returns the namespace.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Emits an event. If its ack is awaited, the waiter comes back in [`ClientEvent::Acked`]: when the ack has come, when the
    /// timeout has passed, or at once, if the event cannot be sent. See [`AckError`] for the reasons.
    pub fn emit(&mut self, packet: Encoded, awaited: Option<Awaited<W>>, lower: &mut Lower<'_>) {
        let refused = match &mut self.phase {
            Phase::Joined(acks) if lower.has_room(packet.sizes()) => {
                match acks.expect(packet.id(), awaited, lower.now) {
                    Ok(()) => return send_encoded(packet, lower),
                    Err(refused) => refused,
                }
            }
            Phase::Joined(_) => (awaited.map(|awaited| awaited.waiter), AckError::Overloaded),
            Phase::Waiting | Phase::Joining { .. } | Phase::Over => {
                (awaited.map(|awaited| awaited.waiter), AckError::NotJoined)
            }
        };
        let (waiter, error) = refused;
        self.events.extend(waiter.map(|waiter| ClientEvent::Acked { waiter, outcome: Err(error) }));
    }

    /// Answers an event of the server.
    pub fn ack(&mut self, id: AckId, answer: Answer, lower: &mut Lower<'_>) {
        if let Phase::Joined(_) = self.phase {
            let Answer { args, attachments } = answer;
            send(&Packet::Ack { namespace: self.namespace.clone(), id: Some(id), args, attachments }, lower);
        }
    }

    /// Leaves the namespace. The session goes on.
    pub fn leave(&mut self, lower: &mut Lower<'_>) {
        if let Phase::Joining { .. } | Phase::Joined(_) = self.phase {
            send(&Packet::Disconnect { namespace: self.namespace.clone() }, lower);
        }
        self.left(DisconnectReason::ClientLeft);
    }

    fn left(&mut self, reason: DisconnectReason) {
        if let Phase::Joined(acks) = std::mem::replace(&mut self.phase, Phase::Over) {
            let error = |waiter| ClientEvent::Acked { waiter, outcome: Err(AckError::Disconnected) };
            self.events.extend(acks.into_waiters().map(error));
            self.events.push_back(ClientEvent::Left { reason });
        }
    }

    /// Handles what a message has led to: a packet that is whole, one that waits for more, or an error.
    fn assembled(&mut self, whole: Result<Option<Whole>, ParseError>, lower: &mut Lower<'_>) {
        let whole = match whole {
            Ok(Some(whole)) => whole,
            Ok(None) => {
                self.attachments_due.get_or_insert(lower.now + self.settings.attachment_timeout);
                return;
            }
            Err(_) => return lower.close(CloseReason::ParseError),
        };
        self.attachments_due = None;
        match whole {
            Whole::Packet(packet) if *packet.namespace() == self.namespace => self.packet(packet),
            Whole::Dropped(Dropped { namespace, answers: Some(id) }) if namespace == self.namespace => {
                self.acked(id, Err(AckError::Oversized));
            }
            // Of another namespace, such as the default one that a client of revision 3 is in.
            Whole::Packet(_) | Whole::Dropped(_) => (),
        }
    }

    fn packet(&mut self, packet: Packet) {
        match (packet, &self.phase) {
            (Packet::Connect { .. }, Phase::Joining { .. }) => {
                self.phase = Phase::Joined(Acks::default());
                self.events.push_back(ClientEvent::Joined);
            }
            (Packet::ConnectError { data, .. }, Phase::Joining { .. }) => {
                self.phase = Phase::Over;
                self.events.push_back(ClientEvent::Refused { data });
            }
            (Packet::Event { id, args, attachments, .. }, Phase::Joined(_)) => {
                self.events.push_back(ClientEvent::Received { args, attachments, id });
            }
            (Packet::Ack { id: Some(id), args, attachments, .. }, Phase::Joined(_)) => {
                self.acked(id, Ok(Answer { args, attachments }));
            }
            (Packet::Disconnect { .. }, Phase::Joined(_)) => self.left(DisconnectReason::ServerLeft),
            // What crossed our goodbye, and what means nothing now.
            (
                Packet::Connect { .. }
                | Packet::ConnectError { .. }
                | Packet::Event { .. }
                | Packet::Ack { .. }
                | Packet::Disconnect { .. },
                _,
            ) => (),
        }
    }

    /// Tells the waiter of an ack. An ack for an unknown id, or a second one for the same, means nothing.
    fn acked(&mut self, id: AckId, outcome: Result<Answer, AckError>) {
        if let Phase::Joined(acks) = &mut self.phase
            && let Some(waiter) = acks.remove(id)
        {
            self.events.push_back(ClientEvent::Acked { waiter, outcome });
        }
    }
}

impl<W> Layer for ClientConnection<W> {
    type Event = ClientEvent<W>;

    fn opened(&mut self, lower: &mut Lower<'_>) {
        self.phase = Phase::Joining { until: lower.now + self.settings.connect_timeout };
        let namespace = self.namespace.clone();
        let connect = match (&self.credentials, lower.revision()) {
            // A client of revision 3 is in the default namespace already, and hears so.
            (Credentials::None, Revision::V3) if namespace == Namespace::root() => return,
            (Credentials::Query(with_query), Revision::V3) => {
                Packet::Connect { namespace: with_query.clone(), data: None }
            }
            (Credentials::Auth(auth), Revision::V4) => Packet::Connect { namespace, data: Some(auth.clone()) },
            (Credentials::None | Credentials::Auth(_) | Credentials::Query(_), _) => {
                Packet::Connect { namespace, data: None }
            }
        };
        send(&connect, lower);
    }

    /// Any fault in a packet ends the connection.
    fn message(&mut self, message: Message, lower: &mut Lower<'_>) {
        let whole = match message {
            Message::Text(text) => parser::parse(&text, self.settings.max_attachments, lower.revision())
                .and_then(|parsed| self.assembly.begin(parsed)),
            Message::Binary(data) => {
                let (bytes, depth) = (self.settings.max_attachment_bytes, self.settings.max_depth);
                self.assembly.attach(data, Bounds { bytes, depth })
            }
        };
        self.assembled(whole, lower);
    }

    fn oversized(&mut self, start: Option<&str>, lower: &mut Lower<'_>) {
        let Some(start) = start else {
            self.assembly.give_up();
            return self.message(Message::Binary(Bytes::new()), lower);
        };
        let whole = self.assembly.begin_oversized(start, self.settings.max_attachments);
        self.assembled(whole, lower);
    }

    fn deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Joining { until } => Some(*until),
            Phase::Joined(acks) => acks.next_due(),
            Phase::Waiting | Phase::Over => None,
        };
        earliest(phase, self.attachments_due)
    }

    fn handle_timeout(&mut self, lower: &mut Lower<'_>) {
        let is_due = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= lower.now);
        match &mut self.phase {
            Phase::Joining { until } if *until <= lower.now => lower.close(CloseReason::ForcedClose),
            _ if is_due(self.attachments_due) => lower.close(CloseReason::ForcedClose),
            Phase::Joined(acks) => {
                let timed_out = std::iter::from_fn(|| acks.take_due(lower.now));
                let event = |waiter| ClientEvent::Acked { waiter, outcome: Err(AckError::TimedOut) };
                self.events.extend(timed_out.map(event));
            }
            Phase::Waiting | Phase::Joining { .. } | Phase::Over => (),
        }
    }

    fn buffered_bytes(&self) -> usize {
        self.assembly.bytes()
    }

    fn closed(&mut self, reason: CloseReason) {
        self.assembly = Assembly::default();
        self.left(DisconnectReason::Closed(reason));
    }

    fn next_event(&mut self) -> Option<ClientEvent<W>> {
        tables::take_first(&mut self.events)
    }
}
