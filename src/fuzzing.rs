//! The bodies of the fuzz targets. They live here so that every build compiles them, and so that an ordinary test replays
//! the seeds in `fuzz/seeds`; `fuzz/fuzz_targets` only calls them.
//!
//! Each takes any bytes, and panics when an invariant does not hold.

use bytes::Bytes;
use bytestring::ByteString;

use crate::proto::engine_io::payload::{Batch, Body, Packets};
use crate::proto::engine_io::{BinaryAs, ClientPacket, Frame, Message, Revision};
use crate::proto::socket_io::attachments::{Assembly, Whole};
use crate::proto::socket_io::parser;

/// The limit of attachments in the targets: the server's default.
const MAX_ATTACHMENTS: usize = 10;

/// A Socket.IO packet that is accepted, written and read again, is the same packet. The first byte chooses the revision.
pub fn socket_io_packet(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    let revision = revision(choice);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(parsed) = parser::parse(&ByteString::from(text), MAX_ATTACHMENTS, revision) else { return };
    assert!(parsed.missing <= MAX_ATTACHMENTS);
    let mut assembly = Assembly::default();
    let mut whole = assembly.begin(parsed.clone());
    for _ in 0..parsed.missing {
        whole = assembly.attach(Bytes::from_static(b"attachment"), usize::MAX);
    }
    // Placeholders that name no attachment are an error of the whole packet.
    let Ok(whole) = whole else { return };
    let Some(Whole::Packet(packet)) = whole else { panic!("all attachments were given: {whole:?}") };
    assert!(!assembly.is_waiting());
    let encoded = packet.encode();
    assert_eq!(encoded.attachments.len(), parsed.missing);
    let Message::Text(again) = encoded.text.message() else { panic!("a packet is text") };
    assert_eq!(parser::parse(&again, MAX_ATTACHMENTS, revision), Ok(parsed));
}

/// The packets of an Engine.IO payload, written and read again, are the same packets. The first byte chooses the revision,
/// the form of the body, and whether the answer may be binary.
pub fn engine_io_payload(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    let revision = revision(choice);
    let body = Bytes::copy_from_slice(data);
    let body = if choice & 2 == 0 {
        let Ok(text) = ByteString::try_from(body) else { return };
        Body::Text(text)
    } else {
        Body::Binary(body)
    };
    let packets: Vec<ClientPacket> = Packets::new(body, revision).map_while(Result::ok).collect();
    let frames: Vec<Frame> = packets.iter().map(|packet| packet.encode(revision)).collect();
    for (packet, frame) in packets.iter().zip(&frames) {
        assert_eq!(ClientPacket::decode(frame.clone(), revision).as_ref(), Ok(packet));
    }
    if packets.is_empty() {
        return;
    }
    let binary = if choice & 4 == 0 { BinaryAs::Frames } else { BinaryAs::Base64 };
    let body = Batch { frames, revision, binary }.encode(None);
    let again: Result<Vec<_>, _> = Packets::new(body, revision).collect();
    assert_eq!(again, Ok(packets));
}

fn revision(choice: u8) -> Revision {
    if choice & 1 == 0 { Revision::V4 } else { Revision::V3 }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Feeds a target its committed seeds.
    fn replay(target: &str, body: fn(&[u8])) {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let mut count = 0;
        for seed in std::fs::read_dir(&seeds).unwrap() {
            body(&std::fs::read(seed.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "no seeds in {}", seeds.display());
    }

    #[test]
    fn replays_the_seeds() {
        replay("socket_io_packet", super::socket_io_packet);
        replay("engine_io_payload", super::engine_io_payload);
    }
}
