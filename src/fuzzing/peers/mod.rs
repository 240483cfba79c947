//! A client and a server joined by wires, under any order of deliveries, losses, emits and time.
//!
//! Each connection is a wire on which things arrive in their order; which wire delivers next is the input's to say. While no
//! wire is lost and nobody closes, nothing is lost, doubled or out of order on either side, and what was emitted has arrived
//! once the wires are empty.
//!
//! - `side`: what one side has emitted and heard; `wires`: what is on its way

mod side;
mod wires;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::side::{Side, numbers};
use self::wires::{Down, Up, Wire};
use super::input::Input;
use crate::proto::engine_io::client::{Output as Wanted, Transports};
use crate::proto::engine_io::session::{Output, PollAnswer, UpgradeTicket};
use crate::proto::engine_io::{
    BinaryAs, ClientSession, CloseReason, Revision, Session, Settings, Sid, Space, Transport,
};
use crate::proto::link::{ClientLink, ServerLink};
use crate::proto::socket_io::connection::client::Credentials;
use crate::proto::socket_io::connection::{self, Answer, Awaited, Connection};
use crate::proto::socket_io::packet::Encoded;
use crate::proto::socket_io::{AckId, ClientConnection, ClientEvent, Event, Namespace};
use crate::proto::time::Instant;

/// Longer than any run, so that an ack is late only if it was lost.
const ACK_TIMEOUT: Duration = Duration::from_secs(3600);

/// Runs a client and a server as the input says, lets all arrive that is on its way, and ends both.
pub fn peers(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(input.byte());
    while !input.is_empty() {
        world.step(&mut input);
        world.settle();
    }
    world.arrive();
    world.end();
}

const POLLS: usize = 0;
const POSTS: usize = 1;
const WEBSOCKET: usize = 2;

struct World {
    now: Instant,
    /// When all had arrived that was on its way.
    arrived_at: Instant,
    client: ClientLink<ClientConnection<u64>>,
    /// The server's side, once the first request has arrived.
    server: Option<ServerLink<Connection<u64>, u64>>,
    namespace: Namespace,
    revision: Revision,
    wires: [Wire; 3],
    next_poll: u64,
    /// The server's candidate.
    ticket: Option<UpgradeTicket>,
    /// Each side sends on the WebSocket as its transport.
    is_client_on_websocket: bool,
    is_server_on_websocket: bool,
    client_side: Side,
    server_side: Side,
    /// Something was cut or closed: what is on its way may be lost.
    is_disturbed: bool,
}

impl World {
    fn new(choice: u8) -> Self {
        let revision = if choice & 1 == 0 { Revision::V4 } else { Revision::V3 };
        let transports = [Transports::Upgrade, Transports::Polling, Transports::WebSocket, Transports::Upgrade]
            [usize::from(choice >> 1) % 4];
        let now = Instant::ORIGIN;
        let namespace = Namespace::new("/t".into()).expect("it begins with a slash");
        let session = ClientSession::open(Arc::new(Settings::default()), revision, transports, now);
        let layer = ClientConnection::new(Arc::default(), namespace.clone(), Credentials::None);
        Self {
            now,
            arrived_at: now,
            client: ClientLink::new(session, layer),
            server: None,
            namespace,
            revision,
            wires: Default::default(),
            next_poll: 0,
            ticket: None,
            is_client_on_websocket: transports == Transports::WebSocket,
            is_server_on_websocket: false,
            client_side: Side::default(),
            server_side: Side::default(),
            is_disturbed: false,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            0..=4 => self.deliver_up(usize::from(input.byte() % 3)),
            5..=9 => self.deliver_down(usize::from(input.byte() % 3)),
            10 | 11 => self.emit_to_server(input.byte()),
            12 | 13 => self.emit_to_client(input.byte()),
            14 => self.pass(Duration::from_millis(1 << (input.byte() % 14))),
            _ => self.disturb(input.byte()),
        }
    }

    /// Delivers the next thing on a wire to the server.
    fn deliver_up(&mut self, wire: usize) {
        let Some(up) = self.wires[wire].up.pop_front() else { return };
        let (now, revision) = (self.now, Some(self.revision));
        match up {
            Up::Get(number) => self.opened(Transport::Polling).poll(number, revision, now),
            Up::Post(body) => {
                let server = self.opened(Transport::Polling);
                let taken = server.begin_post(revision, now).and_then(|()| server.end_post(Ok(body), now));
                self.wires[POSTS].down.push_back(Down::Posted(taken.is_ok()));
            }
            Up::Open if self.server.is_none() => {
                self.opened(Transport::WebSocket);
                self.is_server_on_websocket = true;
                self.wires[WEBSOCKET].down.push_back(Down::Opened);
            }
            Up::Open => {
                self.ticket = self.opened(Transport::Polling).reserve_upgrade(revision, BinaryAs::Frames, now).ok();
                let answer = if self.ticket.is_some() { Down::Opened } else { Down::Lost };
                self.wires[WEBSOCKET].down.push_back(answer);
            }
            Up::Frame(frame) => match (self.ticket, &mut self.server) {
                (Some(ticket), Some(server)) => server.candidate_frame(ticket, frame, now),
                (None, Some(server)) if self.is_server_on_websocket => server.websocket_frame(frame, now),
                (None, _) | (_, None) => (),
            },
        }
    }

    /// Returns the server's side, which the first request opens.
    fn opened(&mut self, transport: Transport) -> &mut ServerLink<Connection<u64>, u64> {
        let (revision, now) = (self.revision, self.now);
        self.server.get_or_insert_with(|| {
            let session =
                Session::open(Arc::new(Settings::default()), Sid::from_random([1; 15]), revision, transport, now);
            ServerLink::new(session, Connection::new(Arc::new(connection::Settings::default()), revision, now))
        })
    }

    /// Delivers the next thing on a wire to the client.
    fn deliver_down(&mut self, wire: usize) {
        let Some(down) = self.wires[wire].down.pop_front() else { return };
        let (now, client) = (self.now, &mut self.client);
        match down {
            Down::Polled(body) => client.polled(Ok(body), now),
            Down::Failed => client.polled(Err(CloseReason::TransportError), now),
            Down::Posted(is_taken) => client.posted(is_taken, now),
            Down::Opened => client.websocket_opened(),
            Down::Frame(frame) if self.is_client_on_websocket => client.websocket_frame(frame, now),
            Down::Frame(frame) => client.candidate_frame(frame),
            Down::Lost => client.websocket_lost(CloseReason::TransportClose, now),
        }
    }

    /// Makes an event of this number, with or without an attachment.
    fn event(&self, number: u64, choice: u8) -> Encoded {
        let attachments = if choice & 1 == 1 { vec![Bytes::from(vec![7; usize::from(choice)])] } else { Vec::new() };
        let placeholder = if attachments.is_empty() { "null" } else { r#"{"_placeholder":true,"num":0}"# };
        let id = (choice & 2 == 2).then(|| AckId::new(number)).flatten();
        let mut event = Encoded::begin(&self.namespace, id, attachments, Space::New(0));
        event.json().push_str(&format!(r#"["e",{number},"é😀",{placeholder}]"#));
        event.finish()
    }

    fn emit_to_server(&mut self, choice: u8) {
        if !self.client_side.has_joined || self.client_side.has_left {
            return;
        }
        let (event, number) = (self.event(self.client_side.emitted, choice), self.client_side.emitted);
        self.client_side.emitted += 1;
        let awaited = event.id().map(|_| Awaited { waiter: number, timeout: ACK_TIMEOUT });
        self.client_side.awaited.extend(awaited.as_ref().map(|_| (number, ())));
        self.client.act(self.now, |layer, lower| layer.emit(event, awaited, lower));
    }

    fn emit_to_client(&mut self, choice: u8) {
        if !self.server_side.has_joined || self.server_side.has_left {
            return;
        }
        let (event, number) = (self.event(self.server_side.emitted, choice), self.server_side.emitted);
        self.server_side.emitted += 1;
        let awaited = event.id().map(|_| Awaited { waiter: number, timeout: ACK_TIMEOUT });
        self.server_side.awaited.extend(awaited.as_ref().map(|_| (number, ())));
        let (now, namespace) = (self.now, self.namespace.clone());
        if let Some(server) = &mut self.server {
            server.act(now, |layer, lower| layer.emit(&namespace, event, awaited, lower));
        }
    }

    /// Cuts a wire, or makes one side close.
    fn disturb(&mut self, choice: u8) {
        let (now, namespace) = (self.now, self.namespace.clone());
        match choice % 16 {
            0 => self.client.close(CloseReason::ForcedClose, now),
            1 => self.client.act(now, ClientConnection::leave),
            2 => self.server.iter_mut().for_each(|server| server.close(CloseReason::ForcedServerClose, now)),
            3 => {
                let disconnect = |server: &mut ServerLink<Connection<u64>, u64>| {
                    server.act(now, |layer, lower| layer.disconnect(&namespace, lower));
                };
                self.server.iter_mut().for_each(disconnect);
            }
            4 => self.cut_websocket(),
            // Most steps disturb nothing.
            _ => return,
        }
        self.is_disturbed = true;
    }

    /// The WebSocket's connection ends for both sides. A candidate costs nothing but itself.
    fn cut_websocket(&mut self) {
        let now = self.now;
        self.wires[WEBSOCKET] = Wire::default();
        if let (Some(ticket), Some(server)) = (self.ticket.take(), &mut self.server) {
            server.candidate_lost(ticket);
        }
        if std::mem::take(&mut self.is_server_on_websocket)
            && let Some(server) = &mut self.server
        {
            server.websocket_lost(CloseReason::TransportClose, now);
        }
        self.client.websocket_lost(CloseReason::TransportClose, now);
    }

    /// Lets time pass, stopping at every deadline, as tasks would.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        // A network that is slower than that is right to be given up.
        if until > self.arrived_at + Duration::from_secs(5) {
            self.arrive();
        }
        loop {
            let server = self.server.as_ref().and_then(ServerLink::deadline);
            let due = [self.client.deadline(), server].into_iter().flatten().min();
            let Some(deadline) = due.filter(|deadline| *deadline <= until) else { break };
            self.now = self.now.max(deadline);
            self.client.handle_timeout(self.now);
            let now = self.now;
            self.server.iter_mut().for_each(|server| server.handle_timeout(now));
            let is_later = |next: Option<Instant>| next.is_none_or(|next| next > now);
            assert!(is_later(self.client.deadline()), "what was due was done at the client");
            assert!(
                is_later(self.server.as_ref().and_then(ServerLink::deadline)),
                "what was due was done at the server"
            );
            self.arrive();
        }
        self.now = until;
    }

    /// Delivers until nothing is on its way.
    fn arrive(&mut self) {
        self.arrived_at = self.now;
        self.settle();
        while self.wires.iter().any(|wire| !wire.up.is_empty() || !wire.down.is_empty()) {
            for wire in 0..3 {
                self.deliver_up(wire);
                self.settle();
                self.deliver_down(wire);
                self.settle();
            }
        }
    }

    /// Takes everything that both sides have to give.
    fn settle(&mut self) {
        while let Some(event) = self.client.next_event() {
            self.heard_by_client(event);
        }
        while let Some(event) = self.server.as_mut().and_then(ServerLink::next_event) {
            self.heard_by_server(event);
        }
        while let Some(output) = self.client.next_output() {
            self.wanted(output);
        }
        while let Some(output) = self.server.as_mut().and_then(ServerLink::next_output) {
            self.put_out(output);
        }
        if self.is_client_on_websocket {
            while let Some(frame) = self.client.next_frame() {
                self.wires[WEBSOCKET].up.push_back(Up::Frame(frame));
            }
        }
        if self.is_server_on_websocket {
            while let Some(frame) = self.server.as_mut().and_then(ServerLink::next_frame) {
                self.wires[WEBSOCKET].down.push_back(Down::Frame(frame));
            }
        }
        self.close_websocket();
    }

    /// Ends the connection of a WebSocket on which one side has said its last word and the other has heard it.
    fn close_websocket(&mut self) {
        let is_empty = self.wires[WEBSOCKET].up.is_empty() && self.wires[WEBSOCKET].down.is_empty();
        let has_ended = |server: &ServerLink<_, _>| server.session().close_reason().is_some();
        let is_over = self.client.session().is_finished() || self.server.as_ref().is_some_and(has_ended);
        if is_empty && is_over && self.is_client_on_websocket && self.is_server_on_websocket {
            self.cut_websocket();
        }
    }

    fn wanted(&mut self, wanted: Wanted) {
        match wanted {
            Wanted::Poll => {
                self.next_poll += 1;
                self.wires[POLLS].up.push_back(Up::Get(self.next_poll));
            }
            Wanted::Post(body) => self.wires[POSTS].up.push_back(Up::Post(body)),
            Wanted::OpenWebSocket => self.wires[WEBSOCKET].up.push_back(Up::Open),
            Wanted::Candidate(frame) => self.wires[WEBSOCKET].up.push_back(Up::Frame(frame)),
            Wanted::AdoptCandidate => self.is_client_on_websocket = true,
            Wanted::DropCandidate => {
                self.wires[WEBSOCKET] = Wire::default();
                if let (Some(ticket), Some(server)) = (self.ticket.take(), &mut self.server) {
                    server.candidate_lost(ticket);
                }
            }
        }
    }

    fn put_out(&mut self, output: Output<u64>) {
        match output {
            Output::Poll { answer: PollAnswer::Packets(batch), .. } => {
                self.wires[POLLS].down.push_back(Down::Polled(batch.encode()));
            }
            Output::Poll { answer: PollAnswer::Rejected(_), .. } => self.wires[POLLS].down.push_back(Down::Failed),
            Output::Poll { answer: PollAnswer::Overlap, .. } => panic!("the client polls once at a time"),
            Output::Candidate { frame, .. } => self.wires[WEBSOCKET].down.push_back(Down::Frame(frame)),
            Output::DropCandidate(_) => {
                self.ticket = None;
                // The server's patience ends while the client's last frame of the upgrade is on its way, which the protocol allows.
                self.is_disturbed |= self.is_client_on_websocket;
                self.wires[WEBSOCKET].down.push_back(Down::Lost);
            }
            Output::LimitHit(_) => (),
            Output::AdoptCandidate(_) => {
                self.ticket = None;
                self.is_server_on_websocket = true;
            }
        }
    }

    fn heard_by_client(&mut self, event: ClientEvent<u64>) {
        let side = &mut self.client_side;
        match event {
            ClientEvent::Joined => {
                assert!(!std::mem::replace(&mut side.has_joined, true), "joined once");
            }
            ClientEvent::Refused { data } => panic!("refused: {data:?}"),
            ClientEvent::Received { args, id, .. } => {
                side.hear(&args);
                let answer = Answer { args, attachments: Vec::new() };
                let now = self.now;
                id.into_iter().for_each(|id| {
                    self.client.act(now, |layer, lower| layer.ack(id, numbers(&answer), lower));
                });
            }
            ClientEvent::Acked { waiter, outcome } => side.acked(waiter, outcome, self.is_disturbed),
            ClientEvent::Left { .. } => {
                assert!(self.is_disturbed, "nobody has left by itself");
                assert!(side.has_joined && !std::mem::replace(&mut side.has_left, true), "left once");
            }
        }
    }

    fn heard_by_server(&mut self, event: Event<u64>) {
        let (now, Some(server)) = (self.now, &mut self.server) else { return };
        let side = &mut self.server_side;
        match event {
            Event::Connect { namespace, .. } => {
                let is_in = server.act(now, |layer, lower| layer.accept(&namespace, "s", lower));
                side.has_joined |= is_in && namespace == self.namespace;
            }
            Event::Received { args, id, .. } => {
                side.hear(&args);
                let answer = Answer { args, attachments: Vec::new() };
                let namespace = &self.namespace;
                id.into_iter().for_each(|id| {
                    server.act(now, |layer, lower| layer.ack(namespace, id, numbers(&answer), lower));
                });
            }
            Event::Acked { waiter, outcome } => side.acked(waiter, outcome, self.is_disturbed),
            Event::Unawaited { .. } => panic!("each ack is awaited"),
            Event::Disconnected { namespace, .. } => {
                assert!(self.is_disturbed, "nobody has left by itself");
                side.has_left |= namespace == self.namespace;
            }
        }
    }

    /// Checks that all has arrived, and ends both sides.
    fn end(mut self) {
        // The server holds the last poll of an upgrade for a moment, and both sides stay for some heartbeats.
        self.pass(Duration::from_secs(100));
        self.arrive();
        if !self.is_disturbed {
            assert_eq!(self.server_side.heard, self.client_side.emitted, "all events reach the server");
            assert_eq!(self.client_side.heard, self.server_side.emitted, "all events reach the client");
            assert!(self.client_side.awaited.is_empty() && self.server_side.awaited.is_empty(), "all acks have come");
            assert!(self.client_side.has_joined && self.server_side.has_joined, "the client is in");
            assert_eq!(self.client.session().close_reason(), None, "the session lives");
        }
        self.is_disturbed = true;
        self.client.close(CloseReason::ForcedClose, self.now);
        self.arrive();
        // The sides hear of each other's end, or miss a heartbeat.
        self.pass(Duration::from_secs(120));
        assert!(self.client.session().is_finished(), "the client has ended: {:?}", self.client.session());
        let reason = self.server.as_ref().and_then(|server| server.session().close_reason());
        assert!(self.server.is_none() || reason.is_some(), "the server has ended");
        assert!(self.client_side.awaited.is_empty() && self.server_side.awaited.is_empty(), "every waiter was told");
        assert_eq!(self.client_side.has_joined, self.client_side.has_left);
        assert_eq!(self.server_side.has_joined, self.server_side.has_left);
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    #[test]
    fn a_client_and_a_server_lose_nothing_in_thousands_of_runs() {
        let mut random = StdRng::seed_from_u64(16);
        for _ in 0..3_000 {
            let length = random.random_range(0..400);
            let data: Vec<u8> = (0..length).map(|_| random.random()).collect();
            super::peers(&data);
        }
    }
}
