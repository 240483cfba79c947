//! One exchange's stream, between the exchange's tasks and the task of the end's session.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use bytestring::ByteString;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::READ_AHEAD;
use super::message::ToSession;
use super::up::{Up, UpQueue};
use crate::net::body::BodyError;
use crate::net::budget::{Budget, Held};
use crate::proto::exchange::stream::server::Owed;
use crate::proto::exchange::stream::{AbortCode, FIRST_WINDOW, Part, Receiving, SCARCE_WINDOW};
use crate::proto::exchange::{ExchangeId, is_without_content};

/// What goes to the visitor.
#[derive(Debug)]
pub(in crate::relay) enum Down {
    /// Bytes of the response's body, or of the connection. They are acknowledged when they are dropped.
    Data(Bytes),
    /// A message, or a part of one. It is acknowledged when the receipt is dropped.
    Message { part: Part, more: bool, receipt: Receipt },
    /// Nothing follows but these trailers.
    End(HeaderMap),
    /// The end closes the WebSocket.
    Close { code: u16, reason: ByteString },
    /// The rest will never come.
    Broken(AbortCode),
}

/// How far the request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::relay) enum Phase {
    /// Parts of it are on their way; something moved last at this time.
    Moving(Instant),
    /// The end has had all of it since this time.
    Through(Instant),
}

/// One exchange's stream.
pub(in crate::relay) struct Stream {
    id: ExchangeId,
    /// The request is HEAD.
    is_head: bool,
    /// The largest message of a visitor's WebSocket, in bytes.
    max_message: usize,
    tell: Box<dyn Fn(ToSession) + Send + Sync>,
    budget: Arc<Budget>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    memory: Held,
    /// What of it is not the window's, in bytes.
    beside: usize,
    phase: Phase,
    /// Told when the phase changes to [`Phase::Through`].
    watcher: Option<Waker>,
    up: UpQueue,
    down: DownQueue,
    /// Bytes of the request that were taken for the end.
    up_bytes: u64,
    /// Why the request does not reach the end whole.
    failure: Option<Stall>,
}

/// Why a request does not reach its end whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::relay) enum Stall {
    /// The visitor's body does not come.
    Body(BodyError),
    /// The end takes nothing more of it.
    NotTaken,
}

/// What a stream may take.
#[derive(Debug, Clone, Copy)]
pub(in crate::relay) struct Room {
    /// The largest payload of one event, in bytes.
    pub(in crate::relay) chunk: usize,
    /// The largest window, in bytes.
    pub(in crate::relay) most: usize,
    /// Something is read ahead of the visitor: a body, or a connection.
    pub(in crate::relay) reads_ahead: bool,
    /// The largest message of a visitor's WebSocket, in bytes.
    pub(in crate::relay) max_message: usize,
}

#[derive(Debug, Default)]
struct DownQueue {
    waiting: VecDeque<Down>,
    /// Nobody takes anything any more.
    is_stopped: bool,
    reader: Option<Waker>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Wakes a task that is no longer to wait.
fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// Notes the task that is polled now.
fn wait(waker: &mut Option<Waker>, cx: &mut Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
}

impl Stream {
    /// Returns the largest message of a visitor's WebSocket, in bytes, and the memory against which messages are counted.
    pub(in crate::relay) fn message_limits(&self) -> (usize, Arc<Budget>) {
        (self.max_message, Arc::clone(&self.budget))
    }

    /// Makes the stream of an exchange, and reserves the memory of a window for what the end sends, which is large while memory is
    /// plentiful. Returns the window, or `None` where there is no memory for one event.
    pub(in crate::relay) fn reserve(
        id: ExchangeId,
        is_head: bool,
        Room { chunk, most, reads_ahead, max_message }: Room,
        budget: &Arc<Budget>,
        tell: impl Fn(ToSession) + Send + Sync + 'static,
    ) -> Option<(Arc<Self>, usize)> {
        let usual = if is_plentiful(budget) { FIRST_WINDOW } else { SCARCE_WINDOW };
        let window = usual.min(most).max(chunk);
        let beside = if reads_ahead { READ_AHEAD } else { 0 };
        let hold = |window| Some((budget.hold(beside + Receiving::reserve(window, chunk))?, window));
        let (memory, window) = hold(window).or_else(|| hold(chunk))?;
        let state = State {
            beside,
            memory,
            phase: Phase::Moving(Instant::now()),
            watcher: None,
            up: UpQueue::default(),
            down: DownQueue::default(),
            up_bytes: 0,
            failure: None,
        };
        let stream = Self {
            id,
            is_head,
            max_message,
            tell: Box::new(tell),
            budget: Arc::clone(budget),
            state: Mutex::new(state),
        };
        Some((Arc::new(stream), window))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the session something.
    pub(super) fn tell(&self, told: ToSession) {
        (self.tell)(told);
    }

    pub(in crate::relay) fn id(&self) -> ExchangeId {
        self.id
    }

    /// Returns whether the response has no body, whatever the end sends.
    pub(in crate::relay) fn wants_no_body(&self, status: StatusCode) -> bool {
        self.is_head || is_without_content(status)
    }

    /// Returns how many bytes the end has been sent behind the request; `None` if none were to come.
    pub(in crate::relay) fn up_bytes(&self) -> Option<u64> {
        let state = self.state();
        (state.beside > 0).then_some(state.up_bytes)
    }

    // The session's side.

    /// Takes what is next for the end, of at most `room` bytes, and tells whether more waits.
    pub(super) fn take(&self, room: usize) -> Option<(Up, bool)> {
        let mut state = self.state();
        state.phase = Phase::Moving(Instant::now());
        let taken = state.up.take(room);
        state.up_bytes += match &taken {
            Some(Up::Data(bytes)) => bytes.len() as u64,
            Some(Up::Message { part, .. }) => part.len() as u64,
            Some(Up::End { .. } | Up::Close { .. }) | None => 0,
        };
        if state.up.len() <= READ_AHEAD / 2 {
            wake(&mut state.up.writer);
        }
        let more = !state.up.is_empty();
        state.up.is_offered = more;
        Some((taken?, more))
    }

    /// Returns whether nothing but the end waits.
    pub(super) fn is_at_end(&self) -> bool {
        let state = self.state();
        state.up.bytes.is_empty() && state.up.messages.is_empty() && state.up.last.is_some()
    }

    /// Notes that the end has acknowledged something, or that this was all of the request.
    pub(super) fn moved(&self, is_through: bool) {
        let mut state = self.state();
        let now = Instant::now();
        if is_through {
            state.phase = Phase::Through(now);
            wake(&mut state.watcher);
        } else if let Phase::Moving(_) = state.phase {
            state.phase = Phase::Moving(now);
        }
    }

    /// Hands something to the visitor's side. What comes once nobody takes it is dropped.
    pub(super) fn give(&self, down: Down) {
        let mut state = self.state();
        if !state.down.is_stopped {
            state.down.waiting.push_back(down);
            wake(&mut state.down.reader);
            return;
        }
        // Its receipt goes through the session's mailbox: not while this is locked.
        drop(state);
        drop(down);
    }

    /// Returns whether the visitor's side waits for something.
    pub(super) fn is_starving(&self) -> bool {
        self.state().down.reader.is_some()
    }

    /// Reserves the memory of a larger window, if memory is plentiful. Up to the usual window it need not be: only visitors that
    /// wait for more get here, and a line of 20 ms needs more than the window that those begin with when it is scarce.
    pub(super) fn grow(&self, window: usize) -> bool {
        let mut state = self.state();
        let bytes = state.beside + window;
        let limit = self.budget.limit();
        let most = if window <= FIRST_WINDOW { limit / 16 * 15 } else { limit / 2 };
        let after = self.budget.used() - state.memory.amount() + bytes;
        after <= most && state.memory.resize(bytes)
    }

    /// The exchange is over: nothing is taken for the end any more.
    pub(super) fn stop_up(&self) {
        let mut state = self.state();
        state.up.is_stopped = true;
        wake(&mut state.up.writer);
    }

    /// Breaks both directions off.
    pub(super) fn break_off(&self, code: AbortCode) {
        self.stop_up();
        self.give(Down::Broken(code));
    }

    // The exchange's side.

    /// Completes when more may be put in. Returns false once nobody takes anything.
    pub(in crate::relay) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.state();
        if state.up.is_stopped {
            return Poll::Ready(false);
        }
        if state.up.len() < READ_AHEAD {
            return Poll::Ready(true);
        }
        wait(&mut state.up.writer, cx);
        Poll::Pending
    }

    /// Completes once nobody takes anything for the end any more.
    pub(in crate::relay) fn poll_stopped(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.up.is_stopped {
            return Poll::Ready(());
        }
        wait(&mut state.up.writer, cx);
        Poll::Pending
    }

    /// Completes once all that was put in was taken for the end, or nobody takes anything any more.
    pub(in crate::relay) fn poll_taken(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.up.is_stopped || state.up.is_empty() {
            return Poll::Ready(());
        }
        wait(&mut state.up.writer, cx);
        Poll::Pending
    }

    /// Puts bytes in for the end.
    pub(in crate::relay) fn put_bytes(&self, bytes: &[u8]) {
        self.put(|up| up.bytes.extend_from_slice(bytes));
    }

    /// Puts a message, or a part of one, in for the end. Returns false if there is no memory for it.
    pub(in crate::relay) fn put_message(&self, part: Part, more: bool) -> bool {
        let mut has_memory = true;
        self.put(|up| {
            has_memory = up.memory.resize(up.len() + part.len(), &self.budget);
            if has_memory {
                up.messages.push_back((part, more));
            }
        });
        has_memory
    }

    /// Ends the direction to the end, with trailers as JSON.
    pub(in crate::relay) fn put_end(&self, trailers: Option<ByteString>) {
        self.put(|up| up.last = Some(Up::End { trailers }));
    }

    /// Ends the direction to the end with the visitor's goodbye.
    pub(in crate::relay) fn put_close(&self, code: u16, reason: ByteString) {
        self.put(|up| up.last = Some(Up::Close { code, reason }));
    }

    fn put(&self, put: impl FnOnce(&mut UpQueue)) {
        let mut state = self.state();
        if state.up.is_stopped {
            return;
        }
        put(&mut state.up);
        if let Phase::Moving(at) = &mut state.phase {
            *at = Instant::now();
        }
        let is_news = !state.up.is_empty() && !std::mem::replace(&mut state.up.is_offered, true);
        drop(state);
        if is_news {
            self.tell(ToSession::Offer(self.id));
        }
    }

    /// Takes what comes next for the visitor.
    pub(in crate::relay) fn poll_down(&self, cx: &mut Context<'_>) -> Poll<Down> {
        let mut state = self.state();
        match state.down.waiting.pop_front() {
            Some(down) => Poll::Ready(down),
            None => {
                wait(&mut state.down.reader, cx);
                Poll::Pending
            }
        }
    }

    /// Nobody takes anything for the visitor any more: what waits, and what still comes, is dropped.
    pub(in crate::relay) fn stop_down(&self) {
        let mut state = self.state();
        state.down.is_stopped = true;
        let left = std::mem::take(&mut state.down.waiting);
        drop(state);
        drop(left);
    }

    /// Returns how far the request has come. `cx` is woken when the end has had all of it, and when it [fails](Self::fail).
    ///
    /// # Errors
    /// With the reason why the request does not reach the end whole.
    pub(in crate::relay) fn phase(&self, cx: &mut Context<'_>) -> Result<Phase, Stall> {
        let mut state = self.state();
        wait(&mut state.watcher, cx);
        state.failure.map_or(Ok(state.phase), Err)
    }

    /// Returns why the request does not reach the end whole, if that is so.
    pub(in crate::relay) fn failure(&self) -> Option<Stall> {
        self.state().failure
    }

    /// The request does not reach the end whole. The exchange is over.
    pub(in crate::relay) fn fail(&self, failure: Stall) {
        let mut state = self.state();
        state.failure = Some(failure);
        wake(&mut state.watcher);
        drop(state);
        let code = match failure {
            Stall::Body(BodyError::TooLarge(_)) => AbortCode::TooLarge,
            Stall::Body(BodyError::TooSlow) | Stall::NotTaken => AbortCode::Timeout,
            Stall::Body(BodyError::Incomplete | BodyError::NoMemory) => AbortCode::VisitorGone,
        };
        self.break_off(code);
        self.tell(ToSession::Leave(self.id, Some(code)));
    }
}

/// Returns whether windows may be large.
fn is_plentiful(budget: &Budget) -> bool {
    budget.used() < budget.limit() / 2
}

/// The acknowledgement that an event of the end is owed, which is sent when this is dropped.
pub(in crate::relay) struct Receipt {
    stream: Arc<Stream>,
    owed: Owed,
    has_starved: bool,
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receipt").field(&self.owed).finish()
    }
}

impl Receipt {
    /// `has_starved` tells whether the visitor's side waits for what this is the receipt of.
    pub(super) fn new(stream: &Arc<Stream>, owed: Owed, has_starved: bool) -> Self {
        Self { stream: Arc::clone(stream), owed, has_starved }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let Self { stream, owed, has_starved } = self;
        stream.tell(ToSession::HandedOn { id: stream.id, owed: *owed, has_starved: *has_starved });
    }
}

/// Bytes whose receipt is dropped with them.
pub(super) struct Receipted {
    pub(super) bytes: Bytes,
    pub(super) _receipt: Receipt,
}

impl AsRef<[u8]> for Receipted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
