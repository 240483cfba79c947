//! An end made of the client's machines, with a handler for each request, over each transport.

use socket2me::proto::engine_io::Revision;
use socket2me::proto::engine_io::client::Transports;
use socket2me::proto::exchange::Response;
use socket2me::proto::exchange::stream::AbortCode;

use super::super::tunnel::{Server, patient};
use super::super::visitor::request;
use super::frames::{BINARY, Frames, TEXT, ask_for};
use crate::support::pattern;
use crate::support::streaming_end::{StreamingEnd, head};
use crate::support::transfer::Transfer;
use crate::support::wire::Peer;
use socket2me::client::visit::{Handler, Up, Visit, handler};

/// Does what the path says.
fn serve() -> Handler {
    handler(|Visit { request, mut body, answer }| async move {
        match &*request.path {
            "/ack" => answer.ack(Response::ok()),
            "/abort" => answer.abort(AbortCode::TooLarge, None),
            "/half" => drop(head(answer, 200, &[])),
            "/wait" => {
                let _writer = head(answer, 200, &[("content-type", "text/event-stream")]);
                std::future::pending::<()>().await;
            }
            "/pull" => {
                body.pull();
                let mut bytes = 0;
                while let Some(Up::Data(data)) = body.next().await {
                    bytes += data.len();
                }
                head(answer, 200, &[("x-taken", &bytes.to_string())]).end(None).await.unwrap();
            }
            "/echo" => {
                let mut writer = head(answer, 101, &[]);
                loop {
                    match body.next().await {
                        Some(Up::Message { part, more }) => writer.message(part, more).await.unwrap(),
                        Some(Up::Close { code, reason }) => return writer.close(code, reason).await.unwrap(),
                        other => panic!("{other:?}"),
                    }
                }
            }
            other => panic!("{other}"),
        }
    })
}

struct Handled {
    server: Server,
    token: String,
    end: StreamingEnd,
}

impl Handled {
    async fn open(ways: (Revision, Transports), asked: &str) -> Self {
        let server = Server::start(patient()).await;
        let token = server.token().await;
        let end = StreamingEnd::connect(server.address, &token, ways, asked, serve()).await;
        Self { server, token, end }
    }

    async fn ask(&self, request: &[u8]) -> Transfer {
        let mut visitor = Transfer::connect(self.server.address).await;
        visitor.send(request).await;
        visitor
    }

    fn at(&self, path: &str) -> String {
        format!("/go/{}{path}", self.token)
    }
}

/// All ways in which an end can be connected, with what each asks for to stream.
fn all_ways() -> Vec<(Revision, Transports, &'static str)> {
    let transports = [Transports::Polling, Transports::WebSocket, Transports::Upgrade];
    let of = |revision, asked| transports.map(|transports| (revision, transports, asked));
    [of(Revision::V4, r#"{"pull":true}"#), of(Revision::V3, "stream=1&pull=true")].concat()
}

#[tokio::test]
async fn each_kind_of_answer_reaches_the_visitor_over_every_transport() {
    for (revision, transports, asked) in all_ways() {
        let tunnel = Handled::open((revision, transports), asked).await;
        assert!(tunnel.end.ready.terms.pull);
        for (path, status, code) in [("/ack", 200, None), ("/abort", 413, Some("body-too-large"))] {
            let mut visitor = tunnel.ask(&request("GET", &tunnel.at(path), &[], b"")).await;
            let head = visitor.head().await;
            assert_eq!((head.status, head.code()), (status, code), "{transports:?} {path}");
            assert!(visitor.rest().await.is_complete);
        }
        let mut visitor = tunnel.ask(&request("GET", &tunnel.at("/half"), &[], b"")).await;
        assert_eq!(visitor.head().await.status, 200);
        visitor.rest().await.is_broken("");
        let body = pattern::bytes(0, 300_000);
        let mut visitor = tunnel.ask(&request("POST", &tunnel.at("/pull"), &[], &body)).await;
        assert_eq!(visitor.head().await.header("x-taken"), Some("300000"));
        visitor.rest().await.is("");
        assert!(tunnel.end.heard.lock().unwrap().breaches.is_empty());
        tunnel.end.close().await;
    }
}

#[tokio::test]
async fn websockets_work_over_every_transport() {
    for (revision, transports, asked) in all_ways() {
        let tunnel = Handled::open((revision, transports), asked).await;
        let mut visitor = tunnel.ask(&ask_for(&tunnel.at("/echo"))).await;
        assert_eq!(visitor.head().await.status, 101);
        let mut visitor = Frames { peer: Peer::new(visitor.into_stream()) };
        visitor.send(TEXT, "caf\u{e9}".as_bytes()).await;
        visitor.reads("caf\u{e9}").await;
        let large = pattern::bytes(0, 150_000);
        visitor.send(BINARY, &large).await;
        let (kind, whole) = visitor.message().await;
        assert!((kind, &*whole) == (BINARY, &*large), "{revision:?} {transports:?}");
        visitor.send_close(4000, "done").await;
        visitor.ends_with(4000).await;
        assert!(tunnel.end.heard.lock().unwrap().aborts.is_empty());
        tunnel.end.close().await;
    }
}

#[tokio::test]
async fn a_handler_hears_that_its_visitor_has_left() {
    let tunnel = Handled::open((Revision::V4, Transports::WebSocket), "1").await;
    let mut visitor = tunnel.ask(&request("GET", &tunnel.at("/wait"), &[], b"")).await;
    assert_eq!(visitor.head().await.status, 200);
    drop(visitor);
    let heard = std::sync::Arc::clone(&tunnel.end.heard);
    crate::support::within("the abort", async {
        while heard.lock().unwrap().aborts.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(heard.lock().unwrap().aborts[0], AbortCode::VisitorGone);
}

#[tokio::test]
async fn an_end_that_vanishes_costs_its_streams() {
    let tunnel = Handled::open((Revision::V4, Transports::WebSocket), "1").await;
    let mut visitor = tunnel.ask(&request("GET", &tunnel.at("/wait"), &[], b"")).await;
    assert_eq!(visitor.head().await.status, 200);
    tunnel.end.vanish();
    visitor.rest().await.is_broken("");
}
