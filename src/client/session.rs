//! The owner of one session: it does what the machines ask for, on connections of its own.

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::dial::Dialer;
use super::exchanges::{Exchanges, Link, Notice};
use super::polling::{poll, post};
use super::requests::{RequestError, Requests};
use super::server_url::ServerUrl;
use super::visit::Handler;
use super::websocket::{Heard, OpenError, WebSocket};
use crate::proto::engine_io::client::{Output, Transports};
use crate::proto::engine_io::payload::Body;
use crate::proto::engine_io::{ClientSession, CloseReason, Frame, Revision, Settings, Transport};
use crate::proto::link::ClientLink;
use crate::proto::socket_io::connection::client::Credentials;
use crate::proto::socket_io::{ClientConnection, Namespace};
use crate::proto::time::Instant;
use crate::proto::websocket::Item;

/// How many bytes may wait to be written before no more are asked for: several frames for each system call.
const AHEAD: usize = 256 << 10;

/// How many bytes may wait for the next POST before no more are asked for.
const POST: usize = 1 << 20;

/// How long the server may take to hear of the end.
const CLOSING: Duration = Duration::from_secs(2);

/// What a session joins, and how.
#[derive(Debug, Clone)]
pub struct Join {
    /// The tunnel's token.
    pub namespace: Namespace,
    /// The key and the options.
    pub credentials: Credentials,
    /// The revision of Engine.IO.
    pub revision: Revision,
    /// The transports that are tried.
    pub transports: Transports,
}

/// Why a session has ended.
#[derive(Debug)]
pub enum Ended {
    /// Its owner has stopped it.
    Stopped,
    /// There is no connection, or no WebSocket.
    Unopened(OpenError),
    /// It was lost, for this reason.
    Lost(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped"),
            Self::Unopened(error) => error.fmt(f),
            Self::Lost(why) => f.write_str(why),
        }
    }
}

/// What has come of something that the session asked for.
enum Came {
    Polled(Result<Body, RequestError>),
    Posted(Result<(), RequestError>),
    Opened(Result<Box<WebSocket>, OpenError>),
}

/// A session that is open, or about to.
pub struct Session {
    link: Link,
    exchanges: Exchanges,
    dialer: Dialer,
    url: ServerUrl,
    started: tokio::time::Instant,
    websocket: Option<Box<WebSocket>>,
    /// The WebSocket is the transport, and no candidate.
    is_adopted: bool,
    polls: mpsc::Sender<String>,
    posts: mpsc::Sender<(String, Body)>,
    tell: mpsc::Sender<Came>,
    come: mpsc::Receiver<Came>,
    /// The tasks for requests, which end with the session.
    requesting: JoinSet<()>,
    /// What has failed first.
    failure: Option<Ended>,
    notify: Box<dyn FnMut(Notice) + Send>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Session {
    /// Begins to open a session. `notify` hears what the server says of it.
    #[must_use]
    pub fn open(
        dialer: &Dialer,
        url: &ServerUrl,
        join: Join,
        handler: Handler,
        notify: impl FnMut(Notice) + Send + 'static,
    ) -> Self {
        let Join { namespace, credentials, revision, transports } = join;
        let session = ClientSession::open(Arc::new(Settings::default()), revision, transports, Instant::ORIGIN);
        let link = ClientLink::new(session, ClientConnection::new(Arc::default(), namespace.clone(), credentials));
        let (tell, come) = mpsc::channel(4);
        let (polls, mut to_poll) = mpsc::channel::<String>(1);
        let (posts, mut to_post) = mpsc::channel::<(String, Body)>(1);
        let mut requesting = JoinSet::new();
        let mut requests = Requests::new(dialer.clone(), url.clone());
        let told = tell.clone();
        requesting.spawn(async move {
            while let Some(path) = to_poll.recv().await {
                let answer = poll(&mut requests, &path).await;
                let _ = told.send(Came::Polled(answer)).await;
            }
        });
        let mut requests = Requests::new(dialer.clone(), url.clone());
        let told = tell.clone();
        requesting.spawn(async move {
            while let Some((path, body)) = to_post.recv().await {
                let answer = post(&mut requests, &path, body).await;
                let _ = told.send(Came::Posted(answer)).await;
            }
        });
        Self {
            link,
            exchanges: Exchanges::new(namespace, handler),
            dialer: dialer.clone(),
            url: url.clone(),
            started: tokio::time::Instant::now(),
            websocket: None,
            is_adopted: transports == Transports::WebSocket,
            polls,
            posts,
            tell,
            come,
            requesting,
            failure: None,
            notify: Box::new(notify),
        }
    }

    fn now(&self) -> Instant {
        Instant::after_origin(self.started.elapsed())
    }

    /// Serves until the session has ended, and returns why. Once `leave` is cancelled no request is taken any more, and the session
    /// ends when those that it has are answered, or `patience` has passed.
    pub async fn serve(mut self, leave: &CancellationToken, patience: Duration) -> Ended {
        let (mut has_left, mut leaves_until) = (false, None);
        loop {
            self.settle().await;
            // The server has nothing more for an end that leaves.
            if leave.is_cancelled() && !self.exchanges.is_ready() && self.link.session().close_reason().is_none() {
                self.stop();
                continue;
            }
            let session = self.link.session();
            if let Some(reason) = session.close_reason()
                && (session.is_finished() || (self.is_adopted && self.websocket.is_none()))
            {
                return self.end(reason).await;
            }
            tokio::select! {
                () = leave.cancelled(), if !has_left => {
                    let now = self.now();
                    self.exchanges.leave(&mut self.link, now);
                    has_left = true;
                    leaves_until = Some(tokio::time::Instant::now() + patience);
                }
                () = until(leaves_until) => {
                    leaves_until = None;
                    self.stop();
                }
                handlers_have_spoken = self.step() => if handlers_have_spoken {
                    // tokio would run this task before the other handlers that are ready: now one write takes what all say.
                    tokio::task::yield_now().await;
                    let now = self.now();
                    self.exchanges.act(&mut self.link, now);
                }
            }
        }
    }

    fn stop(&mut self) {
        self.failure.get_or_insert(Ended::Stopped);
        self.link.close(CloseReason::ForcedClose, self.now());
    }

    fn fail(&mut self, why: &dyn fmt::Display) {
        self.failure.get_or_insert_with(|| Ended::Lost(why.to_string()));
    }

    /// Sends what is left, and tells why the session has ended.
    async fn end(self, reason: CloseReason) -> Ended {
        if let Some(mut websocket) = self.websocket {
            let mut link = self.link;
            while let Some(frame) = link.next_frame() {
                websocket.push(&frame);
            }
            websocket.finish().await;
        } else if !self.link.session().is_finished() {
            // The last POST is on its way.
            let _ = tokio::time::timeout(CLOSING, self.requesting.join_all()).await;
        }
        self.failure.unwrap_or_else(|| Ended::Lost(words(reason).to_owned()))
    }

    /// Waits for what comes next, something from outside or a deadline, and handles it. Returns true instead once handlers have said
    /// something.
    async fn step(&mut self) -> bool {
        let due = self.link.deadline().map(|deadline| self.started + deadline.since_origin());
        let websocket = self.websocket.as_mut();
        let progress = async {
            match websocket {
                Some(websocket) => websocket.progress().await,
                None => pending().await,
            }
        };
        tokio::select! {
            came = self.come.recv() => self.came(came),
            heard = progress => self.heard(heard),
            () = self.exchanges.wait() => return true,
            () = until(due) => self.link.handle_timeout(self.now()),
        }
        false
    }

    fn came(&mut self, came: Option<Came>) {
        let now = self.now();
        match came {
            Some(Came::Polled(Ok(body))) => self.link.polled(Ok(body), now),
            Some(Came::Polled(Err(error))) => {
                self.fail_request(error);
                self.link.polled(Err(CloseReason::TransportError), now);
            }
            Some(Came::Posted(answer)) => {
                let is_taken = answer.is_ok();
                answer.unwrap_or_else(|error| self.fail_request(error));
                self.link.posted(is_taken, now);
            }
            Some(Came::Opened(Ok(websocket))) => {
                self.websocket = Some(websocket);
                self.link.websocket_opened();
            }
            Some(Came::Opened(Err(error))) => {
                // A candidate that does not open leaves the session on polling.
                if self.is_adopted {
                    self.failure.get_or_insert(Ended::Unopened(error));
                } else {
                    tracing::debug!(%error, "the session stays on long-polling");
                }
                self.link.websocket_lost(CloseReason::TransportError, now);
            }
            // This value has a sender itself.
            None => (),
        }
    }

    fn fail_request(&mut self, error: RequestError) {
        self.failure.get_or_insert_with(|| match error {
            RequestError::Dial(error) => Ended::Unopened(OpenError::Dial(error)),
            other => Ended::Lost(other.to_string()),
        });
    }

    /// Handles what the WebSocket has brought.
    fn heard(&mut self, heard: Heard) {
        let now = self.now();
        let items = match heard {
            Heard::Items(items) => items,
            Heard::Gone(why) => return self.lose_websocket(&why, CloseReason::TransportClose),
            Heard::Violation(violation) => {
                let why = format!("the server breaks the protocol of WebSockets, code {}", violation.code());
                return self.lose_websocket(&why, CloseReason::TransportError);
            }
        };
        for item in items {
            let frame = match item {
                Item::Text(text) => Frame::Text(text),
                Item::Binary(data) => Frame::Binary(data),
                Item::Ping(payload) => {
                    self.websocket.iter_mut().for_each(|websocket| websocket.push_pong(&payload));
                    continue;
                }
                Item::Oversized(start) => {
                    self.link.websocket_oversized(start.as_deref(), now);
                    continue;
                }
                Item::Pong => continue,
                Item::Close { code, .. } => {
                    let code = code.map(|code| format!(" with code {code}")).unwrap_or_default();
                    return self.lose_websocket(
                        &format!("the server has closed the WebSocket{code}"),
                        CloseReason::TransportClose,
                    );
                }
            };
            if self.is_adopted {
                self.link.websocket_frame(frame, now);
            } else {
                self.link.candidate_frame(frame);
            }
        }
    }

    fn lose_websocket(&mut self, why: &str, reason: CloseReason) {
        self.websocket = None;
        if self.is_adopted {
            self.fail(&why);
        }
        self.link.websocket_lost(reason, self.now());
    }

    /// Does all that the session asks for.
    async fn settle(&mut self) {
        let now = self.now();
        loop {
            while let Some(event) = self.link.next_event() {
                self.exchanges.event(event, &mut self.link, now);
            }
            while let Some(notice) = self.exchanges.notices.pop_front() {
                (self.notify)(notice);
            }
            while let Some(output) = self.link.next_output() {
                self.output(output).await;
            }
            if !self.fill(now) {
                break;
            }
        }
        if let Some(websocket) = &mut self.websocket
            && let Err(error) = websocket.write().await
        {
            self.lose_websocket(&error.to_string(), CloseReason::TransportError);
        }
    }

    /// Fills the transport. Returns whether something came of it that is to be looked at.
    fn fill(&mut self, now: Instant) -> bool {
        let Some(websocket) = self.websocket.as_mut().filter(|_| self.is_adopted) else {
            let is_open = self.link.session().handshake().is_some();
            return is_open && self.link.buffered_bytes() < POST && self.exchanges.more(&mut self.link, now);
        };
        while websocket.waiting() < AHEAD {
            match self.link.next_frame() {
                Some(frame) => websocket.push(&frame),
                None if self.exchanges.more(&mut self.link, now) => (),
                None => break,
            }
        }
        false
    }

    async fn output(&mut self, output: Output) {
        let session = self.link.session();
        let path = |transport| format!("/socket.io/?{}", session.query(transport));
        match output {
            // There is one of each at a time, and the tasks end with this value.
            Output::Poll => drop(self.polls.send(path(Transport::Polling)).await),
            Output::Post(body) => drop(self.posts.send((path(Transport::Polling), body)).await),
            Output::OpenWebSocket => {
                let (path, dialer, url, tell) =
                    (path(Transport::WebSocket), self.dialer.clone(), self.url.clone(), self.tell.clone());
                self.requesting.spawn(async move {
                    let opened = WebSocket::open(&dialer, &url, &path).await.map(Box::new);
                    let _ = tell.send(Came::Opened(opened)).await;
                });
            }
            Output::Candidate(frame) => self.websocket.iter_mut().for_each(|websocket| websocket.push(&frame)),
            Output::AdoptCandidate => self.is_adopted = true,
            Output::DropCandidate => self.websocket = None,
        }
    }
}

/// Completes at this time; never without one.
async fn until(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => pending().await,
    }
}

/// Returns what a reason means to the person at this end.
fn words(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::TransportError => "the connection has failed",
        CloseReason::TransportClose => "the server has closed the connection",
        CloseReason::PingTimeout => "nothing was heard of the server for too long",
        CloseReason::ParseError => "the server has sent what is no packet",
        CloseReason::ForcedClose => "this end has closed the session",
        CloseReason::ForcedServerClose => "the server has closed the session",
        CloseReason::ServerShuttingDown => "the server stops",
        CloseReason::Overflow => "more waits for the server than may",
    }
}
