//! Tunnels in a real Redis: each test has a `redis-server` of its own, on a free port and with a folder of its own, and one or
//! two servers of ours in this process over it.
//!
//! - `server`: the `redis-server`; `proxy`: a network between it and ours that loses what it is given
//! - `semantics`: the store in Redis does what the one in memory does
//! - `nodes`: what nodes of a cluster share; `node_table`: their table; `recorded`: what version 1 has written
//! - `original`: what the original server wrote is served, and both can share one Redis
//! - `faults`: Redis away in each way, while tunnels are connected
//! - `failover`: several servers, of which another becomes the master
//! - `emptied`: Redis has lost its data
//! - `program`: what the program says of all that
//!
//! Without a `redis-server` the tests are skipped and say so, but in CI they fail. `scripts/redis` fetches one.

mod blocks;
mod emptied;
mod failover;
mod faults;
mod node_table;
mod nodes;
mod original;
mod program;
mod proxy;
mod recorded;
mod semantics;
pub(crate) mod server;

use socket2me::config::ServeConfig;

use self::server::Redis;
use crate::relay::tunnel::patient;
use crate::support::keyed::{Keyed, post};
use crate::support::{tool, within};

/// The settings of a server over a Redis.
pub(crate) fn over(url: &str) -> ServeConfig {
    ServeConfig { redis_url: Some(url.parse().unwrap()), ..patient() }
}

/// Asks until the answer is as wanted.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(value) = ask().await {
                return value;
            }
            tokio::task::yield_now().await;
        }
    };
    within(what, asking).await
}
