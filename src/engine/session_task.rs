//! The task that owns a session: its link, its WebSocket, the candidate for an upgrade, its mailbox and its timer.
//!
//! In each turn the task takes everything that is ready, lets the application act, answers polls, writes frames and flushes
//! once. Nothing else touches what it owns.

use std::future::Future;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::Sleep;

use super::application::{Application, Link, Opening};
use super::command::{Poller, Reservation, SessionCommand};
use super::mailbox;
use super::sessions::Registration;
use super::transport::{SessionWebSocket, close_code, close_reason, frame_of, message_of};
use crate::net::budget::{Memory, UNCOUNTED_BYTES};
use crate::net::seldom::warn_seldom;
use crate::net::websocket::{Lost, Received};
use crate::proto::engine_io::payload::Body;
use crate::proto::engine_io::session::{Output, PostError, UpgradeError, UpgradeTicket};
use crate::proto::engine_io::{BinaryAs, CloseReason, Frame, Revision, Session, Transport};
use crate::proto::link::ServerLink;
use crate::proto::time::{Instant, earliest};

/// Turns that a busy session takes before the task yields to others.
const TURNS: usize = 32;

/// The task of a session. It completes once the session has ended and its last words have left.
pub(super) struct SessionTask<A: Application> {
    link: Link<A>,
    state: A::Session,
    mailbox: mailbox::Receiver<SessionCommand<A::Command>>,
    /// The task has yielded since the first command came, so commands may be taken now.
    has_yielded: bool,
    websocket: Option<SessionWebSocket>,
    /// What the session is counted as.
    transport: Transport,
    /// The candidate for an upgrade, and the reservation that it came with.
    candidate: Option<(UpgradeTicket, Box<SessionWebSocket>)>,
    timer: Option<Pin<Box<Sleep>>>,
    /// The part of the memory for messages that this session holds.
    memory: Memory,
    registration: Registration<A>,
}

impl<A: Application> SessionTask<A> {
    /// Puts the application's layer on a session that was just registered. `websocket` is its transport, if the session opens
    /// on one.
    pub(super) fn new(
        registration: Registration<A>,
        mailbox: mailbox::Receiver<SessionCommand<A::Command>>,
        session: Session<Poller>,
        opening: &Opening,
        websocket: Option<SessionWebSocket>,
    ) -> Self {
        let sessions = &registration.sessions;
        let (layer, state) = sessions.application.open(opening, registration.handle(), sessions.clock.now());
        let Opening { peer, revision, .. } = opening;
        tracing::debug!(session = ?registration.sid, %peer, ?revision, "session opened");
        let transport = if websocket.is_some() { Transport::WebSocket } else { Transport::Polling };
        sessions.count_open((transport, *revision));
        Self {
            link: ServerLink::new(session, layer),
            state,
            mailbox,
            has_yielded: false,
            websocket,
            transport,
            candidate: None,
            timer: None,
            memory: Memory::default(),
            registration,
        }
    }
}

impl<A: Application> Future for SessionTask<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let task = self.get_mut();
        // What a panic leaves half done belongs to this session alone, and the session ends here.
        panic::catch_unwind(AssertUnwindSafe(|| task.poll_session(cx))).unwrap_or_else(|_| {
            tracing::error!(session = ?task.registration.sid, "a panic in the application or the server: its session is closed");
            task.end(CloseReason::ForcedServerClose);
            Poll::Ready(())
        })
    }
}

impl<A: Application> Drop for SessionTask<A> {
    /// Ends the session, if its runtime ends before it does, and tells the application and the client of the end.
    fn drop(&mut self) {
        self.end(CloseReason::ServerShuttingDown);
        let reason = self.link.session().close_reason().unwrap_or(CloseReason::ServerShuttingDown);
        tracing::debug!(session = ?self.registration.sid, %reason, "session closed");
        let kind = (self.transport, self.link.session().revision());
        self.registration.sessions.count_gone(kind);
        self.registration.sessions.count_end(reason);
        self.close_websocket(close_code(reason));
    }
}

/// Only the timer is pinned, and it has an allocation of its own.
impl<A: Application> Unpin for SessionTask<A> {}

impl<A: Application> SessionTask<A> {
    fn now(&self) -> Instant {
        self.registration.sessions.clock.now()
    }

    /// Ends the session, if it has not ended, hands the layer's last events to the application, and answers the poll that
    /// waits. A panic costs the event in which it happens, and must not leave this function: the task may be unwinding already.
    fn end(&mut self, reason: CloseReason) {
        let now = self.now();
        let mut has_panicked = panic::catch_unwind(AssertUnwindSafe(|| self.link.close(reason, now))).is_err();
        while let Some(event) = self.link.next_event() {
            let tell = || self.registration.sessions.application.event(&mut self.state, event, &mut self.link, now);
            has_panicked |= panic::catch_unwind(AssertUnwindSafe(tell)).is_err();
        }
        let answer = || {
            while let Some(output) = self.link.next_output() {
                self.output(output);
            }
        };
        has_panicked |= panic::catch_unwind(AssertUnwindSafe(answer)).is_err();
        if has_panicked {
            tracing::error!(session = ?self.registration.sid, "a panic at the end of a session");
        }
    }

    /// Takes turns until nothing is ready, or others should run. Ready once the session has ended and its last words have left.
    fn poll_session(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The first command wakes this task through tokio's LIFO slot, before the other tasks that are ready have queued
        // theirs. Yielding once lets them, and all that the commands send leaves in one write.
        let has_yielded = mem::take(&mut self.has_yielded);
        for _ in 0..TURNS {
            let now = self.now();
            self.poll_websocket(cx, now);
            if has_yielded {
                self.handle_commands(now);
            }
            self.poll_candidate(cx, now);
            self.poll_parked(cx, now);
            let has_adopted = self.drain(cx, now);
            if self.link.session().is_finished() || self.is_drained() {
                return Poll::Ready(());
            }
            if self.poll_timer(cx, now) || has_adopted {
                continue;
            }
            if !self.mailbox.has_some(cx) {
                return Poll::Pending;
            }
            self.has_yielded = true;
            break;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Handles the commands that wait.
    fn handle_commands(&mut self, now: Instant) {
        self.mailbox.take_waiting();
        while let Some(command) = self.mailbox.next() {
            self.command(command, now);
        }
    }

    /// Handles a command and answers it. A request that does not wait for its answer any more needs none.
    fn command(&mut self, command: SessionCommand<A::Command>, now: Instant) {
        match command {
            SessionCommand::Poll { revision, reply } => self.link.poll(reply, revision, now),
            SessionCommand::Post { revision, body, reply } => {
                let _ = reply.send(self.post(revision, body, now));
            }
            SessionCommand::BeginPost { revision, reply } => {
                let _ = reply.send(self.link.begin_post(revision, now));
            }
            SessionCommand::EndPost { body, reply } => {
                let _ = reply.send(self.link.end_post(body, now));
            }
            SessionCommand::Reserve { reply, .. } if reply.is_closed() => (),
            SessionCommand::Reserve { revision, binary, reply } => {
                // If the request is gone meanwhile, dropping the reservation gives the place up.
                let _ = reply.send(self.reserve(revision, binary, now));
            }
            SessionCommand::Candidate { ticket, websocket } => self.take_candidate(ticket, websocket),
            SessionCommand::GiveUp(ticket) => self.link.candidate_lost(ticket),
            SessionCommand::Answer => self.link.answer_poll(),
            SessionCommand::Close(reason) => self.link.close(reason, now),
            SessionCommand::Application(command) => {
                self.registration.sessions.application.command(&mut self.state, command, &mut self.link, now);
            }
        }
    }

    /// Takes the packets of a POST that has arrived whole.
    fn post(
        &mut self,
        revision: Option<Revision>,
        body: Result<Body, CloseReason>,
        now: Instant,
    ) -> Result<(), PostError> {
        let result = self.link.begin_post(revision, now).and_then(|()| self.link.end_post(body, now));
        self.let_application_act(now);
        result
    }

    /// Takes the WebSocket for which the place of the candidate was kept. If the place was given to another one meanwhile, or
    /// the session has ended, dropping the WebSocket closes it.
    fn take_candidate(&mut self, ticket: UpgradeTicket, websocket: Box<SessionWebSocket>) {
        if self.link.session().is_candidate(ticket) {
            self.candidate = Some((ticket, websocket));
        }
    }

    /// Keeps the place of the candidate for a WebSocket that asks for it.
    fn reserve(
        &mut self,
        revision: Option<Revision>,
        binary: BinaryAs,
        now: Instant,
    ) -> Result<Reservation<A::Command>, UpgradeError> {
        let ticket = self.link.reserve_upgrade(revision, binary, now)?;
        // The candidate of an earlier reservation has lost its place; it must not speak for the new one.
        self.candidate = None;
        Ok(Reservation::new(ticket, self.registration.mailbox.clone()))
    }

    /// Takes all frames that the WebSocket has received.
    fn poll_websocket(&mut self, cx: &mut Context<'_>, now: Instant) {
        while let Some(websocket) = &mut self.websocket
            && let Poll::Ready(received) = websocket.poll_next(cx)
        {
            match received {
                Received::Message(message) => self.link.websocket_frame(frame_of(message), now),
                Received::Oversized(start) => self.link.websocket_oversized(start.as_deref(), now),
                Received::Ended(ended) => {
                    self.close_websocket(ended.close_code());
                    self.link.websocket_lost(close_reason(&ended), now);
                }
            }
            self.let_application_act(now);
        }
    }

    /// Closes the WebSocket, with a code or without one. From here on, what the client has not read counts as the WebSocket's.
    fn close_websocket(&mut self, code: Option<u16>) {
        self.memory.clear();
        if let Some(websocket) = self.websocket.take() {
            websocket.farewell(code);
        }
    }

    /// Takes all frames that the candidate has received.
    fn poll_candidate(&mut self, cx: &mut Context<'_>, now: Instant) {
        // Once the candidate is adopted or dropped, its frames are no longer those of a candidate.
        while let Some((ticket, candidate)) = &mut self.candidate
            && self.link.session().is_candidate(*ticket)
            && let Poll::Ready(received) = candidate.poll_next(cx)
        {
            match received {
                Received::Message(message) => self.link.candidate_frame(*ticket, frame_of(message), now),
                // No frame of an upgrade is large.
                Received::Oversized(_) => self.link.candidate_frame(*ticket, Frame::Binary(bytes::Bytes::new()), now),
                Received::Ended(ended) => {
                    self.link.candidate_lost(*ticket);
                    if let Some((_, candidate)) = self.candidate.take() {
                        candidate.farewell(ended.close_code());
                    }
                }
            }
        }
    }

    /// Notices that the client of the poll that waits is gone.
    fn poll_parked(&mut self, cx: &mut Context<'_>, now: Instant) {
        if self.link.parked().is_some_and(|poller| poller.poll_closed(cx).is_ready()) {
            self.link.poll_lost(now);
        }
    }

    /// Hands the layer's events to the application.
    fn let_application_act(&mut self, now: Instant) {
        while let Some(event) = self.link.next_event() {
            self.registration.sessions.application.event(&mut self.state, event, &mut self.link, now);
        }
    }

    /// Sends what is due. Returns whether the candidate has become the WebSocket, which must be polled then.
    fn drain(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut has_adopted = false;
        self.let_application_act(now);
        if self.websocket.is_none() {
            while self.ask_for_more(now) {}
        }
        while let Some(output) = self.link.next_output() {
            has_adopted |= matches!(output, Output::AdoptCandidate(_));
            self.output(output);
        }
        if self.write(cx, now).is_err() {
            self.websocket = None;
            self.link.websocket_lost(CloseReason::TransportError, now);
            self.let_application_act(now);
        }
        self.link.set_behind(self.unsent_bytes() > 0);
        self.count_memory(now);
        has_adopted
    }

    /// Holds as much of the shared memory as waits here: what the client has not read, and messages that are not whole yet.
    /// Closes the session when there is not enough.
    fn count_memory(&mut self, now: Instant) {
        let bytes = self.link.buffered_bytes() + self.unsent_bytes();
        if bytes <= UNCOUNTED_BYTES {
            self.memory.clear();
        } else if !self.memory.resize(bytes, &self.registration.sessions.limits.bytes) {
            warn_seldom!(session = ?self.registration.sid, bytes, "no memory for what waits for a client: its session is closed");
            self.link.close(CloseReason::Overflow, now);
            self.let_application_act(now);
        }
    }

    /// Returns how many bytes the WebSocket has not written yet.
    fn unsent_bytes(&self) -> usize {
        self.websocket.as_ref().map_or(0, |websocket| websocket.unsent_bytes())
    }

    /// Does what the session asks for outside.
    fn output(&mut self, output: Output<Poller>) {
        match output {
            // A client that hung up meanwhile has lost these packets; long-polling cannot repeat them.
            Output::Poll { to, answer } => drop(to.send(answer)),
            Output::Candidate { ticket, frame } => {
                if let Some((_, candidate)) = self.candidate.as_mut().filter(|(held, _)| *held == ticket) {
                    candidate.queue(message_of(frame));
                }
            }
            Output::DropCandidate(ticket) => drop(self.candidate.take_if(|(held, _)| *held == ticket)),
            Output::AdoptCandidate(ticket) => {
                let candidate = self.candidate.take_if(|(held, _)| *held == ticket);
                self.websocket = candidate.map(|(_, candidate)| *candidate);
                let (sessions, revision) = (&self.registration.sessions, self.link.session().revision());
                sessions.count_gone((mem::replace(&mut self.transport, Transport::WebSocket), revision));
                sessions.count_open((self.transport, revision));
                tracing::debug!(session = ?self.registration.sid, "session upgraded");
            }
            Output::LimitHit(limit) => self.registration.sessions.limits.hits.hit(limit),
        }
    }

    /// Lets the application send what it has kept, where the transport takes more. Returns whether it did.
    fn ask_for_more(&mut self, now: Instant) -> bool {
        self.link.wants_more() && self.registration.sessions.application.more(&mut self.state, &mut self.link, now)
    }

    /// Writes as many frames as the WebSocket takes, and flushes once.
    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(), Lost> {
        if let Some((ticket, candidate)) = &mut self.candidate
            && let Poll::Ready(Err(Lost)) = candidate.poll_flush(cx)
        {
            self.link.candidate_lost(*ticket);
            self.candidate = None;
        }
        while let Some(websocket) = &mut self.websocket
            && let Poll::Ready(taken) = websocket.poll_ready(cx)
        {
            taken?;
            match self.link.next_frame() {
                Some(frame) => websocket.queue(message_of(frame)),
                None if self.ask_for_more(now) => (),
                None => break,
            }
        }
        let Some(websocket) = &mut self.websocket else { return Ok(()) };
        match websocket.poll_flush(cx) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Ok(()),
        }
    }

    /// Returns whether the session is closed and its last frames have left.
    fn is_drained(&mut self) -> bool {
        self.websocket.is_some() && self.link.session().is_closed_and_sent()
    }

    /// Sleeps until the next deadline. Returns true when it has passed. The timer is only moved when it would fire too late.
    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let sessions = &self.registration.sessions;
        let of_application = sessions.application.deadline(&self.state);
        let Some(deadline) = earliest(self.link.deadline(), of_application) else { return false };
        if deadline <= now {
            self.link.handle_timeout(now);
            if of_application.is_some_and(|deadline| deadline <= now) {
                sessions.application.handle_timeout(&mut self.state, &mut self.link, now);
            }
            return true;
        }
        let at = self.registration.sessions.clock.at(deadline);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if timer.deadline() > at || timer.is_elapsed() {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx).is_ready()
    }
}
