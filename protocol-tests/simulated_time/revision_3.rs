//! The heartbeat of revision 3 (PROTOCOL.md, "A session"): the client pings, and the server closes a session that it hears
//! nothing from.

use std::time::Duration;

use socket2me::proto::engine_io::payload::Body;
use socket2me::proto::engine_io::session::PostError;
use socket2me::proto::engine_io::{CloseReason, Frame, Rejection, Revision, Settings as EngineSettings, Transport};
use socket2me::proto::socket_io::Event;
use socket2me::proto::socket_io::connection::DisconnectReason;

use super::world::World;
use crate::support::ms;

const BOTH: [Transport; 2] = [Transport::Polling, Transport::WebSocket];
const V3: Option<Revision> = Some(Revision::V3);

#[test]
fn a_session_that_says_nothing_dies_at_interval_plus_timeout_to_the_millisecond() {
    for transport in BOTH {
        let mut world = World::joined_v3(transport);
        world.pass(ms(499));
        assert_eq!(world.closed(), None, "{transport:?}");
        assert!(world.frames().is_empty(), "it is not the server that pings");
        world.pass(ms(1));
        assert_eq!(world.closed(), Some(CloseReason::PingTimeout), "{transport:?}");
        let mut left = Vec::new();
        while let Some(event) = world.link.next_event() {
            match event {
                Event::Disconnected { namespace, reason } => {
                    assert_eq!(reason, DisconnectReason::Closed(CloseReason::PingTimeout));
                    left.push(namespace.as_str().to_owned());
                }
                other => panic!("{other:?}"),
            }
        }
        left.sort();
        assert_eq!(left, ["/", "/t"], "each namespace hears of it once");
    }
}

#[test]
fn a_waiting_poll_does_not_keep_a_silent_session_alive() {
    let mut world = World::joined_v3(Transport::Polling);
    assert_eq!(world.poll(2), None);
    world.pass(ms(500));
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout), "a poll is no packet");
    assert_eq!(world.answer(), Some((2, "1".to_owned())));
}

#[test]
fn a_late_timer_gives_the_peer_no_more_time() {
    let mut world = World::joined_v3(Transport::Polling);
    world.now = world.now + ms(500);
    // A case of the published suite: a POST at exactly this time.
    assert_eq!(world.link.begin_post(V3, world.now), Err(PostError::Rejected(Rejection::SessionUnknown)));
    let mut world = World::joined_v3(Transport::WebSocket);
    world.now = world.now + ms(500);
    world.say("2");
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
}

#[test]
fn any_packet_postpones_the_end() {
    for transport in BOTH {
        for packet in ["2", "2abc", "6", "0", "5", "42/t,[\"a\"]", "43/t,0[]", "42/u,[\"a\"]", "451-/t,[\"a\"]"] {
            let mut world = World::joined_v3(transport);
            for _ in 0..3 {
                world.pass(ms(499));
                world.say(packet);
                if packet.starts_with("45") {
                    world.say("b4");
                }
            }
            world.pass(ms(499));
            assert_eq!(world.closed(), None, "{transport:?} {packet}");
            world.pass(ms(1));
            assert_eq!(world.closed(), Some(CloseReason::PingTimeout), "{transport:?} {packet}");
        }
    }
}

#[test]
fn a_session_that_pings_lives_for_a_simulated_day() {
    for transport in BOTH {
        let mut world = World::joined_v3(transport);
        while world.now.since_origin() < Duration::from_secs(24 * 3600) {
            world.pass(ms(300));
            world.say("2");
            world.hear(transport, "3");
        }
        assert_eq!(world.closed(), None, "there is no connect deadline either");
    }
}

#[test]
fn pings_leave_one_deadline() {
    let mut world = World::joined_v3(Transport::WebSocket);
    for _ in 0..1000 {
        world.say("2");
    }
    assert_eq!(world.frames().len(), 1000);
    world.pass(ms(499));
    assert_eq!(world.closed(), None);
    world.pass(ms(1));
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout), "CVE-2026-48802: a ping starts no timer of its own");
}

#[test]
fn a_pong_from_a_revision_3_client_is_fatal() {
    for transport in BOTH {
        for packet in ["3", "3probe"] {
            let mut world = World::joined_v3(transport);
            world.say(packet);
            assert_eq!(world.closed(), Some(CloseReason::TransportError), "{transport:?} {packet}");
        }
    }
}

#[test]
fn the_heartbeat_is_kept_across_an_upgrade() {
    for pings_after_it in [0, 1, 2] {
        let mut world = World::joined_v3(Transport::Polling);
        world.pass(ms(300));
        world.say("2");
        world.hear(Transport::Polling, "3");
        world.upgrade();
        for _ in 0..pings_after_it {
            world.pass(ms(499));
            world.say("2");
            world.hear(Transport::WebSocket, "3");
        }
        world.pass(ms(499));
        assert_eq!(world.closed(), None, "{pings_after_it}");
        world.pass(ms(1));
        assert_eq!(world.closed(), Some(CloseReason::PingTimeout), "after {pings_after_it} pings");
    }
}

#[test]
fn the_heartbeat_goes_on_during_an_upgrade() {
    let mut world = World::joined_v3(Transport::Polling);
    world.reserve();
    world.pass(ms(400));
    world.say("2");
    world.hear(Transport::Polling, "3");
    world.pass(ms(499));
    assert_eq!((world.closed(), world.link.next_output()), (None, None));
    world.pass(ms(1));
    assert_eq!(world.closed(), Some(CloseReason::PingTimeout));
    assert_eq!(world.link.next_output(), world.dropped(), "a session takes its candidate along");
}

#[test]
fn a_pong_that_was_not_collected_goes_over_the_websocket_once() {
    let mut world = World::joined_v3(Transport::Polling);
    world.say("2");
    world.upgrade();
    assert_eq!(world.frames(), ["3"]);
    assert_eq!(world.poll(2), Some((2, "BadRequest".to_owned())));
}

#[test]
fn a_flood_of_pings_is_bounded() {
    let most = EngineSettings::default().max_buffered_packets;
    for transport in BOTH {
        let mut world = World::joined_v3(transport);
        for _ in 0..most {
            world.say("2");
        }
        assert_eq!(world.closed(), None, "{transport:?}");
        world.say("2");
        assert_eq!(world.closed(), Some(CloseReason::Overflow), "{transport:?}");
    }
    // The same in one polling body.
    let mut world = World::joined_v3(Transport::Polling);
    world.link.begin_post(V3, world.now).unwrap();
    let _ = world.link.end_post(Ok(Body::Text("1:2".repeat(most + 1).into())), world.now);
    assert_eq!(world.closed(), Some(CloseReason::Overflow));
    // A client that reads its pongs may ping without limit.
    let mut world = World::joined_v3(Transport::WebSocket);
    for _ in 0..2 * most {
        world.say("2");
        assert_eq!(world.link.next_frame(), Some(Frame::Text("3".into())));
    }
    assert_eq!(world.closed(), None);
}

#[test]
fn attachments_for_an_unjoined_namespace_have_the_same_deadline() {
    let mut world = World::joined_v3(Transport::WebSocket);
    world.say("451-/nobody,[\"a\"]");
    let mut waited = Duration::ZERO;
    while world.closed().is_none() {
        world.pass(ms(300));
        world.say("2");
        waited += ms(300);
        assert!(waited < Duration::from_secs(26), "the attachments' time is 25 s");
    }
    assert_eq!(world.closed(), Some(CloseReason::ForcedClose));
}
