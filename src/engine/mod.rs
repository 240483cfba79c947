//! An Engine.IO and Socket.IO server for any host.
//!
//! An [`Engine`] serves the HTTP requests that open, poll, feed and upgrade sessions. What stands on its sessions is an
//! [`Application`]: [`SocketIo`] with a [`Host`], or a protocol of one's own. The relay is a host; `examples/chat.rs` is the
//! smallest one, and `examples/echo.rs` has an application of each kind.
//!
//! In reading order:
//!
//! - this file: the requests, among them those that open a session on a WebSocket and those that upgrade one
//! - `application`: what an application implements, and how the process reaches a session
//! - `host`: what a host of Socket.IO implements, and how it reaches its clients; `socket_io` is the application under it
//! - `sessions`: the table of sessions, its limits and counters
//! - `session_task`: the task that owns a session; `mailbox` and `command` are what it can be asked, and the
//!   place that it keeps for an upgrade
//! - `polling`: the long-polling transport; `transport`: a WebSocket in the hands of the engine

mod application;
mod command;
mod host;
#[cfg(feature = "serde")]
mod json;
mod mailbox;
mod polling;
mod session_task;
mod sessions;
mod socket_io;
#[cfg(test)]
mod tests;
mod transport;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method as HttpMethod, StatusCode};
use rand::Rng as _;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use self::application::{Application, Handle, Link, Opening};
pub use self::command::Poller;
use self::command::SessionCommand;
pub use self::host::{ClientEvent, Connect, Host, Reaction, Refusal, Socket};
#[cfg(feature = "serde")]
pub use self::json::EmitError;
pub use self::mailbox::Undelivered;
use self::session_task::SessionTask;
pub use self::sessions::Limits;
use self::sessions::{SessionSlot, Sessions};
pub use self::socket_io::SocketIo;
use self::transport::SessionWebSocket;
use crate::net::arrival::Arrival;
use crate::net::body::RequestBody;
use crate::net::listener::{self, release_head};
use crate::net::reply::{self, Reply};
use crate::net::websocket::{self, Handshake};
use crate::proto::engine_io::query::Target;
use crate::proto::engine_io::session::UpgradeError;
use crate::proto::engine_io::{BinaryAs, Method, Rejection, Request as EngineRequest, Session};
pub use crate::proto::engine_io::{
    CloseReason, Lower, Message, Outgoing, Revision, Settings as EngineIoSettings, Sid, Space, Transport,
};
pub use crate::proto::link::Layer;
pub use crate::proto::socket_io::Namespace;
pub use crate::proto::socket_io::connection::{
    AckError, Answer, Awaited, DisconnectReason, Settings as SocketIoSettings,
};
pub use crate::proto::socket_io::packet::{AckId, Args, Encoded};
pub use crate::proto::time::Instant;

/// The longest host that a session keeps, in bytes: a name of the DNS, a colon and a port.
const MAX_HOST: usize = 253 + 1 + 5;

/// An Engine.IO server. Clones are the same server.
pub struct Engine<A: Application> {
    sessions: Arc<Sessions<A>>,
}

impl<A: Application> Clone for Engine<A> {
    fn clone(&self) -> Self {
        Self { sessions: Arc::clone(&self.sessions) }
    }
}

/// A mailbox of a session's task.
type Mailbox<A> = mailbox::Sender<SessionCommand<<A as Application>::Command>>;

impl<A: Application> Engine<A> {
    /// Returns a server without sessions.
    #[must_use]
    pub fn new(application: A, settings: EngineIoSettings, limits: Limits) -> Self {
        // A generator for secrets, seeded by the system: asking the system itself costs a call for each session.
        Self::with_sids(application, settings, limits, || Sid::from_random(rand::rng().random()))
    }

    /// Returns a server without sessions, whose ids are those that `make` returns. An id is a bearer secret: it must not be guessed,
    /// nor returned twice.
    #[must_use]
    pub fn with_sids(
        application: A,
        settings: EngineIoSettings,
        limits: Limits,
        make: impl Fn() -> Sid + Send + Sync + 'static,
    ) -> Self {
        Self { sessions: Sessions::new(application, settings, limits, make) }
    }

    /// Returns the application on the sessions.
    #[must_use]
    pub fn application(&self) -> &A {
        &self.sessions.application
    }

    /// Returns how many sessions are open.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.count()
    }

    /// Returns how many sessions are open, by transport and revision.
    pub fn open(&self) -> impl Iterator<Item = ((Transport, Revision), usize)> {
        self.sessions.open()
    }

    /// Returns how many sessions have ended, by reason.
    pub fn ended(&self) -> impl Iterator<Item = (CloseReason, u64)> {
        self.sessions.ended()
    }

    /// Opens no more sessions: requests for one are answered 503. Sessions that are open go on.
    pub fn stop_opening(&self) {
        self.sessions.stop_opening();
    }

    /// Tells all sessions to end, and returns at once; [`Self::closed`] waits for them. A client that waits in a poll or is on
    /// a WebSocket is told; official clients reconnect by themselves. After [`Self::stop_opening`], sessions that are just
    /// being opened end, too.
    pub fn close_all(&self, reason: CloseReason) {
        self.sessions.close_all(reason);
    }

    /// Answers the poll of a session that waits, if one does, as if there were something to say: its client polls again, and may come
    /// another way.
    pub fn answer_poll(&self, sid: Sid) {
        if let Ok(mailbox) = self.sessions.find(sid) {
            // Lost where the session has much to do: then it answers anyway, or is asked again.
            let _ = mailbox.offer(SessionCommand::Answer);
        }
    }

    /// Completes once no session is open and each client that was on a WebSocket has answered its close frame, or has been
    /// given up: after two seconds, or after the connection's stall timeout if it does not even read the frames before.
    ///
    /// A server whose runtime ends with it calls [`Self::stop_opening`] and [`Self::close_all`] and waits for this, with a
    /// timeout of its own. Responses of the polling transport are written by the server's connections, which it waits for
    /// itself.
    pub async fn closed(&self) {
        self.sessions.tasks.close();
        self.sessions.tasks.wait().await;
    }

    /// Serves a listener until `stop` is ready, whatever the path of the requests and with the default limits for connections.
    /// Then ends all sessions, and returns once the clients have been told, after [`CLOSE_TIMEOUT`] at the latest.
    pub async fn listen(&self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let stop = async {
            stop.await;
            self.stop_opening();
            self.close_all(CloseReason::ServerShuttingDown);
        };
        listener::serve(listener, Arc::new(self.clone()), listener::Limits::default(), stop).await;
        if tokio::time::timeout(CLOSE_TIMEOUT, self.closed()).await.is_err() {
            tracing::warn!(sessions = self.session_count(), "some clients do not read what they were sent");
        }
    }

    /// Serves a request to the Engine.IO path. [`Limits::per_address`] counts the arrival's client. The request's URI and headers
    /// are dropped where the request has to wait.
    pub async fn serve(&self, head: &mut Parts, body: &mut RequestBody, arrival: &Arrival<'_>) -> Reply {
        let (origin, is_allowed) = self.origin(&head.headers);
        if !is_allowed {
            let mut reply = polling::refuse(Rejection::Forbidden);
            reply.headers_mut().append(header::VARY, HeaderValue::from_static("Origin"));
            return reply;
        }
        let mut reply = if head.method == HttpMethod::OPTIONS && head.headers.contains_key(header::ORIGIN) {
            preflight(&head.headers)
        } else {
            match self.dispatch(head, body, arrival).await {
                Ok(reply) => reply,
                Err(rejection) => polling::refuse(rejection),
            }
        };
        if let Some(origin) = origin {
            allow(origin, reply.headers_mut());
        }
        reply
    }

    /// Serves what a request asks for.
    async fn dispatch(
        &self,
        head: &mut Parts,
        body: &mut RequestBody,
        arrival: &Arrival<'_>,
    ) -> Result<Reply, Rejection> {
        let is_upgrade = websocket::is_upgrade(head);
        let query = head.uri.query().unwrap_or_default();
        let request = EngineRequest::parse(method_of(&head.method), query, is_upgrade)?;
        let (mailbox, revision, jsonp) = match request {
            EngineRequest::Open { revision, transport, binary, jsonp } => {
                let (opening, slot) = self.admit(head, revision, arrival)?;
                let session = self.session(&opening, transport).with_binary_as(binary);
                match transport {
                    Transport::Polling => (self.start(session, slot, &opening, None), Some(revision), jsonp),
                    Transport::WebSocket => return Ok(self.open_websocket(head, session, slot, opening)),
                }
            }
            EngineRequest::Poll(target) => (self.sessions.find(target.sid)?, target.revision, target.jsonp),
            EngineRequest::Post(target) => {
                let mailbox = self.sessions.find(target.sid)?;
                let Sessions { settings, limits, .. } = &*self.sessions;
                return Ok(polling::post(&mailbox, target, head, body, settings.max_payload, limits).await);
            }
            EngineRequest::Upgrade(target, binary) => return self.attach(head, target, binary).await,
            EngineRequest::Mismatch(target, rejection) => return self.sessions.find(target.sid).and(Err(rejection)),
        };
        release_head(head);
        Ok(polling::poll(&mailbox, revision, jsonp, &self.sessions.limits.bytes).await)
    }

    /// Takes a place for a session that a client asks to open.
    fn admit(
        &self,
        head: &Parts,
        revision: Revision,
        arrival: &Arrival<'_>,
    ) -> Result<(Opening, SessionSlot), Rejection> {
        if !self.sessions.settings.revisions.contains(&revision) {
            return Err(Rejection::UnsupportedRevision);
        }
        let slot = self.sessions.admit(arrival.client)?;
        let peer = SocketAddr::new(arrival.client.address, arrival.peer.address.port());
        let sid = (self.sessions.make_sid)();
        let asked = arrival.host(&head.headers).filter(|host| host.len() <= MAX_HOST);
        let asked = asked.map(|host| format!("{}://{host}", arrival.scheme(&head.headers)).into()).unwrap_or_default();
        Ok((Opening { peer, sid, asked, revision, query: head.uri.query().unwrap_or_default().to_owned() }, slot))
    }

    fn session(&self, opening: &Opening, transport: Transport) -> Session<Poller> {
        let settings = Arc::clone(&self.sessions.settings);
        Session::open(settings, opening.sid, opening.revision, transport, self.sessions.clock.now())
    }

    /// Registers a session, starts its task and returns its mailbox.
    fn start(
        &self,
        session: Session<Poller>,
        slot: SessionSlot,
        opening: &Opening,
        websocket: Option<SessionWebSocket>,
    ) -> Mailbox<A> {
        let (registration, commands) = self.sessions.register(session.sid(), slot);
        let mailbox = registration.mailbox.clone();
        self.sessions.tasks.spawn(SessionTask::new(registration, commands, session, opening, websocket));
        mailbox
    }

    /// Opens a session once its WebSocket is there. Everything is checked before the 101.
    fn open_websocket(&self, head: &mut Parts, session: Session<Poller>, slot: SessionSlot, opening: Opening) -> Reply {
        let handshake = match Handshake::parse(head) {
            Ok(handshake) => handshake,
            Err(refusal) => return *refusal,
        };
        let (reply, websocket) = handshake.accept(head, self.websocket_limits());
        let engine = self.clone();
        self.sessions.tasks.spawn(async move {
            if let Some(websocket) = websocket.await {
                let websocket = SessionWebSocket::new(websocket, &engine.sessions.tasks);
                engine.start(session, slot, &opening, Some(websocket));
            }
        });
        reply
    }

    /// Brings a WebSocket to a session that polls, as the candidate for its transport. One that comes to a session that has a
    /// WebSocket or a candidate already is accepted and closed, as the reference does: clients take an error for a fault of
    /// the session.
    async fn attach(&self, head: &mut Parts, target: Target, binary: BinaryAs) -> Result<Reply, Rejection> {
        let mailbox = self.sessions.find(target.sid)?;
        let handshake = match Handshake::parse(head) {
            Ok(handshake) => handshake,
            Err(refusal) => return Ok(*refusal),
        };
        let (reply, reserved) = oneshot::channel();
        let command = SessionCommand::Reserve { revision: target.revision, binary, reply };
        if !mailbox.send(command) {
            return Err(Rejection::SessionUnknown);
        }
        let reservation = match reserved.await.map_err(|_| Rejection::SessionUnknown)? {
            Ok(reservation) => Some(reservation),
            Err(UpgradeError::NoPlace) => None,
            Err(UpgradeError::OtherRevision) => return Err(Rejection::BadRequest),
            Err(UpgradeError::SessionUnknown) => return Err(Rejection::SessionUnknown),
        };
        let (reply, websocket) = handshake.accept(head, self.websocket_limits());
        let tasks = self.sessions.tasks.clone();
        self.sessions.tasks.spawn(async move {
            let websocket = websocket.await.map(|websocket| SessionWebSocket::new(websocket, &tasks));
            // Dropped without the other, the WebSocket is closed, or the place is given up.
            if let (Some(reservation), Some(websocket)) = (reservation, websocket) {
                reservation.redeem(websocket);
            }
        });
        Ok(reply)
    }

    fn websocket_limits(&self) -> websocket::Limits {
        let Sessions { settings, limits, .. } = &*self.sessions;
        websocket::Limits { max_message: settings.max_payload, memory: Arc::clone(&limits.bytes) }
    }

    /// Returns the origin of the page that a request comes from, and whether it is among [`Limits::origins`]. Unless the operator
    /// says otherwise, any origin may connect: no cookie authorises anything here, so a foreign page gains nothing. A client
    /// without an origin is no page.
    fn origin(&self, request: &HeaderMap) -> (Option<HeaderValue>, bool) {
        let Some(origin) = request.get(header::ORIGIN) else { return (None, true) };
        let admits = |allowed: &String| allowed == "*" || allowed.as_bytes().eq_ignore_ascii_case(origin.as_bytes());
        // A copy: the value itself would keep hyper's read buffer alive while a poll waits.
        let copy = HeaderValue::from_bytes(origin.as_bytes()).ok();
        (copy, self.sessions.limits.origins.iter().any(admits))
    }
}

/// Serves Engine.IO at any path.
impl<A: Application> listener::Handler for Engine<A> {
    async fn serve(&self, head: &mut Parts, body: &mut RequestBody, arrival: &Arrival<'_>) -> Reply {
        Self::serve(self, head, body, arrival).await
    }
}

/// How long [`Engine::listen`] waits for its clients once it has told them to leave; it returns then although some have not
/// heard of it. The closing handshake of a WebSocket takes two seconds at the most, so only clients that do not read take longer.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Allows a page of this origin to read a response. The exact origin is repeated because browsers refuse `*` to clients that send
/// credentials, as old ones always do.
fn allow(origin: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    // A preflight varies by what the page wants to send, too.
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

fn method_of(method: &HttpMethod) -> Method {
    match *method {
        HttpMethod::GET => Method::Get,
        HttpMethod::POST => Method::Post,
        _ => Method::Other,
    }
}

/// Returns the response to a browser that asks what the page may send.
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
