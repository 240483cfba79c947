//! `forward`: an app's requests and answers through a server and an end of this program.
//!
//! - `app`: a local app whose every byte is a test's
//! - `answers`, `heads`, `upgrades`: what reaches the app, and what comes back
//! - `coming_back`: servers and ends that leave, and what is told of that
//! - `surviving`: servers that die, machines that sleep, addresses that change
//! - `ways`: proxies, TLS, and networks that pass no WebSockets
//! - `liars`: servers that break the protocol

mod answers;
mod app;
mod coming_back;
mod heads;
mod liars;
mod surviving;
mod upgrades;
pub(crate) mod ways;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2me::client::api::{Api, Settings};
use socket2me::client::dial::Dialer;
use socket2me::client::forward::headers::HostHeader;
use socket2me::client::forward::target::{App as Local, At};
use socket2me::client::forward::to_app;
use socket2me::client::report::{Failure, Report, Reporter, Served};
use socket2me::client::requests::Requests;
use socket2me::client::saved::{Identity, Place};
use socket2me::client::server_url::ServerUrl;
use socket2me::client::tunnel::{Tunnel, UrlMode, Wanted};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::app::App;
use crate::relay::tunnel::{Server, patient};
use crate::relay::visitor::{Answer, request_to, visit};
use crate::support::within;

/// What a test asks of `forward`.
struct Options {
    server: String,
    name: Option<&'static str>,
    host_header: HostHeader,
    keeps_prefix: bool,
    url_mode: UrlMode,
    hold: Duration,
    /// Where tunnels are kept.
    folder: Option<PathBuf>,
    ca: Option<PathBuf>,
}

impl Options {
    fn of(server: SocketAddr) -> Self {
        Self {
            server: format!("http://{server}"),
            name: None,
            host_header: HostHeader::Local,
            keeps_prefix: false,
            url_mode: UrlMode::Path,
            hold: Duration::ZERO,
            folder: None,
            ca: None,
        }
    }
}

/// `forward` in a task of its own.
struct Forward {
    reports: mpsc::UnboundedReceiver<Report>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Failure>>,
}

impl Forward {
    fn start(app: SocketAddr, options: Options) -> Self {
        let (tell, reports) = mpsc::unbounded_channel();
        let report: Reporter = Arc::new(move |report| drop(tell.send(report)));
        let server = ServerUrl::parse(&options.server).unwrap();
        let dialer = Dialer::new(options.ca.as_deref()).unwrap();
        let local = Local { is_tls: false, at: At::Host("127.0.0.1".to_owned(), app.port()) };
        let handler =
            to_app(local, dialer.tls(), (options.host_header, options.keeps_prefix), options.hold, report.clone());
        let place = options.folder.map(|folder| {
            let identity = Identity { server: &options.server, target: "app", name: options.name, folder: None };
            Place::take(Some(folder), identity).unwrap()
        });
        let api = Api::new(Requests::new(dialer.clone(), server.clone()), None);
        let wanted = Wanted {
            server,
            name: options.name.map(str::to_owned),
            settings: Settings::default(),
            url_mode: options.url_mode,
            target: "app".to_owned(),
            place,
        };
        let tunnel = Tunnel::new(dialer, api, wanted, report);
        let stop = CancellationToken::new();
        let stops = stop.clone();
        let task = tokio::spawn(async move { tunnel.run(&handler, &stops).await });
        Self { reports, stop, task }
    }

    async fn report(&mut self) -> Report {
        within("a report", self.reports.recv()).await.expect("forward goes on")
    }

    /// Waits for the tunnel to open, and returns its URL.
    async fn ready(&mut self) -> String {
        match self.report().await {
            Report::Ready { url, has_changed: false, .. } => url,
            Report::Reconnecting { .. } => Box::pin(self.ready()).await,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until a request was served, whatever else is told before.
    async fn served(&mut self) -> Served {
        loop {
            if let Report::Request(served) = self.report().await {
                return served;
            }
        }
    }

    /// Waits until `forward` has ended by itself.
    async fn failed(self) -> Failure {
        within("forward to end", self.task).await.unwrap().unwrap_err()
    }

    /// Tells `forward` to stop, and waits for that.
    async fn stop(self) {
        self.stop.cancel();
        within("forward to stop", self.task).await.unwrap().unwrap();
    }
}

/// A server, an app, and `forward` between them.
struct Forwarded {
    server: Server,
    app: App,
    forward: Forward,
    url: String,
}

impl Forwarded {
    async fn start() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(set: impl FnOnce(&mut Options)) -> Self {
        let server = Server::start(patient()).await;
        let app = App::start().await;
        let mut options = Options::of(server.address);
        set(&mut options);
        let mut forward = Forward::start(app.address, options);
        let url = forward.ready().await;
        Self { server, app, forward, url }
    }

    /// The host of the tunnel's URL, with its port.
    fn host(&self) -> &str {
        self.url.strip_prefix("http://").unwrap().split('/').next().unwrap()
    }

    /// The target of a request to the tunnel; `rest` begins with a slash.
    fn at(&self, rest: &str) -> String {
        let path = self.url.strip_prefix("http://").unwrap().strip_prefix(self.host()).unwrap();
        format!("{path}{rest}")
    }

    fn request(&self, method: &str, rest: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        request_to(self.host(), method, &self.at(rest), headers, body)
    }

    /// Sends a request. The app answers it with these bytes. Returns the head and the body that the app has got, and the answer.
    async fn exchange(&self, request: &[u8], response: &str) -> (app::Asked, Answer) {
        let answering = async {
            let mut asked = self.app.asked().await;
            asked.send(response.as_bytes()).await;
            asked
        };
        tokio::join!(answering, visit(self.server.address, request))
    }
}
