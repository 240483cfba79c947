//! Values: texts of the server's own that outlive a restart, such as the certificates that it has ordered. And leases, by which
//! servers that share a store agree on one that does something.

use std::sync::Arc;
use std::time::Duration;

use super::error::StoreError;
use super::file::FileValues;
use super::redis::RedisValues;
use super::value_table::ValueTable;

/// The longest name of a value or a lease, in bytes. A domain has 253 at the most.
const MAX_NAME: usize = 384;

/// The most bytes of a value: several chains of certificates.
const MAX_VALUE: usize = 64 << 10;

/// Values that a store in memory or in a file keeps; beyond, another one is refused. Several for each of a hundred domains.
const MAX_VALUES: usize = 1_000;

/// The values of a [`Store`](super::Store). Clones are of one store.
#[derive(Debug, Clone)]
pub struct Values(Place);

#[derive(Debug, Clone)]
enum Place {
    Memory(Arc<ValueTable>),
    File(FileValues),
    Redis(RedisValues),
}

impl Values {
    pub(super) fn in_memory(table: &Arc<ValueTable>) -> Self {
        Self(Place::Memory(Arc::clone(table)))
    }

    pub(super) fn in_file(values: FileValues) -> Self {
        Self(Place::File(values))
    }

    pub(super) fn in_redis(values: RedisValues) -> Self {
        Self(Place::Redis(values))
    }

    /// Tells whether values outlive this process.
    #[must_use]
    pub fn outlive_restarts(&self) -> bool {
        match self.0 {
            Place::Memory(_) => false,
            Place::File(_) | Place::Redis(_) => true,
        }
    }

    /// Tells whether other servers may have the same values, and change them.
    #[must_use]
    pub fn are_shared(&self) -> bool {
        match self.0 {
            Place::Memory(_) | Place::File(_) => false,
            Place::Redis(_) => true,
        }
    }

    /// Returns a value. `None` if there is none of this name.
    ///
    /// # Errors
    /// - [`StoreError::Unavailable`] if the store cannot be used now
    pub async fn get(&self, name: &str) -> Result<Option<String>, StoreError> {
        match &self.0 {
            Place::Memory(table) => Ok(table.get(name)),
            Place::File(values) => Ok(values.table().get(name)),
            Place::Redis(values) => values.get(name).await,
        }
    }

    /// Sets a value. Once this returns, it is as durable as a tunnel that was made. A value that could not be written may be there
    /// all the same.
    ///
    /// # Errors
    /// - [`StoreError::Unavailable`] if the store cannot be used now, and if the name or the value is too long
    /// - [`StoreError::Full`] if a store that is not shared has as many values as it may
    pub async fn put(&self, name: &str, text: &str) -> Result<(), StoreError> {
        check(name, text)?;
        match &self.0 {
            Place::Memory(table) => table.put(name, text, MAX_VALUES),
            Place::File(values) => {
                values.table().put(name, text, MAX_VALUES)?;
                values.written().await
            }
            Place::Redis(values) => values.put(name, text).await,
        }
    }

    /// Sets a value as [`Self::put`] does, if it is `was` still: what [`Self::get`] has returned. Returns false, and sets nothing, if
    /// somebody else has set another one since.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub async fn put_if(&self, name: &str, was: Option<&str>, text: &str) -> Result<bool, StoreError> {
        check(name, text)?;
        match &self.0 {
            Place::Memory(table) => table.put_if(name, was, text, MAX_VALUES),
            Place::File(values) => {
                let is_put = values.table().put_if(name, was, text, MAX_VALUES)?;
                if is_put {
                    values.written().await?;
                }
                Ok(is_put)
            }
            Place::Redis(values) => values.put_if(name, was, text).await,
        }
    }

    /// Gives a lease to `holder` for `time` from now, or prolongs it. No time gives it back. Returns false if another holder has it.
    /// A file has one process at a time, so its leases are in memory.
    ///
    /// # Errors
    /// - [`StoreError::Unavailable`] if the store cannot be used now
    pub async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<bool, StoreError> {
        match &self.0 {
            Place::Memory(table) => Ok(table.lease(name, holder, time)),
            Place::File(values) => Ok(values.table().lease(name, holder, time)),
            Place::Redis(values) => values.lease(name, holder, time).await,
        }
    }
}

/// Checks that a value is not too long.
fn check(name: &str, text: &str) -> Result<(), StoreError> {
    if name.len() <= MAX_NAME && text.len() <= MAX_VALUE {
        return Ok(());
    }
    Err(StoreError::Unavailable(format!(
        "`{name}` has {} bytes: a value has {MAX_VALUE} at the most, and its name {MAX_NAME}",
        text.len()
    )))
}
