//! The requests of long-polling: GETs that wait for packets, POSTs that bring them.

use std::time::Duration;

use super::Session;
use super::output::{PollAnswer, PostError};
use super::state::{Probing, Slot, Stage, State, Tail};
use crate::proto::engine_io::close_reason::CloseReason;
use crate::proto::engine_io::query::Rejection;
use crate::proto::engine_io::revision::Revision;
use crate::proto::time::Instant;

/// How long a poll that comes after the probe is held, so that a `5` on its way can overtake it.
const RELEASE_DELAY: Duration = Duration::from_millis(10);

impl<P> Session<P> {
    /// Handles a poll.
    pub fn poll(&mut self, to: P, revision: Option<Revision>, now: Instant) {
        self.handle_timeout(now);
        if let Err(rejection) = self.check_polling(revision) {
            return match self.state {
                State::Closed { tail: Tail::Poll { .. }, .. } if revision == Some(self.revision) => {
                    self.answer_with_batch(to);
                    if self.outbox.is_empty() {
                        self.finish();
                    }
                }
                State::Closed { .. } | State::Polling(_) | State::Probing(_) | State::WebSocket => {
                    self.answer(to, PollAnswer::Rejected(rejection));
                }
            };
        }
        // Two polls at once: the reference closes the session, so that the client notices its fault.
        if self.parked().is_some() {
            self.close(CloseReason::TransportError, now);
            return self.answer(to, PollAnswer::Overlap);
        }
        match &mut self.state {
            State::Polling(slot) | State::Probing(Probing { slot, stage: Stage::Waiting, .. }) => {
                *slot = Slot::Parked { to, release_at: None };
            }
            State::Probing(Probing { slot, stage: Stage::Probed, .. }) => {
                *slot = Slot::Parked { to, release_at: Some(now + RELEASE_DELAY) };
            }
            State::WebSocket | State::Closed { .. } => (),
        }
    }

    /// Handles the loss of the client whose poll waits, and with it of the answer.
    pub fn poll_lost(&mut self, now: Instant) {
        self.state.take_parked();
        self.close(CloseReason::TransportError, now);
    }

    /// Handles a POST whose body is about to be read.
    ///
    /// # Errors
    /// When the session does not exist, or does not fit the request; when another POST is being read, which closes the
    /// session.
    pub fn begin_post(&mut self, revision: Option<Revision>, now: Instant) -> Result<(), PostError> {
        self.handle_timeout(now);
        self.check_polling(revision).map_err(PostError::Rejected)?;
        if self.posting {
            self.close(CloseReason::TransportError, now);
            return Err(PostError::Broken);
        }
        self.posting = true;
        Ok(())
    }

    /// Handles the end of a POST, with or without its packets.
    pub fn end_post(&mut self) {
        self.posting = false;
    }

    /// Fails with the error of a request of long-polling that does not fit the session.
    fn check_polling(&self, revision: Option<Revision>) -> Result<(), Rejection> {
        match self.state {
            State::Closed { .. } => Err(Rejection::SessionUnknown),
            State::WebSocket => Err(Rejection::BadRequest),
            State::Polling(_) | State::Probing(_) if revision == Some(self.revision) => Ok(()),
            State::Polling(_) | State::Probing(_) => Err(Rejection::BadRequest),
        }
    }
}
