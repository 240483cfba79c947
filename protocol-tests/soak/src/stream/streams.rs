//! An honest end that streams, which also judges what the server sends.

use std::collections::{HashMap, HashSet};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::exchange::{Exchange, Fault};
use super::heard::{Heard, Request};
use super::sending::Next;
use super::terms::Terms;
use super::{ack, data, say};
use crate::packet::Packet;
use crate::question::{self, signed};

/// The largest body that comes with its request, in bytes: what is announced with more comes so where it was read for an end that
/// does not stream, in whose place this one came.
const INLINE: usize = 1 << 20;

/// The largest answer that is sent by an ack, in bytes.
const SMALL: usize = 10_000;

/// Codes of `abort` that say what an honest end does not do.
const ACCUSATIONS: [&str; 4] = ["window-exceeded", "chunk-too-large", "out-of-order", "protocol"];

/// The exchanges of an end in one namespace.
pub struct Streams {
    token: String,
    terms: Terms,
    window: usize,
    chunk: usize,
    exchanges: HashMap<String, Exchange>,
    /// All ids that have come.
    seen: HashSet<String>,
    /// Events that the server has not acknowledged: their exchanges and costs.
    unacked: HashMap<u64, (String, usize)>,
    next_ack: u64,
    /// What the server has done wrong.
    pub faults: Vec<Fault>,
    rng: StdRng,
}

impl Streams {
    pub fn new(token: &str, terms: Terms, rng: &mut StdRng) -> Self {
        Self {
            token: token.to_owned(),
            terms,
            // Until the server has said what holds, nothing may come.
            window: 0,
            chunk: 0,
            exchanges: HashMap::new(),
            seen: HashSet::new(),
            unacked: HashMap::new(),
            next_ack: 0,
            faults: Vec::new(),
            rng: StdRng::seed_from_u64(rng.random()),
        }
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// Returns how many exchanges are not over, and events not acknowledged.
    pub fn unfinished(&self) -> usize {
        self.exchanges.len() + self.unacked.len()
    }

    /// Takes a packet of the server, and returns what the end sends then.
    pub fn hear(&mut self, text: &str, attachment: Option<Vec<u8>>) -> Vec<Packet> {
        let mut packets = Vec::new();
        let heard = Heard::read(&self.token, text, attachment).ok_or_else(|| "what no server may send".to_owned());
        if let Err(fault) = heard.and_then(|heard| self.take(heard, &mut packets)) {
            let start: String = text.chars().take(300).collect();
            self.faults.push(format!("an end heard {fault}: {start} ({:?})", self.terms));
        }
        packets
    }

    fn take(&mut self, heard: Heard, packets: &mut Vec<Packet>) -> Result<(), Fault> {
        match heard {
            Heard::Ready { window, chunk } => {
                (self.window, self.chunk) = (window, chunk);
                if !self.terms.allow(window, chunk) {
                    return Err("more than was asked for".to_owned());
                }
            }
            Heard::Request(request) => return self.begin(&request, packets),
            Heard::Data { id, bytes, offset, ack: due } => match self.find(&id)? {
                Some(exchange) => {
                    exchange.data(bytes, offset, due)?;
                    self.pump(&id, packets);
                }
                None => packets.push(ack(&self.token, due, "[]")),
            },
            Heard::Message { id, part, more, number, ack: due } => match self.find(&id)? {
                Some(exchange) => {
                    exchange.message(part, more, number, due)?;
                    self.pump(&id, packets);
                }
                None => packets.push(ack(&self.token, due, "[]")),
            },
            Heard::End { id, total } => self.ended(&id, total, None, packets)?,
            Heard::Close { id, parts, code } => self.ended(&id, parts, Some(code), packets)?,
            Heard::Abort { id, code } => {
                if ACCUSATIONS.contains(&code.as_str()) {
                    return Err("that it has done what it has not".to_owned());
                }
                if self.find(&id)?.is_some() {
                    self.close(&id, packets);
                }
            }
            Heard::Ack { ack, window } => {
                let (id, cost) = self.unacked.remove(&ack).ok_or("a second ack, or one of nothing")?;
                if let Some(exchange) = self.exchanges.get_mut(&id) {
                    exchange.acked(cost, window)?;
                    self.pump(&id, packets);
                }
            }
            Heard::Nothing => (),
        }
        Ok(())
    }

    /// Returns an exchange that is open, or `None` for one that is over.
    fn find(&mut self, id: &str) -> Result<Option<&mut Exchange>, Fault> {
        if self.seen.contains(id) { Ok(self.exchanges.get_mut(id)) } else { Err("of an unknown exchange".to_owned()) }
    }

    fn begin(&mut self, request: &Request, packets: &mut Vec<Packet>) -> Result<(), Fault> {
        let Request { event, id, is_streamed, is_upgrade, body, .. } = request;
        if !self.seen.insert(id.clone()) || self.chunk == 0 || body.len() > INLINE {
            return Err("a second request of this id, one before ready, or one with too large a body".to_owned());
        }
        let mut exchange = Exchange::new(request, self.terms, self.window, self.chunk)?;
        let is_plain = !is_streamed && !is_upgrade && exchange.length().is_some_and(|length| length <= SMALL);
        if is_plain && self.rng.random_ratio(1, 3) {
            packets.extend(question::answer(event, body.clone()));
            return Ok(());
        }
        // A body that is answered before it comes need not come.
        if *is_streamed && self.terms.pull && (exchange.length().is_none() || self.rng.random()) {
            exchange.upload.is_open = true;
            packets.push(say(&self.token, &format!(r#"["pull","{id}"]"#)));
        }
        let has_begun = exchange.sending.is_some();
        self.exchanges.insert(id.clone(), exchange);
        if has_begun {
            self.respond(id, packets);
        }
        Ok(())
    }

    fn ended(&mut self, id: &str, total: u64, code: Option<u64>, packets: &mut Vec<Packet>) -> Result<(), Fault> {
        let Some(exchange) = self.find(id)? else { return Ok(()) };
        let had_begun = exchange.sending.is_some();
        exchange.ended(total, code)?;
        if !had_begun {
            let (request, nonce, digest) = (exchange.request, exchange.nonce, exchange.digest().unwrap_or_default());
            if self.rng.random_ratio(1, 3) {
                let headers = signed("", "honest", &self.token, nonce);
                packets.push(ack(&self.token, request, &format!("[200,{digest},{headers}]")));
                self.close(id, packets);
                return Ok(());
            }
            self.respond(id, packets);
        }
        self.pump(id, packets);
        Ok(())
    }

    /// Sends the head of an answer, and what may follow.
    fn respond(&mut self, id: &str, packets: &mut Vec<Packet>) {
        let Some(exchange) = self.exchanges.get(id) else { return };
        let (status, more) = if exchange.is_upgrade {
            let kind = if self.terms.is_raw { "raw" } else { "messages" };
            (101, format!(r#""x-ws":"{kind}","sec-websocket-accept":"soak","#))
        } else if exchange.is_endless() {
            (200, r#""content-type":"text/event-stream","#.to_owned())
        } else {
            let length = exchange.length().filter(|_| self.rng.random());
            (200, length.map_or_else(String::new, |length| format!(r#""content-length":{length},"#)))
        };
        let headers = signed(&more, "honest", &self.token, exchange.nonce);
        packets.push(say(&self.token, &format!(r#"["response","{id}",{status},{headers}]"#)));
        self.pump(id, packets);
    }

    /// Sends what may be sent, and acknowledges what was handed on by that.
    fn pump(&mut self, id: &str, packets: &mut Vec<Packet>) {
        let Self { token, rng, .. } = self;
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let mut position = 0;
        if let Some(sending) = &mut exchange.sending {
            while let Some((next, before, cost)) = sending.next(rng) {
                self.next_ack += 1;
                match next {
                    Next::Data(bytes) => {
                        packets.extend(data(token, self.next_ack, id, bytes, before, self.terms.base64));
                    }
                    Next::Message(part, more) => packets.extend(part.event(token, self.next_ack, id, more, before)),
                    Next::End => packets.push(say(token, &format!(r#"["end","{id}",{before}]"#))),
                    Next::Close(code) => {
                        packets.push(say(token, &format!(r#"["close","{id}",{before},{code},"soak"]"#)));
                    }
                }
                if cost > 0 {
                    self.unacked.insert(self.next_ack, (id.to_owned(), cost));
                }
            }
            position = sending.position;
        }
        while let Some((due, window)) = exchange.upload.due(position, rng) {
            packets.push(ack(token, due, &window));
        }
        if exchange.is_over() {
            self.close(id, packets);
        }
    }

    /// Forgets an exchange that is over, and acknowledges all that it has had.
    fn close(&mut self, id: &str, packets: &mut Vec<Packet>) {
        let Some(mut exchange) = self.exchanges.remove(id) else { return };
        while let Some((due, _)) = exchange.upload.due(u64::MAX, &mut self.rng) {
            packets.push(ack(&self.token, due, "[]"));
        }
    }
}
