//! Servers that break the protocol. An end says so, gives the exchange up or comes back, and holds no more than with others.

use std::net::SocketAddr;

use futures::{SinkExt as _, StreamExt as _};
use socket2me::client::report::{Exit, Report};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

use super::app::App;
use super::{Forward, Options};
use crate::support::within;

/// A server whose every message is a test's.
struct Liar {
    address: SocketAddr,
    listener: TcpListener,
}

/// What it says when it has let an end in.
const READY: &str = r#"["ready",{"stream":1,"chunk":65536,"window":262144,"ws":"raw","pull":false,"serial":false,"maxPayload":16842752,
    "idle":60000,"url":"http://relay.example/go/t","path_url":"http://relay.example/go/t","token":"t","expires":null}]"#;

/// A request without a body.
fn asks(id: &str, path: &str) -> String {
    format!(
        r#"["request",{{"id":"{id}","method":"GET","url":"{path}","search":"","query":{{}},"headers":{{}},"httpVersion":"1.1","remoteAddress":"::1","streamed":true,"window":1000}}]"#
    )
}

impl Liar {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { address: listener.local_addr().unwrap(), listener }
    }

    async fn accept(&self) -> TcpStream {
        within("forward to connect", self.listener.accept()).await.unwrap().0
    }

    /// Makes a tunnel.
    async fn makes(&self, answer: &str) {
        let mut stream = self.accept().await;
        let mut read = Vec::new();
        while !read.ends_with(b"{}") {
            assert!(within("a request", stream.read_buf(&mut read)).await.unwrap() > 0);
        }
        assert!(read.starts_with(b"POST /new "));
        let head = format!("HTTP/1.1 201 Created\r\nContent-Length: {}\r\n\r\n", answer.len());
        stream.write_all(&[head.as_bytes(), answer.as_bytes()].concat()).await.unwrap();
    }

    /// Opens a session, and lets the end in.
    async fn lets_in(&self) -> Socket {
        let mut socket = self.opens().await;
        socket.says(r#"40/t,{"sid":"def"}"#).await;
        socket
    }

    /// Opens a session whose end asks to be let in.
    async fn opens(&self) -> Socket {
        self.makes(&format!(r#"{{"token":"t","key":"s2m_{}","url":"","path_url":""}}"#, "a".repeat(43))).await;
        let mut socket = Socket(within("a WebSocket", accept_async(self.accept().await)).await.unwrap());
        socket
            .says(r#"0{"sid":"AAAAAAAAAAAAAAAAAAAA","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#)
            .await;
        assert!(socket.hears().await.starts_with("40/t,{\"key\":\"s2m_"));
        socket
    }
}

struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn says(&mut self, packet: &str) {
        within("forward to read", self.0.send(Message::text(packet))).await.unwrap();
    }

    async fn emits(&mut self, event: &str) {
        self.says(&format!("42/t,{event}")).await;
    }

    /// Waits for the next packet.
    async fn hears(&mut self) -> String {
        within("forward to say something", self.0.next()).await.unwrap().unwrap().into_text().unwrap().to_string()
    }

    /// Waits until the end has left.
    async fn is_left(&mut self) {
        while let Some(Ok(_)) = within("forward to leave", self.0.next()).await {}
    }
}

/// Waits for a warning. The end of an exchange may be told before it.
async fn warning(forward: &mut Forward) -> String {
    loop {
        match forward.report().await {
            Report::Warning(what) => return what,
            Report::Request(served) => assert!(served.error.is_some()),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_breaks_the_protocol_is_said_and_the_session_goes_on() {
    let (liar, app) = (Liar::start().await, App::start().await);
    let mut forward = Forward::start(app.address, Options::of(liar.address));
    let mut socket = liar.lets_in().await;
    for (event, expected) in [
        (asks("1-1", "/"), "a request came before ready"),
        (READY.replace("262144", "99999999999"), "ready has one object"),
        (READY.replace("65536", "0"), "ready has one object"),
        (r#"["ready"]"#.to_owned(), "ready has one object"),
    ] {
        socket.emits(&event).await;
        assert!(warning(&mut forward).await.contains(expected), "{event}");
    }
    socket.emits(READY).await;
    assert_eq!(forward.ready().await, "http://relay.example/go/t");
    for (event, expected) in [
        (READY.to_owned(), "ready came twice"),
        (asks("x", "/"), "a request's id is none"),
        (r#"["request",7]"#.to_owned(), "request has one object"),
    ] {
        socket.emits(&event).await;
        assert!(warning(&mut forward).await.contains(expected), "{event}");
    }
    // Others have no effect at all.
    for event in [
        r#"["data","1-1","x",0]"#,
        r#"["end","1-1",5]"#,
        r#"["abort","9-9","timeout"]"#,
        r#"["closing",{}]"#,
        r#"["what"]"#,
    ] {
        socket.emits(event).await;
    }
    // The target of a request is a path, whatever it looks like.
    for (id, path) in [("1-1", "http://evil.example/"), ("1-2", "/a b"), ("1-3", "")] {
        socket.emits(&asks(id, path)).await;
        let heard = socket.hears().await;
        assert!(heard.starts_with(&format!(r#"42/t,["abort","{id}","protocol""#)), "{heard}");
        assert!(forward.served().await.error.is_some());
    }
    forward.stop.cancel();
    drop(socket);
}

#[tokio::test]
async fn a_body_beyond_its_window_is_given_up() {
    let (liar, app) = (Liar::start().await, App::start().await);
    let mut forward = Forward::start(app.address, Options::of(liar.address));
    let mut socket = liar.lets_in().await;
    socket.emits(READY).await;
    forward.ready().await;
    socket.emits(&asks("1-1", "/")).await;
    // The app takes the connection and reads nothing of it; four windows fit into no buffer of ours.
    let mut offset = 0;
    let part = "x".repeat(60_000);
    let mut number = 0;
    let code = loop {
        socket.says(&format!(r#"42/t,{number}["data","1-1","{part}",{offset}]"#)).await;
        (offset, number) = (offset + part.len(), number + 1);
        let heard = socket.hears().await;
        if heard.starts_with("42/t,[\"abort\"") {
            break heard;
        }
        assert!(number < 100, "{heard}");
    };
    assert!(code.starts_with(r#"42/t,["abort","1-1","#), "{code}");
    assert!(warning(&mut forward).await.starts_with("the server breaks the protocol"));
    forward.stop.cancel();
}

#[tokio::test]
async fn no_escape_of_a_server_reaches_a_terminal() {
    let (liar, app) = (Liar::start().await, App::start().await);
    let forward = Forward::start(app.address, Options::of(liar.address));
    let mut socket = liar.lets_in().await;
    socket.emits(&READY.replace("http://relay.example/go/t", r"http://relay.example/\u001b[2J")).await;
    let failure = forward.failed().await;
    assert_eq!((failure.exit, failure.code.as_str()), (Exit::Refused, "foreign-server"));
    assert!(!failure.to_string().contains('\u{1b}'));
    let forward = Forward::start(app.address, Options::of(liar.address));
    let mut socket = liar.opens().await;
    socket.says(r#"44/t,{"message":"no\u001b]0;x\u0007","data":{"code":"key-wrong"}}"#).await;
    let failure = forward.failed().await;
    assert_eq!((failure.exit, failure.message.as_str()), (Exit::Refused, "no\u{fffd}]0;x\u{fffd}"));
}

#[tokio::test]
async fn what_is_no_packet_ends_the_session_and_the_end_comes_back() {
    for lie in [
        Message::text("what"),
        Message::text("42/other,[\"x\"]\u{0}"),
        Message::text("451-/t,[\"x\"]"),
        Message::binary(vec![1, 2]),
    ] {
        let (liar, app) = (Liar::start().await, App::start().await);
        let mut forward = Forward::start(app.address, Options::of(liar.address));
        let mut socket = liar.lets_in().await;
        socket.emits(READY).await;
        forward.ready().await;
        socket.0.send(lie.clone()).await.unwrap();
        socket.0.send(Message::text("2")).await.unwrap();
        if let Message::Text(text) = &lie
            && text.starts_with("451")
        {
            // An attachment is due, and text comes.
            socket.0.send(Message::text("42/t,[\"x\"]")).await.unwrap();
        }
        socket.is_left().await;
        assert!(matches!(forward.report().await, Report::Reconnecting { .. }), "{lie:?}");
        drop(forward.task);
    }
}

#[tokio::test]
async fn a_tunnel_that_is_none_is_no_tunnel() {
    for answer in [
        "",
        "{}",
        "[]",
        r#"{"token":"t","url":"","path_url":""}"#,
        r#"{"token":"t","key":"s2m_short","url":"","path_url":""}"#,
    ] {
        let (liar, app) = (Liar::start().await, App::start().await);
        let forward = Forward::start(app.address, Options::of(liar.address));
        let ((), failure) = tokio::join!(liar.makes(answer), forward.failed());
        assert_eq!((failure.exit, failure.code.as_str()), (Exit::Refused, "foreign-server"), "{answer}");
    }
}
