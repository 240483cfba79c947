//! All tunnels of a Redis at once, for `socket2me store`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::{join_all, try_join_all};
use redis::ConnectionInfo;

use super::{RedisStore, scripts};
use crate::proto::token::Token;
use crate::store::record::{CLAIM, Found, Kept, Life};
use crate::store::{AddError, Added, StoreError};

/// Calls that are made at once.
const BATCH: usize = 64;

/// Reads the tunnels in the master of these servers, those of which only the name is claimed included, and writes nothing.
///
/// # Errors
/// When Redis cannot be used.
pub async fn read_redis(servers: Vec<ConnectionInfo>) -> Result<Vec<Kept>, String> {
    with_store(servers, async |store| {
        let keys = store.link.keys().await?;
        let tokens: Vec<Token> = keys.iter().filter_map(|key| scripts::token_of(key)).collect();
        let mut tunnels = Vec::with_capacity(tokens.len());
        for batch in tokens.chunks(BATCH) {
            let found = try_join_all(batch.iter().map(|token| store.find(token))).await?;
            // Some may have expired since the keys were read.
            let found = batch.iter().zip(found).filter_map(|(token, found)| Some(kept(*token, found?)));
            tunnels.extend(found);
        }
        Ok(tunnels)
    })
    .await
}

/// Adds tunnels to the master of these servers. Nothing is added if one of them is there already and is another. Tunnels that have expired, and whose
/// name is not claimed, are left out; the claim of a name begins anew. When Redis fails meanwhile, some are added and the others
/// are not: the same call adds the rest.
///
/// # Errors
/// When Redis cannot be used, and when one of the tunnels is there already and is another.
pub async fn add_to_redis(servers: Vec<ConnectionInfo>, tunnels: Vec<Kept>) -> Result<Added, String> {
    with_store(servers, async |store| {
        let now = wall();
        let (mut added, mut taken, mut new) = (Added { new: 0, same: 0, expired: 0 }, Vec::new(), Vec::new());
        for batch in tunnels.chunks(BATCH) {
            let found = try_join_all(batch.iter().map(|kept| store.find(&kept.token))).await?;
            for (kept, found) in batch.iter().zip(found) {
                match found {
                    Some(found) if found.record == kept.record => added.same += 1,
                    Some(_) => taken.push(kept.token),
                    None if kept.forgotten() <= now => added.expired += 1,
                    None => new.push(kept),
                }
            }
        }
        if !taken.is_empty() {
            return Ok(Err(AddError::Taken(taken)));
        }
        for batch in new.chunks(BATCH) {
            let life = |kept: &Kept| Duration::from_millis(kept.expires.saturating_sub(now));
            let all = batch.iter().map(|kept| store.restore(&kept.token, &kept.record, life(kept)));
            for (kept, is_there) in batch.iter().zip(join_all(all).await) {
                if is_there? {
                    added.new += 1;
                } else {
                    return Ok(Err(AddError::Taken(vec![kept.token])));
                }
            }
        }
        Ok(Ok(added))
    })
    .await?
    .map_err(|error| error.to_string())
}

/// Runs `work` with a store that is connected.
async fn with_store<T>(
    servers: Vec<ConnectionInfo>,
    work: impl AsyncFnOnce(&RedisStore<()>) -> Result<T, StoreError>,
) -> Result<T, String> {
    let store = RedisStore::new(servers, usize::MAX).map_err(|error| error.to_string())?;
    tokio::select! {
        never = store.keep() => match never {},
        result = work(&store) => result.map_err(|error| error.to_string()),
    }
}

fn kept(token: Token, found: Found) -> Kept {
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let expires = match found.life {
        Life::Alive(left) => wall().saturating_add(milliseconds(left)),
        Life::Claimed(left) => wall().saturating_add(milliseconds(left)).saturating_sub(milliseconds(CLAIM)),
    };
    Kept { token, record: found.record, expires }
}

/// Returns the wall clock's time, in milliseconds since 1970.
fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
