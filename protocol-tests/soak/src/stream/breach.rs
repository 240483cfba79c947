//! An end that asks for streaming and breaks its rules. What it must not have done makes the server break the exchange off: such an
//! answer is signed `breach`, and no visitor may find it whole. The others are signed `liar`.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::heard::{Heard, Request};
use super::{EVENT_COST, ack, data, say};
use crate::packet::Packet;
use crate::question::signed;

/// How an end breaks the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    /// It sends more than the window.
    Window,
    /// It sends more than a chunk in one event.
    Chunk,
    /// Its data have a gap, or the total is none.
    Order,
    /// Its answer has more or fewer bytes than announced.
    Length,
    /// It breaks its answer off.
    Abort,
    /// It answers twice, by events or by an ack behind them.
    Twice,
    /// It sends data that ask for no ack, or arguments that are none.
    Arguments,
    /// It goes on after the end.
    AfterEnd,
    /// It sends events of exchanges that it has not: of nobody's, or of another end's.
    Unknown,
    /// It acknowledges nothing.
    NeverAck,
    /// It acknowledges all twice, with windows that are none, and what was not sent.
    AckTwice,
    /// It floods the server with events of no bytes, of one, and with aborts.
    Flood,
}

const BREACHES: [Breach; 12] = [
    Breach::Window,
    Breach::Chunk,
    Breach::Order,
    Breach::Length,
    Breach::Abort,
    Breach::Twice,
    Breach::Arguments,
    Breach::AfterEnd,
    Breach::Unknown,
    Breach::NeverAck,
    Breach::AckTwice,
    Breach::Flood,
];

/// Arguments of events behind the id, none of which is right.
const ARGUMENTS: [&str; 13] = [
    r#""data""#,
    r#""data","ID""#,
    r#""data","ID","x",0"#,
    r#""data","ID",null,0"#,
    r#""data","ID",{},-1"#,
    r#""end","ID""#,
    r#""end","ID",-1"#,
    r#""end","ID",18446744073709551616"#,
    r#""end","ID",1e308"#,
    r#""message","ID","x",false,0"#,
    r#""close","ID",0,1000,"""#,
    r#""response","ID",200"#,
    r#""response","ID",1e9,{}"#,
];

const CODES: [&str; 6] = ["local-gone", "local-refused", "too-large", "timeout", "visitor-gone", "nonsense"];

const WINDOWS: [&str; 9] = ["", "-1", "0", "1e300", "0.5", "\"x\"", "null", "18446744073709551615", "[],{}"];

impl Breach {
    pub fn random(rng: &mut StdRng) -> Self {
        BREACHES.choose(rng).copied().unwrap_or(Self::Order)
    }
}

/// An end that breaks the rules in one way, again and again.
pub struct Liar {
    token: String,
    breach: Breach,
    chunk: usize,
    next_ack: u64,
    rng: StdRng,
}

impl Liar {
    pub fn new(token: &str, breach: Breach, rng: &mut StdRng) -> Self {
        let rng = StdRng::seed_from_u64(rng.random());
        Self { token: token.to_owned(), breach, chunk: 65_536, next_ack: 0, rng }
    }

    /// Takes a packet of the server, and returns what the end sends then.
    pub fn hear(&mut self, text: &str, attachment: Option<Vec<u8>>) -> Vec<Packet> {
        match Heard::read(&self.token, text, attachment) {
            Some(Heard::Ready { chunk, .. }) => self.chunk = chunk,
            Some(Heard::Request(request)) => return self.answer(&request),
            Some(Heard::Data { ack, .. } | Heard::Message { ack, .. }) => return self.ack(ack),
            Some(_) | None => (),
        }
        Vec::new()
    }

    fn ack(&mut self, id: u64) -> Vec<Packet> {
        match self.breach {
            Breach::NeverAck => Vec::new(),
            Breach::AckTwice => {
                let window = WINDOWS.choose(&mut self.rng).copied().unwrap_or_default();
                [id, id, 1 << 60].map(|id| ack(&self.token, id, &format!("[{window}]"))).into()
            }
            _ => vec![ack(&self.token, id, "[]")],
        }
    }

    fn answer(&mut self, request: &Request) -> Vec<Packet> {
        let id = request.id.as_str();
        let mut packets = match self.breach {
            // A request whose body was asked for is not acknowledged; others are not answered, sometimes.
            Breach::NeverAck if self.rng.random_ratio(1, 4) => Vec::new(),
            _ => vec![say(&self.token, &format!(r#"["pull","{id}"]"#))],
        };
        match self.breach {
            Breach::Window => {
                packets.push(self.head(id, "", "liar"));
                self.burst(id, &vec![self.chunk; 2 + 2 * request.window / (self.chunk + EVENT_COST)], &mut packets);
            }
            Breach::Chunk => {
                packets.push(self.head(id, "", "breach"));
                self.burst(id, &[5, self.chunk + 1], &mut packets);
            }
            Breach::Order => {
                packets.push(self.head(id, "", "breach"));
                packets.extend(self.data(id, 5, 0));
                match self.rng.random_range(0..3) {
                    0 => packets.extend(self.data(id, 5, 0)),
                    1 => packets.extend(self.data(id, 5, u64::MAX)),
                    _ => {
                        let total = [0, 4, 6, u64::MAX][self.rng.random_range(0..4)];
                        packets.push(self.end(id, total));
                    }
                }
                packets.push(self.end(id, 5));
            }
            Breach::Length => {
                packets.push(self.head(id, r#""content-length":10,"#, "breach"));
                let size = if self.rng.random() { 5 } else { 20 };
                self.burst(id, &[size], &mut packets);
            }
            Breach::Abort => {
                packets.push(self.head(id, "", "breach"));
                packets.extend(self.data(id, 5, 0));
                packets.push(self.abort(id));
                packets.push(self.end(id, 5));
            }
            Breach::Twice if self.rng.random() => {
                packets.extend([self.head(id, "", "breach"), self.head(id, "", "breach")]);
                packets.push(self.end(id, 0));
            }
            Breach::Twice => {
                packets.push(self.head(id, "", "liar"));
                let late = signed(r#""x-why":"an ack","#, "late", &self.token, 0);
                packets.push(ack(&self.token, request.event.id, &format!(r#"[200,"late",{late}]"#)));
                self.burst(id, &[5], &mut packets);
            }
            Breach::Arguments => {
                packets.push(self.head(id, "", "breach"));
                let arguments = ARGUMENTS.choose(&mut self.rng).copied().unwrap_or_default();
                let arguments = arguments.replace("ID", id);
                // Without an id, they are nobody's.
                packets.push(say(&self.token, &format!("[{arguments}]")));
                packets.push(self.abort(id));
            }
            Breach::AfterEnd => {
                packets.push(self.head(id, "", "liar"));
                self.burst(id, &[5], &mut packets);
                self.burst(id, &[5], &mut packets);
                packets.extend([self.head(id, "", "late"), self.abort(id)]);
            }
            Breach::Unknown => {
                for other in others(id, &mut self.rng) {
                    let head = self.head(&other, "", "liar");
                    packets.push(head);
                    packets.extend(self.data(&other, 5, 0));
                    packets.extend([self.end(&other, 5), self.abort(&other)]);
                }
                packets.push(self.head(id, "", "liar"));
                self.burst(id, &[5], &mut packets);
            }
            Breach::NeverAck if packets.is_empty() => (),
            Breach::NeverAck | Breach::AckTwice => {
                packets.push(self.head(id, "", "liar"));
                self.burst(id, &[1_000], &mut packets);
            }
            Breach::Flood => {
                packets.push(self.head(id, "", "breach"));
                let sizes: Vec<_> = (0..300).map(|_| self.rng.random_range(0..2)).collect();
                let mut offset = 0;
                for size in sizes {
                    packets.extend(self.data(id, size, offset));
                    offset += size as u64;
                }
                packets.extend((0..100).map(|_| self.abort(id)));
            }
        }
        packets
    }

    fn head(&self, id: &str, more: &str, by: &str) -> Packet {
        let headers = signed(&format!(r#"{more}"x-why":"{:?}","#, self.breach), by, &self.token, 0);
        say(&self.token, &format!(r#"["response","{id}",200,{headers}]"#))
    }

    /// Writes data of this many bytes.
    fn data(&mut self, id: &str, size: usize, offset: u64) -> Vec<Packet> {
        self.next_ack += 1;
        data(&self.token, self.next_ack, id, vec![b'l'; size], offset, false)
    }

    /// Writes data of these sizes, and the end.
    fn burst(&mut self, id: &str, sizes: &[usize], packets: &mut Vec<Packet>) {
        let mut offset = 0;
        for &size in sizes {
            packets.extend(self.data(id, size, offset));
            offset += size as u64;
        }
        packets.push(self.end(id, offset));
    }

    fn end(&self, id: &str, total: u64) -> Packet {
        say(&self.token, &format!(r#"["end","{id}",{total}]"#))
    }

    fn abort(&mut self, id: &str) -> Packet {
        let code = CODES.choose(&mut self.rng).copied().unwrap_or_default();
        say(&self.token, &format!(r#"["abort","{id}","{code}","soak"]"#))
    }
}

/// Returns ids of no exchange, and of those that other ends probably have.
fn others(id: &str, rng: &mut StdRng) -> Vec<String> {
    let mut others: Vec<_> =
        ["", "0-0", "-", "1-2-3", "é", "18446744073709551616-99999999999999999999"].map(str::to_owned).into();
    others.push("9".repeat(10_000));
    if let Some((process, number)) = id.split_once('-') {
        let number: u64 = number.parse().unwrap_or_default();
        others
            .extend((0..20).map(|_| format!("{process}-{}", number.saturating_add_signed(rng.random_range(-40..40)))));
    }
    others.retain(|other| other != id);
    others
}
