//! An end that streams: the machines of `proto::exchange::stream::client` on a session, with a task for each request.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use socket2me::proto::engine_io::client::Transports;
use socket2me::proto::engine_io::{CloseReason, Revision};
use socket2me::proto::exchange::stream::client::{Effect, Sent, Streams};
use socket2me::proto::exchange::stream::{
    AbortCode, Begin, Closing, Content, Event, MAX_WINDOW, Part, Ready, Received, read_ack, write_ack,
};
use socket2me::proto::exchange::{ExchangeId, Request};
use socket2me::proto::socket_io::connection::Awaited;
use socket2me::proto::socket_io::connection::client::Credentials;
use socket2me::proto::socket_io::packet::Args;
use socket2me::proto::socket_io::{AckId, ClientEvent, Namespace};
use socket2me::proto::time::Instant;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::handler::{Answering, BodyReader, Command, Down, Handler, QUEUED, Up, Visit};
use super::{Application, Link, Owner};
use crate::support::within;

/// Longer than a test: the server acknowledges each event, or the session ends.
const ACK_TIMEOUT: Duration = Duration::from_secs(36_000);

/// An end that serves in a task of its own.
pub(crate) struct StreamingEnd {
    /// What the server has said first.
    pub(crate) ready: Ready,
    pub(crate) heard: Arc<Mutex<Heard>>,
    tell: mpsc::UnboundedSender<Command>,
    task: JoinHandle<CloseReason>,
}

/// What the server has said beside what handlers get.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) aborts: Vec<(ExchangeId, AbortCode)>,
    /// How the server has broken the protocol.
    pub(crate) breaches: Vec<&'static str>,
    pub(crate) closing: Vec<Closing>,
}

impl StreamingEnd {
    /// Joins a token's namespace. `options` is the value of `stream` in `auth`, or for revision 3 what stands in the query.
    pub(crate) async fn connect(
        address: SocketAddr,
        token: &str,
        (revision, transports): (Revision, Transports),
        options: &str,
        handler: Handler,
    ) -> Self {
        let namespace = Namespace::new(format!("/{token}").into()).unwrap();
        let credentials = match revision {
            Revision::V4 => Credentials::Auth(format!(r#"{{"stream":{options}}}"#).into()),
            Revision::V3 => Credentials::Query(namespace.with_query(options).unwrap()),
        };
        let (tell, commands) = mpsc::unbounded_channel();
        let (ready, is_ready) = oneshot::channel();
        let heard = Arc::<Mutex<Heard>>::default();
        let exchanges = Exchanges {
            namespace: namespace.clone(),
            handler,
            streams: None,
            open: HashMap::new(),
            next_ack: 0,
            commands,
            inbox: Vec::new(),
            tell: tell.clone(),
            ready: Some(ready),
            heard: Arc::clone(&heard),
        };
        let mut owner = Owner::new(address, (namespace, credentials), revision, transports, exchanges);
        let task = tokio::spawn(async move { owner.serve().await });
        let ready = within("ready", is_ready).await.expect("the end is let in");
        Self { ready, heard, tell, task }
    }

    /// Closes the session.
    pub(crate) async fn close(self) {
        self.tell.send(Command::Close).unwrap();
        assert_eq!(self.closed().await, CloseReason::ForcedClose);
    }

    /// Waits until the session has ended, and returns why.
    pub(crate) async fn closed(self) -> CloseReason {
        within("the session to end", self.task).await.unwrap()
    }

    /// Ends the session's connections without a word.
    pub(crate) fn vanish(self) {
        self.task.abort();
    }
}

/// All exchanges of the end.
struct Exchanges {
    namespace: Namespace,
    handler: Handler,
    streams: Option<Streams>,
    open: HashMap<ExchangeId, Open>,
    next_ack: u64,
    commands: mpsc::UnboundedReceiver<Command>,
    inbox: Vec<Command>,
    tell: mpsc::UnboundedSender<Command>,
    ready: Option<oneshot::Sender<Ready>>,
    heard: Arc<Mutex<Heard>>,
}

/// An exchange that is not over.
struct Open {
    /// The ack of its request.
    request: Option<AckId>,
    parts: mpsc::UnboundedSender<Up>,
    queue: VecDeque<Down>,
    room: Arc<Semaphore>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.room.close();
    }
}

impl Application for Exchanges {
    type Waiter = Sent;

    fn event(&mut self, event: ClientEvent<Sent>, link: &mut Link<Sent>, now: Instant) {
        match event {
            ClientEvent::Joined => (),
            ClientEvent::Refused { data } => panic!("refused: {data:?}"),
            ClientEvent::Received { args, attachments, id } => self.received(&args, &attachments, id, link, now),
            ClientEvent::Acked { waiter, outcome } => {
                let window = outcome.ok().and_then(|answer| read_ack(&answer));
                self.streams.iter_mut().for_each(|streams| streams.acked(waiter, window));
            }
            ClientEvent::Left { .. } => {
                self.streams = None;
                self.open.clear();
            }
        }
        self.send_acks(link, now);
    }

    fn more(&mut self, link: &mut Link<Sent>, now: Instant) -> bool {
        while let Some(turn) = self.streams.as_mut().and_then(Streams::next_turn) {
            if self.take_turn(turn.id, turn.room, link, now) {
                return true;
            }
        }
        false
    }

    async fn wait(&mut self) {
        self.commands.recv_many(&mut self.inbox, 64).await;
    }

    fn act(&mut self, link: &mut Link<Sent>, now: Instant) {
        for command in std::mem::take(&mut self.inbox) {
            self.command(command, link, now);
        }
        self.send_acks(link, now);
    }
}

impl Exchanges {
    fn received(
        &mut self,
        args: &Args,
        attachments: &[Bytes],
        ack: Option<AckId>,
        link: &mut Link<Sent>,
        now: Instant,
    ) {
        if let Some(received) = Received::decode(args, attachments) {
            let Some(streams) = &mut self.streams else { return };
            let effect = streams.received(received, ack);
            self.effect(effect, link, now);
        } else if let Some(request) = Request::decode(args, attachments) {
            self.begin(request.unwrap(), ack);
        } else if let Some(ready) = Ready::decode(args) {
            let ready = ready.unwrap();
            self.streams = Some(Streams::new(ready.terms, MAX_WINDOW));
            let _ = self.ready.take().expect("ready is said once").send(ready);
        } else if let Some(closing) = Closing::decode(args) {
            self.heard.lock().unwrap().closing.push(closing.unwrap());
        }
    }

    fn begin(&mut self, request: Request, ack: Option<AckId>) {
        let id = ExchangeId::parse(&request.id).expect("the server's own id");
        let begin = request.stream.unwrap_or(Begin { is_streamed: false, is_upgrade: false, window: 0 });
        assert!(self.streams.as_mut().expect("ready comes first").begin(id, begin), "ids never repeat");
        let (parts, to_read) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(QUEUED));
        let tell = self.tell.clone();
        let body = BodyReader { id, parts: to_read, tell: tell.clone(), is_starving: Arc::new(AtomicBool::new(false)) };
        let answer = Answering { id, tell, room: Arc::clone(&room) };
        self.open.insert(id, Open { request: ack, parts, queue: VecDeque::new(), room });
        tokio::spawn((self.handler)(Visit { request, body, answer }));
    }

    fn effect(&mut self, effect: Effect, link: &mut Link<Sent>, now: Instant) {
        match effect {
            Effect::Nothing => (),
            Effect::Content { id, content } => {
                let up = match content {
                    Content::Data { bytes, .. } => Up::Data(bytes),
                    Content::Message { part, more, .. } => Up::Message { part, more },
                    Content::End { trailers } => Up::End { trailers: trailers.map(|json| json.to_string()) },
                    Content::Close { code, reason } => Up::Close { code, reason: reason.to_string() },
                };
                if let Some(open) = self.open.get(&id) {
                    // The handler may have dropped its reader: then nothing is handed on.
                    let _ = open.parts.send(up);
                }
                self.close_if_over(id);
            }
            Effect::Aborted { id, code, .. } => {
                self.heard.lock().unwrap().aborts.push((id, code));
                self.open.remove(&id);
            }
            Effect::Breach { id, code, message } => {
                self.heard.lock().unwrap().breaches.push(message);
                self.open.remove(&id);
                self.emit(id, &Event::Abort { code, message: Some(message.into()) }, None, link, now);
            }
        }
    }

    fn command(&mut self, command: Command, link: &mut Link<Sent>, now: Instant) {
        let Some(streams) = &mut self.streams else { return };
        match command {
            Command::Ack(id, response) => {
                if streams.answer(id)
                    && let Some(ack) = self.open.get_mut(&id).and_then(|open| open.request.take())
                {
                    link.act(now, |connection, lower| connection.ack(ack, response.to_ack(), lower));
                }
                self.open.remove(&id);
            }
            Command::Head(id, event) => {
                let Event::Response { status, .. } = event else { return };
                if streams.respond(id, status) {
                    self.emit(id, &event, None, link, now);
                }
            }
            Command::Queue(id, down) => {
                if let Some(open) = self.open.get_mut(&id) {
                    open.queue.push_back(down);
                    streams.offer(id);
                }
            }
            Command::HandedOn(id, has_starved) => streams.handed_on(id, has_starved),
            Command::Pull(id) => {
                if streams.pull(id) {
                    self.emit(id, &Event::Pull, None, link, now);
                }
            }
            Command::Abort(id, code) => {
                if streams.abort(id) {
                    self.emit(id, &Event::Abort { code, message: None }, None, link, now);
                }
                self.open.remove(&id);
            }
            Command::Close => link.close(CloseReason::ForcedClose, now),
        }
    }

    /// Sends the next event of an exchange. Returns false if it has none.
    fn take_turn(&mut self, id: ExchangeId, room: usize, link: &mut Link<Sent>, now: Instant) -> bool {
        let (Some(open), Some(streams)) = (self.open.get_mut(&id), &mut self.streams) else { return false };
        let Some(first) = open.queue.pop_front() else { return false };
        let (event, sent) = match first {
            Down::Data(mut rest) => {
                let bytes = rest.split_to(rest.len().min(room));
                if !rest.is_empty() {
                    open.queue.push_front(Down::Data(rest));
                }
                open.room.add_permits(bytes.len());
                let more = !open.queue.is_empty();
                let Some((offset, sent)) = streams.sent(id, bytes.len(), bytes.len() as u64, more) else {
                    return false;
                };
                (Event::Data { bytes, offset }, Some(sent))
            }
            Down::Message { part, more } => {
                let (part, rest) = split(part, room);
                open.room.add_permits(part.len());
                let is_cut = rest.is_some();
                if let Some(part) = rest {
                    open.queue.push_front(Down::Message { part, more });
                }
                let Some((number, sent)) = streams.sent(id, part.len(), 1, !open.queue.is_empty()) else {
                    return false;
                };
                (Event::Message { part, more: more || is_cut, number }, Some(sent))
            }
            Down::End { trailers } => {
                let Some(total) = streams.finished(id) else { return false };
                (Event::End { total, trailers: trailers.map(Into::into) }, None)
            }
            Down::Close { code, reason } => {
                let Some(parts) = streams.finished(id) else { return false };
                (Event::Close { parts, code, reason: reason.into() }, None)
            }
        };
        self.emit(id, &event, sent, link, now);
        self.close_if_over(id);
        self.send_acks(link, now);
        true
    }

    fn emit(&mut self, id: ExchangeId, event: &Event, sent: Option<Sent>, link: &mut Link<Sent>, now: Instant) {
        let Some(bytes_as) = self.streams.as_ref().map(|streams| streams.terms().bytes) else { return };
        let ack = sent.and_then(|_| AckId::new(self.next_ack));
        self.next_ack += u64::from(ack.is_some());
        let packet = event.encode(&id.to_string(), &self.namespace, ack, bytes_as);
        let awaited = sent.map(|waiter| Awaited { waiter, timeout: ACK_TIMEOUT });
        link.act(now, |connection, lower| connection.emit(packet, awaited, lower));
    }

    fn send_acks(&mut self, link: &mut Link<Sent>, now: Instant) {
        while let Some(ack) = self.streams.as_mut().and_then(Streams::next_ack) {
            link.act(now, |connection, lower| connection.ack(ack.id, write_ack(ack.window), lower));
        }
    }

    fn close_if_over(&mut self, id: ExchangeId) {
        if self.streams.as_ref().is_none_or(|streams| !streams.is_open(id)) {
            self.open.remove(&id);
        }
    }
}

/// Cuts a part of a message to this many bytes, text between code points. Returns the first part, and what is left.
fn split(part: Part, room: usize) -> (Part, Option<Part>) {
    if part.len() <= room {
        return (part, None);
    }
    match part {
        Part::Text(text) => {
            let end = (0..=room).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
            let (first, rest) = text.split_at(end);
            (Part::Text(first), Some(Part::Text(rest)))
        }
        Part::Binary(mut rest) => (Part::Binary(rest.split_to(room)), Some(Part::Binary(rest))),
    }
}
