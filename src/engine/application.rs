//! What stands on the sessions of an [`Engine`](super::Engine), and how the rest of the process reaches a session.

use std::net::SocketAddr;

use bytestring::ByteString;

use super::command::{Poller, SessionCommand};
use super::mailbox::{self, Undelivered};
use crate::proto::engine_io::{Revision, Sid};
use crate::proto::link::{Layer, ServerLink};
use crate::proto::time::Instant;

/// A session and the layer of an application on it.
pub type Link<A> = ServerLink<<A as Application>::Layer, Poller>;

/// What stands on the sessions of an [`Engine`](super::Engine): [`SocketIo`](super::SocketIo) with its hosts, or a protocol of
/// one's own.
///
/// No method may block or wait. [`Self::event`] and [`Self::command`] run on the session's task, one after the other: until a
/// call returns, its session neither sends nor receives, and the other sessions of its thread do not run. No method may panic;
/// each says what a panic costs.
pub trait Application: Send + Sync + 'static {
    /// The protocol above Engine.IO, one value for each session.
    type Layer: Layer<Event: Send> + Send + 'static;
    /// What the application keeps for a session beside its layer.
    type Session: Send + 'static;
    /// What the rest of the process can ask of a session, through its [`Handle`].
    type Command: Send + 'static;

    /// A session opens. This is the first call for a session. It runs on the task of the request that opens the session; after
    /// a panic that request fails, and there is no session.
    fn open(&self, opening: &Opening, handle: Handle<Self::Command>, now: Instant) -> (Self::Layer, Self::Session);

    /// The layer of a session has an event. Events come in the layer's order; the last ones come when the session has ended,
    /// and `session` is dropped after them. A panic closes the session. A panic at the session's end is logged, and the next
    /// event follows.
    fn event(
        &self,
        session: &mut Self::Session,
        event: <Self::Layer as Layer>::Event,
        link: &mut Link<Self>,
        now: Instant,
    );

    /// A command came through the session's [`Handle`]. Commands come in the order in which they were sent; those that wait
    /// when the session ends are dropped. A panic closes the session.
    fn command(&self, session: &mut Self::Session, command: Self::Command, link: &mut Link<Self>, now: Instant);

    /// The session's transport takes more, and nothing waits to be sent: the application may send something that it has kept, and
    /// returns whether it did. This is called again until it returns false or the transport takes no more. A panic closes the
    /// session. By default there is nothing.
    fn more(&self, session: &mut Self::Session, link: &mut Link<Self>, now: Instant) -> bool {
        let _ = (session, link, now);
        false
    }

    /// Returns when [`Self::handle_timeout`] must be called at the latest; `None`, as by default, is never.
    fn deadline(&self, session: &Self::Session) -> Option<Instant> {
        let _ = session;
        None
    }

    /// Does what is due. A panic closes the session.
    fn handle_timeout(&self, session: &mut Self::Session, link: &mut Link<Self>, now: Instant) {
        let _ = (session, link, now);
    }
}

/// What is known of a client when its session opens.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The address that the client's first request came from.
    pub peer: SocketAddr,
    /// The session's id. It is a bearer secret: a client that knows it can send and receive in the session's name.
    pub sid: Sid,
    /// Scheme and host by which the client's first request reached the server, `http://relay.example:3000`. Empty if it named no
    /// host, or one longer than any.
    pub asked: ByteString,
    /// The revision of Engine.IO that the client speaks.
    pub revision: Revision,
    /// The query string of the client's first request, as written: the words of Engine.IO, and any that the client's author added.
    pub query: String,
}

/// The way from the rest of the process to a session: the mailbox of its task, which is bounded.
pub struct Handle<C> {
    mailbox: mailbox::Sender<SessionCommand<C>>,
}

impl<C> Clone for Handle<C> {
    fn clone(&self) -> Self {
        Self { mailbox: self.mailbox.clone() }
    }
}

impl<C> Handle<C> {
    pub(super) fn new(mailbox: mailbox::Sender<SessionCommand<C>>) -> Self {
        Self { mailbox }
    }

    /// Returns whether both are handles of the same session.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.mailbox.is_same(&other.mailbox)
    }

    /// Queues a command that remote peers can trigger without limit.
    ///
    /// # Errors
    /// - [`Undelivered::Full`]: [`Limits::mailbox`](super::Limits::mailbox) commands wait already.
    /// - [`Undelivered::Closed`]: the session has ended.
    ///
    /// The command is dropped then.
    pub fn try_send(&self, command: C) -> Result<(), Undelivered> {
        self.mailbox.try_send(SessionCommand::Application(command))
    }

    /// Queues a command that may be lost, while less than half of the mailbox is taken, so that it takes no place from others.
    ///
    /// # Errors
    /// As [`Self::try_send`].
    pub fn offer(&self, command: C) -> Result<(), Undelivered> {
        self.mailbox.offer(SessionCommand::Application(command))
    }

    /// Queues a command whose number the caller bounds; a full mailbox takes it, too. If the session has ended, the command is
    /// dropped.
    pub fn send(&self, command: C) {
        // A session that is gone needs no more commands.
        let _ = self.mailbox.send(SessionCommand::Application(command));
    }
}
