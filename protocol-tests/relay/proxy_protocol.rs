//! `--proxy-protocol`: whose a connection is that a proxy passes on (PROTOCOL.md, "The PROXY protocol").

use std::net::SocketAddr;

use socket2me::config::ServeConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::tunnel::{Tunnel, patient};
use super::visitor::{request, visit};
use crate::support::within;

/// Sends bytes from an address of this machine, and returns all that is answered.
async fn send(from: &str, to: SocketAddr, bytes: &[u8]) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(from.parse().unwrap()).unwrap();
    let mut stream = within("a connection", socket.connect(to)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A refused connection may be reset.
    let _ = within("the end", stream.read_to_end(&mut answer)).await;
    String::from_utf8(answer).unwrap()
}

/// The proxy is another address of this machine than the end's.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_trusted_proxy_says_whose_its_connection_is_and_nobody_else_can() {
    let trust_proxy = vec!["127.0.0.2/32".parse().unwrap()];
    let mut tunnel = Tunnel::open(ServeConfig { trust_proxy, proxy_protocol: true, ..patient() }, "").await;
    let (address, proxy) = (tunnel.server.address, "127.0.0.2:0");
    let get = request("GET", &tunnel.at("/x"), &[("X-Forwarded-For", "203.0.113.9")], b"");
    let v1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 80\r\n";
    let v2 = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &[192, 0, 2, 7, 198, 51, 100, 1, 1, 1, 0, 80]].concat();
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for (header, client) in [(&v1[..], "192.0.2.7"), (&v2, "192.0.2.7"), (local, "0.0.0.0")] {
        let asked = [header, &get].concat();
        let answering = async {
            let asked = tunnel.end.asked().await;
            tunnel.end.answer(&asked, r#"[200,"ok"]"#, &[]).await;
            asked.request.remote_address
        };
        let (answer, address) = tokio::join!(send(proxy, address, &asked), answering);
        // What the client says of others is not believed; what the proxy says is.
        assert_eq!(address, client);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    // The proxy must say it.
    assert_eq!(send(proxy, address, &get).await, "");
    // Another peer must not.
    let answer = send("127.0.0.1:0", address, &[&v1[..], &get].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let answer = send("127.0.0.1:0", address, &[&v2[..], &get].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(visit(address, &request("GET", "/healthz", &[], b"")).await.status, 200);
}
