//! What happens at the server, and what visitors do.

use super::checks::SHARED;
use super::{Packet, Sending, World, id, index};
use crate::proto::exchange::stream::server::Effect;
use crate::proto::exchange::stream::{AbortCode, Event, MAX_WINDOW, Part, Turn, read_ack, write_ack};
use crate::proto::socket_io::AckId;

impl World {
    pub(super) fn visitor_acts(&mut self, index: usize, choice: u8) {
        let amount = usize::from(choice >> 3);
        let exchange = &mut self.exchanges[index];
        match choice % 8 {
            action @ (0 | 1 | 7) => self.offer_request(index, action, amount),
            2 => self.end_request(index),
            3 | 4 if !exchange.visitor_stalls => {
                self.hand_on_at_server(index, amount + 1, choice % 8 == 3);
            }
            3 | 4 => (),
            5 => self.abort_at_server(index, AbortCode::VisitorGone),
            _ => exchange.visitor_stalls = amount.is_multiple_of(2),
        }
    }

    fn offer_request(&mut self, index: usize, action: u8, amount: usize) {
        let exchange = &mut self.exchanges[index];
        let has_body = exchange.begin.is_streamed || exchange.begin.is_upgrade;
        let unit = exchange.unit(self.terms.chunk);
        let half = &mut exchange.request;
        if !has_body || exchange.is_over_at_server || half.is_ending || half.waiting > 64 * unit {
            return;
        }
        match action {
            0 => half.waiting += amount,
            1 => half.waiting += amount * unit,
            _ => half.empty += amount,
        }
        assert!(self.server.offer(id(index)), "the exchange is open");
    }

    pub(super) fn end_request(&mut self, index: usize) {
        let exchange = &mut self.exchanges[index];
        if !exchange.is_over_at_server && (exchange.begin.is_streamed || exchange.begin.is_upgrade) {
            exchange.request.is_ending = true;
            assert!(self.server.offer(id(index)), "the exchange is open");
        }
    }

    /// The visitor takes the first events that it was not given. Returns whether there was one.
    pub(super) fn hand_on_at_server(&mut self, index: usize, count: usize, has_starved: bool) -> bool {
        for number in 0..count {
            let exchange = &mut self.exchanges[index];
            let Some(owed) = exchange.response.hand_on() else {
                self.tidy(index);
                return number > 0;
            };
            let worth = self.server.handed_on(id(index), owed.cost, has_starved);
            assert!(worth.is_none() || !exchange.is_over_at_server, "what is over gets no window");
            let window = worth.filter(|_| self.is_plentiful);
            if let Some(window) = window {
                assert!(window > exchange.response.allowed && window <= MAX_WINDOW, "{window}");
                exchange.response.allowed = window;
                self.server.raise(id(index), window);
            }
            self.acknowledge_at_server(owed.ack, window);
        }
        self.tidy(index);
        true
    }

    fn acknowledge_at_server(&mut self, ack: AckId, window: Option<usize>) {
        assert!(self.due_of_server.remove(&ack), "the server acknowledges each event once");
        self.to_end.push_back(Packet::Ack(ack, write_ack(window)));
    }

    /// The server gives an exchange up, and tells the end.
    pub(super) fn abort_at_server(&mut self, index: usize, code: AbortCode) {
        let was_open = !self.exchanges[index].is_over_at_server;
        assert_eq!(self.server.abort(id(index), self.now), was_open, "an exchange is over once");
        if was_open {
            let abort = self.packet(index, Event::Abort { code, message: None }, None);
            self.to_end.push_back(abort);
            self.over_at_server(index);
        }
        self.drop_response(index);
    }

    /// The exchange is over at the server.
    fn over_at_server(&mut self, index: usize) {
        let now = self.now;
        let exchange = &mut self.exchanges[index];
        assert!(!std::mem::replace(&mut exchange.is_over_at_server, true), "it is over once");
        exchange.left_since = (exchange.request.unacked > 0).then_some(now);
        let half = &mut exchange.request;
        (half.waiting, half.empty, half.is_ending) = (0, 0, false);
        self.tidy(index);
    }

    /// Nobody takes what the end has sent: it is acknowledged.
    fn drop_response(&mut self, index: usize) {
        while let Some(owed) = self.exchanges[index].response.hand_on() {
            self.acknowledge_at_server(owed.ack, None);
        }
        self.tidy(index);
    }

    /// Lets the server send. Returns whether it has sent anything.
    pub(super) fn pump_server(&mut self, turns: usize) -> bool {
        let mut has_sent = false;
        let mut load = self.recount();
        for _ in 0..turns {
            let Some(Turn { id, room }) = self.server.next_turn(self.now) else { break };
            let (index, ack) = (index(id), self.ack_id());
            let exchange = &mut self.exchanges[index];
            assert!(!exchange.is_over_at_server && room > 0 && room <= self.terms.chunk, "{room}");
            let is_messages = exchange.has_messages_at_server();
            let half = &mut exchange.request;
            if half.waiting + half.empty > 0 && self.budget > 0 {
                self.budget -= 1;
                let before = half.unacked;
                assert!(!self.terms.serial || before == 0, "one event at a time");
                let bytes = half.send(room, is_messages, load.floor.max(SHARED.saturating_sub(load.shared)));
                load.shared += half.unacked.saturating_sub(load.floor) - before.saturating_sub(load.floor);
                let more = half.has_something();
                self.of_server.insert(ack, (index, half.unacked - before));
                self.due_of_end.insert(ack);
                let step = if is_messages { 1 } else { bytes.len() as u64 };
                let place = self.server.sent(id, bytes.len(), step, ack, more);
                let event = match is_messages {
                    true => Event::Message { part: Part::Binary(bytes), more: false, number: place },
                    false => Event::Data { bytes, offset: place },
                };
                self.to_end.push_back(self.packet(index, event, Some(ack)));
                has_sent = true;
                if self.is_eager && self.finish_request(index) {
                    load = self.recount();
                }
            } else if self.finish_request(index) {
                has_sent = true;
                load = self.recount();
            }
        }
        has_sent
    }

    /// Sends the end of a request, if that is what comes next.
    fn finish_request(&mut self, index: usize) -> bool {
        let exchange = &mut self.exchanges[index];
        let half = &mut exchange.request;
        if half.waiting + half.empty > 0 || !half.is_ending || half.has_ended {
            return false;
        }
        half.has_ended = true;
        let (total, is_through) = self.server.finished(id(index), self.now);
        assert_eq!((total, is_through), (half.total(), half.unacked == 0));
        let event = end_of_direction(total, exchange.has_messages_at_server());
        let is_over = exchange.is_upgraded_at_server && exchange.response.is_complete;
        self.to_end.push_back(self.packet(index, event, None));
        if is_over {
            self.over_at_server(index);
        }
        true
    }

    /// Delivers the next packets to the server.
    pub(super) fn deliver_to_server(&mut self, count: usize) {
        for _ in 0..count {
            match self.to_server.pop_front() {
                None => return,
                Some(Packet::Event(sending)) => {
                    let Sending { received, ack, .. } = *sending;
                    let effect = self.server.received(received, ack, self.now);
                    self.effect_at_server(effect, ack);
                }
                Some(Packet::Ack(ack, answer)) => self.acked_at_server(ack, read_ack(&answer)),
                Some(Packet::Answer(index)) => {
                    // Behind a head it means nothing.
                    if !self.exchanges[index].is_over_at_server && !self.exchanges[index].is_answered {
                        assert!(self.server.abort(id(index), self.now));
                        self.over_at_server(index);
                    }
                }
                Some(Packet::Request(_)) => panic!("the end sends no request"),
            }
        }
    }

    fn effect_at_server(&mut self, effect: Effect, ack: Option<AckId>) {
        let chunk = self.terms.chunk;
        match effect {
            Effect::Nothing => assert_eq!(ack, None, "each event that asks for it is acknowledged"),
            Effect::Ack(ack) => self.acknowledge_at_server(ack, None),
            Effect::Pull(_) => (),
            Effect::Head { id, status, .. } => {
                let exchange = &mut self.exchanges[index(id)];
                assert!(!std::mem::replace(&mut exchange.is_answered, true) && !exchange.is_over_at_server);
                exchange.is_upgraded_at_server = status == 101;
            }
            Effect::Data { id, bytes, owed } => {
                let exchange = &mut self.exchanges[index(id)];
                assert!(exchange.is_answered && !exchange.is_over_at_server);
                exchange.response.take(&bytes, owed, chunk);
            }
            Effect::Message { id, part, owed, .. } => {
                let exchange = &mut self.exchanges[index(id)];
                assert!(exchange.has_messages_at_server() && !exchange.is_over_at_server);
                exchange.response.take_message(&part, owed, chunk);
            }
            Effect::End { id, .. } | Effect::Close { id, .. } => {
                let exchange = &mut self.exchanges[index(id)];
                exchange.response.complete();
                if !exchange.is_upgraded_at_server || exchange.request.has_ended {
                    self.over_at_server(index(id));
                }
            }
            Effect::Aborted { id, .. } => {
                self.over_at_server(index(id));
                self.drop_response(index(id));
            }
            Effect::Breach { id, code, message, ack } => {
                let index = index(id);
                assert!(self.exchanges[index].is_rude, "{message}");
                let abort = Event::Abort { code, message: Some(message.into()) };
                self.to_end.push_back(self.packet(index, abort, None));
                ack.into_iter().for_each(|ack| self.acknowledge_at_server(ack, None));
                self.over_at_server(index);
                self.drop_response(index);
            }
        }
    }

    fn acked_at_server(&mut self, ack: AckId, window: Option<u64>) {
        let known = self.of_server.remove(&ack);
        let acked = self.server.acked(ack, window);
        assert_eq!(known.map(|(index, _)| id(index)), acked.map(|acked| acked.id), "the ack is that of its event");
        let (Some((index, cost)), Some(acked)) = (known, acked) else { return };
        let exchange = &mut self.exchanges[index];
        let clamped = window.map(|window| usize::try_from(window).unwrap_or(MAX_WINDOW));
        exchange.request.acked(cost, clamped.map(|window| window.clamp(self.terms.chunk, MAX_WINDOW)));
        let is_through = exchange.request.has_ended && exchange.request.unacked == 0 && !exchange.is_over_at_server;
        assert_eq!(acked.is_through, is_through, "the request is through once all of it is acknowledged");
        if exchange.request.unacked == 0 {
            exchange.left_since = None;
        }
        self.tidy(index);
    }
}

/// Makes the event that ends a direction.
pub(super) fn end_of_direction(total: u64, is_messages: bool) -> Event {
    match is_messages {
        true => Event::Close { parts: total, code: 1000, reason: "bye".into() },
        false => Event::End { total, trailers: None },
    }
}
