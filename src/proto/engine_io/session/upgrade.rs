//! The upgrade from long-polling to a WebSocket (PROTOCOL.md, "A session").

use std::time::Duration;

use super::Session;
use super::output::{Output, PollAnswer, UpgradeError, UpgradeTicket};
use super::state::{Probing, Slot, Stage, State};
use crate::proto::engine_io::frame::Frame;
use crate::proto::engine_io::packet::{ClientPacket, Data, ServerPacket};
use crate::proto::engine_io::query::Rejection;
use crate::proto::engine_io::revision::Revision;
use crate::proto::engine_io::transport::BinaryAs;
use crate::proto::time::Instant;

/// How long a poll that waits already is held after the probe, so that a `5` sent together with the probe arrives before
/// an answer that the client has stopped waiting for.
const PARKED_RELEASE_DELAY: Duration = Duration::from_millis(2);

impl<P> Session<P> {
    /// Handles a WebSocket that asks to take over. On it, binary messages are to travel as `binary` says.
    ///
    /// # Errors
    /// When the session has ended, speaks another revision, or has no place for a candidate. A session that is open goes on as
    /// before, and so does its first candidate.
    pub fn reserve_upgrade(
        &mut self,
        revision: Option<Revision>,
        binary: BinaryAs,
        now: Instant,
    ) -> Result<UpgradeTicket, UpgradeError> {
        self.handle_timeout(now);
        if self.close_reason().is_some() {
            return Err(UpgradeError::SessionUnknown);
        }
        if revision != Some(self.revision) {
            return Err(UpgradeError::OtherRevision);
        }
        let ticket = self.next_ticket;
        let until = now + self.settings.upgrade_timeout;
        if !self.state.probe(ticket, binary, until) {
            return Err(UpgradeError::NoPlace);
        }
        self.next_ticket = ticket.next();
        Ok(ticket)
    }

    /// Whether this candidate may still take over.
    #[must_use]
    pub fn is_candidate(&self, ticket: UpgradeTicket) -> bool {
        matches!(&self.state, State::Probing(probing) if probing.ticket == ticket)
    }

    /// Handles a frame of a candidate WebSocket. Frames of a candidate that was given up mean nothing.
    pub fn candidate_frame(&mut self, ticket: UpgradeTicket, frame: Frame, now: Instant) {
        self.handle_timeout(now);
        let packet = ClientPacket::decode(frame, self.revision);
        let State::Probing(probing) = &mut self.state else { return };
        if probing.ticket != ticket {
            return;
        }
        match (probing.stage, packet) {
            (Stage::Waiting, Ok(ClientPacket::Ping(Data::Probe))) => {
                probing.release_at(now + PARKED_RELEASE_DELAY);
                let frame = ServerPacket::Pong(Data::Probe).encode(self.revision);
                self.outputs.push_back(Output::Candidate { ticket, frame });
            }
            (Stage::Probed, Ok(ClientPacket::Upgrade)) => {
                self.binary = probing.binary;
                // A poll that still waits came after the client's last word on polling.
                if let Some(to) = self.state.take_parked() {
                    self.answer(to, PollAnswer::Rejected(Rejection::BadRequest));
                }
                self.state = State::WebSocket;
                self.outputs.push_back(Output::AdoptCandidate(ticket));
            }
            (Stage::Waiting | Stage::Probed, Ok(_) | Err(_)) => self.drop_candidate(),
        }
    }

    /// Handles the loss of a candidate WebSocket; polling goes on. The loss of a candidate that was given up means
    /// nothing.
    pub fn candidate_lost(&mut self, ticket: UpgradeTicket) {
        if self.is_candidate(ticket) {
            self.state.leave_probing();
        }
    }

    /// Gives the candidate up, if there is one.
    pub(super) fn drop_candidate(&mut self) {
        self.outputs.extend(self.state.leave_probing().map(Output::DropCandidate));
    }
}

impl<P> Probing<P> {
    /// Notes the candidate's probe: a poll that waits is released at this time.
    fn release_at(&mut self, time: Instant) {
        self.stage = Stage::Probed;
        if let Slot::Parked { release_at, .. } = &mut self.slot {
            *release_at = Some(time);
        }
    }
}
