//! HTTP as bytes on one connection.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::{PATIENCE, within};

/// A response as it arrived.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// Status and body, to compare both at once.
    pub(crate) fn parts(&self) -> (u16, String) {
        (self.status, self.text())
    }

    #[track_caller]
    pub(crate) fn is(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.text().as_str()), (status, body));
    }

    /// The session id in a handshake.
    pub(crate) fn sid(&self) -> String {
        sid_of(&self.text())
    }
}

/// The first `"sid":"…"` in a text.
pub(crate) fn sid_of(text: &str) -> String {
    let (_, rest) = text.split_once(r#""sid":""#).unwrap_or_else(|| panic!("no sid in {text}"));
    rest.split_once('"').unwrap().0.to_owned()
}

/// One TCP connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Peer {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Sends the bytes, unless the server ends the connection meanwhile; returns whether all were sent.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        within("the server to read or to end the connection", self.stream.write_all(bytes)).await.is_ok()
    }

    /// Reads until the server ends the connection, with FIN or with a reset.
    pub(crate) async fn until_end(&mut self) -> Vec<u8> {
        let reading = async { while matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {} };
        if tokio::time::timeout(PATIENCE, reading).await.is_err() {
            panic!("the server does not end the connection, after {:?}", String::from_utf8_lossy(&self.buffer));
        }
        std::mem::take(&mut self.buffer)
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        within("the server to read", self.stream.write_all(bytes)).await.unwrap();
    }

    /// Reads more; returns whether there was more.
    async fn fill(&mut self, what: &str) -> bool {
        within(what, self.stream.read_buf(&mut self.buffer)).await.unwrap() > 0
    }

    pub(crate) async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.fill("more bytes").await, "ended too early: {:?}", String::from_utf8_lossy(&self.buffer));
        }
        self.buffer.drain(..count).collect()
    }

    /// Reads the head of a response.
    pub(crate) async fn head(&mut self) -> Answer {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            assert!(self.fill("an answer").await, "no answer, the connection was closed");
        };
        let head = String::from_utf8(self.exactly(end + 4).await).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: Vec::new() }
    }

    /// Reads a response with its body.
    pub(crate) async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        if !matches!(answer.status, 101 | 204) {
            let length = answer.header("content-length").unwrap().parse().unwrap();
            answer.body = self.exactly(length).await;
        }
        answer
    }

    /// Reads the rest of a response whose `HTTP/1.1 200` was read already, and returns its body.
    pub(crate) async fn answer_after_status(&mut self) -> String {
        self.buffer.splice(..0, *b"HTTP/1.1 200");
        self.answer().await.text()
    }

    /// The server ends the connection, and sends nothing before that.
    pub(crate) async fn ends(&mut self) {
        assert!(!self.fill("the end of the connection").await, "{:?}", String::from_utf8_lossy(&self.buffer));
    }
}
