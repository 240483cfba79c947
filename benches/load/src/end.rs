//! The end of a tunnel: Socket.IO on Engine.IO 4, over a WebSocket or long-polling. It acks every request at once.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};

use crate::http::{Connection, bad};
use crate::run::Run;
use crate::tunnels::Ticket;
use crate::ws::{self, WebSocket};

const WS_PATH: &str = "/socket.io/?EIO=4&transport=websocket";
const POLLING_PATH: &str = "/socket.io/?EIO=4&transport=polling";
const RECORD_SEPARATOR: u8 = 0x1e;

/// How the end answers requests.
pub struct Plan {
    pub answer: Answer,
    /// The body of every request, if requests have one. The first body of each tunnel is compared with it.
    pub expected: Option<Vec<u8>>,
}

pub enum Answer {
    /// A string, as JSON text and as plain bytes.
    Text { literal: Vec<u8>, plain: Vec<u8> },
    /// Bytes, as an attachment.
    Binary(Vec<u8>),
    /// The request's own body.
    Echo,
}

impl Answer {
    pub fn text(text: &str) -> Self {
        Self::Text { literal: serde_json::json!(text).to_string().into_bytes(), plain: text.into() }
    }
}

/// Where packets go: into frames of a WebSocket, or into the queue of a polling end.
pub trait Sink {
    fn text(&mut self, parts: &[&[u8]]);
    fn binary(&mut self, data: &[u8]);
}

impl Sink for Vec<u8> {
    fn text(&mut self, parts: &[&[u8]]) {
        ws::frame(self, ws::TEXT, parts);
    }

    fn binary(&mut self, data: &[u8]) {
        ws::frame(self, ws::BINARY, &[data]);
    }
}

impl Sink for Vec<Vec<u8>> {
    fn text(&mut self, parts: &[&[u8]]) {
        self.push(parts.concat());
    }

    fn binary(&mut self, _: &[u8]) {
        unimplemented!("no scenario has binary answers over polling");
    }
}

/// The protocol state of one end in its namespace.
pub struct End {
    namespace: String,
    /// JSON, or empty.
    auth: String,
    plan: Rc<Plan>,
    joined: bool,
    compared: bool,
    answered: u64,
    session: Session,
    /// The event whose attachments have not all arrived.
    waiting: Option<Waiting>,
}

/// The content of the open packet.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    sid: String,
    max_payload: usize,
}

struct Waiting {
    ack: Vec<u8>,
    json: Vec<u8>,
    missing: usize,
    attachments: Vec<Vec<u8>>,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
}

impl End {
    pub fn new(ticket: &Ticket, plan: Rc<Plan>) -> Self {
        let Ticket { token, key } = ticket;
        Self {
            namespace: format!("/{token}"),
            auth: if key.is_empty() { String::new() } else { serde_json::json!({ "key": key }).to_string() },
            plan,
            joined: false,
            compared: false,
            answered: 0,
            session: Session::default(),
            waiting: None,
        }
    }

    /// Handles an Engine.IO packet.
    fn packet(&mut self, packet: &[u8], out: &mut impl Sink) -> io::Result<()> {
        match packet {
            [b'0', open @ ..] => {
                self.session = serde_json::from_slice(open)?;
                out.text(&[b"40", self.namespace.as_bytes(), b",", self.auth.as_bytes()]);
                Ok(())
            }
            [b'2', ping @ ..] => {
                out.text(&[b"3", ping]);
                Ok(())
            }
            [b'4', packet @ ..] => self.socket_io(packet, out),
            [b'6'] => Ok(()),
            other => Err(bad(format!("packet {}", String::from_utf8_lossy(&other[..other.len().min(20)])))),
        }
    }

    fn socket_io(&mut self, packet: &[u8], out: &mut impl Sink) -> io::Result<()> {
        let unexpected = || bad(format!("packet 4{}", String::from_utf8_lossy(&packet[..packet.len().min(80)])));
        let start = packet.iter().position(|byte| *byte == b'/').ok_or_else(unexpected)?;
        let rest = packet[start..].strip_prefix(self.namespace.as_bytes()).ok_or_else(unexpected)?;
        let rest = rest.strip_prefix(b",").unwrap_or(rest);
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (ack, json) = rest.split_at(digits);
        match &packet[..start] {
            b"0" => self.joined = true,
            b"2" => self.answer(ack, json, &[], out)?,
            [b'5', count @ .., b'-'] => {
                let missing = std::str::from_utf8(count).ok().and_then(|count| count.parse().ok());
                let missing = missing.filter(|missing| *missing > 0).ok_or_else(unexpected)?;
                self.waiting = Some(Waiting { ack: ack.into(), json: json.into(), missing, attachments: Vec::new() });
            }
            _ => return Err(unexpected()),
        }
        Ok(())
    }

    fn attachment(&mut self, data: &[u8], out: &mut impl Sink) -> io::Result<()> {
        let mut waiting = self.waiting.take().ok_or_else(|| bad("stray binary message"))?;
        waiting.attachments.push(data.to_vec());
        waiting.missing -= 1;
        if waiting.missing > 0 {
            self.waiting = Some(waiting);
            return Ok(());
        }
        self.answer(&waiting.ack, &waiting.json, &waiting.attachments, out)
    }

    fn answer(&mut self, ack: &[u8], json: &[u8], attachments: &[Vec<u8>], out: &mut impl Sink) -> io::Result<()> {
        self.answered += 1;
        self.compare(json, attachments)?;
        let namespace = self.namespace.as_bytes();
        match &self.plan.answer {
            Answer::Text { literal, .. } => out.text(&[b"43", namespace, b",", ack, b"[200,", literal, b",{}]"]),
            Answer::Binary(data) => {
                out.text(&[b"461-", namespace, b",", ack, b"[200,{\"_placeholder\":true,\"num\":0},{}]"]);
                out.binary(data);
            }
            Answer::Echo => {
                let body = body(json)?.ok_or_else(|| bad("a request without a body"))?;
                out.text(&[b"43", namespace, b",", ack, b"[200,", body.get().as_bytes(), b",{}]"]);
            }
        }
        Ok(())
    }

    /// Compares the first body of this tunnel with the one sent: as a string, as JSON or as an attachment.
    fn compare(&mut self, json: &[u8], attachments: &[Vec<u8>]) -> io::Result<()> {
        let Some(expected) = self.plan.expected.as_ref().filter(|_| !self.compared) else { return Ok(()) };
        self.compared = true;
        let same = match attachments {
            [attachment] => attachment == expected,
            [] => body(json)?.is_some_and(|body| match serde_json::from_str::<String>(body.get()) {
                Ok(text) => text.as_bytes() == expected,
                Err(_) => body.get().as_bytes() == expected,
            }),
            _ => false,
        };
        if same { Ok(()) } else { Err(bad("a request with another body")) }
    }
}

/// Finds the body in an event's `["request",{…}]`.
fn body(json: &[u8]) -> io::Result<Option<&RawValue>> {
    let (_, request): (&RawValue, Request<'_>) = serde_json::from_slice(json)?;
    Ok(request.body)
}

/// Connects over a WebSocket and joins the namespace.
pub async fn join_ws(number: usize, to: SocketAddr, ticket: &Ticket, plan: Rc<Plan>) -> io::Result<(WebSocket, End)> {
    let mut socket = WebSocket::open(number, to, WS_PATH).await?;
    let mut end = End::new(ticket, plan);
    loop {
        step(&mut socket, &mut end)?;
        if end.joined {
            return Ok((socket, end));
        }
        socket.turn().await?;
    }
}

/// Handles everything that was read.
fn step(socket: &mut WebSocket, end: &mut End) -> io::Result<()> {
    socket.messages(|opcode, data, out| match opcode {
        ws::TEXT => end.packet(data, out),
        _ => end.attachment(data, out),
    })
}

pub async fn serve_ws(
    number: usize,
    to: SocketAddr,
    ticket: &Ticket,
    plan: Rc<Plan>,
    run: &Run,
    on_join: impl FnOnce(),
) -> io::Result<()> {
    let (mut socket, mut end) = join_ws(number, to, ticket, plan).await?;
    on_join();
    loop {
        step(&mut socket, &mut end)?;
        run.answered(std::mem::take(&mut end.answered));
        socket.turn().await?;
    }
}

/// Leaves the namespace and closes the WebSocket.
pub async fn leave(mut socket: WebSocket, token: &str) -> io::Result<()> {
    socket.output().text(&[b"41/", token.as_bytes(), b","]);
    socket.close().await
}

/// Serves over long-polling: one connection waits for packets, the other posts the answers.
pub async fn serve_polling(
    to: SocketAddr,
    ticket: &Ticket,
    plan: Rc<Plan>,
    run: &Run,
    on_join: impl FnOnce(),
) -> io::Result<()> {
    let mut polls = Connection::open(to).await?;
    let mut end = End::new(ticket, plan);
    let queue = Rc::new(Queue::default());
    let mut on_join = Some(on_join);
    let mut poster: Option<Poster> = None;
    loop {
        let sid = if end.session.sid.is_empty() { String::new() } else { format!("&sid={}", end.session.sid) };
        let poll = format!("GET {POLLING_PATH}{sid} HTTP/1.1\r\nHost: {to}\r\n\r\n");
        let status = polls.send(poll.as_bytes()).await?;
        if status != 200 {
            return Err(bad(format!("poll: {status}")));
        }
        for packet in polls.body().split(|byte| *byte == RECORD_SEPARATOR) {
            end.packet(packet, &mut *queue.packets.borrow_mut())?;
        }
        run.answered(std::mem::take(&mut end.answered));
        queue.wake.notify_one();
        if let Some(on_join) = on_join.take_if(|_| end.joined) {
            on_join();
        }
        match &poster {
            None => {
                let post = post(to, end.session.sid.clone(), end.session.max_payload, queue.clone());
                poster = Some(Poster(spawn_local(post)));
            }
            Some(poster) if poster.0.is_finished() => return Err(bad("a post failed")),
            Some(_) => (),
        }
    }
}

/// Packets to be posted.
#[derive(Default)]
struct Queue {
    packets: RefCell<Vec<Vec<u8>>>,
    wake: Notify,
}

struct Poster(JoinHandle<io::Result<()>>);

impl Drop for Poster {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn post(to: SocketAddr, sid: String, max_payload: usize, queue: Rc<Queue>) -> io::Result<()> {
    let mut posts = Connection::open(to).await?;
    loop {
        queue.wake.notified().await;
        let packets = queue.packets.take();
        let mut packets = packets.into_iter().peekable();
        while let Some(mut body) = packets.next() {
            while let Some(packet) = packets.next_if(|packet| body.len() + 1 + packet.len() <= max_payload) {
                body.push(RECORD_SEPARATOR);
                body.extend(packet);
            }
            let head = format!(
                "POST {POLLING_PATH}&sid={sid} HTTP/1.1\r\nHost: {to}\r\n\
                 Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let status = posts.send(&[head.as_bytes(), &body].concat()).await?;
            if status != 200 {
                return Err(bad(format!("post: {status}")));
            }
        }
    }
}
