//! WebSockets: the HTTP upgrade, messages in and out, and the closing handshake (RFC 6455).
//!
//! - `handshake`: the upgrade of a request: what is checked, and the 101
//! - this file: one WebSocket, with the memory of the message that arrives
//! - `parts`: messages in parts, pings and close frames, for those that pass them on
//! - `writer`: frames on their way to the peer

mod handshake;
mod parts;
mod writer;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut as _, Bytes};
use bytestring::ByteString;
use futures::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::io::poll_read_buf;

pub use self::handshake::{Handshake, is_upgrade};
pub use self::parts::Part;
use self::writer::Outgoing;
use crate::net::budget::{Budget, Memory};
use crate::net::buffers::{BUFFER_SIZE, Buffer};
use crate::net::connection::Connection;
use crate::net::seldom::warn_seldom;
use crate::proto::websocket::{Item, Opcode, ReadLimits, Reader, Violation};

/// Bytes that wait before they are written while more frames come. All that waits is written together at the latest when
/// there are no more frames.
const WRITE_BUFFER: usize = 32 << 10;

/// While less than a quarter of the shared memory is in use, room is reserved for this many times the bytes received so far, so
/// a message of up to 2 MiB is reallocated once: the first read takes 64 KiB. Otherwise as much is reserved as has arrived. Less
/// than 16 KiB counts as 16 KiB.
const GROWTH: usize = 31;

/// The bytes from which on a part of a message is handed on although its frame is not whole.
const PART: usize = 32 << 10;

/// A message over the limit, but within this many times the limit, is read and dropped, so that it costs one exchange. Beyond
/// it the WebSocket is closed with 1009.
const OVERSIZE_FACTOR: usize = 4;

/// How long a peer may take to answer a close frame.
const FAREWELL: Duration = Duration::from_secs(2);

/// The close code for a server without room, which the client may try again later (IANA's registry for RFC 6455).
const TRY_AGAIN: u16 = 1013;

/// What a WebSocket may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest message, in bytes. A larger one is [`Received::Oversized`], and one of more than four times this size ends
    /// the WebSocket with 1009.
    pub max_message: usize,
    /// The memory against which a message is counted while it arrives. One message may hold a quarter of it; beyond that, or
    /// when too little is left, the WebSocket ends with 1013.
    pub memory: Arc<Budget>,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A text message, which is UTF-8.
    Text(ByteString),
    /// A binary message.
    Binary(Bytes),
}

/// What a WebSocket received.
#[derive(Debug)]
pub enum Received {
    /// A whole message.
    Message(Message),
    /// A message over the limit, which was dropped as it arrived; the start of its text, if it is text.
    Oversized(Option<ByteString>),
    /// The end: nothing more is received.
    Ended(Ended),
}

/// How a WebSocket ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The peer sent a close frame, which is answered.
    Closed {
        /// Its code, if it has one.
        code: Option<u16>,
        /// The words behind the code; mostly none.
        reason: ByteString,
    },
    /// The peer closed the connection without a close frame.
    Gone,
    /// The connection failed.
    Failed,
    /// The peer broke the protocol, or sent far too large a message.
    Violation(Violation),
    /// A message has no room in memory.
    NoMemory,
}

impl Ended {
    /// Returns the code that the close frame to the peer should have, for [`WebSocket::farewell`].
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        match self {
            Self::Closed { .. } | Self::Gone | Self::Failed => None,
            Self::Violation(violation) => Some(violation.code()),
            Self::NoMemory => Some(TRY_AGAIN),
        }
    }
}

/// What is received whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    Messages,
    /// Parts of messages, as they come.
    Parts,
}

/// The peer cannot be reached any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

/// The server's side of a WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    socket: Connection,
    reader: Reader,
    /// Bytes that were read.
    input: Buffer,
    /// How many bytes of the input were handed to the reader.
    input_at: usize,
    outgoing: Outgoing,
    /// The socket has not taken all of the last write.
    is_blocked: bool,
    /// A close frame was queued.
    has_closed: bool,
    /// The peer's close frame has come: it says nothing more.
    is_closed: bool,
    /// Bytes have come since [`Self::take_heard`].
    has_heard: bool,
    /// The memory that all messages share.
    budget: Arc<Budget>,
    /// The memory of the message that arrives.
    memory: Memory,
}

impl WebSocket {
    /// Creates a WebSocket on a connection, of which `read` was read.
    fn new(socket: Connection, read: Bytes, limits: Limits) -> Self {
        socket.keep_few_unsent();
        let read_limits =
            ReadLimits { message: limits.max_message, oversized: limits.max_message.saturating_mul(OVERSIZE_FACTOR) };
        Self {
            socket,
            reader: Reader::new(read_limits),
            input: Vec::from(read).into(),
            input_at: 0,
            outgoing: Outgoing::default(),
            is_blocked: false,
            has_closed: false,
            is_closed: false,
            has_heard: false,
            budget: limits.memory,
            memory: Memory::default(),
        }
    }

    /// Receives what comes next. After [`Received::Ended`] only [`Self::farewell`] may be called.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        self.poll_received(cx, Whole::Messages).map(|(received, _)| received)
    }

    /// Receives what comes next, and tells whether it is the last of its message.
    fn poll_received(&mut self, cx: &mut Context<'_>, whole: Whole) -> Poll<(Received, bool)> {
        loop {
            let mut unread = &self.input[self.input_at..];
            let mut item = self.reader.read(&mut unread);
            self.input_at = self.input.len() - unread.len();
            let is_part = whole == Whole::Parts && item == Ok(None);
            if is_part {
                item = self.reader.take_part(PART);
            }
            let received = match item {
                Ok(Some(Item::Text(text))) => Received::Message(Message::Text(text)),
                Ok(Some(Item::Binary(data))) => Received::Message(Message::Binary(data)),
                Ok(Some(Item::Oversized(start))) => Received::Oversized(start),
                Ok(Some(Item::Ping(payload))) => {
                    self.outgoing.push_pong(payload);
                    continue;
                }
                Ok(Some(Item::Pong)) => continue,
                Ok(Some(Item::Close { code, reason })) => {
                    self.is_closed = true;
                    self.queue_close(code, "");
                    return Poll::Ready((Received::Ended(Ended::Closed { code, reason }), true));
                }
                Ok(None) if !self.has_memory(whole) => {
                    warn_seldom!("no memory for a message: its session is closed");
                    return Poll::Ready((Received::Ended(Ended::NoMemory), true));
                }
                Ok(None) => match ready!(self.poll_read(cx)) {
                    Ok(0) => return Poll::Ready((Received::Ended(Ended::Gone), true)),
                    Ok(_) => {
                        self.has_heard = true;
                        continue;
                    }
                    Err(_) => return Poll::Ready((Received::Ended(Ended::Failed), true)),
                },
                Err(violation) => {
                    if violation == Violation::TooLarge {
                        warn_seldom!("a message is far over --max-payload: its session is closed");
                    }
                    return Poll::Ready((Received::Ended(Ended::Violation(violation)), true));
                }
            };
            // From here on, the session counts it.
            self.memory.clear();
            return Poll::Ready((received, !is_part));
        }
    }

    /// Reads from the socket once all input was handed on: the rest of a long frame straight to its message, anything else to a
    /// buffer of the thread.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input = Buffer::default();
        self.input_at = 0;
        if let Some(mut direct) = self.reader.direct() {
            return poll_read_buf(Pin::new(&mut self.socket), cx, &mut direct.space());
        }
        let mut buffer = Buffer::take();
        let read = poll_read_buf(Pin::new(&mut self.socket), cx, &mut (&mut *buffer).limit(BUFFER_SIZE));
        if matches!(read, Poll::Ready(Ok(1..))) {
            self.input = buffer;
        }
        read
    }

    /// Reserves room for what comes next, and counts the message with its room. Returns false when there is no memory for it.
    fn has_memory(&mut self, whole: Whole) -> bool {
        let is_plenty = whole == Whole::Messages && self.budget.used() < self.budget.share();
        self.reader.reserve(if is_plenty { GROWTH } else { 1 });
        let bytes = self.reader.buffered_bytes();
        if bytes > self.budget.share() {
            self.budget.count_refusal();
            return false;
        }
        self.memory.resize(bytes, &self.budget)
    }

    /// Completes when a message may be queued. Pending from a write that the socket did not take whole until it has taken all that
    /// waits: what is not queued meanwhile can still be overtaken by something more urgent.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        if !self.is_blocked && self.unsent_bytes() < WRITE_BUFFER { Poll::Ready(Ok(())) } else { self.poll_flush(cx) }
    }

    /// Queues a message, after [`Self::poll_ready`] completed.
    pub fn queue(&mut self, message: Message) {
        match message {
            Message::Text(text) => self.outgoing.push(Opcode::Text, text.into_bytes()),
            Message::Binary(data) => self.outgoing.push(Opcode::Binary, data),
        }
    }

    /// Writes everything that was queued.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        let written = self.outgoing.poll_write(&mut self.socket, cx);
        self.is_blocked = written.is_pending();
        written.map_err(|_| Lost)
    }

    /// Returns how many bytes were queued and are not written yet.
    pub fn unsent_bytes(&self) -> usize {
        self.outgoing.bytes()
    }

    /// Closes the WebSocket, with a code or without one, as [`Self::goodbye`] does. What is left to do, a task of its own does.
    pub fn farewell(self, code: Option<u16>) {
        if let Some(rest) = self.goodbye(code) {
            tokio::spawn(rest);
        }
    }

    /// Sends a close frame, with a code or without one, as far as the peer takes it at once. Returns the rest, if there is any,
    /// for a task to do: to write what is left and to wait for the peer's close frame, for up to two seconds. The rest is
    /// counted in the shared memory. When that has too little left, the frames are dropped and the peer sees the connection end.
    ///
    /// Sends no close frame if one was [queued](Self::queue_close) before.
    pub fn goodbye(mut self, code: Option<u16>) -> Option<impl Future<Output = ()> + Send + 'static> {
        self.queue_close(code, "");
        // Of a message that was arriving nothing is kept.
        let Self { mut socket, mut outgoing, is_closed, mut memory, budget, .. } = self;
        let sent = poll_fn(|cx| outgoing.poll_write(&mut socket, cx)).now_or_never();
        if is_closed && sent.is_some() {
            // Both have sent a close frame, and the server closes the connection first (RFC 6455, section 7.1.1).
            return None;
        }
        if !memory.resize(outgoing.bytes(), &budget) {
            outgoing = Outgoing::default();
        }
        Some(async move {
            let goodbye = async {
                // Whatever goes wrong now, it is over.
                let _ = poll_fn(|cx| outgoing.poll_write(&mut socket, cx)).await;
                drop((outgoing, memory));
                let _ = socket.shutdown().await;
                // Closing with bytes unread would reset the connection, and the peer might lose our last words.
                let mut rest = [0; 1024];
                while matches!(socket.read(&mut rest).await, Ok(1..)) {}
            };
            let _ = tokio::time::timeout(FAREWELL, goodbye).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;
    use crate::net::connection::tests::pair;

    /// Closes a WebSocket with a message of 16 MiB, more than the system buffers for its peer. Returns the shared memory, what is
    /// left to do, and the peer.
    async fn goodbye(memory: usize) -> (Arc<Budget>, impl Future<Output = ()>, TcpStream) {
        let (socket, peer) = pair().await;
        let memory = Budget::new(memory);
        let limits = Limits { max_message: 1000, memory: Arc::clone(&memory) };
        let mut websocket = WebSocket::new(socket, Bytes::new(), limits);
        websocket.queue(Message::Binary(vec![0; 16 << 20].into()));
        (memory, websocket.goodbye(None).expect("the peer reads nothing"), peer)
    }

    /// A WebSocket whose peer does not read.
    async fn unread() -> (WebSocket, TcpStream) {
        let (socket, peer) = pair().await;
        let limits = Limits { max_message: 1000, memory: Budget::new(0) };
        (WebSocket::new(socket, Bytes::new(), limits), peer)
    }

    #[tokio::test]
    async fn no_more_is_asked_for_while_the_socket_takes_nothing() {
        let (mut websocket, mut peer) = unread().await;
        while poll_fn(|cx| websocket.poll_ready(cx)).now_or_never().is_some() {
            websocket.queue(Message::Binary(vec![0; 1000].into()));
            let _ = poll_fn(|cx| websocket.poll_flush(cx)).now_or_never();
        }
        assert!((1..=1004).contains(&websocket.unsent_bytes()), "{}", websocket.unsent_bytes());
        let ready = poll_fn(|cx| websocket.poll_ready(cx));
        let mut read = vec![0; 1 << 20];
        let (ready, read) = futures::future::join(ready, peer.read(&mut read)).await;
        assert!(ready.is_ok() && read.is_ok());
        assert_eq!(websocket.unsent_bytes(), 0);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_system_keeps_little_that_a_heartbeat_would_wait_for() {
        assert_eq!(crate::net::socket::tests::unsent_limit(&unread().await.0.socket), 128 << 10);
    }

    #[tokio::test]
    async fn what_a_peer_has_not_read_when_it_is_closed_is_counted_until_it_is_sent() {
        let (memory, rest, mut peer) = goodbye(64 << 20).await;
        assert!(memory.used() >= 16 << 20, "{}", memory.used());
        let reading = async move {
            peer.read_to_end(&mut Vec::new()).await.unwrap();
            assert_eq!(memory.used(), 0, "the peer's close frame is awaited");
        };
        futures::future::join(rest, reading).await;
    }

    #[tokio::test]
    async fn what_has_no_memory_is_not_sent_to_a_peer_that_is_closed() {
        let (memory, rest, mut peer) = goodbye(8 << 20).await;
        assert_eq!((memory.used(), memory.refused()), (0, 1));
        let reading = async move { peer.read_to_end(&mut Vec::new()).await.unwrap() };
        let ((), read) = futures::future::join(rest, reading).await;
        assert!((1..16 << 20).contains(&read), "{read}");
    }
}
