//! The heads of frames as they arrive, of which h2 tells nobody (RFC 9113, section 4.1).

/// Bytes in the head of a frame.
const HEAD: usize = 9;

/// Bytes that come before the first frame (RFC 9113, section 3.4).
const PREFACE: usize = 24;

/// The type of frames with data.
const DATA: u8 = 0;

/// Finds the heads of frames in what a client sends.
#[derive(Debug)]
pub(super) struct Heads {
    /// The beginning of a head whose rest has not come.
    begun: [u8; HEAD],
    begun_bytes: usize,
    /// What is to come before the next head, in bytes.
    skip: usize,
}

impl Default for Heads {
    fn default() -> Self {
        Self { begun: [0; HEAD], begun_bytes: 0, skip: PREFACE }
    }
}

impl Heads {
    /// Looks through bytes that follow those before. Returns how many frames with data begin in them.
    pub(super) fn data_frames(&mut self, mut bytes: &[u8]) -> usize {
        let mut count = 0;
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEAD - self.begun_bytes).min(bytes.len());
            self.begun[self.begun_bytes..self.begun_bytes + taken].copy_from_slice(&bytes[..taken]);
            self.begun_bytes += taken;
            bytes = &bytes[taken..];
            if self.begun_bytes == HEAD {
                let [high, middle, low, kind, ..] = self.begun;
                self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                self.begun_bytes = 0;
                count += usize::from(kind == DATA);
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let frame =
            |kind: u8, length: u8| [&[0, 0, length, kind, 0, 0, 0, 0, 1][..], &vec![0; usize::from(length)]].concat();
        let frames = [frame(4, 0), frame(1, 30), frame(0, 0), frame(0, 200), frame(8, 4), frame(0, 1)].concat();
        let sent = [&[0; PREFACE][..], &frames].concat();
        for size in [1, 2, 8, 9, 10, 25, 1000] {
            let mut heads = Heads::default();
            assert_eq!(sent.chunks(size).map(|bytes| heads.data_frames(bytes)).sum::<usize>(), 3, "{size}");
        }
    }
}
