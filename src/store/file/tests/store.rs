//! What the store promises while all is well, and when the disk fails.

use std::path::PathBuf;

use super::*;

/// A folder that is removed at the end of a test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("socket2me-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn what_was_made_and_changed_is_there_when_the_file_is_opened_again() {
    let disk = TestDisk::empty();
    let store = disk.store();
    let name = Token::from_name("mine").unwrap();
    store.create(token(1), original(), HOUR, ()).await.unwrap();
    store.create(name, keyed(), HOUR, ()).await.unwrap();
    store.create(token(2), keyed(), HOUR, ()).await.unwrap();
    let set = Change::Set(Patch { timeout: Some(HOUR), ..Patch::default() });
    store.change(&name, By::Key(hash(1)), &set).await.unwrap().unwrap();
    store.change(&name, By::Key(hash(1)), &Change::Rekey(hash(2))).await.unwrap().unwrap();
    assert_eq!(store.change(&name, By::Key(hash(1)), &Change::Delete).await.unwrap(), None, "the key is another");
    store.change(&token(2), By::Key(hash(1)), &Change::Delete).await.unwrap().unwrap();
    // Nobody has closed the file.
    let again = TestDisk::with(disk.bytes()).store();
    assert_eq!(again.table().count(), 2);
    let found = again.table().find(&name).unwrap();
    let there = found.record.keyed.unwrap();
    assert_eq!((there.key, there.settings.timeout, there.settings.ttl), (hash(2), HOUR, 10 * HOUR));
    let Life::Alive(left) = again.table().find(&token(1)).unwrap().life else { panic!("it lives") };
    assert!(left <= HOUR && left > HOUR - Duration::from_secs(30), "{left:?}");
    assert_eq!(again.table().find(&token(1)).unwrap().record, original());
}

#[tokio::test]
async fn what_is_held_for_a_tunnel_is_made_again_of_its_maker() {
    let disk = TestDisk::empty();
    let store = disk.store();
    store.create(token(1), original(), HOUR, ()).await.unwrap();
    store.close().await;
    let (keeper, content) = Keeper::open(disk.as_disk()).unwrap();
    let held = Mutex::new(Vec::new());
    let _store = FileStore::start(keeper, content, 1, |address| held.lock().unwrap().push(address));
    assert_eq!(*held.lock().unwrap(), [original().made_by]);
}

#[tokio::test]
async fn a_name_stays_claimed_over_a_restart() {
    let disk = TestDisk::empty();
    let store = disk.store();
    let name = Token::from_name("mine").unwrap();
    store.create(name, keyed(), HOUR, ()).await.unwrap();
    store.change(&name, By::Anybody, &Change::Renew).await.unwrap().unwrap();
    store.change(&name, By::Key(hash(1)), &Change::Delete).await.unwrap().unwrap();
    store.close().await;
    let again = TestDisk::with(disk.bytes()).store();
    let Life::Claimed(left) = again.table().find(&name).unwrap().life else { panic!("it was deleted") };
    assert!(left <= CLAIM && left > CLAIM - Duration::from_secs(30), "{left:?}");
    assert_eq!(again.create(name, keyed(), HOUR, ()).await, Err(StoreError::Taken));
    let revive = Change::Revive { settings: Settings::default(), rules: None, unjoined: HOUR };
    again.change(&name, By::Key(hash(1)), &revive).await.unwrap().unwrap();
}

#[tokio::test]
async fn tunnels_that_are_made_at_once_are_written_at_once() {
    const MAKERS: u128 = 200;
    let disk = TestDisk::empty();
    let store = disk.store();
    let before = disk.syncs();
    let made = (0..MAKERS).map(|number| store.create(token(number), original(), HOUR, ()));
    assert!(futures::future::join_all(made).await.iter().all(Result::is_ok));
    let syncs = disk.syncs() - before;
    assert!(syncs <= 8, "{syncs} syncs of the disk for {MAKERS} tunnels");
    assert_eq!(disk.content().len() as u128, MAKERS);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_and_an_expiry_are_in_the_file_within_half_a_minute() {
    let disk = TestDisk::empty();
    let store = disk.store();
    store.create(token(1), original(), HOUR, ()).await.unwrap();
    store.create(token(2), original(), Duration::from_secs(9), ()).await.unwrap();
    let syncs = disk.syncs();
    store.change(&token(1), By::Anybody, &Change::Refresh(5 * HOUR)).await.unwrap().unwrap();
    assert_eq!(disk.syncs(), syncs, "nobody waits for it");
    tokio::time::sleep(LAG + Duration::from_secs(1)).await;
    let tunnels = content(disk.bytes()).unwrap().tunnels;
    let [Kept { token: only, expires, .. }] = tunnels[..] else { panic!("{tunnels:?}") };
    assert_eq!(only, token(1));
    assert!(expires > Clock::now().wall + milliseconds(4 * HOUR), "{expires}");
    let syncs = disk.syncs();
    tokio::time::sleep(4 * LAG).await;
    assert_eq!(disk.syncs(), syncs, "nothing has changed");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fails_gives_no_tunnel_away_and_is_written_once_it_is_well() {
    let disk = TestDisk::empty();
    let store = disk.store();
    store.create(token(1), keyed(), HOUR, ()).await.unwrap();
    disk.is_full.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let failed = store.create(token(2), original(), HOUR, ()).await;
        assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
        assert_eq!(store.table().find(&token(2)), None);
        tokio::time::sleep(RETRY).await;
    }
    let deleted = store.change(&token(1), By::Key(hash(1)), &Change::Delete).await;
    assert!(matches!(deleted, Err(StoreError::Unavailable(_))), "{deleted:?}");
    store.change(&token(1), By::Anybody, &Change::Renew).await.unwrap();
    assert_eq!(store.failures(), 3);
    disk.is_full.store(false, Ordering::SeqCst);
    tokio::time::sleep(2 * RETRY).await;
    assert_eq!(disk.content().len(), 0, "the tunnel was deleted");
    store.create(token(2), original(), HOUR, ()).await.unwrap();
    assert_eq!(disk.content().into_keys().collect::<Vec<_>>(), [token(2)]);
}

#[tokio::test]
async fn a_clock_that_went_back_moves_all_lives_once() {
    let hour = milliseconds(HOUR);
    let wall = Clock::now().wall;
    let disk = TestDisk::empty();
    let (mut keeper, _) = Keeper::open(disk.as_disk()).unwrap();
    let expires = wall + 7 * hour;
    keeper.write(&[Entry::Put(Kept { token: token(1), record: original(), expires })], wall + 5 * hour).unwrap();
    keeper.close().unwrap();
    for _ in 0..2 {
        let store = disk.store();
        let Life::Alive(left) = store.table().find(&token(1)).unwrap().life else { panic!("it lives") };
        assert!(left <= 2 * HOUR && left > 2 * HOUR - Duration::from_secs(60), "{left:?}");
        store.close().await;
    }
}

#[tokio::test]
async fn a_store_that_is_closed_makes_nothing_durable_and_goes_on_in_memory() {
    let disk = TestDisk::empty();
    let store = disk.store();
    store.create(token(1), original(), HOUR, ()).await.unwrap();
    store.close().await;
    let bytes = disk.bytes();
    let refused = store.create(token(2), original(), HOUR, ()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert!(store.change(&token(1), By::Anybody, &Change::Refresh(2 * HOUR)).await.unwrap().is_some());
    assert_eq!((store.table().count(), disk.bytes() == bytes), (1, true));
    store.close().await;
}

#[tokio::test]
async fn a_file_is_for_its_user_alone_and_for_one_process_at_a_time() {
    let folder = Folder::new("one-at-a-time");
    let path = folder.0.join("state").join("tunnels.redb");
    let open = || FileStore::open(&path, 9, |_| ());
    let first = open().await.unwrap();
    first.create(token(1), original(), HOUR, ()).await.unwrap();
    #[cfg(unix)]
    for (path, mode) in [(path.parent().unwrap(), 0o700), (&path, 0o600)] {
        let found = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions());
        assert_eq!(found & 0o777, mode, "{}", path.display());
    }
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left of its making");
    let refused = super::super::read_file(&path).unwrap_err();
    assert!(refused.is_locked() && refused.to_string().contains("stop that server"), "{refused}");
    let close = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        first.close().await;
    };
    let (second, ()) = tokio::join!(open(), close);
    assert!(second.unwrap().table().find(&token(1)).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_file_that_another_process_does_not_let_go_of_is_refused_in_the_end() {
    let folder = Folder::new("locked");
    let path = folder.0.join("tunnels.redb");
    let _first = FileStore::open(&path, 9, |_| ()).await.unwrap();
    let start = tokio::time::Instant::now();
    let refused = FileStore::open(&path, 9, |_| ()).await.unwrap_err();
    assert!(refused.is_locked() && start.elapsed() >= Duration::from_secs(15), "{refused} {:?}", start.elapsed());
}

#[tokio::test]
async fn tunnels_move_from_one_file_to_another_all_or_none() {
    use super::super::{AddError, Added, add_to_file, read_file};
    let folder = Folder::new("moving");
    let path = folder.0.join("tunnels.redb");
    let wall = Clock::now().wall;
    let of = |number, record: Record, expires| Kept { token: token(number), record, expires };
    let live = [of(1, original(), wall + 60_000), of(2, keyed(), wall + 60_000)];
    let all = [&live[..], &[of(3, original(), wall - 1)]].concat();
    assert_eq!(add_to_file(&path, all.clone()).unwrap(), Added { new: 2, same: 0, expired: 1 });
    assert_eq!(add_to_file(&path, all).unwrap(), Added { new: 0, same: 2, expired: 1 });
    let mut there = read_file(&path).unwrap();
    there.sort_by_key(|kept| kept.token);
    let mut expected = live.to_vec();
    expected.sort_by_key(|kept| kept.token);
    assert_eq!(there, expected);
    let other = vec![of(4, original(), wall + 60_000), of(2, original(), wall + 60_000)];
    let Err(AddError::Taken(taken)) = add_to_file(&path, other) else { panic!("one of them is another") };
    assert_eq!((taken, read_file(&path).unwrap().len()), (vec![token(2)], 2));
    assert!(read_file(&folder.0.join("none.redb")).is_err() && !folder.0.join("none.redb").exists());
}

#[tokio::test]
async fn a_value_is_there_when_the_file_is_opened_again_and_a_full_disk_is_told() {
    let disk = TestDisk::empty();
    let store = Store::File(disk.store());
    let values = store.values();
    values.put("acme/account", "one").await.unwrap();
    values.put("acme/account", "two").await.unwrap();
    let again = Store::File(TestDisk::with(disk.bytes()).store()).values();
    assert_eq!(again.get("acme/account").await.unwrap().as_deref(), Some("two"));
    assert_eq!(again.get("acme/other").await, Ok(None));
    disk.is_full.store(true, Ordering::Relaxed);
    assert!(values.put("acme/account", "three").await.is_err());
    disk.is_full.store(false, Ordering::Relaxed);
    store.close().await;
    let again = Store::File(TestDisk::with(disk.bytes()).store()).values();
    assert_eq!(
        again.get("acme/account").await.unwrap().as_deref(),
        Some("three"),
        "it is written once the disk is well"
    );
    assert!(again.put(&"a".repeat(400), "").await.is_err() && again.put("a", &"a".repeat(70_000)).await.is_err());
}
