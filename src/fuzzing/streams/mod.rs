//! The server's and the end's machines of a stream, joined in memory, under any order of deliveries, turns, visitors, ends and time.
//!
//! Windows and reservations are never exceeded. Nothing is lost, doubled or out of order. Each exchange is over once at either side,
//! and each event is acknowledged once. Whatever set of exchanges stalls, all others end. What the server counts of all exchanges is
//! what a recount finds, and in the end nothing is left in any table.
//!
//! - `half`: one direction of an exchange; `exchange`: an exchange with its visitor and its end
//! - `server_side`, `end_side`: what happens at either side; `checks`: what must hold

mod checks;
mod end_side;
mod exchange;
mod half;
mod server_side;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use self::exchange::Exchange;
use super::input::Input;
use crate::proto::engine_io::Message;
use crate::proto::exchange::ExchangeId;
use crate::proto::exchange::stream::client::{self, Sent};
use crate::proto::exchange::stream::{Asked, Begin, BytesAs, Event, MAX_CHUNK, Received, Terms, WebSocketAs, server};
use crate::proto::socket_io::connection::Answer;
use crate::proto::socket_io::packet::{Args, Encoded};
use crate::proto::socket_io::{AckId, Namespace};
use crate::proto::time::Instant;

/// The most events and exchanges of one run, so that no input takes long.
const MAX_EVENTS: usize = 3_000;
const MAX_EXCHANGES: usize = 400;

/// Runs both sides as the input says, lets all end that does not stall, and then the rest.
pub fn streams(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(input.byte(), input.byte());
    while !input.is_empty() {
        world.step(&mut input);
        world.check();
    }
    world.finish();
}

/// What is on its way to either side.
#[derive(Debug)]
enum Packet {
    /// The event `request` of an exchange.
    Request(usize),
    Event(Box<Sending>),
    Ack(AckId, Answer),
    /// The ack of a request.
    Answer(usize),
}

/// An event of an exchange on its way, and the id of its ack.
#[derive(Debug)]
struct Sending {
    index: usize,
    received: Received,
    ack: Option<AckId>,
}

struct World {
    now: Instant,
    terms: Terms,
    server: server::Streams,
    end: client::Streams,
    exchanges: Vec<Exchange>,
    /// The exchanges of which something is left at either side.
    live: BTreeSet<usize>,
    to_end: VecDeque<Packet>,
    to_server: VecDeque<Packet>,
    next_ack: u64,
    /// The events of the server that it has not seen acknowledged, and their exchanges and costs.
    of_server: HashMap<AckId, (usize, usize)>,
    /// The same of the end; `None` for what its machine did not send.
    of_end: HashMap<AckId, Option<(Sent, usize, usize)>>,
    /// The events that the end, and the server, have not acknowledged.
    due_of_end: HashSet<AckId>,
    due_of_server: HashSet<AckId>,
    /// The server has memory for larger windows.
    is_plentiful: bool,
    /// Both sides send the end of a direction along with its last bytes.
    is_eager: bool,
    /// Events are written and read, as on a real wire.
    is_written: bool,
    /// How many events may be sent yet.
    budget: usize,
}

impl World {
    fn new(first: u8, second: u8) -> Self {
        let is = |bit: u8| first & bit != 0;
        let chunk = [MAX_CHUNK, 256, 5_000, MAX_CHUNK][usize::from(second) % 4];
        let window = [256 << 10, 4 << 20, 0, 64 << 10][usize::from(second >> 2) % 4];
        let asked = Asked {
            window,
            chunk: chunk as u64,
            websocket: if is(1) { WebSocketAs::Raw } else { WebSocketAs::Messages },
            pull: is(2),
            serial: is(4),
            bytes: if is(8) && is(1) && chunk == 256 { BytesAs::Base64 } else { BytesAs::Attachment },
        };
        let terms = Terms::settle(asked, 16 << 20);
        Self {
            now: Instant::ORIGIN,
            terms,
            server: server::Streams::new(terms),
            end: client::Streams::new(terms, 4 << 20),
            exchanges: Vec::new(),
            live: BTreeSet::new(),
            to_end: VecDeque::new(),
            to_server: VecDeque::new(),
            next_ack: 0,
            of_server: HashMap::new(),
            of_end: HashMap::new(),
            due_of_end: HashSet::new(),
            due_of_server: HashSet::new(),
            is_plentiful: is(16),
            is_eager: is(32),
            is_written: is(64) && is(128),
            budget: MAX_EVENTS,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 16 {
            0 => self.visit(input.byte(), 1),
            1 => self.visit(input.byte(), many(input.byte())),
            2 | 3 => self.deliver_to_end(1 + usize::from(input.byte() % 32)),
            4 | 5 => self.deliver_to_server(1 + usize::from(input.byte() % 32)),
            6 => _ = self.pump_server(1 + usize::from(input.byte())),
            7 => _ = self.pump_end(1 + usize::from(input.byte())),
            8 => {
                let (choice, action) = (input.byte(), input.byte());
                self.pick(choice).into_iter().for_each(|index| self.visitor_acts(index, action));
            }
            9 => {
                let (choice, action) = (input.byte(), input.byte());
                self.pick(choice).into_iter().for_each(|index| self.end_acts(index, action));
            }
            10 => self.all_act(input.byte(), Self::visitor_acts),
            11 => self.all_act(input.byte(), Self::end_acts),
            12 => self.flow_on(input.byte()),
            13 => self.pass(Duration::from_millis(1 << (input.byte() % 17))),
            14 => self.is_plentiful = input.byte() & 1 == 0,
            _ => self.lose_session(input.byte()),
        }
    }

    /// Chooses an exchange: the last one is zero.
    fn pick(&self, choice: u8) -> Option<usize> {
        let live = self.live.len();
        self.live.iter().nth_back(usize::from(choice) % live.max(1)).copied()
    }

    /// The last exchanges do the same, one after the other.
    fn all_act(&mut self, action: u8, act: fn(&mut Self, usize, u8)) {
        for index in self.live.iter().rev().take(16).copied().collect::<Vec<_>>() {
            act(self, index, action);
        }
    }

    /// Lets all go on for some rounds, while the last exchanges have much to send.
    fn flow_on(&mut self, choice: u8) {
        for _ in 0..=choice % 8 {
            if choice & 8 != 0 {
                self.all_act(0xf9, Self::visitor_acts);
            }
            if choice & 16 != 0 {
                self.all_act(0xfa, Self::end_acts);
            }
            self.flow();
        }
    }

    /// Visitors arrive.
    fn visit(&mut self, choice: u8, count: usize) {
        for _ in 0..count {
            let index = self.exchanges.len();
            if index == MAX_EXCHANGES {
                return;
            }
            let is_upgrade = choice & 3 == 3;
            let window = [256 << 10, 64 << 10, self.terms.chunk + 256, 0][usize::from(choice >> 2) % 4];
            let begin = Begin { is_streamed: choice & 1 == 1 && !is_upgrade, is_upgrade, window };
            self.exchanges.push(Exchange::new(index, begin, self.terms));
            self.live.insert(index);
            self.server.begin(id(index), begin);
            self.to_end.push_back(Packet::Request(index));
        }
    }

    /// The session is lost, and the end comes back with another. What it has emitted may come late.
    fn lose_session(&mut self, choice: u8) {
        if !choice.is_multiple_of(16) {
            return;
        }
        self.server = server::Streams::new(self.terms);
        self.end = client::Streams::new(self.terms, 4 << 20);
        for index in std::mem::take(&mut self.live) {
            self.exchanges[index].lose();
        }
        self.of_server.clear();
        self.of_end.clear();
        self.due_of_end.clear();
        self.due_of_server.clear();
        self.to_end.clear();
        let is_buffered = choice == 0;
        self.to_server.retain(|packet| is_buffered && matches!(packet, Packet::Event(_)));
        let late = self.to_server.iter().filter_map(|packet| match packet {
            Packet::Event(sending) => sending.ack,
            Packet::Request(_) | Packet::Ack(..) | Packet::Answer(_) => None,
        });
        for ack in late {
            self.of_end.insert(ack, None);
            self.due_of_server.insert(ack);
        }
    }

    /// Lets time pass.
    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.server.expire(self.now);
        for index in self.live.clone() {
            if self.exchanges[index].expire(self.now) {
                self.of_server.retain(|_, (of, _)| *of != index);
                self.tidy(index);
            }
        }
    }

    fn ack_id(&mut self) -> AckId {
        self.next_ack += 1;
        AckId::new(self.next_ack).expect("few events")
    }

    fn packet(&self, index: usize, event: Event, ack: Option<AckId>) -> Packet {
        let name = id(index).to_string();
        let received = match self.is_written {
            true => decode(&event.encode(&name, &Namespace::root(), ack, self.terms.bytes)),
            false => Received { id: name.into(), event: Ok(event) },
        };
        Packet::Event(Box::new(Sending { index, received, ack }))
    }

    /// Forgets an exchange of which nothing is left.
    fn tidy(&mut self, index: usize) {
        if self.exchanges[index].is_settled() {
            self.live.remove(&index);
        }
    }
}

/// Returns how many visitors arrive: 1 to 16, or 300, among which the floor of each exchange is lower.
fn many(choice: u8) -> usize {
    if choice > 250 { 300 } else { 1 + usize::from(choice % 16) }
}

fn id(index: usize) -> ExchangeId {
    ExchangeId { process: 16, number: index as u64 }
}

fn index(id: ExchangeId) -> usize {
    usize::try_from(id.number).expect("an index")
}

/// Reads an event as it was written.
fn decode(encoded: &Encoded) -> Received {
    let Message::Text(text) = encoded.text.message() else { panic!("an event is text") };
    let at = text.find('[').expect("arguments");
    let args = Args::parse(text.slice_ref(&text[at..])).expect("a list");
    Received::decode(&args, &encoded.attachments).expect("an event of a stream")
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    #[test]
    fn exchanges_of_thousands_of_runs_end_and_leave_nothing() {
        let mut random = StdRng::seed_from_u64(16);
        for _ in 0..2_000 {
            let length = random.random_range(0..600);
            let data: Vec<u8> = (0..length).map(|_| random.random()).collect();
            super::streams(&data);
        }
    }
}
