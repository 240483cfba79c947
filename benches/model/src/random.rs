//! Random numbers, the same in each run, and Zipf's law.

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Returns a number between 0 and 1.
    pub fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Ranks that are sums of their own.
const EXACT: usize = 1_000;
/// The limit of the sum of 1/k up to n, less the logarithm of n.
const EULER: f64 = 0.577_215_664_901_532_9;

/// Zipf's law with the exponent 1: rank k has a share of 1/k.
pub struct Zipf {
    sums: Vec<f64>,
    all: f64,
}

impl Zipf {
    pub fn new(ranks: usize) -> Self {
        let mut sum = 0.0;
        let sums: Vec<f64> = (1..=ranks.min(EXACT))
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        let all = if ranks > EXACT { (ranks as f64).ln() + EULER } else { sum };
        Self { sums, all }
    }

    /// Returns a rank, from 0.
    pub fn rank(&self, random: &mut Random) -> usize {
        let sum = random.part() * self.all;
        match self.sums.last() {
            Some(last) if sum > *last => (sum - EULER).exp() as usize - 1,
            _ => self.sums.partition_point(|known| *known < sum),
        }
    }
}
