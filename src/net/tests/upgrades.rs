//! Connections whose bytes nobody looks into after the 101.

use futures::FutureExt as _;
use http::{HeaderValue, StatusCode, header};

use super::*;
use crate::net::connection::Connection;
use crate::net::upgrade;

/// Starts a server that upgrades each request with headers of its own, and passes the connections on.
async fn upgrading() -> (SocketAddr, mpsc::Receiver<Option<(Connection, Bytes)>>) {
    let (tell, connections) = mpsc::channel(16);
    let address = start(move |asked| {
        let (upgrade, tell) = (upgrade::accept(asked.head), tell.clone());
        tokio::spawn(async move { tell.try_send(upgrade.await).unwrap() });
        let mut reply = Reply::default();
        *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        for (name, value) in [
            (header::UPGRADE, "websocket"),
            (header::CONNECTION, "Upgrade"),
            (header::SEC_WEBSOCKET_ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            (header::SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate"),
            (header::SET_COOKIE, "a=1"),
            (header::DATE, "Thu, 26 Nov 2026 00:00:00 GMT"),
        ] {
            reply.headers_mut().append(name, HeaderValue::from_static(value));
        }
        std::future::ready(reply).boxed()
    });
    (address.await, connections)
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[tokio::test]
async fn bytes_pass_both_ways_after_a_101_that_is_sent_as_it_is() {
    let (address, mut connections) = upgrading().await;
    for early in ["", "sent with the head"] {
        let mut client = Client::connect(address).await;
        client.send(&format!("{REQUEST}{early}")).await;
        let (mut connection, read) = within("the connection", connections.recv()).await.flatten().unwrap();
        assert_eq!(read, early);
        let expected = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
            sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nsec-websocket-extensions: permessage-deflate\r\n\
            set-cookie: a=1\r\ndate: Thu, 26 Nov 2026 00:00:00 GMT\r\n\r\n";
        assert_eq!(client.read_to("\r\n\r\n").await, expected);
        client.send("to the server").await;
        let mut bytes = [0; 13];
        within("bytes", connection.read_exact(&mut bytes)).await.unwrap();
        assert_eq!(&bytes, b"to the server");
        connection.write_all(b"to the client").await.unwrap();
        assert_eq!(client.read_to("client").await, "to the client");
        // Each direction ends by itself.
        connection.shutdown().await.unwrap();
        let (rest, end) = client.read_all().await;
        assert_eq!((rest.len(), end.is_ok()), (0, true));
        client.send("the last").await;
        drop(client);
        let mut rest = String::new();
        within("the end", connection.read_to_string(&mut rest)).await.unwrap();
        assert_eq!(rest, "the last");
    }
}

#[tokio::test]
async fn a_request_that_asks_for_no_upgrade_gives_no_connection() {
    let (address, mut connections) = upgrading().await;
    let mut client = Client::connect(address).await;
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert!(within("an answer", connections.recv()).await.unwrap().is_none());
    let mut client = Client::connect(address).await;
    client.send("GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    assert!(within("an answer", connections.recv()).await.unwrap().is_none());
}

/// Nothing else would tell: neither side need ever send a byte.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_visitor_whose_machine_is_gone_does_not_hold_an_upgraded_connection_for_ever() {
    use crate::net::socket::tests::keep_alive_of;
    let (address, mut connections) = upgrading().await;
    let mut client = Client::connect(address).await;
    client.send(REQUEST).await;
    let (connection, _) = within("the connection", connections.recv()).await.flatten().unwrap();
    assert_eq!(keep_alive_of(&connection), Some((Duration::from_secs(60), Duration::from_secs(10), 3)));
}
