//! The exchanges of one end, as the end sees them: what may be sent and received of each, which acks are due, and when each is over.
//!
//! ```text
//!             request                  respond            finished, abort, a breach, the server's abort
//!   (absent) ────────► response: Held ─────────► Open ──────────────────────────────────────────────────► (absent)
//!                      request:  Held ─────────► Open ──► Ended    after a 101: both directions ended
//!                                       pull     end, close
//! ```
//!
//! What the end has sent is acknowledged to whatever waits for the ack, see [`Sent`]. What it has received is acknowledged by
//! [`Streams::next_ack`], exactly once: when it was handed on, or when its exchange is over. With the session or the namespace
//! all exchanges are over at once: their owner drops this value, and what it says of an exchange with a new one means nothing.

use std::collections::{HashMap, VecDeque};

use bytestring::ByteString;

use super::MAX_WINDOW;
use super::abort::AbortCode;
use super::event::{Event, Received};
use super::exchange::{Begin, Breach, Content, Exchange, Owed, Side, Stage};
use super::options::Terms;
use super::turns::{Place, Turn, Turns};
use crate::proto::exchange::ExchangeId;
use crate::proto::socket_io::AckId;
use crate::tables;

/// What a server's event leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: the exchange is unknown or over.
    Nothing,
    /// A part of the request, or of what the visitor sends after a 101.
    Content {
        /// The exchange.
        id: ExchangeId,
        /// The part. [`Streams::handed_on`] acknowledges it.
        content: Content,
    },
    /// The server gives the exchange up. It is over.
    Aborted {
        /// The exchange.
        id: ExchangeId,
        /// Why.
        code: AbortCode,
        /// Words for a person.
        message: Option<ByteString>,
    },
    /// The server has broken the protocol. The exchange is over, and the server is to be told.
    Breach {
        /// The exchange.
        id: ExchangeId,
        /// Which rule.
        code: AbortCode,
        /// What was wrong.
        message: &'static str,
    },
}

/// An ack that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The id of the event that is acknowledged.
    pub id: AckId,
    /// The window from now on, in bytes, where it has grown.
    pub window: Option<usize>,
}

/// What waits for the ack of an event that was sent: [`Streams::acked`] takes it once the ack has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    id: ExchangeId,
    cost: usize,
}

/// The exchanges of one end.
#[derive(Debug)]
pub struct Streams {
    terms: Terms,
    max_window: usize,
    exchanges: HashMap<ExchangeId, Asked>,
    turns: Turns,
    acks: VecDeque<Ack>,
}

/// An exchange that is not over.
#[derive(Debug)]
struct Asked {
    exchange: Exchange,
    /// What was received and not handed on, in order.
    owed: VecDeque<Owed>,
}

impl Streams {
    /// Returns the exchanges of an end that was told by `ready` what holds: none. A request's window may grow to `max_window` bytes,
    /// at most [`MAX_WINDOW`], where its taker starves.
    #[must_use]
    pub fn new(terms: Terms, max_window: usize) -> Self {
        let max_window = max_window.min(MAX_WINDOW);
        Self { terms, max_window, exchanges: HashMap::new(), turns: Turns::default(), acks: VecDeque::new() }
    }

    /// Returns what holds between the server and the end.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// Returns the ids of all exchanges that are not over.
    pub fn open(&self) -> impl Iterator<Item = ExchangeId> {
        self.exchanges.keys().copied()
    }

    /// Returns whether an exchange is not over.
    #[must_use]
    pub fn is_open(&self, id: ExchangeId) -> bool {
        self.exchanges.contains_key(&id)
    }

    /// Begins an exchange, whose request has come. Returns false if there is one of this id.
    pub fn begin(&mut self, id: ExchangeId, begin: Begin) -> bool {
        let is_new = !self.is_open(id);
        if is_new {
            let exchange = Exchange::new(Side::End, self.terms, begin);
            self.exchanges.insert(id, Asked { exchange, owed: VecDeque::new() });
        }
        is_new
    }

    /// Handles an event of the server. `ack` is the id under which the event is to be acknowledged.
    pub fn received(&mut self, received: Received, ack: Option<AckId>) -> Effect {
        let found = ExchangeId::parse(&received.id).and_then(|id| Some((id, self.exchanges.get_mut(&id)?)));
        let Some((id, Asked { exchange, owed })) = found else {
            self.acks.extend(ack.map(|id| Ack { id, window: None }));
            return Effect::Nothing;
        };
        let taken = match received.event {
            Ok(Event::Abort { code, message }) => {
                self.end(id);
                return Effect::Aborted { id, code, message };
            }
            Ok(event) => exchange.take(event, ack, self.terms.websocket),
            Err(malformed) => Err(malformed.into()),
        };
        match taken {
            Ok(content) => {
                if let Content::Data { owed: new, .. } | Content::Message { owed: new, .. } = &content {
                    owed.push_back(*new);
                }
                if exchange.is_complete() {
                    self.end(id);
                }
                Effect::Content { id, content }
            }
            Err(Breach { code, message }) => {
                self.end(id);
                self.acks.extend(ack.map(|id| Ack { id, window: None }));
                Effect::Breach { id, code, message }
            }
        }
    }

    /// Notes that the first event that was received and not handed on has been handed on now. `has_starved` tells whether its taker
    /// had to wait for it, see [`Receiving::handed_on`](super::Receiving::handed_on). An exchange that is over owes nothing.
    pub fn handed_on(&mut self, id: ExchangeId, has_starved: bool) {
        let Some(Asked { exchange, owed }) = self.exchanges.get_mut(&id) else { return };
        let Some(Owed { ack, cost }) = owed.pop_front() else { return };
        let receiving = &mut exchange.receiving;
        let worth = receiving.handed_on(cost, has_starved).map(|window| window.min(self.max_window));
        let window = worth.filter(|window| *window > receiving.window());
        window.into_iter().for_each(|window| receiving.raise(window));
        self.acks.push_back(Ack { id: ack, window });
    }

    /// Returns the next ack that is due. It goes out before any `data`.
    pub fn next_ack(&mut self) -> Option<Ack> {
        tables::take_first(&mut self.acks)
    }

    /// Lets the body of a request come that waits for `pull`. Returns whether `pull` is to be sent.
    pub fn pull(&mut self, id: ExchangeId) -> bool {
        self.exchanges.get_mut(&id).is_some_and(|Asked { exchange, .. }| exchange.pull())
    }

    /// Notes that the whole answer is about to be sent as the ack of the request. The exchange is over. Returns false if it was, or
    /// if its head was sent.
    pub fn answer(&mut self, id: ExchangeId) -> bool {
        let awaits = self.exchanges.get(&id).is_some_and(|Asked { exchange, .. }| exchange.is_unanswered());
        if awaits {
            self.end(id);
        }
        awaits
    }

    /// Notes that `response` is about to be sent. A status of 101 opens a connection that the visitor has asked for. Returns false
    /// if `response` cannot be sent: the exchange is over, its head was sent, or the status cannot be that of a head.
    pub fn respond(&mut self, id: ExchangeId, status: u16) -> bool {
        let Some(Asked { exchange, .. }) = self.exchanges.get_mut(&id) else { return false };
        let is_sent = exchange.answer(status).is_ok();
        if is_sent {
            self.turns.enter(id, &mut exchange.place, Place::Blocked);
        }
        is_sent
    }

    /// Notes that an exchange has something to send. Returns false if it is over.
    pub fn offer(&mut self, id: ExchangeId) -> bool {
        let Some(Asked { exchange, .. }) = self.exchanges.get_mut(&id) else { return false };
        self.turns.enter(id, &mut exchange.place, Place::Idle);
        true
    }

    /// Returns whose turn it is to send, and how much. [`Self::sent`] or
    /// [`Self::finished`] follows; an exchange that sends nothing waits for [`Self::offer`].
    pub fn next_turn(&mut self) -> Option<Turn> {
        while let Some(id) = self.turns.next() {
            let Some(Asked { exchange, .. }) = self.exchanges.get_mut(&id) else { continue };
            let is_open = *exchange.outgoing() == Stage::Open;
            let room = if is_open { exchange.sending.room(usize::MAX) } else { 0 };
            if room > 0 {
                exchange.place = Place::Idle;
                return Some(Turn { id, room });
            }
            exchange.place = Place::Blocked;
        }
        None
    }

    /// Notes that the exchange whose turn it was has sent this many bytes, a step of its position. `more` waits to be sent.
    /// Returns the position in front of them, and what waits for the ack. Returns `None` if the exchange is over.
    pub fn sent(&mut self, id: ExchangeId, bytes: usize, step: u64, more: bool) -> Option<(u64, Sent)> {
        let Asked { exchange, .. } = self.exchanges.get_mut(&id)?;
        let before = exchange.sending.unacked();
        let position = exchange.sending.sent(bytes, step);
        let cost = exchange.sending.unacked() - before;
        if more {
            self.turns.enter(id, &mut exchange.place, Place::Idle);
        }
        Some((position, Sent { id, cost }))
    }

    /// Notes that `end` or `close` is about to be sent, behind all that the exchange has sent. It is over, unless the visitor's
    /// direction of an upgraded connection goes on. Returns how many bytes or parts this direction had, or `None` if it is not open.
    pub fn finished(&mut self, id: ExchangeId) -> Option<u64> {
        let Asked { exchange, .. } = self.exchanges.get_mut(&id)?;
        if *exchange.outgoing() != Stage::Open {
            return None;
        }
        *exchange.outgoing() = Stage::Ended;
        self.turns.leave(id, &mut exchange.place);
        let total = exchange.sending.position();
        if exchange.is_complete() {
            self.end(id);
        }
        Some(total)
    }

    /// Notes an ack of the server, perhaps with another window.
    pub fn acked(&mut self, Sent { id, cost }: Sent, window: Option<u64>) {
        if let Some(Asked { exchange, .. }) = self.exchanges.get_mut(&id) {
            exchange.sending.acked(cost, window);
            self.turns.enter(id, &mut exchange.place, Place::Blocked);
        }
    }

    /// Notes that `abort` is about to be sent. The exchange is over. Returns false if it was.
    pub fn abort(&mut self, id: ExchangeId) -> bool {
        self.end(id)
    }

    /// Forgets an exchange, and acknowledges what was received of it and not handed on.
    fn end(&mut self, id: ExchangeId) -> bool {
        let Some(Asked { mut exchange, owed }) = self.exchanges.remove(&id) else { return false };
        tables::shrink(&mut self.exchanges);
        self.turns.leave(id, &mut exchange.place);
        self.acks.extend(owed.into_iter().map(|Owed { ack, .. }| Ack { id: ack, window: None }));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::exchange::stream::{Asked as Wanted, EVENT_COST, Part, WebSocketAs};

    const ID: ExchangeId = ExchangeId { process: 1, number: 2 };

    fn terms(wanted: Wanted) -> Terms {
        Terms::settle(Wanted { chunk: 1000, window: 4000, ..wanted }, 16 << 20)
    }

    fn streams(wanted: Wanted, begin: Begin) -> Streams {
        let mut streams = Streams::new(terms(wanted), 10_000);
        assert!(streams.begin(ID, begin) && !streams.begin(ID, begin));
        streams
    }

    const UPLOAD: Begin = Begin { is_streamed: true, is_upgrade: false, window: 4000 };
    const UPGRADE: Begin = Begin { is_streamed: false, is_upgrade: true, window: 4000 };

    fn event(event: Event) -> Received {
        Received { id: ID.to_string().into(), event: Ok(event) }
    }

    fn data(bytes: usize, offset: u64) -> Received {
        event(Event::Data { bytes: vec![0; bytes].into(), offset })
    }

    fn ack(number: u64) -> Option<AckId> {
        AckId::new(number)
    }

    fn acks(streams: &mut Streams) -> Vec<(u64, Option<usize>)> {
        std::iter::from_fn(|| streams.next_ack()).map(|Ack { id, window }| (id.number(), window)).collect()
    }

    #[test]
    fn each_event_is_acknowledged_once_whatever_becomes_of_its_exchange() {
        type Ending = fn(&mut Streams) -> bool;
        let endings: [Ending; 6] = [
            |streams| streams.abort(ID),
            |streams| streams.answer(ID),
            |streams| streams.respond(ID, 200) && streams.finished(ID) == Some(0),
            |streams| {
                let abort = Event::Abort { code: AbortCode::VisitorGone, message: None };
                matches!(streams.received(event(abort), None), Effect::Aborted { .. })
            },
            |streams| matches!(streams.received(event(Event::Pull), None), Effect::Breach { .. }),
            |streams| {
                let malformed = Received { id: ID.to_string().into(), event: Err(super::super::Malformed("")) };
                matches!(streams.received(malformed, None), Effect::Breach { .. })
            },
        ];
        for ending in endings {
            let mut streams = streams(Wanted::default(), UPLOAD);
            for number in 0..3 {
                let taken = streams.received(data(10, 10 * number), ack(number));
                assert!(matches!(taken, Effect::Content { id: ID, content: Content::Data { .. } }), "{taken:?}");
            }
            streams.handed_on(ID, false);
            assert_eq!(acks(&mut streams), [(0, None)]);
            assert!(ending(&mut streams));
            assert_eq!(acks(&mut streams), [(1, None), (2, None)]);
            assert_eq!(streams.received(data(10, 30), ack(3)), Effect::Nothing);
            assert_eq!(acks(&mut streams), [(3, None)], "the exchange is over");
            streams.handed_on(ID, false);
            assert!(!streams.abort(ID) && !streams.answer(ID) && !streams.respond(ID, 200) && !streams.offer(ID));
            assert!(streams.finished(ID).is_none() && streams.sent(ID, 1, 1, false).is_none() && !streams.pull(ID));
            assert!(acks(&mut streams).is_empty() && streams.open().next().is_none());
        }
    }

    #[test]
    fn what_breaks_the_protocol_ends_the_exchange_and_is_acknowledged_too() {
        let text = || Event::Message { part: Part::Text("a".into()), more: false, number: 0 };
        let end = |total| Event::End { total, trailers: None };
        let pulled = Wanted { pull: true, ..Wanted::default() };
        for (wanted, begin, sent, code) in [
            (Wanted::default(), UPLOAD, data(1001, 0).event.unwrap(), AbortCode::ChunkTooLarge),
            (Wanted::default(), UPLOAD, data(1, 1).event.unwrap(), AbortCode::OutOfOrder),
            (Wanted::default(), UPLOAD, end(1), AbortCode::OutOfOrder),
            (Wanted::default(), UPLOAD, text(), AbortCode::Protocol),
            (pulled, UPLOAD, data(1, 0).event.unwrap(), AbortCode::Protocol),
            (Wanted::default(), UPGRADE, data(1, 0).event.unwrap(), AbortCode::Protocol),
            (Wanted::default(), UPLOAD, Event::Response { status: 200, headers: "{}".into() }, AbortCode::Protocol),
        ] {
            let mut streams = streams(wanted, begin);
            let effect = streams.received(event(sent), ack(7));
            assert!(matches!(effect, Effect::Breach { id: ID, code: is, .. } if is == code), "{effect:?}");
            assert_eq!(acks(&mut streams), [(7, None)]);
        }
        let mut streams = streams(Wanted::default(), UPLOAD);
        for number in 0..3 {
            streams.received(data(1000, 1000 * number), ack(number));
        }
        let effect = streams.received(data(1000, 3000), ack(3));
        assert!(matches!(effect, Effect::Breach { code: AbortCode::WindowExceeded, .. }), "{effect:?}");
        assert_eq!(acks(&mut streams).len(), 4);
    }

    #[test]
    fn a_starving_taker_gets_a_larger_window_up_to_the_ends_limit() {
        let mut streams = streams(Wanted::default(), UPLOAD);
        let mut told = Vec::new();
        for number in 0..60 {
            streams.received(data(1000 - EVENT_COST, number * 744), ack(number));
            streams.handed_on(ID, true);
            told.extend(acks(&mut streams).into_iter().filter_map(|(_, window)| window));
        }
        assert_eq!(told, [8000, 10_000]);
    }

    #[test]
    fn exchanges_take_turns_and_wait_for_the_head_and_for_acks() {
        let mut streams = Streams::new(terms(Wanted::default()), 0);
        let ids: Vec<_> = (0..3).map(|number| ExchangeId { process: 0, number }).collect();
        for &id in &ids {
            streams.begin(id, Begin { window: 3000, ..UPLOAD });
            assert!(streams.offer(id) && streams.offer(id));
        }
        assert_eq!(streams.next_turn(), None, "no head was sent");
        ids.iter().for_each(|id| assert!(streams.respond(*id, 200) && !streams.respond(*id, 200)));
        let mut sent = Vec::new();
        while let Some(Turn { id, room }) = streams.next_turn() {
            let (position, waits) = streams.sent(id, room, room as u64, true).unwrap();
            sent.push((id.number, position, room, waits));
        }
        let shown: Vec<_> = sent.iter().map(|(number, position, room, _)| (*number, *position, *room)).collect();
        let round = |position, room| [(0, position, room), (1, position, room), (2, position, room)];
        assert_eq!(shown, [round(0, 1000), round(1000, 1000), round(2000, 232)].concat());
        streams.acked(sent[1].3, None);
        assert_eq!(streams.next_turn(), Some(Turn { id: ids[1], room: 1000 }));
        assert_eq!(streams.next_turn(), None, "it has nothing to send");
        streams.acked(sent[0].3, Some(1 << 20));
        assert_eq!(streams.next_turn().map(|turn| turn.id), Some(ids[0]));
        assert_eq!(streams.finished(ids[0]), Some(2232));
        streams.acked(sent[3].3, None);
        assert_eq!(streams.open().count(), 2, "an ack of an exchange that is over means nothing");
    }

    #[test]
    fn a_101_opens_both_directions_and_each_ends_by_itself() {
        let message = Event::Message { part: Part::Text("abc".into()), more: false, number: 0 };
        let close = Event::Close { parts: 1, code: 1000, reason: "".into() };
        for (websocket, first, end) in [
            (WebSocketAs::Raw, data(3, 0), Event::End { total: 3, trailers: None }),
            (WebSocketAs::Messages, event(message), close),
        ] {
            let mut streams = streams(Wanted { websocket, ..Wanted::default() }, UPGRADE);
            assert!(streams.respond(ID, 101));
            assert!(matches!(streams.received(first, ack(0)), Effect::Content { .. }));
            assert_eq!(streams.finished(ID), Some(0));
            assert!(streams.is_open(ID), "the visitor may go on");
            assert!(acks(&mut streams).is_empty());
            assert!(matches!(streams.received(event(end), None), Effect::Content { .. }));
            assert!(!streams.is_open(ID));
            assert_eq!(acks(&mut streams), [(0, None)]);
        }
        let mut streams = streams(Wanted::default(), UPLOAD);
        assert!(!streams.respond(ID, 101), "nobody has asked for it");
        assert!(!streams.respond(ID, 100) && streams.respond(ID, 200));
    }

    #[test]
    fn a_body_that_waits_for_pull_is_pulled_once() {
        let mut streams = streams(Wanted { pull: true, ..Wanted::default() }, UPLOAD);
        assert!(streams.pull(ID) && !streams.pull(ID));
        assert!(matches!(streams.received(data(1, 0), ack(0)), Effect::Content { .. }));
    }
}
