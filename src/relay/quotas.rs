//! What the tunnels of one key may carry in a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::ServeConfig;
use crate::expiring::Expiring;
use crate::proto::key::KeyHash;

/// The most keys that are counted at a time; beyond, the one whose time ends first is forgotten. A few hundred bytes each.
const MAX_KEYS: usize = 100_000;

/// Counts what the tunnels of each key carry.
#[derive(Debug)]
pub(super) struct Quotas {
    requests: u64,
    bytes: u64,
    window: Duration,
    /// What each key has used, until its time ends.
    used: Mutex<Expiring<[u8; 32], Arc<Usage>>>,
}

/// What the tunnels of a key have carried in their time.
#[derive(Debug, Default)]
pub(super) struct Usage {
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl Quotas {
    /// Reads the settings. `None` if they set no quota.
    pub(super) fn new(config: &ServeConfig) -> Option<Self> {
        let (requests, bytes) = (config.key_requests, config.key_bytes);
        (requests.is_some() || bytes.is_some()).then(|| Self {
            requests: requests.map_or(u64::MAX, |requests| requests as u64),
            bytes: bytes.map_or(u64::MAX, |bytes| bytes as u64),
            window: config.key_window,
            used: Mutex::default(),
        })
    }

    /// Counts a request, and returns where its bytes are to be counted when it is over.
    ///
    /// # Errors
    /// When the key has used all that it may, with the time until it may use more.
    pub(super) fn take(&self, key: &KeyHash) -> Result<Arc<Usage>, Duration> {
        let (key, now) = (*key.as_bytes(), Instant::now());
        // Nothing that is done under the lock can panic half-way.
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = used.expiry(&key).is_some_and(|expiry| expiry > now);
        while let Some((expiry, first)) = used.first()
            && (expiry <= now || (!is_known && used.len() >= MAX_KEYS))
        {
            used.remove(&first);
        }
        let until = used.expiry(&key).unwrap_or(now + self.window);
        let usage = Arc::clone(used.get_or_insert(key, until, Arc::default));
        drop(used);
        let is_used_up = usage.requests.load(Ordering::Relaxed) >= self.requests
            || usage.bytes.load(Ordering::Relaxed) >= self.bytes;
        if is_used_up {
            return Err(until.saturating_duration_since(now));
        }
        usage.requests.fetch_add(1, Ordering::Relaxed);
        Ok(usage)
    }
}

impl Usage {
    /// Counts what an exchange has carried.
    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::key::Key;

    fn quotas(requests: Option<usize>, bytes: Option<usize>) -> Quotas {
        let key_window = Duration::from_secs(60);
        let config = ServeConfig { key_requests: requests, key_bytes: bytes, key_window, ..ServeConfig::defaults() };
        Quotas::new(&config).unwrap()
    }

    fn key(number: u8) -> KeyHash {
        Key::from_random([number; 32]).hash()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_may_use_so_much_in_a_time_and_then_as_much_again() {
        let quotas = quotas(Some(2), Some(100));
        assert!(quotas.take(&key(1)).is_ok() && quotas.take(&key(1)).is_ok());
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(quotas.take(&key(1)).unwrap_err(), Duration::from_secs(40));
        quotas.take(&key(2)).expect("another key has its own").add(100);
        assert_eq!(quotas.take(&key(2)).unwrap_err(), Duration::from_secs(60), "its bytes are used up");
        tokio::time::advance(Duration::from_secs(40)).await;
        assert!(quotas.take(&key(1)).is_ok() && quotas.take(&key(2)).is_err());
    }

    #[test]
    fn without_a_quota_nothing_is_counted() {
        assert!(Quotas::new(&ServeConfig::defaults()).is_none());
    }
}
