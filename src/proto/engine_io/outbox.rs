//! What waits to be sent.

use std::collections::VecDeque;

use super::frame::Frame;
use super::settings::Settings;
use crate::tables;

/// How many frames, and their bytes together.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) frames: usize,
    pub(super) bytes: usize,
}

/// What one answer of long-polling carries at most, from a server. python-engineio leaves the server when one has more than 16 packets, and no
/// client gains by an answer of many megabytes, which it reads whole. The bytes are those of the answer, but for the escapes
/// that revision 3 writes.
pub(super) const BATCH: Size = Size { frames: 16, bytes: 1 << 20 };

/// The most bytes that an answer has around a packet: its length in digits, a colon, and `b4` for base64.
const AROUND: usize = "1048576:b4".len();

/// What waits to be sent: frames in order, and their size.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Outbox {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Returns whether frames of this number and total size can be added within the limits.
    pub(super) fn has_room(&self, Size { frames, bytes }: Size, settings: &Settings) -> bool {
        self.bytes.saturating_add(bytes) <= settings.max_buffered_bytes
            && self.frames.len().saturating_add(frames) <= settings.max_buffered_packets
    }

    pub(super) fn push(&mut self, frame: Frame) {
        self.bytes += frame.len();
        // Most sessions wait for hours with no more than the memory of their first frame: room for one, not for four.
        if self.frames.capacity() == 0 {
            self.frames.reserve_exact(1);
        }
        self.frames.push_back(frame);
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        let frame = tables::take_first(&mut self.frames)?;
        self.bytes -= frame.len();
        Some(frame)
    }

    /// Takes what one body of long-polling may carry: the first frames, and at least one.
    pub(super) fn take_batch(&mut self, most: Size) -> Vec<Frame> {
        let mut bytes = 0;
        let fits = |frame: &&Frame| {
            bytes += polled_len(frame);
            bytes <= most.bytes
        };
        let count = self.frames.iter().take(most.frames).take_while(fits).count().max(1);
        if count >= self.frames.len() {
            self.bytes = 0;
            return std::mem::take(&mut self.frames).into();
        }
        std::iter::from_fn(|| self.pop()).take(count).collect()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Returns how many bytes an answer of long-polling has for a frame. Of a binary one, base64 has four for three.
fn polled_len(frame: &Frame) -> usize {
    let len = match frame {
        Frame::Text(text) => text.len(),
        Frame::Binary(data) => 4 * data.len().div_ceil(3),
    };
    AROUND + len
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::proto::engine_io::payload::{Batch, Body};
    use crate::proto::engine_io::{BinaryAs, PollingText, Revision};

    #[test]
    fn an_answer_has_a_mebibyte_at_most_in_base64_too() {
        let texts = || (0..40).map(|_| Frame::Text("4".repeat(99_999).into()));
        let attachments = || (0..40).map(|_| Frame::Binary(Bytes::from(vec![0; 99_999])));
        for revision in [Revision::V3, Revision::V4] {
            for (frames, expected) in [(texts().collect::<Vec<_>>(), 10), (attachments().collect(), 7)] {
                let mut outbox = Outbox::default();
                frames.into_iter().for_each(|frame| outbox.push(frame));
                let frames = outbox.take_batch(BATCH);
                assert_eq!(frames.len(), expected);
                let text = PollingText { to_ascii: None, long_as_bytes: false };
                let answer = Batch { frames, revision, binary: BinaryAs::Base64, text }.encode();
                let Body::Text(answer) = answer else { panic!("base64 is text") };
                assert!(answer.len() <= BATCH.bytes, "{} bytes", answer.len());
            }
        }
    }
}
