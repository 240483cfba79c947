//! The directory of one node, told what a store and peers say.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::store::{Ends, Found, Keyed, Life, Lost, Record, Settings, TableNews};

fn at(milliseconds: u64) -> Instant {
    Instant::after_origin(Duration::from_millis(milliseconds))
}

fn token(number: u128) -> Token {
    Token::from_uuid(uuid::Uuid::from_u128(number))
}

fn peer(number: u8) -> Peer {
    Peer {
        node: NodeId::from_random([number; 6]),
        advertise: "http://a:1".into(),
        label: "".into(),
        version: "0.2.0".into(),
        is_draining: false,
        lease: LEASE,
    }
}

fn node() -> Directory {
    Directory::new(peer(1), at(0))
}

fn wrote(writes: u64, lost: Option<Lost>) -> Written {
    Written { writes, lost }
}

fn renewed(written: Written, inbox: &[(u64, &str)]) -> Renewed {
    let inbox = inbox.iter().map(|(number, text)| (*number, (*text).into())).collect();
    Renewed { now: 1, written, was_away: false, version: 7, table: TableNews::Same, posted: 0, inbox }
}

fn claimed(epoch: u64, ends: Ends, written: Written) -> Claimed {
    let settings = Settings { ends, ..Settings::default() };
    let key = crate::proto::key::Key::from_random([1; 32]).hash();
    let keyed = Keyed { key, settings, rules: None, was_joined: true };
    let record = Record { made_at: 0, made_by: None, keyed: Some(Box::new(keyed)) };
    let found = Found { record, life: Life::Alive(Duration::from_secs(60)) };
    Claimed { found, epoch, is_newest: true, others: vec![], written }
}

/// Claims a tunnel that has this number of ends.
fn hold(directory: &mut Directory, number: u128, epoch: u64, which: Ends, ends: usize) {
    let claim = directory.claim(token(number), ends, 0);
    let written = wrote(directory.seen().writes + 1, None);
    assert_eq!(directory.claimed(at(0), token(number), &claim, &claimed(epoch, which, written)), None);
    assert_eq!(directory.epoch(&token(number)), Some(epoch));
}

#[test]
fn a_message_is_acknowledged_by_the_renewal_after_the_answer_that_had_it() {
    let mut directory = node();
    hold(&mut directory, 1, 5, Ends::Newest, 1);
    hold(&mut directory, 2, 9, Ends::Newest, 1);
    let renewal = directory.renewal(at(0));
    assert_eq!((renewal.taken_up, renewal.table, renewal.me.lease), (0, 0, LEASE));
    let messages = [
        format!("evict {} 6", token(1)),
        format!("evict {} 8", token(2)),
        format!("changed {}", token(2)),
        "hi".to_owned(),
    ];
    let inbox: Vec<(u64, &str)> = (101..).zip(messages.iter().map(String::as_str)).collect();
    let answer = renewed(wrote(3, None), &inbox);
    let effects = [Effect::Evicted(token(1), 6), Effect::Changed(token(2))];
    assert_eq!(directory.renewed(at(10), &answer, at(0)), effects);
    assert_eq!((directory.epoch(&token(1)), directory.epoch(&token(2))), (None, Some(9)));
    // The answer to this one is lost.
    assert_eq!(directory.renewal(at(2_000)).taken_up, 104);
    directory.failed(at(2_500));
    assert!(!directory.is_renewal_due(at(2_999)) && directory.is_renewal_due(at(3_000)));
    assert_eq!(directory.renewal(at(3_000)).taken_up, 104);
    assert_eq!(directory.renewed(at(3_001), &answer, at(3_000)), effects[1..], "what comes again changes nothing");
}

#[test]
fn a_claim_that_another_overtook_before_its_answer_came_holds_nothing() {
    let mut directory = node();
    let claim = directory.claim(token(1), 1, 0);
    assert!(!directory.evict(at(0), &token(1), 11));
    let effect = directory.claimed(at(0), token(1), &claim, &claimed(10, Ends::Newest, wrote(1, None)));
    assert_eq!((effect, directory.epoch(&token(1))), (Some(Effect::Evicted(token(1), 11)), None));
    assert_eq!(directory.claim(token(1), 1, 0).above, 11);
}

#[test]
fn after_a_loss_the_lost_claims_are_announced_and_the_loss_is_over() {
    let mut directory = node();
    for number in 1..=200 {
        hold(&mut directory, number, 1_000 + u64::try_from(number).unwrap(), Ends::Newest, 1);
    }
    let lost = Lost { after: 80, found: 201 };
    let _ = directory.renewal(at(0));
    directory.renewed(at(1_000), &renewed(wrote(201, Some(lost)), &[]), at(0));
    let mut writes = 201;
    let mut rounds = 0;
    let mut now = 1_000;
    while directory.renewal(at(now)).announced.is_none() {
        now += 50;
        let batch = directory.announce(at(now), 0);
        assert!(batch.len() <= 50 && directory.announce(at(now), 0).is_empty(), "the rate is bounded");
        for (number, (token, claim)) in batch.into_iter().enumerate() {
            writes += 1;
            // Every tenth fails once.
            if rounds < 1 && number % 10 == 0 {
                directory.claim_failed(at(now), token, &claim);
            } else {
                let epoch = claim.again.unwrap();
                let answer = claimed(epoch, Ends::Newest, wrote(writes, Some(lost)));
                assert_eq!(directory.claimed(at(now), token, &claim, &answer), None);
            }
        }
        rounds += 1;
        assert!(directory.is_unsure(at(now)) && rounds < 100);
    }
    let renewal = directory.renewal(at(now));
    assert_eq!((renewal.announced, writes - 201), (Some(lost), 120 + 5));
    directory.renewed(at(now), &renewed(wrote(writes + 1, None), &[]), at(now));
    assert_eq!(directory.renewal(at(now)).announced, None);
    assert!(directory.is_unsure(at(now + 59_999)) && !directory.is_unsure(at(now + 60_000)));
}

#[test]
fn a_shared_tunnel_is_announced_with_its_number_of_ends_and_left_until_the_store_knows() {
    let mut directory = node();
    hold(&mut directory, 1, 5, Ends::Spread, 3);
    hold(&mut directory, 2, 6, Ends::Newest, 1);
    directory.has_ends(&token(1), 2);
    directory.has_ends(&token(2), 1);
    let batch = directory.announce(at(0), 0);
    assert_eq!(
        batch.iter().map(|(token, claim)| (*token, claim.ends, claim.again)).collect::<Vec<_>>(),
        [(token(1), 2, Some(5))]
    );
    // It has changed again before the answer came.
    directory.has_ends(&token(1), 4);
    directory.claimed(at(1), token(1), &batch[0].1, &claimed(5, Ends::Spread, wrote(3, None)));
    let batch = directory.announce(at(100), 0);
    assert_eq!(batch[0].1.ends, 4);
    directory.claimed(at(101), token(1), &batch[0].1, &claimed(5, Ends::Spread, wrote(4, None)));
    assert!(directory.announce(at(1_000), 0).is_empty());
    directory.has_ends(&token(1), 0);
    directory.has_ends(&token(2), 0);
    assert_eq!((directory.claims(), directory.leaves(at(1_000))), (0, vec![(token(1), 5)]));
    directory.left(at(1_001), token(1), 5, None);
    assert!(directory.leaves(at(1_500)).is_empty());
    assert_eq!(directory.leaves(at(2_001)), [(token(1), 5)]);
    directory.left(at(2_002), token(1), 5, Some(wrote(5, None)));
    assert!(directory.leaves(at(9_000)).is_empty());
    // The store forgets that.
    let _ = directory.renewal(at(9_000));
    directory.renewed(at(9_001), &renewed(wrote(6, Some(Lost { after: 4, found: 6 })), &[]), at(9_000));
    assert_eq!(directory.leaves(at(9_002)), [(token(1), 5)]);
}

#[test]
fn a_claim_whose_answer_was_lost_is_left() {
    let mut directory = node();
    let _ = directory.claim(token(1), 1, 0);
    let claim = directory.claim(token(1), 1, 0);
    directory.claim_failed(at(0), token(1), &claim);
    assert!(directory.leaves(at(0)).is_empty(), "the other one may be made yet");
    directory.claim_failed(at(0), token(1), &claim);
    assert!(directory.leaves(at(499)).is_empty(), "a store that has just failed gets a rest");
    assert_eq!(directory.leaves(at(1_000)), [(token(1), u64::MAX)]);
    let claim = directory.claim(token(1), 1, 0);
    let _ = directory.claimed(at(1_001), token(1), &claim, &claimed(7, Ends::Spread, wrote(2, None)));
    directory.left(at(1_002), token(1), u64::MAX, Some(wrote(1, None)));
    assert_eq!(directory.announce(at(1_003), 0).len(), 1, "the leave may have run after the claim");
}

#[test]
fn claims_of_a_store_that_fails_are_announced_by_fewer_and_later() {
    let mut directory = node();
    for number in 1..=60 {
        hold(&mut directory, number, 1_000 + u64::try_from(number).unwrap(), Ends::Newest, 1);
        directory.changed(&token(number));
    }
    let (mut batches, mut pauses, mut last) = (Vec::new(), Vec::new(), 0);
    for time in (0..40_000).step_by(50) {
        let batch = directory.announce(at(time), 0);
        if !batch.is_empty() {
            batches.push(batch.len());
            pauses.push(time - last);
            last = time;
        }
        batch.into_iter().for_each(|(token, claim)| directory.claim_failed(at(time), token, &claim));
    }
    assert_eq!(batches[..6], [50, 25, 12, 6, 3, 1]);
    assert!(pauses[1] <= 1_050 && (5_000..=10_050).contains(&pauses[6]), "{pauses:?}");
    assert!((7..=11).contains(&batches.len()), "the longest pause is bounded: {pauses:?}");
}

#[test]
fn a_node_that_others_took_for_dead_announces_all_its_claims() {
    let mut directory = node();
    hold(&mut directory, 1, 5, Ends::Spread, 1);
    let _ = directory.renewal(at(0));
    directory.renewed(at(1), &Renewed { was_away: true, ..renewed(wrote(2, None), &[]) }, at(0));
    let (token, claim) = directory.announce(at(2), 0).remove(0);
    let older = Claimed { is_newest: false, ..claimed(9, Ends::Newest, wrote(3, None)) };
    assert_eq!(directory.claimed(at(3), token, &claim, &older), Some(Effect::Evicted(token, 9)));
    assert_eq!(directory.claims(), 0);
}

#[test]
fn lookups_leave_out_suspects_and_forget_peers_that_are_gone() {
    let mut directory = node();
    let table = Renewed { table: TableNews::Whole(vec![peer(1), peer(2)]), ..renewed(wrote(1, None), &[]) };
    let _ = directory.renewal(at(0));
    directory.renewed(at(0), &table, at(0));
    assert_eq!(directory.peers().iter().map(|peer| peer.node).collect::<Vec<_>>(), [peer(2).node]);
    assert_eq!(directory.lookup(&token(1), at(0)), Lookup::Ask);
    let located = Located { which: Ends::Newest, epoch: 5, owner: Some(peer(2)), holders: vec![] };
    directory.located(token(1), located.clone(), at(0));
    assert_eq!(directory.lookup(&token(1), at(1)), Lookup::Known(located.clone()));
    directory.refused(peer(2).node, at(1));
    assert_eq!(directory.lookup(&token(1), at(1)), Lookup::Known(Located { owner: None, ..located.clone() }));
    assert_eq!(directory.pings(at(1_001)), [peer(2).node]);
    directory.answered(peer(2).node, true, at(1_002));
    assert_eq!(directory.lookup(&token(1), at(1_002)), Lookup::Known(located));
    assert_eq!(directory.standing(at(1_002)), Standing::Member);
    let _ = directory.renewal(at(2_000));
    let gone = Renewed {
        table: TableNews::Changes { peers: vec![], gone: vec![peer(2).node] },
        ..renewed(wrote(2, None), &[])
    };
    directory.renewed(at(2_000), &gone, at(2_000));
    assert_eq!(directory.lookup(&token(1), at(1_002)), Lookup::Ask);
}

#[test]
fn a_node_without_a_lease_asks_its_peers_and_steps_down_if_one_has_one() {
    let mut directory = node();
    let peers = (1..=40).map(peer).collect();
    let _ = directory.renewal(at(0));
    directory.renewed(at(0), &Renewed { table: TableNews::Whole(peers), ..renewed(wrote(1, None), &[]) }, at(0));
    for second in 1..5 {
        assert!(directory.is_awake(at(second * 1_000)));
    }
    directory.is_awake(at(4_499));
    assert_eq!((directory.pings(at(4_499)), directory.next()), (vec![], Some(at(2_000))));
    assert!(!directory.pings(at(4_500)).is_empty(), "it is about to lapse");
    let mut asked = BTreeSet::new();
    for round in 0..3 {
        asked.extend(directory.pings(at(6_000 + 500 * round)));
    }
    assert_eq!((asked.len(), directory.standing(at(7_000))), (39, Standing::Alone));
    directory.answered(peer(3).node, false, at(7_000));
    assert_eq!(directory.standing(at(7_000)), Standing::Alone);
    for time in [7_000, 7_500, 8_000] {
        directory.answered(peer(4).node, true, at(time));
        assert_eq!(directory.standing(at(time)), Standing::Alone);
    }
    directory.answered(peer(4).node, true, at(8_500));
    assert_eq!(directory.standing(at(8_500)), Standing::Out);
}
