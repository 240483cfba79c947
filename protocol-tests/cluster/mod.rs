//! Several servers over one Redis that are one relay. Each test has a `redis-server` and nodes of its own, all in this process.
//!
//! - `visits`: a visitor comes to any node, the end is at any other
//! - `sessions`: a session's requests come to any node
//! - `moves`: ends go from node to node, and nodes go
//! - `owners`: what owners of tunnels ask of any node
//!
//! Without a `redis-server` the tests are skipped and say so, but in CI they fail. `scripts/redis` fetches one.

mod moves;
mod owners;
mod sessions;
mod visits;

use std::net::SocketAddr;

use socket2me::config::{ClusterConfig, ServeConfig};

use crate::redis::over;
use crate::redis::server::Redis;
use crate::relay::tunnel::Server;

/// The secret of all clusters of these tests.
const SECRET: &str = "the secret of all clusters of these tests";

/// Nodes over one Redis.
struct Nodes {
    redis: Redis,
    nodes: Vec<Server>,
}

/// The settings of a node over a Redis.
fn node(url: &str) -> ServeConfig {
    let alone = over(url);
    let cluster = ClusterConfig {
        cluster_listen: Some("127.0.0.1:0".parse().unwrap()),
        cluster_secret: Some(SECRET.into()),
        ..alone.cluster.clone()
    };
    ServeConfig { cluster, ..alone }
}

impl Nodes {
    /// Starts this many nodes. `None` where there is no Redis.
    async fn start(count: usize) -> Option<Self> {
        Self::with(count, |_| ()).await
    }

    /// Starts this many nodes with other settings.
    async fn with(count: usize, mut change: impl FnMut(&mut ServeConfig)) -> Option<Self> {
        let redis = Redis::start().await?;
        let mut nodes = Vec::new();
        for _ in 0..count {
            let mut config = node(&redis.url());
            change(&mut config);
            nodes.push(ready(config).await);
        }
        Some(Self { redis, nodes })
    }

    /// Returns where a node is.
    fn at(&self, number: usize) -> SocketAddr {
        self.nodes[number].address
    }
}

/// Waits until a node says that it stops.
async fn draining(address: SocketAddr) {
    let says_so = async || (crate::relay::visitor::get(address, "/readyz").await.status == 503).then_some(());
    crate::redis::until("the node to stop", says_so).await;
}

/// Starts a node, and waits until it is one.
async fn ready(config: ServeConfig) -> Server {
    let server = Server::start(config).await;
    crate::redis::until("a node to be ready", async || {
        (crate::relay::visitor::get(server.address, "/readyz").await.status == 200).then_some(())
    })
    .await;
    server
}
