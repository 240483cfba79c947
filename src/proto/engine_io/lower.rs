//! What a layer may do to the session below it.

use super::close_reason::CloseReason;
use super::message::Outgoing;
use super::outbox::{Outbox, Size};
use super::revision::Revision;
use super::settings::Settings;
use crate::proto::limit::Limit;
use crate::proto::time::Instant;

/// A session as the layer above it sees it during one call: what the layer may do, and the time.
///
/// `Lower` names neither the side of the session nor what its polls are answered with, so that one layer stands on any
/// session.
#[derive(Debug)]
pub struct Lower<'s> {
    /// The time of this call.
    pub now: Instant,
    revision: Revision,
    settings: &'s Settings,
    outbox: &'s mut Outbox,
    closing: Option<CloseReason>,
    hit: Option<Limit>,
}

impl<'s> Lower<'s> {
    /// Makes the view of a session that is open, or was closed for the reason `closing`.
    pub(super) fn new(
        revision: Revision,
        settings: &'s Settings,
        outbox: &'s mut Outbox,
        closing: Option<CloseReason>,
        now: Instant,
    ) -> Self {
        Self { now, revision, settings, outbox, closing, hit: None }
    }

    /// Returns the revision that the session speaks.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Whether messages of these sizes, in bytes, can be queued together within the session's limits.
    #[must_use]
    pub fn has_room(&self, sizes: impl Iterator<Item = usize>) -> bool {
        // Binary messages have a byte more in revision 3; that text has not matters to nobody.
        let kind = usize::from(self.revision == Revision::V3);
        let size = sizes.fold(Size::default(), |Size { frames, bytes }, size| Size {
            frames: frames + 1,
            bytes: bytes.saturating_add(size + kind),
        });
        self.outbox.has_room(size, self.settings)
    }

    /// Queues a message. If it is over the session's limits, because the peer does not read, the session is closed
    /// instead.
    pub fn send(&mut self, message: Outgoing) {
        if self.closing.is_some() {
            return;
        }
        let frame = message.into_frame(self.revision);
        if self.outbox.has_room(Size { frames: 1, bytes: frame.len() }, self.settings) {
            self.outbox.push(frame);
        } else {
            self.hit = Some(Limit::Buffered);
            self.closing = Some(CloseReason::Overflow);
        }
    }

    /// Queues a message that may be lost, and that no other is to wait for: if nothing waits but a few of its kind, and the peer
    /// has taken all that was sent before. Returns whether it was queued.
    pub fn offer(&mut self, message: Outgoing) -> bool {
        self.closing.is_none() && self.outbox.offer(message.into_frame(self.revision), self.settings)
    }

    /// Closes the session as soon as the call returns. Messages sent after this are dropped. Of several reasons, the
    /// first counts.
    pub fn close(&mut self, reason: CloseReason) {
        self.closing.get_or_insert(reason);
    }

    /// Tells the session's owner that the peer has hit a limit. Of several in one call, the last counts.
    pub fn hit(&mut self, limit: Limit) {
        self.hit = Some(limit);
    }

    /// Returns the limit that the peer has hit.
    pub(super) fn limit_hit(&self) -> Option<Limit> {
        self.hit
    }

    /// Returns why the session is closed, or is to be.
    pub(super) fn closing(&self) -> Option<CloseReason> {
        self.closing
    }
}
