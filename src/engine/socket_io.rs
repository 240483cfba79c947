//! Socket.IO as an application of Engine.IO: namespaces, events and acks for a [`Host`].

use std::net::SocketAddr;
use std::sync::Arc;

use bytestring::ByteString;
use futures::FutureExt as _;
use rand::RngCore as _;

use super::application::{Application, Handle, Link, Opening};
use super::host::{ClientEvent, Connect, Host, HostCommand, Reaction, Refusal, Socket};
use crate::proto::engine_io::{Revision, Sid};
use crate::proto::socket_io::connection::Settings;
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
    sid: Sid,
    revision: Revision,
    query: Option<ByteString>,
    handle: Handle<HostCommand<H>>,
    members: Vec<(Socket<H>, H::Member)>,
}

impl<H: Host> Application for SocketIo<H> {
    type Layer = Connection<H::Waiter>;
    type Session = SocketIoSession<H>;
    type Command = HostCommand<H>;

    fn open(&self, opening: &Opening, handle: Handle<HostCommand<H>>, now: Instant) -> (Self::Layer, Self::Session) {
        let Opening { peer, sid, revision, ref query } = *opening;
        let connection = Connection::new(Arc::clone(&self.settings), revision, now);
        let query = match revision {
            Revision::V3 if query.len() <= MAX_QUERY => Some(ByteString::from(query.as_str())),
            Revision::V3 | Revision::V4 => None,
        };
        (connection, SocketIoSession { peer, sid, revision, query, handle, members: Vec::new() })
    }

    fn event(&self, session: &mut SocketIoSession<H>, event: Event<H::Waiter>, link: &mut Link<Self>, now: Instant) {
        match event {
            Event::Connect { namespace, auth, query } => {
                let query = query.or_else(|| session.query.clone());
                let request = Connect { namespace, auth, query, revision: session.revision, peer: session.peer };
                self.connect(session, request, link, now);
            }
            Event::Received { namespace, args, attachments, id } => {
                let found = session.members.iter_mut().find(|(socket, _)| *socket.namespace() == namespace);
                if let Some((socket, member)) = found {
                    let reaction = Reaction { link, namespace: &namespace, now };
                    self.host.received(member, socket, ClientEvent { args, attachments, id }, reaction);
                }
            }
            Event::Acked { waiter, outcome } => self.host.acked(waiter, outcome),
            Event::Disconnected { namespace, reason } => {
                let index = session.members.iter().position(|(socket, _)| *socket.namespace() == namespace);
                if let Some(index) = index {
                    let (socket, member) = session.members.swap_remove(index);
                    tracing::debug!(session = ?session.sid, %reason, "end left");
                    self.host.disconnected(member, &socket, reason);
                }
            }
        }
    }

    fn command(&self, session: &mut SocketIoSession<H>, command: HostCommand<H>, link: &mut Link<Self>, now: Instant) {
        match command {
            HostCommand::Decided { namespace, decision } => self.decided(session, &namespace, decision, link, now),
            HostCommand::Emit { namespace, packet, ack } => {
                link.act(|connection, session| connection.emit(&namespace, packet, ack, session, now));
            }
            HostCommand::Cancel { namespace, id } => {
                link.act(|connection, session| drop(connection.cancel(&namespace, id, session, now)));
            }
            HostCommand::Retire(namespace) => {
                link.act(|connection, session| connection.retire(&namespace, session, now));
            }
            HostCommand::Disconnect(namespace) => {
                link.act(|connection, session| connection.disconnect(&namespace, session, now));
            }
        }
    }
}

impl<H: Host> SocketIo<H> {
    /// Asks the host. A decision that is ready at once is carried out at once; a later one comes through the mailbox.
    fn connect(&self, session: &mut SocketIoSession<H>, request: Connect, link: &mut Link<Self>, now: Instant) {
        let namespace = request.namespace.clone();
        let mut decision = Box::pin(self.host.connect(request));
        match decision.as_mut().now_or_never() {
            Some(decision) => self.decided(session, &namespace, decision, link, now),
            None => {
                let handle = session.handle.clone();
                tokio::spawn(async move { handle.send(HostCommand::Decided { namespace, decision: decision.await }) });
            }
        }
    }

    /// Carries out the host's decision.
    fn decided(
        &self,
        session: &mut SocketIoSession<H>,
        namespace: &Namespace,
        decision: Result<H::Member, Refusal>,
        link: &mut Link<Self>,
        now: Instant,
    ) {
        match decision {
            Ok(member) => {
                // Other clients may see this id, so it must tell nothing of the session's own.
                let mut random = [0; 15];
                rand::rng().fill_bytes(&mut random);
                let sid = Sid::from_random(random);
                let accept = |connection: &mut Connection<_>, session: &mut _| {
                    connection.accept(namespace, sid.as_str(), session, now)
                };
                if link.act(accept) {
                    // Kept first: should the host panic, it is still told that the client is gone.
                    session.members.reserve_exact(1);
                    session.members.push((Socket::new(namespace.clone(), session.handle.clone()), member));
                    if let Some((socket, member)) = session.members.last_mut() {
                        self.host.connected(member, socket, Reaction { link, namespace, now });
                    }
                }
            }
            Err(Refusal { message, data }) => link.act(|connection, session| {
                connection.refuse(namespace, &message, data.as_deref(), session, now);
            }),
        }
    }
}
