//! The table of an engine's sessions, its limits and counters, and what the tasks of all sessions share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::application::{Application, Handle};
use super::command::SessionCommand;
use super::mailbox::{self, mailbox};
use crate::defaults;
use crate::net::budget::{AddressSlot, Budget, Client, Exempt, Held, PerAddress};
use crate::net::clock::Clock;
use crate::net::hits::Hits;
use crate::proto::engine_io::{CloseReason, Rejection, Revision, Settings, Sid, Transport};
use crate::tables;

/// What the sessions of an engine may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The commands that may wait for the task of one session; see [`Handle::try_send`], which fails beyond it.
    pub mailbox: usize,
    /// How many sessions may be open. One more is refused with 503.
    pub sessions: Arc<Budget>,
    /// How many sessions one address may have open. One more is refused with 503.
    pub per_address: Arc<PerAddress>,
    /// The memory, in bytes, for bodies and messages that are received or wait to be sent. Beyond it bodies are refused with
    /// 503, and sessions that need more are closed.
    pub bytes: Arc<Budget>,
    /// Counts the limits that clients hit.
    pub hits: Arc<Hits>,
    /// The time after which a client that stops sending a body is given up.
    pub stall_timeout: Duration,
    /// The origins of the pages that may connect, in lower case; `*` admits all. Others are refused with 403.
    pub origins: Vec<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mailbox: defaults::MAX_WAITING_COMMANDS,
            sessions: Budget::new(defaults::MAX_SESSIONS),
            per_address: PerAddress::new(defaults::MAX_SESSIONS_PER_ADDRESS, Exempt::default()),
            bytes: Budget::new(defaults::MAX_BUFFERED),
            hits: Arc::default(),
            stall_timeout: defaults::STALL_TIMEOUT,
            origins: vec![defaults::ALLOWED_ORIGIN.to_owned()],
        }
    }
}

/// The transport of a session, and the revision that it speaks.
pub(super) type Kind = (Transport, Revision);

/// All kinds, in the order in which they are counted.
const KINDS: [Kind; 4] = [
    (Transport::Polling, Revision::V3),
    (Transport::Polling, Revision::V4),
    (Transport::WebSocket, Revision::V3),
    (Transport::WebSocket, Revision::V4),
];

/// The mailboxes of the sessions that are open.
struct Table<C> {
    open: HashMap<Sid, mailbox::Sender<SessionCommand<C>>>,
    /// Set once the last sessions were told to end: one that was being opened then is told, too.
    closed_for: Option<CloseReason>,
}

/// The sessions of an engine, and what their tasks share.
pub(super) struct Sessions<A: Application> {
    pub(super) application: A,
    pub(super) settings: Arc<Settings>,
    pub(super) limits: Limits,
    /// Makes the ids of sessions.
    pub(super) make_sid: Box<dyn Fn() -> Sid + Send + Sync>,
    pub(super) clock: Clock,
    /// The tasks of all sessions, and what is left to do when a WebSocket is closed.
    pub(super) tasks: TaskTracker,
    stopping: AtomicBool,
    /// How many sessions are open, in the order of [`KINDS`].
    open: [AtomicUsize; KINDS.len()],
    /// How many sessions have ended, in the order of [`CloseReason::ALL`].
    ended: [AtomicU64; CloseReason::ALL.len()],
    table: Mutex<Table<A::Command>>,
}

impl<A: Application> Sessions<A> {
    pub(super) fn new(
        application: A,
        settings: Settings,
        limits: Limits,
        make_sid: impl Fn() -> Sid + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            application,
            settings: Arc::new(settings),
            limits,
            make_sid: Box::new(make_sid),
            clock: Clock::start(),
            tasks: TaskTracker::new(),
            stopping: AtomicBool::new(false),
            open: [const { AtomicUsize::new(0) }; KINDS.len()],
            ended: [const { AtomicU64::new(0) }; CloseReason::ALL.len()],
            table: Mutex::new(Table { open: HashMap::new(), closed_for: None }),
        })
    }

    /// Returns how many sessions are open.
    pub(super) fn count(&self) -> usize {
        self.table().open.len()
    }

    /// Returns how many sessions are open, by transport and revision.
    pub(super) fn open(&self) -> impl Iterator<Item = (Kind, usize)> {
        KINDS.into_iter().zip(self.open.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Counts one session more as of this kind.
    pub(super) fn count_open(&self, kind: Kind) {
        self.of(kind).fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one session less as of this kind.
    pub(super) fn count_gone(&self, kind: Kind) {
        self.of(kind).fetch_sub(1, Ordering::Relaxed);
    }

    fn of(&self, kind: Kind) -> &AtomicUsize {
        let position = KINDS.iter().position(|known| *known == kind).expect("KINDS has every transport and revision");
        &self.open[position]
    }

    /// Returns how many sessions have ended, by reason.
    pub(super) fn ended(&self) -> impl Iterator<Item = (CloseReason, u64)> {
        let counts = self.ended.iter().map(|count| count.load(Ordering::Relaxed));
        CloseReason::ALL.into_iter().zip(counts)
    }

    /// Counts the end of a session.
    pub(super) fn count_end(&self, reason: CloseReason) {
        self.ended[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Opens no more sessions from now on.
    pub(super) fn stop_opening(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Takes a place for one more session of this client.
    ///
    /// # Errors
    /// - [`Rejection::Stopping`]: no more sessions are opened.
    /// - [`Rejection::TooManySessions`]: as many are open as may be, in all or of this address.
    pub(super) fn admit(&self, client: Client) -> Result<SessionSlot, Rejection> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Rejection::Stopping);
        }
        let of_address = self.limits.per_address.hold(client).ok_or(Rejection::TooManySessions)?;
        let session = self.limits.sessions.hold(1).ok_or(Rejection::TooManySessions)?;
        Ok(SessionSlot { _session: session, _of_address: of_address })
    }

    /// Adds a session to the table, until the registration is dropped.
    pub(super) fn register(
        self: &Arc<Self>,
        sid: Sid,
        slot: SessionSlot,
    ) -> (Registration<A>, mailbox::Receiver<SessionCommand<A::Command>>) {
        let (sender, receiver) = mailbox(self.limits.mailbox);
        let mut table = self.table();
        table.open.insert(sid, sender.clone());
        let closed_for = table.closed_for;
        drop(table);
        if let Some(reason) = closed_for {
            sender.send(SessionCommand::Close(reason));
        }
        (Registration { sessions: Arc::clone(self), sid, mailbox: sender, _slot: slot }, receiver)
    }

    /// Finds the mailbox of a session.
    ///
    /// # Errors
    /// [`Rejection::SessionUnknown`]: no open session has this id.
    pub(super) fn find(&self, sid: Sid) -> Result<mailbox::Sender<SessionCommand<A::Command>>, Rejection> {
        self.table().open.get(&sid).cloned().ok_or(Rejection::SessionUnknown)
    }

    /// Ends all sessions that are open and, if no more are opened, those that are being opened.
    pub(super) fn close_all(&self, reason: CloseReason) {
        let mut table = self.table();
        if self.stopping.load(Ordering::Relaxed) {
            table.closed_for = Some(reason);
        }
        let mailboxes: Vec<_> = table.open.values().cloned().collect();
        drop(table);
        for mailbox in mailboxes {
            // A session that is gone needs no closing.
            let _ = mailbox.send(SessionCommand::Close(reason));
        }
    }

    fn table(&self) -> MutexGuard<'_, Table<A::Command>> {
        // Each change is one call of the map, so a panic elsewhere left it whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the sessions that may be open, in all and of one address. Dropping it gives it back.
pub(super) struct SessionSlot {
    _session: Held,
    _of_address: AddressSlot,
}

/// A session's entry in the table. Dropping it removes the entry.
pub(super) struct Registration<A: Application> {
    pub(super) sessions: Arc<Sessions<A>>,
    pub(super) sid: Sid,
    pub(super) mailbox: mailbox::Sender<SessionCommand<A::Command>>,
    _slot: SessionSlot,
}

impl<A: Application> Registration<A> {
    /// Returns the session's handle for its application.
    pub(super) fn handle(&self) -> Handle<A::Command> {
        Handle::new(self.mailbox.clone())
    }
}

impl<A: Application> Drop for Registration<A> {
    fn drop(&mut self) {
        let mut table = self.sessions.table();
        table.open.remove(&self.sid);
        tables::shrink(&mut table.open);
    }
}
