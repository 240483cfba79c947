//! WebSocket frames, Engine.IO payloads, Socket.IO packets.

use std::hint::black_box;

use bytes::BufMut as _;
use bytestring::ByteString;
use socket2me::defaults::MAX_PACKETS;
use socket2me::proto::engine_io::payload::{Batch, Body, Packets};
use socket2me::proto::engine_io::{BinaryAs, Frame, PollingText, Revision};
use socket2me::proto::socket_io::parser;
use socket2me::proto::websocket::{Item, Opcode, ReadLimits, Reader, write_head};

use crate::inputs::{KIB, LINES, MIB, client_frame, document, quoted, text};
use crate::{Run, Step};

/// The most that one read from a socket returns, in bytes: the size of the server's read buffers.
const READ: usize = 64 * KIB;

/// How much the reader reserves, as a multiple of the bytes received: the server's value while it has plenty of memory.
const GROWTH: usize = 31;

/// The size of an ack without its body, in bytes, approximately: the packet's head, the status and the headers.
const AROUND: usize = 64;

/// The reader's limits, which no step's message exceeds.
pub const LIMITS: ReadLimits = ReadLimits { message: 16 * MIB, oversized: 32 * MIB };

pub const STEPS: &[Step] = &[
    Step { name: "websocket read, 100 bytes", bytes: 100, prepare: || read(100) },
    Step { name: "websocket read, 64 KiB", bytes: 64 * KIB, prepare: || read(64 * KIB) },
    Step { name: "websocket read, 1 MiB", bytes: MIB, prepare: || read(MIB) },
    Step { name: "websocket write_head", bytes: 4, prepare: head },
    Step { name: "engine_io payload encode, 4 packets", bytes: 10 * KIB, prepare: encode },
    Step { name: "engine_io payload decode, 4 packets", bytes: 10 * KIB, prepare: decode },
    Step { name: "socket_io parse, small ack", bytes: AROUND, prepare: || parse("hello, world!".into()) },
    Step { name: "socket_io parse, ack of 1 MiB", bytes: MIB, prepare: || parse(text(LINES, MIB)) },
];

/// Returns the packet of an ack that answers with this text.
pub fn ack(body: &str) -> String {
    let body = quoted(body);
    format!("3/k7Xq2mPz,7[200,{body},{{\"content-type\":\"text/plain; charset=utf-8\"}}]")
}

/// Reads the one message in these bytes, in the parts in which a socket would deliver them.
pub fn read_message(reader: &mut Reader, bytes: &[u8]) -> Item {
    let (mut input, mut unread) = bytes.split_at(bytes.len().min(READ));
    loop {
        if let Some(item) = reader.read(&mut input).expect("frames") {
            return item;
        }
        reader.reserve(GROWTH);
        let Some(mut direct) = reader.direct() else {
            (input, unread) = unread.split_at(unread.len().min(READ));
            continue;
        };
        let mut space = direct.space();
        let (part, rest) = unread.split_at(unread.len().min(READ).min(space.remaining_mut()));
        space.put_slice(part);
        unread = rest;
    }
}

fn read(size: usize) -> Run {
    let frame = client_frame(&text(LINES, size));
    let mut reader = Reader::new(LIMITS);
    Box::new(move || drop(black_box(read_message(&mut reader, black_box(&frame)))))
}

fn head() -> Run {
    let mut out = Vec::with_capacity(64);
    Box::new(move || {
        out.clear();
        write_head(Opcode::Text, black_box(700), &mut out);
        black_box(&out);
    })
}

/// Returns three small acks and one of nearly 10 KiB.
fn batch() -> Batch {
    let small = || ack("hello, world!");
    let large = ack(&document(10 * KIB - 4 * AROUND));
    let frames = [small(), small(), large, small()].map(|packet| Frame::Text(format!("4{packet}").into())).into();
    Batch { frames, revision: Revision::V4, binary: BinaryAs::Frames, text: PollingText::default() }
}

fn encode() -> Run {
    let batch = batch();
    Box::new(move || drop(black_box(black_box(&batch).encode())))
}

fn decode() -> Run {
    let Body::Text(body) = batch().encode() else { panic!("revision 4 is text") };
    Box::new(move || {
        for packet in Packets::new(Body::Text(black_box(&body).clone()), Revision::V4, MAX_PACKETS) {
            drop(black_box(packet.expect("a packet")));
        }
    })
}

#[expect(clippy::needless_pass_by_value, reason = "as the other steps")]
fn parse(body: String) -> Run {
    let packet = ByteString::from(ack(&body));
    Box::new(move || drop(black_box(parser::parse(black_box(&packet), 10, Revision::V4).expect("a packet"))))
}
