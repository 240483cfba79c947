//! The bytes of the file, which nothing changes before what is in them was found to be a whole store.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// The bytes under a database. All that is written is held back until [`Disk::release`]: opening a database writes, and a file
/// that is damaged or somebody else's must stay as it is.
///
/// Clones are of one disk. It stays open until [`Disk::let_go`], also when a database on it is closed.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    under: Arc<dyn StorageBackend>,
    held_back: Arc<Mutex<Option<Vec<Step>>>>,
}

/// A change of the bytes.
#[derive(Debug)]
enum Step {
    Write(u64, Vec<u8>),
    SetLength(u64),
    Sync,
}

impl Disk {
    pub(super) fn new(under: Arc<dyn StorageBackend>) -> Self {
        Self { under, held_back: Arc::new(Mutex::new(Some(Vec::new()))) }
    }

    /// Returns the same bytes, without what is held back.
    pub(super) fn again(&self) -> Self {
        Self::new(Arc::clone(&self.under))
    }

    /// Makes all changes that were held back, in their order, and holds back none from now on.
    pub(super) fn release(&self) -> io::Result<()> {
        let mut held_back = self.held_back();
        for step in held_back.take().unwrap_or_default() {
            match step {
                Step::Write(at, bytes) => self.under.write(at, &bytes)?,
                Step::SetLength(length) => self.under.set_len(length)?,
                Step::Sync => self.under.sync_data()?,
            }
        }
        Ok(())
    }

    /// Unlocks the file. It is not used any more.
    pub(super) fn let_go(&self) -> io::Result<()> {
        self.under.close()
    }

    /// Holds a change back. Returns false if it must be made.
    fn hold_back(&self, step: impl FnOnce() -> Step) -> bool {
        self.held_back().as_mut().map(|steps| steps.push(step())).is_some()
    }

    fn held_back(&self) -> MutexGuard<'_, Option<Vec<Step>>> {
        self.held_back.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let mut length = self.under.len()?;
        for step in self.held_back().iter().flatten() {
            length = match step {
                Step::Write(at, bytes) => length.max(at + bytes.len() as u64),
                Step::SetLength(length) => *length,
                Step::Sync => length,
            };
        }
        Ok(length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let held_back = self.held_back();
        let Some(steps) = held_back.as_ref().filter(|steps| !steps.is_empty()) else {
            drop(held_back);
            return self.under.read(offset, out);
        };
        // What is asked for may begin in the file and end in what is held back.
        let mut length = self.under.len()?;
        let there = usize::try_from(length.saturating_sub(offset)).unwrap_or(out.len()).min(out.len());
        out[there..].fill(0);
        if there > 0 {
            self.under.read(offset, &mut out[..there])?;
        }
        for step in steps {
            match step {
                Step::Write(at, bytes) => {
                    overlay(offset, out, *at, bytes);
                    length = length.max(at + bytes.len() as u64);
                }
                Step::SetLength(new) => {
                    let kept = usize::try_from(new.saturating_sub(offset)).unwrap_or(out.len()).min(out.len());
                    out[kept..].fill(0);
                    length = *new;
                }
                Step::Sync => (),
            }
        }
        if length < offset + out.len() as u64 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        if self.hold_back(|| Step::SetLength(length)) { Ok(()) } else { self.under.set_len(length) }
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.hold_back(|| Step::Sync) { Ok(()) } else { self.under.sync_data() }
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.hold_back(|| Step::Write(offset, bytes.to_vec())) { Ok(()) } else { self.under.write(offset, bytes) }
    }
}

/// Writes the part of `bytes`, which begin at `at`, that falls into `out`, which begins at `offset`.
fn overlay(offset: u64, out: &mut [u8], at: u64, bytes: &[u8]) {
    let (start, end) = (at.max(offset), (at + bytes.len() as u64).min(offset + out.len() as u64));
    let place = |position: u64, from: u64| usize::try_from(position - from).ok();
    if start < end
        && let (Some(into), Some(from), Some(count)) = (place(start, offset), place(start, at), place(end, start))
    {
        out[into..into + count].copy_from_slice(&bytes[from..from + count]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redb::backends::InMemoryBackend;

    use super::*;

    #[derive(Debug, Clone)]
    enum Call {
        Write(u64, Vec<u8>),
        SetLength(u64),
        Sync,
    }

    fn call() -> impl Strategy<Value = Call> {
        prop_oneof![
            (0..40_u64, prop::collection::vec(any::<u8>(), 1..20)).prop_map(|(at, bytes)| Call::Write(at, bytes)),
            (0..60_u64).prop_map(Call::SetLength),
            Just(Call::Sync),
        ]
    }

    /// Makes a change as a database does: it makes the file long enough before it writes.
    fn make(disk: &dyn StorageBackend, call: &Call) {
        match call {
            Call::Write(at, bytes) => {
                let end = at + bytes.len() as u64;
                if disk.len().unwrap() < end {
                    disk.set_len(end).unwrap();
                }
                disk.write(*at, bytes).unwrap();
            }
            Call::SetLength(length) => disk.set_len(*length).unwrap(),
            Call::Sync => disk.sync_data().unwrap(),
        }
    }

    fn content(disk: &dyn StorageBackend) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(disk.len().unwrap()).unwrap()];
        disk.read(0, &mut bytes).unwrap();
        bytes
    }

    proptest! {
        /// What is held back is read as if it were written, and the file has it once it is released and not before.
        #[test]
        fn what_is_held_back_is_read_and_not_written(
            before in prop::collection::vec(call(), 0..9),
            held_back in prop::collection::vec(call(), 0..9),
            from in 0..60_usize,
        ) {
            let (under, model) = (Arc::new(InMemoryBackend::new()), InMemoryBackend::new());
            for call in &before {
                make(&*under, call);
                make(&model, call);
            }
            let kept = content(&*under);
            let disk = Disk::new(Arc::<InMemoryBackend>::clone(&under));
            for call in &held_back {
                make(&disk, call);
                make(&model, call);
                prop_assert_eq!(content(&disk), content(&model));
                let expected = content(&model);
                if let Some(expected) = expected.get(from..) {
                    let mut part = vec![0; expected.len()];
                    disk.read(from as u64, &mut part).unwrap();
                    prop_assert_eq!(&part[..], expected);
                    prop_assert!(disk.read(from as u64, &mut vec![0; expected.len() + 1]).is_err());
                }
            }
            prop_assert_eq!(content(&*under), kept);
            disk.release().unwrap();
            prop_assert_eq!(content(&*under), content(&model));
        }
    }
}
