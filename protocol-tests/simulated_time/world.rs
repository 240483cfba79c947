//! A server's link and its clock, as the tests of this folder drive them.

use std::sync::Arc;
use std::time::Duration;

use socket2me::proto::engine_io::payload::Body;
use socket2me::proto::engine_io::session::{Output, PollAnswer, UpgradeTicket};
use socket2me::proto::engine_io::{
    BinaryAs, CloseReason, Frame, Revision, Session, Settings as EngineSettings, Sid, Space, Transport,
};
use socket2me::proto::link::ServerLink;
use socket2me::proto::socket_io::connection::{Awaited, Settings};
use socket2me::proto::socket_io::packet::Encoded;
use socket2me::proto::socket_io::{AckId, Connection, Event, Namespace};
use socket2me::proto::time::Instant;

use crate::support::ms;

type Link = ServerLink<Connection<&'static str>, u32>;

/// A server's link and the time, which only the test advances.
pub(super) struct World {
    pub(super) link: Link,
    pub(super) revision: Revision,
    pub(super) now: Instant,
    /// The candidate that was reserved last.
    ticket: Option<UpgradeTicket>,
}

impl World {
    /// Opens a session of revision 4.
    pub(super) fn open(transport: Transport) -> Self {
        Self::of(Revision::V4, transport)
    }

    /// Opens a session. Pings come every 300 ms and wait 200 ms; an upgrade may take 1 s, a join 2 s, an ack 500 ms.
    pub(super) fn of(revision: Revision, transport: Transport) -> Self {
        let engine = EngineSettings {
            ping_interval: ms(300),
            ping_timeout: ms(200),
            upgrade_timeout: ms(1000),
            ..EngineSettings::default()
        };
        let settings = Settings { connect_timeout: ms(2000), ..Settings::default() };
        let now = Instant::ORIGIN;
        let session = Session::open(Arc::new(engine), Sid::from_random([7; 15]), revision, transport, now);
        let connection = Connection::new(Arc::new(settings), revision, now);
        let mut world = Self { link: ServerLink::new(session, connection), revision, now, ticket: None };
        match transport {
            Transport::Polling => {
                let (to, body) = world.poll(0).unwrap();
                assert!(to == 0 && body.starts_with("0{"), "{body}");
            }
            Transport::WebSocket => assert!(world.frames()[0].starts_with("0{")),
        }
        world
    }

    /// Opens a session of revision 4 that joins `/t`. No heartbeat is due yet.
    pub(super) fn joined(transport: Transport) -> Self {
        let mut world = Self::open(transport);
        world.say("40/t,");
        world.accept(&namespace());
        world.hear(transport, r#"40/t,{"sid":"s"}"#);
        world
    }

    /// The same in revision 3, where a client is in the default namespace as well.
    pub(super) fn joined_v3(transport: Transport) -> Self {
        let mut world = Self::of(Revision::V3, transport);
        world.accept(&Namespace::root());
        world.hear(transport, "40");
        world.say("40/t,");
        world.accept(&namespace());
        world.hear(transport, "40/t,");
        world
    }

    /// Accepts the CONNECT to this namespace, which must be the next event.
    pub(super) fn accept(&mut self, namespace: &Namespace) {
        assert!(matches!(self.link.next_event(), Some(Event::Connect { namespace: asked, .. }) if asked == *namespace));
        let now = self.now;
        assert!(self.link.act(now, |connection, lower| connection.accept(namespace, "s", lower)));
    }

    /// This packet and no other is on its way to the client.
    #[track_caller]
    pub(super) fn hear(&mut self, transport: Transport, packet: &str) {
        match transport {
            Transport::Polling => assert_eq!(self.poll(1), Some((1, packet.to_owned()))),
            Transport::WebSocket => assert_eq!(self.frames(), [packet]),
        }
    }

    /// Advances the clock, and stops at each deadline on the way, as a session's task would.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(deadline) = self.link.deadline().filter(|deadline| *deadline <= until) {
            assert!(deadline >= self.now, "a deadline that is past must have been dealt with");
            self.now = deadline;
            self.link.handle_timeout(self.now);
        }
        self.now = until;
    }

    /// Receives a packet from the client on the session's transport.
    pub(super) fn say(&mut self, packet: &str) {
        if self.link.begin_post(Some(self.revision), self.now).is_ok() {
            let body = match self.revision {
                Revision::V3 => format!("{}:{packet}", packet.len()),
                Revision::V4 => packet.to_owned(),
            };
            let _ = self.link.end_post(Ok(Body::Text(body.into())), self.now);
        } else {
            self.link.websocket_frame(Frame::Text(packet.into()), self.now);
        }
    }

    /// Receives a poll, and returns an answer that is ready: to this poll or to an earlier one.
    pub(super) fn poll(&mut self, number: u32) -> Option<(u32, String)> {
        self.link.poll(number, Some(self.revision), self.now);
        self.answer()
    }

    /// Takes the next answer to a poll.
    pub(super) fn answer(&mut self) -> Option<(u32, String)> {
        match self.link.next_output()? {
            Output::LimitHit(_) => self.answer(),
            Output::Poll { to, answer: PollAnswer::Packets(batch) } => {
                Some((to, batch.frames.iter().map(text).collect::<Vec<_>>().join("|")))
            }
            Output::Poll { to, answer: PollAnswer::Rejected(rejection) } => Some((to, format!("{rejection:?}"))),
            Output::Poll { to, answer: PollAnswer::Overlap } => Some((to, "overlap".to_owned())),
            other @ (Output::Candidate { .. } | Output::DropCandidate(_) | Output::AdoptCandidate(_)) => {
                panic!("{other:?}")
            }
        }
    }

    pub(super) fn frames(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.link.next_frame()).map(|frame| text(&frame)).collect()
    }

    pub(super) fn emit(&mut self, number: u64, waiter: &'static str) {
        let (namespace, id, now) = (namespace(), AckId::new(number).unwrap(), self.now);
        let awaited = Some(Awaited { waiter, timeout: ms(500) });
        let mut event = Encoded::begin(&namespace, Some(id), Vec::new(), Space::New(8));
        event.json().push_str(r#"["request"]"#);
        self.link.act(now, |connection, lower| connection.emit(&namespace, event.finish(), awaited, lower));
    }

    pub(super) fn closed(&self) -> Option<CloseReason> {
        self.link.session().close_reason()
    }

    /// A WebSocket asks to take over.
    pub(super) fn reserve(&mut self) {
        self.ticket = Some(self.link.reserve_upgrade(Some(self.revision), BinaryAs::Frames, self.now).unwrap());
    }

    /// The candidate says something.
    pub(super) fn say_on_candidate(&mut self, packet: &str) {
        self.link.candidate_frame(self.ticket.unwrap(), Frame::Text(packet.into()), self.now);
    }

    pub(super) fn probe(&mut self) {
        self.reserve();
        self.say_on_candidate("2probe");
        let (ticket, frame) = (self.ticket.unwrap(), Frame::Text("3probe".into()));
        assert_eq!(self.link.next_output(), Some(Output::Candidate { ticket, frame }));
    }

    pub(super) fn upgrade(&mut self) {
        self.probe();
        self.say_on_candidate("5");
        assert_eq!(self.link.next_output(), self.adopted());
    }

    pub(super) fn adopted(&self) -> Option<Output<u32>> {
        self.ticket.map(Output::AdoptCandidate)
    }

    pub(super) fn dropped(&self) -> Option<Output<u32>> {
        self.ticket.map(Output::DropCandidate)
    }
}

pub(super) fn namespace() -> Namespace {
    Namespace::new("/t".into()).unwrap()
}

fn text(frame: &Frame) -> String {
    match frame {
        Frame::Text(text) => text.to_string(),
        Frame::Binary(data) => format!("{data:?}"),
    }
}
