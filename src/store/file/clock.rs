//! Moments of the wall clock, which is what a file keeps, and moments of this process's clock, by which tunnels expire.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::format::milliseconds;
use crate::store::record::Kept;

/// A wall clock that is further behind the file's last write than this was wrong then or is wrong now. Less than that is how
/// clocks are set.
const MOST_BEHIND: u64 = 3_600_000;

/// How long a tunnel lives at least after a start, in milliseconds: its ends come back within a minute.
const TIME_TO_RETURN: u64 = 60_000;

/// One moment by both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    now: Instant,
    /// In milliseconds since 1970.
    pub(super) wall: u64,
}

impl Clock {
    /// Reads both clocks.
    pub(super) fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { now: Instant::now(), wall: milliseconds(wall) }
    }

    /// Returns by the wall clock, in milliseconds since 1970, when a tunnel expires whose name is not claimed any more from
    /// `forgotten` on.
    pub(super) fn expires(&self, forgotten: Instant, claim: Duration) -> u64 {
        let left = milliseconds(forgotten.saturating_duration_since(self.now));
        (self.wall + left).saturating_sub(milliseconds(claim))
    }

    /// Returns by this process's clock when the name of a tunnel is not claimed any more; `None` if that was before.
    pub(super) fn forgotten(&self, kept: &Kept) -> Option<Instant> {
        let left = kept.forgotten().checked_sub(self.wall).filter(|&left| left > 0)?;
        Some(self.now + Duration::from_millis(left))
    }
}

/// Tells how far a wall clock is behind the last write of a file, in milliseconds, if that is more than can be.
pub(super) fn behind(wall: u64, written: Option<u64>) -> Option<u64> {
    written.and_then(|written| written.checked_sub(wall)).filter(|&behind| behind > MOST_BEHIND)
}

/// Returns when a tunnel expires that a process finds in a file as it starts: by a clock that is `behind` so far, and not before
/// its ends had time to come back, if it lived when the file was written last.
pub(super) fn at_start(expires: u64, wall: u64, written: Option<u64>, behind: Option<u64>) -> u64 {
    let lived = written.is_some_and(|written| expires > written);
    let expires = expires.saturating_sub(behind.unwrap_or(0));
    if lived { expires.max(wall + TIME_TO_RETURN) } else { expires }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_that_lived_has_a_minute_at_least_and_moves_with_a_clock_that_went_back() {
        const HOUR: u64 = 3_600_000;
        let (wall, minute) = (1_000 * HOUR, TIME_TO_RETURN);
        for (expires, written, expected) in [
            (wall + HOUR, wall - 1, wall + HOUR),
            (wall + 1, wall - 1, wall + minute),
            // The server was away when it expired.
            (wall - HOUR, wall - 2 * HOUR, wall + minute),
            // It had expired before.
            (wall - HOUR, wall - HOUR + 1, wall - HOUR),
            // A clock that was set a little.
            (wall + 2 * HOUR, wall + HOUR, wall + 2 * HOUR),
            (wall + 12 * HOUR, wall + 10 * HOUR, wall + 2 * HOUR),
            (wall + 9 * HOUR, wall + 10 * HOUR, wall - HOUR),
        ] {
            let behind = behind(wall, Some(written));
            assert_eq!(behind.is_some(), written > wall + HOUR);
            assert_eq!(at_start(expires, wall, Some(written), behind), expected, "{expires} {written}");
        }
        assert_eq!((at_start(5, wall, None, None), behind(wall, None)), (5, None));
    }
}
