//! A visitor that reads a response as it comes, and how it ends.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::within;

/// One connection of a visitor, with one request.
pub(crate) struct Transfer {
    stream: TcpStream,
    raw: Vec<u8>,
    body: Vec<u8>,
    trailers: Vec<String>,
    framing: Framing,
    ending: Option<Ending>,
    is_to_head: bool,
}

/// The head of a response.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// As they came, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str());
        let first = found.next();
        assert_eq!(found.next(), None, "{name} more than once");
        first
    }

    /// The code of an error of the relay.
    pub(crate) fn code(&self) -> Option<&str> {
        self.header("x-socket2me-error")
    }
}

/// The rest of a response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    pub(crate) body: Vec<u8>,
    /// Their lines.
    pub(crate) trailers: Vec<String>,
    /// The framing says that nothing is missing.
    pub(crate) is_complete: bool,
    /// The connection was reset.
    pub(crate) was_reset: bool,
}

impl Rest {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The transfer has ended and does not look as if it were complete.
    #[track_caller]
    pub(crate) fn is_broken(&self, body: &str) {
        assert_eq!((self.text().as_str(), self.is_complete), (body, false));
    }

    /// The transfer is complete.
    #[track_caller]
    pub(crate) fn is(&self, body: &str) {
        assert_eq!((self.text().as_str(), self.is_complete), (body, true));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// The head has not come.
    Unknown,
    /// No more than this many bytes.
    Length(u64),
    /// The line of a chunk comes next.
    ChunkLine,
    /// Bytes of a chunk, and the line end behind it.
    Chunk(u64),
    Trailers,
    UntilClose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Fin,
    Reset,
}

impl Transfer {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::new(within("the visitor's connection", TcpStream::connect(address)).await.unwrap())
    }

    /// Connects with small buffers, so that the server soon has to wait for the visitor.
    pub(crate) async fn narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        socket.set_send_buffer_size(4 << 10).unwrap();
        Self::new(within("the visitor's connection", socket.connect(address)).await.unwrap())
    }

    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            raw: Vec::new(),
            body: Vec::new(),
            trailers: Vec::new(),
            framing: Framing::Unknown,
            ending: None,
            is_to_head: false,
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.is_to_head |= bytes.starts_with(b"HEAD ");
        within("the server to read", self.stream.write_all(bytes)).await.unwrap();
    }

    /// Sends as much as the server takes. Returns once all was sent, or the connection has ended.
    pub(crate) async fn send_until_refused(&mut self, bytes: &[u8]) {
        let _ = within("the server to read or to refuse", self.stream.write_all(bytes)).await;
    }

    /// Sends until the connection ends.
    pub(crate) async fn send_without_end(&mut self) {
        while self.stream.write_all(&[b'x'; 60_000]).await.is_ok() {}
    }

    /// Ends the direction to the server.
    pub(crate) async fn shut(&mut self) {
        within("the end to leave", self.stream.shutdown()).await.unwrap();
    }

    /// Waits until the connection has ended, whatever comes before. Returns whether it has.
    pub(crate) async fn is_over(&mut self) -> bool {
        while self.read().await {
            self.raw.clear();
        }
        true
    }

    /// Gives the connection, of which nothing was read but the head.
    pub(crate) fn into_stream(self) -> TcpStream {
        assert!(self.raw.is_empty());
        self.stream
    }

    /// Waits for the line `100 Continue`.
    pub(crate) async fn is_told_to_continue(&mut self) {
        const LINES: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        while self.raw.len() < LINES.len() {
            assert!(self.read().await, "no 100");
        }
        assert_eq!(self.raw.drain(..LINES.len()).collect::<Vec<_>>(), LINES);
    }

    /// Waits for the head of the response.
    pub(crate) async fn head(&mut self) -> Head {
        let end = loop {
            if let Some(at) = self.raw.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            assert!(self.read().await, "no head: {:?}", String::from_utf8_lossy(&self.raw));
        };
        let head: String = self.raw.drain(..end + 4).take(end).map(char::from).collect();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        });
        let head = Head { status, headers: headers.collect() };
        self.framing = if self.is_to_head || matches!(status, 101 | 204 | 304) {
            Framing::Length(0)
        } else if let Some(length) = head.header("content-length") {
            assert_eq!(head.header("transfer-encoding"), None);
            Framing::Length(length.parse().unwrap())
        } else if head.header("transfer-encoding").is_some() {
            Framing::ChunkLine
        } else {
            Framing::UntilClose
        };
        if status != 101 {
            self.decode();
        }
        head
    }

    /// Waits for the next bytes of the body, this many.
    pub(crate) async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.body.len() < count {
            assert!(self.read().await, "the response has ended after {:?}", String::from_utf8_lossy(&self.body));
            self.decode();
        }
        self.body.drain(..count).collect()
    }

    /// Waits for the next bytes of the body, as text.
    pub(crate) async fn reads(&mut self, text: &str) {
        assert_eq!(String::from_utf8_lossy(&self.exactly(text.len()).await), text);
    }

    /// Waits until the framing says that the response is complete; the connection stays open.
    pub(crate) async fn is_between(&mut self) {
        while !self.is_whole() {
            assert!(self.read().await, "the response has ended too early");
            self.decode();
        }
        assert!(self.body.is_empty() && self.raw.is_empty());
        self.framing = Framing::Unknown;
    }

    /// Reads until the connection ends.
    pub(crate) async fn rest(mut self) -> Rest {
        while self.read().await {
            self.decode();
        }
        self.decode();
        assert!(self.raw.is_empty() || !self.is_whole(), "bytes behind the response: {:?}", self.raw.escape_ascii());
        Rest {
            is_complete: self.is_whole(),
            was_reset: self.ending == Some(Ending::Reset),
            body: self.body,
            trailers: self.trailers,
        }
    }

    fn is_whole(&self) -> bool {
        match self.framing {
            Framing::Length(left) => left == 0,
            Framing::UntilClose => self.ending == Some(Ending::Fin),
            Framing::Unknown | Framing::ChunkLine | Framing::Chunk(_) | Framing::Trailers => false,
        }
    }

    /// Returns false where the connection has ended.
    async fn read(&mut self) -> bool {
        if self.ending.is_some() {
            return false;
        }
        match within("more of a response, or its end", self.stream.read_buf(&mut self.raw)).await {
            Ok(0) => self.ending = Some(Ending::Fin),
            Ok(_) => return true,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                self.ending = Some(Ending::Reset);
            }
        }
        false
    }

    fn line(&mut self) -> Option<String> {
        let at = self.raw.windows(2).position(|window| window == b"\r\n")?;
        let line = self.raw.drain(..at + 2).take(at).collect();
        Some(String::from_utf8(line).unwrap())
    }

    fn decode(&mut self) {
        loop {
            let take = match self.framing {
                Framing::Unknown => return,
                Framing::UntilClose => self.raw.len(),
                Framing::Length(left) => self.raw.len().min(usize::try_from(left).unwrap()),
                Framing::Chunk(0) => {
                    let Some(line) = self.line() else { return };
                    assert_eq!(line, "");
                    self.framing = Framing::ChunkLine;
                    continue;
                }
                Framing::Chunk(left) => self.raw.len().min(usize::try_from(left).unwrap()),
                Framing::ChunkLine => {
                    let Some(line) = self.line() else { return };
                    let size = u64::from_str_radix(&line, 16).unwrap();
                    self.framing = if size == 0 { Framing::Trailers } else { Framing::Chunk(size) };
                    continue;
                }
                Framing::Trailers => {
                    let Some(line) = self.line() else { return };
                    if line.is_empty() {
                        self.framing = Framing::Length(0);
                        return;
                    }
                    self.trailers.push(line);
                    continue;
                }
            };
            if take == 0 {
                return;
            }
            self.body.extend(self.raw.drain(..take));
            if let Framing::Chunk(left) | Framing::Length(left) = &mut self.framing {
                *left -= take as u64;
            }
        }
    }
}
