//! Which tunnels exist, what their owners have set, and how long each still lives.
//!
//! The methods are async and may fail, although memory does neither, because a store on a disk or in a network must. Another
//! store is another variant of [`Store`].
//!
//! - [`Record`]: what is kept of a tunnel; [`Change`]: how that may change
//! - [`Settings`]: what the owner of a keyed tunnel sets
//! - `table`: tunnels in this process
//! - [`RedisStore`]: tunnels in Redis
//! - [`Nodes`]: the nodes of a cluster and their claims of tunnels, in Redis; `nodes`: what they say
//! - `file`: tunnels in a file, with a table before it
//! - [`Values`]: texts of the server's own that outlive a restart, and leases; `value_table`: those in memory
//! - `lines`: tunnels as lines of JSON, by which they move from one store to another, and as a list for people
//! - [`Pace`]: how fast many calls are made at once
//! - [`Seal`]: secrets at rest
//! - [`StoreError`]: why a store fails

mod error;
mod file;
mod lines;
mod nodes;
mod pace;
mod record;
mod redis;
mod seal;
mod settings;
mod table;
mod value_table;
mod values;

use std::convert::Infallible;
use std::time::Duration;

use ::redis::{ConnectionInfo, RedisError};

pub use self::error::StoreError;
pub use self::file::{AddError, Added, FileError, FileStore, add_to_file, read_file};
pub use self::lines::{list, read_lines, write_lines};
pub use self::nodes::{Claim, Claimed, INBOX_BATCH, Located, Lost, Peer, Renewal, Renewed, Seen, TableNews, Written};
pub use self::pace::Pace;
pub use self::record::{By, CLAIM, Change, Found, Kept, Keyed, Life, Record};
pub use self::redis::{Nodes, RedisStore, add_to_redis, read_redis};
pub use self::seal::{Seal, SealError};
pub use self::settings::{Ends, Patch, Repeat, RulesChange, RulesText, Settings};
use self::table::Table;
pub use self::values::Values;
use crate::proto::node::NodeId;
use crate::proto::token::Token;

/// A store of tunnels. `H` is what this process holds for each, and is dropped once the tunnel is forgotten.
#[derive(Debug)]
pub enum Store<H = ()> {
    /// In this process's memory: a restart loses all tunnels.
    Memory(Table<H>),
    /// In Redis. In a box: the others are smaller.
    Redis(Box<RedisStore<H>>),
    /// In a file.
    File(FileStore<H>),
}

impl<H: Send + Sync + 'static> Store<H> {
    /// Makes an empty store in memory that keeps `capacity` tunnels at most.
    #[must_use]
    pub fn in_memory(capacity: usize) -> Self {
        Self::Memory(Table::new(capacity))
    }

    /// Makes a store in Redis, which works while [`Self::keep`] runs. `capacity` tunnels may be made here at most.
    ///
    /// # Errors
    /// When no connection of this kind is possible.
    pub fn in_redis(servers: Vec<ConnectionInfo>, capacity: usize) -> Result<Self, RedisError> {
        RedisStore::new(servers, capacity).map(|store| Self::Redis(Box::new(store)))
    }

    /// Does what the store needs a task for, such as to keep a connection. Never completes.
    pub async fn keep(&self) -> Infallible {
        match self {
            Self::Memory(_) | Self::File(_) => std::future::pending().await,
            Self::Redis(store) => store.keep().await,
        }
    }

    /// Returns the texts that this store keeps beside the tunnels.
    #[must_use]
    pub fn values(&self) -> Values {
        match self {
            Self::Memory(table) => Values::in_memory(table.values()),
            Self::Redis(store) => Values::in_redis(store.values()),
            Self::File(store) => Values::in_file(store.values()),
        }
    }

    /// Returns what nodes of a cluster share. `None` for a store that no other node can use.
    #[must_use]
    pub fn nodes(&self) -> Option<Nodes> {
        match self {
            Self::Memory(_) | Self::File(_) => None,
            Self::Redis(store) => Some(store.nodes()),
        }
    }

    /// Says which node this process is: changes that it makes are no news to it. Once, before the first change.
    pub fn set_node(&self, node: NodeId) {
        match self {
            Self::Memory(_) | Self::File(_) => (),
            Self::Redis(store) => store.set_node(node),
        }
    }

    /// Tells whether the store can lose its data while this process runs: [`Self::restore`] writes a tunnel again then.
    #[must_use]
    pub fn can_be_emptied(&self) -> bool {
        match self {
            Self::Memory(_) | Self::File(_) => false,
            Self::Redis(_) => true,
        }
    }

    /// Completes when the store was found without its data, or without the last writes of this node: once each time, for one task, which calls [`Self::restore`] for
    /// each tunnel that it knows and [`Self::restored`] in the end. Until a minute after, a token that is not in the store
    /// is [`StoreError::Unavailable`]. Never completes for a store that cannot lose its data.
    pub async fn emptied(&self) {
        match self {
            Self::Memory(_) | Self::File(_) => std::future::pending().await,
            Self::Redis(store) => store.emptied().await,
        }
    }

    /// Writes a tunnel again that the store has lost. Returns false if its token is somebody else's by now.
    ///
    /// # Errors
    /// - [`StoreError::Unavailable`] if the store cannot be used now
    pub async fn restore(&self, token: &Token, record: &Record, life: Duration) -> Result<bool, StoreError> {
        match self {
            Self::Memory(_) | Self::File(_) => Ok(true),
            Self::Redis(store) => store.restore(token, record, life).await,
        }
    }

    /// Says that all tunnels of this process are written again.
    pub fn restored(&self) {
        match self {
            Self::Memory(_) | Self::File(_) => (),
            Self::Redis(store) => store.restored(),
        }
    }

    /// Returns how many calls have failed because the store could not be used.
    #[must_use]
    pub fn failures(&self) -> u64 {
        match self {
            Self::Memory(_) => 0,
            Self::File(store) => store.failures(),
            Self::Redis(store) => store.failures(),
        }
    }

    /// Counts the tunnels that this process keeps in memory: a figure for the operator, which decides nothing. Tunnels that a
    /// store elsewhere keeps are not among them.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Memory(table) => table.count(),
            Self::Redis(store) => store.count(),
            Self::File(store) => store.table().count(),
        }
    }

    /// Forgets the tunnels that have expired, and drops what was held for them. Each other call does so first.
    pub fn purge(&self) {
        match self {
            Self::Memory(table) => table.purge(),
            Self::Redis(store) => store.purge(),
            Self::File(store) => store.table().purge(),
        }
    }

    /// Adds a tunnel, which expires after `life`. `held` is dropped once it is forgotten, or at once if it is not added.
    ///
    /// # Errors
    /// - [`StoreError::Taken`] if there is a tunnel of this token, or the name is claimed
    /// - [`StoreError::Full`] if the store keeps as many tunnels as it may
    /// - [`StoreError::Unavailable`] if the store cannot be used now
    pub async fn create(&self, token: Token, record: Record, life: Duration, held: H) -> Result<(), StoreError> {
        match self {
            Self::Memory(table) => table.create(token, record, life, held),
            Self::Redis(store) => store.create(token, &record, life, held).await,
            Self::File(store) => store.create(token, record, life, held).await,
        }
    }

    /// Returns a tunnel, or `None` if there is none and its name is not claimed.
    ///
    /// # Errors
    /// - [`StoreError::Unavailable`] if the store cannot be used now
    pub async fn find(&self, token: &Token) -> Result<Option<Found>, StoreError> {
        match self {
            Self::Memory(table) => Ok(table.find(token)),
            Self::Redis(store) => store.find(token).await,
            Self::File(store) => Ok(store.table().find(token)),
        }
    }

    /// Changes a tunnel, and returns it as it is then. `None` if there is no such tunnel, or `by` may not change it
    /// ([`Record::admits`]), or the change is none for it ([`Record::apply`]).
    ///
    /// # Errors
    /// - [`StoreError::Unavailable`] if the store cannot be used now. The change may hold all the same: a file has it in memory until
    ///   it can be written, and of Redis the answer may be lost. [`Self::find`] tells
    pub async fn change(&self, token: &Token, by: By, change: &Change) -> Result<Option<Found>, StoreError> {
        match self {
            Self::Memory(table) => Ok(table.change(token, by, change)),
            Self::Redis(store) => store.change(token, by, change).await,
            Self::File(store) => store.change(token, by, change).await,
        }
    }

    /// Writes what has changed and lets another process have the store. From then on, what must be durable fails, and the rest
    /// happens in memory.
    pub async fn close(&self) {
        match self {
            Self::Memory(_) | Self::Redis(_) => (),
            Self::File(store) => store.close().await,
        }
    }
}
