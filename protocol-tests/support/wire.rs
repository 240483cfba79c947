//! A server in this process, and clients that write their own bytes: HTTP requests and WebSocket frames as they stand.

use std::fmt::Write as _;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use socket2me::config::ServeConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// How long anything may take before a test gives up: nothing that passes ever waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// The key of RFC 6455, section 1.3, and what it must be answered with.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Headers of a request.
pub(crate) type Headers<'h> = &'h [(&'h str, &'h str)];

/// The headers that ask for a WebSocket.
pub(crate) const UPGRADE: Headers<'static> =
    &[("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", KEY)];

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long: {what}"),
    }
}

/// A server of its own for each test; it ends with the test's runtime.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(|_| ()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut ServeConfig)) -> Self {
        let mut config = ServeConfig::defaults();
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(socket2me::server::run(listener, config, || (), async { drop(stopped.await) }));
        Self { address, stop }
    }

    /// Tells the server to end.
    pub(crate) fn stop(self) {
        drop(self.stop);
    }

    pub(crate) async fn peer(&self) -> Peer {
        let stream = within("a connection", TcpStream::connect(self.address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Peer::new(stream)
    }

    /// Sends a request and does not wait for its answer.
    pub(crate) async fn send(&self, method: &str, target: &str, headers: Headers<'_>, body: &[u8]) -> Peer {
        let mut peer = self.peer().await;
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: test\r\n");
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        if method == "POST" {
            write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        peer.send(&[head.as_bytes(), b"\r\n", body].concat()).await;
        peer
    }

    pub(crate) async fn ask(&self, method: &str, target: &str, headers: Headers<'_>, body: &[u8]) -> Answer {
        let mut peer = self.send(method, target, headers, body).await;
        if method == "HEAD" { peer.head().await } else { peer.answer().await }
    }

    /// A GET of the Engine.IO path.
    pub(crate) async fn get(&self, query: &str) -> Answer {
        self.ask("GET", &format!("/socket.io/?{query}"), &[], b"").await
    }

    /// Gives whatever was sent before this the time to be served: requests that came later were answered meanwhile.
    pub(crate) async fn settle(&self) {
        for _ in 0..3 {
            assert_eq!(self.ask("GET", "/healthz", &[], b"").await.status, 200);
        }
    }

    /// Opens a session that polls.
    pub(crate) async fn open(&self) -> Polling<'_> {
        self.open_as("EIO=4").await
    }

    /// Opens a session that polls; these are the words of its requests, beside transport and sid.
    pub(crate) async fn open_as(&self, words: &'static str) -> Polling<'_> {
        let sid = self.get(&format!("{words}&transport=polling")).await.sid();
        Polling { server: self, words, sid }
    }

    /// Opens a session of revision 3 that polls and has been told that it is in the default namespace.
    pub(crate) async fn open_v3(&self, words: &'static str) -> Polling<'_> {
        let session = self.open_as(words).await;
        session.poll().await.is(200, "2:40");
        session
    }

    /// Opens a session on a WebSocket, whose handshake packet was read.
    pub(crate) async fn open_ws(&self) -> Ws {
        let mut ws = self.ws("EIO=4&transport=websocket").await;
        let Frame::Text(open) = ws.next().await else { panic!("no handshake") };
        assert!(open.starts_with("0{"), "{open}");
        ws
    }

    /// The same in revision 3, where it has been told that it is in the default namespace.
    pub(crate) async fn open_ws_v3(&self) -> Ws {
        let mut ws = self.ws("EIO=3&transport=websocket").await;
        let open = ws.next_text().await;
        assert!(open.starts_with("0{"), "{open}");
        ws.expect("40").await;
        ws
    }

    /// A WebSocket of revision 3 that has joined a new token's namespace.
    pub(crate) async fn joined_v3(&self) -> (Ws, String) {
        let (mut ws, token) = (self.open_ws_v3().await, self.token().await);
        ws.text(&format!("40/{token}")).await;
        ws.expect(&format!("40/{token},")).await;
        (ws, token)
    }

    /// A WebSocket that has joined a new token's namespace.
    pub(crate) async fn joined(&self) -> (Ws, String) {
        let (mut ws, token) = (self.open_ws().await, self.token().await);
        ws.join(&token).await;
        (ws, token)
    }

    /// A WebSocket that must be granted.
    pub(crate) async fn ws(&self, query: &str) -> Ws {
        let mut peer = self.send("GET", &format!("/socket.io/?{query}"), UPGRADE, b"").await;
        let answer = peer.answer().await;
        assert_eq!((answer.status, answer.header("sec-websocket-accept")), (101, Some(ACCEPT)), "{}", answer.text());
        Ws { peer }
    }

    /// A request for a WebSocket that must be answered otherwise.
    pub(crate) async fn no_ws(&self, query: &str) -> Answer {
        let answer = self.ask("GET", &format!("/socket.io/?{query}"), UPGRADE, b"").await;
        assert_ne!(answer.status, 101);
        answer
    }

    /// A new token.
    pub(crate) async fn token(&self) -> String {
        let token = self.ask("GET", "/new", &[], b"").await.text();
        assert_eq!(token.len(), 48);
        token
    }

    /// A visitor who brings these bytes; his answer comes when the end has acked.
    pub(crate) async fn visit(&self, token: &str, body: &[u8]) -> Peer {
        self.visit_as("application/octet-stream", token, body).await
    }

    pub(crate) async fn visit_as(&self, content_type: &str, token: &str, body: &[u8]) -> Peer {
        self.send("POST", &format!("/go/{token}"), &[("Content-Type", content_type)], body).await
    }
}

/// An answer, as it came.
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

    /// The session's id in a handshake.
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

    /// Sends as much as the server takes: it may have ended the connection already.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        within("the server to read or to end the connection", self.stream.write_all(bytes)).await.is_ok()
    }

    /// All that comes until the server ends the connection, in order or with a reset.
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

    /// Reads more. False at the end of the stream.
    async fn fill(&mut self, what: &str) -> bool {
        within(what, self.stream.read_buf(&mut self.buffer)).await.unwrap() > 0
    }

    pub(crate) async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.fill("more bytes").await, "ended too early: {:?}", String::from_utf8_lossy(&self.buffer));
        }
        self.buffer.drain(..count).collect()
    }

    /// Reads an answer without a body.
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

    pub(crate) async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        if !matches!(answer.status, 101 | 204) {
            let length = answer.header("content-length").unwrap().parse().unwrap();
            answer.body = self.exactly(length).await;
        }
        answer
    }

    /// The rest of an answer whose first line was read, as text.
    pub(crate) async fn answer_after_status(&mut self) -> String {
        self.buffer.splice(..0, *b"HTTP/1.1 200");
        self.answer().await.text()
    }

    /// The server ends the connection, and says nothing more.
    pub(crate) async fn ends(&mut self) {
        assert!(!self.fill("the end of the connection").await, "{:?}", String::from_utf8_lossy(&self.buffer));
    }
}

/// A session that polls.
pub(crate) struct Polling<'s> {
    server: &'s Server,
    /// What its requests say beside transport and sid.
    pub(crate) words: &'static str,
    pub(crate) sid: String,
}

impl Polling<'_> {
    /// The query of its requests, for this transport.
    pub(crate) fn query(&self, transport: &str) -> String {
        format!("{}&transport={transport}&sid={}", self.words, self.sid)
    }

    fn target(&self) -> String {
        format!("/socket.io/?{}", self.query("polling"))
    }

    pub(crate) async fn poll(&self) -> Answer {
        self.server.get(&self.query("polling")).await
    }

    /// A poll that the server holds.
    pub(crate) async fn held_poll(&self) -> Peer {
        let peer = self.server.send("GET", &self.target(), &[], b"").await;
        self.server.settle().await;
        peer
    }

    pub(crate) async fn post(&self, body: impl AsRef<[u8]>) -> Answer {
        self.post_as("text/plain;charset=UTF-8", body).await
    }

    pub(crate) async fn post_as(&self, content_type: &str, body: impl AsRef<[u8]>) -> Answer {
        self.server.ask("POST", &self.target(), &[("Content-Type", content_type)], body.as_ref()).await
    }

    /// A POST of which only this was sent so far, head included; `framing` is the header that tells its length.
    pub(crate) async fn begun_post(&self, framing: &str, start: &[u8]) -> Peer {
        let mut peer = self.server.peer().await;
        let head = format!("POST {} HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n", self.target());
        peer.send(&[head.as_bytes(), start].concat()).await;
        peer
    }

    pub(crate) async fn candidate(&self) -> Ws {
        self.server.ws(&self.query("websocket")).await
    }

    /// A candidate that has probed and was answered.
    pub(crate) async fn probed(&self) -> Ws {
        let mut ws = self.candidate().await;
        ws.text("2probe").await;
        ws.expect("3probe").await;
        ws
    }

    /// Packets go both ways over polling.
    pub(crate) async fn is_alive(&self) {
        self.post("40/alive,").await.is(200, "ok");
        self.poll().await.is(200, &refusal("/alive"));
    }

    /// In revision 3: its ping is answered, and nothing else was on its way.
    pub(crate) async fn pings(&self) {
        self.post("1:2").await.is(200, "ok");
        self.poll().await.is(200, "1:3");
    }

    pub(crate) async fn is_gone(&self) {
        self.poll().await.is(400, r#"{"code":1,"message":"Session ID unknown"}"#);
    }
}

pub(crate) const NOT_FOUND: &str = "token not found: it is unknown or has expired, ask GET /new for another";

/// What a CONNECT to a namespace that is no token is answered with, as an Engine.IO packet.
pub(crate) fn refusal(namespace: &str) -> String {
    format!(r#"44{namespace},{{"message":"{NOT_FOUND}"}}"#)
}

/// The same in revision 3.
pub(crate) fn refusal_v3(namespace: &str) -> String {
    format!(r#"44{namespace},"{NOT_FOUND}""#)
}

/// A text payload of revision 3: each packet with its length in front, in UTF-16 code units.
pub(crate) fn counted(packets: &[&str]) -> String {
    packets.iter().map(|packet| format!("{}:{packet}", packet.encode_utf16().count())).collect()
}

/// What a server says on a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    Text(String),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>),
}

/// The bytes of a client's frame.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x5a, 0x01, 0xff, 0x3c];
    let mut bytes = vec![first];
    match payload.len() {
        length @ ..126 => bytes.push(0x80 | u8::try_from(length).unwrap()),
        length @ ..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend(u64::try_from(length).unwrap().to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A WebSocket.
pub(crate) struct Ws {
    pub(crate) peer: Peer,
}

impl Ws {
    /// A frame with a mask; `first` is its first byte: 0x81 is a whole text.
    pub(crate) async fn frame(&mut self, first: u8, payload: &[u8]) {
        self.peer.send(&frame(first, payload)).await;
    }

    pub(crate) async fn text(&mut self, text: &str) {
        self.frame(0x81, text.as_bytes()).await;
    }

    pub(crate) async fn binary(&mut self, data: &[u8]) {
        self.frame(0x82, data).await;
    }

    pub(crate) async fn next(&mut self) -> Frame {
        let head = self.peer.exactly(2).await;
        let length = match head[1] {
            126 => usize::from(u16::from_be_bytes(self.peer.exactly(2).await.try_into().unwrap())),
            127 => usize::try_from(u64::from_be_bytes(self.peer.exactly(8).await.try_into().unwrap())).unwrap(),
            length => {
                assert!(length < 126, "a server does not mask");
                usize::from(length)
            }
        };
        let payload = self.peer.exactly(length).await;
        match head[0] {
            0x81 => Frame::Text(String::from_utf8(payload).unwrap()),
            0x82 => Frame::Binary(payload),
            0x8a => Frame::Pong(payload),
            0x88 => Frame::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
            other => panic!("a frame that begins with {other:#x}"),
        }
    }

    pub(crate) async fn expect(&mut self, text: &str) {
        assert_eq!(self.next().await, Frame::Text(text.to_owned()));
    }

    /// The next is a text; gives it.
    pub(crate) async fn next_text(&mut self) -> String {
        match self.next().await {
            Frame::Text(text) => text,
            other => panic!("{other:?} is no text"),
        }
    }

    /// The next is a close frame, with this code or none, and then the end.
    pub(crate) async fn closes(&mut self, code: Option<u16>, why: &str) {
        assert_eq!(self.next().await, Frame::Close(code), "{why}");
        self.peer.ends().await;
    }

    /// Packets go both ways, and nothing else was on its way.
    pub(crate) async fn is_alive(&mut self) {
        self.text("40/alive,").await;
        self.expect(&refusal("/alive")).await;
    }

    /// In revision 3: its ping is answered, and nothing else was on its way.
    pub(crate) async fn pings(&mut self) {
        self.text("2").await;
        self.expect("3").await;
    }

    /// Joins a token's namespace; gives the socket's id.
    pub(crate) async fn join(&mut self, token: &str) -> String {
        self.text(&format!("40/{token},")).await;
        self.has_joined(token).await
    }

    /// The next says that it has joined; gives the socket's id.
    pub(crate) async fn has_joined(&mut self, token: &str) -> String {
        let reply = self.next_text().await;
        let sid = sid_of(&reply);
        assert_eq!(reply, format!(r#"40/{token},{{"sid":"{sid}"}}"#));
        sid
    }

    /// The next is a visitor's request with this ack id; gives its text.
    pub(crate) async fn request(&mut self, token: &str, id: usize) -> String {
        let text = self.next_text().await;
        let (head, _) = text.split_once(r#"["request",{"#).unwrap_or_else(|| panic!("{text} is no request"));
        assert!([format!("42/{token},{id}"), format!("451-/{token},{id}")].contains(&head.to_owned()), "{text}");
        text
    }
}
