//! The exchanges of one end, as the server sees them: what may be sent and received of each, and when each is over.
//!
//! ```text
//!             request                response           end, abort, a breach, the visitor gone
//!   (absent) ────────► down: Held ──────────► Open ──────────────────────────────────────────► over
//!                      up:   Held ──► Open ──► Ended         with 101 also: both directions ended
//!                             pull     the visitor's body ends
//! ```
//!
//! What is not acknowledged of an exchange that is over counts until it is, for a minute at most: it still waits at the end.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

pub use super::effect::Effect;
use super::event::{Event, Received};
pub use super::exchange::{Begin, Owed};
use super::exchange::{Breach, Exchange, Side, Stage, broken};
use super::options::Terms;
pub use super::turns::Turn;
use super::turns::{Place, Turns};
use super::{EVENT_COST, FIRST_WINDOW};
use crate::proto::exchange::ExchangeId;
use crate::proto::socket_io::AckId;
use crate::proto::time::Instant;
use crate::tables;

/// What a session may have sent and not acknowledged beyond the floors of its exchanges, in bytes.
const SHARED: usize = 16 << 20;

/// What the floors of all exchanges together come to, in bytes, while there are many.
const FLOORS: usize = 64 << 20;

/// How long what is unacknowledged of an exchange that is over counts.
const UNACKED_FOR: Duration = Duration::from_secs(60);

/// What an ack of the end was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acked {
    /// The exchange.
    pub id: ExchangeId,
    /// The whole request has been handed on.
    pub is_through: bool,
}

/// What the exchanges of a session have sent and not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// The exchanges that are open, or over and not acknowledged in full.
    pub exchanges: usize,
    /// The events that are not acknowledged.
    pub events: usize,
    /// What may be unacknowledged of each exchange whatever the others have sent, in bytes.
    pub floor: usize,
    /// What is unacknowledged beyond the floors, in bytes.
    pub shared: usize,
}

/// The exchanges of one end.
#[derive(Debug)]
pub struct Streams {
    terms: Terms,
    exchanges: HashMap<ExchangeId, Served>,
    /// Events that the end has not acknowledged, and their costs.
    unacked: HashMap<AckId, (ExchangeId, usize)>,
    turns: Turns,
    /// What may be unacknowledged of each exchange whatever the others have sent, in bytes.
    floor: usize,
    /// What is unacknowledged beyond the floors, in bytes.
    shared: usize,
    /// The windows of all exchanges together, in bytes.
    granted: usize,
    /// What is unacknowledged of the exchanges that are over, in bytes.
    left: HashMap<ExchangeId, usize>,
    /// Until when that counts.
    over: VecDeque<(Instant, ExchangeId)>,
}

/// An exchange that is not over.
#[derive(Debug)]
struct Served {
    exchange: Exchange,
    /// How many bytes of body the response announced.
    length: Option<u64>,
}

impl Streams {
    /// Returns the exchanges of an end that has just joined: none.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            exchanges: HashMap::new(),
            unacked: HashMap::new(),
            turns: Turns::default(),
            floor: FIRST_WINDOW,
            shared: 0,
            granted: 0,
            left: HashMap::new(),
            over: VecDeque::new(),
        }
    }

    /// Returns what holds between the server and the end.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// Returns whether no exchange is open.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.exchanges.is_empty()
    }

    /// Returns the ids of all exchanges that are not over.
    pub fn open(&self) -> impl Iterator<Item = ExchangeId> {
        self.exchanges.keys().copied()
    }

    /// Returns whether an exchange has begun and is not over.
    #[must_use]
    pub fn is_open(&self, id: ExchangeId) -> bool {
        self.exchanges.contains_key(&id)
    }

    /// Returns what the exchanges have sent and not acknowledged.
    #[must_use]
    pub fn load(&self) -> Load {
        Load {
            exchanges: self.exchanges.len() + self.left.len(),
            events: self.unacked.len(),
            floor: self.floor,
            shared: self.shared,
        }
    }

    /// Begins an exchange, whose request is about to be sent.
    pub fn begin(&mut self, id: ExchangeId, begin: Begin) {
        self.granted += begin.window;
        self.exchanges.insert(id, Served { exchange: Exchange::new(Side::Server, self.terms, begin), length: None });
        self.set_floor();
    }

    /// Notes how many bytes of body the response has announced. More or fewer break the protocol.
    pub fn expect(&mut self, id: ExchangeId, length: u64) {
        if let Some(served) = self.exchanges.get_mut(&id) {
            served.length = Some(length);
        }
    }

    /// Handles an event of the end. `ack` is the id under which the event is to be acknowledged.
    pub fn received(&mut self, received: Received, ack: Option<AckId>, now: Instant) -> Effect {
        let found = ExchangeId::parse(&received.id).and_then(|id| Some((id, self.exchanges.get_mut(&id)?)));
        let Some((id, served)) = found else { return ack.map_or(Effect::Nothing, Effect::Ack) };
        let websocket = self.terms.websocket;
        let took = match received.event.map_err(Breach::from) {
            Ok(event) => served.received(id, event, ack, websocket),
            Err(breach) => Err(breach),
        };
        let effect = took.unwrap_or_else(|Breach { code, message }| Effect::Breach { id, code, message, ack });
        match &effect {
            Effect::Aborted { .. } | Effect::Breach { .. } => self.end(id, now),
            Effect::End { .. } | Effect::Close { .. } if served.exchange.is_complete() => self.end(id, now),
            // What waits for this may be sent now.
            Effect::Pull(_) | Effect::Head { .. } => {
                self.turns.enter(id, &mut served.exchange.place, Place::Blocked);
            }
            Effect::End { .. }
            | Effect::Close { .. }
            | Effect::Nothing
            | Effect::Ack(_)
            | Effect::Data { .. }
            | Effect::Message { .. } => (),
        }
        effect
    }

    /// Notes that an event of the end was handed on, and is acknowledged now. Returns the window that would keep the visitor
    /// busy, see [`Receiving::handed_on`](super::Receiving::handed_on).
    pub fn handed_on(&mut self, id: ExchangeId, cost: usize, has_starved: bool) -> Option<usize> {
        self.exchanges.get_mut(&id)?.exchange.receiving.handed_on(cost, has_starved)
    }

    /// Allows the end to send more of an exchange. The memory is reserved.
    pub fn raise(&mut self, id: ExchangeId, window: usize) {
        if let Some(served) = self.exchanges.get_mut(&id) {
            self.granted -= served.exchange.receiving.window();
            served.exchange.receiving.raise(window);
            self.granted += served.exchange.receiving.window();
        }
    }

    /// Returns what all exchanges may be sent by the end and not acknowledge, in bytes.
    #[must_use]
    pub fn granted(&self) -> usize {
        self.granted
    }

    /// Notes that an exchange has something to send. Returns false if it is over.
    pub fn offer(&mut self, id: ExchangeId) -> bool {
        let Some(Served { exchange, .. }) = self.exchanges.get_mut(&id) else { return false };
        self.turns.enter(id, &mut exchange.place, Place::Idle);
        true
    }

    /// Returns whose turn it is to send, and how much. [`Self::sent`] or
    /// [`Self::finished`] follows; an exchange that sends nothing waits for [`Self::offer`].
    pub fn next_turn(&mut self, now: Instant) -> Option<Turn> {
        self.expire(now);
        while let Some(id) = self.turns.next() {
            let Some(Served { exchange, .. }) = self.exchanges.get_mut(&id) else { continue };
            if *exchange.outgoing() != Stage::Open {
                exchange.place = Place::Blocked;
                continue;
            }
            let most = self.floor.max(SHARED.saturating_sub(self.shared));
            let room = exchange.sending.room(most);
            if room > 0 {
                exchange.place = Place::Idle;
                return Some(Turn { id, room });
            }
            // Something of its own is unacknowledged, or there were room: so its own ack wakes it, whatever others do.
            exchange.place = Place::Blocked;
        }
        None
    }

    /// Notes that the exchange whose turn it was has sent this many bytes, a step of its position. `more` waits to be sent.
    /// Returns the position in front of them.
    pub fn sent(&mut self, id: ExchangeId, bytes: usize, step: u64, ack: AckId, more: bool) -> u64 {
        let Some(Served { exchange, .. }) = self.exchanges.get_mut(&id) else { return 0 };
        let before = exchange.sending.unacked();
        let position = exchange.sending.sent(bytes, step);
        self.unacked.insert(ack, (id, bytes + EVENT_COST));
        self.shared += beyond(self.floor, exchange.sending.unacked()) - beyond(self.floor, before);
        if more {
            self.turns.enter(id, &mut exchange.place, Place::Idle);
        }
        position
    }

    /// Notes that the direction to the end is complete. Returns how many bytes or parts it had, and whether all of them are
    /// acknowledged.
    pub fn finished(&mut self, id: ExchangeId, now: Instant) -> (u64, bool) {
        let Some(Served { exchange, .. }) = self.exchanges.get_mut(&id) else { return (0, false) };
        *exchange.outgoing() = Stage::Ended;
        self.turns.leave(id, &mut exchange.place);
        let (total, is_through) = (exchange.sending.position(), exchange.sending.unacked() == 0);
        if exchange.is_complete() {
            self.end(id, now);
        }
        (total, is_through)
    }

    /// Notes an ack of the end, perhaps with another window. Returns `None` if it answers no event of these exchanges.
    pub fn acked(&mut self, ack: AckId, window: Option<u64>) -> Option<Acked> {
        let (id, cost) = self.unacked.remove(&ack)?;
        tables::shrink(&mut self.unacked);
        let is_through = match self.exchanges.get_mut(&id) {
            Some(Served { exchange, .. }) => {
                let before = exchange.sending.unacked();
                exchange.sending.acked(cost, window);
                let after = exchange.sending.unacked();
                self.shared -= beyond(self.floor, before) - beyond(self.floor, after);
                self.turns.enter(id, &mut exchange.place, Place::Blocked);
                *exchange.outgoing() == Stage::Ended && after == 0
            }
            None => {
                self.acked_of_over(id, cost);
                false
            }
        };
        Some(Acked { id, is_through })
    }

    fn acked_of_over(&mut self, id: ExchangeId, cost: usize) {
        let Some(unacked) = self.left.get_mut(&id) else { return };
        let before = std::mem::replace(unacked, unacked.saturating_sub(cost));
        self.shared -= beyond(self.floor, before) - beyond(self.floor, *unacked);
        if *unacked == 0 {
            self.left.remove(&id);
            self.set_floor();
        }
    }

    /// Ends an exchange. Returns false if it was over.
    pub fn abort(&mut self, id: ExchangeId, now: Instant) -> bool {
        let is_open = self.is_open(id);
        self.end(id, now);
        is_open
    }

    /// Forgets what is unacknowledged of exchanges that have been over for long enough. [`Self::next_turn`] does this too, which is
    /// soon enough: until then nobody waits for the room.
    pub fn expire(&mut self, now: Instant) {
        let mut has_expired = false;
        while let Some(&(until, id)) = self.over.front()
            && until <= now
        {
            tables::take_first(&mut self.over);
            if let Some(unacked) = self.left.remove(&id) {
                self.shared -= beyond(self.floor, unacked);
                has_expired = true;
            }
        }
        if has_expired {
            let (exchanges, left) = (&self.exchanges, &self.left);
            self.unacked.retain(|_, (of, _)| exchanges.contains_key(of) || left.contains_key(of));
            self.set_floor();
        }
    }

    fn end(&mut self, id: ExchangeId, now: Instant) {
        let Some(Served { mut exchange, .. }) = self.exchanges.remove(&id) else { return };
        tables::shrink(&mut self.exchanges);
        self.granted -= exchange.receiving.window();
        self.turns.leave(id, &mut exchange.place);
        let unacked = exchange.sending.unacked();
        if unacked > 0 {
            self.left.insert(id, unacked);
            self.over.push_back((now + UNACKED_FOR, id));
        } else {
            self.set_floor();
        }
    }

    /// Sets the floor for the present number of exchanges, and counts anew what is beyond it.
    fn set_floor(&mut self) {
        let count = self.exchanges.len() + self.left.len();
        let floor = (FLOORS / count.max(1)).clamp(self.terms.chunk.min(FIRST_WINDOW), FIRST_WINDOW);
        if floor != self.floor {
            self.floor = floor;
            let open = self.exchanges.values().map(|served| served.exchange.sending.unacked());
            self.shared = open.chain(self.left.values().copied()).map(|unacked| beyond(floor, unacked)).sum();
        }
    }
}

/// Returns what is unacknowledged of an exchange beyond its floor.
fn beyond(floor: usize, unacked: usize) -> usize {
    unacked.saturating_sub(floor)
}

impl Served {
    fn received(
        &mut self,
        id: ExchangeId,
        event: Event,
        ack: Option<AckId>,
        websocket: super::WebSocketAs,
    ) -> Result<Effect, Breach> {
        let exchange = &mut self.exchange;
        match event {
            Event::Response { status, headers } => {
                exchange.answer(status)?;
                Ok(Effect::Head { id, status, headers })
            }
            Event::Pull => {
                exchange.pull();
                Ok(Effect::Pull(id))
            }
            Event::Abort { code, message } => Ok(Effect::Aborted { id, code, message }),
            event @ (Event::Data { .. } | Event::Message { .. } | Event::End { .. } | Event::Close { .. }) => {
                let content = exchange.take(event, ack, websocket)?;
                self.check_length()?;
                Ok(Effect::of(id, content))
            }
        }
    }

    /// Checks that the body has no more bytes than the response has announced and, where it is complete, no fewer.
    fn check_length(&self) -> Result<(), Breach> {
        let Some(length) = self.length else { return Ok(()) };
        let position = self.exchange.receiving.position();
        if position > length {
            return broken("the response has more bytes than its content-length");
        }
        if position < length && self.exchange.has_received_all() {
            return broken("the response has fewer bytes than its content-length");
        }
        Ok(())
    }
}
