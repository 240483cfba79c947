//! Ends that stream (PROTOCOL.md, section 11), honest and not.
//!
//! `terms` is what an end asks for, `heard` what it hears of the server. `streams` is an honest end, which also judges what the server
//! sends, and `exchange` one of its exchanges; `sending` is what an exchange sends. `breach` is an end that breaks the rules.

mod breach;
mod exchange;
mod heard;
mod sending;
mod streams;
mod terms;

pub use breach::{Breach, Liar};
pub use streams::Streams;
pub use terms::Terms;

use crate::packet::Packet;

/// What an event costs of a window beside its bytes.
const EVENT_COST: usize = 256;

/// Writes an event that asks for no ack. `event` is JSON.
fn say(token: &str, event: &str) -> Packet {
    Packet::Text(format!("42/{token},{event}"))
}

/// Writes `data` of an exchange, as an attachment or as base64.
fn data(token: &str, ack: u64, id: &str, bytes: Vec<u8>, offset: u64, in_base64: bool) -> Vec<Packet> {
    if in_base64 {
        let text = crate::packet::to_base64(&bytes);
        return vec![Packet::Text(format!(r#"42/{token},{ack}["data","{id}","{text}",{offset}]"#))];
    }
    let event = format!(r#"451-/{token},{ack}["data","{id}",{{"_placeholder":true,"num":0}},{offset}]"#);
    vec![Packet::Text(event), Packet::Binary(bytes)]
}

/// Writes the ack of an event, whose arguments are this JSON.
fn ack(token: &str, id: u64, arguments: &str) -> Packet {
    Packet::Text(format!("43/{token},{id}{arguments}"))
}
