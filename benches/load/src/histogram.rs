//! A log-linear histogram of nanoseconds: 128 steps for each power of two, so that values are less than 0.8 % off.

const STEP_BITS: u32 = 7;
const STEPS: u64 = 1 << STEP_BITS;

pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; (64 * STEPS) as usize], total: 0 }
    }
}

impl Histogram {
    pub fn record(&mut self, nanos: u64) {
        self.counts[index(nanos)] += 1;
        self.total += 1;
    }

    pub fn count(&self) -> u64 {
        self.total
    }

    /// Returns the time, in microseconds, below which this part of the values lies; `None` without any values.
    pub fn quantile_us(&self, part: f64) -> Option<f64> {
        let wanted = ((self.total as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        found.map(|index| middle(index as u64) as f64 / 1e3)
    }
}

fn index(nanos: u64) -> usize {
    if nanos < STEPS {
        return nanos as usize;
    }
    let shift = 63 - nanos.leading_zeros() - STEP_BITS;
    ((u64::from(shift + 1) << STEP_BITS) + ((nanos >> shift) & (STEPS - 1))) as usize
}

/// Returns the middle of the range that has this index.
fn middle(index: u64) -> u64 {
    if index < STEPS {
        return index;
    }
    let shift = (index >> STEP_BITS) - 1;
    let low = (STEPS | (index & (STEPS - 1))) << shift;
    low + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_within_a_hundredth() {
        for nanos in [0, 1, 127, 128, 129, 1_000, 65_537, 1_234_567, 5_000_000_000] {
            let got = middle(index(nanos) as u64);
            assert!(got.abs_diff(nanos) * 100 <= nanos, "{nanos} came back as {got}");
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_us(0.5), None);
        (1..=100).for_each(|micros| histogram.record(micros * 1_000));
        for (part, micros) in [(0.5, 50.0), (0.99, 99.0), (0.999, 100.0)] {
            let got = histogram.quantile_us(part).unwrap();
            assert!((got - micros).abs() / micros < 0.01, "{part}: {got}");
        }
    }
}
