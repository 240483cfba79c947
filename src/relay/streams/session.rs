//! The exchanges of one end that streams, on the task of its session.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use http::StatusCode;

use super::first::{First, Head, Said, Waiter};
use super::grants::Grants;
use super::message::{Closing, ToSession};
use super::stream::{Down, Receipt, Receipted, Stream};
use super::up::Up;
use crate::engine::{ClientEvent, Host, Reaction};
use crate::proto::exchange::headers::Origin;
use crate::proto::exchange::stream::server::{Begin, Effect, Owed, Streams};
use crate::proto::exchange::stream::{AbortCode, BytesAs, Event, Ready, Received, Terms, read_ack, write_ack};
use crate::proto::exchange::{ExchangeId, HeadLimits, Response, decode_trailers};
use crate::proto::socket_io::connection::{AckError, Answer, Awaited};
use crate::proto::socket_io::packet::Encoded;
use crate::proto::socket_io::{AckId, Namespace};
use crate::proto::time::Instant;

/// How long the ack of a request may take: for ever, as far as the session is concerned. The exchange itself gives up.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// What the task of an end's session is told.
#[derive(Debug)]
pub(in crate::relay) enum Message {
    /// A request for the end.
    Begin(Box<Beginning>),
    /// Something about a stream.
    Stream(ToSession),
    /// The session is about to be left, for this reason. What is not over after this time is broken off.
    Closing(Closing),
}

/// A request on its way to the task of an end's session.
#[derive(Debug)]
pub(in crate::relay) struct Beginning {
    pub(in crate::relay) event: Encoded,
    pub(in crate::relay) waiter: Waiter,
    pub(in crate::relay) said: Arc<Said>,
    pub(in crate::relay) stream: Arc<Stream>,
    pub(in crate::relay) begin: Begin,
    /// Whose origin the response is for.
    pub(in crate::relay) origin: Origin,
}

/// The exchanges of an end that streams.
#[derive(Debug)]
pub(in crate::relay) struct EndStreams {
    streams: Streams,
    open: HashMap<ExchangeId, Open>,
    limits: HeadLimits,
    grants: Arc<Grants>,
    /// What the end may be granted of all exchanges while it polls, in bytes.
    max_polled: usize,
    /// When all exchanges are broken off, and why.
    leaves: Option<(Instant, AbortCode)>,
}

/// An exchange that is not over.
#[derive(Debug)]
struct Open {
    stream: Arc<Stream>,
    /// The id of the request's ack, until something has come first.
    request: Option<AckId>,
    origin: Origin,
    said: Arc<Said>,
}

impl Open {
    /// Tells the visitor's task what has come first of the end, unless that was told before. An ack behind this, in the same POST, has
    /// taken the task already: its event follows, and tells this instead.
    fn answer<H: Host<Waiter = Waiter>>(&mut self, first: First, reaction: &mut Reaction<'_, H>) {
        let Some(request) = self.request.take() else { return };
        match reaction.cancel(request) {
            Some(waiter) => waiter.tell(first),
            None => self.said.keep(first),
        }
    }
}

impl EndStreams {
    pub(in crate::relay) fn new(terms: Terms, limits: HeadLimits, grants: Arc<Grants>) -> Self {
        Self { streams: Streams::new(terms), open: HashMap::new(), limits, grants, max_polled: 0, leaves: None }
    }

    /// Sends `ready`: the terms, the limits and the URLs of the tunnel.
    pub(in crate::relay) fn ready<H: Host>(
        &mut self,
        ready: &Ready,
        namespace: &Namespace,
        reaction: &mut Reaction<'_, H>,
    ) {
        self.max_polled = ready.max_payload / 2;
        self.note_grants(reaction);
        reaction.emit(ready.encode(namespace));
    }

    /// Sends a request to the end.
    pub(in crate::relay) fn begin<H: Host<Waiter = Waiter>>(
        &mut self,
        beginning: Beginning,
        reaction: &mut Reaction<'_, H>,
    ) {
        let Beginning { event, waiter, said, stream, begin, origin } = beginning;
        let id = stream.id();
        self.streams.begin(id, begin);
        reaction.hold();
        if !begin.is_streamed {
            stream.moved(true);
        }
        self.open.insert(id, Open { stream, request: event.id(), origin, said });
        reaction.ask(event, Awaited { waiter, timeout: FOR_EVER });
        self.note_grants(reaction);
    }

    /// Handles what an exchange's tasks tell.
    pub(in crate::relay) fn told<H: Host>(
        &mut self,
        told: ToSession,
        namespace: &Namespace,
        reaction: &mut Reaction<'_, H>,
    ) {
        match told {
            ToSession::Offer(id) => drop(self.streams.offer(id)),
            ToSession::HandedOn { id, owed: Owed { ack, cost }, has_starved } => {
                let worth = self.streams.handed_on(id, cost, has_starved);
                let raised = worth.filter(|&window| {
                    self.grants.left() >= window && self.open.get(&id).is_some_and(|open| open.stream.grow(window))
                });
                if let Some(window) = raised {
                    self.streams.raise(id, window);
                    self.note_grants(reaction);
                }
                acknowledge(ack, raised, reaction);
            }
            ToSession::Leave(id, code) => {
                if self.streams.abort(id, reaction.now())
                    && let Some(code) = code
                {
                    emit_abort(id, code, None, namespace, reaction);
                }
                self.close(id, reaction);
            }
        }
    }

    /// Handles an event of the end. Returns false if it is none of a stream.
    pub(in crate::relay) fn received<H: Host<Waiter = Waiter>>(
        &mut self,
        event: &ClientEvent,
        namespace: &Namespace,
        reaction: &mut Reaction<'_, H>,
    ) -> bool {
        let Some(received) = Received::decode(&event.args, &event.attachments) else { return false };
        match self.streams.received(received, event.id, reaction.now()) {
            Effect::Nothing | Effect::Pull(_) => (),
            Effect::Ack(ack) => acknowledge(ack, None, reaction),
            Effect::Head { id, status, headers } => self.head(id, status, &headers, namespace, reaction),
            Effect::Data { id, bytes, owed } => {
                let Some(Open { stream, .. }) = self.open.get(&id) else { return true };
                let receipt = Receipt::new(stream, owed, stream.is_starving());
                stream.give(Down::Data(Bytes::from_owner(Receipted { bytes, _receipt: receipt })));
            }
            Effect::Message { id, part, more, owed } => {
                let Some(Open { stream, .. }) = self.open.get(&id) else { return true };
                let receipt = Receipt::new(stream, owed, stream.is_starving());
                stream.give(Down::Message { part, more, receipt });
            }
            Effect::End { id, trailers } => {
                let trailers = trailers.and_then(|trailers| decode_trailers(&trailers, self.limits).ok());
                self.give(id, Down::End(trailers.unwrap_or_default()));
                self.close_if_over(id, reaction);
            }
            Effect::Close { id, code, reason } => {
                self.give(id, Down::Close { code, reason });
                self.close_if_over(id, reaction);
            }
            Effect::Aborted { id, code, message } => self.broken(id, code, message, reaction),
            Effect::Breach { id, code, message, ack } => {
                if let Some(ack) = ack {
                    acknowledge(ack, None, reaction);
                }
                emit_abort(id, code, Some(message.into()), namespace, reaction);
                self.broken(id, code, Some(message.into()), reaction);
            }
        }
        true
    }

    /// Hands the head of a response to the exchange, unless an ack came first.
    fn head<H: Host<Waiter = Waiter>>(
        &mut self,
        id: ExchangeId,
        status: u16,
        headers: &ByteString,
        namespace: &Namespace,
        reaction: &mut Reaction<'_, H>,
    ) {
        let Some(open) = self.open.get_mut(&id).filter(|open| !open.said.is_acked()) else { return };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        match Response::head(status, headers, self.limits, open.origin) {
            Ok((response, trailer)) => {
                // A response to HEAD and one without content have a length and no body; the source is told of these.
                if let Some(length) = response.declared_length
                    && status != StatusCode::SWITCHING_PROTOCOLS
                    && !open.stream.wants_no_body(status)
                {
                    self.streams.expect(id, length);
                }
                open.answer(First::Head(Head { response, trailer }), reaction);
            }
            Err(invalid) => {
                let message = ByteString::from(invalid.to_string());
                open.answer(First::InvalidHead(invalid), reaction);
                self.streams.abort(id, reaction.now());
                emit_abort(id, AbortCode::Protocol, Some(message), namespace, reaction);
                self.close(id, reaction);
            }
        }
    }

    /// Handles an ack of the end. Returns false if it answers no event of a stream.
    pub(in crate::relay) fn acked(&mut self, ack: AckId, outcome: &Result<Answer, AckError>) -> bool {
        let window = outcome.as_ref().ok().and_then(read_ack);
        let Some(acked) = self.streams.acked(ack, window) else { return false };
        if let Some(open) = self.open.get(&acked.id) {
            open.stream.moved(acked.is_through);
        }
        true
    }

    /// Sends what one exchange has for the end. `next_ack` gives ids for events. Returns false if nothing may be sent.
    pub(in crate::relay) fn more<H: Host>(
        &mut self,
        next_ack: impl Fn() -> AckId,
        namespace: &Namespace,
        reaction: &mut Reaction<'_, H>,
    ) -> bool {
        let now = reaction.now();
        let bytes_as = self.streams.terms().bytes;
        while let Some(turn) = self.streams.next_turn(now) {
            let taken = self.open.get(&turn.id).and_then(|open| Some((open.stream.take(turn.room)?, &open.stream)));
            let Some(((up, more), stream)) = taken else {
                continue;
            };
            let name = turn.id.to_string();
            let is_last = more && stream.is_at_end();
            match up {
                Up::Data(bytes) => {
                    let ack = next_ack();
                    let offset = self.streams.sent(turn.id, bytes.len(), bytes.len() as u64, ack, more);
                    reaction.emit(Event::Data { bytes, offset }.encode(&name, namespace, Some(ack), bytes_as));
                }
                Up::Message { part, more: more_parts } => {
                    let ack = next_ack();
                    let number = self.streams.sent(turn.id, part.len(), 1, ack, more);
                    let event = Event::Message { part, more: more_parts, number };
                    reaction.emit(event.encode(&name, namespace, Some(ack), bytes_as));
                }
                last @ (Up::End { .. } | Up::Close { .. }) => self.last(turn.id, last, namespace, reaction),
            }
            // The end needs no room, so it goes along with the last bytes.
            if is_last && let Some((last, _)) = self.open.get(&turn.id).and_then(|open| open.stream.take(0)) {
                self.last(turn.id, last, namespace, reaction);
            }
            return true;
        }
        false
    }

    /// Ends the direction to the end.
    fn last<H: Host>(&mut self, id: ExchangeId, last: Up, namespace: &Namespace, reaction: &mut Reaction<'_, H>) {
        let (total, is_through) = self.streams.finished(id, reaction.now());
        let event = match last {
            Up::End { trailers } => Event::End { total, trailers },
            Up::Close { code, reason } => Event::Close { parts: total, code, reason },
            Up::Data(_) | Up::Message { .. } => return,
        };
        reaction.emit(event.encode(&id.to_string(), namespace, None, self.streams.terms().bytes));
        if let Some(open) = self.open.get(&id) {
            open.stream.moved(is_through);
        }
        self.close_if_over(id, reaction);
    }

    /// Says that the session is about to be left, and sets the time for that.
    pub(in crate::relay) fn closing<H: Host>(
        &mut self,
        closing: Closing,
        namespace: &Namespace,
        reaction: &mut Reaction<'_, H>,
    ) {
        reaction.emit(closing.code().encode(namespace));
        self.leaves = match closing {
            Closing::TakenOver(time) => Some((reaction.now() + time, AbortCode::TakenOver)),
            Closing::Stopping(time) | Closing::Moving(time) => Some((reaction.now() + time, AbortCode::Stopping)),
            Closing::Expired | Closing::Deleted => None,
        };
    }

    /// Returns when [`Self::due`] must be called at the latest.
    pub(in crate::relay) fn deadline(&self) -> Option<Instant> {
        self.leaves.map(|(at, _)| at).filter(|_| !self.open.is_empty())
    }

    /// Does what is due.
    pub(in crate::relay) fn due<H: Host<Waiter = Waiter>>(
        &mut self,
        namespace: &Namespace,
        reaction: &mut Reaction<'_, H>,
    ) {
        let now = reaction.now();
        if let Some((_, code)) = self.leaves.take_if(|(at, _)| *at <= now) {
            for id in self.streams.open().collect::<Vec<_>>() {
                self.streams.abort(id, now);
                emit_abort(id, code, None, namespace, reaction);
                self.broken(id, code, None, reaction);
            }
        }
    }

    fn give(&self, id: ExchangeId, down: Down) {
        if let Some(open) = self.open.get(&id) {
            open.stream.give(down);
        }
    }

    /// An exchange is over that should not be: its visitor is told, by an answer if there is none yet.
    fn broken<H: Host<Waiter = Waiter>>(
        &mut self,
        id: ExchangeId,
        code: AbortCode,
        message: Option<ByteString>,
        reaction: &mut Reaction<'_, H>,
    ) {
        let Some(open) = self.open.get_mut(&id) else { return };
        open.answer(First::Aborted(code, message), reaction);
        open.stream.break_off(code);
        self.close(id, reaction);
    }

    fn close_if_over<H: Host>(&mut self, id: ExchangeId, reaction: &mut Reaction<'_, H>) {
        if !self.streams.is_open(id) {
            self.close(id, reaction);
        }
    }

    /// Forgets an exchange that is over for the end, too.
    fn close<H: Host>(&mut self, id: ExchangeId, reaction: &mut Reaction<'_, H>) {
        let Some(Open { stream, request, .. }) = self.open.remove(&id) else { return };
        stream.stop_up();
        if let Some(request) = request {
            drop(reaction.cancel(request));
        }
        reaction.release();
        self.note_grants(reaction);
    }

    fn note_grants<H: Host>(&self, reaction: &Reaction<'_, H>) {
        self.grants.note(self.streams.granted(), reaction.transport(), self.max_polled);
    }
}

/// Acknowledges an event of the end, perhaps with a larger window.
fn acknowledge<H: Host>(ack: AckId, window: Option<usize>, reaction: &mut Reaction<'_, H>) {
    reaction.ack(ack, write_ack(window));
}

fn emit_abort<H: Host>(
    id: ExchangeId,
    code: AbortCode,
    message: Option<ByteString>,
    namespace: &Namespace,
    reaction: &mut Reaction<'_, H>,
) {
    let abort = Event::Abort { code, message };
    reaction.emit(abort.encode(&id.to_string(), namespace, None, BytesAs::Attachment));
}

impl Drop for EndStreams {
    fn drop(&mut self) {
        for (_, Open { stream, .. }) in mem::take(&mut self.open) {
            stream.break_off(AbortCode::LocalGone);
        }
    }
}
