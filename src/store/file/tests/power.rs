//! Power cuts: what was answered is there, whatever the disk had written of the rest.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;

/// What a tunnel may be found as; `None` is not at all.
type Expected = BTreeMap<Token, Option<Record>>;

/// What was answered, and how much the disk had done by then.
struct Answered {
    steps: usize,
    /// All tunnels that ever were.
    tunnels: Expected,
}

/// Runs a server's day on a disk: tunnels are made, changed and deleted, alone and many at once.
async fn day(disk: &Arc<TestDisk>) -> Vec<Answered> {
    let store = disk.store();
    let mut tunnels = Expected::new();
    let mut answered = vec![Answered { steps: 0, tunnels: tunnels.clone() }];
    for round in 0..10_u128 {
        for change in [
            Change::Rekey(hash(1)),
            Change::Set(Patch { ttl: Some(2 * HOUR), timeout: Some(HOUR), ..Patch::default() }),
            Change::Rekey(hash(9)),
            Change::Delete,
        ] {
            let made: Vec<_> = (0..4).map(|number| (token(round * 100 + number), keyed())).collect();
            if change == Change::Rekey(hash(1)) {
                let creating = made.iter().map(|(token, record)| store.create(*token, record.clone(), HOUR, ()));
                assert!(futures::future::join_all(creating).await.iter().all(Result::is_ok));
                tunnels.extend(made.into_iter().map(|(token, record)| (token, Some(record))));
            } else {
                let token = made[0].0;
                let found = store.change(&token, By::Key(hash(1)), &change).await.unwrap();
                let found = match found {
                    Some(found) => found,
                    // It has another key since.
                    None => store.change(&token, By::Key(hash(9)), &change).await.unwrap().unwrap(),
                };
                tunnels.insert(token, Some(found.record).filter(|_| change != Change::Delete));
            }
            answered.push(Answered { steps: disk.steps().len(), tunnels: tunnels.clone() });
        }
    }
    answered
}

/// Checks what is found on a disk after a power cut, between one answer and the next.
fn check(bytes: Vec<u8>, before: &Expected, after: &Expected, when: &str) {
    let found = records(content(bytes).unwrap_or_else(|why| panic!("{when}: {why}")));
    for (token, expected) in after {
        let (found, before) = (found.get(token), before.get(token).and_then(Option::as_ref));
        assert!(found == before || found == expected.as_ref(), "{when}: {token:?} is {found:?}");
    }
    assert!(found.keys().all(|token| after.contains_key(token)), "{when}: a tunnel that nobody made");
}

/// The next server, too, loses its power while it repairs the file.
#[tokio::test]
async fn a_second_power_cut_while_the_file_is_opened_loses_nothing() {
    let disk = TestDisk::empty();
    let mut synced = disk.bytes();
    let answered = day(&disk).await;
    let steps = disk.steps();
    // In the middle of the day, when half of the writes of a transaction were made.
    let middle = answered[answered.len() / 2].steps;
    let writes = steps[middle..].iter().take_while(|step| !matches!(step, Step::Sync)).count();
    assert!(writes > 1, "{writes} writes");
    steps[..middle + writes / 2].iter().for_each(|step| step.apply(&mut synced));
    let tunnels = records(content(synced.clone()).unwrap());
    let second = TestDisk::with(synced.clone());
    Keeper::open(second.as_disk()).unwrap().0.close().unwrap();
    let mut bytes = synced;
    for step in second.steps() {
        if let Step::Write(at, new) = &step {
            let mut torn = bytes.clone();
            Step::Write(*at, new[..new.len() / 2].to_vec()).apply(&mut torn);
            assert_eq!(records(content(torn).unwrap()), tunnels);
        }
        step.apply(&mut bytes);
        assert_eq!(records(content(bytes.clone()).unwrap()), tunnels);
    }
}

#[tokio::test]
async fn what_was_answered_outlives_a_power_cut_at_any_moment() {
    let disk = TestDisk::empty();
    let mut synced = disk.bytes();
    let answered = day(&disk).await;
    let steps = disk.steps();
    let mut random = StdRng::seed_from_u64(14);
    let (mut unsynced, mut cuts) = (Vec::new(), 0);
    for (number, step) in steps.iter().enumerate() {
        // The answers until this step; the next is on its way.
        let told = answered.iter().rposition(|answered| answered.steps <= number).unwrap();
        let (before, after) = (&answered[told].tunnels, &answered[(told + 1).min(answered.len() - 1)].tunnels);
        let mut cut = |kept: &[Step], how: &str| {
            let mut bytes = synced.clone();
            kept.iter().for_each(|step| step.apply(&mut bytes));
            check(bytes, before, after, &format!("{how} at step {number} of {}", steps.len()));
            cuts += 1;
        };
        match step {
            Step::Sync => {
                // The disk has written any of what it was given, in any order.
                let some: Vec<_> = unsynced.iter().filter(|_| random.random()).cloned().collect();
                cut(&some, "a part");
                cut(&unsynced, "all that was written");
                unsynced.drain(..).for_each(|step: Step| step.apply(&mut synced));
            }
            Step::Write(at, bytes) => {
                let half = bytes[..random.random_range(0..bytes.len())].to_vec();
                let torn = [&unsynced[..], &[Step::Write(*at, half)]].concat();
                cut(&torn, "a torn write");
                unsynced.push(step.clone());
            }
            Step::SetLength(_) => {
                cut(&unsynced, "before a change of length");
                unsynced.push(step.clone());
            }
        }
    }
    assert!(cuts > 100, "{cuts} power cuts in {} steps", steps.len());
}
