//! What a session's task can be asked by the requests of its client and by the rest of the process.

use tokio::sync::oneshot;

use super::mailbox;
use super::transport::SessionWebSocket;
use crate::proto::engine_io::payload::Body;
use crate::proto::engine_io::session::{PollAnswer, PostError, UpgradeError, UpgradeTicket};
use crate::proto::engine_io::{BinaryAs, CloseReason, Revision};

/// What a session keeps of a poll that waits: the way to answer it.
pub type Poller = oneshot::Sender<PollAnswer>;

/// A command for a session's task. `C` is the application's own kind of command.
pub(super) enum SessionCommand<C> {
    /// Answer a GET of the polling transport, now or once there are packets.
    Poll { revision: Option<Revision>, reply: Poller },
    /// Take the packets of a POST whose body has arrived with its head.
    Post { revision: Option<Revision>, body: Result<Body, CloseReason>, reply: oneshot::Sender<Result<(), PostError>> },
    /// Expect the body of a POST. A second one before its end is an error of the client's.
    BeginPost { revision: Option<Revision>, reply: oneshot::Sender<Result<(), PostError>> },
    /// Take the packets of the POST that was begun, or end the session for the reason why they did not come.
    EndPost { body: Result<Body, CloseReason>, reply: oneshot::Sender<Result<(), PostError>> },
    /// Keep the place of the candidate for a WebSocket that asks to carry the session.
    Reserve {
        revision: Option<Revision>,
        binary: BinaryAs,
        reply: oneshot::Sender<Result<Reservation<C>, UpgradeError>>,
    },
    /// Take the WebSocket for which the place was kept.
    Candidate { ticket: UpgradeTicket, websocket: Box<SessionWebSocket> },
    /// Free the place that was kept: its WebSocket will not come.
    GiveUp(UpgradeTicket),
    /// Answer the poll that waits, if one does, also if there are no packets.
    Answer,
    /// End the session.
    Close(CloseReason),
    /// Let the application handle a command of its own.
    Application(C),
}

/// The place of the candidate that a session's task keeps for a WebSocket. Dropping it gives the place up.
pub(super) struct Reservation<C> {
    /// What tells this reservation from the others of its session.
    ticket: UpgradeTicket,
    /// `None` once it is redeemed.
    mailbox: Option<mailbox::Sender<SessionCommand<C>>>,
}

impl<C> Reservation<C> {
    pub(super) fn new(ticket: UpgradeTicket, mailbox: mailbox::Sender<SessionCommand<C>>) -> Self {
        Self { ticket, mailbox: Some(mailbox) }
    }

    /// Hands the WebSocket to the session. If that has ended, or the place is not kept any more, the WebSocket is closed.
    pub(super) fn redeem(mut self, websocket: SessionWebSocket) {
        if let Some(mailbox) = self.mailbox.take() {
            // The mailbox of a session that has ended drops the WebSocket, which closes it.
            let _ = mailbox.send(SessionCommand::Candidate { ticket: self.ticket, websocket: Box::new(websocket) });
        }
    }
}

impl<C> Drop for Reservation<C> {
    fn drop(&mut self) {
        if let Some(mailbox) = self.mailbox.take() {
            // A session that has ended keeps no place.
            let _ = mailbox.send(SessionCommand::GiveUp(self.ticket));
        }
    }
}
