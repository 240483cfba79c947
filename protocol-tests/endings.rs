//! What clients hear at the end of a server whose runtime ends with it, and of a WebSocket that a session has no place for.

use std::future::{Future, ready};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2me::config::ServeConfig;
use socket2me::engine::{
    ClientEvent, Connect, DisconnectReason, Encoded, Engine, EngineIoSettings, Host, Limits, Reaction, Refusal, Socket,
    SocketIo, SocketIoSettings, Space,
};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// How long a test waits before it gives up. No test that passes waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A host that admits everyone. In `/long` it emits an event of 8 MiB, more than the system buffers for a client.
struct TestHost;

impl Host for TestHost {
    type Member = ();
    type Waiter = ();
    type Message = ();

    fn connect(&self, _: Connect) -> impl Future<Output = Result<(), Refusal>> + Send + 'static {
        ready(Ok(()))
    }

    fn connected(&self, (): &mut (), socket: &Socket<Self>, mut reaction: Reaction<'_, Self>) {
        if socket.namespace().as_str() == "/long" {
            let text = "x".repeat(8 << 20);
            let mut event = Encoded::begin(socket.namespace(), None, Vec::new(), Space::New(text.len() + 4));
            event.json().extend(["[\"", &text, "\"]"]);
            reaction.emit(event.finish());
        }
    }

    fn received(&self, (): &mut (), _: &Socket<Self>, _: ClientEvent, _: Reaction<'_, Self>) {}

    fn disconnected(&self, (): (), _: &Socket<Self>, _: DisconnectReason) {}
}

/// A server on a thread and in a runtime of its own, which ends with the server.
struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Server {
    /// Starts an engine that is used as a library.
    fn start() -> Self {
        Self::run(async |listener, stopped| {
            let application = SocketIo::new(TestHost, SocketIoSettings::default());
            let engine = Engine::new(application, EngineIoSettings::default(), Limits::default());
            engine.listen(listener, async { drop(stopped.await) }).await;
        })
    }

    /// Starts a relay that does not wait for exchanges when it stops.
    fn start_relay() -> Self {
        Self::run(async |listener, stopped| {
            let config = ServeConfig { drain_timeout: Duration::ZERO, ..ServeConfig::defaults() };
            socket2me::relay::run(listener, config, |_| (), async { drop(stopped.await) }).await.unwrap();
        })
    }

    fn run(serve: impl AsyncFnOnce(TcpListener, oneshot::Receiver<()>) + Send + 'static) -> Self {
        let (tell_address, address) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell_address.send(listener.local_addr().unwrap()).unwrap();
                serve(listener, stopped).await;
            });
        });
        Self { address: address.recv_timeout(PATIENCE).unwrap(), stop, thread }
    }

    /// Stops the server; its runtime is gone when this returns.
    fn stop(self) {
        drop(self.stop);
        self.thread.join().unwrap();
    }

    /// Sends a request and returns its connection.
    fn request(&self, head: &str) -> Connection {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "{head} HTTP/1.1\r\nHost: test\r\n").unwrap();
        Connection(stream)
    }

    fn get(&self, query: &str) -> Connection {
        let mut connection = self.request(&format!("GET /socket.io/?{query}"));
        connection.send(b"\r\n");
        connection
    }

    /// Asks for a WebSocket.
    fn upgrade(&self, query: &str) -> Connection {
        let mut connection = self.request(&format!("GET /socket.io/?{query}"));
        connection.send(
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        connection
    }

    /// Asks for a WebSocket, which must be granted.
    fn websocket(&self, query: &str) -> Connection {
        let mut connection = self.upgrade(query);
        let head = connection.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        connection
    }

    /// Returns a connection that is open and idle.
    fn idle(&self) -> Connection {
        let mut connection = self.get("EIO=4&transport=polling");
        connection.body();
        connection
    }

    /// Opens a session on long-polling. Returns the query of its further requests.
    fn open(&self, revision: &str) -> String {
        let body = self.get(&format!("{revision}&transport=polling")).body();
        let (_, sid) = body.split_once(r#""sid":""#).unwrap();
        format!("{revision}&transport=polling&sid={}", &sid[..20])
    }
}

/// A client's side of a connection.
struct Connection(TcpStream);

impl Connection {
    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn exactly(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.exactly(1));
        }
        String::from_utf8(head).unwrap()
    }

    /// Reads a response with a body.
    fn body(&mut self) -> String {
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        String::from_utf8(self.exactly(length.parse().unwrap())).unwrap()
    }

    /// Sends a short text frame.
    fn text(&mut self, text: &str) {
        let mask = [1, 2, 3, 4];
        let masked = text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let head = [0x81, 0x80 | u8::try_from(text.len()).unwrap()];
        self.send(&head.into_iter().chain(mask).chain(masked).collect::<Vec<_>>());
    }

    /// Reads a short frame: its first byte and its payload.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.exactly(2);
        (head[0], self.exactly(usize::from(head[1])))
    }

    /// The server closes the WebSocket with this code or without one, and then the connection.
    fn closes(&mut self, code: Option<u16>) {
        assert_eq!(self.frame(), (0x88, code.map_or(Vec::new(), |code| code.to_be_bytes().to_vec())));
        self.send(&[0x88, 0x80, 0, 0, 0, 0]);
        self.ends();
    }

    /// The server closes the connection and sends nothing more.
    fn ends(&mut self) {
        assert_eq!(self.0.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn a_client_on_a_websocket_is_told_of_the_end_of_a_server_whose_runtime_ends_with_it() {
    let server = Server::start();
    let mut websocket = server.websocket("EIO=4&transport=websocket");
    assert_eq!(websocket.frame().0, 0x81);
    let client = std::thread::spawn(move || websocket.closes(Some(1001)));
    server.stop();
    client.join().unwrap();
}

#[test]
fn a_client_that_has_not_read_everything_gets_it_before_it_is_told_of_the_end() {
    let server = Server::start();
    let mut websocket = server.websocket("EIO=4&transport=websocket");
    assert_eq!(websocket.frame().0, 0x81);
    websocket.text("40/long,");
    let (first, sid) = websocket.frame();
    assert_eq!((first, &sid[..9]), (0x81, &b"40/long,{"[..]));
    let reading = std::thread::spawn(move || {
        // A text of 127 and eight bytes of length.
        assert_eq!(websocket.exactly(2), [0x81, 127]);
        let length = u64::from_be_bytes(websocket.exactly(8).try_into().unwrap());
        websocket.exactly(usize::try_from(length).unwrap());
        websocket.closes(Some(1001));
    });
    server.stop();
    reading.join().unwrap();
}

/// What waits for the end at that moment waits in its WebSocket, or also in its session.
#[test]
fn an_end_that_has_not_read_everything_gets_it_before_it_is_told_of_the_end_of_its_relay() {
    for waits_in_session in [false, true] {
        let server = Server::start_relay();
        let mut asking = server.request("GET /new");
        asking.send(b"\r\n");
        let token = asking.body();
        let mut websocket = server.websocket("EIO=4&transport=websocket");
        assert_eq!(websocket.frame().0, 0x81);
        websocket.text(&format!("40/{token},"));
        assert_eq!(websocket.frame().0, 0x81);
        let mut visitor = server.request(&format!("POST /go/{token}"));
        let body = "x".repeat(8 << 20);
        visitor.send(format!("Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
        assert_eq!(websocket.exactly(2), [0x81, 127]);
        let _second = waits_in_session.then(|| {
            let mut second = server.request(&format!("GET /go/{token}/second"));
            second.send(b"\r\n");
            // The session has the event once the server answers a later request.
            server.open("EIO=4");
            second
        });
        let mut idle = server.idle();
        let reading = std::thread::spawn(move || {
            // What is read before the server stops proves nothing. It closes idle connections after it has told its sessions
            // to end.
            idle.ends();
            let length = u64::from_be_bytes(websocket.exactly(8).try_into().unwrap());
            let event = websocket.exactly(usize::try_from(length).unwrap());
            assert!(event.ends_with(br#"x"}]"#));
            if waits_in_session {
                assert_eq!(websocket.exactly(2), [0x81, 126]);
                let length = u16::from_be_bytes(websocket.exactly(2).try_into().unwrap());
                let event = String::from_utf8(websocket.exactly(usize::from(length))).unwrap();
                assert!(event.contains("/second"), "{event}");
            }
            websocket.closes(Some(1001));
        });
        server.stop();
        reading.join().unwrap();
    }
}

#[test]
fn a_websocket_for_a_session_that_has_one_is_accepted_and_closed() {
    let server = Server::start();
    for (revision, ping, pong) in [("EIO=3", "2", "3"), ("EIO=4", r#"40/a,"#, "40/a,{")] {
        let query = server.open(revision).replace("polling", "websocket");
        let mut websocket = server.websocket(&query);
        server.websocket(&query).closes(None);
        websocket.text("2probe");
        assert_eq!(websocket.frame(), (0x81, b"3probe".to_vec()));
        server.websocket(&query).closes(None);
        websocket.text("5");
        if revision == "EIO=3" {
            assert_eq!(websocket.frame(), (0x81, b"40".to_vec()));
        }
        server.websocket(&query).closes(None);
        websocket.text(ping);
        assert!(websocket.frame().1.starts_with(pong.as_bytes()), "{revision}: the session goes on");
        let mut unknown = server.upgrade(&query.replace("sid=", "sid=_"));
        assert!(unknown.head().starts_with("HTTP/1.1 400 "), "{revision}");
        assert_eq!(unknown.exactly(41), br#"{"code":1,"message":"Session ID unknown"}"#, "{revision}");
        websocket.send(&[0x88, 0x80, 0, 0, 0, 0]);
    }
    server.stop();
}

#[test]
fn a_poll_that_waits_is_answered_by_a_server_that_ends() {
    let server = Server::start();
    let session = server.open("EIO=4");
    let mut poll = server.get(&session);
    // The server has taken the poll once it answers a later request.
    server.open("EIO=4");
    server.stop();
    assert_eq!(poll.body(), "1");
}
