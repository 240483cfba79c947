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

/// What one answer of long-polling carries at most. python-engineio leaves the server when one has more than 16 packets, and no
/// client gains by an answer of many megabytes, which it reads whole.
const BATCH: Size = Size { frames: 16, bytes: 1 << 20 };

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

    /// Whether so many more frames, which have so many bytes together, stay within the limits.
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

    /// Takes what one answer of long-polling may carry: the first frames, and at least one.
    pub(super) fn take_batch(&mut self) -> Vec<Frame> {
        let mut bytes = 0;
        let fits = |frame: &&Frame| {
            bytes += frame.len();
            bytes <= BATCH.bytes
        };
        let count = self.frames.iter().take(BATCH.frames).take_while(fits).count().max(1);
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
