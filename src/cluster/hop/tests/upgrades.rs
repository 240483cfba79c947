//! Connections that are upgraded through another node.

use futures::FutureExt as _;
use http::{HeaderValue, header};

use super::*;
use crate::net::connection::Connection;
use crate::net::upgrade;

/// A node that upgrades each request, and passes the connections on.
async fn upgrading() -> (Callee, mpsc::Receiver<Option<(Connection, Bytes)>>) {
    let (tell, connections) = mpsc::channel(4);
    let callee = Callee::start(move |asked| {
        let headers = &asked.head.headers;
        assert_eq!(headers[header::CONNECTION], "keep-alive, Upgrade", "as the visitor has sent it");
        let (upgrade, tell) = (upgrade::accept(asked.head), tell.clone());
        tokio::spawn(async move { tell.try_send(upgrade.await).unwrap() });
        let mut reply = Reply::default();
        *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        for (name, value) in [("upgrade", "any"), ("connection", "Upgrade"), ("x-own", "1")] {
            reply.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        async { reply }.boxed()
    })
    .await;
    (callee, connections)
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: any\r\n\r\n";

#[tokio::test]
async fn each_direction_passes_and_ends_by_itself() {
    let (callee, mut connections) = upgrading().await;
    let mut first = Arriving::before(&[&callee]).await;
    let mut visitor = first.visitor().await;
    visitor.send(format!("{REQUEST}early")).await;
    let (mut connection, read) = within("the connection", connections.recv()).await.flatten().unwrap();
    let head = visitor.read_to("\r\n\r\n").await;
    assert_eq!(head_of(&head), ["HTTP/1.1 101 Switching Protocols", "connection: Upgrade", "upgrade: any", "x-own: 1"]);
    let mut early = read.to_vec();
    while early.len() < 5 {
        within("bytes", connection.read_buf(&mut early)).await.unwrap();
    }
    assert_eq!(early, b"early");
    visitor.send("up").await;
    let mut up = [0; 2];
    within("bytes", connection.read_exact(&mut up)).await.unwrap();
    connection.write_all(b"down").await.unwrap();
    assert_eq!(visitor.read_to("down").await, "down");
    assert_eq!(first.hops.pool().count(callee.node), (1, 0), "it keeps its place");
    // The node has said all, and the visitor has not.
    connection.shutdown().await.unwrap();
    assert_eq!(visitor.read_all().await, b"");
    visitor.send("the last").await;
    visitor.stream.shutdown().await.unwrap();
    let mut rest = String::new();
    within("the end", connection.read_to_string(&mut rest)).await.unwrap();
    assert_eq!((&up, &*rest), (b"up", "the last"));
    assert_eq!(first.sendings.recv().await.unwrap().bytes(), (15, 4), "early, up and the last; down");
}

/// A visitor whose connection is upgraded through the first node.
struct Upgraded {
    callee: Callee,
    first: Arriving,
    visitor: Visitor,
    /// The other node's side of it.
    connection: Connection,
}

async fn upgraded() -> Upgraded {
    let (callee, mut connections) = upgrading().await;
    let first = Arriving::before(&[&callee]).await;
    let mut visitor = first.visitor().await;
    visitor.send(REQUEST).await;
    let (connection, _) = within("the connection", connections.recv()).await.flatten().unwrap();
    visitor.read_to("\r\n\r\n").await;
    Upgraded { callee, first, visitor, connection }
}

#[tokio::test]
async fn a_large_message_passes_both_ways() {
    let Upgraded { first: _first, visitor, connection, .. } = upgraded().await;
    let echo = tokio::spawn(async move {
        let (mut reader, mut writer) = tokio::io::split(connection);
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let sent = bytes(4 << 20);
    let (mut reader, mut writer) = visitor.stream.into_split();
    let writing = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut read = Vec::new();
    let ((), result) = within("the echo", futures::future::join(writing, reader.read_to_end(&mut read))).await;
    result.unwrap();
    assert!(read == sent, "{} of {} bytes", read.len(), sent.len());
    echo.await.unwrap();
}

#[tokio::test]
async fn a_visitor_that_resets_ends_both_connections() {
    let Upgraded { first: _first, visitor, mut connection, .. } = upgraded().await;
    socket2::SockRef::from(&visitor.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(visitor);
    let mut rest = Vec::new();
    let _ = within("the end", connection.read_to_end(&mut rest)).await;
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn an_upgraded_connection_whose_node_is_gone_ends() {
    let Upgraded { callee, first, mut visitor, mut connection } = upgraded().await;
    first.watched.mark_gone();
    assert_eq!(visitor.read_all().await, b"");
    let mut rest = Vec::new();
    let _ = within("the end", connection.read_to_end(&mut rest)).await;
    assert_eq!((&*rest, first.hops.pool().count(callee.node)), (&b""[..], (0, 0)));
}
