//! The one task that owns a session: its link, its WebSocket, its candidate, its mailbox and its timer.
//!
//! In each turn it takes everything that is ready, then lets the application act, then answers polls and writes frames, and
//! flushes once. Nobody else touches any of it.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::mailbox;
use super::{Application, Opening, Registration, SessionPlace, Shared};
use crate::net::body::{self, UNCOUNTED};
use crate::net::budget::Held;
use crate::net::websocket::{self, Lost, Received, WebSocket};
use crate::proto::engine_io::payload::Body;
use crate::proto::engine_io::session::{Output, PollAnswer, PostError, UpgradeError, UpgradeTicket};
use crate::proto::engine_io::{BinaryAs, CloseReason, Frame, Revision, Session};
use crate::proto::link::ServerLink;
use crate::proto::time::Instant;

/// What a poll is answered with.
pub type Poller = oneshot::Sender<PollAnswer>;

/// The link of an application's session.
pub type Link<A> = ServerLink<<A as Application>::Layer, Poller>;

/// Turns that a busy session takes before others get theirs.
const TURNS: usize = 32;

/// What a session's task can be asked.
pub(super) enum Command<C> {
    Poll {
        revision: Option<Revision>,
        reply: Poller,
    },
    /// A POST whose body is here already.
    Post {
        revision: Option<Revision>,
        body: Result<Body, CloseReason>,
        reply: oneshot::Sender<Result<(), PostError>>,
    },
    BeginPost {
        revision: Option<Revision>,
        reply: oneshot::Sender<Result<(), PostError>>,
    },
    EndPost {
        body: Result<Body, CloseReason>,
        reply: oneshot::Sender<Result<(), PostError>>,
    },
    Reserve {
        revision: Option<Revision>,
        binary: BinaryAs,
        reply: oneshot::Sender<Result<UpgradeTicket, UpgradeError>>,
    },
    Candidate(UpgradeTicket, Box<WebSocket>),
    CandidateLost(UpgradeTicket),
    Close(CloseReason),
    Application(C),
}

/// Makes a session known and gives its mailbox, and the task that must be run.
pub(super) fn prepare<A: Application>(
    shared: &Arc<Shared<A>>,
    session: Session<Poller>,
    place: SessionPlace,
    opening: &Opening,
    websocket: Option<WebSocket>,
) -> (mailbox::Sender<Command<A::Command>>, impl Future<Output = ()> + Send + 'static) {
    let (registration, mailbox) = shared.register(session.sid(), place);
    let (link, state) = super::link_of(&registration, session, opening);
    let sender = registration.mailbox();
    let Opening { peer, revision, .. } = opening;
    tracing::debug!(session = ?registration.sid, %peer, ?revision, "session opened");
    let (candidate, timer, held) = (None, None, None);
    let task = Task { link, state, mailbox, has_waited: false, websocket, candidate, timer, held, registration };
    (sender, task)
}

struct Task<A: Application> {
    link: Link<A>,
    state: A::Session,
    mailbox: mailbox::Receiver<Command<A::Command>>,
    /// Others had their turn before the commands that wait are taken.
    has_waited: bool,
    websocket: Option<WebSocket>,
    candidate: Option<(UpgradeTicket, Box<WebSocket>)>,
    timer: Option<Pin<Box<Sleep>>>,
    /// The memory that waits here.
    held: Option<Held>,
    registration: Registration<A>,
}

impl<A: Application> Future for Task<A> {
    type Output = ();

    /// Ready once the session is finished.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let task = self.get_mut();
        ready!(task.poll_session(cx));
        let reason = task.link.session().close_reason().unwrap_or(CloseReason::TransportClose);
        tracing::debug!(session = ?task.registration.sid, %reason, "session closed");
        task.registration.shared.count_end(reason);
        if let Some(websocket) = task.websocket.take() {
            websocket.farewell(websocket::close_code(reason));
        }
        if let Some((_, candidate)) = task.candidate.take() {
            candidate.farewell(None);
        }
        Poll::Ready(())
    }
}

/// Nothing in it is pinned but the timer, which has a place of its own.
impl<A: Application> Unpin for Task<A> {}

impl<A: Application> Task<A> {
    fn now(&self) -> Instant {
        self.registration.shared.clock.now()
    }

    fn poll_session(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Whoever puts in the first command wakes this task, which would be the next to run. But those who run already have
        // commands too, and all of them can leave in one write: so it lets them go first, once.
        let has_waited = mem::take(&mut self.has_waited);
        for _ in 0..TURNS {
            let now = self.now();
            self.poll_websocket(cx, now);
            if has_waited {
                self.poll_mailbox(cx, now);
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
            if has_waited || !self.mailbox.has_some(cx) {
                return Poll::Pending;
            }
            self.has_waited = true;
            break;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes all commands that wait.
    fn poll_mailbox(&mut self, cx: &mut Context<'_>, now: Instant) {
        while let Some(command) = self.mailbox.next(cx) {
            self.command(command, now);
        }
    }

    fn command(&mut self, command: Command<A::Command>, now: Instant) {
        // Whoever does not wait for his answer any more needs none.
        match command {
            Command::Poll { revision, reply } => self.link.poll(reply, revision, now),
            Command::Post { revision, body, reply } => {
                let result = self.link.begin_post(revision, now).and_then(|()| self.link.end_post(body, now));
                self.let_application_act(now);
                let _ = reply.send(result);
            }
            Command::BeginPost { revision, reply } => {
                let _ = reply.send(self.link.begin_post(revision, now));
            }
            Command::EndPost { body, reply } => {
                let _ = reply.send(self.link.end_post(body, now));
            }
            Command::Reserve { revision, binary, reply } => {
                if let Err(Ok(ticket)) = reply.send(self.link.reserve_upgrade(revision, binary, now)) {
                    self.link.candidate_lost(ticket);
                }
            }
            Command::Candidate(ticket, websocket) if self.link.session().is_candidate(ticket) => {
                if let Some((_, before)) = self.candidate.replace((ticket, websocket)) {
                    before.farewell(None);
                }
            }
            // It took too long, or the session is over.
            Command::Candidate(_, websocket) => websocket.farewell(None),
            Command::CandidateLost(ticket) => self.link.candidate_lost(ticket),
            Command::Close(reason) => self.link.close(reason, now),
            Command::Application(command) => {
                self.registration.shared.application.command(&mut self.state, command, &mut self.link, now);
            }
        }
    }

    /// Takes all that the WebSocket has to say.
    fn poll_websocket(&mut self, cx: &mut Context<'_>, now: Instant) {
        while let Some(websocket) = &mut self.websocket
            && let Poll::Ready(received) = websocket.poll_next(cx)
        {
            match received {
                Received::Frame(frame) => self.link.websocket_frame(frame, now),
                Received::Oversized(start) => self.link.websocket_oversized(start.as_deref(), now),
                Received::Ended(reason, code) => {
                    if let Some(websocket) = self.websocket.take() {
                        websocket.farewell(code);
                    }
                    self.link.websocket_lost(reason, now);
                }
            }
            self.let_application_act(now);
        }
    }

    fn poll_candidate(&mut self, cx: &mut Context<'_>, now: Instant) {
        // Once it is adopted or dropped, its frames are no longer those of a candidate.
        while let Some((ticket, candidate)) = &mut self.candidate
            && self.link.session().is_candidate(*ticket)
            && let Poll::Ready(received) = candidate.poll_next(cx)
        {
            match received {
                Received::Frame(frame) => self.link.candidate_frame(*ticket, frame, now),
                // No frame of an upgrade is large.
                Received::Oversized(_) => self.link.candidate_frame(*ticket, Frame::Binary(bytes::Bytes::new()), now),
                Received::Ended(_, code) => {
                    self.link.candidate_lost(*ticket);
                    if let Some((_, candidate)) = self.candidate.take() {
                        candidate.farewell(code);
                    }
                }
            }
        }
    }

    /// Notices when the client of the poll that waits is gone.
    fn poll_parked(&mut self, cx: &mut Context<'_>, now: Instant) {
        if self.link.parked().is_some_and(|poller| poller.poll_closed(cx).is_ready()) {
            self.link.poll_lost(now);
        }
    }

    fn let_application_act(&mut self, now: Instant) {
        while let Some(event) = self.link.next_event() {
            self.registration.shared.application.event(&mut self.state, event, &mut self.link, now);
        }
    }

    /// Sends what is due. Whether the candidate has become the WebSocket, which nobody has looked at then.
    fn drain(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut has_adopted = false;
        self.let_application_act(now);
        while let Some(output) = self.link.next_output() {
            has_adopted |= matches!(output, Output::AdoptCandidate(_));
            self.output(output);
        }
        if self.write(cx).is_err() {
            self.websocket = None;
            self.link.websocket_lost(CloseReason::TransportError, now);
            self.let_application_act(now);
        }
        self.count_memory(now);
        has_adopted
    }

    /// What waits here, for the peer to read it or to send the rest of it, is taken from the memory that all share.
    fn count_memory(&mut self, now: Instant) {
        let unsent = self.websocket.as_ref().map_or(0, WebSocket::unsent_bytes);
        let bytes = self.link.buffered_bytes() + unsent;
        if bytes <= UNCOUNTED {
            self.held = None;
        } else if !body::count(&mut self.held, bytes, &self.registration.shared.limits.bytes) {
            tracing::warn!(session = ?self.registration.sid, bytes, "no memory for what waits for a client: its session is closed");
            self.link.close(CloseReason::Overflow, now);
            self.let_application_act(now);
        }
    }

    fn output(&mut self, output: Output<Poller>) {
        match output {
            // A client that hung up meanwhile has lost these packets, as the rules of polling have it.
            Output::Poll { to, answer } => drop(to.send(answer)),
            Output::Candidate { ticket, frame } => {
                if let Some((_, candidate)) = self.candidate.as_mut().filter(|(held, _)| *held == ticket) {
                    candidate.queue(frame);
                }
            }
            Output::DropCandidate(ticket) => {
                if let Some((_, candidate)) = self.candidate.take_if(|(held, _)| *held == ticket) {
                    candidate.farewell(None);
                }
            }
            Output::AdoptCandidate(ticket) => {
                let candidate = self.candidate.take_if(|(held, _)| *held == ticket);
                self.websocket = candidate.map(|(_, candidate)| *candidate);
                tracing::debug!(session = ?self.registration.sid, "session upgraded");
            }
        }
    }

    /// Writes as many frames as the WebSockets take, and flushes once.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Lost> {
        if let Some((ticket, candidate)) = &mut self.candidate
            && let Poll::Ready(Err(Lost)) = candidate.poll_flush(cx)
        {
            self.link.candidate_lost(*ticket);
            self.candidate = None;
        }
        let Some(websocket) = &mut self.websocket else { return Ok(()) };
        while let Poll::Ready(taken) = websocket.poll_ready(cx) {
            taken?;
            match self.link.next_frame() {
                Some(frame) => websocket.queue(frame),
                None => break,
            }
        }
        match websocket.poll_flush(cx) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Ok(()),
        }
    }

    /// Whether a closed session's last frames have left.
    fn is_drained(&mut self) -> bool {
        self.websocket.is_some() && self.link.session().is_closed_and_sent()
    }

    /// Sleeps until the next deadline; true when it has passed. The timer is only moved when it would ring too late.
    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(deadline) = self.link.deadline() else { return false };
        if deadline <= now {
            self.link.handle_timeout(now);
            return true;
        }
        let at = self.registration.shared.clock.at(deadline);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if timer.deadline() > at || timer.is_elapsed() {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx).is_ready()
    }
}
