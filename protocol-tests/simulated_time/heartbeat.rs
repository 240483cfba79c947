//! The heartbeat of revision 4 (PROTOCOL.md, "A session"): the server pings, and a silent client is given up on time.

use std::time::Duration;

use socket2me::proto::engine_io::{CloseReason, Transport};
use socket2me::proto::socket_io::Event;
use socket2me::proto::socket_io::connection::DisconnectReason;

use super::world::World;
use crate::support::ms;

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
