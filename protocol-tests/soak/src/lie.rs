//! The answers of ends that lie.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use crate::packet::{Event, Packet};
use crate::world::{World, lock};

/// How an end lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// It acks an id that no event had, and then the right one.
    UnknownId,
    /// It acks twice; the second ack must be ignored.
    Twice,
    /// It acks in another namespace of its own session.
    OtherTunnel,
    /// It acks in a namespace that it has not joined: a witness's, or a neighbour's.
    Intruder,
    Status,
    Headers,
    /// A packet that the grammar does not allow.
    Malformed,
    /// More or fewer attachments than announced, or placeholders that name none.
    Attachments,
    /// An answer larger than the server's limit.
    Oversized,
}

const LIES: [Lie; 9] = [
    Lie::UnknownId,
    Lie::Twice,
    Lie::OtherTunnel,
    Lie::Intruder,
    Lie::Status,
    Lie::Headers,
    Lie::Malformed,
    Lie::Attachments,
    Lie::Oversized,
];

const STATUSES: [&str; 9] = ["-1", "0", "99", "1000", "1e308", "200.5", "\"200\"", "null", "18446744073709551616"];

const HEADERS: [&str; 8] = [
    r#"{"bad name":"x"}"#,
    r#"{"x":"a\r\nx-soak: intruder"}"#,
    r#"{"x":{"y":1}}"#,
    r#"{"content-length":"5","transfer-encoding":"chunked"}"#,
    r#"{"x-socket2me-error":"forged","connection":"close","x-soak":"liar"}"#,
    r#"{"":""}"#,
    r#"{"x":"\ud800\u0000"}"#,
    "[[1]]",
];

const MALFORMED: [&str; 16] = [
    "",
    "4",
    "7",
    "49",
    "43",
    "4{}",
    "43/",
    "43/,",
    "43/TOKEN,",
    "43/TOKEN,1",
    "43/TOKEN,1{}",
    "43/TOKEN,99999999999999999999[]",
    "4599999999999999999999-/TOKEN,1[]",
    "44/TOKEN,{}",
    "42/TOKEN,[\"disconnecting\"]",
    "43/TOKEN,1[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
];

pub fn random(rng: &mut StdRng) -> Lie {
    LIES.choose(rng).copied().unwrap_or(Lie::Twice)
}

/// Makes the packets that a liar sends in place of `honest`.
pub fn tell(
    lie: Lie,
    event: &Event,
    honest: Vec<Packet>,
    neighbour: &str,
    world: &World,
    rng: &mut StdRng,
) -> Vec<Packet> {
    let Event { token, id, .. } = event;
    let signed = |by: &str, token: &str| format!(r#"{{"x-soak":"{by}","x-tunnel":"{token}"}}"#);
    let ack = |token: &str, id: u64, by: &str| {
        Packet::Text(format!("43/{token},{id}[200,\"from a liar\",{}]", signed(by, token)))
    };
    match lie {
        Lie::UnknownId => {
            let nobody = ack(token, id + 100_000, "nobody");
            [vec![nobody], honest].concat()
        }
        Lie::Twice => {
            let mut packets = honest;
            packets.push(ack(token, *id, "late"));
            packets
        }
        Lie::OtherTunnel => {
            // This session has joined both tunnels, so a lie in either is the end's own.
            let other = if token == neighbour { "" } else { neighbour };
            vec![ack(other, *id, "liar"), ack(token, *id, "liar")]
        }
        Lie::Intruder => {
            let witness = lock(&world.witnesses).choose(rng).cloned().unwrap_or_default();
            let victim = if rng.random() { witness } else { world.any_token(rng) };
            if victim == *token {
                return honest;
            }
            (0..20).map(|id| ack(&victim, id, "intruder")).collect()
        }
        Lie::Status => {
            let status = STATUSES.choose(rng).copied().unwrap_or("-1");
            vec![Packet::Text(format!("43/{token},{id}[{status},\"lie\",{}]", signed("liar", token)))]
        }
        Lie::Headers => {
            let headers = HEADERS.choose(rng).copied().unwrap_or("{}");
            let headers = headers.replacen('{', &format!("{{\"x-tunnel\":\"{token}\",\"x-soak\":\"liar\","), 1);
            vec![Packet::Text(format!("43/{token},{id}[200,\"lie\",{headers}]"))]
        }
        Lie::Malformed => {
            let text = MALFORMED.choose(rng).copied().unwrap_or("4");
            vec![Packet::Text(text.replace("TOKEN", token))]
        }
        Lie::Attachments => attachments(token, *id, &signed("liar", token), rng),
        Lie::Oversized => {
            let size = if rng.random_ratio(1, 8) { 2_500_000 } else { 1_000_000 };
            let body = "x".repeat(size);
            vec![Packet::Text(format!("43/{token},{id}[200,\"{body}\",{}]", signed("liar", token)))]
        }
    }
}

fn attachments(token: &str, id: u64, signed: &str, rng: &mut StdRng) -> Vec<Packet> {
    let head = |count: usize, number: &str| {
        Packet::Text(format!(r#"46{count}-/{token},{id}[200,{{"_placeholder":true,"num":{number}}},{signed}]"#))
    };
    let bytes = |count: usize| vec![Packet::Binary(vec![7; 300]); count];
    match rng.random_range(0..6) {
        0 => vec![head(1, "0"), Packet::text("2")],
        1 => [vec![head(2, "0")], bytes(1)].concat(),
        2 => [vec![head(11, "0")], bytes(11)].concat(),
        3 => [vec![head(1, "-5")], bytes(1)].concat(),
        4 => bytes(1),
        _ => [vec![head(3, "2")], bytes(3)].concat(),
    }
}
