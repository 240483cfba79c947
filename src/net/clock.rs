//! The clock that `proto` does not have.

use tokio::time::Instant as TokioInstant;

use crate::proto::time::Instant;

/// Converts between the runtime's time, which tests can pause, and the plain values of `proto`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: TokioInstant,
}

impl Clock {
    /// Starts a clock whose origin is now.
    pub(crate) fn start() -> Self {
        Self { origin: TokioInstant::now() }
    }

    /// Returns the time since the origin.
    pub(crate) fn now(self) -> Instant {
        Instant::after_origin(self.origin.elapsed())
    }

    /// Returns the runtime's time of a moment.
    pub(crate) fn at(self, moment: Instant) -> TokioInstant {
        self.origin + moment.since_origin()
    }
}
