//! The namespaces of one session: which the client has joined, which acks are awaited, what each packet leads to.
//!
//! ```text
//!              Connect event          accept                 disconnect
//!   (absent) ────────────────► Joining ──────► Joined ──────────────────► Left ── 30 s ──► (absent)
//!       ▲                         │ refuse        │ DISCONNECT packet
//!       └─────────────────────────┴───────────────┘
//! ```
//!
//! `W` is what waits for an ack. It comes back in [`Event::Acked`] exactly once, whatever happens, unless its owner
//! takes it back with [`Connection::cancel`].

mod acks;
pub mod client;
mod event;
mod incoming;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;

use self::acks::Acks;
pub use self::acks::Awaited;
pub use self::event::{AckError, Answer, DisconnectReason, Event};
use super::attachments::Assembly;
use super::double_utf8::DoubleUtf8;
use super::namespace::Namespace;
use super::packet::{AckId, Encoded, Packet};
use crate::defaults;
use crate::proto::engine_io::{CloseReason, Lower, Outgoing, Revision};
use crate::proto::json;
use crate::proto::limit::Limit;
use crate::proto::time::Instant;

/// How long packets of a namespace that the server has left are ignored: they crossed its goodbye.
const LEFT_GRACE: Duration = Duration::from_secs(30);

/// The times and limits of a connection.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a client may take to join its first namespace. After that the connection is closed.
    pub connect_timeout: Duration,
    /// The attachments that one packet may have: the reference's default. More close the connection; they would be a
    /// memory attack (CVE-2026-33151).
    pub max_attachments: usize,
    /// The size that the attachments of one packet may have together, in bytes. Larger ones are dropped, and the
    /// packet's content with them.
    pub max_attachment_bytes: usize,
    /// How deep JSON may be nested in a packet with attachments. Deeper closes the connection.
    pub max_depth: usize,
    /// How long a packet may wait for its attachments. After that the connection is closed.
    pub attachment_timeout: Duration,
    /// The namespaces that one connection may have joined, be joining or have just left. A join beyond that is refused.
    pub max_namespaces: usize,
    /// The size of what a client may send with a join, in bytes: its `auth`, or in revision 3 the query of the namespace. A
    /// join with more is refused.
    pub max_auth_bytes: usize,
    /// The joins of one connection that may be refused, before it is closed: a namespace can be a secret, and joining a
    /// way to guess it.
    pub max_refusals: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: defaults::CONNECT_TIMEOUT,
            max_attachments: defaults::MAX_ATTACHMENTS,
            max_attachment_bytes: defaults::MAX_PAYLOAD,
            max_depth: defaults::MAX_DEPTH,
            attachment_timeout: defaults::ATTACHMENT_TIMEOUT,
            max_namespaces: defaults::MAX_NAMESPACES,
            max_auth_bytes: defaults::MAX_AUTH,
            max_refusals: defaults::MAX_REFUSALS,
        }
    }
}

/// The Socket.IO layer of one session.
#[derive(Debug)]
pub struct Connection<W> {
    settings: Arc<Settings>,
    memberships: Vec<Membership<W>>,
    assembly: Assembly,
    attachments_due: Option<Instant>,
    /// When the client must have joined a namespace; `None` once it has.
    connect_due: Option<Instant>,
    refusals: usize,
    double_utf8: DoubleUtf8,
    events: VecDeque<Event<W>>,
}

/// What a client is made to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// The namespace, which it does not join again by itself.
    Namespace,
    /// The session, once it has nothing to answer in any namespace: official clients open another one by themselves.
    Session,
}

#[derive(Debug)]
struct Membership<W> {
    namespace: Namespace,
    phase: Phase<W>,
}

#[derive(Debug)]
enum Phase<W> {
    Joining,
    Joined {
        acks: Acks<W>,
        /// How often the client was asked to be kept, see [`Connection::hold`].
        holds: usize,
        /// What the client is made to leave once no ack is awaited and nothing keeps it any more.
        retiring: Option<Leave>,
    },
    Left {
        until: Instant,
    },
}

impl<W> Connection<W> {
    /// Makes the connection of a session that opens now.
    #[must_use]
    pub fn new(settings: Arc<Settings>, revision: Revision, now: Instant) -> Self {
        let mut connection = Self {
            connect_due: Some(now + settings.connect_timeout),
            settings,
            memberships: Vec::new(),
            assembly: Assembly::default(),
            attachments_due: None,
            refusals: 0,
            double_utf8: DoubleUtf8::default(),
            events: VecDeque::with_capacity(1),
        };
        match revision {
            // A client of revision 3 joins the default namespace by connecting.
            Revision::V3 => connection.join(Namespace::root(), None, None),
            Revision::V4 => (),
        }
        connection
    }

    /// Lets a client join. Nothing is sent on a namespace before this. `sid` is the socket's id for the client to see.
    /// Returns false when the client is not waiting to join any more.
    pub fn accept(&mut self, namespace: &Namespace, sid: &str, lower: &mut Lower<'_>) -> bool {
        let Some(phase @ Phase::Joining) = self.phase(namespace) else { return false };
        *phase = Phase::Joined { acks: Acks::default(), holds: 0, retiring: None };
        self.connect_due = None;
        let data = match lower.revision() {
            // A client of revision 3 makes up an id of its own from the session's.
            Revision::V3 => None,
            Revision::V4 => Some(ByteString::from([r#"{"sid":""#, sid, r#""}"#].concat())),
        };
        send(&Packet::Connect { namespace: namespace.clone(), data }, lower);
        true
    }

    /// Refuses a join, with a message for a person and `data`, JSON, for the program.
    pub fn refuse(&mut self, namespace: &Namespace, message: &str, data: Option<&str>, lower: &mut Lower<'_>) {
        let waiting = |membership: &Membership<W>| {
            membership.namespace == *namespace && matches!(membership.phase, Phase::Joining)
        };
        let Some(index) = self.memberships.iter().position(waiting) else { return };
        self.memberships.swap_remove(index);
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
        if !lower.has_room(packet.sizes()) {
            lower.hit(Limit::Buffered);
            return refuse(awaited, AckError::Overloaded);
        }
        acks.expect(packet.id(), awaited, lower.now)?;
        send_encoded(packet, lower);
        Ok(())
    }

    /// Emits an event that may be lost, and that nothing else is to wait for, see [`Lower::offer`]. It has no ack and no
    /// attachments. Returns whether it was sent.
    pub fn offer(&mut self, namespace: &Namespace, packet: Encoded, lower: &mut Lower<'_>) -> bool {
        let is_plain = packet.id().is_none() && packet.attachments.is_empty();
        is_plain && self.joined(namespace).is_some() && lower.offer(packet.text)
    }

    /// Answers an event of the client.
    pub fn ack(&mut self, namespace: &Namespace, id: AckId, answer: Answer, lower: &mut Lower<'_>) {
        if self.joined(namespace).is_some() {
            let Answer { args, attachments } = answer;
            send(&Packet::Ack { namespace: namespace.clone(), id: Some(id), args, attachments }, lower);
        }
    }

    /// Stops awaiting an ack, and returns its waiter if it was still awaited.
    pub fn cancel(&mut self, namespace: &Namespace, id: AckId, lower: &mut Lower<'_>) -> Option<W> {
        let waiter = self.joined(namespace)?.remove(id)?;
        self.retire_if_idle(namespace, lower);
        Some(waiter)
    }

    /// Keeps a client that is made to leave, until each hold is [released](Self::release): something goes on with it for which no
    /// ack is awaited.
    pub fn hold(&mut self, namespace: &Namespace) {
        if let Some(Phase::Joined { holds, .. }) = self.phase(namespace) {
            *holds += 1;
        }
    }

    /// Takes back one [`Self::hold`].
    pub fn release(&mut self, namespace: &Namespace, lower: &mut Lower<'_>) {
        if let Some(Phase::Joined { holds, .. }) = self.phase(namespace) {
            *holds = holds.saturating_sub(1);
            self.retire_if_idle(namespace, lower);
        }
    }

    /// Makes the client leave once no ack is awaited and no hold is left. Its owner emits no events that begin something after this.
    pub fn retire(&mut self, namespace: &Namespace, leave: Leave, lower: &mut Lower<'_>) {
        if let Some(Phase::Joined { retiring, .. }) = self.phase(namespace) {
            *retiring = Some(leave);
            self.retire_if_idle(namespace, lower);
        }
    }

    /// Makes the client leave a namespace at once. It does not reconnect by itself.
    pub fn disconnect(&mut self, namespace: &Namespace, lower: &mut Lower<'_>) {
        let Some(state) = self.phase(namespace) else { return };
        let left = Phase::Left { until: lower.now + LEFT_GRACE };
        match std::mem::replace(state, left) {
            Phase::Joined { acks, .. } => {
                send(&Packet::Disconnect { namespace: namespace.clone() }, lower);
                self.left(namespace.clone(), acks, DisconnectReason::ServerLeft);
            }
            // The client is not in yet: the refusal is the goodbye.
            Phase::Joining => {
                self.memberships.retain(|membership| membership.namespace != *namespace);
                self.send_refusal(namespace.clone(), "disconnected", None, lower);
            }
            unchanged @ Phase::Left { .. } => *state = unchanged,
        }
    }

    fn phase(&mut self, namespace: &Namespace) -> Option<&mut Phase<W>> {
        let mut all = self.memberships.iter_mut();
        all.find(|membership| membership.namespace == *namespace).map(|membership| &mut membership.phase)
    }

    /// Returns the acks of a namespace that was joined.
    fn joined(&mut self, namespace: &Namespace) -> Option<&mut Acks<W>> {
        match self.phase(namespace)? {
            Phase::Joined { acks, .. } => Some(acks),
            Phase::Joining | Phase::Left { .. } => None,
        }
    }

    fn retire_if_idle(&mut self, namespace: &Namespace, lower: &mut Lower<'_>) {
        match self.phase(namespace) {
            Some(Phase::Joined { acks, holds: 0, retiring: Some(Leave::Namespace) }) if acks.is_empty() => {
                self.disconnect(namespace, lower);
            }
            Some(_) | None => (),
        }
        let leaves = |phase: &Phase<W>| matches!(phase, Phase::Joined { retiring: Some(Leave::Session), .. });
        let is_idle = |phase: &Phase<W>| match phase {
            Phase::Joined { acks, holds, .. } => acks.is_empty() && *holds == 0,
            Phase::Joining | Phase::Left { .. } => true,
        };
        let phases = || self.memberships.iter().map(|membership| &membership.phase);
        if phases().any(leaves) && phases().all(is_idle) {
            lower.close(CloseReason::ForcedServerClose);
        }
    }

    fn left(&mut self, namespace: Namespace, acks: Acks<W>, reason: DisconnectReason) {
        for waiter in acks.into_waiters() {
            self.events.push_back(Event::Acked { waiter, outcome: Err(AckError::Disconnected) });
        }
        self.events.push_back(Event::Disconnected { namespace, reason });
    }

    fn join(&mut self, namespace: Namespace, auth: Option<ByteString>, query: Option<ByteString>) {
        // Most clients are in one namespace, so there is memory for one.
        self.memberships.reserve_exact(1);
        self.memberships.push(Membership { namespace: namespace.clone(), phase: Phase::Joining });
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
}

fn send(packet: &Packet, lower: &mut Lower<'_>) {
    send_encoded(packet.encode(), lower);
}

/// Sends text and attachments together: nothing may come between them.
fn send_encoded(packet: Encoded, lower: &mut Lower<'_>) {
    lower.send(packet.text);
    for data in packet.attachments {
        lower.send(Outgoing::binary(data));
    }
}
