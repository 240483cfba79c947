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

/// How many offered frames may wait: half of what one answer of long-polling carries.
const MAX_OFFERED: usize = BATCH.frames / 2;

/// The most bytes of a packet that is added to an answer of long-polling while it has room: one event of a stream.
const MORE: usize = 66 << 10;

/// The most bytes that an answer has around a packet: its length in digits, a colon, and `b4` for base64.
const AROUND: usize = "1048576:b4".len();

/// What waits to be sent: frames in order, and their size.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// How many of the first frames were offered.
    offered: usize,
    /// The peer has not taken all that was sent to it.
    is_behind: bool,
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

    /// Adds a frame that may be lost, if nothing waits but a few of its kind, and the peer has taken all that was sent before.
    /// Returns whether it was added.
    pub(super) fn offer(&mut self, frame: Frame, settings: &Settings) -> bool {
        let is_idle = !self.is_behind && self.offered == self.frames.len() && self.offered < MAX_OFFERED;
        let is_added = is_idle && self.has_room(Size { frames: 1, bytes: frame.len() }, settings);
        if is_added {
            self.push(frame);
            self.offered += 1;
        }
        is_added
    }

    /// Notes whether the peer has taken all that was sent to it.
    pub(super) fn set_behind(&mut self, is_behind: bool) {
        self.is_behind = is_behind;
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        let frame = tables::take_first(&mut self.frames)?;
        self.bytes -= frame.len();
        self.offered = self.offered.saturating_sub(1);
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
            (self.bytes, self.offered) = (0, 0);
            return std::mem::take(&mut self.frames).into();
        }
        std::iter::from_fn(|| self.pop()).take(count).collect()
    }

    /// Returns whether one more packet with an attachment of [`MORE`] bytes certainly fits in the next answer of long-polling.
    pub(super) fn fits_a_batch(&self) -> bool {
        let size: usize = self.frames.iter().map(polled_len).sum();
        self.frames.len() + 2 <= BATCH.frames && size + 4 * MORE / 3 <= BATCH.bytes
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
    fn an_offered_frame_waits_behind_no_other_and_few_wait() {
        let settings = Settings { max_buffered_bytes: 100, ..Settings::default() };
        let frame = || Frame::Text("4".into());
        let mut outbox = Outbox::default();
        let offered = |outbox: &mut Outbox| (0..99).take_while(|_| outbox.offer(frame(), &settings)).count();
        assert_eq!(offered(&mut outbox), MAX_OFFERED);
        assert!(outbox.pop().is_some());
        assert_eq!(offered(&mut outbox), 1, "one was taken");
        outbox.push(frame());
        assert!(outbox.pop().is_some());
        assert_eq!(offered(&mut outbox), 0, "another frame waits");
        assert_eq!(outbox.take_batch(BATCH).len(), MAX_OFFERED);
        assert_eq!(offered(&mut outbox), MAX_OFFERED);
        while outbox.pop().is_some() {}
        outbox.push(frame());
        outbox.push(frame());
        assert!(outbox.pop().is_some());
        assert_eq!(offered(&mut outbox), 0, "another frame waits");
        assert!(outbox.pop().is_some());
        outbox.set_behind(true);
        assert_eq!(offered(&mut outbox), 0, "the peer does not read");
        outbox.set_behind(false);
        assert!(!outbox.offer(Frame::Text("4".repeat(101).into()), &settings), "it is too large");
        assert!(outbox.is_empty());
    }

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
