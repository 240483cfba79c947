//! A server whose clock stands still until a test moves it. The test's own clock goes on, so that waiting in vain ends.

use std::net::SocketAddr;
use std::sync::mpsc as blocking;
use std::thread;
use std::time::Duration;

use socket2me::config::ServeConfig;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::Streaming;
use super::raw_end::RawEnd;
use crate::support::within;

/// Less than the time between two heartbeats.
const STEP: Duration = Duration::from_secs(10);

/// A server in a thread of its own, which ends when this is dropped.
pub(super) struct ClockedServer {
    pub(super) address: SocketAddr,
    advance: mpsc::UnboundedSender<(Duration, oneshot::Sender<()>)>,
    stop: Option<oneshot::Sender<()>>,
}

impl ClockedServer {
    pub(super) async fn start(config: ServeConfig) -> Self {
        let (advance, steps) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let (listens, listening) = oneshot::channel();
        thread::spawn(move || serve(config, steps, stopped, listens));
        let address = within("the server to listen", listening).await.unwrap();
        Self { address, advance, stop: Some(stop) }
    }

    /// Moves the server's clock.
    pub(super) async fn advance(&self, time: Duration) {
        let (done, is_done) = oneshot::channel();
        self.advance.send((time, done)).unwrap();
        within("the clock to move", is_done).await.unwrap();
    }

    /// Moves the server's clock in steps, between which the end answers heartbeats.
    pub(super) async fn pass(&self, seconds: u64, end: &mut RawEnd) {
        let mut left = Duration::from_secs(seconds);
        while !left.is_zero() {
            let step = left.min(STEP);
            self.advance(step).await;
            end.settle().await;
            left -= step;
        }
    }

    /// Tells the server to stop.
    pub(super) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }
}

fn serve(
    config: ServeConfig,
    mut steps: mpsc::UnboundedReceiver<(Duration, oneshot::Sender<()>)>,
    stopped: oneshot::Receiver<()>,
    listens: oneshot::Sender<SocketAddr>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    // A paused clock jumps when all tasks wait, unless a blocking one is running.
    let (is_over, over) = blocking::channel::<()>();
    runtime.spawn_blocking(move || over.recv());
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listens.send(listener.local_addr().unwrap()).unwrap();
        let shutdown = async {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::spawn(socket2me::relay::run(listener, config, |_| (), shutdown));
        while let Some((time, done)) = steps.recv().await {
            tokio::time::advance(time).await;
            let _ = done.send(());
        }
    });
    drop(is_over);
}

impl Streaming {
    /// Starts a server whose clock stands still, and one end.
    pub(super) async fn clocked(config: ServeConfig, asked: &str) -> (ClockedServer, Self) {
        let server = ClockedServer::start(config).await;
        let tunnel = Self::join(server.address, asked).await;
        (server, tunnel)
    }
}
