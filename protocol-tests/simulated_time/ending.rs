//! How a session, a join and an ack end.

use std::time::Duration;

use socket2me::proto::engine_io::{CloseReason, Transport};
use socket2me::proto::socket_io::Event;
use socket2me::proto::socket_io::connection::{AckError, Leave};

use super::world::{World, namespace};
use crate::support::ms;

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
    world.link.act(now, |connection, lower| connection.retire(&namespace(), Leave::Namespace, lower));
    assert_eq!(world.frames(), [r#"42/t,0["request"]"#]);
    world.say("43/t,0[200]");
    assert_eq!(world.frames(), ["41/t,"]);
    world.say("43/t,0[200]");
    assert_eq!(world.closed(), None, "what crosses our goodbye is ignored");
    world.pass(ms(300));
    world.say("3");
}
