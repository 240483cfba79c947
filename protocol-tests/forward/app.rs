//! A local app that speaks HTTP as bytes.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::within;

/// An app that takes connections one after the other.
pub(super) struct App {
    pub(super) address: SocketAddr,
    listener: TcpListener,
}

/// A request that has come, and its connection.
pub(super) struct Asked {
    stream: TcpStream,
    /// The head, without the empty line.
    pub(super) head: String,
    /// What was read of the rest.
    read: Vec<u8>,
}

impl App {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { address: listener.local_addr().unwrap(), listener }
    }

    /// Waits for a request on a connection of its own.
    pub(super) async fn asked(&self) -> Asked {
        let (stream, _) = within("the app to be asked", self.listener.accept()).await.unwrap();
        let mut asked = Asked { stream, head: String::new(), read: Vec::new() };
        asked.head().await;
        asked
    }

    /// Listens no more.
    pub(super) fn stop(self) -> SocketAddr {
        self.address
    }

    /// Listens again where an app has listened before.
    pub(super) async fn at(address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        Self { address, listener: socket.listen(16).unwrap() }
    }
}

impl Asked {
    /// Waits for the head of a request.
    pub(super) async fn head(&mut self) {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            assert!(self.fill().await, "no head: {:?}", String::from_utf8_lossy(&self.read));
        };
        self.head = self.read.drain(..end + 4).take(end).map(char::from).collect();
    }

    /// The value of a header that is there once.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        let mut values = lines.filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let value = values.next();
        assert_eq!(values.next(), None, "{name} more than once");
        value
    }

    /// The request line.
    pub(super) fn line(&self) -> &str {
        self.head.split("\r\n").next().unwrap()
    }

    /// Waits for the next bytes, this many.
    pub(super) async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert!(self.fill().await, "the connection has ended");
        }
        self.read.drain(..count).collect()
    }

    /// Waits until these bytes have come, and returns all in front of them.
    pub(super) async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|window| window == end) {
                return self.read.drain(..at + end.len()).take(at).collect();
            }
            assert!(self.fill().await, "the connection has ended");
        }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        within("forward to read", self.stream.write_all(bytes)).await.unwrap();
    }

    /// Waits until the connection has ended, whatever comes before.
    pub(super) async fn is_over(&mut self) {
        while self.fill().await {}
    }

    /// What has come and was not taken.
    pub(super) fn rest(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.read)
    }

    /// Ends the connection with a reset.
    pub(super) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    async fn fill(&mut self) -> bool {
        within("forward to send", self.stream.read_buf(&mut self.read)).await.is_ok_and(|count| count > 0)
    }
}
