//! What happens at the end, and what its handlers do.

use bytes::Bytes;

use super::server_side::end_of_direction;
use super::{Packet, Sending, World, id, index};
use crate::proto::exchange::stream::client::{Ack, Effect};
use crate::proto::exchange::stream::{AbortCode, Content, Event, Owed, Part, Turn, read_ack, write_ack};
use crate::proto::socket_io::AckId;

impl World {
    pub(super) fn end_acts(&mut self, index: usize, choice: u8) {
        let amount = usize::from(choice >> 3);
        let exchange = &mut self.exchanges[index];
        if !exchange.is_open_at_end() {
            return;
        }
        match choice % 8 {
            0 => self.respond(index, [200, 101, 404, 99][amount % 4]),
            action @ (1 | 2) => self.offer_response(index, action, amount),
            3 => self.end_response(index),
            4 if exchange.end_stalls => (),
            4 => _ = self.hand_on_at_end(index, amount / 2 + 1, amount.is_multiple_of(2)),
            5 => match amount % 4 {
                0 => self.answer(index),
                1 => self.abort_at_end(index),
                _ => self.pull(index),
            },
            6 => match amount % 8 {
                0 => exchange.is_mute = true,
                1 => self.be_rude(index, amount / 8),
                _ => exchange.end_stalls = amount.is_multiple_of(2),
            },
            _ => {
                exchange.response.empty += amount;
                self.end.offer(id(index));
            }
        }
    }

    pub(super) fn respond(&mut self, index: usize, status: u16) {
        let exchange = &mut self.exchanges[index];
        let may = !exchange.has_answered && (status == 101) <= exchange.begin.is_upgrade && status != 99;
        assert_eq!(self.end.respond(id(index), status), may, "a head is sent once: {status}");
        if may {
            exchange.has_answered = true;
            exchange.is_upgraded_at_end = status == 101;
            let head = Event::Response { status, headers: "{}".into() };
            self.to_server.push_back(self.packet(index, head, None));
        }
    }

    fn offer_response(&mut self, index: usize, action: u8, amount: usize) {
        let unit = self.exchanges[index].unit(self.terms.chunk);
        let half = &mut self.exchanges[index].response;
        if !half.is_ending && half.waiting <= 64 * unit {
            half.waiting += if action == 1 { amount } else { amount * unit };
            assert!(self.end.offer(id(index)), "the exchange is open");
        }
    }

    pub(super) fn end_response(&mut self, index: usize) {
        self.exchanges[index].response.is_ending = true;
        assert!(self.end.offer(id(index)), "the exchange is open");
    }

    pub(super) fn pull(&mut self, index: usize) {
        if self.end.pull(id(index)) {
            assert!(self.terms.pull, "nothing waits for it");
            self.to_server.push_back(self.packet(index, Event::Pull, None));
        }
    }

    /// Answers by the ack alone.
    fn answer(&mut self, index: usize) {
        let may = !self.exchanges[index].has_answered;
        assert_eq!(self.end.answer(id(index)), may, "an answer is whole before the head alone");
        if may {
            self.to_server.push_back(Packet::Answer(index));
            self.over_at_end(index);
        }
    }

    fn abort_at_end(&mut self, index: usize) {
        assert!(self.end.abort(id(index)), "the exchange is open");
        let abort = Event::Abort { code: AbortCode::LocalGone, message: None };
        self.to_server.push_back(self.packet(index, abort, None));
        self.over_at_end(index);
    }

    /// The exchange is over at the end: all that was received of it is acknowledged.
    fn over_at_end(&mut self, index: usize) {
        let exchange = &mut self.exchanges[index];
        assert!(!std::mem::replace(&mut exchange.is_over_at_end, true), "it is over once");
        assert!(!self.end.is_open(id(index)), "both know that it is over");
        self.send_acks();
        let half = &mut self.exchanges[index].request;
        assert!(half.owed.iter().all(|owed| !self.due_of_end.contains(&owed.ack)), "all is acknowledged");
        half.owed.clear();
        self.tidy(index);
    }

    /// Sends an event that no machine would.
    fn be_rude(&mut self, index: usize, kind: usize) {
        let exchange = &mut self.exchanges[index];
        exchange.is_rude = true;
        let (place, ack) = (exchange.response.total(), self.ack_id());
        let data = |bytes: usize, offset| Event::Data { bytes: Bytes::from(vec![0; bytes]), offset };
        let (event, ack) = match kind % 4 {
            0 => (data(self.terms.chunk + 1, place), Some(ack)),
            1 => (data(1, place + 1), Some(ack)),
            2 => (data(1, place), None),
            _ => (Event::Response { status: 42, headers: "{}".into() }, None),
        };
        if let Some(ack) = ack {
            self.of_end.insert(ack, None);
            self.due_of_server.insert(ack);
        }
        self.to_server.push_back(self.packet(index, event, ack));
    }

    /// The end's handler takes the first events that it was not given. Returns whether there was one.
    pub(super) fn hand_on_at_end(&mut self, index: usize, count: usize, has_starved: bool) -> bool {
        for number in 0..count {
            let Some(owed) = self.exchanges[index].request.hand_on() else { return number > 0 };
            assert!(self.due_of_end.contains(&owed.ack));
            self.end.handed_on(id(index), has_starved);
            self.send_acks();
            assert!(!self.due_of_end.contains(&owed.ack), "what is handed on is acknowledged");
        }
        true
    }

    /// Sends the acks that are due.
    fn send_acks(&mut self) {
        while let Some(Ack { id: ack, window }) = self.end.next_ack() {
            assert!(self.due_of_end.remove(&ack), "the end acknowledges each event once");
            // What the server has forgotten may belong to an exchange that is over.
            let of = self.of_server.get(&ack).map(|(index, _)| *index);
            if let (Some(window), Some(index)) = (window, of) {
                let half = &mut self.exchanges[index].request;
                assert!(window > half.allowed, "a window grows");
                half.allowed = window;
            }
            if of.is_none_or(|index| !self.exchanges[index].is_mute) {
                self.to_server.push_back(Packet::Ack(ack, write_ack(window)));
            }
        }
    }

    /// Lets the end send. Returns whether it has sent anything.
    pub(super) fn pump_end(&mut self, turns: usize) -> bool {
        let mut has_sent = false;
        for _ in 0..turns {
            let Some(Turn { id, room }) = self.end.next_turn() else { break };
            let (index, ack) = (index(id), self.ack_id());
            let exchange = &mut self.exchanges[index];
            assert!(exchange.has_answered && !exchange.is_over_at_end && room > 0 && room <= self.terms.chunk);
            let is_messages = exchange.has_messages_at_end();
            let half = &mut exchange.response;
            if half.waiting + half.empty > 0 && self.budget > 0 {
                self.budget -= 1;
                let before = half.unacked;
                let bytes = half.send(room, is_messages, usize::MAX);
                let (more, cost) = (half.has_something(), half.unacked - before);
                let step = if is_messages { 1 } else { bytes.len() as u64 };
                let (place, sent) = self.end.sent(id, bytes.len(), step, more).expect("the exchange is open");
                self.of_end.insert(ack, Some((sent, index, cost)));
                self.due_of_server.insert(ack);
                let event = match is_messages {
                    true => Event::Message { part: Part::Binary(bytes), more: true, number: place },
                    false => Event::Data { bytes, offset: place },
                };
                self.to_server.push_back(self.packet(index, event, Some(ack)));
                has_sent = true;
                if self.is_eager {
                    self.finish_response(index);
                }
            } else {
                has_sent |= self.finish_response(index);
            }
        }
        has_sent
    }

    /// Sends the end of a response, if that is what comes next.
    fn finish_response(&mut self, index: usize) -> bool {
        let exchange = &mut self.exchanges[index];
        let half = &mut exchange.response;
        if half.waiting + half.empty > 0 || !half.is_ending || half.has_ended {
            return false;
        }
        half.has_ended = true;
        assert_eq!(self.end.finished(id(index)), Some(half.total()));
        let event = end_of_direction(half.total(), exchange.has_messages_at_end());
        let is_over = !exchange.is_upgraded_at_end || exchange.request.is_complete;
        self.to_server.push_back(self.packet(index, event, None));
        if is_over {
            self.over_at_end(index);
        }
        true
    }

    /// Delivers the next packets to the end.
    pub(super) fn deliver_to_end(&mut self, count: usize) {
        for _ in 0..count {
            match self.to_end.pop_front() {
                None => return,
                Some(Packet::Request(index)) => {
                    let exchange = &mut self.exchanges[index];
                    exchange.has_come = true;
                    assert!(self.end.begin(id(index), exchange.begin), "ids never repeat");
                }
                Some(Packet::Event(sending)) => {
                    let Sending { index, received, ack } = *sending;
                    let effect = self.end.received(received, ack);
                    self.effect_at_end(effect);
                    let is_held = self.exchanges[index].request.owes_last(ack);
                    let is_due = ack.is_some_and(|ack| self.due_of_end.contains(&ack));
                    assert_eq!(is_due, is_held, "no ack is forgotten");
                }
                Some(Packet::Ack(ack, answer)) => self.acked_at_end(ack, read_ack(&answer)),
                Some(Packet::Answer(_)) => panic!("the server answers no request"),
            }
        }
    }

    fn effect_at_end(&mut self, effect: Effect) {
        match effect {
            Effect::Nothing => (),
            Effect::Content { id, content } => self.content_at_end(index(id), content),
            Effect::Aborted { id, .. } => self.over_at_end(index(id)),
            Effect::Breach { message, .. } => panic!("the server keeps to the protocol: {message}"),
        }
        self.send_acks();
    }

    fn content_at_end(&mut self, index: usize, content: Content) {
        let chunk = self.terms.chunk;
        let exchange = &mut self.exchanges[index];
        assert!(!exchange.is_over_at_end);
        match content {
            Content::Data { bytes, owed } => exchange.request.take(&bytes, owed, chunk),
            Content::Message { part, owed: Owed { ack, cost }, .. } => {
                exchange.request.take_message(&part, Owed { ack, cost }, chunk);
            }
            Content::End { .. } | Content::Close { .. } => {
                exchange.request.complete();
                if exchange.is_upgraded_at_end && exchange.response.has_ended {
                    self.over_at_end(index);
                }
            }
        }
    }

    fn acked_at_end(&mut self, ack: AckId, window: Option<u64>) {
        let known = self.of_end.remove(&ack).expect("an ack comes once, for an event");
        let Some((sent, index, cost)) = known else { return };
        self.end.acked(sent, window);
        let window = window.map(|window| usize::try_from(window).expect("a window"));
        self.exchanges[index].response.acked(cost, window);
        self.tidy(index);
    }
}
