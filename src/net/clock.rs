//! The clock that `proto` does not have.

use tokio::time::Instant as TokioInstant;

use crate::proto::time::Instant;

/// Turns the runtime's time, which tests can pause, into the plain values of `proto` and back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: TokioInstant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: TokioInstant::now() }
    }

    pub(crate) fn now(self) -> Instant {
        Instant::after_origin(self.origin.elapsed())
    }

    pub(crate) fn at(self, moment: Instant) -> TokioInstant {
        self.origin + moment.since_origin()
    }
}
