//! The client's machines as an end of the server, over sockets: an owner of connections that does what they ask for.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use socket2me::proto::engine_io::client::{Output, Transports};
use socket2me::proto::engine_io::payload::Body;
use socket2me::proto::engine_io::{ClientSession, CloseReason, Frame, Revision, Settings, Transport};
use socket2me::proto::link::ClientLink;
use socket2me::proto::socket_io::connection::Answer as Ack;
use socket2me::proto::socket_io::connection::client::Credentials;
use socket2me::proto::socket_io::packet::Args;
use socket2me::proto::socket_io::{AckId, ClientConnection, ClientEvent, Namespace};
use socket2me::proto::time::Instant;
use socket2me::proto::websocket::{Item, Opcode, ReadLimits, Reader, mask, write_masked_head};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use crate::relay::tunnel::{Server, patient};
use crate::relay::visitor::{Answer, request, visit};
use crate::support::within;

const LIMITS: ReadLimits = ReadLimits { message: 32 << 20, oversized: 64 << 20 };

/// What has come of something that the session asked for.
enum Came {
    Polled(Answer),
    Posted(bool),
    Opened(OwnedWriteHalf),
    Frame(Frame),
    Ping(Bytes),
    Lost,
}

/// The owner of a client's session, which answers each request with its body.
struct Owner {
    address: SocketAddr,
    link: ClientLink<ClientConnection<()>>,
    started: tokio::time::Instant,
    websocket: Option<OwnedWriteHalf>,
    /// The WebSocket is the transport, and no candidate.
    is_adopted: bool,
    tell: mpsc::Sender<Came>,
    come: mpsc::Receiver<Came>,
    has_joined: bool,
}

impl Owner {
    fn new(address: SocketAddr, token: &str, revision: Revision, transports: Transports) -> Self {
        let session = ClientSession::open(Arc::new(Settings::default()), revision, transports, Instant::ORIGIN);
        let namespace = Namespace::new(format!("/{token}").into()).unwrap();
        let link = ClientLink::new(session, ClientConnection::new(Arc::default(), namespace, Credentials::None));
        let (tell, come) = mpsc::channel(16);
        Self {
            address,
            link,
            started: tokio::time::Instant::now(),
            websocket: None,
            is_adopted: transports == Transports::WebSocket,
            tell,
            come,
            has_joined: false,
        }
    }

    fn now(&self) -> Instant {
        Instant::after_origin(self.started.elapsed())
    }

    /// Serves until the session has ended, and returns why.
    async fn serve(&mut self) -> CloseReason {
        loop {
            self.settle().await;
            if let Some(reason) = self.link.session().close_reason()
                && self.link.session().is_finished()
            {
                return reason;
            }
            self.step().await;
        }
    }

    async fn until_joined(&mut self) {
        while !self.has_joined {
            self.settle().await;
            if !self.has_joined {
                within("the server to let the client in", self.step()).await;
            }
        }
    }

    /// Waits for what comes next: something from outside, or a deadline.
    async fn step(&mut self) {
        let due = self.link.deadline().map(|deadline| self.started + deadline.since_origin());
        let due = due.unwrap_or_else(|| self.started + std::time::Duration::from_secs(3600));
        let came = tokio::select! {
            came = self.come.recv() => came,
            () = tokio::time::sleep_until(due) => None,
        };
        let now = self.now();
        match came {
            Some(Came::Polled(answer)) => {
                let is_bytes = answer.header("content-type") == Some("application/octet-stream");
                let text = || Body::Text(String::from_utf8(answer.body.clone()).unwrap().into());
                let body = if is_bytes { Body::Binary(answer.body.clone().into()) } else { text() };
                let result = if answer.status == 200 { Ok(body) } else { Err(CloseReason::TransportError) };
                self.link.polled(result, now);
            }
            Some(Came::Posted(is_taken)) => self.link.posted(is_taken, now),
            Some(Came::Opened(websocket)) => {
                self.websocket = Some(websocket);
                self.link.websocket_opened();
            }
            Some(Came::Frame(frame)) if self.is_adopted => self.link.websocket_frame(frame, now),
            Some(Came::Frame(frame)) => self.link.candidate_frame(frame),
            Some(Came::Ping(payload)) => self.write(Opcode::Pong, &payload).await,
            Some(Came::Lost) => self.link.websocket_lost(CloseReason::TransportClose, now),
            None => self.link.handle_timeout(now),
        }
    }

    /// Does all that the session asks for.
    async fn settle(&mut self) {
        while let Some(event) = self.link.next_event() {
            self.event(event);
        }
        while let Some(output) = self.link.next_output() {
            self.output(output).await;
        }
        while self.is_adopted
            && self.websocket.is_some()
            && let Some(frame) = self.link.next_frame()
        {
            self.write_frame(&frame).await;
        }
    }

    fn event(&mut self, event: ClientEvent<()>) {
        match event {
            ClientEvent::Joined => self.has_joined = true,
            ClientEvent::Received { args, attachments, id } => self.answer(&args, attachments, id.unwrap()),
            ClientEvent::Left { .. } => self.has_joined = false,
            ClientEvent::Refused { .. } | ClientEvent::Acked { .. } => panic!("{event:?}"),
        }
    }

    fn answer(&mut self, args: &Args, attachments: Vec<Bytes>, id: AckId) {
        let asked: Value = serde_json::from_str(args.get(1).unwrap()).unwrap();
        let json = format!("[200,{}]", asked["body"]);
        let answer = Ack { args: Args::parse(json.into()).unwrap(), attachments };
        let now = self.now();
        self.link.act(now, |connection, lower| connection.ack(id, answer, lower));
    }

    async fn output(&mut self, output: Output) {
        let (address, tell, session) = (self.address, self.tell.clone(), self.link.session());
        let target = |transport| format!("/socket.io/?{}", session.query(transport));
        match output {
            Output::Poll => {
                let poll = request("GET", &target(Transport::Polling), &[], b"");
                tokio::spawn(async move { tell.send(Came::Polled(visit(address, &poll).await)).await });
            }
            Output::Post(body) => {
                let (kind, bytes) = match &body {
                    Body::Text(text) => ("text/plain;charset=UTF-8", text.as_bytes()),
                    Body::Binary(bytes) => ("application/octet-stream", bytes),
                };
                let post = request("POST", &target(Transport::Polling), &[("content-type", kind)], bytes);
                tokio::spawn(async move {
                    let answer = visit(address, &post).await;
                    tell.send(Came::Posted(answer.status == 200)).await
                });
            }
            Output::OpenWebSocket => {
                let target = target(Transport::WebSocket);
                tokio::spawn(async move { read(open(address, &target).await, tell).await });
            }
            Output::Candidate(frame) => self.write_frame(&frame).await,
            Output::AdoptCandidate => self.is_adopted = true,
            Output::DropCandidate => self.websocket = None,
        }
    }

    async fn write_frame(&mut self, frame: &Frame) {
        match frame {
            Frame::Text(text) => self.write(Opcode::Text, text.as_bytes()).await,
            Frame::Binary(data) => self.write(Opcode::Binary, data).await,
        }
    }

    async fn write(&mut self, opcode: Opcode, payload: &[u8]) {
        const MASK: [u8; 4] = [0x5a, 0x01, 0xff, 0x3c];
        let mut bytes = Vec::new();
        write_masked_head(opcode, payload.len(), MASK, &mut bytes);
        let start = bytes.len();
        bytes.extend_from_slice(payload);
        mask(&mut bytes[start..], MASK);
        let websocket = self.websocket.as_mut().unwrap();
        within("the server to read", websocket.write_all(&bytes)).await.unwrap();
    }
}

/// Opens a WebSocket, which must be granted.
async fn open(address: SocketAddr, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
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
    stream
}

/// Hands on what the server says until the connection ends.
async fn read(stream: TcpStream, tell: mpsc::Sender<Came>) {
    let (mut stream, writer): (OwnedReadHalf, _) = stream.into_split();
    let (mut reader, mut buffer) = (Reader::of_client(LIMITS), vec![0; 64 << 10]);
    let mut is_wanted = tell.send(Came::Opened(writer)).await.is_ok();
    while is_wanted && let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let mut unread = &buffer[..count];
        while is_wanted && let Some(item) = reader.read(&mut unread).unwrap() {
            let came = match item {
                Item::Text(text) => Came::Frame(Frame::Text(text)),
                Item::Binary(data) => Came::Frame(Frame::Binary(data)),
                Item::Ping(payload) => Came::Ping(payload),
                Item::Pong => continue,
                Item::Close { .. } => Came::Lost,
                Item::Oversized(_) => panic!("over the limit"),
            };
            is_wanted = tell.send(came).await.is_ok();
        }
    }
    // The owner may be gone.
    let _ = tell.send(Came::Lost).await;
}

#[tokio::test]
async fn a_client_of_either_revision_is_an_end_over_every_transport() {
    let server = Server::start(patient()).await;
    for revision in Revision::ALL {
        for transports in [Transports::Polling, Transports::WebSocket, Transports::Upgrade] {
            let token = server.token().await;
            let mut owner = Owner::new(server.address, &token, revision, transports);
            owner.until_joined().await;
            let (address, target) = (server.address, format!("/go/{token}/"));
            let visits = tokio::spawn(async move {
                for body in [vec![b'x'; 20], vec![0xff; 200 << 10], "é😀\"\\".into(), Vec::new()] {
                    for kind in ["application/octet-stream", "text/plain"] {
                        // Text is UTF-8.
                        if kind == "text/plain" && std::str::from_utf8(&body).is_err() {
                            continue;
                        }
                        let answer = visit(address, &request("POST", &target, &[("content-type", kind)], &body)).await;
                        let expected = if body.is_empty() { b"{}" } else { &body[..] };
                        assert_eq!((answer.status, &answer.body[..]), (200, expected), "{kind}");
                    }
                }
            });
            tokio::select! {
                visits = visits => visits.unwrap(),
                reason = owner.serve() => panic!("{revision:?} {transports:?}: {reason}"),
            }
            assert_eq!(owner.is_adopted, transports != Transports::Polling, "{revision:?}");
            let now = owner.now();
            owner.link.close(CloseReason::ForcedClose, now);
            assert_eq!(within("the session to end", owner.serve()).await, CloseReason::ForcedClose);
        }
    }
}
