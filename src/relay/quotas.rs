//! What the tunnels of one key may carry in a time.

use std::sync::{Mutex, PoisonError};
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
    used: Mutex<Expiring<[u8; 32], Usage>>,
}

/// What the tunnels of a key have carried in their time.
#[derive(Debug, Default)]
struct Usage {
    requests: u64,
    bytes: u64,
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

    /// Counts a request.
    ///
    /// # Errors
    /// When the key has used all that it may, with the time until it may use more.
    pub(super) fn take(&self, key: &KeyHash) -> Result<(), Duration> {
        self.change(key, |usage, left| {
            if usage.requests >= self.requests || usage.bytes >= self.bytes {
                return Err(left);
            }
            usage.requests += 1;
            Ok(())
        })
    }

    /// Counts the bytes of an exchange that is over. They are used of the window in which it ends.
    pub(super) fn charge(&self, key: &KeyHash, bytes: usize) {
        self.change(key, |usage, _| usage.bytes = usage.bytes.saturating_add(bytes as u64));
    }

    /// Changes what a key has used in the window that lasts, or that begins now; `change` gets what is left of it, too.
    fn change<T>(&self, key: &KeyHash, change: impl FnOnce(&mut Usage, Duration) -> T) -> T {
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
        used.get_or_insert(key, until, Usage::default);
        let usage = used.get_mut(&key).expect("it was just inserted");
        change(usage, until.saturating_duration_since(now))
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
        quotas.take(&key(2)).expect("another key has its own");
        quotas.charge(&key(2), 100);
        assert_eq!(quotas.take(&key(2)).unwrap_err(), Duration::from_secs(60), "its bytes are used up");
        tokio::time::advance(Duration::from_secs(40)).await;
        assert!(quotas.take(&key(1)).is_ok() && quotas.take(&key(2)).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_exchange_is_charged_to_the_window_in_which_it_ends() {
        let quotas = quotas(None, Some(100));
        let minute = Duration::from_secs(60);
        quotas.take(&key(1)).unwrap();
        tokio::time::advance(3 * minute).await;
        quotas.charge(&key(1), 100);
        assert_eq!(quotas.take(&key(1)), Err(minute));
        tokio::time::advance(minute).await;
        quotas.take(&key(1)).unwrap();
        quotas.charge(&key(1), usize::MAX);
        quotas.charge(&key(1), usize::MAX);
        assert_eq!(quotas.take(&key(1)), Err(minute));
    }

    #[test]
    fn without_a_quota_nothing_is_counted() {
        assert!(Quotas::new(&ServeConfig::defaults()).is_none());
    }
}
