//! The WebSocket of an end's session: frames in and out, on a connection of its own.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::dial::{DialError, Dialer};
use super::frames::Frames;
use super::requests::{RequestError, USER_AGENT, connect};
use super::server_url::ServerUrl;
use super::stream::Stream;
use crate::causes::words;
use crate::proto::engine_io::Frame;
use crate::proto::websocket::{Item, Opcode, ReadLimits, Reader, Violation};

/// What a server may send in one message: a request's head in JSON, or the bytes of one event. A message beyond it is dropped, and
/// one beyond four times it ends the session.
const LIMITS: ReadLimits = ReadLimits { message: 4 << 20, oversized: 16 << 20 };

/// How long the server may take to answer the request for a WebSocket.
const PATIENCE: Duration = Duration::from_secs(20);

/// What one read takes, in bytes.
const READ: usize = 128 << 10;

/// What is shown of an answer that is no WebSocket, in bytes.
const SHOWN: usize = 1 << 10;

/// Why a WebSocket does not open.
#[derive(Debug)]
pub enum OpenError {
    /// There is no connection.
    Dial(DialError),
    /// Something between here and the server does not pass WebSockets, or the server does not grant one.
    Refused {
        /// The status of the answer.
        status: StatusCode,
        /// The beginning of its body.
        body: String,
    },
    /// The answer is none.
    Failed(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(error) => error.fmt(f),
            Self::Refused { status, body } => write!(f, "the server grants no WebSocket: {status} {body}"),
            Self::Failed(why) => write!(f, "the request for a WebSocket has failed: {why}"),
        }
    }
}

impl From<RequestError> for OpenError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Dial(error) => Self::Dial(error),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// A WebSocket that is open.
#[derive(Debug)]
pub struct WebSocket {
    stream: Stream,
    reader: Reader,
    read: Box<[u8]>,
    /// Bytes that came behind the server's 101, until they were read.
    early: Bytes,
    frames: Frames,
}

/// What a WebSocket has received.
#[derive(Debug)]
pub enum Heard {
    /// Frames and messages, perhaps none yet.
    Items(Vec<Item>),
    /// The server has broken the protocol.
    Violation(Violation),
    /// The connection is gone, for this reason.
    Gone(String),
}

impl WebSocket {
    /// Opens a WebSocket at a path of the server, with a query.
    ///
    /// # Errors
    /// With what has failed.
    pub async fn open(dialer: &Dialer, url: &ServerUrl, path: &str) -> Result<Self, OpenError> {
        match tokio::time::timeout(PATIENCE, Self::open_patiently(dialer, url, path)).await {
            Ok(opened) => opened,
            Err(_) => Err(OpenError::Failed(format!("no answer in {} s", PATIENCE.as_secs()))),
        }
    }

    async fn open_patiently(dialer: &Dialer, url: &ServerUrl, path: &str) -> Result<Self, OpenError> {
        let mut connection = connect(dialer, url).await?;
        let key = STANDARD.encode(rand::random::<[u8; 16]>());
        let request = Request::builder()
            .uri(url.target(path))
            .header(header::HOST, url.authority())
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::CONNECTION, HeaderValue::from_static("Upgrade"))
            .header(header::UPGRADE, HeaderValue::from_static("websocket"))
            .header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
            .header(header::SEC_WEBSOCKET_KEY, &key)
            .body(Full::default())
            .map_err(|error| OpenError::Failed(error.to_string()))?;
        let response = connection.send_request(request).await.map_err(|error| OpenError::Failed(words(&error)))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = response.status();
            let body = Limited::new(response.into_body(), SHOWN).collect().await;
            let body = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
            return Err(OpenError::Refused { status, body });
        }
        let accept = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if accept.is_none_or(|accept| accept.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes()) {
            return Err(OpenError::Failed("its 101 is the answer to another request".to_owned()));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(|error| OpenError::Failed(words(&error)))?;
        let parts = upgraded
            .downcast::<TokioIo<Stream>>()
            .map_err(|_| OpenError::Failed("the connection is of another kind".to_owned()))?;
        Ok(Self {
            stream: parts.io.into_inner(),
            reader: Reader::of_client(LIMITS),
            read: vec![0; READ].into(),
            early: parts.read_buf,
            frames: Frames::default(),
        })
    }

    /// Returns how many bytes wait to be written.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.frames.waiting()
    }

    /// Queues a frame.
    pub fn push(&mut self, frame: &Frame) {
        match frame {
            Frame::Text(text) => self.frames.push(Opcode::Text, text.as_bytes()),
            Frame::Binary(data) => self.frames.push(Opcode::Binary, data),
        }
    }

    /// Queues the answer to a ping.
    pub fn push_pong(&mut self, payload: &[u8]) {
        // A server that sends pings and reads nothing gets no more answers than fit here.
        if self.waiting() < READ {
            self.frames.push(Opcode::Pong, payload);
        }
    }

    /// Waits until something comes, and writes what waits meanwhile. Nothing is lost if this is dropped.
    pub async fn progress(&mut self) -> Heard {
        poll_fn(|cx| self.poll_progress(cx)).await
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
        let had_waiting = self.waiting() > 0;
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            return Poll::Ready(Heard::Gone(error.to_string()));
        }
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            return Poll::Ready(self.items(&early));
        }
        let mut buffer = ReadBuf::new(&mut self.read);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                Poll::Ready(Heard::Gone("the server has closed the connection".to_owned()))
            }
            Poll::Ready(Ok(())) => {
                let count = buffer.filled().len();
                let read = std::mem::take(&mut self.read);
                let heard = self.items(&read[..count]);
                self.read = read;
                Poll::Ready(heard)
            }
            Poll::Ready(Err(error)) => Poll::Ready(Heard::Gone(error.to_string())),
            // There is room for more now.
            Poll::Pending if had_waiting && self.waiting() == 0 => Poll::Ready(Heard::Items(Vec::new())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn items(&mut self, mut bytes: &[u8]) -> Heard {
        let mut items = Vec::new();
        loop {
            match self.reader.read(&mut bytes) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => return Heard::Items(items),
                Err(violation) => return Heard::Violation(violation),
            }
        }
    }

    /// Writes what the connection takes at once. Returns an error if it is gone.
    pub async fn write(&mut self) -> std::io::Result<()> {
        poll_fn(|cx| match self.poll_write(cx) {
            Poll::Ready(written) => Poll::Ready(written),
            Poll::Pending => Poll::Ready(Ok(())),
        })
        .await
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.frames.poll_write(&mut self.stream, cx)
    }

    /// Writes all that waits, and ends this half of the connection.
    pub async fn finish(mut self) {
        let finished = async {
            poll_fn(|cx| self.poll_write(cx)).await?;
            poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await
        };
        // Whatever goes wrong now, it is over.
        let _ = tokio::time::timeout(Duration::from_secs(2), finished).await;
    }
}
