//! Connections, and the part of HTTP and WebSocket that a client needs. A fuse breaks a connection at a chosen byte.

use std::io::{Error, ErrorKind, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};

use crate::packet::Packet;

/// The largest body or message that is read, in bytes: the server sends nothing larger, and this program's memory is bounded.
const LARGEST: usize = 8 << 20;

/// Further ports that are tried for one connection when the first is taken.
const ATTEMPTS: u32 = 20;

/// The local address and the destination of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    pub from: Ipv4Addr,
    pub to: SocketAddr,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// With a RST.
    Reset,
    /// With a FIN.
    Finish,
}

/// The writer breaks the connection after this many bytes.
#[derive(Debug, Clone, Copy)]
pub struct Fuse {
    pub bytes: usize,
    pub death: Death,
}

pub type Reader = BufReader<OwnedReadHalf>;

pub struct Writer {
    half: OwnedWriteHalf,
    fuse: Option<Fuse>,
}

pub struct Connection {
    pub reader: Reader,
    pub writer: Writer,
}

/// The response to a request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
    /// Nothing of the body is missing that was asked for.
    pub is_whole: bool,
}

/// Connects from the next port in turn. The system's own search tries thousands of ports once thousands are in TIME_WAIT.
pub async fn connect(route: Route) -> Result<TcpStream> {
    const FIRST: u16 = 10_000;
    const COUNT: u32 = 50_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut attempts = 0;
    loop {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        let port = FIRST + (NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) as u16;
        let connected = async {
            socket.bind((route.from, port).into())?;
            socket.connect(route.to).await
        };
        match connected.await {
            Ok(stream) => return stream.set_nodelay(true).map(|()| stream),
            Err(error) if attempts == ATTEMPTS || !is_taken(&error) => return Err(error),
            Err(_) => attempts += 1,
        }
    }
}

/// Whether the port is taken, by this program or by another one.
fn is_taken(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable)
}

impl Connection {
    pub async fn open(route: Route, fuse: Option<Fuse>) -> Result<Self> {
        let (reader, half) = connect(route).await?.into_split();
        Ok(Self { reader: BufReader::new(reader), writer: Writer { half, fuse } })
    }

    /// Sends a request and reads its answer.
    pub async fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        self.writer.write(request).await?;
        answer(&mut self.reader).await
    }

    /// Sends a request while its answer is read, of whose body `most` bytes are wanted. An answer that breaks off is one, too. Tells
    /// whether all of the request was sent.
    pub async fn converse(&mut self, request: &[u8], most: usize) -> Result<(Answer, bool)> {
        let Self { reader, writer } = self;
        let answered = async {
            let mut answer = start(reader).await?;
            answer.is_whole = body(reader, &mut answer, most).await.is_ok();
            Result::Ok(answer)
        };
        let (written, answered) = tokio::join!(writer.write(request), answered);
        Ok((answered?, written.is_ok()))
    }

    pub fn die(&self, death: Death) {
        self.writer.die(death);
    }
}

impl Writer {
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(fuse) = &mut self.fuse {
            if bytes.len() >= fuse.bytes {
                let (last, death) = (fuse.bytes, fuse.death);
                self.half.write_all(&bytes[..last]).await?;
                self.die(death);
                return Err(Error::new(ErrorKind::ConnectionAborted, "the fuse has blown"));
            }
            fuse.bytes -= bytes.len();
        }
        self.half.write_all(bytes).await
    }

    /// Ends the direction to the server.
    pub async fn finish(&mut self) -> Result<()> {
        self.half.shutdown().await
    }

    /// Sets how the connection ends when it is dropped.
    pub fn die(&self, death: Death) {
        if death == Death::Reset {
            // An error means that the peer is gone already, and needs no RST.
            let _ = self.half.as_ref().set_zero_linger();
        }
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// Returns the code of the relay's own error, if the answer is one.
    pub fn error(&self) -> Option<&str> {
        self.header("x-socket2me-error")
    }

    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

/// Writes a whole request. Each header is a line without its end.
pub fn request(method: &str, target: &str, headers: &[&str], body: Option<&[u8]>) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: soak\r\n");
    for header in headers {
        head += header;
        head += "\r\n";
    }
    if let Some(body) = body {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    head += "\r\n";
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body.unwrap_or_default());
    bytes
}

pub async fn answer(reader: &mut Reader) -> Result<Answer> {
    let mut answer = start(reader).await?;
    body(reader, &mut answer, LARGEST).await?;
    answer.is_whole = true;
    Ok(answer)
}

/// Reads the head of a response. The body follows.
pub async fn start(reader: &mut Reader) -> Result<Answer> {
    let head = head(reader).await?;
    let status = head.get(9..12).and_then(|code| code.parse().ok()).ok_or_else(|| strange("no status"))?;
    Ok(Answer { status, head, body: Vec::new(), is_whole: false })
}

/// Reads the body to its end, or until it has `most` bytes. What comes before an error is kept.
async fn body(reader: &mut Reader, answer: &mut Answer, most: usize) -> Result<()> {
    if matches!(answer.status, 101 | 204 | 304) {
        return Ok(());
    }
    if let Some(length) = answer.header("content-length") {
        let length: usize = length.parse().map_err(|_| strange("no length"))?;
        return fill(reader, &mut answer.body, length.min(most)).await;
    }
    if answer.header("transfer-encoding") != Some("chunked") {
        return Err(strange("no length"));
    }
    while answer.body.len() < most {
        let size = usize::from_str_radix(&line(reader).await?, 16).map_err(|_| strange("no chunk"))?;
        fill(reader, &mut answer.body, size).await?;
        if !line(reader).await?.is_empty() {
            return Err(strange("a chunk without its end, or trailers"));
        }
        if size == 0 {
            break;
        }
    }
    Ok(())
}

async fn fill(reader: &mut Reader, body: &mut Vec<u8>, count: usize) -> Result<()> {
    match reader.take(count as u64).read_to_end(body).await? {
        read if read == count => Ok(()),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}

async fn line(reader: &mut Reader) -> Result<String> {
    let mut line = String::new();
    reader.take(64).read_line(&mut line).await?;
    line.strip_suffix("\r\n").map(str::to_owned).ok_or_else(|| ErrorKind::UnexpectedEof.into())
}

async fn head(reader: &mut Reader) -> Result<String> {
    let mut head = Vec::new();
    let mut reader = reader.take(64 << 10);
    loop {
        let before = head.len();
        reader.read_until(b'\n', &mut head).await?;
        match &head[before..] {
            b"\r\n" => return String::from_utf8(head).map_err(|_| strange("a head that is not ASCII")),
            line if line.ends_with(b"\n") => (),
            _ => return Err(ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Writes the request for a WebSocket.
pub fn upgrade(target: &str) -> Vec<u8> {
    let headers = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: c29ja2V0Mm1lIHNvYWsgIQ==",
    ];
    request("GET", target, &headers, None)
}

/// Writes a client's only frame of a message.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    fragment(opcode, true, payload)
}

/// Writes a client's frame (RFC 6455, section 5.2), masked with zeros so that it stays readable in a capture.
pub fn fragment(opcode: u8, is_last: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    frame.push(if is_last { 0x80 | opcode } else { opcode });
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        medium @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// Reads the next message of a WebSocket; `None` when the server has closed it.
pub async fn message(reader: &mut Reader) -> Result<Option<Packet>> {
    message_or_close(reader).await.map(std::result::Result::ok)
}

/// Reads the next message of a WebSocket, or the code with which the server has closed it.
pub async fn message_or_close(reader: &mut Reader) -> Result<std::result::Result<Packet, Option<u16>>> {
    let mut message = Vec::new();
    let mut is_text = None;
    loop {
        let (first, second) = (reader.read_u8().await?, reader.read_u8().await?);
        let length = match second {
            short @ 0..126 => u64::from(short),
            126 => u64::from(reader.read_u16().await?),
            127 => reader.read_u64().await?,
            _ => return Err(strange("a masked frame from a server")),
        };
        let length = usize::try_from(length).ok().filter(|&length| length <= LARGEST);
        let mut payload = vec![0; length.ok_or_else(|| strange("a frame that is too large"))?];
        reader.read_exact(&mut payload).await?;
        match first {
            0x88 => return Ok(Err(payload.first_chunk().map(|&code| u16::from_be_bytes(code)))),
            0x89 | 0x8a => continue,
            0x01 | 0x81 if is_text.is_none() => is_text = Some(true),
            0x02 | 0x82 if is_text.is_none() => is_text = Some(false),
            0x00 | 0x80 if is_text.is_some() && message.len() <= LARGEST => (),
            _ => return Err(strange("a frame that no server sends")),
        }
        message.extend(payload);
        if first & 0x80 != 0 {
            return Ok(Ok(if is_text == Some(true) {
                Packet::Text(String::from_utf8(message).map_err(|_| strange("text that is not UTF-8"))?)
            } else {
                Packet::Binary(message)
            }));
        }
    }
}

pub fn strange(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}
