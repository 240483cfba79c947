//! The Socket.IO server: namespaces, events and acks for a [`Host`], on any [`Engine`](crate::engine::Engine).

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use bytestring::ByteString;
use futures::FutureExt as _;
use rand::RngCore as _;

use super::session_task::Link;
use super::{Application, Handle, Opening, Undelivered};
use crate::proto::engine_io::{Revision, Sid};
use crate::proto::socket_io::connection::{AckError, Answer, Awaited, DisconnectReason, Settings};
use crate::proto::socket_io::packet::{Args, Encoded};
use crate::proto::socket_io::{AckId, Connection, Event, Namespace};
use crate::proto::time::Instant;

/// The longest query of a session's first request that is kept, in bytes: it stays as long as the session.
const MAX_QUERY: usize = 2 << 10;

/// An application of Socket.IO: it decides who may join which namespace, and hears what they say.
pub trait Host: Send + Sync + Sized + 'static {
    /// What it keeps for a client in a namespace.
    type Member: Send + 'static;
    /// What waits for an ack.
    type Waiter: Send + 'static;

    /// A client asks to join. Nothing is sent to it before this is decided, and other namespaces do not wait for it.
    fn connect(&self, request: Connect) -> impl Future<Output = Result<Self::Member, Refusal>> + Send + 'static;

    /// The client has joined and was told so.
    fn connected(&self, member: &mut Self::Member, socket: &Socket<Self>, reply: Reply<'_, Self>);

    /// The client emitted an event.
    fn received(&self, member: &mut Self::Member, socket: &Socket<Self>, event: Received, reply: Reply<'_, Self>);

    /// An ack has come, or will not.
    fn acked(&self, waiter: Self::Waiter, outcome: Result<Answer, AckError>);

    /// The client is gone from the namespace.
    fn disconnected(&self, member: Self::Member, socket: &Socket<Self>, reason: DisconnectReason);
}

/// Who asks to join, and where.
#[derive(Debug, Clone)]
pub struct Connect {
    /// The namespace.
    pub namespace: Namespace,
    /// The client's `auth`, a JSON object. Only revision 4 has it.
    pub auth: Option<ByteString>,
    /// What clients of revision 3 say instead: the query of the namespace, or else that of the session's first request,
    /// which has words of Engine.IO too, and is not kept when it is over 2 KiB.
    pub query: Option<ByteString>,
    /// What the client speaks.
    pub revision: Revision,
    /// Where the client connects from.
    pub peer: SocketAddr,
}

/// Why a client may not join: what its `connect_error` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For a person.
    pub message: String,
    /// For the program: JSON.
    pub data: Option<String>,
}

impl Refusal {
    /// A refusal in words alone.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), data: None }
    }
}

/// An event of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The name, a JSON string or number, and the arguments.
    pub args: Args,
    /// What the placeholders in the arguments stand for.
    pub attachments: Vec<bytes::Bytes>,
    /// Set when the client wants an ack.
    pub id: Option<AckId>,
}

/// A client in a namespace, for anybody in the process to send to.
pub struct Socket<H: Host> {
    namespace: Namespace,
    handle: Handle<Command<H>>,
}

impl<H: Host> Clone for Socket<H> {
    fn clone(&self) -> Self {
        Self { namespace: self.namespace.clone(), handle: self.handle.clone() }
    }
}

impl<H: Host> Socket<H> {
    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Emits an event; the waiter hears in [`Host::acked`] what comes of it.
    ///
    /// # Errors
    /// When too much waits for this client's task, or it is gone. The waiter was dropped then.
    pub fn emit(&self, packet: Encoded, awaited: Option<Awaited<H::Waiter>>) -> Result<(), Undelivered> {
        self.handle.try_send(Command::Emit { namespace: self.namespace.clone(), packet, awaited })
    }

    /// Nobody waits for this ack any more. Best effort: a full mailbox leaves it to the ack's timeout.
    pub fn cancel(&self, id: AckId) {
        let _ = self.handle.try_send(Command::Cancel { namespace: self.namespace.clone(), id });
    }

    /// Makes the client leave once it has answered what it was asked. It must not be emitted to any more.
    pub fn retire(&self) {
        self.handle.send(Command::Retire(self.namespace.clone()));
    }

    /// Makes the client leave at once. It will not reconnect by itself.
    pub fn disconnect(&self) {
        self.handle.send(Command::Disconnect(self.namespace.clone()));
    }
}

/// Sends to the client whose event is being handled, without a way through its mailbox.
pub struct Reply<'l, H: Host> {
    link: &'l mut Link<SocketIo<H>>,
    namespace: &'l Namespace,
    now: Instant,
}

impl<H: Host> Reply<'_, H> {
    /// Answers an event.
    pub fn ack(&mut self, id: AckId, answer: Answer) {
        let (namespace, now) = (self.namespace, self.now);
        self.link.act(now, |connection, lower| connection.ack(namespace, id, answer, lower));
    }

    /// Emits an event that wants no ack.
    pub fn emit(&mut self, packet: Encoded) {
        let (namespace, now) = (self.namespace, self.now);
        self.link.act(now, |connection, lower| connection.emit(namespace, packet, None, lower));
    }
}

/// Socket.IO as an application of Engine.IO.
pub struct SocketIo<H: Host> {
    host: H,
    settings: Arc<Settings>,
}

impl<H: Host> SocketIo<H> {
    /// Socket.IO with this host.
    pub fn new(host: H, settings: Settings) -> Self {
        Self { host, settings: Arc::new(settings) }
    }

    /// The host.
    pub fn host(&self) -> &H {
        &self.host
    }
}

/// What a session's task can be asked by the host.
pub enum Command<H: Host> {
    /// A join was decided.
    Decided(Namespace, Result<H::Member, Refusal>),
    /// See [`Socket::emit`].
    Emit {
        /// Where.
        namespace: Namespace,
        /// What.
        packet: Encoded,
        /// Who waits for the ack, and how long.
        awaited: Option<Awaited<H::Waiter>>,
    },
    /// See [`Socket::cancel`].
    Cancel {
        /// Where.
        namespace: Namespace,
        /// Which.
        id: AckId,
    },
    /// See [`Socket::retire`].
    Retire(Namespace),
    /// See [`Socket::disconnect`].
    Disconnect(Namespace),
}

/// What is kept for a session.
pub struct State<H: Host> {
    peer: SocketAddr,
    sid: Sid,
    revision: Revision,
    query: Option<ByteString>,
    handle: Handle<Command<H>>,
    members: Vec<(Socket<H>, H::Member)>,
}

impl<H: Host> State<H> {
    fn socket(&self, namespace: &Namespace) -> Socket<H> {
        Socket { namespace: namespace.clone(), handle: self.handle.clone() }
    }
}

impl<H: Host> Application for SocketIo<H> {
    type Layer = Connection<H::Waiter>;
    type Session = State<H>;
    type Command = Command<H>;

    fn open(&self, opening: &Opening, handle: Handle<Command<H>>, now: Instant) -> (Self::Layer, State<H>) {
        let Opening { peer, sid, revision, ref query } = *opening;
        let connection = Connection::new(Arc::clone(&self.settings), revision, now);
        let query = match revision {
            Revision::V3 if query.len() <= MAX_QUERY => Some(ByteString::from(query.as_str())),
            Revision::V3 | Revision::V4 => None,
        };
        (connection, State { peer, sid, revision, query, handle, members: Vec::new() })
    }

    fn event(&self, state: &mut State<H>, event: Event<H::Waiter>, link: &mut Link<Self>, now: Instant) {
        match event {
            Event::Connect { namespace, auth, query } => {
                let query = query.or_else(|| state.query.clone());
                let request = Connect { namespace, auth, query, revision: state.revision, peer: state.peer };
                self.connect(state, request, link, now);
            }
            Event::Received { namespace, args, attachments, id } => {
                let found = state.members.iter_mut().find(|(socket, _)| socket.namespace == namespace);
                if let Some((socket, member)) = found {
                    let reply = Reply { link, namespace: &namespace, now };
                    self.host.received(member, socket, Received { args, attachments, id }, reply);
                }
            }
            Event::Acked { waiter, outcome } => self.host.acked(waiter, outcome),
            Event::Disconnected { namespace, reason } => {
                let index = state.members.iter().position(|(socket, _)| socket.namespace == namespace);
                if let Some(index) = index {
                    let (socket, member) = state.members.swap_remove(index);
                    tracing::debug!(session = ?state.sid, %reason, "end left");
                    self.host.disconnected(member, &socket, reason);
                }
            }
        }
    }

    fn command(&self, state: &mut State<H>, command: Command<H>, link: &mut Link<Self>, now: Instant) {
        match command {
            Command::Decided(namespace, decision) => self.decided(state, &namespace, decision, link, now),
            Command::Emit { namespace, packet, awaited } => {
                link.act(now, |connection, lower| connection.emit(&namespace, packet, awaited, lower));
            }
            Command::Cancel { namespace, id } => {
                link.act(now, |connection, lower| drop(connection.cancel(&namespace, id, lower)));
            }
            Command::Retire(namespace) => {
                link.act(now, |connection, lower| connection.retire(&namespace, lower));
            }
            Command::Disconnect(namespace) => {
                link.act(now, |connection, lower| connection.disconnect(&namespace, lower));
            }
        }
    }
}

impl<H: Host> SocketIo<H> {
    /// A decision that needs no waiting is taken on the spot; any other comes back through the mailbox.
    fn connect(&self, state: &mut State<H>, request: Connect, link: &mut Link<Self>, now: Instant) {
        let namespace = request.namespace.clone();
        let mut decision = Box::pin(self.host.connect(request));
        match decision.as_mut().now_or_never() {
            Some(decision) => self.decided(state, &namespace, decision, link, now),
            None => {
                let handle = state.handle.clone();
                tokio::spawn(async move { handle.send(Command::Decided(namespace, decision.await)) });
            }
        }
    }

    fn decided(
        &self,
        state: &mut State<H>,
        namespace: &Namespace,
        decision: Result<H::Member, Refusal>,
        link: &mut Link<Self>,
        now: Instant,
    ) {
        match decision {
            Ok(mut member) => {
                // Other clients may see this id, so it tells nothing of the session's own.
                let mut random = [0; 15];
                rand::rng().fill_bytes(&mut random);
                let sid = Sid::from_random(random);
                if link.act(now, |connection, lower| connection.accept(namespace, sid.as_str(), lower)) {
                    let socket = state.socket(namespace);
                    let reply = Reply { link, namespace, now };
                    self.host.connected(&mut member, &socket, reply);
                    state.members.reserve_exact(1);
                    state.members.push((socket, member));
                }
            }
            Err(Refusal { message, data }) => link.act(now, |connection, lower| {
                connection.refuse(namespace, &message, data.as_deref(), lower);
            }),
        }
    }
}
