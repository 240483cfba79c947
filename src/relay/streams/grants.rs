//! What an end is granted of all its exchanges together.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::proto::engine_io::Transport;

/// What an end may send unacknowledged of all its exchanges, in bytes. On long-polling, a client posts all that it has queued in
/// one body, which has a limit.
#[derive(Debug)]
pub(in crate::relay) struct Grants {
    given: AtomicUsize,
    /// The sum that may be given; `usize::MAX` on a WebSocket.
    most: AtomicUsize,
}

impl Grants {
    pub(in crate::relay) fn new() -> Self {
        Self { given: AtomicUsize::new(0), most: AtomicUsize::new(usize::MAX) }
    }

    /// Notes what is given, and what may be: `most` bytes on long-polling.
    pub(super) fn note(&self, given: usize, transport: Transport, most: usize) {
        self.given.store(given, Ordering::Relaxed);
        let most = match transport {
            Transport::Polling => most,
            Transport::WebSocket => usize::MAX,
        };
        self.most.store(most, Ordering::Relaxed);
    }

    /// Returns what one more exchange may be granted.
    pub(in crate::relay) fn left(&self) -> usize {
        self.most.load(Ordering::Relaxed).saturating_sub(self.given.load(Ordering::Relaxed))
    }
}
