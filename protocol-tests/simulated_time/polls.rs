//! How much one answer to a poll carries.

use bytes::Bytes;
use socket2me::proto::engine_io::session::{Output, PollAnswer};
use socket2me::proto::engine_io::{CloseReason, Frame, Outgoing, Revision, Transport};

use super::world::World;

/// Queues binary messages of these sizes, and returns the sizes of those in each answer.
fn answers(world: &mut World, sizes: &[usize]) -> Vec<Vec<usize>> {
    let now = world.now;
    world.link.act(now, |_, lower| {
        for size in sizes {
            lower.send(Outgoing::binary(Bytes::from(vec![0; *size])));
        }
    });
    let mut answers = Vec::new();
    for number in 2.. {
        world.link.poll(number, Some(world.revision), now);
        match world.link.next_output() {
            Some(Output::Poll { to, answer: PollAnswer::Packets(batch) }) => {
                assert_eq!(to, number);
                answers.push(batch.frames.iter().map(Frame::len).collect());
            }
            None => break,
            other => panic!("{other:?}"),
        }
    }
    answers
}

#[test]
fn an_answer_has_sixteen_packets_at_most() {
    for (count, counts) in [(1, vec![1]), (16, vec![16]), (17, vec![16, 1]), (40, vec![16, 16, 8])] {
        let mut world = World::joined(Transport::Polling);
        let found: Vec<_> = answers(&mut world, &vec![3; count]).iter().map(Vec::len).collect();
        assert_eq!(found, counts);
        let mut world = World::joined_v3(Transport::Polling);
        let found: Vec<_> = answers(&mut world, &vec![3; count]).iter().map(Vec::len).collect();
        assert_eq!(found, counts, "revision 3");
    }
}

#[test]
fn an_answer_has_a_mebibyte_at_most_unless_it_is_one_packet() {
    const MIB: usize = 1 << 20;
    // Each has ten bytes around it, and base64 has four bytes for three.
    let longest = (MIB - 10 - 14) / 4 * 3;
    for (sizes, expected) in [
        (vec![longest, 1, 1], vec![vec![longest, 1], vec![1]]),
        (vec![longest + 1, 1], vec![vec![longest + 1], vec![1]]),
        (vec![700_000, 700_000, 10], vec![vec![700_000], vec![700_000, 10]]),
        (vec![1, 5 * MIB, 1], vec![vec![1], vec![5 * MIB], vec![1]]),
    ] {
        assert_eq!(answers(&mut World::joined(Transport::Polling), &sizes), expected);
    }
}

#[test]
fn a_close_behind_more_than_one_answer_comes_with_the_last() {
    for revision in Revision::ALL {
        let mut world = match revision {
            Revision::V3 => World::joined_v3(Transport::Polling),
            Revision::V4 => World::joined(Transport::Polling),
        };
        for number in 0..20 {
            world.emit(number, "w");
        }
        world.link.close(CloseReason::ForcedServerClose, world.now);
        let packets =
            |answer: Option<(u32, String)>| answer.unwrap().1.split('|').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(packets(world.poll(2)).len(), 16);
        assert!(!world.link.session().is_finished());
        assert_eq!(packets(world.poll(3))[4..], ["1"]);
        assert!(world.link.session().is_finished());
    }
}

/// The poll that waits is answered first; the rest is for those that follow it.
#[test]
fn a_poll_that_waits_takes_the_first_packets_of_a_session_that_is_closed() {
    let mut world = World::joined(Transport::Polling);
    assert_eq!(world.poll(2), None);
    world.link.act(world.now, |_, lower| {
        for _ in 0..17 {
            lower.send(Outgoing::text("x"));
        }
        lower.close(CloseReason::ForcedServerClose);
    });
    assert_eq!(world.answer(), Some((2, vec!["4x"; 16].join("|"))));
    assert_eq!(world.poll(3), Some((3, "4x|1".to_owned())));
    assert!(world.link.session().is_finished());
}
