//! A small WebSocket client that sends all waiting frames in one write, and reads meanwhile.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::{bad, connect_from};

const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Not zero, because a server could skip the unmasking then.
const MASK: [u8; 4] = [0x5a, 0x13, 0xc7, 0x9e];

pub struct WebSocket {
    stream: TcpStream,
    input: Vec<u8>,
    /// Bytes at the start of `input` that are handled.
    consumed: usize,
    output: Vec<u8>,
    /// Bytes at the start of `output` that are written.
    written: usize,
    fragments: Option<(u8, Vec<u8>)>,
}

/// Appends one masked frame whose payload is the parts in a row.
pub fn frame(output: &mut Vec<u8>, opcode: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    output.reserve(length + 14);
    output.push(0x80 | opcode);
    match length {
        0..=125 => output.push(0x80 | length as u8),
        126..=65535 => {
            output.push(0x80 | 126);
            output.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            output.push(0x80 | 127);
            output.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    output.extend_from_slice(&MASK);
    let start = output.len();
    for part in parts {
        output.extend_from_slice(part);
    }
    let wide = u64::from(u32::from_ne_bytes(MASK)) * 0x1_0000_0001;
    let mut words = output[start..].chunks_exact_mut(8);
    for word in &mut words {
        let masked = u64::from_ne_bytes((&*word).try_into().unwrap()) ^ wide;
        word.copy_from_slice(&masked.to_ne_bytes());
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(MASK.iter().cycle()) {
        *byte ^= mask;
    }
}

impl WebSocket {
    /// Connects from the `number`th loopback address and upgrades to a WebSocket.
    pub async fn open(number: usize, to: SocketAddr, path: &str) -> io::Result<Self> {
        let mut stream = connect_from(number, to).await?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut input = Vec::with_capacity(512);
        let head_end = loop {
            if let Some(at) = memmem::find(&input, b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut input).await? == 0 {
                return Err(bad("closed in the upgrade"));
            }
        };
        if !input.starts_with(b"HTTP/1.1 101") {
            let head = String::from_utf8_lossy(&input);
            return Err(bad(format!("no upgrade: {}", head.lines().next().unwrap_or_default())));
        }
        Ok(Self { stream, input, consumed: head_end, output: Vec::new(), written: 0, fragments: None })
    }

    /// The buffer to which frames are appended for sending.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Writes what waits, as far as the socket takes it, and returns once more input was read.
    pub async fn turn(&mut self) -> io::Result<()> {
        self.write()?;
        self.input.drain(..self.consumed);
        self.consumed = 0;
        loop {
            let writing =
                if self.output.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
            let ready = self.stream.ready(writing).await?;
            if ready.is_writable() {
                self.write()?;
            }
            if ready.is_readable() {
                // A small buffer for an idle tunnel saves the load's memory.
                self.input.reserve(if self.input.is_empty() { 512 } else { 64 << 10 });
                match self.stream.try_read_buf(&mut self.input) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(_) => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                    Err(error) => return Err(error),
                }
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while self.written < self.output.len() {
            match self.stream.try_write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(())
    }

    /// Calls `each` with every whole message that was read, and with the output for replies.
    pub fn messages(&mut self, mut each: impl FnMut(u8, &[u8], &mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        while let Some(Frame { opcode, last, payload, size }) = Frame::first(&self.input[self.consumed..])? {
            match opcode {
                CLOSE => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    return Err(bad(format!("closed by the server, code {code:?}")));
                }
                PING => frame(&mut self.output, PONG, &[payload]),
                PONG => (),
                CONTINUATION => {
                    let (opcode, mut whole) = self.fragments.take().ok_or_else(|| bad("stray continuation"))?;
                    whole.extend_from_slice(payload);
                    if last {
                        each(opcode, &whole, &mut self.output)?;
                    } else {
                        self.fragments = Some((opcode, whole));
                    }
                }
                _ if last => each(opcode, payload, &mut self.output)?,
                _ => self.fragments = Some((opcode, payload.to_vec())),
            }
            self.consumed += size;
        }
        Ok(())
    }

    /// Sends a close frame, and fails if the server does not close within half a second.
    pub async fn close(mut self) -> io::Result<()> {
        frame(&mut self.output, CLOSE, &[&1000u16.to_be_bytes()]);
        self.stream.write_all(&self.output[self.written..]).await?;
        let mut rest = [0; 256];
        let closed = async {
            while self.stream.read(&mut rest).await? > 0 {}
            io::Result::Ok(())
        };
        timeout(Duration::from_millis(500), closed).await.map_err(|_| bad("the server did not close"))?
    }
}

struct Frame<'a> {
    opcode: u8,
    last: bool,
    payload: &'a [u8],
    /// Bytes of the whole frame, with its header.
    size: usize,
}

impl<'a> Frame<'a> {
    /// Parses the first frame; `None` if it is not complete.
    fn first(input: &'a [u8]) -> io::Result<Option<Self>> {
        let [first, second, rest @ ..] = input else { return Ok(None) };
        if first & 0x70 != 0 || second & 0x80 != 0 {
            return Err(bad("reserved bits or a mask from the server"));
        }
        let (header, length) = match second {
            126 => match rest.first_chunk() {
                Some(length) => (4, u16::from_be_bytes(*length).into()),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(length) => (10, u64::from_be_bytes(*length) as usize),
                None => return Ok(None),
            },
            length => (2, usize::from(*length)),
        };
        let payload = input.get(header..header + length);
        Ok(payload.map(|payload| Self {
            opcode: first & 0x0f,
            last: first & 0x80 != 0,
            payload,
            size: header + length,
        }))
    }
}
