//! A whole session under any sequence of events: what clients send, what the application does, and time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;

use super::input::Input;
use crate::proto::engine_io::payload::Body;
use crate::proto::engine_io::session::{Output, PollAnswer, UpgradeError, UpgradeTicket};
use crate::proto::engine_io::{BinaryAs, CloseReason, Frame, Revision, Session, Settings, Sid, Space, Transport};
use crate::proto::link::ServerLink;
use crate::proto::socket_io::connection::{self, AckError, Answer, Awaited, Connection, Leave};
use crate::proto::socket_io::packet::Encoded;
use crate::proto::socket_io::{AckId, Event, Namespace};
use crate::proto::time::Instant;

const MAX_BUFFERED: usize = 4096;
const MAX_PACKETS: usize = 32;

/// The packets that an answer to a poll may have: more make some clients leave.
const MOST_POLLED: usize = 16;

/// What clients say, beside what the input itself has.
const WORDS: [&str; 22] = [
    "40/a,",
    "40/a",
    "40/b?x=1,",
    "40",
    "41/a,",
    "41",
    "2",
    "2probe",
    "3",
    "5",
    "6",
    "1",
    "43/a,0[]",
    "43/a,1[200]",
    "42/a,7[\"e\"]",
    "461-/a,2[{\"_placeholder\":true,\"num\":0}]",
    "451-/b,[\"e\",{\"_placeholder\":true,\"num\":0}]",
    "b4AQID",
    "bAQID",
    "44/a,\"x\"",
    "43/a,3[\"Ã©\"]",
    "4",
];

/// Reads operations from the input, and checks after each what must always hold. At the end nothing may be forgotten:
/// every poll has had its answer, every event its outcome, every namespace its end, each once.
pub fn sequence(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(input.byte());
    while !input.is_empty() && !world.link.session().is_finished() {
        world.step(&mut input);
        world.settle();
    }
    world.end();
}

/// Takes one of [`WORDS`], or any text.
fn word(input: &mut Input<'_>) -> String {
    let choice = usize::from(input.byte());
    match WORDS.get(choice) {
        Some(word) => (*word).to_owned(),
        None => String::from_utf8_lossy(input.bytes()).into_owned(),
    }
}

/// An event whose outcome was not told yet.
#[derive(Debug, PartialEq, Eq)]
struct Waiter {
    namespace: Namespace,
    id: AckId,
    due: Instant,
    /// Another event of the same id was awaited when this one was emitted.
    is_duplicate: bool,
}

/// One session, and what is known of it from outside.
struct World {
    link: ServerLink<Connection<u64>, u64>,
    now: Instant,
    revision: Revision,
    /// The candidate WebSocket.
    candidate: Option<UpgradeTicket>,
    /// A former candidate, which the session ignores.
    gone: Option<UpgradeTicket>,
    websocket: bool,
    posting: bool,
    next: u64,
    polls: BTreeSet<u64>,
    waiters: BTreeMap<u64, Waiter>,
    joining: Vec<Namespace>,
    joined: Vec<Namespace>,
}

impl World {
    fn new(choice: u8) -> Self {
        let revision = if choice & 1 == 0 { Revision::V4 } else { Revision::V3 };
        let transport = if choice & 2 == 0 { Transport::Polling } else { Transport::WebSocket };
        let binary = if choice & 4 == 0 { BinaryAs::Frames } else { BinaryAs::Base64 };
        let settings = Settings {
            max_buffered_bytes: MAX_BUFFERED,
            max_buffered_packets: MAX_PACKETS,
            max_payload: 1024,
            ..Settings::default()
        };
        let layer = connection::Settings {
            max_attachment_bytes: 1024,
            max_namespaces: 4,
            max_refusals: 4,
            ..connection::Settings::default()
        };
        let now = Instant::ORIGIN;
        let session = Session::open(Arc::new(settings), Sid::from_random([1; 15]), revision, transport, now);
        let layer = Connection::new(Arc::new(layer), revision, now);
        Self {
            link: ServerLink::new(session.with_binary_as(binary), layer),
            now,
            revision,
            candidate: None,
            gone: None,
            websocket: transport == Transport::WebSocket,
            posting: false,
            next: 0,
            polls: BTreeSet::new(),
            waiters: BTreeMap::new(),
            joining: Vec::new(),
            joined: Vec::new(),
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 20 {
            operation @ 0..=5 => self.request(operation, input),
            operation @ 6..=10 if self.websocket => self.websocket(operation, input),
            10 => {
                self.link.answer_poll();
                assert!(self.link.parked().is_none(), "it was answered, or there was none");
            }
            11 => self.reserve(input),
            12 | 13 => {
                if let Some(ticket) = self.candidate {
                    self.link.candidate_frame(ticket, Frame::Text(word(input).into()), self.now);
                }
            }
            14 => self.lose_candidate(input),
            15 => self.pass(Duration::from_millis(1 << (input.byte() % 18))),
            16 => self.decide(input),
            17 => self.emit(input),
            18 => self.act_on_member(input),
            19 => {
                if let Some(&mut number) = self.link.parked() {
                    assert!(self.polls.remove(&number), "a poll that waits was not answered");
                    self.link.poll_lost(self.now);
                }
            }
            // The operation has no place in this state.
            _ => (),
        }
    }

    /// A request of long-polling.
    fn request(&mut self, operation: u8, input: &mut Input<'_>) {
        let (revision, now) = (Some(self.revision), self.now);
        match operation {
            0 => {
                let number = self.number();
                self.polls.insert(number);
                self.link.poll(number, revision.filter(|_| input.byte() != 255), now);
            }
            1 => self.posting |= self.link.begin_post(revision, now).is_ok(),
            2 if self.posting => {
                self.posting = false;
                let _ = self.link.end_post(Ok(body(input, self.revision)), now);
            }
            3 if self.posting => {
                self.posting = false;
                let _ = self.link.end_post(Err(CloseReason::TransportError), now);
            }
            4 | 5 if self.link.begin_post(revision, now).is_ok() => {
                let _ = self.link.end_post(Ok(body(input, self.revision)), now);
            }
            _ => (),
        }
    }

    /// Something happens on the WebSocket.
    fn websocket(&mut self, operation: u8, input: &mut Input<'_>) {
        match operation {
            6 | 7 => self.link.websocket_frame(Frame::Text(word(input).into()), self.now),
            8 => self.link.websocket_frame(Frame::Binary(Bytes::copy_from_slice(input.bytes())), self.now),
            9 => {
                let text = word(input);
                self.link.websocket_oversized(text.len().is_multiple_of(2).then_some(&text), self.now);
            }
            _ => {
                self.websocket = false;
                self.link.websocket_lost(CloseReason::TransportClose, self.now);
            }
        }
    }

    fn reserve(&mut self, input: &mut Input<'_>) {
        let revision = if input.byte() == 255 { None } else { Some(self.revision) };
        let has_ended = self.link.session().close_reason().is_some();
        match self.link.reserve_upgrade(revision, BinaryAs::Frames, self.now) {
            Ok(ticket) => {
                assert!(self.candidate.is_none() && !self.websocket, "one WebSocket at a time");
                assert_ne!(self.gone, Some(ticket), "a ticket is not used again");
                self.candidate = Some(ticket);
            }
            Err(UpgradeError::NoPlace) => assert!(!has_ended),
            Err(UpgradeError::OtherRevision) => assert_eq!(revision, None),
            Err(UpgradeError::SessionUnknown) => assert!(has_ended),
        }
    }

    /// The candidate is lost; or a former candidate says something or is lost, which changes nothing.
    fn lose_candidate(&mut self, input: &mut Input<'_>) {
        match (input.byte() % 3, self.candidate, self.gone) {
            (0, Some(ticket), _) => {
                self.link.candidate_lost(ticket);
                (self.candidate, self.gone) = (None, Some(ticket));
            }
            (1, _, Some(gone)) => self.link.candidate_frame(gone, Frame::Text(word(input).into()), self.now),
            (_, _, Some(gone)) => self.link.candidate_lost(gone),
            (_, _, None) => (),
        }
        let is_there = |ticket| self.link.session().is_candidate(ticket);
        assert!(self.candidate.is_none_or(is_there) && !self.gone.is_some_and(is_there));
    }

    fn decide(&mut self, input: &mut Input<'_>) {
        let now = self.now;
        let Some(namespace) = self.joining.pop() else { return };
        if input.byte().is_multiple_of(4) {
            self.link.act(now, |layer, lower| layer.refuse(&namespace, "no", Some("{\"code\":7}"), lower));
        } else if self.link.act(now, |layer, lower| layer.accept(&namespace, "s", lower)) {
            assert!(!self.joined.contains(&namespace), "joined once at a time");
            self.joined.push(namespace);
        }
    }

    fn emit(&mut self, input: &mut Input<'_>) {
        let now = self.now;
        let namespace =
            Namespace::new(if input.byte().is_multiple_of(4) { "/b" } else { "/a" }.into()).expect("a namespace");
        let number = self.number();
        // Ids come in any order, and again while they are awaited.
        let id = AckId::new(u64::from(input.byte() % 8)).expect("small");
        let timeout = Duration::from_millis(1 << (input.byte() % 14));
        let is_duplicate = self.waiters.values().any(|other| other.namespace == namespace && other.id == id);
        let attachments = if input.byte().is_multiple_of(2) { vec![Bytes::from_static(&[7; 30])] } else { Vec::new() };
        let mut event = Encoded::begin(&namespace, Some(id), attachments, Space::New(0));
        event.json().push_str("[\"request\",\"é\"]");
        self.waiters.insert(number, Waiter { namespace: namespace.clone(), id, due: now + timeout, is_duplicate });
        let awaited = Some(Awaited { waiter: number, timeout });
        self.link.act(now, |layer, lower| layer.emit(&namespace, event.finish(), awaited, lower));
    }

    fn act_on_member(&mut self, input: &mut Input<'_>) {
        let now = self.now;
        let namespace =
            Namespace::new(if input.byte().is_multiple_of(4) { "/b" } else { "/a" }.into()).expect("a namespace");
        let operation = input.byte();
        match operation % 5 {
            _ if operation >= 250 => {
                let mut event = Encoded::begin(&namespace, None, Vec::new(), Space::New(0));
                event.json().push_str("[\"notice\"]");
                let before = self.link.session().buffered_bytes();
                let is_sent = self.link.act(now, |layer, lower| layer.offer(&namespace, event.finish(), lower));
                assert!(!is_sent || before <= 8 * "42/a,[\"notice\"]".len(), "{before} bytes wait");
            }
            0 => self.link.act(now, |layer, lower| layer.retire(&namespace, Leave::Namespace, lower)),
            1 => {
                self.joining.retain(|waiting| *waiting != namespace);
                self.link.act(now, |layer, lower| layer.disconnect(&namespace, lower));
            }
            2 => {
                let Some((&number, Waiter { namespace, id, .. })) = self.waiters.iter().next() else { return };
                let (of, id) = (namespace.clone(), *id);
                let back = self.link.act(now, |layer, lower| layer.cancel(&of, id, lower));
                // The outcome may be there already, and only not read yet.
                if back == Some(number) {
                    self.waiters.remove(&number);
                }
            }
            3 => self.link.close(CloseReason::ForcedServerClose, now),
            _ => self.link.close(CloseReason::ServerShuttingDown, now),
        }
    }

    /// Lets time pass, stopping at every deadline, as a task would.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(deadline) = self.link.deadline().filter(|deadline| *deadline <= until) {
            self.now = self.now.max(deadline);
            self.link.handle_timeout(self.now);
            let next = self.link.deadline();
            assert!(next.is_none_or(|next| next > self.now), "what was due was done: {next:?} at {:?}", self.now);
            self.settle();
        }
        self.now = until;
    }

    /// Takes everything that the link has to give, and checks what must hold then.
    fn settle(&mut self) {
        while let Some(event) = self.link.next_event() {
            self.event(event);
        }
        while let Some(output) = self.link.next_output() {
            self.output(output);
        }
        assert!(self.waiters.values().all(|waiter| waiter.due > self.now), "no timeout is overdue: {:?}", self.waiters);
        let buffered = self.link.buffered_bytes();
        assert!(buffered <= MAX_BUFFERED + 2048, "{buffered} bytes wait");
        if self.websocket && !self.next.is_multiple_of(3) {
            while self.link.next_frame().is_some() {}
        }
        if self.link.session().is_closed_and_sent() {
            self.websocket = false;
            self.link.websocket_lost(CloseReason::ForcedServerClose, self.now);
        }
    }

    fn event(&mut self, event: Event<u64>) {
        match event {
            Event::Connect { namespace, .. } => self.joining.push(namespace),
            Event::Received { namespace, .. } => assert!(self.joined.contains(&namespace), "only who has joined"),
            Event::Acked { waiter, outcome } => {
                let waiter = self.waiters.remove(&waiter).expect("an event has one outcome");
                self.check_outcome(&waiter, &outcome);
            }
            Event::Unawaited { namespace, id, .. } => {
                let is_awaited =
                    |waiter: &Waiter| waiter.namespace == namespace && waiter.id == id && !waiter.is_duplicate;
                assert!(
                    self.joined.contains(&namespace) && !self.waiters.values().any(is_awaited),
                    "nobody waits for it"
                );
            }
            Event::Disconnected { namespace, .. } => {
                let index = self.joined.iter().position(|joined| *joined == namespace);
                self.joined.swap_remove(index.expect("only who has joined can leave, and once"));
            }
        }
    }

    fn output(&mut self, output: Output<u64>) {
        match output {
            Output::Poll { to, answer } => {
                assert!(self.polls.remove(&to), "a poll has one answer");
                if let PollAnswer::Packets(batch) = answer {
                    assert!(!batch.frames.is_empty(), "an answer has packets");
                    assert!(batch.frames.len() <= MOST_POLLED, "{} packets", batch.frames.len());
                    let _ = batch.encode();
                }
            }
            Output::Candidate { ticket, .. } => assert_eq!(self.candidate, Some(ticket), "it is there to speak to"),
            Output::DropCandidate(ticket) => {
                assert_eq!(self.candidate.take(), Some(ticket), "it is there to drop");
                self.gone = Some(ticket);
            }
            Output::AdoptCandidate(ticket) => {
                assert_eq!(self.candidate.take(), Some(ticket), "it is there to adopt");
                (self.gone, self.websocket) = (Some(ticket), true);
            }
            Output::LimitHit(_) => (),
        }
    }

    /// Checks what is known beforehand of an event's outcome.
    fn check_outcome(&self, waiter: &Waiter, outcome: &Result<Answer, AckError>) {
        match outcome {
            Err(AckError::TimedOut) => assert_eq!(waiter.due, self.now, "an event times out by its own time"),
            Err(AckError::DuplicateId) => assert!(waiter.is_duplicate, "the id was free: {waiter:?}"),
            Err(AckError::MissingId) => panic!("it has an id: {waiter:?}"),
            Err(AckError::NotJoined | AckError::Overloaded) => return,
            Ok(_) | Err(AckError::Disconnected | AckError::Oversized) => (),
        }
        let was_sent = *outcome != Err(AckError::DuplicateId);
        assert!(!(was_sent && waiter.is_duplicate), "an id that is awaited is not sent again: {waiter:?}");
    }

    fn end(mut self) {
        self.settle();
        self.link.close(CloseReason::ServerShuttingDown, self.now);
        if self.websocket {
            self.link.websocket_lost(CloseReason::TransportClose, self.now);
        }
        self.pass(Duration::from_secs(3600));
        self.settle();
        assert!(self.link.session().is_finished() || self.link.session().is_closed_and_sent());
        assert_eq!(self.polls, BTreeSet::new(), "every poll was answered");
        assert_eq!(self.waiters, BTreeMap::new(), "every event has its outcome");
        assert_eq!(self.joined, Vec::new(), "everybody has left");
        assert_eq!(self.link.next_frame(), None, "nothing is sent after the end");
    }
}

/// A polling body of a few packets, well formed or not.
fn body(input: &mut Input<'_>, revision: Revision) -> Body {
    let choice = input.byte();
    if choice == 255 {
        return Body::Binary(Bytes::copy_from_slice(input.bytes()));
    }
    let mut text = String::new();
    for index in 0..=choice % 4 {
        let packet = word(input);
        match revision {
            Revision::V3 => text.extend([&packet.encode_utf16().count().to_string(), ":", &packet]),
            Revision::V4 if index > 0 => text.extend(["\u{1e}", &packet]),
            Revision::V4 => text.push_str(&packet),
        }
    }
    Body::Text(ByteString::from(text))
}
