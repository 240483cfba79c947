//! Tunnels in a file. All that is read comes from memory; the file is written by one task.
//!
//! A change is made to the table in memory at once. The table remembers which tunnels have changed. The task that writes takes
//! all of these together and writes what they are by then in one transaction; while it does, the next ones gather. A change that
//! somebody must be able to rely on is answered once its transaction is durable. Others, and tunnels that have expired, are
//! written with the next transaction, within [`LAG`] at the latest.
//!
//! - this file: the store, and the task that writes
//! - `open`: the file on the system
//! - `offline`: what is done to a file that no server has open
//! - `keeper`: the database in the file; `disk`: its bytes, which nothing changes before they were found to be a whole store;
//!   `format`: a tunnel as bytes
//! - `clock`: the wall clock, and what a start makes of it
//! - [`FileError`]: why a file is no store

mod clock;
mod disk;
mod error;
mod format;
mod keeper;
mod offline;
mod open;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use self::clock::Clock;
pub use self::error::FileError;
use self::error::Why;
use self::keeper::{Content, Entry, Keeper};
pub use self::offline::{AddError, Added, add_to_file, read_file};
use super::error::StoreError;
use super::record::{By, Change, Found, Kept, Record};
use super::table::Table;
use super::value_table::ValueTable;
use crate::proto::token::Token;
use crate::tasks::blocking;

/// How long a change may be in memory alone that nobody waits for.
const LAG: Duration = Duration::from_secs(20);

/// How long it takes from an attempt to write that failed to the next.
const RETRY: Duration = Duration::from_secs(1);

/// How long to wait for a file that another process has open, such as a server that is about to stop, and how often to look.
const PATIENCE: Duration = Duration::from_secs(15);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Changes that wait for one transaction; beyond, they wait for the next.
const MAX_WAITING: usize = 4_096;

/// The tunnels of a file.
#[derive(Debug)]
pub struct FileStore<H> {
    table: Arc<Table<H>>,
    orders: Arc<Orders>,
}

/// The values of a file.
#[derive(Debug, Clone)]
pub(super) struct FileValues {
    table: Arc<ValueTable>,
    orders: Arc<Orders>,
}

/// The way to the task that writes.
#[derive(Debug)]
struct Orders {
    sender: mpsc::Sender<Order>,
    /// Calls that failed because the file could not be written.
    failures: AtomicU64,
}

/// What the task that writes is told.
#[derive(Debug)]
enum Order {
    /// To write what has changed, and to tell once that is durable.
    Write(oneshot::Sender<Result<(), StoreError>>),
    /// To write what has changed, to let go of the file, and to tell then.
    Close(oneshot::Sender<()>),
}

impl<H: Send + Sync + 'static> FileStore<H> {
    /// Opens a file, or makes it if there is none, and keeps `capacity` tunnels at most, but for those that are in it already. Waits
    /// up to 15 s for another process to let go of it. `hold` makes what is held for each tunnel that is in the file of the address
    /// that made the tunnel.
    ///
    /// # Errors
    /// When the file cannot be used; it is left as it is then.
    pub async fn open(path: &Path, capacity: usize, hold: impl Fn(Option<IpAddr>) -> H) -> Result<Self, FileError> {
        let give_up = Instant::now() + PATIENCE;
        let mut has_told = false;
        let (keeper, content) = loop {
            let tried = path.to_owned();
            let opened = blocking(move || open::open_or_create(&tried)).await;
            match opened {
                Err(error) if error.is_locked() && Instant::now() < give_up => {
                    if !std::mem::replace(&mut has_told, true) {
                        tracing::info!(?path, "another process has the file of tunnels open: waiting for it to stop");
                    }
                    tokio::time::sleep(BETWEEN_LOOKS).await;
                }
                opened => break opened?,
            }
        };
        Ok(Self::start(keeper, content, capacity, hold))
    }

    /// Takes up what is in a file, and starts to write it.
    fn start(keeper: Keeper, content: Content, capacity: usize, hold: impl Fn(Option<IpAddr>) -> H) -> Self {
        let (clock, Content { tunnels, values, written }) = (Clock::now(), content);
        let behind = clock::behind(clock.wall, written);
        if let Some(behind) = behind {
            tracing::warn!(
                seconds = behind / 1_000,
                "the clock is this far behind the last write of the file of tunnels: what is left of each tunnel's life counts \
                 from now. Set the clock, if it is wrong"
            );
        }
        let table = Table::remembering_changes(capacity);
        let mut changed = Vec::new();
        for mut kept in tunnels {
            let expires = clock::at_start(kept.expires, clock.wall, written, behind);
            let was = std::mem::replace(&mut kept.expires, expires);
            let forgotten = clock.forgotten(&kept);
            if was != expires || forgotten.is_none() {
                changed.push(kept.token);
            }
            if let Some(forgotten) = forgotten {
                let held = hold(kept.record.made_by);
                table.restore(kept.token, kept.record, forgotten, held);
            }
        }
        table.note_changed(changed);
        table.values().restore(values);
        let table = Arc::new(table);
        let (sender, received) = mpsc::channel(MAX_WAITING);
        let writer = Writer { table: Arc::clone(&table), orders: received, due: Instant::now() + LAG, failed: None };
        tokio::spawn(writer.run(keeper));
        Self { table, orders: Arc::new(Orders { sender, failures: AtomicU64::new(0) }) }
    }

    /// Returns the tunnels in memory.
    pub(super) fn table(&self) -> &Table<H> {
        &self.table
    }

    /// Returns how many calls have failed because the file could not be written.
    pub(super) fn failures(&self) -> u64 {
        self.orders.failures.load(Ordering::Relaxed)
    }

    /// As [`super::Store::create`]. Once this returns, the tunnel is durable, or it does not exist.
    pub(super) async fn create(&self, token: Token, record: Record, life: Duration, held: H) -> Result<(), StoreError> {
        self.table.create(token, record, life, held)?;
        let written = self.orders.written().await;
        if written.is_err() {
            self.table.remove(&token);
        }
        written
    }

    /// As [`super::Store::change`]. Once this returns, the change is durable, but for the end of the tunnel's life. That an end
    /// has joined is written at once, and nobody waits for it. A change that cannot be written holds in memory, and is written once
    /// the file can be.
    pub(super) async fn change(&self, token: &Token, by: By, change: &Change) -> Result<Option<Found>, StoreError> {
        let is_first_join = *change == Change::Renew && self.table.is_unjoined(token);
        let Some(found) = self.table.change(token, by, change) else { return Ok(None) };
        match change {
            Change::Refresh(_) => (),
            // A full queue writes it too, with the next order.
            Change::Renew if is_first_join => drop(self.orders.sender.try_send(Order::Write(oneshot::channel().0))),
            Change::Renew => (),
            Change::Set(_) | Change::Rekey(_) | Change::Delete | Change::Revive { .. } => self.orders.written().await?,
        }
        Ok(Some(found))
    }

    /// Writes what has changed and lets go of the file: another process may open it. From then on, what must be durable fails, and
    /// all else happens in memory.
    pub(super) async fn close(&self) {
        let (tell, told) = oneshot::channel();
        if self.orders.sender.send(Order::Close(tell)).await.is_ok() {
            // The task tells, or has ended, which closes the file too.
            let _ = told.await;
        }
    }

    pub(super) fn values(&self) -> FileValues {
        FileValues { table: Arc::clone(self.table.values()), orders: Arc::clone(&self.orders) }
    }
}

impl FileValues {
    /// Returns the values in memory.
    pub(super) fn table(&self) -> &ValueTable {
        &self.table
    }

    /// As of [`Orders`].
    pub(super) async fn written(&self) -> Result<(), StoreError> {
        self.orders.written().await
    }
}

impl Orders {
    /// Completes once all changes until now are durable.
    async fn written(&self) -> Result<(), StoreError> {
        let (tell, told) = oneshot::channel();
        let closed = || StoreError::Unavailable("the server is stopping and has closed the file of tunnels".to_owned());
        let written = match self.sender.send(Order::Write(tell)).await {
            Ok(()) => told.await.unwrap_or_else(|_| Err(closed())),
            Err(_) => Err(closed()),
        };
        self.failures.fetch_add(u64::from(written.is_err()), Ordering::Relaxed);
        written
    }
}

/// The task that writes the file.
struct Writer<H> {
    table: Arc<Table<H>>,
    orders: mpsc::Receiver<Order>,
    /// When changes are written that nobody waits for.
    due: Instant,
    /// When the last attempt failed and why; `None` if it did not.
    failed: Option<(Instant, StoreError)>,
}

impl<H: Send + Sync + 'static> Writer<H> {
    /// Writes until it is told to close, or the store is dropped.
    async fn run(mut self, mut keeper: Keeper) {
        let (mut orders, mut closed) = (Vec::new(), Vec::new());
        let mut is_last = false;
        while !is_last {
            tokio::select! {
                count = self.orders.recv_many(&mut orders, MAX_WAITING) => is_last = count == 0,
                () = tokio::time::sleep_until(self.due) => (),
            }
            if is_last || orders.iter().any(|order| matches!(order, Order::Close(_))) {
                is_last = true;
                self.orders.close();
                while let Ok(order) = self.orders.try_recv() {
                    orders.push(order);
                }
            }
            let outcome;
            (keeper, outcome) = self.write(keeper, is_last).await;
            for order in orders.drain(..) {
                match order {
                    // The caller may be gone.
                    Order::Write(tell) => drop(tell.send(outcome.clone())),
                    Order::Close(tell) => closed.push(tell),
                }
            }
        }
        if let Err(why) = blocking(move || keeper.close()).await {
            tracing::error!(%why, "the file of tunnels was not closed well: what was answered is in it all the same");
        }
        // The senders of `closed` are dropped here, which tells.
        drop(closed);
    }

    /// Writes what has changed. After a failure it is tried again, but not at once.
    async fn write(&mut self, mut keeper: Keeper, is_last: bool) -> (Keeper, Result<(), StoreError>) {
        let now = Instant::now();
        if let Some((at, why)) = &self.failed
            && now < *at + RETRY
            && !is_last
        {
            return (keeper, Err(why.clone()));
        }
        let (clock, changed, values) = (Clock::now(), self.table.take_changed(), self.table.values().take_changed());
        self.due = now + LAG;
        if changed.is_empty() && values.is_empty() && !is_last {
            return (keeper, Ok(()));
        }
        let tunnels = changed.into_iter().map(|(token, left)| entry(&clock, token, left));
        let entries: Vec<_> = tunnels.chain(values.into_iter().map(|(name, text)| Entry::Value(name, text))).collect();
        let (keeper, entries, outcome) = blocking(move || {
            let outcome = keeper.write(&entries, clock.wall);
            (keeper, entries, outcome)
        })
        .await;
        (keeper, self.note(outcome, &entries))
    }

    /// Notes how an attempt has ended.
    fn note(&mut self, outcome: Result<(), Why>, entries: &[Entry]) -> Result<(), StoreError> {
        match outcome {
            Ok(()) => {
                if self.failed.take().is_some() {
                    tracing::info!("the file of tunnels is written again");
                }
                Ok(())
            }
            Err(why) => {
                if self.failed.is_none() {
                    tracing::error!(%why, "cannot write the file of tunnels: no tunnel can be made, and a change is answered 503 and is lost if the server ends before this is mended");
                }
                for entry in entries {
                    match entry {
                        Entry::Put(Kept { token, .. }) | Entry::Remove(token) => self.table.note_changed([*token]),
                        Entry::Value(name, _) => self.table.values().note_changed(name),
                    }
                }
                let now = Instant::now();
                let error = StoreError::Unavailable(format!("cannot write the file of tunnels: {why}"));
                self.due = now + RETRY;
                self.failed = Some((now, error.clone()));
                Err(error)
            }
        }
    }
}

/// Returns what the file is to have of a tunnel that is forgotten at some moment, or was forgotten.
fn entry(clock: &Clock, token: Token, left: Option<(Record, Instant)>) -> Entry {
    match left {
        Some((record, forgotten)) => {
            let expires = clock.expires(forgotten, record.claim(&token));
            Entry::Put(Kept { token, record, expires })
        }
        None => Entry::Remove(token),
    }
}
