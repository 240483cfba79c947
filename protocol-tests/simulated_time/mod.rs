//! The session and the connection over a simulated clock: no socket, no task, no waiting.

mod revision_3;

use std::sync::Arc;
use std::time::Duration;

use socket2me::proto::engine_io::payload::Body;
use socket2me::proto::engine_io::session::{Output, PollAnswer, PostError, UpgradeError, UpgradeTicket};
use socket2me::proto::engine_io::{
    BinaryAs, CloseReason, Frame, Rejection, Revision, Session, Settings as EngineSettings, Sid, Space, Transport,
};
use socket2me::proto::link::ServerLink;
use socket2me::proto::socket_io::connection::{AckError, Awaited, DisconnectReason, Settings};
use socket2me::proto::socket_io::packet::Encoded;
use socket2me::proto::socket_io::{AckId, Connection, Event, Namespace};
use socket2me::proto::time::Instant;

type Link = ServerLink<Connection<&'static str>, u32>;

const V4: Option<Revision> = Some(Revision::V4);

/// A server's link and the time, which only the test advances.
struct World {
    link: Link,
    revision: Revision,
    now: Instant,
    /// The candidate that was reserved last.
    ticket: Option<UpgradeTicket>,
}

impl World {
    /// Opens a session of revision 4.
    fn open(transport: Transport) -> Self {
        Self::of(Revision::V4, transport)
    }

    /// Opens a session. Pings come every 300 ms and wait 200 ms; an upgrade may take 1 s, a join 2 s, an ack 500 ms.
    fn of(revision: Revision, transport: Transport) -> Self {
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
    fn joined(transport: Transport) -> Self {
        let mut world = Self::open(transport);
        world.say("40/t,");
        world.accept(&namespace());
        world.hear(transport, r#"40/t,{"sid":"s"}"#);
        world
    }

    /// The same in revision 3, where a client is in the default namespace as well.
    fn joined_v3(transport: Transport) -> Self {
        let mut world = Self::of(Revision::V3, transport);
        world.accept(&Namespace::root());
        world.hear(transport, "40");
        world.say("40/t,");
        world.accept(&namespace());
        world.hear(transport, "40/t,");
        world
    }

    /// Accepts the CONNECT to this namespace, which must be the next event.
    fn accept(&mut self, namespace: &Namespace) {
        assert!(matches!(self.link.next_event(), Some(Event::Connect { namespace: asked, .. }) if asked == *namespace));
        let now = self.now;
        assert!(self.link.act(now, |connection, lower| connection.accept(namespace, "s", lower)));
    }

    /// This packet and no other is on its way to the client.
    #[track_caller]
    fn hear(&mut self, transport: Transport, packet: &str) {
        match transport {
            Transport::Polling => assert_eq!(self.poll(1), Some((1, packet.to_owned()))),
            Transport::WebSocket => assert_eq!(self.frames(), [packet]),
        }
    }

    /// Advances the clock, and stops at each deadline on the way, as a session's task would.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(deadline) = self.link.deadline().filter(|deadline| *deadline <= until) {
            assert!(deadline >= self.now, "a deadline that is past must have been dealt with");
            self.now = deadline;
            self.link.handle_timeout(self.now);
        }
        self.now = until;
    }

    /// Receives a packet from the client on the session's transport.
    fn say(&mut self, packet: &str) {
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
    fn poll(&mut self, number: u32) -> Option<(u32, String)> {
        self.link.poll(number, Some(self.revision), self.now);
        self.answer()
    }

    /// Takes the next answer to a poll.
    fn answer(&mut self) -> Option<(u32, String)> {
        match self.link.next_output()? {
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

    fn frames(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.link.next_frame()).map(|frame| text(&frame)).collect()
    }

    fn emit(&mut self, number: u64, waiter: &'static str) {
        let (namespace, id, now) = (namespace(), AckId::new(number).unwrap(), self.now);
        let awaited = Some(Awaited { waiter, timeout: ms(500) });
        let mut event = Encoded::begin(&namespace, Some(id), Vec::new(), Space::New(8));
        event.json().push_str(r#"["request"]"#);
        self.link.act(now, |connection, lower| connection.emit(&namespace, event.finish(), awaited, lower));
    }

    fn closed(&self) -> Option<CloseReason> {
        self.link.session().close_reason()
    }

    /// A WebSocket asks to take over.
    fn reserve(&mut self) {
        self.ticket = Some(self.link.reserve_upgrade(Some(self.revision), BinaryAs::Frames, self.now).unwrap());
    }

    /// The candidate says something.
    fn say_on_candidate(&mut self, packet: &str) {
        self.link.candidate_frame(self.ticket.unwrap(), Frame::Text(packet.into()), self.now);
    }

    fn probe(&mut self) {
        self.reserve();
        self.say_on_candidate("2probe");
        let (ticket, frame) = (self.ticket.unwrap(), Frame::Text("3probe".into()));
        assert_eq!(self.link.next_output(), Some(Output::Candidate { ticket, frame }));
    }

    fn upgrade(&mut self) {
        self.probe();
        self.say_on_candidate("5");
        assert_eq!(self.link.next_output(), self.adopted());
    }

    fn adopted(&self) -> Option<Output<u32>> {
        self.ticket.map(Output::AdoptCandidate)
    }

    fn dropped(&self) -> Option<Output<u32>> {
        self.ticket.map(Output::DropCandidate)
    }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn namespace() -> Namespace {
    Namespace::new("/t".into()).unwrap()
}

fn text(frame: &Frame) -> String {
    match frame {
        Frame::Text(text) => text.to_string(),
        Frame::Binary(data) => format!("{data:?}"),
    }
}

#[test]
fn the_first_ping_comes_a_whole_interval_after_the_handshake() {
    let mut world = World::joined(Transport::WebSocket);
    world.pass(ms(299));
    assert!(world.frames().is_empty());
    world.pass(ms(1));
    assert_eq!(world.frames(), ["2"]);
}

#[test]
fn a_session_that_answers_lives_for_a_simulated_day() {
    let mut world = World::joined(Transport::WebSocket);
    let mut pings = 0;
    while world.now.since_origin() < Duration::from_secs(24 * 3600) {
        world.pass(ms(300));
        for frame in world.frames() {
            assert_eq!(frame, "2");
            pings += 1;
            world.say("3");
        }
    }
    assert_eq!(world.closed(), None);
    assert_eq!(pings, 24 * 3600 * 1000 / 300, "one ping an interval, not more");
}

#[test]
fn a_session_without_pong_dies_at_interval_plus_timeout_to_the_millisecond() {
    for transport in [Transport::WebSocket, Transport::Polling] {
        let mut world = World::joined(transport);
        world.pass(ms(499));
        assert_eq!(world.closed(), None, "{transport:?}");
        world.pass(ms(1));
        assert_eq!(world.closed(), Some(CloseReason::PingTimeout), "{transport:?}");
        assert!(matches!(
            world.link.next_event(),
            Some(Event::Disconnected { reason: DisconnectReason::Closed(CloseReason::PingTimeout), .. })
        ));
    }
}

#[test]
fn a_late_timer_gives_the_peer_no_more_time() {
    let mut world = World::joined(Transport::Polling);
    world.now = world.now + ms(500);
    assert_eq!(world.poll(2), Some((2, "SessionUnknown".to_owned())), "the poll itself finds the session dead");
}

#[test]
fn any_packet_while_the_pong_is_awaited_extends_the_wait_once() {
    let mut world = World::joined(Transport::WebSocket);
    world.pass(ms(400));
    world.say("42/t,[\"busy\"]");
    world.pass(ms(150));
    world.say("42/t,[\"busy\"]");
    assert_eq!(world.closed(), None, "550 ms: extended to 600 ms");
    world.pass(ms(50));
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout), "600 ms: once and not again");
}

#[test]
fn unasked_pongs_leave_one_deadline() {
    let mut world = World::joined(Transport::WebSocket);
    for _ in 0..1000 {
        world.say("3");
    }
    world.pass(ms(300));
    assert_eq!(world.frames(), ["2"], "CVE-2026-48802: a pong starts no timer of its own");
}

#[test]
fn a_ping_from_a_revision_4_client_is_fatal() {
    for packet in ["2", "2probe"] {
        let mut world = World::joined(Transport::WebSocket);
        world.say(packet);
        assert_eq!(world.closed(), Some(CloseReason::TransportError), "{packet}");
    }
}

#[test]
fn an_upgrade_releases_the_poll_and_moves_what_waits() {
    let mut world = World::joined(Transport::Polling);
    assert_eq!(world.poll(2), None);
    world.probe();
    world.pass(ms(1));
    assert_eq!(world.answer(), None, "a `5` sent with the probe may still overtake it");
    world.pass(ms(1));
    assert_eq!(world.answer(), Some((2, "6".to_owned())));
    world.emit(0, "a");
    world.say_on_candidate("5");
    assert_eq!(world.link.next_output(), world.adopted());
    assert_eq!(world.frames(), [r#"42/t,0["request"]"#], "what was not collected goes over the WebSocket, once");
    assert_eq!(world.poll(3), Some((3, "BadRequest".to_owned())));
    assert_eq!(world.link.begin_post(V4, world.now), Err(PostError::Rejected(Rejection::BadRequest)));
    assert_eq!(world.link.reserve_upgrade(V4, BinaryAs::Frames, world.now), Err(UpgradeError::NoPlace));
}

#[test]
fn a_noop_never_goes_over_the_websocket() {
    let mut world = World::joined(Transport::Polling);
    assert_eq!(world.poll(2), None);
    world.probe();
    // The poll is released before the upgrade ends, but the answer is collected after it.
    world.now = world.now + ms(2);
    world.link.handle_timeout(world.now);
    world.say_on_candidate("5");
    assert_eq!(world.answer(), Some((2, "6".to_owned())));
    assert_eq!(world.link.next_output(), world.adopted());
    assert!(world.frames().is_empty());
}

#[test]
fn before_the_probe_polling_goes_on_as_if_nothing_were() {
    let mut world = World::joined(Transport::Polling);
    assert_eq!(world.poll(2), None);
    world.reserve();
    world.pass(ms(100));
    assert_eq!(world.answer(), None, "a WebSocket that is silent frees no poll");
    world.emit(0, "a");
    assert_eq!(world.answer(), Some((2, r#"42/t,0["request"]"#.to_owned())));
}

#[test]
fn a_poll_after_the_probe_waits_a_moment_for_the_upgrade_to_overtake_it() {
    let mut world = World::joined(Transport::Polling);
    world.probe();
    assert_eq!(world.poll(2), None);
    world.say_on_candidate("5");
    assert_eq!(world.answer(), Some((2, "BadRequest".to_owned())));

    let mut world = World::joined(Transport::Polling);
    world.probe();
    assert_eq!(world.poll(2), None);
    world.pass(ms(9));
    assert_eq!(world.answer(), None);
    world.pass(ms(1));
    assert_eq!(world.answer(), Some((2, "6".to_owned())));
}

#[test]
fn an_upgrade_that_fails_leaves_polling_alive() {
    for frame in ["", "2", "3probe", "5", "4hello", "x"] {
        let mut world = World::joined(Transport::Polling);
        world.reserve();
        world.say_on_candidate(frame);
        assert_eq!(world.link.next_output(), world.dropped(), "{frame:?}");
        assert_eq!(world.poll(2), None, "{frame:?}");
        world.reserve();
    }
    let mut world = World::joined(Transport::Polling);
    world.probe();
    world.say_on_candidate("4hello");
    assert_eq!(world.link.next_output(), world.dropped(), "the second frame must be 5");
    assert_eq!(world.closed(), None);
}

#[test]
fn an_upgrade_that_takes_too_long_ends_and_the_heartbeat_goes_on_meanwhile() {
    let mut world = World::joined(Transport::Polling);
    world.reserve();
    for _ in 0..3 {
        world.pass(ms(300));
        assert_eq!(world.poll(9), Some((9, "2".to_owned())));
        world.say("3");
    }
    world.pass(ms(99));
    assert_eq!(world.link.next_output(), None);
    world.pass(ms(1));
    assert_eq!(world.link.next_output(), world.dropped());
    assert_eq!(world.closed(), None);
}

#[test]
fn a_session_that_dies_takes_its_candidate_along() {
    let mut world = World::joined(Transport::Polling);
    world.reserve();
    world.pass(ms(500));
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
    assert_eq!(world.link.next_output(), world.dropped());
}

#[test]
fn a_client_that_closed_gets_one_last_noop_within_a_second() {
    let mut world = World::joined(Transport::Polling);
    world.say("1");
    assert_eq!(world.closed(), Some(CloseReason::TransportClose));
    assert!(!world.link.session().is_finished());
    assert_eq!(world.poll(2), Some((2, "6".to_owned())));
    assert!(world.link.session().is_finished());
    assert_eq!(world.poll(3), Some((3, "SessionUnknown".to_owned())));

    let mut world = World::joined(Transport::Polling);
    world.say("1");
    world.pass(ms(1000));
    assert!(world.link.session().is_finished());
}

#[test]
fn an_orderly_close_waits_half_a_minute_for_the_poll_that_takes_it() {
    let mut world = World::joined(Transport::Polling);
    world.emit(0, "a");
    world.link.close(CloseReason::ForcedServerClose, world.now);
    world.pass(Duration::from_secs(29));
    assert_eq!(world.poll(2), Some((2, r#"42/t,0["request"]|1"#.to_owned())));
    assert!(world.link.session().is_finished());

    let mut world = World::joined(Transport::Polling);
    world.link.close(CloseReason::ForcedServerClose, world.now);
    world.pass(Duration::from_secs(30));
    assert!(world.link.session().is_finished());
}

#[test]
fn a_connection_that_joins_nothing_is_closed() {
    let mut world = World::open(Transport::WebSocket);
    for _ in 0..6 {
        world.pass(ms(300));
        world.say("3");
    }
    world.pass(ms(199));
    assert_eq!(world.closed(), None);
    world.pass(ms(1));
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
}

#[test]
fn every_waiter_is_told_one_outcome() {
    let mut world = World::joined(Transport::WebSocket);
    world.emit(0, "answered");
    world.emit(1, "late");
    world.say("43/t,0[200]");
    world.say("43/t,0[500]");
    world.pass(ms(300));
    world.say("3");
    world.emit(2, "cut off");
    world.pass(ms(200));
    world.say("43/t,1[200]");
    world.link.websocket_lost(CloseReason::TransportClose, world.now);
    let mut heard = Vec::new();
    while let Some(event) = world.link.next_event() {
        if let Event::Acked { waiter, outcome } = event {
            heard.push((waiter, outcome.map(|answer| answer.args.json().to_string())));
        }
    }
    assert_eq!(
        heard,
        [
            ("answered", Ok("[200]".to_owned())),
            ("late", Err(AckError::TimedOut)),
            ("cut off", Err(AckError::Disconnected)),
        ]
    );
}

#[test]
fn a_retiring_end_finishes_what_it_was_asked() {
    let mut world = World::joined(Transport::WebSocket);
    world.emit(0, "asked before");
    let now = world.now;
    world.link.act(now, |connection, lower| connection.retire(&namespace(), lower));
    assert_eq!(world.frames(), [r#"42/t,0["request"]"#]);
    world.say("43/t,0[200]");
    assert_eq!(world.frames(), ["41/t,"]);
    world.say("43/t,0[200]");
    assert_eq!(world.closed(), None, "what crosses our goodbye is ignored");
    world.pass(ms(300));
    world.say("3");
}
