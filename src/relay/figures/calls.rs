//! What was asked of the relay and of its store, and what of it failed.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::families::Families;
use crate::relay::code::Code;
use crate::store::StoreError;

/// Counts requests that began no exchange and failed, by code.
#[derive(Debug)]
pub(in crate::relay) struct FailedRequests([AtomicU64; Code::ALL.len()]);

impl Default for FailedRequests {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; Code::ALL.len()])
    }
}

impl FailedRequests {
    pub(in crate::relay) fn count(&self, code: Code) {
        self.0[code as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn write(&self, out: &mut Families<'_>) -> fmt::Result {
        let counts = Code::ALL.into_iter().map(|code| (code, self.0[code as usize].load(Ordering::Relaxed)));
        // Most of the others can only end an exchange.
        let counts = counts.filter(|(code, count)| *count > 0 || !code.can_end_an_exchange());
        let help = "Requests that began no exchange and failed, by the error's code";
        out.counters("socket2me_failed_requests", help, "code", counts.map(|(code, count)| (code.as_str(), count)))
    }
}

/// What is asked of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::relay) enum StoreCall {
    Create,
    Find,
    Change,
    Restore,
}

impl StoreCall {
    const ALL: [(Self, &'static str); 4] =
        [(Self::Create, "create"), (Self::Find, "find"), (Self::Change, "change"), (Self::Restore, "restore")];
}

/// Counts calls of the store, and those that failed because the store could not be used.
#[derive(Debug, Default)]
pub(in crate::relay) struct StoreCalls {
    all: [AtomicU64; StoreCall::ALL.len()],
    failed: [AtomicU64; StoreCall::ALL.len()],
}

impl StoreCalls {
    /// Counts a call by its result, and returns that.
    pub(in crate::relay) fn counted<T>(&self, call: StoreCall, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.all[call as usize].fetch_add(1, Ordering::Relaxed);
        if let Err(StoreError::Unavailable(_)) = result {
            self.failed[call as usize].fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    pub(super) fn write(&self, out: &mut Families<'_>) -> fmt::Result {
        let read = |counts: &[AtomicU64]| {
            StoreCall::ALL.map(|(call, name)| (name, counts[call as usize].load(Ordering::Relaxed)))
        };
        out.counters("socket2me_store_calls", "Calls of the store", "operation", read(&self.all))?;
        let help = "Calls of the store that failed because it could not be used";
        out.counters("socket2me_store_errors", help, "operation", read(&self.failed))
    }
}
