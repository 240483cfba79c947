//! The connections of a client's session: one WebSocket, and requests of long-polling on connections that stay.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use socket2me::proto::engine_io::Frame;
use socket2me::proto::engine_io::payload::Body;
use socket2me::proto::websocket::{Item, Opcode, ReadLimits, Reader, mask, write_masked_head};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;

use crate::support::within;

const LIMITS: ReadLimits = ReadLimits { message: 32 << 20, oversized: 64 << 20 };

/// What one read takes at the most, in bytes.
const READ: usize = 256 << 10;

/// A WebSocket that writes many frames at once.
pub(crate) struct WebSocket {
    stream: TcpStream,
    reader: Reader,
    read: Box<[u8]>,
    /// Frames that were not written yet, from `written` on.
    frames: Vec<u8>,
    written: usize,
}

impl WebSocket {
    /// Opens a WebSocket, which must be granted.
    pub(crate) async fn open(address: SocketAddr, target: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(within("an answer", stream.read_u8()).await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
        let reader = Reader::of_client(LIMITS);
        Self { stream, reader, read: vec![0; READ].into(), frames: Vec::new(), written: 0 }
    }

    /// How many bytes wait to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.frames.len() - self.written
    }

    pub(crate) fn push(&mut self, frame: &Frame) {
        match frame {
            Frame::Text(text) => self.push_frame(Opcode::Text, text.as_bytes()),
            Frame::Binary(data) => self.push_frame(Opcode::Binary, data),
        }
    }

    pub(crate) fn push_pong(&mut self, payload: &[u8]) {
        self.push_frame(Opcode::Pong, payload);
    }

    fn push_frame(&mut self, opcode: Opcode, payload: &[u8]) {
        const MASK: [u8; 4] = [0x5a, 0x01, 0xff, 0x3c];
        write_masked_head(opcode, payload.len(), MASK, &mut self.frames);
        let start = self.frames.len();
        self.frames.extend_from_slice(payload);
        mask(&mut self.frames[start..], MASK);
    }

    /// Waits until the connection takes or has something, and returns what was read: `None` at its end. Nothing is lost if this is
    /// dropped.
    pub(crate) async fn progress(&mut self) -> Option<Vec<Item>> {
        let wanted = if self.waiting() > 0 { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let ready = self.stream.ready(wanted).await.ok()?;
        if ready.is_writable() {
            self.write().ok()?;
        }
        if !ready.is_readable() {
            return Some(Vec::new());
        }
        let count = match self.stream.try_read(&mut self.read) {
            Ok(0) => return None,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some(Vec::new()),
            Err(_) => return None,
        };
        let mut unread = &self.read[..count];
        Some(std::iter::from_fn(|| self.reader.read(&mut unread).unwrap()).collect())
    }

    /// Writes what the connection takes.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        while self.waiting() > 0 {
            match self.stream.try_write(&self.frames[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        // What is left is short beside what is moved seldom.
        if self.waiting() == 0 || self.written > READ {
            self.frames.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }
}

/// A connection for requests one after the other.
pub(crate) struct Requests {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Requests {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// Sends a request, and returns the body of a 200.
    pub(crate) async fn send(&mut self, method: &str, target: &str, body: Option<&Body>) -> Option<Body> {
        let (kind, bytes) = match body {
            None => ("", &b""[..]),
            Some(Body::Text(text)) => ("Content-Type: text/plain;charset=UTF-8\r\n", &text.as_bytes()[..]),
            Some(Body::Binary(bytes)) => ("Content-Type: application/octet-stream\r\n", &bytes[..]),
        };
        let head = format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{kind}Content-Length: {}\r\n\r\n", bytes.len());
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.address).await.ok()?,
        };
        stream.set_nodelay(true).ok()?;
        stream.write_all(&[head.as_bytes(), bytes].concat()).await.ok()?;
        let mut answer = Vec::with_capacity(READ);
        let (head, length) = loop {
            if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
                let length =
                    head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())?;
                break (head, end + 4 + length);
            }
            (stream.read_buf(&mut answer).await.ok()? > 0).then_some(())?;
        };
        answer.reserve(length.saturating_sub(answer.len()));
        while answer.len() < length {
            (stream.read_buf(&mut answer).await.ok()? > 0).then_some(())?;
        }
        if !head.contains("\nconnection: close") {
            self.stream = Some(stream);
        }
        let start = head.len() + 4;
        let body = Bytes::from(answer).slice(start..length);
        let is_binary = head.contains("\ncontent-type: application/octet-stream");
        let is_taken = head.starts_with("http/1.1 200 ");
        is_taken.then(|| if is_binary { Body::Binary(body) } else { Body::Text(body.try_into().unwrap()) })
    }
}
