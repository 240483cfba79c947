//! WebSockets of visitors, whose bytes pass as they are.

use futures::{SinkExt as _, StreamExt as _};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{accept_async, connect_async};

use super::Forwarded;
use crate::relay::visitor::visit;
use crate::support::within;

#[tokio::test]
async fn a_websocket_reaches_the_app_and_back() {
    let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = echo.local_addr().unwrap();
    let server = crate::relay::tunnel::Server::start(crate::relay::tunnel::patient()).await;
    let mut forward = super::Forward::start(address, super::Options::of(server.address));
    let url = forward.ready().await.replace("http://", "ws://");
    let serving = tokio::spawn(async move {
        let (stream, _) = echo.accept().await.unwrap();
        let mut socket = accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Text(_) | Message::Binary(_) => socket.send(message).await.unwrap(),
                Message::Close(frame) => return frame,
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => (),
            }
        }
        None
    });
    let (mut socket, _) = within("the WebSocket", connect_async(format!("{url}/chat"))).await.unwrap();
    for message in [
        Message::text("é😀"),
        Message::binary(vec![7; 300_000]),
        Message::binary(vec![]),
        Message::Ping(vec![1].into()),
    ] {
        socket.send(message.clone()).await.unwrap();
        let back = within("the echo", socket.next()).await.unwrap().unwrap();
        match message {
            Message::Ping(payload) => assert_eq!(back, Message::Pong(payload)),
            message => assert_eq!(back, message),
        }
    }
    let close = CloseFrame { code: 4321.into(), reason: "enough".into() };
    socket.close(Some(close.clone())).await.unwrap();
    assert_eq!(within("the app to hear", serving).await.unwrap(), Some(close));
    while let Some(Ok(_)) = within("the end of the WebSocket", socket.next()).await {}
    drop(socket);
    let served = forward.served().await;
    assert_eq!((served.status, &*served.target, served.error), (Some(101), "/chat", None));
}

#[tokio::test]
async fn an_app_may_refuse_a_websocket() {
    let tunnel = Forwarded::start().await;
    let headers =
        [("upgrade", "websocket"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), ("sec-websocket-version", "13")];
    let request = String::from_utf8(tunnel.request("GET", "/", &headers, b"")).unwrap();
    let request = request.replace("Connection: close", "Connection: Upgrade, close");
    let response = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nContent-Type: a/b\r\n\r\nno";
    let answering = async {
        let mut asked = tunnel.app.asked().await;
        assert_eq!((asked.header("upgrade"), asked.header("connection")), (Some("websocket"), Some("Upgrade")));
        assert_eq!(asked.header("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
        asked.send(response.as_bytes()).await;
    };
    let ((), answer) = tokio::join!(answering, visit(tunnel.server.address, request.as_bytes()));
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
}

#[tokio::test]
async fn an_app_that_switches_protocols_unasked_is_given_up() {
    let mut tunnel = Forwarded::start().await;
    let request = tunnel.request("GET", "/", &[], b"");
    let response = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
    let (_, answer) = tunnel.exchange(&request, response).await;
    assert_eq!((answer.status, answer.code()), (502, Some("client-aborted")));
    assert!(tunnel.forward.served().await.error.is_some());
}
