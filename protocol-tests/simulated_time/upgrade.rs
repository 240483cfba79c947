//! The upgrade from polling to a WebSocket (PROTOCOL.md, "A session"): what waits meanwhile, and how an upgrade fails.

use socket2me::proto::engine_io::session::{PostError, UpgradeError};
use socket2me::proto::engine_io::{BinaryAs, CloseReason, Rejection, Revision, Transport};

use super::world::World;
use crate::support::ms;

const V4: Option<Revision> = Some(Revision::V4);

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
