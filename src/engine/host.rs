//! What a host of Socket.IO implements, and how it reaches the clients that have joined.

use std::borrow::Cow;
use std::future::Future;
use std::net::SocketAddr;

use bytes::Bytes;
use bytestring::ByteString;

use super::application::Handle;
use super::command::Poller;
use super::mailbox::Undelivered;
use crate::proto::engine_io::{Revision, Sid, Transport};
use crate::proto::json;
use crate::proto::link::ServerLink;
use crate::proto::socket_io::connection::{AckError, Answer, Awaited, DisconnectReason, Leave};
use crate::proto::socket_io::packet::{Args, Encoded};
use crate::proto::socket_io::{AckId, Connection, Namespace};
use crate::proto::time::Instant;

/// Decides which clients may join which namespace, and handles their events.
///
/// All methods run on the task of the client's session, one after the other; different sessions run side by side. A method must
/// not block or wait: until it returns, its session neither sends nor receives, and the other sessions of its thread do not run.
/// Work that takes longer belongs on a task of its own, which answers through a clone of the [`Socket`].
///
/// A method must not panic. If one does, its session is closed, [`Self::disconnected`] is called for each namespace that the
/// client is in, and other sessions are not affected.
///
/// For each join of a namespace, [`Self::connect`] comes first, then [`Self::connected`], then [`Self::received`] for each event
/// in the client's order, and last [`Self::disconnected`]. A client that leaves and joins again is a new join, with a new member
/// and a new socket.
pub trait Host: Send + Sync + Sized + 'static {
    /// What the host keeps for a client in a namespace.
    type Member: Send + 'static;
    /// What waits for the ack of an event that the host emits.
    type Waiter: Send + 'static;
    /// What the rest of the process can tell the host about a client, see [`Socket::tell`]. `()` where nothing is told.
    type Message: Send + 'static;

    /// A client asks to join a namespace. The future returns the member to keep, or why the client may not join. Nothing is
    /// sent on this namespace before that; other namespaces do not wait.
    ///
    /// The future is polled once on the session's task. If it is not ready, it continues as a task of its own, where it may
    /// wait. It continues even if the client leaves; the decision is dropped then, also if the client has asked to join again,
    /// since that is another call. If the future panics, the client is refused. A client that has joined no namespace within
    /// [`SocketIoSettings::connect_timeout`] is disconnected.
    ///
    /// [`SocketIoSettings::connect_timeout`]: super::SocketIoSettings::connect_timeout
    fn connect(&self, request: Connect) -> impl Future<Output = Result<Self::Member, Refusal>> + Send + 'static;

    /// The client has joined. What is sent here reaches it right after the news of that.
    fn connected(&self, member: &mut Self::Member, socket: &Socket<Self>, reaction: Reaction<'_, Self>);

    /// The client emitted an event.
    fn received(
        &self,
        member: &mut Self::Member,
        socket: &Socket<Self>,
        event: ClientEvent,
        reaction: Reaction<'_, Self>,
    );

    /// An awaited ack has come, or will not. This is called once for each waiter that [`Socket::emit`] has taken. If the event
    /// was sent, the call comes before [`Self::disconnected`]; if the client had left, it comes later. A waiter is dropped
    /// without a call if the session ends before its task sees the event, or if [`Socket::cancel`] was called. By default the
    /// outcome is dropped.
    fn acked(&self, waiter: Self::Waiter, outcome: Result<Answer, AckError>) {
        drop((waiter, outcome));
    }

    /// An ack has come that no waiter is kept for: its event was emitted with an id and without a waiter, or it came after its
    /// event's timeout, or after [`Socket::cancel`], or is a second one, or its id was never used. The outcome is an error if its
    /// content was over the limit. By default nothing happens.
    fn unawaited(
        &self,
        member: &mut Self::Member,
        socket: &Socket<Self>,
        id: AckId,
        outcome: Result<Answer, AckError>,
        reaction: Reaction<'_, Self>,
    ) {
        let _ = (member, socket, id, outcome, reaction);
    }

    /// The rest of the process tells something about the client, see [`Socket::tell`]. By default nothing happens.
    fn told(
        &self,
        member: &mut Self::Member,
        socket: &Socket<Self>,
        message: Self::Message,
        reaction: Reaction<'_, Self>,
    ) {
        let _ = (member, socket, message, reaction);
    }

    /// A message did not reach the client's member: the client had left. By default it is dropped. A message is dropped without
    /// this call if the session ends before its task sees it.
    fn untold(&self, message: Self::Message) {
        drop(message);
    }

    /// The client's transport takes more, and nothing waits to be sent to it. The host may emit one event that it has kept, and
    /// returns whether it did. This is called again until it returns false, or the transport takes no more. By default there is
    /// nothing.
    fn more(&self, member: &mut Self::Member, socket: &Socket<Self>, reaction: Reaction<'_, Self>) -> bool {
        let _ = (member, socket, reaction);
        false
    }

    /// Returns when [`Self::due`] must be called at the latest; `None`, as by default, is never.
    fn deadline(&self, member: &Self::Member) -> Option<Instant> {
        let _ = member;
        None
    }

    /// What the host has set a [deadline](Self::deadline) for is due, or may be. By default nothing is.
    fn due(&self, member: &mut Self::Member, socket: &Socket<Self>, reaction: Reaction<'_, Self>) {
        let _ = (member, socket, reaction);
    }

    /// An event that [`Socket::offer`] has taken was sent, or dropped. By default this is not noted.
    fn offered(&self, is_sent: bool) {
        let _ = is_sent;
    }

    /// The client is gone from the namespace: it left or was made to, or its session has ended. This is called once for each
    /// call of [`Self::connected`], also if that call panicked.
    fn disconnected(&self, member: Self::Member, socket: &Socket<Self>, reason: DisconnectReason);
}

/// A client's request to join a namespace.
#[derive(Debug, Clone)]
pub struct Connect {
    /// The namespace to join.
    pub namespace: Namespace,
    /// The client's `auth`, a JSON object. Only clients of revision 4 send one.
    pub auth: Option<ByteString>,
    /// What clients of revision 3 send instead: the query string of the namespace, or else that of the session's first request.
    /// The latter has words of Engine.IO, too, and is not kept when it is over 2 KiB.
    pub query: Option<ByteString>,
    /// The revision of Engine.IO that the client speaks.
    pub revision: Revision,
    /// The id of the session, a bearer secret.
    pub sid: Sid,
    /// The address that the session's first request came from.
    pub peer: SocketAddr,
    /// Scheme and host by which the session's first request reached the server, `http://relay.example:3000`. Empty if it named no
    /// host, or one longer than any.
    pub asked: ByteString,
    /// The client has joined another namespace on the same session. The default namespace of a client of revision 3, which
    /// every such client is in, is none.
    pub is_joined_elsewhere: bool,
}

/// Why a client does not join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It may not: the content of its `connect_error`. Official clients of revision 4 do not try again.
    Final {
        /// The error's message, for a person to read.
        message: String,
        /// The error's `data`, for a program to read: JSON.
        data: Option<String>,
    },
    /// It cannot be decided now. The session is closed, and official clients come back by themselves, whichever namespaces
    /// they are in: see [`Connect::is_joined_elsewhere`].
    NotNow,
}

impl Refusal {
    /// Returns a refusal with a message and without data.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self::Final { message: message.into(), data: None }
    }
}

/// An event that a client emitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientEvent {
    /// The event's name, a JSON string or number, and behind it the arguments.
    pub args: Args,
    /// The binary data that the placeholders in the arguments stand for, in their order.
    pub attachments: Vec<Bytes>,
    /// Set when the client wants an ack, which [`Reaction::ack`] or [`Socket::ack`] sends.
    pub id: Option<AckId>,
}

impl ClientEvent {
    /// Returns the event's name, without the quotes and escapes of its JSON. A lone surrogate becomes U+FFFD.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        json::unquote(self.args.get(0).unwrap_or_default())
    }
}

/// A client in a namespace, for the host to reach from anywhere in the process. Clones are the same client.
///
/// A socket belongs to one join. Once the client has left, the socket's methods have no effect, even if the client joins the
/// namespace again.
pub struct Socket<H: Host> {
    join: u64,
    namespace: Namespace,
    handle: Handle<HostCommand<H>>,
}

impl<H: Host> Clone for Socket<H> {
    fn clone(&self) -> Self {
        Self { join: self.join, namespace: self.namespace.clone(), handle: self.handle.clone() }
    }
}

/// Sockets are equal if they are those of one join of one client.
impl<H: Host> PartialEq for Socket<H> {
    fn eq(&self, other: &Self) -> bool {
        self.join == other.join && self.handle.is_same(&other.handle)
    }
}

impl<H: Host> Eq for Socket<H> {}

impl<H: Host> Socket<H> {
    /// Returns the socket of a session's join of this number.
    pub(super) fn new(join: u64, namespace: Namespace, handle: Handle<HostCommand<H>>) -> Self {
        Self { join, namespace, handle }
    }

    /// Returns the number of the join, which no other join of the same session has.
    pub(super) fn join(&self) -> u64 {
        self.join
    }

    /// Returns the namespace.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Emits an event. With `awaited`, the packet must have been encoded with an id, and the waiter comes back in
    /// [`Host::acked`]: with [`AckError::NotJoined`] if the client has left or was retired before the event is sent. Without
    /// `awaited`, such an event is dropped.
    ///
    /// # Errors
    /// - [`Undelivered::Full`]: [`Limits::mailbox`](super::Limits::mailbox) commands wait for the task of the client's session.
    /// - [`Undelivered::Closed`]: the session has ended.
    ///
    /// The packet and the waiter are dropped then.
    pub fn emit(&self, packet: Encoded, awaited: Option<Awaited<H::Waiter>>) -> Result<(), Undelivered> {
        self.handle.try_send(self.order(Order::Emit { packet, awaited }))
    }

    /// Emits an event without an ack and without attachments that may be lost. It is sent if nothing waits to be sent to the
    /// client but a few events of this kind, and if the client has read all that was sent before; no other event waits for it.
    /// [`Host::offered`] tells what became of it, unless the session ends before.
    ///
    /// # Errors
    /// As [`Self::emit`], but the mailbox counts as full once half of it is taken.
    pub fn offer(&self, packet: Encoded) -> Result<(), Undelivered> {
        self.handle.offer(self.order(Order::Offer(packet)))
    }

    /// Tells the host something about the client, on the task of its session: [`Host::told`] gets it, behind all that was sent
    /// through this socket before, or [`Host::untold`] if the client has left.
    ///
    /// # Errors
    /// As [`Self::emit`]. The message is dropped then.
    pub fn tell(&self, message: H::Message) -> Result<(), Undelivered> {
        self.handle.try_send(self.order(Order::Tell(message)))
    }

    /// Tells the host something about the client, as [`Self::tell`] does. The caller bounds the number of such messages: a full
    /// mailbox takes them, too. If the session has ended, the message is dropped.
    pub fn tell_certainly(&self, message: H::Message) {
        self.handle.send(self.order(Order::Tell(message)));
    }

    /// Acknowledges the client's event that has this id, behind all events that were emitted to it before; [`Reaction::ack`]
    /// overtakes those that still wait for the session's task.
    ///
    /// # Errors
    /// As [`Self::emit`]. The answer is dropped then.
    pub fn ack(&self, id: AckId, answer: Answer) -> Result<(), Undelivered> {
        self.handle.try_send(self.order(Order::Ack(id, answer)))
    }

    /// Drops the waiter of an ack that is not needed any more. A full mailbox leaves it to the ack's timeout.
    pub fn cancel(&self, id: AckId) {
        let _ = self.handle.try_send(self.order(Order::Cancel(id)));
    }

    /// Makes the client leave once each event that was emitted to it is acknowledged or has timed out. Events that are emitted
    /// after this are not sent: their waiters get [`AckError::NotJoined`].
    pub fn retire(&self) {
        self.handle.send(self.order(Order::Retire(Leave::Namespace)));
    }

    /// As [`Self::retire`], but what the client leaves is its session, once nothing is awaited in any of its namespaces: official
    /// clients come back by themselves, perhaps to another server.
    pub fn move_on(&self) {
        self.handle.send(self.order(Order::Retire(Leave::Session)));
    }

    /// Makes the client leave at once. Official clients do not reconnect by themselves then.
    pub fn disconnect(&self) {
        self.handle.send(self.order(Order::Disconnect));
    }

    /// Hands the decision about this join to the session's task.
    pub(super) fn decide(&self, decision: Result<H::Member, Refusal>) {
        self.handle.send(self.order(Order::Decided(decision)));
    }

    fn order(&self, order: Order<H>) -> HostCommand<H> {
        HostCommand { join: self.join, order }
    }
}

/// Answers a client while its event is handled. What is sent here does not go through the session's mailbox, so it cannot be
/// refused; it leaves with the session's next write.
pub struct Reaction<'l, H: Host> {
    pub(super) link: &'l mut ServerLink<Connection<H::Waiter>, Poller>,
    pub(super) namespace: &'l Namespace,
    pub(super) now: Instant,
}

impl<H: Host> Reaction<'_, H> {
    /// Acknowledges the client's event that has this id. Each event is to be acknowledged once.
    pub fn ack(&mut self, id: AckId, answer: Answer) {
        let (namespace, now) = (self.namespace, self.now);
        self.link.act(now, |connection, lower| connection.ack(namespace, id, answer, lower));
    }

    /// Emits an event that no waiter is kept for. If it was encoded with an id, its ack is told by [`Host::unawaited`]. A client that
    /// was retired gets it, too, while it has not left.
    pub fn emit(&mut self, packet: Encoded) {
        let (namespace, now) = (self.namespace, self.now);
        self.link.act(now, |connection, lower| connection.emit(namespace, packet, None, lower));
    }
}

impl<H: Host> Reaction<'_, H> {
    /// Emits an event whose waiter comes back in [`Host::acked`], as that of [`Socket::emit`] does.
    pub fn ask(&mut self, packet: Encoded, awaited: Awaited<H::Waiter>) {
        let (namespace, now) = (self.namespace, self.now);
        self.link.act(now, |connection, lower| connection.emit(namespace, packet, Some(awaited), lower));
    }

    /// Returns the waiter of an ack that is not needed any more, if the ack was still awaited.
    pub fn cancel(&mut self, id: AckId) -> Option<H::Waiter> {
        let (namespace, now) = (self.namespace, self.now);
        self.link.act(now, |connection, lower| connection.cancel(namespace, id, lower))
    }

    /// Keeps a client that is [retired](Socket::retire) until each hold is [released](Self::release): something goes on with it
    /// for which no ack is awaited.
    pub fn hold(&mut self) {
        let (namespace, now) = (self.namespace, self.now);
        self.link.act(now, |connection, _| connection.hold(namespace));
    }

    /// Takes back one [`Self::hold`].
    pub fn release(&mut self) {
        let (namespace, now) = (self.namespace, self.now);
        self.link.act(now, |connection, lower| connection.release(namespace, lower));
    }

    /// Returns the transport that carries the session.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.link.session().transport()
    }

    /// Returns the time of this call.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }
}

/// What a host asks of the task of a session.
pub struct HostCommand<H: Host> {
    /// The number of the join that the order is about. The order has no effect once the client has left.
    pub(super) join: u64,
    pub(super) order: Order<H>,
}

/// See the methods of [`Socket`].
pub(super) enum Order<H: Host> {
    Decided(Result<H::Member, Refusal>),
    Emit { packet: Encoded, awaited: Option<Awaited<H::Waiter>> },
    Offer(Encoded),
    Tell(H::Message),
    Ack(AckId, Answer),
    Cancel(AckId),
    Retire(Leave),
    Disconnect,
}
