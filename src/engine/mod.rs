//! The Engine.IO server: its sessions, and the HTTP requests that open, poll, feed and upgrade them.
//!
//! It knows nothing of tunnels. What stands on a session is an [`Application`]: Socket.IO with its hosts
//! ([`self::socket_io`]), or a protocol of one's own.

pub(crate) mod mailbox;
mod polling;
pub mod session_task;
pub mod socket_io;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method as HttpMethod, StatusCode};
use hyper::body::Incoming;
use rand::Rng as _;
use tokio::sync::oneshot;

use self::session_task::{Command, Link};
use crate::net::budget::{Budget, Held, PerAddress, Place};
use crate::net::clock::Clock;
use crate::net::reply::{self, Reply};
use crate::net::websocket;
use crate::proto::engine_io::{BinaryAs, CloseReason, Method, Rejection, Revision, Session, Settings, Sid, Transport};
use crate::proto::engine_io::{Request as EngineRequest, query::Target, session::UpgradeError};
use crate::proto::link::{Layer, ServerLink};
use crate::proto::time::Instant;
use crate::tables;

/// What stands on the sessions of a server.
pub trait Application: Send + Sync + 'static {
    /// The protocol above Engine.IO; one value a session.
    type Layer: Layer<Event: Send> + Send + 'static;
    /// What the application itself keeps for a session.
    type Session: Send + 'static;
    /// What others in the process can ask of a session, through its [`Handle`].
    type Command: Send + 'static;

    /// A session opens.
    fn open(&self, opening: &Opening, handle: Handle<Self::Command>, now: Instant) -> (Self::Layer, Self::Session);

    /// The layer says something.
    fn event(
        &self,
        session: &mut Self::Session,
        event: <Self::Layer as Layer>::Event,
        link: &mut Link<Self>,
        now: Instant,
    );

    /// Somebody asks for something.
    fn command(&self, session: &mut Self::Session, command: Self::Command, link: &mut Link<Self>, now: Instant);
}

/// What is known of a client when its session opens.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Where it connects from.
    pub peer: SocketAddr,
    /// The session's id.
    pub sid: Sid,
    /// What it speaks.
    pub revision: Revision,
    /// The query of its first request: our words, and beside them whatever the client's author wrote.
    pub query: String,
}

/// The way to a session for others in the process: its mailbox, which is bounded.
pub struct Handle<C> {
    mailbox: mailbox::Sender<Command<C>>,
}

impl<C> Clone for Handle<C> {
    fn clone(&self) -> Self {
        Self { mailbox: self.mailbox.clone() }
    }
}

impl<C> Handle<C> {
    /// Asks for something, which strangers can make it do any number of times.
    ///
    /// # Errors
    /// With the reason.
    pub fn try_send(&self, command: C) -> Result<(), Undelivered> {
        self.mailbox.try_send(Command::Application(command))
    }

    /// Asks for something that is asked only so many times, so that there is always room for it.
    pub fn send(&self, command: C) {
        // A session that is gone needs no more commands.
        let _ = self.mailbox.send(Command::Application(command));
    }
}

/// Why a command did not reach a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undelivered {
    /// Too much waits in its mailbox.
    Full,
    /// It has ended.
    Closed,
}

/// What the sessions of a server may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Commands that wait for one session's task, of those that strangers can cause any number of.
    pub mailbox: usize,
    /// All sessions.
    pub sessions: Arc<Budget>,
    /// Those of one address.
    pub per_address: Arc<PerAddress>,
    /// The memory for bodies and messages, in bytes.
    pub bytes: Arc<Budget>,
    /// How long a client may stop sending a body.
    pub stall_timeout: Duration,
    /// The origins of pages that may connect, in lower case; `*` is any.
    pub origins: Vec<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mailbox: 4096,
            sessions: Budget::new(20_000),
            per_address: PerAddress::new(None, 500, Vec::new()),
            bytes: Budget::new(256 << 20),
            stall_timeout: Duration::from_secs(30),
            origins: vec!["*".to_owned()],
        }
    }
}

/// An Engine.IO server.
pub struct Engine<A: Application> {
    shared: Arc<Shared<A>>,
}

/// What the tasks of all sessions share.
struct Shared<A: Application> {
    application: A,
    settings: Arc<Settings>,
    clock: Clock,
    limits: Limits,
    stopping: AtomicBool,
    /// How many sessions have ended, by the place of the reason in [`CloseReason::ALL`].
    ended: [AtomicU64; CloseReason::ALL.len()],
    sessions: Mutex<HashMap<Sid, mailbox::Sender<Command<A::Command>>>>,
}

impl<A: Application> Clone for Engine<A> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<A: Application> Engine<A> {
    /// A server without sessions.
    #[must_use]
    pub fn new(application: A, settings: Settings, limits: Limits) -> Self {
        Self {
            shared: Arc::new(Shared {
                application,
                settings: Arc::new(settings),
                clock: Clock::start(),
                limits,
                stopping: AtomicBool::new(false),
                ended: [const { AtomicU64::new(0) }; CloseReason::ALL.len()],
                sessions: Mutex::default(),
            }),
        }
    }

    /// The application on its sessions.
    #[must_use]
    pub fn application(&self) -> &A {
        &self.shared.application
    }

    /// How many sessions are open.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.shared.sessions().len()
    }

    /// How many sessions have ended, by their reasons.
    pub fn ended(&self) -> impl Iterator<Item = (CloseReason, u64)> {
        CloseReason::ALL
            .into_iter()
            .zip(&self.shared.ended)
            .map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
    }

    /// Opens no more sessions. Those that are open go on.
    pub fn stop_opening(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }

    /// Ends all sessions: their clients are told, and reconnect by themselves.
    pub fn close_all(&self, reason: CloseReason) {
        let mailboxes: Vec<_> = self.shared.sessions().values().cloned().collect();
        for mailbox in mailboxes {
            // A session that is gone needs no closing.
            let _ = mailbox.send(Command::Close(reason));
        }
    }

    /// Serves a request to the Engine.IO path.
    pub async fn serve(&self, head: &mut Parts, body: Incoming, peer: SocketAddr) -> Reply {
        let Ok(cors) = self.cors_headers(&head.headers) else {
            return reply::text(StatusCode::FORBIDDEN, "application/json", ORIGIN_REFUSED);
        };
        let mut reply = if head.method == HttpMethod::OPTIONS && head.headers.contains_key(header::ORIGIN) {
            preflight(&head.headers)
        } else {
            match self.dispatch(head, body, peer).await {
                Ok(reply) => reply,
                Err(rejection) => polling::refuse(rejection),
            }
        };
        reply.headers_mut().extend(cors);
        reply
    }

    async fn dispatch(&self, head: &mut Parts, body: Incoming, peer: SocketAddr) -> Result<Reply, Rejection> {
        let method = match head.method {
            HttpMethod::GET => Method::Get,
            HttpMethod::POST => Method::Post,
            _ => Method::Other,
        };
        let upgrade = websocket::is_upgrade(&head.headers);
        let query = head.uri.query().unwrap_or_default();
        match EngineRequest::parse(method, query, upgrade)? {
            EngineRequest::Open { revision, transport, binary, jsonp } => {
                let session = self.session(revision, transport)?.with_binary_as(binary);
                let place = self.place(peer)?;
                let opening = Opening { peer, sid: session.sid(), revision, query: query.to_owned() };
                match transport {
                    Transport::Polling => {
                        let (mailbox, task) = session_task::prepare(&self.shared, session, place, &opening, None);
                        tokio::spawn(task);
                        Ok(polling::poll(
                            &mailbox,
                            Some(revision),
                            jsonp,
                            &self.shared.limits.bytes,
                            reply::room_of(head),
                        )
                        .await)
                    }
                    Transport::WebSocket => Ok(self.open_websocket(head, session, place, opening)),
                }
            }
            EngineRequest::Poll(target) => {
                let mailbox = self.mailbox(target)?;
                Ok(polling::poll(
                    &mailbox,
                    target.revision,
                    target.jsonp,
                    &self.shared.limits.bytes,
                    reply::room_of(head),
                )
                .await)
            }
            EngineRequest::Post(target) => {
                let mailbox = self.mailbox(target)?;
                let Shared { settings, limits, .. } = &*self.shared;
                Ok(polling::post(&mailbox, target, head, body, settings.max_payload, limits).await)
            }
            EngineRequest::Upgrade(target, binary) => self.attach(head, target, binary).await,
            EngineRequest::Mismatch(target, rejection) => self.mailbox(target).and(Err(rejection)),
        }
    }

    /// Nothing is switched before everything was checked.
    fn open_websocket(
        &self,
        head: &mut Parts,
        session: Session<session_task::Poller>,
        place: SessionPlace,
        opening: Opening,
    ) -> Reply {
        let shared = Arc::clone(&self.shared);
        let max_payload = self.shared.settings.max_payload;
        let memory = Arc::clone(&self.shared.limits.bytes);
        websocket::accept(head, max_payload, memory, move |websocket| {
            if let Some(websocket) = websocket {
                let (_, task) = session_task::prepare(&shared, session, place, &opening, Some(websocket));
                tokio::spawn(task);
            }
        })
    }

    async fn attach(&self, head: &mut Parts, target: Target, binary: BinaryAs) -> Result<Reply, Rejection> {
        let mailbox = self.mailbox(target)?;
        let (reply, reserved) = oneshot::channel();
        let command = Command::Reserve { revision: target.revision, binary, reply };
        if !mailbox.send(command) {
            return Err(Rejection::SessionUnknown);
        }
        let ticket = match reserved.await {
            Ok(Ok(ticket)) => ticket,
            Ok(Err(UpgradeError::NoPlace)) => return Err(Rejection::BadRequest),
            Ok(Err(UpgradeError::SessionUnknown)) | Err(_) => return Err(Rejection::SessionUnknown),
        };
        let memory = Arc::clone(&self.shared.limits.bytes);
        Ok(websocket::accept(head, self.shared.settings.max_payload, memory, move |websocket| {
            let command = match websocket {
                Some(websocket) => Command::Candidate(ticket, Box::new(websocket)),
                None => Command::CandidateLost(ticket),
            };
            // A session that is gone has no use for a candidate.
            let _ = mailbox.send(command);
        }))
    }

    fn session(&self, revision: Revision, transport: Transport) -> Result<Session<session_task::Poller>, Rejection> {
        if !self.shared.settings.revisions.contains(&revision) {
            return Err(Rejection::UnsupportedRevision);
        }
        if self.shared.stopping.load(Ordering::Relaxed) {
            return Err(Rejection::Stopping);
        }
        // A generator for secrets, seeded by the system: to ask the system each time costs a call.
        let random = rand::rng().random();
        let settings = Arc::clone(&self.shared.settings);
        Ok(Session::open(settings, Sid::from_random(random), revision, transport, self.shared.clock.now()))
    }

    fn place(&self, peer: SocketAddr) -> Result<SessionPlace, Rejection> {
        let Limits { sessions, per_address, .. } = &self.shared.limits;
        let of_address = per_address.hold(peer.ip()).ok_or(Rejection::TooManySessions)?;
        let session = sessions.hold(1).ok_or(Rejection::TooManySessions)?;
        Ok(SessionPlace { _session: session, _of_address: of_address })
    }

    /// Unless the operator says otherwise any origin may connect, as in the original: nothing here is authorised by a
    /// cookie, so there is nothing to abuse. The exact origin is repeated because browsers refuse `*` from clients that send
    /// credentials, as the old ones always do. A client without an origin is no page.
    fn cors_headers(&self, request: &HeaderMap) -> Result<HeaderMap, OriginRefused> {
        let mut headers = HeaderMap::new();
        if let Some(origin) = request.get(header::ORIGIN) {
            let named = |allowed: &String| allowed == "*" || allowed.as_bytes().eq_ignore_ascii_case(origin.as_bytes());
            if !self.shared.limits.origins.iter().any(named) {
                return Err(OriginRefused);
            }
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        Ok(headers)
    }

    fn mailbox(&self, target: Target) -> Result<mailbox::Sender<Command<A::Command>>, Rejection> {
        self.shared.sessions().get(&target.sid).cloned().ok_or(Rejection::SessionUnknown)
    }
}

impl<A: Application> Shared<A> {
    /// Makes a session's mailbox known, until the guard is dropped.
    fn register(
        self: &Arc<Self>,
        sid: Sid,
        place: SessionPlace,
    ) -> (Registration<A>, mailbox::Receiver<Command<A::Command>>) {
        let (sender, receiver) = mailbox::mailbox(self.limits.mailbox);
        self.sessions().insert(sid, sender.clone());
        (Registration { shared: Arc::clone(self), sid, sender, _place: place }, receiver)
    }

    /// Counts the end of a session.
    fn count_end(&self, reason: CloseReason) {
        if let Some(index) = CloseReason::ALL.iter().position(|&known| known == reason) {
            self.ended[index].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<Sid, mailbox::Sender<Command<A::Command>>>> {
        // Each change is one call of the map, so a panic elsewhere left it whole.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place in the table.
struct Registration<A: Application> {
    shared: Arc<Shared<A>>,
    sid: Sid,
    sender: mailbox::Sender<Command<A::Command>>,
    _place: SessionPlace,
}

/// A session's place among all sessions, and among those of its address.
struct SessionPlace {
    _session: Held,
    _of_address: Place,
}

impl<A: Application> Registration<A> {
    fn handle(&self) -> Handle<A::Command> {
        Handle { mailbox: self.sender.clone() }
    }

    fn mailbox(&self) -> mailbox::Sender<Command<A::Command>> {
        self.sender.clone()
    }
}

impl<A: Application> Drop for Registration<A> {
    fn drop(&mut self) {
        let mut sessions = self.shared.sessions();
        sessions.remove(&self.sid);
        tables::shrink(&mut sessions);
    }
}

/// Builds the link of a session.
fn link_of<A: Application>(
    registration: &Registration<A>,
    session: Session<session_task::Poller>,
    opening: &Opening,
) -> (Link<A>, A::Session) {
    let Shared { application, clock, .. } = &*registration.shared;
    let (layer, state) = application.open(opening, registration.handle(), clock.now());
    (ServerLink::new(session, layer), state)
}

/// The page may not connect from where it is.
struct OriginRefused;

/// In the form of the reference, code 4.
const ORIGIN_REFUSED: &str = r#"{"code":4,"message":"Forbidden"}"#;

fn preflight(request: &HeaderMap) -> Reply {
    let mut reply = reply::empty(StatusCode::NO_CONTENT);
    let headers = reply.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET,POST"));
    if let Some(wanted) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    headers.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    reply
}
