//! What a network and a machine do to a tunnel, which comes back at the same URL: a server that dies in the middle of transfers, a
//! machine that sleeps, an address that changes.

use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use socket2me::config::ServeConfig;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::app::App;
use super::{Forward, Options};
use crate::relay::tunnel::{Server, patient};
use crate::relay::visitor::{get, request, visit};
use crate::starting::Started;
use crate::support::transfer::Transfer;
use crate::support::within;
use crate::tools::{Scratch, Tool};

const CONTENT: &str = "here";

/// A server that soon notices when an end is gone, and whose ends soon notice when it is.
fn watchful() -> ServeConfig {
    ServeConfig { ping_interval: Duration::from_millis(300), ping_timeout: Duration::from_millis(300), ..patient() }
}

/// Waits until visitors of a tunnel are served, or are not.
async fn until(address: SocketAddr, target: &str, is_served: bool) {
    let asking = async { while (get(address, target).await.text() == CONTENT) != is_served {} };
    within("visitors to be served, or not", asking).await;
}

#[tokio::test]
async fn a_server_that_is_killed_breaks_transfers_and_serves_the_same_url_once_it_is_back() {
    let scratch = Scratch::new();
    let store = format!("--store=file:{}", scratch.path().join("tunnels.redb").display());
    let mut server = Started::new(&[], &["serve", "--listen=127.0.0.1:0", &store]).await;
    let address: SocketAddr = ([127, 0, 0, 1], server.port()).into();
    let app = App::start().await;
    let mut forward = Forward::start(app.address, Options::of(address));
    let url = forward.ready().await;
    let target = format!("{}/x", url.strip_prefix(&format!("http://{address}")).unwrap());
    let mut download = Transfer::connect(address).await;
    download.send(&request("GET", &target, &[], b"")).await;
    let mut asked = app.asked().await;
    asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegin").await;
    assert_eq!(download.head().await.status, 200);
    download.reads("begin").await;
    let mut upload = Transfer::connect(address).await;
    upload.send(&request("POST", &target, &[("content-length", "1000000")], b"begin")).await;
    let mut uploaded = app.asked().await;
    uploaded.until(b"begin").await;
    server.child.kill().await.unwrap();
    assert!(!download.rest().await.is_complete);
    assert!(upload.is_over().await);
    // The app is not to take a part for the whole.
    asked.is_over().await;
    uploaded.is_over().await;
    let again = Started::new(&[], &["serve", &format!("--listen={address}"), &store]).await;
    forward.comes_back().await;
    let answering = async { app.asked().await.send(b"HTTP/1.1 204 No Content\r\n\r\n").await };
    let asking = request("GET", &target, &[], b"");
    let ((), answer) = tokio::join!(answering, visit(address, &asking));
    assert_eq!(answer.status, 204);
    forward.stop().await;
    again.stop("-INT").await;
}

#[tokio::test]
async fn a_machine_that_has_slept_has_its_tunnel_at_the_same_url() {
    let (server, scratch) = (Server::start(watchful()).await, Scratch::new());
    scratch.write("site/index.html", CONTENT);
    let mut tool = Tool::start(server.address, scratch.path(), &["forward", "./site", "--url-mode=path"]);
    let target = format!("{}/", tool.tunnel().await);
    until(server.address, &target, true).await;
    tool.signal("STOP").await;
    // The server gives the end up meanwhile.
    until(server.address, &target, false).await;
    tool.signal("CONT").await;
    tool.says("connected again").await;
    until(server.address, &target, true).await;
    assert_eq!(tool.stop().await.code(), Some(0));
}

/// A network whose address changes: what was connected before hears nothing any more, not even an end.
struct Network {
    address: SocketAddr,
    moves: watch::Sender<()>,
}

impl Network {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (moves, moved) = watch::channel(());
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut moved = moved.clone();
                moved.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(server).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => (),
                        Ok(()) = moved.changed() => pending().await,
                    }
                });
            }
        });
        Self { address, moves }
    }
}

#[tokio::test]
async fn an_end_whose_address_changes_is_back_once_it_notices() {
    let (server, scratch) = (Server::start(watchful()).await, Scratch::new());
    scratch.write("site/index.html", CONTENT);
    let network = Network::to(server.address).await;
    let mut tool = Tool::start(network.address, scratch.path(), &["forward", "./site", "--url-mode=path"]);
    let target = format!("{}/", tool.tunnel().await);
    for _ in 0..3 {
        until(server.address, &target, true).await;
        network.moves.send(()).unwrap();
        tool.says("connected again").await;
    }
    until(server.address, &target, true).await;
    assert_eq!(tool.stop().await.code(), Some(0));
}
