//! Bytes of any number, known by their place, so that nobody has to keep them.

use std::sync::LazyLock;

use bytes::Bytes;

/// The length of what repeats: a prime, so that no event or buffer is as long.
const PERIOD: usize = 65_521;

/// The period, twice as often as one slice of 1 MiB needs.
static REPEATED: LazyLock<Bytes> = LazyLock::new(|| {
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    let period: Vec<u8> = std::iter::repeat_with(|| {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word.to_be_bytes()[0]
    })
    .take(PERIOD)
    .collect();
    period.repeat((1 << 20) / PERIOD + 2).into()
});

/// Returns the bytes from this place on, at most 1 MiB.
pub(crate) fn bytes(place: u64, length: usize) -> Bytes {
    let start = usize::try_from(place % PERIOD as u64).unwrap();
    REPEATED.slice(start..start + length.min(1 << 20))
}

/// Counts bytes that must be those of the pattern.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Check {
    /// How many have come.
    pub(crate) bytes: u64,
}

impl Check {
    /// Takes the next bytes.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let expected = self::bytes(self.bytes, bytes.len());
            let (part, rest) = bytes.split_at(expected.len());
            assert!(part == expected, "another byte than that of its place, {} or later", self.bytes);
            self.bytes += part.len() as u64;
            bytes = rest;
        }
    }
}

/// A count and a digest of bytes, whatever the parts are in which they come.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest {
    /// How many have come.
    pub(crate) bytes: u64,
    digest: u64,
    /// The bytes that are no whole word yet.
    word: u64,
}

impl Digest {
    /// Takes the next bytes.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        let missing = usize::try_from(self.bytes.wrapping_neg() % 8).unwrap().min(bytes.len());
        let (first, rest) = bytes.split_at(missing);
        let (words, last) = rest.as_chunks();
        first.iter().for_each(|byte| self.byte(*byte));
        words.iter().for_each(|word| self.mix(u64::from_be_bytes(*word)));
        self.bytes += 8 * words.len() as u64;
        last.iter().for_each(|byte| self.byte(*byte));
    }

    fn byte(&mut self, byte: u8) {
        self.word = self.word << 8 | u64::from(byte);
        self.bytes += 1;
        if self.bytes.is_multiple_of(8) {
            let word = std::mem::take(&mut self.word);
            self.mix(word);
        }
    }

    fn mix(&mut self, word: u64) {
        self.digest = (self.digest.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

#[test]
fn a_digest_is_the_same_in_any_parts_and_another_for_other_bytes() {
    let all = bytes(7, 1000);
    let digest = |size: usize| {
        let mut digest = Digest::default();
        all.chunks(size).for_each(|part| digest.take(part));
        digest
    };
    assert!((1..100).all(|size| digest(size) == digest(1000)));
    let mut other = all.to_vec();
    other.swap(500, 600);
    let mut changed = Digest::default();
    changed.take(&other);
    assert_ne!(changed, digest(1000));
}
