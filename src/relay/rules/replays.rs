//! Which deliveries have succeeded, so that they are refused when they come again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::signature::ReplayKey;
use crate::expiring::Expiring;

/// The most deliveries that a tunnel remembers; beyond, the one that would be forgotten first is. About a hundred bytes each.
const MAX_DELIVERIES: usize = 10_000;

/// The deliveries of a tunnel.
#[derive(Debug, Default)]
pub(super) struct Replays(Mutex<Expiring<[u8; 32], ()>>);

/// A delivery that goes on to an end. Unless it [succeeds](Self::succeeded), it is forgotten: its sender repeats it.
#[derive(Debug)]
pub(in crate::relay) struct Delivery {
    replays: Arc<Replays>,
    key: [u8; 32],
    is_remembered: bool,
}

impl Replays {
    /// Begins a delivery. `None` if the same one has succeeded in this time, or is on its way.
    pub(super) fn begin(self: &Arc<Self>, key: ReplayKey, memory: Duration) -> Option<Delivery> {
        let key = *key.as_bytes();
        let mut deliveries = self.lock();
        let now = Instant::now();
        if deliveries.expiry(&key).is_some_and(|expiry| expiry > now) {
            return None;
        }
        while let Some((expiry, first)) = deliveries.first()
            && (expiry <= now || deliveries.len() >= MAX_DELIVERIES)
        {
            deliveries.remove(&first);
        }
        deliveries.get_or_insert(key, now + memory, || ());
        drop(deliveries);
        Some(Delivery { replays: Arc::clone(self), key, is_remembered: false })
    }

    fn lock(&self) -> MutexGuard<'_, Expiring<[u8; 32], ()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Delivery {
    /// The end has taken it.
    pub(in crate::relay) fn succeeded(mut self) {
        self.is_remembered = true;
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.is_remembered {
            self.replays.lock().remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Duration = Duration::from_secs(600);

    fn key(number: usize) -> ReplayKey {
        ReplayKey::of(&number.to_le_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn a_delivery_is_remembered_for_its_time_once_it_has_succeeded() {
        let replays = Arc::<Replays>::default();
        let first = replays.begin(key(1), MEMORY).unwrap();
        assert!(replays.begin(key(1), MEMORY).is_none(), "it is on its way");
        drop(first);
        replays.begin(key(1), MEMORY).expect("it has failed").succeeded();
        assert!(replays.begin(key(1), MEMORY).is_none() && replays.begin(key(2), MEMORY).is_some());
        tokio::time::advance(MEMORY).await;
        assert!(replays.begin(key(1), MEMORY).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn of_too_many_deliveries_the_oldest_are_forgotten() {
        let replays = Arc::<Replays>::default();
        for number in 0..MAX_DELIVERIES + 5 {
            replays.begin(key(number), MEMORY).unwrap().succeeded();
            tokio::time::advance(Duration::from_micros(1)).await;
        }
        assert_eq!(replays.lock().len(), MAX_DELIVERIES);
        assert!(replays.begin(key(5), MEMORY).is_none() && replays.begin(key(4), MEMORY).is_some());
    }
}
