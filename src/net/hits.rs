//! How often limits were hit that no budget counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::proto::limit::Limit;

/// Counts how often each limit was hit.
#[derive(Debug, Default)]
pub struct Hits([AtomicU64; Limit::ALL.len()]);

impl Hits {
    /// Counts that a limit was hit.
    pub fn hit(&self, limit: Limit) {
        self.0[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how often each limit was hit.
    pub fn all(&self) -> impl Iterator<Item = (Limit, u64)> {
        Limit::ALL.into_iter().map(|limit| (limit, self.0[limit as usize].load(Ordering::Relaxed)))
    }
}
