//! Exchanges of one session that stand still, and one that does not.

use std::future::pending;

use bytes::Bytes;
use socket2me::proto::engine_io::Revision;
use socket2me::proto::engine_io::client::Transports;
use socket2me::proto::exchange::InlineBody;

use super::super::tunnel::{Server, patient};
use super::super::visitor::request;
use crate::support::pattern::{self, Check};
use crate::support::streaming_end::{StreamingEnd, head};
use crate::support::transfer::Transfer;
use socket2me::client::visit::{Handler, Up, Visit, handler};

const NEIGHBOURS: usize = 20;

/// The size of the body that goes through beside them, in bytes. It is more than the windows of all of them.
const LARGE: u64 = 24 << 20;

/// Takes the body, and answers with as much as the path says; or, at `/stalled`, takes nothing and sends without end.
fn serve() -> Handler {
    handler(|Visit { request, mut body, answer }| async move {
        if request.path == "/stalled" {
            let mut writer = head(answer, 200, &[]);
            while writer.write(Bytes::from_static(&[b'x'; 60_000])).await.is_ok() {}
            // Held until the test is over: a body that nobody reads.
            return pending().await;
        }
        let mut check = Check::default();
        let is_streamed = request.body == InlineBody::Streamed;
        while is_streamed && let Some(Up::Data(bytes)) = body.next().await {
            check.take(&bytes);
        }
        let length: u64 = request.path[1..].parse().unwrap();
        let mut writer = head(answer, 200, &[("x-taken", &check.bytes.to_string())]);
        let mut sent = 0;
        while sent < length {
            let part = pattern::bytes(sent, usize::try_from(length - sent).unwrap());
            sent += part.len() as u64;
            writer.write(part).await.unwrap();
        }
        writer.end(None).await.unwrap();
    })
}

async fn connect(server: &Server) -> (String, StreamingEnd) {
    let token = server.token().await;
    let ways = (Revision::V4, Transports::WebSocket);
    let end = StreamingEnd::connect(server.address, &token, ways, "1", serve()).await;
    (token, end)
}

/// Downloads a large body.
async fn download(server: &Server, token: &str) {
    let mut visitor = Transfer::connect(server.address).await;
    visitor.send(&request("GET", &format!("/go/{token}/{LARGE}"), &[], b"")).await;
    assert_eq!(visitor.head().await.status, 200);
    let mut check = Check::default();
    while check.bytes < LARGE {
        check.take(&visitor.exactly(64 << 10).await);
    }
    visitor.rest().await.is("");
}

/// Uploads a large body.
async fn upload(server: &Server, token: &str) {
    let mut visitor = Transfer::connect(server.address).await;
    let length = LARGE.to_string();
    visitor.send(&request("POST", &format!("/go/{token}/0"), &[("content-length", &length)], b"")).await;
    let mut sent = 0;
    while sent < LARGE {
        let part = pattern::bytes(sent, 1 << 20);
        sent += part.len() as u64;
        visitor.send(&part).await;
    }
    let head = visitor.head().await;
    assert_eq!((head.status, head.header("x-taken")), (200, Some(&*length)));
    visitor.rest().await.is("");
}

#[tokio::test]
async fn visitors_that_read_nothing_do_not_hold_up_another() {
    let server = Server::start(patient()).await;
    let (token, end) = connect(&server).await;
    let mut stalled = Vec::new();
    for _ in 0..NEIGHBOURS {
        let mut visitor = Transfer::narrow(server.address).await;
        visitor.send(&request("GET", &format!("/go/{token}/stalled"), &[], b"")).await;
        assert_eq!(visitor.head().await.status, 200);
        stalled.push(visitor);
    }
    download(&server, &token).await;
    upload(&server, &token).await;
    assert!(end.heard.lock().unwrap().breaches.is_empty() && end.heard.lock().unwrap().aborts.is_empty());
}

#[tokio::test]
async fn bodies_that_the_end_does_not_take_do_not_hold_up_another() {
    let server = Server::start(patient()).await;
    let (token, end) = connect(&server).await;
    let mut stalled = Vec::new();
    for _ in 0..NEIGHBOURS {
        let mut visitor = Transfer::connect(server.address).await;
        let length = [("content-length", "100000000")];
        visitor.send(&request("POST", &format!("/go/{token}/stalled"), &length, b"")).await;
        assert_eq!(visitor.head().await.status, 200);
        stalled.push(tokio::spawn(async move { visitor.send_without_end().await }));
    }
    upload(&server, &token).await;
    download(&server, &token).await;
    assert!(end.heard.lock().unwrap().breaches.is_empty() && end.heard.lock().unwrap().aborts.is_empty());
    assert!(stalled.iter().all(|visitor| !visitor.is_finished()), "all of them stand still");
}
