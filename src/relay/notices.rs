//! Notices: what goes wrong, told to the end that it is about (PROTOCOL.md, "Notices").
//!
//! A notice may be lost, and nothing waits for it: see [`Socket::offer`](crate::engine::Socket::offer).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::code::Code;
use crate::proto::engine_io::Space;
use crate::proto::json;
use crate::proto::socket_io::Namespace;
use crate::proto::socket_io::packet::Encoded;

/// The notices that one end gets in any [`PERIOD`].
const MAX_NOTICES: usize = 10;
const PERIOD: Duration = Duration::from_secs(1);

/// What a notice is about: its `code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// An exchange that failed with this code, and the end had to do with it.
    Failed(Code),
    /// An ack that nobody waits for.
    LateAnswer,
    /// A visitor that left before the end has answered.
    VisitorLeft,
    /// A name that is no option, in what the end sent to join.
    UnknownOption,
    /// The tunnel is about to expire.
    Expiring,
    /// Another end takes the place of this one.
    TakenOver,
}

impl About {
    /// Returns the code as text.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Failed(code) => code.as_str(),
            Self::LateAnswer => "late-answer",
            Self::VisitorLeft => "visitor-left",
            Self::UnknownOption => "unknown-option",
            Self::Expiring => "expiring",
            Self::TakenOver => "taken-over",
        }
    }
}

/// A notice for an end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notice<'n> {
    pub(super) about: About,
    /// The id of the exchange that it is about.
    pub(super) id: Option<&'n str>,
    /// What happened and, where that can be known, what to do.
    pub(super) message: &'n str,
}

impl Notice<'_> {
    /// Returns the event `notice`.
    pub(super) fn encode(&self, namespace: &Namespace) -> Encoded {
        let mut event = Encoded::begin(namespace, None, Vec::new(), Space::New(64 + self.message.len()));
        let out = event.json();
        out.push_str("[\"notice\",{");
        if let Some(id) = self.id {
            out.push_str("\"id\":");
            json::write_string(id, out);
            out.push(',');
        }
        out.push_str("\"code\":");
        json::write_string(self.about.as_str(), out);
        out.push_str(",\"message\":");
        json::write_string(self.message, out);
        out.push_str("}]");
        event.finish()
    }
}

/// Counts the notices of all ends.
#[derive(Debug, Default)]
pub(super) struct NoticeCounters {
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl NoticeCounters {
    /// Counts a notice.
    pub(super) fn count(&self, is_sent: bool) {
        let counter = if is_sent { &self.sent } else { &self.dropped };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many were sent, and how many were dropped.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed))
    }
}

/// The notices of an end that asks for them.
#[derive(Debug)]
pub(super) struct Notices {
    latest: Mutex<Latest>,
    counters: Arc<NoticeCounters>,
}

/// When the latest notices were sent: a ring, whose oldest is at `next`.
#[derive(Debug, Default)]
struct Latest {
    moments: [Option<Instant>; MAX_NOTICES],
    next: usize,
}

impl Notices {
    pub(super) fn new(counters: Arc<NoticeCounters>) -> Self {
        Self { latest: Mutex::default(), counters }
    }

    /// Sends a notice by `offer`, which returns whether it was taken, and drops it if there were too many just now. The counters
    /// hear later of one that was taken.
    pub(super) fn send(&self, offer: impl FnOnce() -> bool) {
        // Nothing that is done under the lock can panic half-way.
        let is_free = self.latest.lock().unwrap_or_else(PoisonError::into_inner).take_place(Instant::now());
        if !is_free || !offer() {
            self.counters.count(false);
        }
    }
}

impl Latest {
    /// Takes a place for a notice at `now`. Returns false if there were as many in the last second as there may be.
    fn take_place(&mut self, now: Instant) -> bool {
        let oldest = &mut self.moments[self.next];
        if oldest.is_some_and(|moment| now.duration_since(moment) < PERIOD) {
            return false;
        }
        *oldest = Some(now);
        self.next = (self.next + 1) % MAX_NOTICES;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_has_more_than_ten_notices() {
        let start = Instant::now();
        let mut latest = Latest::default();
        let mut sent = Vec::new();
        // An attempt each 30 ms, and in some of them several.
        for number in 0..400_u32 {
            let now = start + Duration::from_millis(30) * number;
            for _ in 0..=(number % 7) {
                if latest.take_place(now) {
                    sent.push(now);
                }
            }
        }
        assert!(sent.windows(MAX_NOTICES + 1).all(|these| these[MAX_NOTICES] - these[0] >= PERIOD), "{sent:?}");
        assert_eq!(sent.len(), 12 * MAX_NOTICES, "{sent:?}");
    }
}
