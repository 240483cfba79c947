//! Servers and ends that leave and come back, and what is told of that.

use std::net::SocketAddr;
use std::path::PathBuf;

use socket2me::client::report::{Exit, Report};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::app::App;
use super::{Forward, Forwarded, Options};
use crate::relay::tunnel::patient;
use crate::relay::visitor::{request, visit};
use crate::support::within;

/// A server at an address that stays.
struct Restarting {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<std::io::Result<()>>,
}

impl Restarting {
    async fn start(address: SocketAddr, store: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move { drop(stopped.await) };
        let config = socket2me::config::ServeConfig { store: Some(store.parse().unwrap()), ..patient() };
        let running = tokio::spawn(socket2me::relay::run(listener, config, |_| (), shutdown));
        Self { address, stop: Some(stop), running }
    }

    async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        within("the server to stop", self.running).await.unwrap().unwrap();
    }
}

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("socket2me-forward-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const ANYWHERE: &str = "127.0.0.1:0";

impl Forward {
    /// Waits until the tunnel is open again at its URL.
    pub(super) async fn comes_back(&mut self) {
        loop {
            match self.report().await {
                Report::Reconnected => return,
                Report::Reconnecting { .. } | Report::Closing { .. } | Report::Request(_) => (),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_restarts_has_the_tunnel_at_the_same_url() {
    let folder = Folder::new("restart");
    let store = format!("file:{}", folder.0.join("tunnels.redb").display());
    let app = App::start().await;
    let server = Restarting::start(ANYWHERE.parse().unwrap(), &store).await;
    let address = server.address;
    let mut forward = Forward::start(app.address, Options::of(address));
    let url = forward.ready().await;
    server.stop().await;
    let server = Restarting::start(address, &store).await;
    forward.comes_back().await;
    let target = url.strip_prefix(&format!("http://{address}")).unwrap();
    let answering = async { app.asked().await.send(b"HTTP/1.1 204 No Content\r\n\r\n").await };
    let ((), answer) = tokio::join!(answering, async { visit(address, &request("GET", target, &[], b"")).await });
    assert_eq!(answer.status, 204);
    forward.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn a_tunnel_that_is_gone_is_made_anew_and_one_with_a_name_keeps_its_url() {
    for name in [None, Some("my-app")] {
        let app = App::start().await;
        let server = Restarting::start(ANYWHERE.parse().unwrap(), "memory").await;
        let address = server.address;
        let mut forward = Forward::start(app.address, Options { name, ..Options::of(address) });
        let url = forward.ready().await;
        server.stop().await;
        let server = Restarting::start(address, "memory").await;
        loop {
            match forward.report().await {
                Report::Reconnected => break assert!(name.is_some()),
                Report::Ready { url: other, has_changed, .. } => {
                    assert!(has_changed && other != url && name.is_none());
                    break;
                }
                Report::Reconnecting { .. } | Report::Closing { .. } | Report::Request(_) => (),
                other => panic!("{other:?}"),
            }
        }
        forward.stop().await;
        server.stop().await;
    }
}

#[tokio::test]
async fn a_tunnel_is_kept_from_run_to_run() {
    let folder = Folder::new("kept");
    let app = App::start().await;
    let server = Restarting::start(ANYWHERE.parse().unwrap(), "memory").await;
    let options = || Options { folder: Some(folder.0.clone()), ..Options::of(server.address) };
    let mut forward = Forward::start(app.address, options());
    let url = forward.ready().await;
    forward.stop().await;
    let mut forward = Forward::start(app.address, options());
    assert!(matches!(forward.report().await, Report::Reused { .. }));
    assert_eq!(forward.ready().await, url);
    forward.stop().await;
    // Another run, with a server that has lost its tunnels.
    let address = server.address;
    server.stop().await;
    let _server = Restarting::start(address, "memory").await;
    let mut forward = Forward::start(app.address, Options { folder: Some(folder.0.clone()), ..Options::of(address) });
    assert!(matches!(forward.report().await, Report::Reused { .. }));
    loop {
        match forward.report().await {
            Report::Ready { url: other, has_changed, .. } => break assert!(has_changed && other != url),
            Report::Reconnecting { .. } => (),
            other => panic!("{other:?}"),
        }
    }
    forward.stop().await;
}

#[tokio::test]
async fn a_tunnel_that_nobody_keeps_is_deleted_at_the_end() {
    let tunnel = Forwarded::with(|options| options.name = Some("my-app")).await;
    let request = tunnel.request("GET", "/", &[], b"");
    tunnel.forward.stop().await;
    assert_eq!(visit(tunnel.server.address, &request).await.code(), Some("token-not-found"));
}

#[tokio::test]
async fn requests_in_flight_are_answered_before_the_end() {
    let tunnel = Forwarded::start().await;
    let request = tunnel.request("GET", "/", &[], b"");
    let visiting = tokio::spawn({
        let address = tunnel.server.address;
        async move { visit(address, &request).await }
    });
    let mut asked = tunnel.app.asked().await;
    tunnel.forward.stop.cancel();
    asked.send(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(within("the answer", visiting).await.unwrap().status, 204);
    within("forward to stop", tunnel.forward.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn another_end_takes_the_tunnel_over() {
    let folder = Folder::new("taken");
    let mut tunnel = Forwarded::with(|options| options.folder = Some(folder.0.clone())).await;
    let mut kept = std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().path());
    let kept = kept.find(|path| path.extension().is_some_and(|end| end == "json")).unwrap();
    let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(kept).unwrap()).unwrap();
    let (token, key) = (kept["token"].as_str().unwrap(), kept["key"].as_str().unwrap());
    let mut end = crate::support::end::End::open(tunnel.server.address).await;
    end.join(token, &format!(r#"{{"key":"{key}"}}"#)).await.unwrap();
    assert_eq!(tunnel.forward.report().await, Report::Closing { code: "taken-over" });
    let failure = tunnel.forward.failed().await;
    assert_eq!((failure.exit, failure.code.as_str()), (Exit::TakenOver, "taken-over"));
}

#[tokio::test]
async fn a_name_of_somebody_else_is_refused() {
    let first = Forwarded::with(|options| options.name = Some("my-app")).await;
    let options = Options { name: Some("my-app"), ..Options::of(first.server.address) };
    let failure = Forward::start(first.app.address, options).failed().await;
    assert_eq!((failure.exit, failure.code.as_str()), (Exit::Refused, "name-taken"));
    assert!(failure.hint.contains("--name"), "{failure}");
}

#[tokio::test]
async fn a_server_of_another_kind_is_named() {
    let app = App::start().await;
    let answering = async {
        let mut asked = app.asked().await;
        assert_eq!(asked.line(), "POST /new HTTP/1.1");
        asked.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nContent-Type: text/html\r\n\r\nnope").await;
    };
    let forward = Forward::start(app.address, Options::of(app.address));
    let ((), failure) = tokio::join!(answering, forward.failed());
    assert_eq!((failure.exit, failure.code.as_str()), (Exit::Refused, "refused"));
    assert!(failure.to_string().contains("is --server the URL of a Socket2Me server?"), "{failure}");
}
