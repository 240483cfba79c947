//! The store of a server: which one its settings name, and what happens where it cannot be used.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::config::{ServeConfig, StorePlace};
use crate::net::budget::{AddressSlot, PerAddress};
use crate::store::{FileError, FileStore, Store};

/// Opens the store that the settings name. A place that nobody has asked for, and that cannot be used, is replaced by memory.
///
/// # Errors
/// When the place that was asked for cannot be used.
pub(super) async fn open(config: &ServeConfig, per_address: &Arc<PerAddress>) -> io::Result<Store<AddressSlot>> {
    let capacity = config.limits.max_tokens;
    let store = match (config.store_place(), &config.default_store) {
        (Some(StorePlace::Redis(url)), _) => {
            let servers = url.servers().map_err(io::Error::other)?;
            return Store::in_redis(servers, capacity).map_err(io::Error::other);
        }
        (Some(StorePlace::File(path)), _) => {
            let opened = open_file(&path, capacity, per_address).await;
            opened.map_err(|error| io::Error::other(format!("cannot keep tunnels: {error}")))?
        }
        (None, Some(path)) => open_file(path, capacity, per_address).await.unwrap_or_else(|error| {
            tracing::warn!(
                "tunnels are kept in memory, and a restart loses them: {error}. Or choose with --store file:PATH where they are \
                 kept, or with --store memory that they are not"
            );
            Store::in_memory(capacity)
        }),
        (Some(StorePlace::Memory), _) | (None, None) => Store::in_memory(capacity),
    };
    if matches!(store, Store::Memory(_)) {
        tracing::info!("tunnels are kept in memory: a restart loses them");
    }
    Ok(store)
}

async fn open_file(
    path: &Path,
    capacity: usize,
    per_address: &Arc<PerAddress>,
) -> Result<Store<AddressSlot>, FileError> {
    let store = FileStore::open(path, capacity, |address| per_address.hold_again(address)).await?;
    let store = Store::File(store);
    tracing::info!(tunnels = store.count(), "tunnels are kept in {}", path.display());
    Ok(store)
}
