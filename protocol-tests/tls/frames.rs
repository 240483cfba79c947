//! A client of HTTP/2 that writes frames byte by byte (RFC 9113, section 4), and can break every rule.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::Secure;
use crate::support::within;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The error of a GOAWAY or an RST_STREAM.
    pub(crate) fn error(&self) -> Option<u32> {
        let code = match self.kind {
            GOAWAY => self.payload.get(4..8),
            RST_STREAM => self.payload.get(..4),
            _ => None,
        };
        code.map(|code| u32::from_be_bytes(code.try_into().unwrap()))
    }
}

/// Encodes a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Encodes a header that no table has (RFC 7541, section 6.2.2).
pub(crate) fn header(name: &str, value: &str) -> Vec<u8> {
    [&[0][..], &text(name), &text(value)].concat()
}

/// Encodes a text behind its length (RFC 7541, section 5.2).
fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    if text.len() < 127 {
        bytes.push(u8::try_from(text.len()).unwrap());
    } else {
        bytes.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            bytes.push(u8::try_from(rest % 128 + 128).unwrap());
            rest /= 128;
        }
        bytes.push(u8::try_from(rest).unwrap());
    }
    bytes.extend(text.as_bytes());
    bytes
}

/// Encodes the pseudo-headers of a request.
pub(crate) fn request(method: &str, path: &str) -> Vec<u8> {
    [header(":method", method), header(":scheme", "https"), header(":authority", "test"), header(":path", path)]
        .concat()
}

/// A connection of such a client.
pub(crate) struct Frames {
    stream: TlsStream<TcpStream>,
    read: Vec<u8>,
}

impl Frames {
    /// Opens a connection, and says nothing.
    pub(crate) async fn silent(secure: &Secure) -> Self {
        Self { stream: secure.connect(&["h2"]).await, read: Vec::new() }
    }

    /// Opens a connection with these settings.
    pub(crate) async fn with(secure: &Secure, settings: &[u8]) -> Self {
        let mut frames = Self::silent(secure).await;
        frames.send(PREFACE).await;
        frames.send(&frame(SETTINGS, 0, 0, settings)).await;
        frames
    }

    pub(crate) async fn open(secure: &Secure) -> Self {
        Self::with(secure, &[]).await
    }

    /// Sends bytes, unless the server ends the connection or reads nothing more; returns whether all were sent.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        let sending = async { self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok() };
        within("the server to read or to end the connection", sending).await
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        assert!(self.try_send(bytes).await, "the server has ended the connection");
    }

    /// Sends a request without a body.
    pub(crate) async fn get(&mut self, stream: u32, path: &str) {
        self.send(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &request("GET", path))).await;
    }

    /// Returns the next frame, or `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(&[a, b, c, kind, flags, d, e, f, g]) = self.read.first_chunk::<9>() {
                let length = u32::from_be_bytes([0, a, b, c]) as usize;
                if self.read.len() >= 9 + length {
                    let payload = self.read[9..9 + length].to_vec();
                    self.read.drain(..9 + length);
                    return Some(Frame { kind, flags, stream: u32::from_be_bytes([d, e, f, g]), payload });
                }
            }
            match within("a frame, or the end", self.stream.read_buf(&mut self.read)).await {
                Ok(1..) => (),
                Ok(0) | Err(_) => return None,
            }
        }
    }

    /// Returns the next frame that `is_it` wants. Answers settings and pings meanwhile.
    pub(crate) async fn until(&mut self, what: &str, is_it: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            let next = self.next().await.unwrap_or_else(|| panic!("the connection has ended without {what}"));
            if is_it(&next) {
                return next;
            }
            if matches!(next.kind, SETTINGS | PING) && next.flags & ACK == 0 {
                let payload = if next.kind == PING { &next.payload[..] } else { &[] };
                self.send(&frame(next.kind, ACK, 0, payload)).await;
            }
        }
    }

    /// Waits until the connection ends or the server says why it will.
    pub(crate) async fn ends(&mut self) -> Option<u32> {
        loop {
            match self.next().await {
                Some(next) if next.kind == GOAWAY && next.error() != Some(0) => return next.error(),
                Some(_) => (),
                None => return None,
            }
        }
    }

    /// Waits for the head of the response on this stream, and returns it.
    pub(crate) async fn response(&mut self, stream: u32) -> Frame {
        self.until("a response", |frame| frame.kind == HEADERS && frame.stream == stream).await
    }
}
