//! Socket.IO as an application of Engine.IO: namespaces, events and acks for a [`Host`].

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytestring::ByteString;
use futures::FutureExt as _;
use rand::RngCore as _;

use super::application::{Application, Handle, Link, Opening};
use super::host::{ClientEvent, Connect, Host, HostCommand, Order, Reaction, Refusal, Socket};
use crate::proto::engine_io::{CloseReason, Revision, Sid};
use crate::proto::socket_io::connection::{AckError, Settings};
use crate::proto::socket_io::{Connection, Event, Namespace};
use crate::proto::time::Instant;

/// The longest query string, in bytes, that is kept of a session's first request. It is kept as long as the session, and its
/// length is the client's choice; a longer one is dropped.
const MAX_QUERY: usize = 2 << 10;

/// Socket.IO as an application of Engine.IO.
pub struct SocketIo<H: Host> {
    host: H,
    settings: Arc<Settings>,
}

impl<H: Host> SocketIo<H> {
    /// Returns Socket.IO with this host.
    pub fn new(host: H, settings: Settings) -> Self {
        Self { host, settings: Arc::new(settings) }
    }

    /// Returns the host.
    pub fn host(&self) -> &H {
        &self.host
    }
}

/// What is kept for a session beside its connection.
pub struct SocketIoSession<H: Host> {
    peer: SocketAddr,
    asked: ByteString,
    sid: Sid,
    revision: Revision,
    query: Option<ByteString>,
    handle: Handle<HostCommand<H>>,
    /// How many joins there were: the number of the next one.
    joins: u64,
    memberships: Vec<Membership<H>>,
    /// The membership that is asked first for more to send.
    turn: usize,
}

/// A namespace that the client has joined or asks to join.
struct Membership<H: Host> {
    socket: Socket<H>,
    /// `None` until the host has decided.
    joined: Option<Joined<H::Member>>,
}

/// A client that the host has let in.
struct Joined<M> {
    member: M,
    /// The client leaves once it has answered, and gets no more events from [`Socket::emit`].
    is_retiring: bool,
}

impl<H: Host> SocketIoSession<H> {
    /// Returns where the membership of this join is, while the client is in or asks to be.
    fn position(&self, join: u64) -> Option<usize> {
        self.memberships.iter().position(|membership| membership.socket.join() == join)
    }

    /// Tells whether the client has joined a namespace besides the default one of revision 3.
    fn is_joined(&self) -> bool {
        let is_real = |found: &Membership<H>| self.revision == Revision::V4 || found.socket.namespace().as_str() != "/";
        self.memberships.iter().any(|found| found.joined.is_some() && is_real(found))
    }

    /// Returns where the membership of a namespace is that the client has joined.
    fn joined(&self, namespace: &Namespace) -> Option<usize> {
        let is_it = |found: &Membership<H>| found.joined.is_some() && found.socket.namespace() == namespace;
        self.memberships.iter().position(is_it)
    }
}

impl<H: Host> Application for SocketIo<H> {
    type Layer = Connection<H::Waiter>;
    type Session = SocketIoSession<H>;
    type Command = HostCommand<H>;

    fn open(&self, opening: &Opening, handle: Handle<HostCommand<H>>, now: Instant) -> (Self::Layer, Self::Session) {
        let Opening { peer, sid, ref asked, revision, ref query } = *opening;
        let asked = asked.clone();
        let connection = Connection::new(Arc::clone(&self.settings), revision, now);
        let query = match revision {
            Revision::V3 if query.len() <= MAX_QUERY => Some(ByteString::from(query.as_str())),
            Revision::V3 | Revision::V4 => None,
        };
        (
            connection,
            SocketIoSession { peer, asked, sid, revision, query, handle, joins: 0, memberships: Vec::new(), turn: 0 },
        )
    }

    fn event(&self, session: &mut SocketIoSession<H>, event: Event<H::Waiter>, link: &mut Link<Self>, now: Instant) {
        match event {
            Event::Connect { namespace, auth, query } => {
                let query = query.or_else(|| session.query.clone());
                let is_joined_elsewhere = session.is_joined();
                let SocketIoSession { revision, peer, sid, ref asked, .. } = *session;
                let asked = asked.clone();
                let request = Connect { namespace, auth, query, revision, sid, peer, asked, is_joined_elsewhere };
                self.connect(session, request, link, now);
            }
            Event::Received { namespace, args, attachments, id } => {
                let found = session.joined(&namespace).map(|index| &mut session.memberships[index]);
                if let Some(Membership { socket, joined: Some(Joined { member, .. }) }) = found {
                    let reaction = Reaction { link, namespace: &namespace, now };
                    self.host.received(member, socket, ClientEvent { args, attachments, id }, reaction);
                }
            }
            Event::Acked { waiter, outcome } => self.host.acked(waiter, outcome),
            Event::Unawaited { namespace, id, outcome } => {
                let found = session.joined(&namespace).map(|index| &mut session.memberships[index]);
                if let Some(Membership { socket, joined: Some(Joined { member, .. }) }) = found {
                    let reaction = Reaction { link, namespace: &namespace, now };
                    self.host.unawaited(member, socket, id, outcome, reaction);
                }
            }
            Event::Disconnected { namespace, reason } => {
                let left = session.joined(&namespace).map(|index| session.memberships.swap_remove(index));
                if let Some(Membership { socket, joined: Some(Joined { member, .. }) }) = left {
                    tracing::debug!(session = ?session.sid, %reason, "client left a namespace");
                    self.host.disconnected(member, &socket, reason);
                }
            }
        }
    }

    fn command(&self, session: &mut SocketIoSession<H>, command: HostCommand<H>, link: &mut Link<Self>, now: Instant) {
        let HostCommand { join, order } = command;
        let Some(index) = session.position(join) else { return self.not_joined(order) };
        let Membership { socket, joined } = &mut session.memberships[index];
        let namespace = socket.namespace();
        match order {
            Order::Decided(decision) => self.decided(session, index, decision, link, now),
            Order::Emit { .. } if joined.as_ref().is_some_and(|joined| joined.is_retiring) => self.not_joined(order),
            Order::Emit { packet, awaited } => {
                link.act(now, |connection, lower| connection.emit(namespace, packet, awaited, lower));
            }
            Order::Offer(packet) => {
                let is_sent = link.act(now, |connection, lower| connection.offer(namespace, packet, lower));
                self.host.offered(is_sent);
            }
            Order::Tell(message) => match joined {
                Some(Joined { member, .. }) => {
                    self.host.told(member, socket, message, Reaction { link, namespace, now });
                }
                None => self.host.untold(message),
            },
            Order::Ack(id, answer) => {
                link.act(now, |connection, lower| connection.ack(namespace, id, answer, lower));
            }
            Order::Cancel(id) => {
                link.act(now, |connection, lower| drop(connection.cancel(namespace, id, lower)));
            }
            Order::Retire(leave) => {
                if let Some(joined) = joined {
                    joined.is_retiring = true;
                }
                link.act(now, |connection, lower| connection.retire(namespace, leave, lower));
            }
            Order::Disconnect => {
                link.act(now, |connection, lower| connection.disconnect(namespace, lower));
            }
        }
    }

    fn more(&self, session: &mut SocketIoSession<H>, link: &mut Link<Self>, now: Instant) -> bool {
        let SocketIoSession { memberships, turn, .. } = session;
        let count = memberships.len();
        // The namespaces of a session take turns.
        let first = (*turn).min(count);
        let found = (first..count).chain(0..first).find(|&index| {
            let Membership { socket, joined: Some(Joined { member, .. }) } = &mut memberships[index] else {
                return false;
            };
            self.host.more(member, socket, Reaction { link, namespace: socket.namespace(), now })
        });
        *turn = found.map_or(0, |index| index + 1);
        found.is_some()
    }

    fn deadline(&self, session: &SocketIoSession<H>) -> Option<Instant> {
        let joined = session.memberships.iter().filter_map(|membership| membership.joined.as_ref());
        joined.filter_map(|joined| self.host.deadline(&joined.member)).min()
    }

    fn handle_timeout(&self, session: &mut SocketIoSession<H>, link: &mut Link<Self>, now: Instant) {
        for Membership { socket, joined } in &mut session.memberships {
            if let Some(Joined { member, .. }) = joined {
                self.host.due(member, socket, Reaction { link, namespace: socket.namespace(), now });
            }
        }
    }
}

impl<H: Host> SocketIo<H> {
    /// Asks the host. A decision that is ready at once is carried out at once; a later one comes through the mailbox.
    fn connect(&self, session: &mut SocketIoSession<H>, request: Connect, link: &mut Link<Self>, now: Instant) {
        let socket = Socket::new(session.joins, request.namespace.clone(), session.handle.clone());
        session.joins += 1;
        // Most clients are in one namespace.
        session.memberships.reserve_exact(1);
        session.memberships.push(Membership { socket: socket.clone(), joined: None });
        // Without a decision the client would wait until it gives up.
        let mut decision = Box::pin(AssertUnwindSafe(self.host.connect(request)).catch_unwind().map(|decision| {
            decision.unwrap_or_else(|_| {
                tracing::error!("a panic in the host while it decided about a client, which is refused");
                Err(Refusal::new("the server failed, try again later"))
            })
        }));
        match decision.as_mut().now_or_never() {
            Some(decision) => self.decided(session, session.memberships.len() - 1, decision, link, now),
            None => drop(tokio::spawn(async move { socket.decide(decision.await) })),
        }
    }

    /// Carries out the host's decision about the membership at `index`.
    fn decided(
        &self,
        session: &mut SocketIoSession<H>,
        index: usize,
        decision: Result<H::Member, Refusal>,
        link: &mut Link<Self>,
        now: Instant,
    ) {
        let membership = &mut session.memberships[index];
        let namespace = membership.socket.namespace();
        let is_in = match decision {
            Ok(member) => self.accept(membership, member, link, now),
            Err(Refusal::Final { message, data }) => {
                link.act(now, |connection, lower| connection.refuse(namespace, &message, data.as_deref(), lower));
                false
            }
            Err(Refusal::NotNow) => {
                link.act(now, |_, lower| lower.close(CloseReason::ForcedServerClose));
                false
            }
        };
        if !is_in {
            session.memberships.swap_remove(index);
        }
    }

    /// Lets a client in and tells the host. Returns false when the client does not wait for it any more.
    fn accept(&self, membership: &mut Membership<H>, member: H::Member, link: &mut Link<Self>, now: Instant) -> bool {
        let Membership { socket, joined } = membership;
        let namespace = socket.namespace();
        // Other clients may see this id, so it must tell nothing of the session's own.
        let mut random = [0; 15];
        rand::rng().fill_bytes(&mut random);
        let sid = Sid::from_random(random);
        let is_in = link.act(now, |connection, lower| connection.accept(namespace, sid.as_str(), lower));
        if is_in {
            // Kept before the host acts: if it panics, it is still told that the client is gone.
            let Joined { member, .. } = joined.insert(Joined { member, is_retiring: false });
            self.host.connected(member, socket, Reaction { link, namespace, now });
        }
        is_in
    }

    /// Handles an order for a client that has left, or is about to.
    fn not_joined(&self, order: Order<H>) {
        match order {
            Order::Emit { awaited: Some(awaited), .. } => self.host.acked(awaited.waiter, Err(AckError::NotJoined)),
            Order::Offer(_) => self.host.offered(false),
            Order::Tell(message) => self.host.untold(message),
            Order::Emit { awaited: None, .. }
            | Order::Decided(_)
            | Order::Ack(..)
            | Order::Cancel(_)
            | Order::Retire(_)
            | Order::Disconnect => (),
        }
    }
}
