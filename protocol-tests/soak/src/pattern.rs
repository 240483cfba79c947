//! Bytes that depend on an exchange and on their position, so that a byte that is lost, doubled or another exchange's is noticed.

/// The bytes or the text of one direction of one exchange, from its start to wherever it is read.
#[derive(Debug, Clone)]
pub struct Pattern {
    state: u64,
}

impl Pattern {
    /// Begins the pattern of an exchange, which its nonce names.
    pub fn new(nonce: u64) -> Self {
        Self { state: nonce | 1 }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.state
    }

    /// Returns the next bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.next() >> 56) as u8).collect()
    }

    /// Returns the next characters, all of them ASCII, some of which JSON escapes.
    pub fn text(&mut self, count: usize) -> String {
        const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz012\"\\\n";
        (0..count).map(|_| char::from(LETTERS[(self.next() >> 59) as usize])).collect()
    }

    /// Returns whether these are the next bytes.
    pub fn continues(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().all(|&byte| (self.next() >> 56) as u8 == byte)
    }
}

/// FNV-1a of a body that comes by and by: no protection against malice, but different for all bodies here.
#[derive(Debug, Clone)]
pub struct Digest {
    hash: u64,
    bytes: u64,
}

impl Digest {
    pub fn new() -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, bytes: 0 }
    }

    pub fn take(&mut self, bytes: &[u8]) {
        let next = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        self.hash = bytes.iter().fold(self.hash, next);
        self.bytes += bytes.len() as u64;
    }

    pub fn json(&self) -> String {
        format!(r#"{{"digest":"{:016x}","bytes":{}}}"#, self.hash, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_goes_on_where_it_was_left_and_is_no_others() {
        let mut pattern = Pattern::new(7);
        let parts = [pattern.bytes(3), pattern.bytes(500)].concat();
        assert_eq!(parts, Pattern::new(7).bytes(503));
        assert!(Pattern::new(7).continues(&parts));
        assert!(!Pattern::new(9).continues(&parts) && !Pattern::new(7).continues(&parts[1..]));
    }
}
