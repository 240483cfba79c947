//! A server and a tunnel through it.

use std::net::SocketAddr;
use std::time::Duration;

use socket2me::config::ServeConfig;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::visitor::{Answer, Visitor, get};
use crate::support::end::{Asked, End};
use crate::support::within;

/// A running server, which ends with the test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinHandle<std::io::Result<()>>,
}

/// A server that was told to stop.
pub(crate) struct Stopping(JoinHandle<std::io::Result<()>>);

impl Server {
    pub(crate) async fn start(config: ServeConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            // An error means that the test has dropped the server's handle, and is over.
            let _ = stopped.await;
        };
        let running = tokio::spawn(socket2me::relay::run(listener, config, |_| (), shutdown));
        Self { address, stop, running }
    }

    /// Asks for a new token.
    pub(crate) async fn token(&self) -> String {
        let answer = get(self.address, "/new").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text()
    }

    /// Ends the server without a word, as a crash would.
    pub(crate) fn kill(self) {
        self.running.abort();
    }

    /// Tells the server to stop.
    pub(crate) fn stop(self) -> Stopping {
        self.stop.send(()).unwrap();
        Stopping(self.running)
    }
}

impl Stopping {
    /// Waits until the server has stopped.
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

/// The defaults, but with two minutes for an ack, longer than a test takes.
pub(crate) fn patient() -> ServeConfig {
    ServeConfig { response_timeout: Duration::from_secs(120), ..ServeConfig::defaults() }
}

impl Tunnel {
    /// Starts a server with one end, which connects with this `auth`, or without one if it is empty.
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

    /// The target of a request to this tunnel; `rest` follows the token.
    pub(crate) fn at(&self, rest: &str) -> String {
        format!("/go/{}{rest}", self.token)
    }

    /// Sends a request, which must reach the end; returns the waiting visitor and what the end was asked.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> (Visitor, Asked) {
        let mut visitor = Visitor::connect(self.server.address).await;
        visitor.send(request).await;
        let asked = self.end.asked().await;
        assert_eq!(asked.namespace, format!("/{}", self.token));
        (visitor, asked)
    }

    /// Runs a whole exchange. `args` is a JSON array, the arguments of the ack.
    pub(crate) async fn exchange(&mut self, request: &[u8], args: &str, attachments: &[&[u8]]) -> (Asked, Answer) {
        let (mut visitor, asked) = self.ask(request).await;
        self.end.answer(&asked, args, attachments).await;
        let answer = visitor.answer(request.starts_with(b"HEAD ")).await;
        visitor.finish().await;
        (asked, answer)
    }

    /// The end serves another visitor, and was asked nothing before that.
    pub(crate) async fn still_works(&mut self) {
        let request = super::visitor::request("GET", &self.at("/still-there"), &[], b"");
        let (asked, answer) = self.exchange(&request, r#"[200,"still here"]"#, &[]).await;
        assert_eq!((asked.request.url.as_str(), answer.text().as_str()), ("/still-there", "still here"));
    }
}
