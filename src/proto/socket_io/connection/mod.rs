//! The namespaces of one session: who has joined, which acks are awaited, what each packet leads to.
//!
//! ```text
//!              Connect event          accept                 disconnect
//!   (absent) ────────────────► Joining ──────► Joined ──────────────────► Left ── 30 s ──► (absent)
//!       ▲                         │ refuse        │ DISCONNECT packet
//!       └─────────────────────────┴───────────────┘
//! ```
//!
//! `W` is whatever waits for an ack: it comes back in [`Event::Acked`] exactly once, whatever happens, unless its owner
//! takes it back with [`Connection::cancel`].

mod acks;
mod event;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;

use self::acks::Acks;
pub use self::acks::Awaited;
pub use self::event::{AckError, Answer, DisconnectReason, Event};
use super::attachments::{Assembly, Whole};
use super::doubled::Doubled;
use super::packet::{self, AckId, Args, Encoded, Namespace, Packet};
use super::parser::{self, Head};
use crate::proto::engine_io::{CloseReason, Lower, Message, Outgoing, PollingText, Revision};
use crate::proto::json;
use crate::proto::link::Layer;
use crate::proto::time::{Instant, earliest};

/// How long packets of a namespace that the server has left are expected and ignored: they crossed its goodbye.
const LEFT_GRACE: Duration = Duration::from_secs(30);

/// The times and limits of a connection.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a client may take to join its first namespace.
    pub connect_timeout: Duration,
    /// Attachments of one packet. The reference's default; more is a memory attack (CVE-2026-33151).
    pub max_attachments: usize,
    /// The attachments of one packet together, in bytes.
    pub max_attachment_bytes: usize,
    /// How deep JSON may be nested in a packet with attachments.
    pub max_depth: usize,
    /// How long a packet may wait for its attachments.
    pub attachment_timeout: Duration,
    /// Namespaces of one connection, joined, joining or just left.
    pub max_namespaces: usize,
    /// Refused joins of one connection before it is closed: a namespace can be a secret, and joining a way to guess it.
    pub max_refusals: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(45),
            max_attachments: 10,
            max_attachment_bytes: 16 << 20,
            max_depth: 512,
            attachment_timeout: Duration::from_secs(25),
            max_namespaces: 100,
            max_refusals: 20,
        }
    }
}

/// The Socket.IO layer of one session.
#[derive(Debug)]
pub struct Connection<W> {
    settings: Arc<Settings>,
    members: Vec<Member<W>>,
    assembly: Assembly,
    attachments_due: Option<Instant>,
    /// `None` once a namespace was joined.
    connect_due: Option<Instant>,
    refusals: usize,
    doubled: Doubled,
    events: VecDeque<Event<W>>,
}

#[derive(Debug)]
struct Member<W> {
    namespace: Namespace,
    state: Membership<W>,
}

#[derive(Debug)]
enum Membership<W> {
    Joining,
    Joined {
        acks: Acks<W>,
        /// Leaves once no ack is awaited any more.
        retiring: bool,
    },
    Left {
        until: Instant,
    },
}

impl<W> Connection<W> {
    /// The connection of a session that opens now.
    #[must_use]
    pub fn new(settings: Arc<Settings>, revision: Revision, now: Instant) -> Self {
        let mut connection = Self {
            connect_due: Some(now + settings.connect_timeout),
            settings,
            members: Vec::new(),
            assembly: Assembly::default(),
            attachments_due: None,
            refusals: 0,
            doubled: Doubled::default(),
            events: VecDeque::with_capacity(1),
        };
        match revision {
            // Such a client joins the default namespace by connecting.
            Revision::V3 => connection.join(Namespace::root(), None, None),
            Revision::V4 => (),
        }
        connection
    }

    /// Lets a client join. Nothing is sent on a namespace before this. `sid` is the socket's id for the client to see.
    /// False when the client is not waiting for it any more.
    pub fn accept(&mut self, namespace: &Namespace, sid: &str, lower: &mut Lower<'_>) -> bool {
        let Some(member) = self.members.iter_mut().find(|member| member.namespace == *namespace) else { return false };
        if !matches!(member.state, Membership::Joining) {
            return false;
        }
        member.state = Membership::Joined { acks: Acks::default(), retiring: false };
        self.connect_due = None;
        let data = match lower.revision() {
            // Its client makes up an id of its own from the session's.
            Revision::V3 => None,
            Revision::V4 => Some(ByteString::from([r#"{"sid":""#, sid, r#""}"#].concat())),
        };
        send(&Packet::Connect { namespace: namespace.clone(), data }, lower);
        true
    }

    /// Refuses a join, with a message for a person and `data`, JSON, for the program.
    pub fn refuse(&mut self, namespace: &Namespace, message: &str, data: Option<&str>, lower: &mut Lower<'_>) {
        let waiting =
            |member: &Member<W>| member.namespace == *namespace && matches!(member.state, Membership::Joining);
        let Some(index) = self.members.iter().position(waiting) else { return };
        self.members.swap_remove(index);
        self.send_refusal(namespace.clone(), message, data, lower);
    }

    /// Emits an event. If its ack is awaited, the waiter comes back in [`Event::Acked`]: when the ack has come, when the
    /// timeout has passed, or at once, if the event cannot be sent. See [`AckError`] for the reasons.
    pub fn emit(&mut self, namespace: &Namespace, packet: Encoded, awaited: Option<Awaited<W>>, lower: &mut Lower<'_>) {
        if let Err((waiter, error)) = self.try_emit(namespace, packet, awaited, lower) {
            self.events.extend(waiter.map(|waiter| Event::Acked { waiter, outcome: Err(error) }));
        }
    }

    /// Sends an event, or returns its waiter and why it was not sent.
    fn try_emit(
        &mut self,
        namespace: &Namespace,
        packet: Encoded,
        awaited: Option<Awaited<W>>,
        lower: &mut Lower<'_>,
    ) -> Result<(), (Option<W>, AckError)> {
        let refuse = |awaited: Option<Awaited<W>>, error| Err((awaited.map(|awaited| awaited.waiter), error));
        let Some(acks) = self.joined(namespace) else { return refuse(awaited, AckError::NotJoined) };
        if !lower.has_room(packet.len()) {
            return refuse(awaited, AckError::Overloaded);
        }
        match (awaited, packet.id()) {
            (Some(awaited), Some(id)) => {
                acks.insert(id, awaited, lower.now).map_err(|waiter| (Some(waiter), AckError::DuplicateId))?;
            }
            (awaited @ Some(_), None) => return refuse(awaited, AckError::MissingId),
            // The one ack that comes would be taken for that of the other event.
            (None, Some(id)) if acks.contains(id) => return Err((None, AckError::DuplicateId)),
            (None, Some(_) | None) => (),
        }
        send_encoded(packet, lower);
        Ok(())
    }

    /// Answers an event of the client.
    pub fn ack(&mut self, namespace: &Namespace, id: AckId, answer: Answer, lower: &mut Lower<'_>) {
        if self.joined(namespace).is_some() {
            let Answer { args, attachments } = answer;
            send(&Packet::Ack { namespace: namespace.clone(), id: Some(id), args, attachments }, lower);
        }
    }

    /// Nobody waits for this ack any more. Gives the waiter back if it was still awaited.
    pub fn cancel(&mut self, namespace: &Namespace, id: AckId, lower: &mut Lower<'_>) -> Option<W> {
        let waiter = self.joined(namespace)?.remove(id)?;
        self.retire_if_idle(namespace, lower);
        Some(waiter)
    }

    /// Makes the client leave once the acks it owes have come: it gets no new events from its owner meanwhile.
    pub fn retire(&mut self, namespace: &Namespace, lower: &mut Lower<'_>) {
        if let Some(Membership::Joined { retiring, .. }) = self.membership(namespace) {
            *retiring = true;
            self.retire_if_idle(namespace, lower);
        }
    }

    /// Makes the client leave a namespace at once. It will not reconnect by itself.
    pub fn disconnect(&mut self, namespace: &Namespace, lower: &mut Lower<'_>) {
        let Some(state) = self.membership(namespace) else { return };
        let left = Membership::Left { until: lower.now + LEFT_GRACE };
        match std::mem::replace(state, left) {
            Membership::Joined { acks, .. } => {
                send(&Packet::Disconnect { namespace: namespace.clone() }, lower);
                self.left(namespace.clone(), acks, DisconnectReason::ServerLeft);
            }
            // Not in yet: the refusal is the goodbye.
            Membership::Joining => {
                self.members.retain(|member| member.namespace != *namespace);
                self.send_refusal(namespace.clone(), "disconnected", None, lower);
            }
            unchanged @ Membership::Left { .. } => *state = unchanged,
        }
    }

    fn membership(&mut self, namespace: &Namespace) -> Option<&mut Membership<W>> {
        self.members.iter_mut().find(|member| member.namespace == *namespace).map(|member| &mut member.state)
    }

    /// The acks of a namespace that was joined.
    fn joined(&mut self, namespace: &Namespace) -> Option<&mut Acks<W>> {
        match self.membership(namespace)? {
            Membership::Joined { acks, .. } => Some(acks),
            Membership::Joining | Membership::Left { .. } => None,
        }
    }

    fn retire_if_idle(&mut self, namespace: &Namespace, lower: &mut Lower<'_>) {
        if let Some(Membership::Joined { acks, retiring: true }) = self.membership(namespace)
            && acks.is_empty()
        {
            self.disconnect(namespace, lower);
        }
    }

    fn left(&mut self, namespace: Namespace, acks: Acks<W>, reason: DisconnectReason) {
        for waiter in acks.into_waiters() {
            self.events.push_back(Event::Acked { waiter, outcome: Err(AckError::Disconnected) });
        }
        self.events.push_back(Event::Disconnected { namespace, reason });
    }

    fn packet(&mut self, whole: Whole, lower: &mut Lower<'_>) {
        self.attachments_due = None;
        let (packet, oversized) = match whole {
            Whole::Packet(packet) => (packet, false),
            Whole::Oversized(packet) => (packet, true),
        };
        if let Packet::Connect { namespace, data } = packet {
            return self.connect(&namespace, data, lower);
        }
        match self.membership(packet.namespace()) {
            // They crossed our goodbye on the way.
            Some(Membership::Left { .. }) => (),
            Some(Membership::Joined { acks, .. }) => match packet {
                Packet::Disconnect { namespace } => {
                    let acks = std::mem::take(acks);
                    self.members.retain(|member| member.namespace != namespace);
                    self.left(namespace, acks, DisconnectReason::ClientLeft);
                }
                Packet::Event { namespace, id, args, attachments } => {
                    if !oversized {
                        self.events.push_back(Event::Received { namespace, args, attachments, id });
                    }
                }
                Packet::Ack { namespace, id, args, attachments } => {
                    let outcome = if oversized { Err(AckError::Oversized) } else { Ok(Answer { args, attachments }) };
                    self.acked(&namespace, id, outcome, lower);
                }
                Packet::ConnectError { .. } | Packet::Connect { .. } => lower.close(CloseReason::ForcedClose),
            },
            // A packet for a namespace that was never joined: the servers of then passed over it, those of now do not.
            Some(Membership::Joining) | None => match lower.revision() {
                Revision::V3 => (),
                Revision::V4 => lower.close(CloseReason::ForcedClose),
            },
        }
    }

    /// An ack for an unknown id, or a second one for the same, means nothing.
    fn acked(
        &mut self,
        namespace: &Namespace,
        id: Option<AckId>,
        outcome: Result<Answer, AckError>,
        lower: &mut Lower<'_>,
    ) {
        let Some(id) = id else { return };
        if let Some(waiter) = self.joined(namespace).and_then(|acks| acks.remove(id)) {
            self.events.push_back(Event::Acked { waiter, outcome });
            self.retire_if_idle(namespace, lower);
        }
    }

    fn connect(&mut self, namespace: &Namespace, auth: Option<ByteString>, lower: &mut Lower<'_>) {
        let revision = lower.revision();
        let (namespace, auth, query) = match revision {
            Revision::V3 => {
                let (namespace, query) = namespace.split_query();
                (namespace, None, query)
            }
            Revision::V4 => (namespace.clone(), auth, None),
        };
        self.members.retain(|member| match member.state {
            Membership::Left { until } => until > lower.now && member.namespace != namespace,
            Membership::Joining | Membership::Joined { .. } => true,
        });
        if let Some(member) = self.members.iter().find(|member| member.namespace == namespace) {
            return match (revision, &member.state) {
                // Some of these clients join the default namespace in so many words, or join again when in doubt.
                (Revision::V3, Membership::Joined { .. }) => {
                    send(&Packet::Connect { namespace, data: None }, lower);
                }
                (Revision::V3, Membership::Joining | Membership::Left { .. }) => (),
                (Revision::V4, _) => lower.close(CloseReason::ForcedClose),
            };
        }
        if !namespace.is_joinable(revision) {
            return self.send_refusal(namespace.truncated(), "Invalid namespace", None, lower);
        }
        // In the default namespace is every client of revision 3.
        let given = usize::from(revision == Revision::V3);
        if self.members.len() >= self.settings.max_namespaces + given {
            let message = "too many namespaces on one connection: connect with forceNew";
            return self.send_refusal(namespace, message, None, lower);
        }
        self.join(namespace.detached(), auth, query);
    }

    fn join(&mut self, namespace: Namespace, auth: Option<ByteString>, query: Option<ByteString>) {
        // Most clients are in one namespace.
        self.members.reserve_exact(1);
        self.members.push(Member { namespace: namespace.clone(), state: Membership::Joining });
        self.events.push_back(Event::Connect { namespace, auth, query });
    }

    fn send_refusal(&mut self, namespace: Namespace, message: &str, data: Option<&str>, lower: &mut Lower<'_>) {
        let mut json = String::new();
        match (lower.revision(), data) {
            (Revision::V3, Some(data)) => json.push_str(data),
            (Revision::V3, None) => json::write_string(message, &mut json),
            (Revision::V4, data) => {
                json.push_str(r#"{"message":"#);
                json::write_string(message, &mut json);
                if let Some(data) = data {
                    json.push_str(r#","data":"#);
                    json.push_str(data);
                }
                json.push('}');
            }
        }
        send(&Packet::ConnectError { namespace, data: Some(ByteString::from(json)) }, lower);
        self.refusals += 1;
        if self.refusals >= self.settings.max_refusals {
            lower.close(CloseReason::ForcedServerClose);
        }
    }

    fn next_ack_due(&self) -> Option<Instant> {
        let due = |member: &Member<W>| match &member.state {
            Membership::Joined { acks, .. } => acks.next_due(),
            Membership::Joining | Membership::Left { .. } => None,
        };
        self.members.iter().filter_map(due).min()
    }

    fn time_out_acks(&mut self, lower: &mut Lower<'_>) {
        for index in 0..self.members.len() {
            let member = &mut self.members[index];
            let Membership::Joined { acks, .. } = &mut member.state else { continue };
            let mut settled = false;
            while let Some(waiter) = acks.take_due(lower.now) {
                self.events.push_back(Event::Acked { waiter, outcome: Err(AckError::TimedOut) });
                settled = true;
            }
            if settled {
                let namespace = member.namespace.clone();
                self.retire_if_idle(&namespace, lower);
            }
        }
    }
}

impl<W> Layer for Connection<W> {
    type Event = Event<W>;

    fn polled_text(&mut self, text: ByteString) -> ByteString {
        self.doubled.read(text)
    }

    fn polling_text(&self) -> PollingText {
        PollingText { to_ascii: Some(packet::to_ascii), long_as_bytes: self.doubled.is_suspected() }
    }

    /// Any fault in a packet ends the connection, without an answer, as in the reference.
    fn message(&mut self, message: Message, lower: &mut Lower<'_>) {
        if let Message::Text(text) = &message {
            // In a body of bytes, too, where nothing is encoded twice.
            self.doubled.notice(text);
        }
        let whole = match message {
            Message::Text(text) => match parser::parse(&text, self.settings.max_attachments, lower.revision()) {
                // Attachments are collected only for who has joined (CVE-2026-48804).
                Ok(parsed) if parsed.missing > 0 && self.membership(parsed.packet.namespace()).is_none() => {
                    match lower.revision() {
                        Revision::V3 => {
                            let begun = self.assembly.begin(parsed);
                            self.assembly.give_up();
                            begun
                        }
                        Revision::V4 => return lower.close(CloseReason::ForcedClose),
                    }
                }
                Ok(parsed) => self.assembly.begin(parsed),
                Err(error) => Err(error),
            },
            Message::Binary(data) => {
                self.assembly.attach(data, self.settings.max_attachment_bytes, self.settings.max_depth)
            }
        };
        match whole {
            Ok(Some(whole)) => self.packet(whole, lower),
            Ok(None) => {
                self.attachments_due.get_or_insert(lower.now + self.settings.attachment_timeout);
            }
            Err(_) => lower.close(CloseReason::ParseError),
        }
    }

    /// A too large ack costs its exchange and not the connection; a too large event is dropped.
    fn oversized(&mut self, start: Option<&str>, lower: &mut Lower<'_>) {
        let Some(start) = start else {
            self.assembly.give_up();
            return self.message(Message::Binary(Bytes::new()), lower);
        };
        let packet = match Head::parse(start, self.settings.max_attachments) {
            Ok(Head { kind: '2' | '3' | '5' | '6', attachments, namespace, id, .. }) => {
                Namespace::new(ByteString::from(namespace)).map(|namespace| {
                    let packet = Packet::Ack { namespace, id, args: Args::empty(), attachments: Vec::new() };
                    (if matches!(start.as_bytes()[0], b'3' | b'6') { packet } else { without_id(packet) }, attachments)
                })
            }
            Ok(Head { .. }) | Err(_) => None,
        };
        match packet {
            Some((packet, 0)) if !self.assembly.is_waiting() => self.packet(Whole::Oversized(packet), lower),
            Some((packet, missing)) if !self.assembly.is_waiting() => {
                let begun = self.assembly.begin(parser::Parsed { packet, missing });
                debug_assert_eq!(begun, Ok(None));
                self.assembly.give_up();
                self.attachments_due = Some(lower.now + self.settings.attachment_timeout);
            }
            Some(_) | None => lower.close(CloseReason::ParseError),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        earliest(self.next_ack_due(), earliest(self.connect_due, self.attachments_due))
    }

    fn handle_timeout(&mut self, lower: &mut Lower<'_>) {
        let due = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= lower.now);
        if due(self.connect_due) || due(self.attachments_due) {
            return lower.close(CloseReason::ForcedClose);
        }
        self.time_out_acks(lower);
    }

    fn buffered_bytes(&self) -> usize {
        self.assembly.bytes()
    }

    fn closed(&mut self, reason: CloseReason) {
        self.assembly = Assembly::default();
        for Member { namespace, state } in std::mem::take(&mut self.members) {
            if let Membership::Joined { acks, .. } = state {
                self.left(namespace, acks, DisconnectReason::Closed(reason));
            }
        }
    }

    fn next_event(&mut self) -> Option<Event<W>> {
        self.events.pop_front()
    }
}

/// An event whose content was dropped, in the form of an ack that answers nothing.
fn without_id(packet: Packet) -> Packet {
    match packet {
        Packet::Ack { namespace, args, attachments, .. } => Packet::Ack { namespace, id: None, args, attachments },
        other @ (Packet::Connect { .. }
        | Packet::Disconnect { .. }
        | Packet::Event { .. }
        | Packet::ConnectError { .. }) => other,
    }
}

fn send(packet: &Packet, lower: &mut Lower<'_>) {
    send_encoded(packet.encode(), lower);
}

/// Text and attachments in one go: nothing may come between them.
fn send_encoded(packet: Encoded, lower: &mut Lower<'_>) {
    lower.send(packet.text);
    for data in packet.attachments {
        lower.send(Outgoing::binary(data));
    }
}
