//! What the client sends: messages become packets, and packets change memberships and make events.

use bytes::Bytes;
use bytestring::ByteString;

use super::acks::Acks;
use super::event::{AckError, Answer, DisconnectReason, Event};
use super::{Connection, Membership, Phase, send};
use crate::proto::engine_io::{CloseReason, Lower, Message, PollingText, Revision};
use crate::proto::limit::Limit;
use crate::proto::link::Layer;
use crate::proto::socket_io::attachments::{Assembly, Bounds, Dropped, Whole};
use crate::proto::socket_io::namespace::Namespace;
use crate::proto::socket_io::packet::{self, AckId, Packet};
use crate::proto::socket_io::parser::{self, ParseError};
use crate::proto::time::{Instant, earliest};
use crate::tables;

impl<W> Layer for Connection<W> {
    type Event = Event<W>;

    fn polled_text(&mut self, text: ByteString) -> ByteString {
        self.double_utf8.read(text)
    }

    fn polling_text(&self) -> PollingText {
        PollingText { to_ascii: Some(packet::to_ascii), long_as_bytes: self.double_utf8.may_be_socket_io_1() }
    }

    /// Any fault in a packet ends the connection, without an answer, as in the reference.
    fn message(&mut self, message: Message, lower: &mut Lower<'_>) {
        let whole = match message {
            Message::Text(text) => {
                // In a body of bytes, too, where nothing is encoded twice.
                self.double_utf8.notice(&text);
                match parser::parse(&text, self.settings.max_attachments, lower.revision()) {
                    // Attachments are collected only for a namespace that was joined (CVE-2026-48804).
                    Ok(parsed) if parsed.missing > 0 && self.phase(parsed.packet.namespace()).is_none() => {
                        match lower.revision() {
                            Revision::V3 => self.assembly.begin_dropped(Dropped::of(&parsed.packet), parsed.missing),
                            Revision::V4 => return lower.close(CloseReason::ForcedClose),
                        }
                    }
                    Ok(parsed) => self.assembly.begin(parsed),
                    Err(error) => Err(error),
                }
            }
            Message::Binary(data) => {
                let (bytes, depth) = (self.settings.max_attachment_bytes, self.settings.max_depth);
                self.assembly.attach(data, Bounds { bytes, depth })
            }
        };
        self.assembled(whole, lower);
    }

    /// An ack over the limit costs its exchange and not the connection; an event over the limit is dropped.
    fn oversized(&mut self, start: Option<&str>, lower: &mut Lower<'_>) {
        let Some(start) = start else {
            self.assembly.give_up();
            return self.message(Message::Binary(Bytes::new()), lower);
        };
        let whole = self.assembly.begin_oversized(start, self.settings.max_attachments);
        self.assembled(whole, lower);
    }

    fn deadline(&self) -> Option<Instant> {
        let first_ack = self.memberships.iter().filter_map(Membership::next_ack_due).min();
        earliest(first_ack, earliest(self.connect_due, self.attachments_due))
    }

    fn handle_timeout(&mut self, lower: &mut Lower<'_>) {
        let now = lower.now;
        let is_due = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
        if is_due(self.connect_due) {
            lower.hit(Limit::ConnectTimeout);
            return lower.close(CloseReason::ForcedClose);
        }
        if is_due(self.attachments_due) {
            return lower.close(CloseReason::ForcedClose);
        }
        self.time_out_acks(lower);
    }

    fn buffered_bytes(&self) -> usize {
        self.assembly.bytes()
    }

    fn closed(&mut self, reason: CloseReason) {
        self.assembly = Assembly::default();
        for Membership { namespace, phase } in std::mem::take(&mut self.memberships) {
            if let Phase::Joined { acks, .. } = phase {
                self.left(namespace, acks, DisconnectReason::Closed(reason));
            }
        }
    }

    fn next_event(&mut self) -> Option<Event<W>> {
        tables::take_first(&mut self.events)
    }
}

impl<W> Connection<W> {
    /// Handles what a message has led to: a packet that is whole, one that waits for more, or an error.
    fn assembled(&mut self, whole: Result<Option<Whole>, ParseError>, lower: &mut Lower<'_>) {
        let whole = match whole {
            Ok(Some(whole)) => whole,
            Ok(None) => {
                self.attachments_due.get_or_insert(lower.now + self.settings.attachment_timeout);
                return;
            }
            Err(error) => {
                match error {
                    ParseError::TooManyAttachments => lower.hit(Limit::Attachments),
                    ParseError::TooDeep => lower.hit(Limit::Depth),
                    ParseError::Type
                    | ParseError::Attachments
                    | ParseError::AckId
                    | ParseError::Payload
                    | ParseError::EventName => (),
                }
                return lower.close(CloseReason::ParseError);
            }
        };
        self.attachments_due = None;
        match whole {
            Whole::Packet(Packet::Connect { namespace, data }) => self.connect(&namespace, data, lower),
            Whole::Packet(packet) => self.packet(packet, lower),
            Whole::Dropped(dropped) => self.dropped(&dropped, lower),
        }
    }

    /// Handles a packet of a namespace that was joined.
    fn packet(&mut self, packet: Packet, lower: &mut Lower<'_>) {
        let acks = match self.phase(packet.namespace()) {
            Some(Phase::Joined { acks, .. }) => acks,
            // The packet crossed our goodbye on its way.
            Some(Phase::Left { .. }) => return,
            Some(Phase::Joining) | None => return not_joined(lower),
        };
        match packet {
            Packet::Disconnect { namespace } => {
                let acks = std::mem::take(acks);
                self.memberships.retain(|membership| membership.namespace != namespace);
                self.left(namespace, acks, DisconnectReason::ClientLeft);
            }
            Packet::Event { namespace, id, args, attachments } => {
                self.events.push_back(Event::Received { namespace, args, attachments, id });
            }
            Packet::Ack { namespace, id, args, attachments } => {
                self.acked(&namespace, id, Ok(Answer { args, attachments }), lower);
            }
            Packet::ConnectError { .. } | Packet::Connect { .. } => lower.close(CloseReason::ForcedClose),
        }
    }

    /// Handles an event or ack whose content was dropped.
    fn dropped(&mut self, dropped: &Dropped, lower: &mut Lower<'_>) {
        match self.phase(&dropped.namespace) {
            Some(Phase::Joined { .. }) => {
                lower.hit(Limit::Payload);
                self.acked(&dropped.namespace, dropped.answers, Err(AckError::Oversized), lower);
            }
            Some(Phase::Left { .. }) => (),
            Some(Phase::Joining) | None => not_joined(lower),
        }
    }

    /// Tells the waiter of an ack.
    fn acked(
        &mut self,
        namespace: &Namespace,
        id: Option<AckId>,
        outcome: Result<Answer, AckError>,
        lower: &mut Lower<'_>,
    ) {
        let Some(id) = id else { return };
        match self.joined(namespace).and_then(|acks| acks.remove(id)) {
            Some(waiter) => {
                self.events.push_back(Event::Acked { waiter, outcome });
                self.retire_if_idle(namespace, lower);
            }
            None => self.events.push_back(Event::Unawaited { namespace: namespace.clone(), id, outcome }),
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
        self.memberships.retain(|membership| match membership.phase {
            Phase::Left { until } => until > lower.now && membership.namespace != namespace,
            Phase::Joining | Phase::Joined { .. } => true,
        });
        if let Some(phase) = self.phase(&namespace) {
            return match (revision, phase) {
                // Some clients of revision 3 join the default namespace by a packet too, or join again when in doubt.
                (Revision::V3, Phase::Joined { .. }) => send(&Packet::Connect { namespace, data: None }, lower),
                (Revision::V3, Phase::Joining | Phase::Left { .. }) => (),
                (Revision::V4, _) => lower.close(CloseReason::ForcedClose),
            };
        }
        if !namespace.is_joinable(revision) {
            return self.send_refusal(namespace.truncated(), "Invalid namespace", None, lower);
        }
        // Every client of revision 3 is in the default namespace, which does not count.
        let given = usize::from(revision == Revision::V3);
        if self.memberships.len() >= self.settings.max_namespaces + given {
            lower.hit(Limit::Namespaces);
            let message = "too many namespaces on one connection: connect with forceNew";
            return self.send_refusal(namespace, message, None, lower);
        }
        let sent = auth.as_ref().or(query.as_ref()).map_or(0, |sent| sent.len());
        let limit = self.settings.max_auth_bytes;
        if sent > limit {
            lower.hit(Limit::Auth);
            let what = if query.is_some() { "the query of the namespace" } else { "auth" };
            return self.send_refusal(namespace, &format!("{what} is over the limit of {limit} bytes"), None, lower);
        }
        self.join(namespace.detached(), auth, query);
    }

    fn time_out_acks(&mut self, lower: &mut Lower<'_>) {
        for index in 0..self.memberships.len() {
            let Membership { namespace, phase: Phase::Joined { acks, .. } } = &mut self.memberships[index] else {
                continue;
            };
            let before = self.events.len();
            while let Some(waiter) = acks.take_due(lower.now) {
                self.events.push_back(Event::Acked { waiter, outcome: Err(AckError::TimedOut) });
            }
            if self.events.len() > before {
                let namespace = namespace.clone();
                self.retire_if_idle(&namespace, lower);
            }
        }
    }
}

impl<W> Membership<W> {
    fn next_ack_due(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Joined { acks, .. } => Acks::next_due(acks),
            Phase::Joining | Phase::Left { .. } => None,
        }
    }
}

/// Handles a packet of a namespace that was not joined. Servers of revision 3 ignored it, those of revision 4 do not.
fn not_joined(lower: &mut Lower<'_>) {
    match lower.revision() {
        Revision::V3 => (),
        Revision::V4 => lower.close(CloseReason::ForcedClose),
    }
}
