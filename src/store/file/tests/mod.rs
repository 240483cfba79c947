//! The file store on a disk that remembers what is done to it, and on files.
//!
//! - this file: the disk, and what the others share
//! - `store`: what the store promises while all is well, and when the disk fails
//! - `power`: power cuts
//! - `damage`: files that are damaged, newer, or somebody else's

mod damage;
mod power;
mod store;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redb::StorageBackend;

use super::clock::Clock;
use super::disk::Disk;
use super::error::Why;
use super::format::milliseconds;
use super::keeper::{Content, Entry, Keeper};
use super::{FileStore, LAG, RETRY};
use crate::proto::key::{Key, KeyHash};
use crate::proto::token::Token;
use crate::store::{By, CLAIM, Change, Kept, Keyed, Life, Patch, Record, Settings, Store, StoreError};

const HOUR: Duration = Duration::from_secs(3_600);

/// What was done to a disk.
#[derive(Debug, Clone)]
enum Step {
    Write(usize, Vec<u8>),
    SetLength(usize),
    Sync,
}

impl Step {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, new) => {
                bytes.resize(bytes.len().max(at + new.len()), 0);
                bytes[*at..at + new.len()].copy_from_slice(new);
            }
            Self::SetLength(length) => bytes.resize(*length, 0),
            Self::Sync => (),
        }
    }
}

/// A disk in memory.
#[derive(Debug, Default)]
struct TestDisk {
    bytes: Mutex<Vec<u8>>,
    steps: Mutex<Vec<Step>>,
    /// Writing fails.
    is_full: AtomicBool,
}

impl TestDisk {
    fn with(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self { bytes: Mutex::new(bytes), ..Self::default() })
    }

    /// A disk with an empty store.
    fn empty() -> Arc<Self> {
        let disk = Self::with(Vec::new());
        Keeper::open(disk.as_disk()).unwrap().0.close().unwrap();
        Self::with(disk.bytes())
    }

    fn as_disk(self: &Arc<Self>) -> Disk {
        Disk::new(Arc::<Self>::clone(self))
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    fn steps(&self) -> Vec<Step> {
        self.steps.lock().unwrap().clone()
    }

    fn syncs(&self) -> usize {
        self.steps().iter().filter(|step| matches!(step, Step::Sync)).count()
    }

    fn step(&self, step: Step) -> io::Result<()> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        step.apply(&mut self.bytes.lock().unwrap());
        self.steps.lock().unwrap().push(step);
        Ok(())
    }

    /// What a server would find if this one ended now.
    fn content(&self) -> BTreeMap<Token, Record> {
        records(content(self.bytes()).unwrap())
    }

    fn store(self: &Arc<Self>) -> FileStore<()> {
        let (keeper, content) = Keeper::open(self.as_disk()).unwrap();
        FileStore::start(keeper, content, 1_000, |_| ())
    }
}

impl StorageBackend for TestDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let found = bytes.get(start..start.saturating_add(out.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.step(Step::SetLength(usize::try_from(length).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.step(Step::Sync)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.step(Step::Write(usize::try_from(offset).unwrap(), bytes.to_vec()))
    }
}

fn content(bytes: Vec<u8>) -> Result<Content, Why> {
    Keeper::read(&TestDisk::with(bytes).as_disk())
}

fn records(content: Content) -> BTreeMap<Token, Record> {
    content.tunnels.into_iter().map(|kept| (kept.token, kept.record)).collect()
}

fn token(number: u128) -> Token {
    Token::from_uuid(uuid::Uuid::from_u128(number))
}

fn hash(number: u8) -> KeyHash {
    Key::from_random([number; 32]).hash()
}

fn original() -> Record {
    Record { made_at: 7, made_by: Some("192.0.2.1".parse().unwrap()), keyed: None }
}

fn keyed() -> Record {
    let settings = Settings { ttl: 10 * HOUR, ..Settings::default() };
    let keyed = Keyed { key: hash(1), settings, rules: None, was_joined: false };
    Record { keyed: Some(Box::new(keyed)), ..original() }
}
