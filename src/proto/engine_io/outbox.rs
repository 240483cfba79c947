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

    pub(super) fn take(&mut self) -> Vec<Frame> {
        self.bytes = 0;
        std::mem::take(&mut self.frames).into()
    }
}
