//! A visitor that writes and reads HTTP as bytes.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::within;

/// One connection of a visitor.
pub(crate) struct Visitor {
    stream: TcpStream,
    received: Vec<u8>,
}

/// A response as it arrived.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The words behind the status.
    pub(crate) reason: String,
    /// In the order of arrival; values are read as ISO 8859-1.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// All values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let same = |line: &&(String, String)| line.0.eq_ignore_ascii_case(name);
        self.headers.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a header that must not be repeated.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} more than once: {all:?}");
        all.first().copied()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The message of an error of the relay, which must be an object with the member `Error` and no other.
    pub(crate) fn error(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/json; charset=utf-8"), "{self:?}");
        let members: std::collections::BTreeMap<String, String> = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(members.keys().collect::<Vec<_>>(), ["Error"]);
        members["Error"].clone()
    }

    /// The code of an error of the relay.
    pub(crate) fn code(&self) -> Option<&str> {
        self.header("x-socket2me-error")
    }
}

impl Visitor {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = within("the visitor's connection", TcpStream::connect(address)).await.unwrap();
        Self { stream, received: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        within("a request to leave", self.stream.write_all(bytes)).await.unwrap();
    }

    /// Sends the bytes, unless the server ends the connection meanwhile.
    pub(crate) async fn send_until_refused(&mut self, bytes: &[u8]) {
        let _ = within("a request to leave or to be refused", self.stream.write_all(bytes)).await;
    }

    /// Reads the next response. A response to HEAD has no body.
    pub(crate) async fn answer(&mut self, to_head: bool) -> Answer {
        let head = loop {
            if let Some(end) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                break self.received.drain(..end + 4).collect::<Vec<u8>>();
            }
            assert!(self.read().await, "the connection ended in a head: {:?}", String::from_utf8_lossy(&self.received));
        };
        let head: String = head[..head.len() - 4].iter().map(|&byte| char::from(byte)).collect();
        let mut lines = head.split("\r\n");
        let mut first = lines.next().unwrap().splitn(3, ' ').skip(1);
        let status = first.next().unwrap().parse().unwrap();
        let reason = first.next().unwrap().to_owned();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_owned(), value.trim().to_owned())
        });
        let mut answer = Answer { status, reason, headers: headers.collect(), body: Vec::new() };
        assert_eq!(answer.header("transfer-encoding"), None, "the server knows the length of all it sends");
        if !to_head && status >= 200 && !matches!(status, 204 | 304) {
            let length = answer.header("content-length").unwrap().parse().unwrap();
            while self.received.len() < length {
                assert!(self.read().await, "the connection ended in a body");
            }
            answer.body = self.received.drain(..length).collect();
        }
        answer
    }

    /// The server closes the connection, and sends nothing before that.
    pub(crate) async fn finish(mut self) {
        while self.read().await {}
        assert_eq!(String::from_utf8_lossy(&self.received), "", "bytes behind the last response");
    }

    async fn read(&mut self) -> bool {
        within("the server to answer", self.stream.read_buf(&mut self.received)).await.is_ok_and(|count| count > 0)
    }
}

/// Writes a request that closes its connection. The length of the body is added, unless the headers tell it.
pub(crate) fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    request_to("relay.example", method, target, headers, body)
}

/// The same for a host.
pub(crate) fn request_to(host: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    let framed = |(name, _): &(&str, &str)| ["content-length", "transfer-encoding"].contains(name);
    if !body.is_empty() && !headers.iter().any(framed) {
        out.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    out.push_str("\r\n");
    [out.as_bytes(), body].concat()
}

/// Sends a request that closes its connection, and returns the response.
pub(crate) async fn visit(address: SocketAddr, request: &[u8]) -> Answer {
    let mut visitor = Visitor::connect(address).await;
    visitor.send(request).await;
    let answer = visitor.answer(request.starts_with(b"HEAD ")).await;
    visitor.finish().await;
    answer
}

/// Sends a GET without a body.
pub(crate) async fn get(address: SocketAddr, target: &str) -> Answer {
    visit(address, &request("GET", target, &[], b"")).await
}
