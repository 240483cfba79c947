//! The WebSocket transport: the HTTP upgrade, frames in and out, and a proper end.

mod writer;

use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base64::Engine as _;
use bytes::{BufMut as _, Bytes};
use bytestring::ByteString;
use futures::FutureExt as _;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::io::poll_read_buf;

use crate::net::body;
use crate::net::budget::{Budget, Held};
use crate::net::buffers;
use crate::net::connection::Guarded;
use crate::net::reply::{self, Reply};
use crate::net::websocket::writer::Outgoing;
use crate::proto::engine_io::{CloseReason, Frame};
use crate::proto::headers::list_contains;
use crate::proto::websocket::{Item, Opcode, ReadLimits, Reader, Violation};

/// Frames are taken until this many bytes wait, and written together, at the latest when there are no more.
const WRITE_BUFFER: usize = 32 << 10;

/// So much room for what is to come of a message, in times what has come, and up to 2 MiB are moved once: the first read takes
/// 64 KiB. When memory is scarce it is as much as has come.
const GROWTH: usize = 31;

/// A message over the limit, but not by more than this factor, is read and dropped, so that it costs one exchange. Beyond
/// it the connection is closed with 1009.
const OVERSIZE_FACTOR: usize = 4;

/// How long a peer may take to hear that the connection is over.
const FAREWELL: Duration = Duration::from_secs(2);

/// The server stops (RFC 6455, section 7.4.1).
const GOING_AWAY: u16 = 1001;

/// The server has no room now, and the client may come again (the registry of RFC 6455).
const TRY_AGAIN: u16 = 1013;

/// What a WebSocket has to say.
#[derive(Debug)]
pub enum Received {
    /// A message.
    Frame(Frame),
    /// A message over the limit; the start of its text.
    Oversized(Option<ByteString>),
    /// It is over, and this code tells the peer why.
    Ended(CloseReason, Option<u16>),
}

/// The peer cannot be reached any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

/// A WebSocket of the server's side.
#[derive(Debug)]
pub struct WebSocket {
    socket: Guarded,
    reader: Reader,
    /// Bytes that were read, and how many of them were looked at.
    input: Vec<u8>,
    looked_at: usize,
    outgoing: Outgoing,
    /// Our close frame is on its way.
    has_closed: bool,
    /// The peer's close frame has come: it says nothing more.
    is_closed: bool,
    /// The memory of all, of which a message that gathers gets a quarter at the most.
    memory: Arc<Budget>,
    held: Option<Held>,
}

/// Whether a request asks for a WebSocket.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.get_all(header::UPGRADE).iter().any(|value| list_contains(value.as_bytes(), "websocket"))
}

/// Answers a request for a WebSocket: 101, or what is wrong with it. `then` is called once the connection has changed
/// hands, or with `None` when it never will.
pub fn accept(
    head: &mut Parts,
    max_payload: usize,
    memory: Arc<Budget>,
    then: impl FnOnce(Option<WebSocket>) + Send + 'static,
) -> Reply {
    let accept = match accept_key(head) {
        Ok(accept) => accept,
        Err(reply) => {
            then(None);
            return *reply;
        }
    };
    let upgrade = head.extensions.remove::<OnUpgrade>();
    tokio::spawn(async move {
        let websocket = match upgrade {
            Some(upgrade) => match upgrade.await {
                Ok(upgraded) => WebSocket::from_upgraded(upgraded, max_payload, memory),
                // The peer was gone before the 101 reached it.
                Err(_) => None,
            },
            None => None,
        };
        then(websocket);
    });
    let mut reply = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = reply.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    reply
}

/// Checks the handshake (RFC 6455, section 4.2.1) and makes its answer.
fn accept_key(head: &Parts) -> Result<HeaderValue, Box<Reply>> {
    let headers = &head.headers;
    let refuse =
        |message: &'static str| Box::new(reply::text(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", message));
    if head.method != Method::GET {
        return Err(refuse("a WebSocket is asked for with GET"));
    }
    if !headers.get_all(header::CONNECTION).iter().any(|value| list_contains(value.as_bytes(), "upgrade")) {
        return Err(refuse("the header Connection must name Upgrade"));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes) != Some(b"13") {
        let mut reply = refuse("the header Sec-WebSocket-Version must be 13");
        reply.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Err(reply);
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map_or(&[][..], HeaderValue::as_bytes);
    let decoded = base64::engine::general_purpose::STANDARD.decode(key);
    if !decoded.is_ok_and(|bytes| bytes.len() == 16) {
        return Err(refuse("the header Sec-WebSocket-Key must be base64 of 16 bytes"));
    }
    HeaderValue::try_from(derive_accept_key(key)).map_err(|_| refuse("the header Sec-WebSocket-Key is wrong"))
}

impl WebSocket {
    fn from_upgraded(upgraded: hyper::upgrade::Upgraded, max_payload: usize, memory: Arc<Budget>) -> Option<Self> {
        // The only kind of connection the server makes; see `http`.
        let parts = upgraded.downcast::<TokioIo<Guarded>>().ok()?;
        let mut socket = parts.io.into_inner();
        let outgoing = Outgoing::behind(socket.switch());
        let limits = ReadLimits { message: max_payload, oversized: max_payload.saturating_mul(OVERSIZE_FACTOR) };
        Some(Self {
            socket,
            reader: Reader::new(limits),
            input: parts.read_buf.to_vec(),
            looked_at: 0,
            outgoing,
            has_closed: false,
            is_closed: false,
            memory,
            held: None,
        })
    }

    /// The next thing it says. After [`Received::Ended`] nothing more is asked of it but its farewell.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        loop {
            let mut unread = &self.input[self.looked_at..];
            let item = self.reader.read(&mut unread);
            self.looked_at = self.input.len() - unread.len();
            let frame = match item {
                Ok(Some(Item::Text(text))) => Received::Frame(Frame::Text(text)),
                Ok(Some(Item::Binary(data))) => Received::Frame(Frame::Binary(data)),
                Ok(Some(Item::Oversized(start))) => Received::Oversized(start),
                Ok(Some(Item::Ping(payload))) => {
                    self.outgoing.push_pong(payload);
                    continue;
                }
                Ok(Some(Item::Pong)) => continue,
                Ok(Some(Item::Close { code, .. })) => {
                    self.is_closed = true;
                    self.close(code);
                    return Poll::Ready(Received::Ended(CloseReason::TransportClose, None));
                }
                Ok(None) if !self.has_memory() => {
                    tracing::warn!("no memory for a message: its session is closed");
                    return Poll::Ready(Received::Ended(CloseReason::TransportError, Some(TRY_AGAIN)));
                }
                Ok(None) => match ready!(self.poll_read(cx)) {
                    Ok(0) => return Poll::Ready(Received::Ended(CloseReason::TransportClose, None)),
                    Ok(_) => continue,
                    Err(_) => return Poll::Ready(Received::Ended(CloseReason::TransportError, None)),
                },
                Err(violation) => {
                    if violation == Violation::TooLarge {
                        tracing::warn!("a message is far over --max-payload: its session is closed");
                    }
                    return Poll::Ready(Received::Ended(CloseReason::TransportError, Some(violation.code())));
                }
            };
            // It is counted where it goes.
            self.held = None;
            return Poll::Ready(frame);
        }
    }

    /// Reads where nothing is left to look at: the rest of a long frame to its place, anything else to a buffer.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        buffers::give_back(mem::take(&mut self.input));
        self.looked_at = 0;
        if let Some(mut direct) = self.reader.direct() {
            return poll_read_buf(Pin::new(&mut self.socket), cx, &mut direct.space());
        }
        let mut buffer = buffers::lend();
        let read = poll_read_buf(Pin::new(&mut self.socket), cx, &mut (&mut buffer).limit(buffers::SIZE));
        if matches!(read, Poll::Ready(Ok(1..))) {
            self.input = buffer;
        } else {
            buffers::give_back(buffer);
        }
        read
    }

    /// What gathers is taken from the memory that all share, and the room for more of it.
    fn has_memory(&mut self) -> bool {
        let is_plenty = self.memory.used() < self.memory.limit() / 4;
        self.reader.reserve(if is_plenty { GROWTH } else { 1 });
        let bytes = self.reader.buffered_bytes();
        if bytes > self.memory.limit() / 4 {
            self.memory.refuse();
            return false;
        }
        body::count(&mut self.held, bytes, &self.memory)
    }

    /// Whether it takes a frame now. Pending means that the peer does not read what it was sent.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        if self.unsent_bytes() < WRITE_BUFFER { Poll::Ready(Ok(())) } else { self.poll_flush(cx) }
    }

    /// Takes a frame, after `poll_ready` said so.
    pub fn queue(&mut self, frame: Frame) {
        match frame {
            Frame::Text(text) => self.outgoing.push(Opcode::Text, text.into_bytes()),
            Frame::Binary(data) => self.outgoing.push(Opcode::Binary, data),
        }
    }

    /// Sends everything that was taken.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        self.outgoing.poll_write(&mut self.socket, cx).map_err(|_| Lost)
    }

    /// The bytes that were taken and that the peer has not.
    pub fn unsent_bytes(&self) -> usize {
        self.outgoing.bytes()
    }

    fn close(&mut self, code: Option<u16>) {
        if !mem::replace(&mut self.has_closed, true) {
            let payload = code.map_or_else(Bytes::new, |code| Bytes::copy_from_slice(&code.to_be_bytes()));
            self.outgoing.push(Opcode::Close, payload);
        }
    }

    /// Says goodbye, with a code or without. If the peer has not, a task of its own waits for that, for a short while.
    pub fn farewell(mut self, code: Option<u16>) {
        self.close(code);
        // What was read is dropped here, and with it its part of the memory: others wait for that.
        let Self { mut socket, mut outgoing, is_closed, .. } = self;
        let sent = poll_fn(|cx| outgoing.poll_write(&mut socket, cx)).now_or_never();
        if is_closed && sent.is_some() {
            // Both have said goodbye, and it is the server that closes first (RFC 6455, section 7.1.1).
            return;
        }
        tokio::spawn(async move {
            let goodbye = async {
                // Whatever goes wrong now, it is over.
                let _ = poll_fn(|cx| outgoing.poll_write(&mut socket, cx)).await;
                let _ = socket.shutdown().await;
                // Closing with bytes unread would reset the connection, and the peer might lose our last words.
                let mut rest = [0; 1024];
                while matches!(socket.read(&mut rest).await, Ok(1..)) {}
            };
            let _ = tokio::time::timeout(FAREWELL, goodbye).await;
        });
    }
}

/// The code that tells a client why its session ended: none unless it helps.
pub fn close_code(reason: CloseReason) -> Option<u16> {
    match reason {
        CloseReason::ServerShuttingDown => Some(GOING_AWAY),
        CloseReason::TransportError
        | CloseReason::TransportClose
        | CloseReason::PingTimeout
        | CloseReason::ParseError
        | CloseReason::ForcedClose
        | CloseReason::ForcedServerClose
        | CloseReason::Overflow => None,
    }
}
