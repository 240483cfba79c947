//! What an end that streams asks for.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use crate::packet::{Packet, Revision};

/// What an end asks for when it joins.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Visitors' WebSockets come as bytes, and not as messages.
    pub is_raw: bool,
    /// A body comes once it is asked for.
    pub pull: bool,
    /// One event of an exchange is unacknowledged at a time.
    pub serial: bool,
    /// Bytes travel as text. Such an end takes no WebSockets.
    pub base64: bool,
    window: Option<usize>,
    chunk: Option<usize>,
    /// What it sends unacknowledged at most, in bytes, however large the window is.
    pub most: usize,
}

/// What may wait of an exchange, or be sent in one POST, while others use up the memory: with base64, and beside a small request and
/// what is left of the exchange before, less than 16 KiB.
const MODEST: usize = 3_000;

impl Terms {
    pub fn random(rng: &mut StdRng) -> Self {
        let one_of = |rng: &mut StdRng, sizes: &[usize]| sizes.choose(rng).copied().filter(|_| rng.random());
        Self {
            is_raw: rng.random(),
            pull: rng.random_ratio(1, 4),
            serial: rng.random_ratio(1, 6),
            base64: rng.random_ratio(1, 6),
            window: one_of(rng, &[1_000, 65_536, 1 << 20, 4 << 20]),
            chunk: one_of(rng, &[2_000, 16_000, 65_536]),
            most: usize::MAX,
        }
    }

    /// Asks for little at a time, which is promised while others use up the memory.
    pub fn modest(rng: &mut StdRng) -> Self {
        let chunk = [500, 1_500].choose(rng).copied();
        Self { window: Some(MODEST), chunk, most: MODEST, ..Self::random(rng) }
    }

    /// Writes the packet that joins a token's namespace and asks for this.
    pub fn join(&self, token: &str, revision: Revision) -> Packet {
        let Self { is_raw, pull, serial, base64, window, chunk, .. } = *self;
        let mut members = vec![("ws", if is_raw { r#""raw""# } else { r#""messages""# }.to_owned())];
        members.extend(pull.then(|| ("pull", "true".to_owned())));
        members.extend(serial.then(|| ("serial", "true".to_owned())));
        members.extend(base64.then(|| ("bytes", r#""base64""#.to_owned())));
        members.extend(window.map(|window| ("window", window.to_string())));
        members.extend(chunk.map(|chunk| ("chunk", chunk.to_string())));
        let joined = |between: &dyn Fn(&str, &str) -> String, comma: &str| {
            members.iter().map(|(name, value)| between(name, value)).collect::<Vec<_>>().join(comma)
        };
        Packet::Text(match revision {
            Revision::V4 => {
                let members = joined(&|name, value| format!(r#""{name}":{value}"#), ",");
                format!(r#"40/{token},{{"stream":{{{members}}}}}"#)
            }
            Revision::V3 => {
                let members = joined(&|name, value| format!("{name}={}", value.trim_matches('"')), "&");
                format!("40/{token}?stream=1&{members},")
            }
        })
    }

    /// Tells whether the server may have granted this.
    pub fn allow(&self, window: usize, chunk: usize) -> bool {
        chunk <= self.chunk.unwrap_or(65_536) && window <= self.window.unwrap_or(262_144).max(chunk)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn both_revisions_ask_for_the_same() {
        let mut terms = Terms::modest(&mut StdRng::seed_from_u64(0));
        (terms.is_raw, terms.pull, terms.serial, terms.base64) = (true, true, false, false);
        (terms.window, terms.chunk) = (Some(1_000), None);
        let v4 = r#"40/T,{"stream":{"ws":"raw","pull":true,"window":1000}}"#;
        assert_eq!(terms.join("T", Revision::V4), Packet::text(v4));
        assert_eq!(terms.join("T", Revision::V3), Packet::text("40/T?stream=1&ws=raw&pull=true&window=1000,"));
    }
}
