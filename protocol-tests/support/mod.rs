//! Clients that several suites share, and a server in this process.

pub(crate) mod end;
pub(crate) mod keyed;
pub(crate) mod line;
pub(crate) mod pattern;
pub(crate) mod streaming_end;
pub(crate) mod tool;
pub(crate) mod transfer;
pub(crate) mod wire;

use std::future::Future;
use std::time::Duration;

/// How long a test waits for one event before it fails: long enough for a busy machine. A test that passes never waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A well-formed token that no server hands out.
pub(crate) const UNKNOWN: &str = "MDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAw";

/// What an end is told that joins with such a token.
pub(crate) const NOT_FOUND: &str = "token not found: it is unknown or has expired, ask GET /new for another";

/// Waits for an event; panics if it does not come in time.
pub(crate) async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
