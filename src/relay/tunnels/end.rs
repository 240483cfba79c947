//! An end of a tunnel, and the exchanges that it has.

use std::collections::HashSet;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::engine::{Host, Sid, Socket};
use crate::proto::exchange::EndOptions;
use crate::proto::exchange::stream::Terms;
use crate::proto::key::KeyHash;
use crate::proto::socket_io::AckId;
use crate::proto::token::Token;
use crate::relay::notices::{Notice, NoticeCounters, Notices};
use crate::relay::streams::{Closing, Grants, Message, ToSession};

/// An end of a tunnel.
pub(in crate::relay) struct End<H: Host> {
    /// Tells this end from the ones before and after it.
    number: u64,
    /// What a node of a cluster knows of it; `None` on a server that is alone.
    at_node: Option<Box<AtNode>>,
    options: EndOptions,
    /// The key that it showed, if the tunnel has one.
    key: Option<Box<KeyHash>>,
    socket: Socket<H>,
    /// It stays although the tunnel has another key: the owner has said so.
    may_stay: AtomicBool,
    /// Exchanges that it was chosen for and that it has not answered.
    in_flight: AtomicUsize,
    /// `None` for an end that does not ask for notices.
    notices: Option<Box<Notices>>,
    /// `None` for an end that does not stream.
    stream: Option<Box<Streams>>,
}

/// What a node of a cluster knows of an end.
#[derive(Debug)]
pub(super) struct AtNode {
    /// The epoch of the claim with which it joined, or of a newer one of this node by then.
    pub(super) epoch: AtomicU64,
    /// The id of its session.
    pub(super) sid: Sid,
}

/// How an end streams.
struct Streams {
    terms: Terms,
    grants: Arc<Grants>,
}

impl<H: Host> End<H> {
    pub(super) fn new(
        (number, at_node): (u64, Option<Box<AtNode>>),
        options: EndOptions,
        key: Option<KeyHash>,
        socket: Socket<H>,
        counters: &Arc<NoticeCounters>,
        max_payload: usize,
    ) -> Self {
        let terms = options.stream.map(|asked| Terms::settle(asked, max_payload));
        Self {
            stream: terms.map(|terms| Box::new(Streams { terms, grants: Arc::new(Grants::new()) })),
            number,
            at_node,
            options,
            key: key.map(Box::new),
            socket,
            may_stay: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            notices: options.notices.then(|| Box::new(Notices::new(Arc::clone(counters)))),
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The epoch of its claim; 0 on a server that is alone.
    pub(super) fn epoch(&self) -> u64 {
        self.at_node.as_ref().map_or(0, |at_node| at_node.epoch.load(Ordering::Relaxed))
    }

    /// Its node has a newer claim than the one with which it joined.
    pub(super) fn raise_epoch(&self, epoch: u64) {
        if let Some(at_node) = &self.at_node {
            at_node.epoch.fetch_max(epoch, Ordering::Relaxed);
        }
    }

    /// Tells whether its session is among these.
    pub(super) fn is_of(&self, sessions: &HashSet<Sid>) -> bool {
        self.at_node.as_ref().is_some_and(|at_node| sessions.contains(&at_node.sid))
    }

    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Tells whether the end showed this key when it joined.
    pub(super) fn showed(&self, key: &KeyHash) -> bool {
        self.key.as_deref() == Some(key)
    }

    /// Lets the end stay when the tunnel gets another key.
    pub(super) fn let_stay(&self) {
        self.may_stay.store(true, Ordering::Relaxed);
    }

    /// Tells whether the end stays although it showed another key than the tunnel's.
    pub(super) fn may_stay(&self) -> bool {
        self.may_stay.load(Ordering::Relaxed)
    }

    /// What the end asked for when it joined.
    pub(in crate::relay) fn options(&self) -> EndOptions {
        self.options
    }

    /// Returns what holds for an end that streams.
    pub(in crate::relay) fn terms(&self) -> Option<Terms> {
        self.stream.as_ref().map(|stream| stream.terms)
    }

    /// What an end that streams may be granted.
    pub(in crate::relay) fn grants(&self) -> Option<&Arc<Grants>> {
        self.stream.as_ref().map(|stream| &stream.grants)
    }

    /// Returns how many exchanges it was chosen for and has not answered.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Tells the end what goes wrong, if it asks for notices.
    pub(in crate::relay) fn notify(&self, notice: Notice<'_>) {
        if let Some(notices) = &self.notices {
            notices.send(|| self.socket.offer(notice.encode(self.socket.namespace())).is_ok());
        }
    }

    /// Stops waiting for an ack.
    pub(in crate::relay) fn cancel(&self, id: AckId) {
        self.socket.cancel(id);
    }

    /// Tells an end that streams that it is about to leave, and why.
    pub(in crate::relay) fn say_closing(&self, closing: Closing)
    where
        H: Host<Message = Message>,
    {
        if self.stream.is_some() {
            self.socket.tell_certainly(Message::Closing(closing));
        }
    }

    /// Tells the session of an end that streams something about an exchange.
    pub(in crate::relay) fn tell(&self, told: ToSession)
    where
        H: Host<Message = Message>,
    {
        self.socket.tell_certainly(Message::Stream(told));
    }

    /// Makes the end leave once it has answered what it was asked.
    pub(super) fn retire(&self) {
        self.socket.retire();
    }

    /// Makes the end's session end once it has answered what it was asked: it comes back.
    pub(super) fn move_on(&self) {
        self.socket.move_on();
    }

    /// Makes the end leave at once.
    pub(super) fn disconnect(&self) {
        self.socket.disconnect();
    }

    pub(in crate::relay) fn socket(&self) -> &Socket<H> {
        &self.socket
    }
}

impl<H: Host> std::fmt::Debug for End<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Its namespace has the token, which logs shorten.
        let token = Token::from_namespace(self.socket.namespace().as_str());
        f.debug_struct("End").field("token", &token).field("number", &self.number).finish_non_exhaustive()
    }
}

/// An exchange's end: it counts as one of the end's exchanges in flight until this is dropped.
#[derive(Debug)]
pub(in crate::relay) struct Seat<H: Host>(Arc<End<H>>);

impl<H: Host> Seat<H> {
    pub(super) fn take(end: &Arc<End<H>>) -> Self {
        end.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(end))
    }

    pub(in crate::relay) fn end(&self) -> &Arc<End<H>> {
        &self.0
    }
}

impl<H: Host> Deref for Seat<H> {
    type Target = End<H>;

    fn deref(&self) -> &End<H> {
        &self.0
    }
}

impl<H: Host> Drop for Seat<H> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
