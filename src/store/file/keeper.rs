//! The database in the file: how it is opened, read and written. All of this blocks.
//!
//! redb panics at some of what it finds in a damaged file. So each of its calls here is one whose panic is caught.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};

use redb::{
    Database, MultimapTableHandle as _, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError,
    TableHandle as _,
};

use super::disk::Disk;
use super::error::Why;
use super::format;
use crate::proto::token::Token;
use crate::store::record::Kept;

/// The version of the tables below and of what is in them.
const FORMAT: u64 = 1;

/// What is said about the file. That it has this table makes it one of this program's.
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("socket2me");
const ABOUT_FORMAT: &str = "format";
/// When the file was written last, in milliseconds since 1970.
const ABOUT_WRITTEN: &str = "written_at_ms";

/// The tunnels by their tokens.
const TUNNELS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("tunnels");

/// The values by their names. A file of an older server has no such table.
const VALUES: TableDefinition<'_, &str, &str> = TableDefinition::new("values");

/// The most memory that redb takes for pages. All that is read later comes from memory of our own.
const CACHE: usize = 4 << 20;

/// What is in a file.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) tunnels: Vec<Kept>,
    pub(super) values: BTreeMap<String, String>,
    /// When it was written last, in milliseconds since 1970; `None` if it is new.
    pub(super) written: Option<u64>,
}

/// A tunnel or a value to be written, or a tunnel to be taken out of the file.
#[derive(Debug)]
pub(super) enum Entry {
    Put(Kept),
    Remove(Token),
    Value(String, String),
}

/// The database of a file.
#[derive(Debug)]
pub(super) struct Keeper {
    disk: Disk,
    /// `None` if the last attempt to write failed: a database refuses all that comes after that.
    database: Option<Database>,
}

impl Keeper {
    /// Opens the database on a disk, reads all that is in it, and writes nothing if that fails.
    pub(super) fn open(disk: Disk) -> Result<(Self, Content), Why> {
        let (database, content) = caught(|| {
            let (database, content) = read_on(&disk)?;
            disk.release()?;
            Ok((database, content))
        })?;
        Ok((Self { disk, database: Some(database) }, content))
    }

    /// Reads what is in the database on a disk, and writes nothing.
    pub(super) fn read(disk: &Disk) -> Result<Content, Why> {
        // With the database goes what it would write, which is held back.
        caught(|| Ok(read_on(disk)?.1))
    }

    /// Writes all entries or, if it fails, none. What it has written outlives a power cut.
    pub(super) fn write(&mut self, entries: &[Entry], now: u64) -> Result<(), Why> {
        let (disk, database) = (&mut self.disk, self.database.take());
        let database = caught(|| {
            let database = match database {
                Some(database) => database,
                None => {
                    *disk = disk.again();
                    let (database, _) = read_on(disk)?;
                    disk.release()?;
                    database
                }
            };
            write_to(&database, entries, now)?;
            Ok(database)
        })?;
        self.database = Some(database);
        Ok(())
    }

    /// Closes the file and unlocks it.
    pub(super) fn close(self) -> Result<(), Why> {
        let Self { disk, database } = self;
        let closed = caught(|| {
            drop(database);
            Ok(())
        });
        disk.let_go()?;
        closed
    }
}

/// Opens the database on a disk and reads it. Checks all of its checksums and ours.
fn read_on(disk: &Disk) -> Result<(Database, Content), Why> {
    let is_checked = std::rc::Rc::new(std::cell::Cell::new(false));
    let repaired = std::rc::Rc::clone(&is_checked);
    let mut builder = Database::builder();
    // A file that was not closed is checked as a whole before it is used.
    builder.set_cache_size(CACHE).set_repair_callback(move |_| repaired.set(true));
    let mut database = builder.create_with_backend(disk.clone())?;
    if !is_checked.get() {
        database.check_integrity()?;
    }
    let content = read_from(&database)?;
    Ok((database, content))
}

fn read_from(database: &Database) -> Result<Content, Why> {
    let transaction = database.begin_read()?;
    let mut names: Vec<String> = transaction.list_tables()?.map(|table| table.name().to_owned()).collect();
    names.extend(transaction.list_multimap_tables()?.map(|table| table.name().to_owned()));
    if names.is_empty() {
        // A new one, or one whose beginning was cut off.
        write_to(database, &[], 0)?;
        return Ok(Content::default());
    }
    if !names.iter().any(|name| name == ABOUT.name()) {
        return Err(Why::Foreign);
    }
    let about = transaction.open_table(ABOUT)?;
    let number = |name| Ok::<_, Why>(about.get(name)?.map(|number| number.value()));
    match number(ABOUT_FORMAT)? {
        Some(FORMAT) => (),
        Some(newer) if newer > FORMAT => return Err(Why::Newer(newer)),
        Some(_) | None => return Err(Why::Damaged("it does not say which format it has".to_owned())),
    }
    let mut tunnels = Vec::new();
    for entry in transaction.open_table(TUNNELS)?.iter()? {
        let (name, value) = entry?;
        let damaged = || Why::Damaged(format!("of {} tunnels, the next is not as it was written", tunnels.len()));
        let token = Token::parse(name.value()).ok_or_else(damaged)?;
        let (record, expires) = format::decode(&token, value.value()).ok_or_else(damaged)?;
        tunnels.push(Kept { token, record, expires });
    }
    let values = match transaction.open_table(VALUES) {
        Ok(values) => values
            .iter()?
            .map(|entry| entry.map(|(name, text)| (name.value().to_owned(), text.value().to_owned())))
            .collect::<Result<_, _>>()?,
        Err(TableError::TableDoesNotExist(_)) => BTreeMap::new(),
        Err(error) => return Err(error.into()),
    };
    Ok(Content { tunnels, values, written: number(ABOUT_WRITTEN)?.filter(|&written| written > 0) })
}

/// Writes in one transaction, which is durable once this returns: that is what a transaction of redb does unless it is told
/// otherwise.
fn write_to(database: &Database, entries: &[Entry], now: u64) -> Result<(), Why> {
    let transaction = database.begin_write()?;
    {
        let mut about = transaction.open_table(ABOUT)?;
        about.insert(ABOUT_FORMAT, FORMAT)?;
        about.insert(ABOUT_WRITTEN, now)?;
        let mut tunnels = transaction.open_table(TUNNELS)?;
        let mut values = transaction.open_table(VALUES)?;
        for entry in entries {
            match entry {
                Entry::Put(Kept { token, record, expires }) => {
                    tunnels.insert(token.as_str(), &*format::encode(token, record, *expires))?;
                }
                Entry::Remove(token) => {
                    tunnels.remove(token.as_str())?;
                }
                Entry::Value(name, text) => {
                    values.insert(name.as_str(), text.as_str())?;
                }
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Does something with redb. A panic is damage that it did not expect.
fn caught<T>(work: impl FnOnce() -> Result<T, Why>) -> Result<T, Why> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(Why::Damaged(words(&*panic))))
}

/// Returns the message of a panic.
fn words(panic: &(dyn Any + Send)) -> String {
    let message = panic.downcast_ref::<&str>().copied();
    message.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it cannot be read").to_owned()
}
