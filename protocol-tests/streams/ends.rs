//! What ends may do with a request, and what becomes of it.

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, StatusCode};
use socket2me::client::session::Ended;
use socket2me::proto::engine_io::Revision;
use socket2me::proto::engine_io::client::Transports;
use socket2me::proto::exchange::Response;
use socket2me::proto::exchange::stream::{AbortCode, Part};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::{mirror, transfer};
use crate::relay::tunnel::{Server, patient};
use crate::relay::visitor::{get, request, visit};
use crate::support::streaming_end::{StreamingEnd, head};
use crate::support::{pattern, within};
use socket2me::client::visit::{Handler, Up, Visit, handler};

const WEBSOCKET: (Revision, Transports) = (Revision::V4, Transports::WebSocket);

async fn end(server: &Server, options: &str, handler: Handler) -> (String, StreamingEnd) {
    let token = server.token().await;
    let end = StreamingEnd::connect(server.address, &token, WEBSOCKET, options, handler).await;
    (token, end)
}

#[tokio::test]
async fn an_end_may_answer_by_the_ack_alone() {
    let server = Server::start(patient()).await;
    let ack = handler(|Visit { answer, .. }| async move {
        let headers = HeaderMap::from_iter([("x-a".parse().unwrap(), "1".parse().unwrap())]);
        let body = Bytes::from_static(b"short");
        answer.ack(Response { status: StatusCode::ACCEPTED, headers, body, declared_length: None });
    });
    let (token, end) = end(&server, "1", ack).await;
    let large = pattern::bytes(0, 1 << 20);
    for body in [&b""[..], &large] {
        let answer = visit(server.address, &request("POST", &format!("/go/{token}/"), &[], body)).await;
        assert_eq!((answer.status, answer.header("x-a"), &*answer.text()), (202, Some("1"), "short"));
    }
    end.close().await;
}

#[tokio::test]
async fn an_end_chooses_how_bodies_come() {
    let server = Server::start(patient()).await;
    for options in [
        r#"{"pull":true}"#,
        r#"{"serial":true}"#,
        r#"{"bytes":"base64","chunk":3000}"#,
        r#"{"pull":true,"serial":true,"window":0,"chunk":700}"#,
    ] {
        let (token, end) = end(&server, options, mirror()).await;
        transfer(server.address, &token, 300_000, 300_000).await;
        assert!(end.heard.lock().unwrap().breaches.is_empty());
        end.close().await;
    }
}

#[tokio::test]
async fn an_end_that_gives_up_fails_its_own_exchange() {
    let server = Server::start(patient()).await;
    let gives_up = handler(|Visit { request, answer, .. }| async move {
        match &*request.path {
            "/refused" => answer.abort(AbortCode::LocalRefused, None),
            "/large" => answer.abort(AbortCode::TooLarge, None),
            _ => {
                // It is dropped before its end.
                let mut writer = head(answer, 200, &[]);
                writer.write(Bytes::from_static(b"half")).await.unwrap();
            }
        }
    });
    let (token, end) = end(&server, "1", gives_up).await;
    for (path, status) in [("refused", 502), ("large", 413)] {
        assert_eq!(get(server.address, &format!("/go/{token}/{path}")).await.status, status, "{path}");
    }
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&request("GET", &format!("/go/{token}/half"), &[], b"")).await.unwrap();
    let mut read = Vec::new();
    // The connection may be reset.
    let _ = within("the broken transfer", stream.read_to_end(&mut read)).await;
    assert!(!read.ends_with(b"\r\n0\r\n\r\n"), "a broken transfer has no last chunk");
    end.close().await;
}

#[tokio::test]
async fn a_handler_ends_when_its_visitor_has_left() {
    struct Tell(mpsc::UnboundedSender<()>);
    impl Drop for Tell {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
        }
    }
    let server = Server::start(patient()).await;
    let (tell, mut gone) = mpsc::unbounded_channel();
    let waits = handler(move |Visit { answer, .. }| {
        let tell = Tell(tell.clone());
        async move {
            let _kept = (tell, head(answer, 200, &[("content-type", "text/event-stream")]));
            std::future::pending::<()>().await;
        }
    });
    let (token, end) = end(&server, "1", waits).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&request("GET", &format!("/go/{token}/"), &[], b"")).await.unwrap();
    assert!(within("the head", stream.read_u8()).await.is_ok());
    drop(stream);
    within("the handler to hear", gone.recv()).await.unwrap();
    assert_eq!(end.heard.lock().unwrap().aborts[0], AbortCode::VisitorGone);
    end.close().await;
}

#[tokio::test]
async fn an_end_that_vanishes_leaves_no_visitor_waiting() {
    let server = Server::start(patient()).await;
    let (tell, mut come) = mpsc::unbounded_channel();
    let stalls = handler(move |visit| {
        let tell = tell.clone();
        async move { tell.send(visit).unwrap() }
    });
    let (token, end) = end(&server, "1", stalls).await;
    let (address, target) = (server.address, format!("/go/{token}/"));
    let visitor = tokio::spawn(async move { get(address, &target).await.status });
    let visit = within("the request", come.recv()).await.unwrap();
    end.vanish();
    assert_eq!(within("the visitor's answer", visitor).await.unwrap(), 500);
    drop(visit);
}

#[tokio::test]
async fn messages_of_a_websocket_go_both_ways_and_its_end_is_told() {
    let server = Server::start(patient()).await;
    let (tell, mut closed) = mpsc::unbounded_channel();
    let echo = handler(move |Visit { mut body, answer, .. }| {
        let tell = tell.clone();
        async move {
            let mut writer = head(answer, 101, &[]);
            while let Some(up) = body.next().await {
                match up {
                    Up::Message { part, more } => writer.message(part, more).await.unwrap(),
                    Up::Close { code, reason } => {
                        writer.close(code, reason.clone()).await.unwrap();
                        return tell.send((code, reason)).unwrap();
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    });
    let (token, end) = end(&server, "1", echo).await;
    let url = format!("ws://{}/go/{token}/", server.address);
    let (mut socket, _) = within("the WebSocket", connect_async(url)).await.unwrap();
    let long = "é😀".repeat(100_000);
    for message in [Message::text("a"), Message::binary(vec![7; 200_000]), Message::text(long), Message::binary(vec![])]
    {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(within("the echo", socket.next()).await.unwrap().unwrap(), message);
    }
    socket.close(Some(CloseFrame { code: 4000.into(), reason: "enough".into() })).await.unwrap();
    // The server answers for the end.
    let answer = within("the close", socket.next()).await.unwrap().unwrap();
    assert_eq!(answer, Message::Close(Some(CloseFrame { code: 4000.into(), reason: "".into() })));
    assert_eq!(within("the end to hear", closed.recv()).await.unwrap(), (4000, "enough".into()));
    end.close().await;
}

#[tokio::test]
async fn an_end_may_close_a_websocket_first() {
    let server = Server::start(patient()).await;
    let closes = handler(|Visit { answer, mut body, .. }| async move {
        let mut writer = head(answer, 101, &[]);
        writer.message(Part::Text("hello".into()), false).await.unwrap();
        writer.close(1001, "gone".into()).await.unwrap();
        while let Some(Up::Message { .. }) = body.next().await {}
    });
    let (token, end) = end(&server, "1", closes).await;
    let url = format!("ws://{}/go/{token}/", server.address);
    let (mut socket, _) = within("the WebSocket", connect_async(url)).await.unwrap();
    assert_eq!(within("the message", socket.next()).await.unwrap().unwrap(), Message::text("hello"));
    let frame = CloseFrame { code: 1001.into(), reason: "gone".into() };
    assert_eq!(within("the close", socket.next()).await.unwrap().unwrap(), Message::Close(Some(frame)));
    end.close().await;
}

#[tokio::test]
async fn an_end_hears_why_its_session_is_left() {
    let server = Server::start(patient()).await;
    let (_, end) = end(&server, "1", mirror()).await;
    let heard = std::sync::Arc::clone(&end.heard);
    let stopping = server.stop();
    assert!(!matches!(end.closed().await, Ended::Stopped));
    assert_eq!(heard.lock().unwrap().closing, [socket2me::proto::exchange::stream::Closing::Stopping]);
    stopping.stopped().await;
}
