//! The client's machines over sockets: an owner of connections that does what they ask for, and applications on it.
//!
//! - `sockets`: the connections
//! - `end`: an end that streams, whose handlers are tasks
//! - `handler`: what a handler gets, and what it answers with

pub(crate) mod end;
pub(crate) mod handler;
mod sockets;

use std::future::{Future, pending};
use std::net::SocketAddr;
use std::sync::Arc;

use socket2me::proto::engine_io::client::{Output, Transports};
use socket2me::proto::engine_io::payload::Body;
use socket2me::proto::engine_io::{ClientSession, CloseReason, Revision, Settings, Transport};
use socket2me::proto::link::ClientLink;
use socket2me::proto::socket_io::connection::client::Credentials;
use socket2me::proto::socket_io::{ClientConnection, ClientEvent, Namespace};
use socket2me::proto::time::Instant;
use socket2me::proto::websocket::Item;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::sockets::{Requests, WebSocket};

/// How many bytes may wait to be written before no more are asked for: several frames for each system call.
const AHEAD: usize = 256 << 10;

/// How many bytes may wait for the next POST before no more are asked for.
const POST: usize = 1 << 20;

pub(crate) type Link<W> = ClientLink<ClientConnection<W>>;

/// What happens on a session.
pub(crate) trait Application {
    /// What waits for the ack of an event.
    type Waiter;

    /// Handles an event of the session.
    fn event(&mut self, event: ClientEvent<Self::Waiter>, link: &mut Link<Self::Waiter>, now: Instant);

    /// Emits one event that was kept until the transport takes more. Returns false if there is none.
    fn more(&mut self, _link: &mut Link<Self::Waiter>, _now: Instant) -> bool {
        false
    }

    /// Waits until there is something to do. Nothing is lost if this is dropped.
    fn wait(&mut self) -> impl Future<Output = ()> + Send {
        pending()
    }

    /// Does what [`Self::wait`] has waited for.
    fn act(&mut self, _link: &mut Link<Self::Waiter>, _now: Instant) {}
}

/// What has come of something that the session asked for.
enum Came {
    Polled(Option<Body>),
    Posted(bool),
}

/// The owner of a client's session.
pub(crate) struct Owner<A: Application> {
    pub(crate) application: A,
    pub(crate) link: Link<A::Waiter>,
    address: SocketAddr,
    started: tokio::time::Instant,
    websocket: Option<WebSocket>,
    /// The WebSocket is the transport, and no candidate.
    pub(crate) is_adopted: bool,
    polls: mpsc::Sender<String>,
    posts: mpsc::Sender<(String, Body)>,
    come: mpsc::Receiver<Came>,
    /// The tasks for requests, which end with the owner.
    _requesting: JoinSet<()>,
}

impl<A: Application> Owner<A> {
    pub(crate) fn new(
        address: SocketAddr,
        (namespace, credentials): (Namespace, Credentials),
        revision: Revision,
        transports: Transports,
        application: A,
    ) -> Self {
        let session = ClientSession::open(Arc::new(Settings::default()), revision, transports, Instant::ORIGIN);
        let link = ClientLink::new(session, ClientConnection::new(Arc::default(), namespace, credentials));
        let (tell, come) = mpsc::channel(2);
        let (polls, mut to_poll) = mpsc::channel::<String>(1);
        let (posts, mut to_post) = mpsc::channel::<(String, Body)>(1);
        let tell_posted = tell.clone();
        let mut requesting = JoinSet::new();
        requesting.spawn(async move {
            let mut requests = Requests::new(address);
            while let Some(target) = to_poll.recv().await {
                let answer = requests.send("GET", &target, None).await;
                let _ = tell.send(Came::Polled(answer)).await;
            }
        });
        requesting.spawn(async move {
            let mut requests = Requests::new(address);
            while let Some((target, body)) = to_post.recv().await {
                let answer = requests.send("POST", &target, Some(&body)).await;
                let _ = tell_posted.send(Came::Posted(answer.is_some())).await;
            }
        });
        Self {
            application,
            link,
            address,
            started: tokio::time::Instant::now(),
            websocket: None,
            is_adopted: transports == Transports::WebSocket,
            polls,
            posts,
            come,
            _requesting: requesting,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::after_origin(self.started.elapsed())
    }

    /// Serves until the session has ended, and returns why.
    pub(crate) async fn serve(&mut self) -> CloseReason {
        loop {
            self.settle().await;
            if let Some(reason) = self.link.session().close_reason()
                && self.link.session().is_finished()
                && self.websocket.as_ref().is_none_or(|websocket| websocket.waiting() == 0)
            {
                return reason;
            }
            self.step().await;
        }
    }

    /// Waits for what comes next: something from outside or from the application, or a deadline.
    pub(crate) async fn step(&mut self) {
        let due = self.link.deadline().map(|deadline| self.started + deadline.since_origin());
        let due = due.unwrap_or_else(|| self.started + std::time::Duration::from_secs(36_000));
        let websocket = self.websocket.as_mut();
        let progress = async {
            match websocket {
                Some(websocket) => websocket.progress().await,
                None => pending().await,
            }
        };
        tokio::select! {
            came = self.come.recv() => self.came(came),
            items = progress => self.heard(items),
            () = self.application.wait() => {
                let now = self.now();
                self.application.act(&mut self.link, now);
            }
            () = tokio::time::sleep_until(due) => self.link.handle_timeout(self.now()),
        }
    }

    fn came(&mut self, came: Option<Came>) {
        let now = self.now();
        match came {
            Some(Came::Polled(answer)) => self.link.polled(answer.ok_or(CloseReason::TransportError), now),
            Some(Came::Posted(is_taken)) => self.link.posted(is_taken, now),
            None => panic!("the tasks for requests end with the owner"),
        }
    }

    /// Handles what the WebSocket has brought; `None` is its end.
    fn heard(&mut self, items: Option<Vec<Item>>) {
        let now = self.now();
        let Some(items) = items else {
            self.websocket = None;
            return self.link.websocket_lost(CloseReason::TransportClose, now);
        };
        for item in items {
            let frame = match item {
                Item::Text(text) => socket2me::proto::engine_io::Frame::Text(text),
                Item::Binary(data) => socket2me::proto::engine_io::Frame::Binary(data),
                Item::Ping(payload) => {
                    self.websocket.iter_mut().for_each(|websocket| websocket.push_pong(&payload));
                    continue;
                }
                Item::Oversized(start) => {
                    self.link.websocket_oversized(start.as_deref(), now);
                    continue;
                }
                Item::Pong => continue,
                Item::Close { .. } => {
                    self.link.websocket_lost(CloseReason::TransportClose, now);
                    continue;
                }
            };
            match self.is_adopted {
                true => self.link.websocket_frame(frame, now),
                false => self.link.candidate_frame(frame),
            }
        }
    }

    /// Does all that the session asks for.
    pub(crate) async fn settle(&mut self) {
        let now = self.now();
        loop {
            while let Some(event) = self.link.next_event() {
                self.application.event(event, &mut self.link, now);
            }
            while let Some(output) = self.link.next_output() {
                self.output(output).await;
            }
            if !self.fill(now) {
                break;
            }
        }
        if let Some(websocket) = &mut self.websocket
            && websocket.write().is_err()
        {
            self.websocket = None;
            self.link.websocket_lost(CloseReason::TransportError, now);
        }
    }

    /// Fills the transport. Returns whether something came of it that is to be looked at.
    fn fill(&mut self, now: Instant) -> bool {
        let Some(websocket) = self.websocket.as_mut().filter(|_| self.is_adopted) else {
            let is_open = self.link.session().handshake().is_some();
            return is_open && self.link.buffered_bytes() < POST && self.application.more(&mut self.link, now);
        };
        while websocket.waiting() < AHEAD {
            match self.link.next_frame() {
                Some(frame) => websocket.push(&frame),
                None if self.application.more(&mut self.link, now) => (),
                None => break,
            }
        }
        false
    }

    async fn output(&mut self, output: Output) {
        let session = self.link.session();
        let target = |transport| format!("/socket.io/?{}", session.query(transport));
        match output {
            Output::Poll => self.polls.send(target(Transport::Polling)).await.unwrap(),
            Output::Post(body) => self.posts.send((target(Transport::Polling), body)).await.unwrap(),
            Output::OpenWebSocket => {
                let target = target(Transport::WebSocket);
                self.websocket = Some(WebSocket::open(self.address, &target).await);
                self.link.websocket_opened();
            }
            Output::Candidate(frame) => self.websocket.iter_mut().for_each(|websocket| websocket.push(&frame)),
            Output::AdoptCandidate => self.is_adopted = true,
            Output::DropCandidate => self.websocket = None,
        }
    }
}
