//! The WebSocket transport: the HTTP upgrade, frames in and out, and a proper end.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use bytestring::ByteString;
use futures::{Sink as _, SinkExt as _, StreamExt as _};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Utf8Bytes};

use super::budget::Budget;
use super::guard::Guarded;
use super::outgoing::{Kind, Outgoing};
use super::reply::{self, Reply};
use crate::proto::engine_io::{CloseReason, Frame};
use crate::proto::exchange::headers::names;

/// Read at a time, and kept by each connection. tungstenite's default is 128 KiB.
const READ_BUFFER: usize = 4 << 10;

/// Frames are taken until this many bytes wait, and written together, at the latest when there are no more.
const WRITE_BUFFER: usize = 64 << 10;

/// Answers to pings that may wait: dozens of the largest.
const MAX_CONTROL_BYTES: usize = 4 << 10;

/// A message over the limit, but not by more than this factor, is read and dropped, so that it costs one exchange. Beyond
/// it the connection is closed with 1009.
const OVERSIZE_FACTOR: usize = 4;

/// The start of an oversized text message that is kept: enough for the head of any packet.
const OVERSIZE_START: usize = 512;

/// How long a peer may take to hear that the connection is over.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a WebSocket has to say.
#[derive(Debug)]
pub enum Received {
    /// A message.
    Frame(Frame),
    /// A message over the limit; the start of its text.
    Oversized(Option<String>),
    /// It is over, in this way.
    Ended(CloseReason, Option<CloseFrame>),
}

/// The peer cannot be reached any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

/// A WebSocket of the server's side.
#[derive(Debug)]
pub struct WebSocket {
    stream: WebSocketStream<Connection>,
    max_payload: usize,
}

/// What tungstenite reads from and answers to. Its own words, pongs and closes, wait with ours: nothing comes between the
/// parts of a frame.
#[derive(Debug)]
struct Connection {
    socket: Guarded,
    outgoing: Outgoing,
}

impl Connection {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_write(&mut self.socket, cx)
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.outgoing.push_control(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    /// Sent by [`WebSocket::poll_flush`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// Whether a request asks for a WebSocket.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.get_all(header::UPGRADE).iter().any(|value| names(value.as_bytes(), "websocket"))
}

/// Answers a request for a WebSocket: 101, or what is wrong with it. `then` runs in a task of its own once the connection
/// has changed hands, or with `None` when it never did.
pub fn accept<T, F>(mut request: Request<Incoming>, max_payload: usize, memory: Arc<Budget>, then: T) -> Reply
where
    T: FnOnce(Option<WebSocket>) -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let accept = match accept_key(&request) {
        Ok(accept) => accept,
        Err(reply) => {
            tokio::spawn(async move { then(None).await });
            return *reply;
        }
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // What the connection's task would keep alive beside its socket is let go here.
        drop(request);
        let websocket = match upgrade.await {
            Ok(upgraded) => WebSocket::from_upgraded(upgraded, max_payload, memory).await,
            // The peer was gone before the 101 reached it.
            Err(_) => None,
        };
        then(websocket).await;
    });
    let mut reply = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = reply.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    reply
}

/// Checks the handshake (RFC 6455, section 4.2.1) and makes its answer.
fn accept_key(request: &Request<Incoming>) -> Result<HeaderValue, Box<Reply>> {
    let headers = request.headers();
    let refuse =
        |message: &'static str| Box::new(reply::text(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", message));
    if request.method() != Method::GET {
        return Err(refuse("a WebSocket is asked for with GET"));
    }
    if !headers.get_all(header::CONNECTION).iter().any(|value| names(value.as_bytes(), "upgrade")) {
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
    async fn from_upgraded(
        upgraded: hyper::upgrade::Upgraded,
        max_payload: usize,
        memory: Arc<Budget>,
    ) -> Option<Self> {
        // The only kind of connection the server makes; see `http`.
        let parts = upgraded.downcast::<TokioIo<Guarded>>().ok()?;
        let largest = max_payload.saturating_mul(OVERSIZE_FACTOR);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(largest))
            .max_frame_size(Some(largest));
        let early = parts.read_buf.to_vec();
        let mut socket = parts.io.into_inner();
        socket.gather(memory);
        let stream = Connection { socket, outgoing: Outgoing::default() };
        let stream = WebSocketStream::from_partially_read(stream, early, Role::Server, Some(config)).await;
        Some(Self { stream, max_payload })
    }

    /// The next thing it says.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        loop {
            // Whoever asks and asks and does not read the answers is not asked on.
            if self.stream.get_ref().outgoing.control_bytes() > MAX_CONTROL_BYTES {
                let _ = ready!(self.poll_flush(cx));
            }
            let message = match ready!(self.stream.poll_next_unpin(cx)) {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Poll::Ready(ended(&error)),
                None => return Poll::Ready(Received::Ended(CloseReason::TransportClose, None)),
            };
            // Control frames come between the fragments of a message, which is not whole then.
            if message.is_text() || message.is_binary() {
                self.stream.get_mut().socket.took_message();
            }
            let oversized = message.len() > self.max_payload;
            return Poll::Ready(match message {
                Message::Text(text) if oversized => Received::Oversized(Some(start(&text))),
                Message::Binary(_) if oversized => Received::Oversized(None),
                Message::Text(text) => match ByteString::try_from(Bytes::from(text)) {
                    Ok(text) => Received::Frame(Frame::Text(text)),
                    Err(_) => Received::Ended(CloseReason::TransportError, Some(close(CloseCode::Invalid))),
                },
                Message::Binary(data) => Received::Frame(Frame::Binary(data)),
                Message::Ping(_) => {
                    // Lets tungstenite answer, into memory; what is wrong with the socket shows with the next read.
                    let _ = Pin::new(&mut self.stream).poll_flush(cx);
                    continue;
                }
                Message::Pong(_) | Message::Frame(_) => continue,
                // The answer to it is written by the farewell.
                Message::Close(_) => Received::Ended(CloseReason::TransportClose, None),
            });
        }
    }

    /// Whether it takes a frame now. Pending means that the peer does not read what it was sent.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        if self.unsent_bytes() < WRITE_BUFFER { Poll::Ready(Ok(())) } else { self.poll_flush(cx) }
    }

    /// Takes a frame, after `poll_ready` said so.
    pub fn queue(&mut self, frame: Frame) {
        let outgoing = &mut self.stream.get_mut().outgoing;
        match frame {
            Frame::Text(text) => outgoing.push_frame(Kind::Text, text.into_bytes()),
            Frame::Binary(data) => outgoing.push_frame(Kind::Binary, data),
        }
    }

    /// Sends everything that was taken.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        self.stream.get_mut().poll_send(cx).map_err(|_| Lost)
    }

    /// The bytes that were taken and that the peer has not.
    pub fn unsent_bytes(&self) -> usize {
        self.stream.get_ref().outgoing.bytes()
    }

    /// Says goodbye in a task of its own, which does not outlive a short wait.
    pub fn farewell(mut self, frame: Option<CloseFrame>) {
        tokio::spawn(async move {
            let goodbye = async {
                // Whatever goes wrong now, it is over.
                let _ = self.stream.close(frame).await;
                // When the peer closed first there is nothing to send but the answer that is queued already.
                let _ = self.stream.flush().await;
                let _ = poll_fn(|cx| self.poll_flush(cx)).await;
                // Closing with bytes unread would reset the connection, and the peer might lose our last words.
                let mut rest = [0; 1024];
                let socket = self.stream.get_mut();
                let _ = tokio::io::AsyncWriteExt::shutdown(socket).await;
                while matches!(socket.read(&mut rest).await, Ok(1..)) {}
            };
            let _ = tokio::time::timeout(FAREWELL, goodbye).await;
        });
    }
}

/// The close frame that tells a client why its session ended: none has a code unless it helps.
pub fn close_frame(reason: CloseReason) -> Option<CloseFrame> {
    match reason {
        CloseReason::ServerShuttingDown => Some(close(CloseCode::Away)),
        CloseReason::TransportError
        | CloseReason::TransportClose
        | CloseReason::PingTimeout
        | CloseReason::ParseError
        | CloseReason::ForcedClose
        | CloseReason::ForcedServerClose
        | CloseReason::Overflow => None,
    }
}

fn close(code: CloseCode) -> CloseFrame {
    CloseFrame { code, reason: Utf8Bytes::default() }
}

/// tungstenite says nothing to the peer when it fails; the code is ours to send (RFC 6455, section 7.4.1).
fn ended(error: &Error) -> Received {
    let (reason, code) = match error {
        Error::ConnectionClosed | Error::AlreadyClosed => (CloseReason::TransportClose, None),
        Error::Capacity(error) => {
            tracing::warn!(%error, "a message is far over --max-payload: its session is closed");
            (CloseReason::TransportError, Some(CloseCode::Size))
        }
        Error::Utf8(_) => (CloseReason::TransportError, Some(CloseCode::Invalid)),
        Error::Protocol(_) => (CloseReason::TransportError, Some(CloseCode::Protocol)),
        Error::Io(error) if error.kind() == io::ErrorKind::OutOfMemory => {
            tracing::warn!(%error, "no memory for a message: its session is closed");
            (CloseReason::TransportError, Some(CloseCode::Again))
        }
        _ => (CloseReason::TransportError, None),
    };
    Received::Ended(reason, code.map(close))
}

fn start(text: &str) -> String {
    let end = (0..=OVERSIZE_START.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    text[..end].to_owned()
}
