//! Awaited acks and large messages over a simulated clock, on a session below and without a socket.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;

use super::{AckError, Awaited, Connection, Event, Settings};
use crate::proto::engine_io::{
    CloseReason, Frame, Revision, Session, Settings as EngineSettings, Sid, Space, Transport,
};
use crate::proto::link::ServerLink;
use crate::proto::socket_io::namespace::Namespace;
use crate::proto::socket_io::packet::{AckId, Encoded};
use crate::proto::time::Instant;

/// A client on a WebSocket that has joined `/t`, and what its waiters were told, with the time in milliseconds.
struct World {
    link: ServerLink<Connection<&'static str>, ()>,
    now: Instant,
    told: Vec<(u128, &'static str, Result<String, AckError>)>,
    /// The ids of acks that nobody waited for.
    unawaited: Vec<u64>,
}

impl World {
    fn joined() -> Self {
        Self::joined_as(Revision::V4, EngineSettings::default())
    }

    fn joined_as(revision: Revision, settings: EngineSettings) -> Self {
        let now = Instant::ORIGIN;
        let sid = Sid::from_random([7; 15]);
        let session = Session::open(Arc::new(settings), sid, revision, Transport::WebSocket, now);
        let connection = Connection::new(Arc::new(Settings::default()), revision, now);
        let mut world =
            Self { link: ServerLink::new(session, connection), now, told: Vec::new(), unawaited: Vec::new() };
        assert_eq!(world.sent().len(), 1, "the open packet");
        world.say("40/t,");
        assert!(world.link.act(now, |connection, lower| connection.accept(&namespace(), "s", lower)));
        assert_eq!(world.sent().len(), 1, "the packet of the namespace");
        world
    }

    fn close_reason(&self) -> Option<CloseReason> {
        self.link.session().close_reason()
    }

    /// Emits an event whose text has the id, and which is to be answered within the timeout.
    fn emit(&mut self, id: Option<u64>, waiter: &'static str, timeout: u64) {
        let id = id.map(|number| AckId::new(number).unwrap());
        let mut event = Encoded::begin(&namespace(), id, Vec::new(), Space::New(8));
        event.json().push_str("[\"e\"]");
        let awaited = Some(Awaited { waiter, timeout: Duration::from_millis(timeout) });
        self.link.act(self.now, |connection, lower| connection.emit(&namespace(), event.finish(), awaited, lower));
        self.hear();
    }

    fn say(&mut self, text: &'static str) {
        self.link.websocket_frame(Frame::Text(ByteString::from_static(text)), self.now);
        self.hear();
    }

    /// Emits an event that may be lost, and returns whether it was sent.
    fn offer(&mut self) -> bool {
        let mut event = Encoded::begin(&namespace(), None, Vec::new(), Space::New(8));
        event.json().push_str("[\"n\"]");
        self.link.act(self.now, |connection, lower| connection.offer(&namespace(), event.finish(), lower))
    }

    /// The frames that the client gets.
    fn sent(&mut self) -> Vec<String> {
        let frames = std::iter::from_fn(|| self.link.next_frame());
        let text = |frame| match frame {
            Frame::Text(text) => text.to_string(),
            Frame::Binary(data) => panic!("{data:?}"),
        };
        frames.map(text).collect()
    }

    /// Lets time pass until this many milliseconds after the start, stopping at each deadline.
    fn pass_until(&mut self, milliseconds: u64) {
        let until = Instant::after_origin(Duration::from_millis(milliseconds));
        while let Some(deadline) = self.link.deadline().filter(|deadline| *deadline <= until) {
            self.now = deadline;
            self.link.handle_timeout(deadline);
            self.hear();
        }
        self.now = until;
    }

    fn hear(&mut self) {
        while let Some(event) = self.link.next_event() {
            match event {
                Event::Acked { waiter, outcome } => {
                    let outcome = outcome.map(|answer| answer.args.json().to_string());
                    self.told.push((self.now.since_origin().as_millis(), waiter, outcome));
                }
                Event::Unawaited { id, .. } => self.unawaited.push(id.number()),
                Event::Connect { .. } | Event::Received { .. } | Event::Disconnected { .. } => (),
            }
        }
    }
}

fn namespace() -> Namespace {
    Namespace::new("/t".into()).unwrap()
}

#[test]
fn an_event_times_out_on_time_whatever_the_order_of_ids() {
    let mut world = World::joined();
    world.emit(Some(5), "five", 500);
    world.pass_until(200);
    world.emit(Some(3), "three", 500);
    world.pass_until(1000);
    assert_eq!(world.told, [(500, "five", Err(AckError::TimedOut)), (700, "three", Err(AckError::TimedOut))]);
}

#[test]
fn each_event_has_a_timeout_of_its_own() {
    let mut world = World::joined();
    world.emit(Some(1), "patient", 900);
    world.emit(Some(2), "hasty", 100);
    world.pass_until(1000);
    assert_eq!(world.told, [(100, "hasty", Err(AckError::TimedOut)), (900, "patient", Err(AckError::TimedOut))]);
}

#[test]
fn an_event_whose_id_is_still_awaited_is_refused_and_the_first_is_unharmed() {
    let mut world = World::joined();
    world.emit(Some(9), "first", 500);
    world.emit(Some(9), "second", 500);
    assert_eq!(world.told, [(0, "second", Err(AckError::DuplicateId))]);
    assert_eq!(world.sent(), ["42/t,9[\"e\"]"], "the second was not sent");
    world.say("43/t,9[200]");
    world.say("43/t,9[500]");
    assert_eq!(world.told[1..], [(0, "first", Ok("[200]".to_owned()))]);
    world.emit(Some(9), "third", 500);
    assert_eq!(world.sent(), ["42/t,9[\"e\"]"], "an id is free once its ack has come");
    world.pass_until(500);
    assert_eq!(world.told[2..], [(500, "third", Err(AckError::TimedOut))]);
}

#[test]
fn an_ack_that_is_late_repeated_or_of_no_event_is_told_apart() {
    let mut world = World::joined();
    world.emit(Some(1), "one", 500);
    world.emit(Some(2), "two", 500);
    world.emit(Some(3), "three", 500);
    world.say("43/t,1[200]");
    world.say("43/t,1[200]");
    world.link.act(world.now, |connection, lower| connection.cancel(&namespace(), AckId::new(2).unwrap(), lower));
    world.say("43/t,2[200]");
    world.pass_until(500);
    world.say("43/t,3[200]");
    world.link.websocket_oversized(Some("43/t,9["), world.now);
    world.hear();
    assert_eq!(world.told, [(0, "one", Ok("[200]".to_owned())), (500, "three", Err(AckError::TimedOut))]);
    assert_eq!(world.unawaited, [1, 2, 3, 9]);
    world.say("43/t,[200]");
    world.say("41/t,");
    assert_eq!((world.unawaited.len(), world.close_reason()), (4, None));
}

#[test]
fn an_event_that_may_be_lost_is_sent_while_nothing_waits() {
    let mut world = World::joined();
    assert!(world.offer() && world.offer());
    assert_eq!(world.sent(), ["42/t,[\"n\"]", "42/t,[\"n\"]"]);
    world.emit(Some(1), "one", 500);
    assert!(!world.offer(), "an event waits");
    assert_eq!(world.sent(), ["42/t,1[\"e\"]"]);
    assert!(world.offer());
    world.emit(Some(2), "two", 500);
    assert_eq!(world.sent(), ["42/t,[\"n\"]", "42/t,2[\"e\"]"]);
    world.link.set_behind(true);
    assert!(!world.offer(), "the client does not read");
    world.link.set_behind(false);
    world.link.act(world.now, |connection, lower| connection.disconnect(&namespace(), lower));
    world.sent();
    assert!(!world.offer(), "the client was made to leave");
}

#[test]
fn an_event_without_an_id_cannot_be_awaited() {
    let mut world = World::joined();
    world.emit(None, "nobody", 500);
    assert_eq!(world.told, [(0, "nobody", Err(AckError::MissingId))]);
    assert_eq!(world.sent(), Vec::<String>::new());
}

#[test]
fn an_event_is_sent_whole_or_refused_whole() {
    let mut refused = 0;
    let cases = [Revision::V3, Revision::V4]
        .into_iter()
        .flat_map(|revision| (1..5).flat_map(move |packets| (20..60).map(move |bytes| (revision, packets, bytes))));
    for (revision, max_buffered_packets, max_buffered_bytes) in cases {
        let settings = EngineSettings { max_buffered_packets, max_buffered_bytes, ..EngineSettings::default() };
        let mut world = World::joined_as(revision, settings);
        let attachments = vec![Bytes::from_static(&[0; 10]); 2];
        let mut event = Encoded::begin(&namespace(), AckId::new(1), attachments, Space::New(8));
        event.json().push_str("[\"e\"]");
        let awaited = Some(Awaited { waiter: "w", timeout: Duration::from_secs(1) });
        world.link.act(world.now, |connection, lower| connection.emit(&namespace(), event.finish(), awaited, lower));
        world.hear();
        let frames = std::iter::from_fn(|| world.link.next_frame()).count();
        let what = format!("{revision:?}, at most {max_buffered_packets} packets and {max_buffered_bytes} bytes");
        match frames {
            0 => assert_eq!(world.told, [(0, "w", Err(AckError::Overloaded))], "{what}"),
            frames => assert_eq!((frames, world.told.as_slice()), (3, [].as_slice()), "{what}"),
        }
        assert_eq!(world.close_reason(), None, "{what}");
        refused += usize::from(frames == 0);
    }
    assert!((1..2 * 4 * 40).contains(&refused), "{refused}");
}

#[test]
fn a_large_message_that_comes_too_late_is_not_heard() {
    let mut world = World::joined();
    world.emit(Some(1), "w", 60_000);
    world.now = Instant::after_origin(Duration::from_secs(46));
    world.link.websocket_oversized(Some("43/t,1["), world.now);
    world.hear();
    assert_eq!(world.close_reason(), Some(CloseReason::PingTimeout));
    assert_eq!(world.told, [(46_000, "w", Err(AckError::Disconnected))]);
}

#[test]
fn a_large_message_shows_that_its_client_of_revision_3_is_alive() {
    let mut world = World::joined_as(Revision::V3, EngineSettings::default());
    world.pass_until(40_000);
    world.link.websocket_oversized(Some("42/t,["), world.now);
    world.pass_until(80_000);
    assert_eq!(world.close_reason(), None);
    world.pass_until(86_000);
    assert_eq!(world.close_reason(), Some(CloseReason::PingTimeout));
}
