//! The exchanges of one session: what the server says becomes tasks of the handler, and what these say becomes events and acks.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::visit::{Answering, BodyReader, Command, Down, Handler, Inbox, PART_COST, Teller, Up, Visit, split};
use crate::proto::engine_io::Space;
use crate::proto::exchange::stream::client::{Effect, Sent, Streams};
use crate::proto::exchange::stream::{
    AbortCode, Begin, Closing, Content, EVENT_COST, Event, MAX_WINDOW, Ready, Received, read_ack, write_ack,
};
use crate::proto::exchange::{ExchangeId, Request};
use crate::proto::json;
use crate::proto::link::ClientLink;
use crate::proto::socket_io::connection::Awaited;
use crate::proto::socket_io::packet::{Args, Encoded};
use crate::proto::socket_io::{AckId, ClientConnection, ClientEvent, Namespace};
use crate::proto::time::Instant;

/// An ack that never comes costs its exchange, whose own times are shorter; a waiter is freed after this.
const ACK_TIMEOUT: Duration = Duration::from_secs(3600);

/// The exchanges that are served at the same time. A server has a limit for each tunnel; this one is for a server that has none.
const MAX_EXCHANGES: usize = 4096;

/// The parts of one exchange that can wait for its handler: as many as the largest window holds, and the end.
const MAX_PARTS: usize = MAX_WINDOW / EVENT_COST + 1;

/// The warnings of one session that are told.
const MAX_WARNINGS: usize = 8;

pub(super) type Link = ClientLink<ClientConnection<Sent>>;

/// What the owner of a session is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The end is let in, and this holds.
    Ready(Box<Ready>),
    /// The server does not let the end in.
    Refused {
        /// The code of PROTOCOL.md, section 2; empty where the server says none.
        code: String,
        /// Words for a person.
        message: String,
    },
    /// The session is about to be left.
    Closing(Closing),
    /// The namespace was left.
    Left,
    /// Something went wrong that the author of an end can mend, or the server breaks the protocol.
    Warning(String),
}

/// All exchanges of a session.
pub(super) struct Exchanges {
    namespace: Namespace,
    handler: Handler,
    streams: Option<Streams>,
    open: HashMap<ExchangeId, Open>,
    next_ack: u64,
    inbox: Arc<Inbox>,
    /// What the owner has not been told yet.
    pub(super) notices: VecDeque<Notice>,
    has_said_closing: bool,
    warnings: usize,
}

/// An exchange that is not over.
struct Open {
    /// The ack of its request.
    request: Option<AckId>,
    parts: mpsc::Sender<Up>,
    queue: VecDeque<Down>,
    teller: Arc<Teller>,
    handler: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.teller.room.close();
    }
}

impl Exchanges {
    pub(super) fn new(namespace: Namespace, handler: Handler) -> Self {
        Self {
            namespace,
            handler,
            streams: None,
            open: HashMap::new(),
            next_ack: 0,
            inbox: Arc::default(),
            notices: VecDeque::new(),
            has_said_closing: false,
            warnings: 0,
        }
    }

    /// Returns whether the end is let in, and has not left.
    pub(super) fn is_ready(&self) -> bool {
        self.streams.is_some()
    }

    /// Handles an event of the session.
    pub(super) fn event(&mut self, event: ClientEvent<Sent>, link: &mut Link, now: Instant) {
        match event {
            ClientEvent::Joined => (),
            ClientEvent::Refused { data } => self.notices.push_back(refusal(&data.unwrap_or_default())),
            ClientEvent::Received { args, attachments, id } => self.received(&args, &attachments, id, link, now),
            ClientEvent::Acked { waiter, outcome } => {
                let window = outcome.ok().and_then(|answer| read_ack(&answer));
                self.streams.iter_mut().for_each(|streams| streams.acked(waiter, window));
            }
            ClientEvent::Left { .. } => {
                self.lose();
                self.notices.push_back(Notice::Left);
            }
        }
        self.send_acks(link, now);
    }

    /// Ends all exchanges: the session or the namespace is lost.
    pub(super) fn lose(&mut self) {
        self.streams = None;
        for (_, open) in self.open.drain() {
            open.handler.abort();
        }
    }

    /// Emits one event that waits until the transport takes more. Returns false if there is none.
    pub(super) fn more(&mut self, link: &mut Link, now: Instant) -> bool {
        while let Some(turn) = self.streams.as_mut().and_then(Streams::next_turn) {
            if self.take_turn(turn.id, turn.room, link, now) {
                return true;
            }
        }
        false
    }

    /// Waits until a handler says something. Nothing is lost if this is dropped.
    pub(super) async fn wait(&self) {
        self.inbox.wait().await;
    }

    /// Does what handlers have said.
    pub(super) fn act(&mut self, link: &mut Link, now: Instant) {
        let inbox = Arc::clone(&self.inbox);
        while let Some(teller) = inbox.next() {
            for command in teller.take() {
                self.command(teller.id, command, link, now);
            }
        }
        self.send_acks(link, now);
    }

    /// Tells the server that no more requests are wanted.
    pub(super) fn leave(&self, link: &mut Link, now: Instant) {
        let mut event = Encoded::begin(&self.namespace, None, Vec::new(), Space::New(64));
        event.json().push_str("[\"leave\"]");
        let packet = event.finish();
        link.act(now, |connection, lower| connection.emit(packet, None, lower));
    }

    fn received(&mut self, args: &Args, attachments: &[Bytes], ack: Option<AckId>, link: &mut Link, now: Instant) {
        if let Some(received) = Received::decode(args, attachments) {
            let Some(streams) = &mut self.streams else { return };
            let effect = streams.received(received, ack);
            self.effect(effect, link, now);
        } else if let Some(request) = Request::decode(args, attachments) {
            match request {
                Ok(request) => self.begin(request, ack, link, now),
                Err(malformed) => self.warn(&malformed.to_string()),
            }
        } else if let Some(ready) = Ready::decode(args) {
            match ready {
                // It is said once, first of all.
                Ok(_) if self.streams.is_some() => self.warn("ready came twice"),
                Ok(ready) => {
                    self.streams = Some(Streams::new(ready.terms, MAX_WINDOW));
                    self.notices.push_back(Notice::Ready(Box::new(ready)));
                }
                Err(malformed) => self.warn(&malformed.to_string()),
            }
        } else if let Some(Ok(closing)) = Closing::decode(args)
            && !std::mem::replace(&mut self.has_said_closing, true)
        {
            self.notices.push_back(Notice::Closing(closing));
        }
    }

    fn warn(&mut self, what: &str) {
        self.warnings += 1;
        if self.warnings > MAX_WARNINGS {
            return;
        }
        self.notices.push_back(Notice::Warning(format!("the server breaks the protocol: {what}")));
    }

    fn begin(&mut self, request: Request, ack: Option<AckId>, link: &mut Link, now: Instant) {
        let Some(streams) = &mut self.streams else { return self.warn("a request came before ready") };
        let Some(id) = ExchangeId::parse(&request.id) else { return self.warn("a request's id is none") };
        let begin = request.stream.unwrap_or(Begin { is_streamed: false, is_upgrade: false, window: 0 });
        if !streams.begin(id, begin) {
            return self.warn("a request has the id of another");
        }
        if self.open.len() >= MAX_EXCHANGES {
            streams.abort(id);
            let message = Some(ByteString::from_static("the end serves too many requests"));
            return self.emit(id, &Event::Abort { code: AbortCode::LocalRefused, message }, None, link, now);
        }
        let (parts, to_read) = mpsc::channel(MAX_PARTS);
        let teller = Teller::new(id, &self.inbox);
        let body = BodyReader { parts: to_read, teller: Arc::clone(&teller), has_starved: false, keeping: None };
        let answer = Answering { teller: Arc::clone(&teller), is_answered: false };
        let handler = tokio::spawn((self.handler)(Visit { request, body, answer })).abort_handle();
        self.open.insert(id, Open { request: ack, parts, queue: VecDeque::new(), teller, handler });
    }

    fn effect(&mut self, effect: Effect, link: &mut Link, now: Instant) {
        match effect {
            Effect::Nothing => (),
            Effect::Content { id, content } => {
                let up = match content {
                    Content::Data { bytes, .. } => Up::Data(bytes),
                    Content::Message { part, more, .. } => Up::Message { part, more },
                    Content::End { trailers } => Up::End { trailers },
                    Content::Close { code, reason } => Up::Close { code, reason },
                };
                let is_content = matches!(up, Up::Data(_) | Up::Message { .. });
                // The handler may have dropped its reader: then it wants no more of the body.
                let is_unwanted = self.open.get(&id).is_none_or(|open| open.parts.try_send(up).is_err());
                if is_content && is_unwanted {
                    self.streams.iter_mut().for_each(|streams| streams.handed_on(id, false));
                }
                self.close_if_over(id);
            }
            Effect::Aborted { id, code, message } => {
                tracing::debug!(id = %id, code = %code, message = message.as_deref(), "the server has given a request up");
                self.give_up(id, code);
            }
            Effect::Breach { id, code, message } => {
                self.warn(message);
                self.give_up(id, code);
                self.emit(id, &Event::Abort { code, message: Some(message.into()) }, None, link, now);
            }
        }
    }

    /// Ends the handler of an exchange that is over.
    fn give_up(&mut self, id: ExchangeId, code: AbortCode) {
        if let Some(open) = self.open.remove(&id) {
            let _ = open.teller.aborted.set(code);
            open.handler.abort();
        }
    }

    fn command(&mut self, id: ExchangeId, command: Command, link: &mut Link, now: Instant) {
        let Some(streams) = &mut self.streams else { return };
        match command {
            Command::Ack(response) => {
                if streams.answer(id)
                    && let Some(ack) = self.open.get_mut(&id).and_then(|open| open.request.take())
                {
                    link.act(now, |connection, lower| connection.ack(ack, response.to_ack(), lower));
                }
                self.open.remove(&id);
            }
            Command::Head(response) => {
                if streams.respond(id, response.status.as_u16()) {
                    self.emit(id, &response.to_event(), None, link, now);
                }
            }
            Command::Queue(down) => {
                if let Some(open) = self.open.get_mut(&id) {
                    open.queue.push_back(down);
                    streams.offer(id);
                }
            }
            Command::HandedOn { has_starved } => streams.handed_on(id, has_starved),
            Command::Pull => {
                if streams.pull(id) {
                    self.emit(id, &Event::Pull, None, link, now);
                }
            }
            Command::Abort(code, message) => {
                if streams.abort(id) {
                    self.emit(id, &Event::Abort { code, message }, None, link, now);
                }
                self.open.remove(&id);
            }
        }
    }

    /// Sends the next event of an exchange. Returns false if it has none.
    fn take_turn(&mut self, id: ExchangeId, room: usize, link: &mut Link, now: Instant) -> bool {
        let (Some(open), Some(streams)) = (self.open.get_mut(&id), &mut self.streams) else { return false };
        let Some(first) = open.queue.pop_front() else { return false };
        let (event, sent) = match first {
            Down::Data(mut rest) => {
                let bytes = rest.split_to(rest.len().min(room));
                let is_last = rest.is_empty();
                if !is_last {
                    open.queue.push_front(Down::Data(rest));
                }
                open.teller.room.add_permits(bytes.len() + if is_last { PART_COST } else { 0 });
                let more = !open.queue.is_empty();
                let Some((offset, sent)) = streams.sent(id, bytes.len(), bytes.len() as u64, more) else {
                    return false;
                };
                (Event::Data { bytes, offset }, Some(sent))
            }
            Down::Message { part, more } => {
                let (part, rest) = split(part, room);
                let is_cut = rest.is_some();
                open.teller.room.add_permits(part.len() + if is_cut { 0 } else { PART_COST });
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
                (Event::End { total, trailers }, None)
            }
            Down::Close { code, reason } => {
                let Some(parts) = streams.finished(id) else { return false };
                (Event::Close { parts, code, reason }, None)
            }
        };
        self.emit(id, &event, sent, link, now);
        self.close_if_over(id);
        self.send_acks(link, now);
        true
    }

    fn emit(&mut self, id: ExchangeId, event: &Event, sent: Option<Sent>, link: &mut Link, now: Instant) {
        let Some(bytes_as) = self.streams.as_ref().map(|streams| streams.terms().bytes) else { return };
        let ack = sent.and_then(|_| AckId::new(self.next_ack));
        self.next_ack += u64::from(ack.is_some());
        let packet = event.encode(&id.to_string(), &self.namespace, ack, bytes_as);
        let awaited = sent.map(|waiter| Awaited { waiter, timeout: ACK_TIMEOUT });
        link.act(now, |connection, lower| connection.emit(packet, awaited, lower));
    }

    fn send_acks(&mut self, link: &mut Link, now: Instant) {
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

impl Drop for Exchanges {
    fn drop(&mut self) {
        self.lose();
    }
}

/// Reads what a server says when it does not let an end in (PROTOCOL.md, section 2).
fn refusal(data: &ByteString) -> Notice {
    let member = |object: &ByteString, name| {
        json::member(object, name).map(|text| json::unquote(&text).into_owned()).unwrap_or_default()
    };
    if json::Kind::of(data) == json::Kind::Object {
        let code = json::member(data, "data").map(|data| member(&data, "code")).unwrap_or_default();
        return Notice::Refused { code, message: member(data, "message") };
    }
    // Engine.IO 3: the code and the message in one text.
    let text = json::unquote(data).into_owned();
    match text.split_once(": ") {
        Some((code, message)) => Notice::Refused { code: code.to_owned(), message: message.to_owned() },
        None => Notice::Refused { code: String::new(), message: text },
    }
}
