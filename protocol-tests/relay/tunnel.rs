//! A server, and a tunnel through it.

use std::net::SocketAddr;
use std::time::Duration;

use socket2me::config::ServeConfig;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::visitor::{Answer, Visitor, get};
use crate::support::end::{Asked, End, within};

/// A running server. It goes with the test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinHandle<std::io::Result<()>>,
}

/// Tells a server to stop.
pub(crate) struct Stopping(JoinHandle<std::io::Result<()>>);

impl Server {
    pub(crate) async fn start(config: ServeConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            // Dropped with the server's handle: the test is over.
            let _ = stopped.await;
        };
        let running = tokio::spawn(socket2me::server::run(listener, config, || (), shutdown));
        Self { address, stop, running }
    }

    /// A new token.
    pub(crate) async fn token(&self) -> String {
        let answer = get(self.address, "/new").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text()
    }

    pub(crate) fn stop(self) -> Stopping {
        self.stop.send(()).unwrap();
        Stopping(self.running)
    }
}

impl Stopping {
    pub(crate) async fn stopped(self) {
        within("the server to stop", self.0).await.unwrap().unwrap();
    }
}

/// A server, a token and its end.
pub(crate) struct Tunnel {
    pub(crate) server: Server,
    pub(crate) token: String,
    pub(crate) end: End,
}

/// Defaults, but no answer is given up for late in the time that a test takes.
pub(crate) fn patient() -> ServeConfig {
    ServeConfig { response_timeout: Duration::from_secs(120), ..ServeConfig::defaults() }
}

impl Tunnel {
    /// With an end that connects with this `auth`; empty for none.
    pub(crate) async fn open(config: ServeConfig, auth: &str) -> Self {
        let server = Server::start(config).await;
        let token = server.token().await;
        let mut end = End::open(server.address).await;
        end.join(&token, auth).await.unwrap();
        Self { server, token, end }
    }

    pub(crate) async fn patient() -> Self {
        Self::open(patient(), "").await
    }

    /// The target for what follows the token.
    pub(crate) fn at(&self, rest: &str) -> String {
        format!("/go/{}{rest}", self.token)
    }

    /// Sends a request and gives what the end was asked, with the visitor who waits.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> (Visitor, Asked) {
        let mut visitor = Visitor::connect(self.server.address).await;
        visitor.send(request).await;
        let asked = self.end.asked().await;
        assert_eq!(asked.namespace, format!("/{}", self.token));
        (visitor, asked)
    }

    /// A whole exchange. `args` is the JSON array of what `respond` is called with.
    pub(crate) async fn exchange(&mut self, request: &[u8], args: &str, attachments: &[&[u8]]) -> (Asked, Answer) {
        let (mut visitor, asked) = self.ask(request).await;
        self.end.answer(&asked, args, attachments).await;
        let answer = visitor.answer(request.starts_with(b"HEAD ")).await;
        visitor.finish().await;
        (asked, answer)
    }

    /// The end is there and its next request is this one: nothing was asked before it.
    pub(crate) async fn still_works(&mut self) {
        let request = super::visitor::request("GET", &self.at("/still-there"), &[], b"");
        let (asked, answer) = self.exchange(&request, r#"[200,"still here"]"#, &[]).await;
        assert_eq!((asked.request.url.as_str(), answer.text().as_str()), ("/still-there", "still here"));
    }
}
