//! Times by their length.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts times by their length. `N` buckets have these upper bounds, which grow; longer times are in a bucket without one.
#[derive(Debug)]
pub(super) struct Histogram<const N: usize> {
    bounds: [Duration; N],
    counts: [AtomicU64; N],
    over: AtomicU64,
    /// The sum of all times, in microseconds.
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    pub(super) fn new(bounds: [Duration; N]) -> Self {
        let counts = [const { AtomicU64::new(0) }; N];
        Self { bounds, counts, over: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    /// Counts a time.
    pub(super) fn observe(&self, time: Duration) {
        let bucket = self.bounds.partition_point(|bound| *bound < time);
        self.counts.get(bucket).unwrap_or(&self.over).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns the sum of all times, in seconds.
    pub(super) fn sum(&self) -> f64 {
        self.sum.load(Ordering::Relaxed) as f64 / 1e6
    }

    /// Returns how many times each bucket has, with its upper bound in seconds.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = self.bounds.iter().map(Duration::as_secs_f64).chain([f64::INFINITY]);
        let counts = self.counts.iter().chain([&self.over]).map(|count| count.load(Ordering::Relaxed));
        bounds.zip(counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_first_bucket_that_is_not_shorter() {
        let histogram = Histogram::new([1, 10].map(Duration::from_millis));
        for microseconds in [0, 1_000, 1_001, 10_000, 10_001, 3_000_000] {
            histogram.observe(Duration::from_micros(microseconds));
        }
        assert_eq!(histogram.buckets(), [(0.001, 2), (0.01, 2), (f64::INFINITY, 2)]);
        assert!((histogram.sum() - 3.022_002).abs() < 1e-9);
    }
}
