//! A server in this process, and clients that write HTTP requests and WebSocket frames byte by byte.

mod http;
mod polling;
mod websocket;

use std::fmt::Write as _;
use std::net::SocketAddr;

use socket2me::config::ServeConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

pub(crate) use self::http::{Answer, Peer, sid_of};
pub(crate) use self::polling::Polling;
pub(crate) use self::websocket::{Frame, Ws, frame};
use super::{NOT_FOUND, within};

/// The key in the example of RFC 6455, section 1.3, and the answer to it.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The headers of a request.
pub(crate) type Headers<'h> = &'h [(&'h str, &'h str)];

/// The headers that ask for a WebSocket.
pub(crate) const UPGRADE: Headers<'static> =
    &[("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", KEY)];

/// A running server. Each test has its own, which ends with the test's runtime.
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
        tokio::spawn(socket2me::relay::run(listener, config, |_| (), async { drop(stopped.await) }));
        Self { address, stop }
    }

    /// Tells the server to stop.
    pub(crate) fn stop(self) {
        drop(self.stop);
    }

    pub(crate) async fn peer(&self) -> Peer {
        let stream = within("a connection", TcpStream::connect(self.address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Peer::new(stream)
    }

    /// Sends a request and does not wait for the response.
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

    /// Sends a GET to the Engine.IO path, and waits for the response.
    pub(crate) async fn get(&self, query: &str) -> Answer {
        self.ask("GET", &format!("/socket.io/?{query}"), &[], b"").await
    }

    /// Waits until three further requests have been answered, so that what was sent before has been served too.
    pub(crate) async fn settle(&self) {
        for _ in 0..3 {
            assert_eq!(self.ask("GET", "/healthz", &[], b"").await.status, 200);
        }
    }

    /// Opens a polling session of revision 4.
    pub(crate) async fn open(&self) -> Polling<'_> {
        self.open_as("EIO=4").await
    }

    /// Opens a polling session. `words` is in the query of each of its requests, beside the transport and the session id.
    pub(crate) async fn open_as(&self, words: &'static str) -> Polling<'_> {
        let sid = self.get(&format!("{words}&transport=polling")).await.sid();
        Polling { server: self, words, sid }
    }

    /// Opens a polling session of revision 3, and takes the `40` that follows the handshake.
    pub(crate) async fn open_v3(&self, words: &'static str) -> Polling<'_> {
        let session = self.open_as(words).await;
        session.poll().await.is(200, "2:40");
        session
    }

    /// Opens a session on a WebSocket, and takes its handshake.
    pub(crate) async fn open_ws(&self) -> Ws {
        let mut ws = self.ws("EIO=4&transport=websocket").await;
        let Frame::Text(open) = ws.next().await else { panic!("no handshake") };
        assert!(open.starts_with("0{"), "{open}");
        ws
    }

    /// The same in revision 3; takes the `40` that follows the handshake too.
    pub(crate) async fn open_ws_v3(&self) -> Ws {
        let mut ws = self.ws("EIO=3&transport=websocket").await;
        let open = ws.next_text().await;
        assert!(open.starts_with("0{"), "{open}");
        ws.expect("40").await;
        ws
    }

    /// Opens a session of revision 3 on a WebSocket, and joins the namespace of a new token.
    pub(crate) async fn joined_v3(&self) -> (Ws, String) {
        let (mut ws, token) = (self.open_ws_v3().await, self.token().await);
        ws.text(&format!("40/{token}")).await;
        ws.expect(&format!("40/{token},")).await;
        (ws, token)
    }

    /// Opens a session on a WebSocket, and joins the namespace of a new token.
    pub(crate) async fn joined(&self) -> (Ws, String) {
        let (mut ws, token) = (self.open_ws().await, self.token().await);
        ws.join(&token).await;
        (ws, token)
    }

    /// Asks for a WebSocket, which must be granted.
    pub(crate) async fn ws(&self, query: &str) -> Ws {
        let mut peer = self.send("GET", &format!("/socket.io/?{query}"), UPGRADE, b"").await;
        let answer = peer.answer().await;
        assert_eq!((answer.status, answer.header("sec-websocket-accept")), (101, Some(ACCEPT)), "{}", answer.text());
        Ws { peer }
    }

    /// Asks for a WebSocket, which must be refused.
    pub(crate) async fn no_ws(&self, query: &str) -> Answer {
        let answer = self.ask("GET", &format!("/socket.io/?{query}"), UPGRADE, b"").await;
        assert_ne!(answer.status, 101);
        answer
    }

    /// Asks for a new token.
    pub(crate) async fn token(&self) -> String {
        let token = self.ask("GET", "/new", &[], b"").await.text();
        assert_eq!(token.len(), 48);
        token
    }

    /// Sends a visitor's request with this body. The response comes when the end has acked.
    pub(crate) async fn visit(&self, token: &str, body: &[u8]) -> Peer {
        self.visit_as("application/octet-stream", token, body).await
    }

    pub(crate) async fn visit_as(&self, content_type: &str, token: &str, body: &[u8]) -> Peer {
        self.send("POST", &format!("/go/{token}"), &[("Content-Type", content_type)], body).await
    }
}

/// The refusal of a CONNECT to a namespace that is no token, as an Engine.IO packet.
pub(crate) fn refusal(namespace: &str) -> String {
    format!(r#"44{namespace},{{"message":"{NOT_FOUND}","data":{{"code":"token-not-found"}}}}"#)
}

/// The same in revision 3.
pub(crate) fn refusal_v3(namespace: &str) -> String {
    format!(r#"44{namespace},"token-not-found: {NOT_FOUND}""#)
}

/// Encodes packets as a text payload of revision 3: each behind its length in UTF-16 code units.
pub(crate) fn counted(packets: &[&str]) -> String {
    packets.iter().map(|packet| format!("{}:{packet}", packet.encode_utf16().count())).collect()
}
