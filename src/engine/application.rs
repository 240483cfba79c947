//! What stands on the sessions of an [`Engine`](super::Engine), and how the rest of the process reaches a session.

use std::net::SocketAddr;

use super::command::{Poller, SessionCommand};
use super::mailbox::{self, Undelivered};
use crate::proto::engine_io::{Revision, Sid};
use crate::proto::link::{Layer, ServerLink};
use crate::proto::time::Instant;

/// A session and the layer of an application on it.
pub type Link<A> = ServerLink<<A as Application>::Layer, Poller>;

/// What stands on the sessions of an [`Engine`](super::Engine): [`SocketIo`](super::SocketIo) with its hosts, or a protocol of
/// one's own.
pub trait Application: Send + Sync + 'static {
    /// The protocol above Engine.IO, one value for each session.
    type Layer: Layer<Event: Send> + Send + 'static;
    /// What the application keeps for a session beside its layer.
    type Session: Send + 'static;
    /// What the rest of the process can ask of a session, through its [`Handle`].
    type Command: Send + 'static;

    /// A session opens.
    fn open(&self, opening: &Opening, handle: Handle<Self::Command>, now: Instant) -> (Self::Layer, Self::Session);

    /// The layer of a session has an event.
    fn event(
        &self,
        session: &mut Self::Session,
        event: <Self::Layer as Layer>::Event,
        link: &mut Link<Self>,
        now: Instant,
    );

    /// A command came through the session's [`Handle`].
    fn command(&self, session: &mut Self::Session, command: Self::Command, link: &mut Link<Self>, now: Instant);
}

/// What is known of a client when its session opens.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The address that the client's first request came from.
    pub peer: SocketAddr,
    /// The session's id. It is a bearer secret: a client that knows it can send and receive in the session's name.
    pub sid: Sid,
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

    /// Queues a command whose number the caller bounds; a full mailbox takes it, too. If the session has ended, the command is
    /// dropped.
    pub fn send(&self, command: C) {
        // A session that is gone needs no more commands.
        let _ = self.mailbox.send(SessionCommand::Application(command));
    }
}
