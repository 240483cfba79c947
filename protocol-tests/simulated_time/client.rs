//! The client's machines, step by step: what they ask of their owner, and what they make of the answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use socket2me::proto::engine_io::client::{Output, Transports};
use socket2me::proto::engine_io::payload::Body;
use socket2me::proto::engine_io::{ClientSession, CloseReason, Frame, Outgoing, Revision, Settings, Space, Transport};
use socket2me::proto::link::ClientLink;
use socket2me::proto::socket_io::connection::client::Credentials;
use socket2me::proto::socket_io::connection::{AckError, Awaited, DisconnectReason, Settings as ConnectionSettings};
use socket2me::proto::socket_io::packet::Encoded;
use socket2me::proto::socket_io::{AckId, ClientConnection, ClientEvent, Namespace};
use socket2me::proto::time::Instant;

use crate::support::ms;

/// The open packet of a server that pings every 300 ms, waits 200 ms, and takes bodies of 100 bytes.
const OPEN: &str =
    r#"0{"sid":"abcdefghijklmnopqrst","upgrades":["websocket"],"pingInterval":300,"pingTimeout":200,"maxPayload":100}"#;

struct Client {
    link: ClientLink<ClientConnection<()>>,
    now: Instant,
}

impl Client {
    fn new(revision: Revision, transports: Transports, credentials: Credentials) -> Self {
        let settings = Settings { upgrade_timeout: ms(1000), ..Settings::default() };
        let now = Instant::ORIGIN;
        let session = ClientSession::open(Arc::new(settings), revision, transports, now);
        let namespace = Namespace::new("/t".into()).unwrap();
        let layer = ClientConnection::new(Arc::new(ConnectionSettings::default()), namespace, credentials);
        Self { link: ClientLink::new(session, layer), now }
    }

    /// A client that has opened its session, and has said what it joins.
    fn opened(revision: Revision, transports: Transports) -> Self {
        let mut client = Self::new(revision, transports, Credentials::None);
        match transports {
            Transports::WebSocket => {
                client.wants(&[Output::OpenWebSocket]);
                client.link.websocket_opened();
                client.hears(OPEN);
            }
            Transports::Polling | Transports::Upgrade => {
                client.wants(&[Output::Poll]);
                client.polls(OPEN);
            }
        }
        client
    }

    fn polls(&mut self, packets: &str) {
        let body = match self.link.session().revision() {
            Revision::V3 => format!("{}:{packets}", packets.len()),
            Revision::V4 => packets.to_owned(),
        };
        self.link.polled(Ok(Body::Text(body.into())), self.now);
    }

    fn hears(&mut self, packet: &str) {
        self.link.websocket_frame(Frame::Text(packet.into()), self.now);
    }

    #[track_caller]
    fn wants(&mut self, expected: &[Output]) {
        let outputs: Vec<_> = std::iter::from_fn(|| self.link.next_output()).collect();
        assert_eq!(outputs, expected);
    }

    #[track_caller]
    fn sends(&mut self, expected: &[&str]) {
        let frames: Vec<_> = std::iter::from_fn(|| self.link.next_frame()).collect();
        let expected: Vec<_> = expected.iter().map(|&text| Frame::Text(text.into())).collect();
        assert_eq!(frames, expected);
    }

    /// Advances the clock, and stops at each deadline on the way.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(deadline) = self.link.deadline().filter(|deadline| *deadline <= until) {
            self.now = deadline;
            self.link.handle_timeout(self.now);
        }
        self.now = until;
    }

    fn closed(&self) -> Option<CloseReason> {
        self.link.session().close_reason()
    }

    fn events(&mut self) -> Vec<ClientEvent<()>> {
        std::iter::from_fn(|| self.link.next_event()).collect()
    }
}

fn post(text: &str) -> Output {
    Output::Post(Body::Text(text.to_owned().into()))
}

#[test]
fn a_client_opens_by_a_poll_and_joins_by_a_post() {
    let mut client = Client::opened(Revision::V4, Transports::Polling);
    assert_eq!(client.link.session().query(Transport::Polling), "EIO=4&transport=polling&sid=abcdefghijklmnopqrst");
    client.wants(&[Output::Poll, post("40/t,")]);
    client.link.posted(true, client.now);
    client.polls(r#"40/t,{"sid":"s"}"#);
    assert_eq!(client.events(), [ClientEvent::Joined]);
    client.wants(&[Output::Poll]);
}

#[test]
fn a_client_shows_its_credentials_as_its_revision_has_them() {
    let with_query = Namespace::new("/t".into()).unwrap().with_query("key=k").unwrap();
    for (revision, credentials, expected) in [
        (Revision::V4, Credentials::Auth(r#"{"key":"k"}"#.into()), r#"40/t,{"key":"k"}"#),
        (Revision::V3, Credentials::Query(with_query), "40/t?key=k,"),
        (Revision::V3, Credentials::None, "40/t,"),
    ] {
        let mut client = Client::new(revision, Transports::WebSocket, credentials);
        client.hears(OPEN);
        client.sends(&[expected]);
    }
    assert_eq!(Namespace::root().with_query("a,b"), None, "a comma would end the namespace");
}

#[test]
fn a_refusal_a_goodbye_and_the_end_of_the_session_are_told_once() {
    let mut client = Client::opened(Revision::V4, Transports::WebSocket);
    client.hears(r#"44/t,{"message":"no"}"#);
    assert_eq!(client.events(), [ClientEvent::Refused { data: Some(r#"{"message":"no"}"#.into()) }]);
    client.hears("1");
    assert_eq!((client.closed(), client.events()), (Some(CloseReason::TransportClose), vec![]));
    for (packet, reason) in [
        ("41/t,", DisconnectReason::ServerLeft),
        ("1", DisconnectReason::Closed(CloseReason::TransportClose)),
        ("nonsense", DisconnectReason::Closed(CloseReason::ParseError)),
    ] {
        let mut client = Client::opened(Revision::V4, Transports::WebSocket);
        client.hears(r#"40/t,{"sid":"s"}"#);
        client.hears(packet);
        assert_eq!(client.events(), [ClientEvent::Joined, ClientEvent::Left { reason }], "{packet}");
        client.hears("41/t,");
        assert_eq!(client.events(), [], "{packet}");
    }
}

#[test]
fn a_silent_server_is_given_up_after_a_heartbeats_time() {
    let mut client = Client::opened(Revision::V4, Transports::WebSocket);
    client.sends(&["40/t,"]);
    for _ in 0..10 {
        client.pass(ms(450));
        client.hears("2");
        client.sends(&["3"]);
    }
    client.pass(ms(499));
    assert_eq!(client.closed(), None);
    client.pass(ms(1));
    assert_eq!(client.closed(), Some(CloseReason::PingTimeout));
}

#[test]
fn in_revision_3_the_client_pings() {
    let mut client = Client::opened(Revision::V3, Transports::WebSocket);
    client.sends(&["40/t,"]);
    for _ in 0..10 {
        client.pass(ms(300));
        client.sends(&["2"]);
        client.pass(ms(199));
        client.hears("3");
    }
    client.pass(ms(499));
    client.sends(&["2"]);
    assert_eq!(client.closed(), None);
    client.pass(ms(1));
    assert_eq!(client.closed(), Some(CloseReason::PingTimeout));
}

#[test]
fn an_upgrade_waits_for_the_requests_that_are_on_their_way() {
    let mut client = Client::opened(Revision::V4, Transports::Upgrade);
    client.wants(&[Output::OpenWebSocket, Output::Poll, post("40/t,")]);
    client.link.websocket_opened();
    client.wants(&[Output::Candidate(Frame::Text("2probe".into()))]);
    client.link.candidate_frame(Frame::Text("3probe".into()));
    client.wants(&[]);
    client.polls("6");
    client.wants(&[]);
    client.link.posted(true, client.now);
    client.wants(&[Output::Candidate(Frame::Text("5".into())), Output::AdoptCandidate]);
    client.hears(r#"40/t,{"sid":"s"}"#);
    assert_eq!(client.events(), [ClientEvent::Joined]);
    client.hears("2");
    client.sends(&["3"]);
}

#[test]
fn polling_goes_on_when_the_candidate_fails() {
    type Fault = fn(&mut Client);
    let faults: [(Fault, &[Output]); 3] = [
        (|client| client.link.websocket_lost(CloseReason::TransportError, client.now), &[]),
        (|client| client.link.candidate_frame(Frame::Text("3".into())), &[Output::DropCandidate]),
        (
            |client| {
                client.pass(ms(400));
                client.polls("2");
                client.pass(ms(400));
                client.polls("2");
                client.pass(ms(200));
            },
            &[Output::DropCandidate],
        ),
    ];
    for (fault, expected) in faults {
        let mut client = Client::opened(Revision::V4, Transports::Upgrade);
        client.wants(&[Output::OpenWebSocket, Output::Poll, post("40/t,")]);
        client.link.posted(true, client.now);
        fault(&mut client);
        let outputs: Vec<_> = std::iter::from_fn(|| client.link.next_output()).collect();
        assert_eq!(outputs.first(), expected.first());
        client.polls(r#"40/t,{"sid":"s"}"#);
        assert_eq!((client.closed(), client.events()), (None, vec![ClientEvent::Joined]));
        assert!(std::iter::from_fn(|| client.link.next_output()).any(|output| output == Output::Poll));
    }
}

#[test]
fn a_post_has_no_more_than_the_server_takes() {
    let mut client = Client::opened(Revision::V4, Transports::Polling);
    client.wants(&[Output::Poll, post("40/t,")]);
    for _ in 0..3 {
        let now = client.now;
        client.link.act(now, |_, lower| lower.send(Outgoing::binary(Bytes::from_static(&[0; 30]))));
    }
    client.wants(&[]);
    client.link.posted(true, client.now);
    let binary = format!("b{}", "A".repeat(40));
    client.wants(&[post(&format!("{binary}\u{1e}{binary}"))]);
    client.link.posted(true, client.now);
    client.wants(&[post(&binary)]);
    client.link.posted(false, client.now);
    assert_eq!(client.closed(), Some(CloseReason::TransportError));
}

#[test]
fn a_message_over_the_limit_costs_its_own_ack_alone() {
    let mut client = Client::opened(Revision::V4, Transports::WebSocket);
    client.hears(r#"40/t,{"sid":"s"}"#);
    let emit = |client: &mut Client, number: u64| {
        let id = AckId::new(number);
        let mut event = Encoded::begin(&Namespace::new("/t".into()).unwrap(), id, Vec::new(), Space::New(0));
        event.json().push_str("[\"e\"]");
        let (event, awaited) = (event.finish(), Awaited { waiter: (), timeout: ms(60_000) });
        let now = client.now;
        client.link.act(now, |connection, lower| connection.emit(event, Some(awaited), lower));
    };
    (0..2).for_each(|number| emit(&mut client, number));
    client.pass(ms(450));
    let oversized = |client: &mut Client, start| client.link.websocket_oversized(start, client.now);
    oversized(&mut client, Some(r#"43/t,0["#));
    client.pass(ms(450));
    assert_eq!(client.closed(), None, "it is a sign of life");
    // An event that is dropped asks for nothing, and neither does a binary message.
    oversized(&mut client, Some(r#"42/t,7["#));
    client.hears(r#"461-/t,1[{"_placeholder":true,"num":0}]"#);
    oversized(&mut client, None);
    let acked = |outcome| ClientEvent::Acked { waiter: (), outcome: Err(outcome) };
    assert_eq!(client.events(), [ClientEvent::Joined, acked(AckError::Oversized), acked(AckError::Oversized)]);
    oversized(&mut client, Some("2"));
    assert_eq!(client.closed(), Some(CloseReason::ParseError), "only a message may be large");
    let mut client = Client::new(Revision::V4, Transports::WebSocket, Credentials::None);
    oversized(&mut client, Some("0{"));
    assert_eq!(client.closed(), Some(CloseReason::ParseError), "the session is not open");
}

#[test]
fn a_client_says_goodbye_last() {
    let mut client = Client::opened(Revision::V4, Transports::WebSocket);
    client.link.close(CloseReason::ForcedClose, client.now);
    assert!(!client.link.session().is_finished());
    client.sends(&["40/t,", "1"]);
    assert!(client.link.session().is_finished());
    let mut client = Client::opened(Revision::V4, Transports::Polling);
    client.link.close(CloseReason::ForcedClose, client.now);
    client.wants(&[post("40/t,\u{1e}1")]);
    assert!(!client.link.session().is_finished());
    client.link.posted(true, client.now);
    assert!(client.link.session().is_finished());
    client.wants(&[]);
}

#[test]
fn a_session_that_does_not_open_is_given_up() {
    for transports in [Transports::Polling, Transports::WebSocket] {
        let mut client = Client::new(Revision::V4, transports, Credentials::None);
        client.pass(Duration::from_secs(20));
        assert_eq!(client.closed(), Some(CloseReason::PingTimeout));
    }
    for open in ["40", "0{}", r#"0{"sid":"short","upgrades":[],"pingInterval":1,"pingTimeout":1}"#, ""] {
        let mut client = Client::new(Revision::V4, Transports::WebSocket, Credentials::None);
        client.hears(open);
        assert_eq!(client.closed(), Some(CloseReason::ParseError), "{open}");
    }
}
