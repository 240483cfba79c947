//! From a visitor's request to the event, from an ack to the response, and a whole exchange through a session.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use http::HeaderMap;
use socket2me::defaults::ACK_TIMEOUT;
use socket2me::proto::engine_io::{self, Frame, Revision, Session, Sid, Transport};
use socket2me::proto::exchange::headers::Origin;
use socket2me::proto::exchange::{Body, EndOptions, HeadLimits, Response, Visit};
use socket2me::proto::link::ServerLink;
use socket2me::proto::socket_io::connection::{self, Answer, Awaited, Connection};
use socket2me::proto::socket_io::packet::{Args, Encoded};
use socket2me::proto::socket_io::{AckId, Event, Namespace};
use socket2me::proto::time::Instant;
use socket2me::proto::websocket::{Item, Opcode, Reader, write_head};

use crate::inputs::{KIB, LINES, MIB, client_frame, document, headers, quoted, text};
use crate::wire::{LIMITS, ack, read_message};
use crate::{Run, Step};

const POSTED: usize = 10 * KIB;
const SMALL: &str = "hello, world!";

/// The size of a small GET's event in bytes, approximately.
const EVENT: usize = 700;

pub const STEPS: &[Step] = &[
    Step { name: "event of a small GET", bytes: EVENT, prepare: || event(Visitor::gets()) },
    Step { name: "event of a 10 KiB POST", bytes: POSTED, prepare: || event(Visitor::posts()) },
    Step { name: "response, small", bytes: SMALL.len(), prepare: || response(&quoted(SMALL), None) },
    Step { name: "response, 1 MiB of text", bytes: MIB, prepare: || response(&quoted(&text(LINES, MIB)), None) },
    Step { name: "response, 10 KiB of JSON", bytes: POSTED, prepare: || response(&document(POSTED), None) },
    Step { name: "response, 64 KiB binary", bytes: 64 * KIB, prepare: binary },
    Step { name: "exchange, small GET", bytes: EVENT, prepare: || exchange(Visitor::gets(), SMALL) },
    Step {
        name: "exchange, 10 KiB POST echoed as text",
        bytes: POSTED,
        prepare: || exchange(Visitor::posts(), &document(POSTED)),
    },
    Step {
        name: "exchange, small GET with 1 MiB of text",
        bytes: MIB,
        prepare: || exchange(Visitor::gets(), &text(LINES, MIB)),
    },
];

fn namespace() -> Namespace {
    Namespace::new("/k7Xq2mPz".into()).expect("a namespace")
}

fn id() -> AckId {
    AckId::new(7).expect("an id")
}

/// A visitor's request, apart from what is the same for all.
struct Visitor {
    method: &'static str,
    headers: HeaderMap,
    body: Body,
    body_length: Option<u64>,
}

impl Visitor {
    fn gets() -> Self {
        Self { method: "GET", headers: headers(), body: Body::Absent, body_length: None }
    }

    fn posts() -> Self {
        let mut headers = headers();
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        let body = Body::Json(document(POSTED).into());
        Self { method: "POST", headers, body, body_length: Some(POSTED as u64) }
    }

    fn event(&self, namespace: &Namespace, draft: &mut String) -> Encoded {
        let visit = Visit {
            method: self.method,
            path: "/hooks/incoming",
            query: Some("source=bench&n=1"),
            http_version: "1.1",
            headers: &self.headers,
            remote_address: "127.0.0.1",
            forwarded_before: "",
            peer: "127.0.0.1",
            forwarded_proto: "http",
            forwarded_host: Some("relay.example"),
            tunnels_at: Some("/go/"),
            token: "MDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAw",
            has_trusted_request_id: false,
            verified: None,
            id: "0123456789abcdef-1f",
            body: &self.body,
            body_length: self.body_length,
            stream: None,
        };
        visit.encode(namespace, id(), EndOptions::default(), draft).expect("no marker among the headers")
    }
}

fn event(visitor: Visitor) -> Run {
    let namespace = namespace();
    let mut draft = String::with_capacity(64 * KIB);
    Box::new(move || drop(black_box(black_box(&visitor).event(&namespace, &mut draft))))
}

/// Decodes an ack with status 200 and this body, which is JSON.
fn response(body: &str, attachment: Option<Bytes>) -> Run {
    let args = format!("[200,{body},{{\"content-type\":\"text/plain; charset=utf-8\"}}]");
    let answer = Answer { args: Args::parse(args.into()).expect("arguments"), attachments: Vec::from_iter(attachment) };
    Box::new(move || {
        drop(black_box(
            Response::decode(black_box(&answer), HeadLimits::default(), Origin::Shared).expect("a response"),
        ))
    })
}

fn binary() -> Run {
    response("{\"_placeholder\":true,\"num\":0}", Some(vec![7; 64 * KIB].into()))
}

/// A session on a WebSocket, whose client has joined the namespace.
struct Tunnel {
    link: ServerLink<Connection<()>, ()>,
    reader: Reader,
    namespace: Namespace,
    sent: Vec<u8>,
    draft: String,
}

impl Tunnel {
    fn open() -> Self {
        let (now, namespace) = (Instant::ORIGIN, namespace());
        let settings = engine_io::Settings { max_payload: 16 * MIB, ..engine_io::Settings::default() };
        let sid = Sid::from_random([1; 15]);
        let session = Session::open(Arc::new(settings), sid, Revision::V4, Transport::WebSocket, now);
        let connection = Connection::new(Arc::new(connection::Settings::default()), Revision::V4, now);
        let mut link: ServerLink<Connection<()>, ()> = ServerLink::new(session, connection);
        link.websocket_frame(Frame::Text(format!("40{},", namespace.as_str()).into()), now);
        assert!(matches!(link.next_event(), Some(Event::Connect { .. })));
        assert!(link.act(now, |connection, lower| connection.accept(&namespace, "sid", lower)));
        let mut tunnel = Self {
            link,
            reader: Reader::new(LIMITS),
            namespace,
            sent: Vec::with_capacity(32 * KIB),
            draft: String::with_capacity(64 * KIB),
        };
        tunnel.send();
        tunnel
    }

    /// Writes the frames that are due to `sent`, as a socket would get them.
    fn send(&mut self) {
        self.sent.clear();
        while self.link.next_output().is_some() {}
        while let Some(Frame::Text(text)) = self.link.next_frame() {
            write_head(Opcode::Text, text.len(), &mut self.sent);
            self.sent.extend_from_slice(text.as_bytes());
        }
        black_box(&self.sent);
    }

    /// Sends the visitor's event to the end, and decodes the response from the end's frame `answer`.
    fn exchange(&mut self, visitor: &Visitor, answer: &[u8]) -> Response {
        let now = Instant::ORIGIN;
        let event = visitor.event(&self.namespace, &mut self.draft);
        let namespace = &self.namespace;
        let awaited = Some(Awaited { waiter: (), timeout: ACK_TIMEOUT });
        self.link.act(now, |connection, lower| connection.emit(namespace, event, awaited, lower));
        self.send();
        let Item::Text(text) = read_message(&mut self.reader, answer) else { panic!("no text") };
        self.link.websocket_frame(Frame::Text(text), now);
        let Some(Event::Acked { outcome: Ok(answer), .. }) = self.link.next_event() else { panic!("no ack") };
        self.send();
        Response::decode(&answer, HeadLimits::default(), Origin::Shared).expect("a response")
    }
}

fn exchange(visitor: Visitor, answer: &str) -> Run {
    let mut tunnel = Tunnel::open();
    let frame = client_frame(&format!("4{}", ack(answer)));
    assert_eq!(tunnel.exchange(&visitor, &frame).body, ByteString::from(answer).into_bytes());
    Box::new(move || drop(black_box(tunnel.exchange(black_box(&visitor), black_box(&frame)))))
}
