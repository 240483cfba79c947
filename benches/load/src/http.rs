//! A small HTTP/1.1 client on one connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

const READ_BYTES: usize = 16 << 10;
/// Bytes of one read of a large body.
const BODY_READ_BYTES: usize = 256 << 10;

/// What large bodies consist of: byte i is i modulo 251. `forward-app` has the same.
static PATTERN: [u8; 251 * 1024] = pattern();

const fn pattern() -> [u8; 251 * 1024] {
    let mut bytes = [0; 251 * 1024];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = (at % 251) as u8;
        at += 1;
    }
    bytes
}

/// Compares a piece of a body, which begins at this offset, with the pattern.
fn check(offset: u64, mut piece: &[u8]) -> io::Result<()> {
    let mut at = (offset % 251) as usize;
    while !piece.is_empty() {
        let (now, rest) = piece.split_at(piece.len().min(PATTERN.len() - at));
        if now != &PATTERN[at..at + now.len()] {
            return Err(bad("another body"));
        }
        (at, piece) = ((at + now.len()) % 251, rest);
    }
    Ok(())
}

pub fn bad(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

/// Connects from the `number`th of 200 loopback addresses, so that no address runs out of ports.
pub async fn connect_from(number: usize, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2 + (number % 200) as u8)), 0))?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub struct Connection {
    to: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
    body: Vec<u8>,
    closing: bool,
}

impl Connection {
    pub async fn open(to: SocketAddr) -> io::Result<Self> {
        Ok(Self { to, stream: connect(to).await?, buffer: Vec::new(), body: Vec::new(), closing: false })
    }

    /// The body of the last response.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Sends a whole request, reads the whole response, and returns its status.
    pub async fn send(&mut self, request: &[u8]) -> io::Result<u16> {
        if self.closing {
            self.stream = connect(self.to).await?;
        }
        self.buffer.clear();
        self.body.clear();
        self.stream.write_all(request).await?;
        let head = self.head().await?;
        self.rest(&head).await
    }

    /// Sends a request without a body, and reads a response of this many bytes of the pattern, of which it keeps none. Returns
    /// the status. A response with another status is kept.
    pub async fn download(&mut self, request: &[u8], bytes: u64) -> io::Result<u16> {
        self.buffer.clear();
        self.stream.write_all(request).await?;
        let head = self.head().await?;
        if head.status != 200 {
            return self.rest(&head).await;
        }
        if head.length != Some(bytes as usize) || head.chunked {
            return Err(bad("a response of another length"));
        }
        let mut received = 0;
        loop {
            check(received, &self.buffer)?;
            received += self.buffer.len() as u64;
            if received >= bytes {
                break;
            }
            self.buffer.clear();
            self.read(BODY_READ_BYTES).await?;
        }
        if received > bytes { Err(bad("bytes after the response")) } else { Ok(200) }
    }

    /// Sends a request with a body of this many bytes of the pattern, reads the whole response, and returns its status.
    pub async fn upload(&mut self, head: &[u8], bytes: u64) -> io::Result<u16> {
        self.buffer.clear();
        self.stream.write_all(head).await?;
        let mut left = bytes;
        while left > 0 {
            let piece = left.min(PATTERN.len() as u64);
            self.stream.write_all(&PATTERN[..piece as usize]).await?;
            left -= piece;
        }
        let head = self.head().await?;
        self.rest(&head).await
    }

    /// Reads the head of a response, and removes it from the buffer while few bytes have to move.
    async fn head(&mut self) -> io::Result<Head> {
        let head_end = self.read_until(0, b"\r\n\r\n").await?;
        let head = Head::parse(&self.buffer[..head_end])?;
        self.buffer.drain(..head_end + 4);
        self.closing = head.close;
        Ok(head)
    }

    /// Reads the body of a response into `body`, and returns the status.
    async fn rest(&mut self, head: &Head) -> io::Result<u16> {
        self.body.clear();
        match (head.chunked, head.length) {
            (true, _) => self.chunks(0).await?,
            (false, Some(length)) => {
                while self.buffer.len() < length {
                    self.read(length - self.buffer.len()).await?;
                }
                if self.buffer.len() > length {
                    return Err(bad("bytes after the response"));
                }
                std::mem::swap(&mut self.buffer, &mut self.body);
            }
            (false, None) => return Err(bad("a response without a length")),
        }
        Ok(head.status)
    }

    async fn read(&mut self, wanted: usize) -> io::Result<()> {
        self.buffer.reserve(wanted.max(READ_BYTES));
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Reads until `needle` has come, and returns its place at or after `from`.
    async fn read_until(&mut self, mut from: usize, needle: &[u8]) -> io::Result<usize> {
        loop {
            if let Some(at) = memmem::find(&self.buffer[from..], needle) {
                return Ok(from + at);
            }
            from = from.max(self.buffer.len().saturating_sub(needle.len() - 1));
            self.read(0).await?;
        }
    }

    async fn chunks(&mut self, mut at: usize) -> io::Result<()> {
        loop {
            let line_end = self.read_until(at, b"\r\n").await?;
            let line = std::str::from_utf8(&self.buffer[at..line_end]).map_err(|_| bad("chunk size"))?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(|_| bad("chunk size"))?;
            at = line_end + 2;
            while self.buffer.len() < at + size + 2 {
                self.read(at + size + 2 - self.buffer.len()).await?;
            }
            self.body.extend_from_slice(&self.buffer[at..at + size]);
            at += size + 2;
            if size == 0 {
                return Ok(());
            }
        }
    }
}

async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

struct Head {
    status: u16,
    length: Option<usize>,
    chunked: bool,
    close: bool,
}

impl Head {
    fn parse(head: &[u8]) -> io::Result<Self> {
        let text = std::str::from_utf8(head).map_err(|_| bad("a head that is not text"))?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| bad("not HTTP/1.1"))?;
        let mut parsed = Self { status, length: None, chunked: false, close: false };
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                parsed.length = Some(value.parse().map_err(|_| bad("content-length"))?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                parsed.chunked = value.eq_ignore_ascii_case("chunked");
            } else if name.eq_ignore_ascii_case("connection") {
                parsed.close = value.eq_ignore_ascii_case("close");
            }
        }
        Ok(parsed)
    }
}
