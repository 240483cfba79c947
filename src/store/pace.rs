//! How fast many calls are made of a store that serves others too.

use std::time::Duration;

/// The most calls at once.
const MOST: usize = 50;

/// The longest pause after one failure, and after any number of them in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The pace of calls that can wait: claims that are announced again, tunnels that are written again. All servers make theirs when
/// a store comes back empty, and its answers are late then: a late call costs the store time and must be made again.
///
/// A failure halves the number of calls at once and has the caller pause. As many successes as there are calls at once raise the
/// number by one.
#[derive(Debug, Clone)]
pub struct Pace {
    at_once: usize,
    /// Successes since the number of calls changed.
    successes: usize,
    /// Failures in a row.
    failures: u32,
    /// The state of a generator, SplitMix64: servers that fail together are not to come back together.
    random: u64,
}

impl Pace {
    /// Time between the beginnings of two batches: 1,000 calls in a second at the most, beside which the store serves others.
    pub const EVERY: Duration = Duration::from_millis(50);

    /// Begins with the highest number of calls at once. The seed is another at each server.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { at_once: MOST, successes: 0, failures: 0, random: seed }
    }

    /// Returns how many calls may be under way at once, 1 to 50.
    #[must_use]
    pub fn at_once(&self) -> usize {
        self.at_once
    }

    /// Takes up that a call succeeded.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.successes += 1;
        if self.successes >= self.at_once {
            (self.at_once, self.successes) = (MOST.min(self.at_once + 1), 0);
        }
    }

    /// Takes up that a call failed. Returns the pause before the next calls: half a second to a second, twice as long after each
    /// failure in a row, and 10 s at the most. Calls that began before the pause and fail in it are not to be taken up.
    #[must_use]
    pub fn failed(&mut self) -> Duration {
        (self.at_once, self.successes) = ((self.at_once / 2).max(1), 0);
        let pause = LONGEST_PAUSE.min(FIRST_PAUSE * 2_u32.saturating_pow(self.failures.min(8)));
        self.failures = self.failures.saturating_add(1);
        pause.mul_f64(0.5 + 0.5 * self.part())
    }

    /// Returns a random number from 0 to 1.
    fn part(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_slow_calls_down_and_successes_speed_them_up_again() {
        let mut pace = Pace::new(7);
        let mut pauses = Vec::new();
        let mut numbers = Vec::new();
        for _ in 0..8 {
            pauses.push(pace.failed());
            numbers.push(pace.at_once());
        }
        assert_eq!(numbers, [25, 12, 6, 3, 1, 1, 1, 1]);
        for (pause, longest) in pauses.iter().zip([1, 2, 4, 8, 10, 10, 10, 10]) {
            let longest = Duration::from_secs(longest);
            assert!((longest / 2..=longest).contains(pause), "{pause:?} of {longest:?}");
        }
        assert!(pauses[4] != pauses[5], "pauses differ: {pauses:?}");
        let mut calls = 0;
        while pace.at_once() < MOST {
            pace.succeeded();
            calls += 1;
        }
        assert_eq!(calls, (1..MOST).sum::<usize>());
        pace.succeeded();
        assert_eq!(pace.at_once(), MOST);
        assert!(pace.failed() <= FIRST_PAUSE, "the failures were not in a row");
    }

    #[test]
    fn servers_that_fail_together_come_back_at_different_times() {
        let pauses: Vec<_> = (0..100).map(|seed| Pace::new(seed).failed()).collect();
        let early = pauses.iter().filter(|pause| **pause < Duration::from_millis(750)).count();
        assert!((25..75).contains(&early), "{early} of 100");
    }
}
