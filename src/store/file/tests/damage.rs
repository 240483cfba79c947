//! Files that are damaged, newer, or somebody else's: opened with what was written, or refused and left as they are.

use std::collections::HashSet;
use std::panic::{self, AssertUnwindSafe};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use redb::{Database, TableDefinition};

use super::*;

/// A store of many tunnels that have changed: the bytes of the file after a `kill -9` and after it was closed, and all records
/// that were ever written.
async fn old_store() -> (Vec<u8>, Vec<u8>, HashSet<(Token, String)>) {
    let disk = TestDisk::empty();
    let store = disk.store();
    let mut written = HashSet::new();
    let mut note = |token, record: &Record| written.insert((token, format!("{record:?}")));
    for number in 0..60 {
        store.create(token(number), keyed(), HOUR, ()).await.unwrap();
        note(token(number), &keyed());
    }
    for number in 0..20_u32 {
        let set = Change::Set(Patch { timeout: Some(Duration::from_secs(number.into())), ..Patch::default() });
        let number = u128::from(number);
        let found = store.change(&token(number), By::Key(hash(1)), &set).await.unwrap().unwrap();
        note(token(number), &found.record);
    }
    for number in 40..60 {
        store.change(&token(number), By::Key(hash(1)), &Change::Delete).await.unwrap().unwrap();
    }
    let killed = disk.bytes();
    store.close().await;
    (killed, disk.bytes(), written)
}

/// Damages some bytes, most often where something is.
fn damage(bytes: &mut Vec<u8>, random: &mut StdRng) -> String {
    if random.random_ratio(1, 8) {
        let length = random.random_range(0..bytes.len());
        bytes.truncate(length);
        return format!("cut to {length}");
    }
    let used: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] != 0).collect();
    let mut changed = Vec::new();
    for _ in 0..random.random_range(1..4) {
        let at = match random.random_range(0..4) {
            0 => random.random_range(0..320),
            1 => random.random_range(0..bytes.len()),
            _ => used[random.random_range(0..used.len())],
        };
        let bit = random.random_range(0..8);
        bytes[at] ^= 1 << bit;
        changed.push(format!("bit {bit} of {at}"));
    }
    changed.join(", ")
}

#[tokio::test]
async fn a_damaged_file_is_opened_with_what_was_written_or_refused_and_left_as_it_is() {
    let (killed, closed, written) = old_store().await;
    let mut random = StdRng::seed_from_u64(14);
    let (mut opened, mut refused) = (0, 0);
    // What redb panics at is caught, and need not be in the output of the test.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        for round in 0..400 {
            let mut bytes = if round % 2 == 0 { killed.clone() } else { closed.clone() };
            let what = damage(&mut bytes, &mut random);
            let disk = TestDisk::with(bytes.clone());
            match Keeper::open(disk.as_disk()) {
                Ok((keeper, content)) => {
                    opened += 1;
                    for Kept { token, record, .. } in content.tunnels {
                        assert!(written.contains(&(token, format!("{record:?}"))), "{round}, {what}: {record:?}");
                    }
                    let _ = keeper.close();
                }
                Err(why) => {
                    refused += 1;
                    assert!(matches!(why, Why::Damaged(_) | Why::Foreign | Why::Newer(_)), "{round}, {what}: {why}");
                    assert!(disk.bytes() == bytes, "{round}, {what}: it was written to");
                }
            }
        }
    }));
    panic::set_hook(hook);
    if let Err(panic) = outcome {
        panic::resume_unwind(panic);
    }
    assert!(opened > 20 && refused > 100, "{opened} opened, {refused} refused");
}

/// The bytes of a database that has this table with this number.
fn database(table: &str, key: &str, number: u64) -> Vec<u8> {
    let disk = TestDisk::with(Vec::new());
    let free = disk.as_disk();
    free.release().unwrap();
    let database = Database::builder().create_with_backend(free).unwrap();
    let transaction = database.begin_write().unwrap();
    let definition: TableDefinition<'_, &str, u64> = TableDefinition::new(table);
    transaction.open_table(definition).unwrap().insert(key, number).unwrap();
    transaction.commit().unwrap();
    drop(database);
    disk.bytes()
}

#[test]
fn a_file_of_something_else_or_of_a_newer_version_is_refused_and_left_as_it_is() {
    for (bytes, words) in [
        (b"hello".to_vec(), "is not a file of Socket2Me's tunnels"),
        ("some text ".repeat(9_999).into_bytes(), "is not a file of Socket2Me's tunnels"),
        (vec![0; 9_999], "is not a file of Socket2Me's tunnels"),
        (database("other", "format", 1), "is not a file of Socket2Me's tunnels"),
        (database("socket2me", "format", 2), "newer version of Socket2Me, in format 2"),
        (database("socket2me", "other", 1), "is damaged (it does not say"),
    ] {
        let disk = TestDisk::with(bytes.clone());
        let why = Keeper::open(disk.as_disk()).unwrap_err();
        assert!(why.to_string().contains(words), "{why}");
        assert!(disk.bytes() == bytes, "{words}: it was written to");
    }
}

#[test]
fn an_empty_file_becomes_a_store() {
    let disk = TestDisk::with(Vec::new());
    let (keeper, content) = Keeper::open(disk.as_disk()).unwrap();
    assert_eq!((content.tunnels.len(), content.written), (0, None));
    keeper.close().unwrap();
    assert!(super::content(disk.bytes()).unwrap().tunnels.is_empty());
}
