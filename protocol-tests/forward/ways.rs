//! The way to the server: proxies, TLS, and networks that pass no WebSockets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use socket2me::client::report::{Exit, Report};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::app::App;
use super::{Forward, Options};
use crate::relay::tunnel::{Server, patient};
use crate::relay::visitor::{request, visit};
use crate::support::within;

/// A certificate for `localhost`, and what speaks TLS with it in front of a server.
pub(crate) async fn with_tls(server: SocketAddr) -> (SocketAddr, PathBuf) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let file = std::env::temp_dir().join(format!("socket2me-ca-{}-{}.pem", std::process::id(), server.port()));
    std::fs::write(&file, cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust the certificate leaves.
                let Ok(mut near) = acceptor.accept(stream).await else { return };
                let mut far = TcpStream::connect(server).await.unwrap();
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    (address, file)
}

#[tokio::test]
async fn a_certificate_is_trusted_if_its_root_is() {
    let server = Server::start(patient()).await;
    let (tls, ca) = with_tls(server.address).await;
    let app = App::start().await;
    let url = format!("https://localhost:{}", tls.port());
    let options = || Options { server: url.clone(), ..Options::of(tls) };
    let failure = Forward::start(app.address, options()).failed().await;
    assert_eq!((failure.exit, failure.code.as_str()), (Exit::Certificate, "certificate"), "{failure}");
    assert!(failure.hint.contains("--ca FILE"), "{failure}");
    let mut forward = Forward::start(app.address, Options { ca: Some(ca.clone()), ..options() });
    let path = forward.ready().await;
    let target = path.split_once("/go/").unwrap().1;
    let answering = async { app.asked().await.send(b"HTTP/1.1 204 No Content\r\n\r\n").await };
    let asking = request("GET", &format!("/go/{target}"), &[], b"");
    let ((), answer) = tokio::join!(answering, visit(server.address, &asking));
    assert_eq!(answer.status, 204);
    forward.stop().await;
    std::fs::remove_file(ca).unwrap();
}

/// A network on whose way each request for an upgrade is answered as one without.
pub(crate) async fn without_upgrades(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(server).await.unwrap();
            tokio::spawn(async move {
                let (near_read, mut near_write) = near.into_split();
                let (mut far_read, mut far_write) = far.into_split();
                let back = async { tokio::io::copy(&mut far_read, &mut near_write).await };
                let forth = async {
                    let mut lines = BufReader::new(near_read);
                    let mut line = String::new();
                    loop {
                        line.clear();
                        if lines.read_line(&mut line).await? == 0 {
                            return Ok(0);
                        }
                        let name = line.to_ascii_lowercase();
                        if !name.starts_with("upgrade:") && !name.starts_with("connection: upgrade") {
                            far_write.write_all(line.as_bytes()).await?;
                        }
                        if let Some(length) = name.strip_prefix("content-length:") {
                            let length: u64 = length.trim().parse().unwrap();
                            let mut blank = String::new();
                            while blank != "\r\n" {
                                blank.clear();
                                lines.read_line(&mut blank).await?;
                                far_write.write_all(blank.as_bytes()).await?;
                            }
                            tokio::io::copy(&mut (&mut lines).take(length), &mut far_write).await?;
                        }
                    }
                };
                let _: (std::io::Result<u64>, std::io::Result<u64>) = tokio::join!(back, forth);
            });
        }
    });
    address
}

#[tokio::test]
async fn long_polling_does_where_nothing_passes_websockets() {
    let server = Server::start(patient()).await;
    let network = without_upgrades(server.address).await;
    let app = App::start().await;
    let mut forward = Forward::start(app.address, Options { ..Options::of(network) });
    let Report::Reconnecting { why, .. } = forward.report().await else { panic!("a WebSocket came through") };
    assert!(why.contains("grants no WebSocket"), "{why}");
    let url = forward.ready().await;
    let target = format!("/go/{}/up", url.split_once("/go/").unwrap().1);
    let body = vec![b'x'; 300_000];
    let answering = async {
        let mut asked = app.asked().await;
        assert_eq!(asked.exactly(300_000).await, body);
        asked.send(b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nok").await;
    };
    let asking = request("POST", &target, &[], &body);
    let ((), answer) = tokio::join!(answering, visit(server.address, &asking));
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    forward.stop().await;
}

/// A proxy that connects to the server, whatever host it is asked for. Returns its address, and what it was asked for.
async fn proxy_to(server: SocketAddr) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(near.read_u8().await.unwrap());
                }
                tell.send(String::from_utf8(head).unwrap()).unwrap();
                near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                let mut far = TcpStream::connect(server).await.unwrap();
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    (address, asked)
}

#[tokio::test]
async fn the_proxy_of_the_environment_is_asked_for_the_server() {
    let server = Server::start(patient()).await;
    let (proxy, mut asked) = proxy_to(server.address).await;
    let app = App::start().await;
    let mut forward = Command::new(env!("CARGO_BIN_EXE_socket2me"))
        .args(["forward", &app.address.to_string(), "--server", "http://relay.invalid", "--insecure"])
        .args(["--ephemeral", "--url-mode", "path"])
        .env_clear()
        .env("HTTP_PROXY", format!("http://me:secret@{proxy}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut url = String::new();
    let mut stdout = BufReader::new(forward.stdout.take().unwrap());
    within("the tunnel's URL", stdout.read_line(&mut url)).await.unwrap();
    let head = within("the proxy to be asked", asked.recv()).await.unwrap();
    assert!(head.starts_with("CONNECT relay.invalid:80 HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("\r\nproxy-authorization: basic bwu6c2vjcmv0\r\n"), "{head}");
    let target = format!("/go/{}", url.trim().split_once("/go/").unwrap().1);
    let answering = async { app.asked().await.send(b"HTTP/1.1 204 No Content\r\n\r\n").await };
    let asking = request("GET", &target, &[], b"");
    let ((), answer) = tokio::join!(answering, visit(server.address, &asking));
    assert_eq!(answer.status, 204);
}
