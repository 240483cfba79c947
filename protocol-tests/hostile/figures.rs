//! A server with its figures, as `--metrics-listen` serves them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use socket2me::config::ServeConfig;
use tokio::net::TcpStream;

use crate::support::wire::{Peer, Server};

/// How long a test waits for a figure to become right before it fails.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads the figures of a server from this address.
pub(crate) struct Figures(SocketAddr);

/// Starts a server that serves its figures.
pub(crate) async fn watched(change: impl FnOnce(&mut ServeConfig)) -> (Server, Figures) {
    let address = free_address();
    let server = Server::with(|config| {
        config.metrics_listen = Some(address.into());
        change(config);
    });
    let server = server.await;
    let begun = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "no figures at {address}");
        tokio::task::yield_now().await;
    }
    (server, Figures(address))
}

/// Finds a free address for the figures. With port 0 the server would tell the port only to its log. So that no other test
/// takes the port before the server does, each test uses a loopback address of its own, where the system has more than one.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [low, high, ..] = std::process::id().to_le_bytes();
    let host = if cfg!(target_os = "linux") {
        Ipv4Addr::new(127, 1 + high % 250, low, NEXT.fetch_add(1, Ordering::Relaxed))
    } else {
        Ipv4Addr::LOCALHOST
    };
    TcpListener::bind((host, 0)).unwrap().local_addr().unwrap()
}

impl Figures {
    /// Reads all figures.
    pub(crate) async fn all(&self) -> String {
        let mut peer = Peer::new(TcpStream::connect(self.0).await.unwrap());
        peer.send(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").await;
        peer.answer().await.text()
    }

    /// Reads the figure whose name, after `socket2me_`, is this.
    pub(crate) async fn get(&self, name: &str) -> u64 {
        let all = self.all().await;
        let line = all.lines().find_map(|line| line.strip_prefix("socket2me_")?.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {all}")).parse().unwrap()
    }

    /// What is in use of a budget.
    pub(crate) async fn used(&self, budget: &str) -> u64 {
        self.get(&format!(r#"in_use{{budget="{budget}"}}"#)).await
    }

    /// How often the limit of this flag was hit.
    pub(crate) async fn hits(&self, flag: &str) -> u64 {
        self.get(&format!(r#"limit_hits_total{{limit="{flag}"}}"#)).await
    }

    /// How many exchanges had this outcome.
    pub(crate) async fn outcomes(&self, outcome: &str) -> u64 {
        self.get(&format!(r#"exchanges_total{{outcome="{outcome}"}}"#)).await
    }

    /// Waits until what is in use of a budget is as wanted.
    pub(crate) async fn until_used(&self, budget: &str, wanted: impl Fn(u64) -> bool, what: &str) {
        let begun = Instant::now();
        loop {
            let used = self.used(budget).await;
            if wanted(used) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: in_use of {budget} stays {used}");
        }
    }

    /// Waits until nothing of any budget is in use.
    pub(crate) async fn all_given_back(&self, what: &str) {
        for budget in ["exchanges", "held", "uploads", "bytes", "sessions", "lingering", "connections"] {
            self.until_used(budget, |used| used == 0, what).await;
        }
    }
}
