//! Tunnels in a real Redis: each test has a `redis-server` of its own, on a free port and with a folder of its own, and one or
//! two servers of ours in this process over it.
//!
//! - `server`: the `redis-server`; `proxy`: a network between it and ours that loses what it is given
//! - `semantics`: the store in Redis does what the one in memory does
//! - `original`: what the original server wrote is served, and both can share one Redis
//! - `faults`: Redis away in each way, while tunnels are connected
//! - `emptied`: Redis has lost its data
//! - `program`: what the program says of all that
//!
//! Without a `redis-server` the tests are skipped and say so, but in CI they fail. `scripts/redis` fetches one.

mod emptied;
mod faults;
mod original;
mod program;
mod proxy;
mod semantics;
mod server;

use std::net::SocketAddr;

use socket2me::config::ServeConfig;

use self::server::Redis;
use crate::relay::tunnel::patient;
use crate::relay::visitor::{Answer, request, visit};
use crate::support::end::End;
use crate::support::within;

/// The settings of a server over a Redis.
fn over(url: &str) -> ServeConfig {
    ServeConfig { redis_url: Some(url.parse().unwrap()), ..patient() }
}

/// A keyed tunnel.
struct Keyed {
    token: String,
    key: String,
}

impl Keyed {
    /// Makes one. `fields` is the JSON of what is asked for.
    async fn make(address: SocketAddr, fields: &str) -> Self {
        #[derive(serde::Deserialize)]
        struct Made {
            token: String,
            key: String,
        }
        let answer = post(address, fields).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let Made { token, key } = serde_json::from_slice(&answer.body).unwrap();
        Self { token, key }
    }

    async fn join(&self, address: SocketAddr) -> End {
        let mut end = End::open(address).await;
        end.join(&self.token, &format!(r#"{{"key":"{}"}}"#, self.key)).await.unwrap();
        end
    }

    /// Asks for something of the tunnel as its owner.
    async fn ask(&self, address: SocketAddr, method: &str, fields: &str) -> Answer {
        let authorization = format!("Bearer {}", self.key);
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
        visit(address, &request(method, &format!("/tunnel/{}", self.token), &headers, fields.as_bytes())).await
    }
}

async fn post(address: SocketAddr, fields: &str) -> Answer {
    visit(address, &request("POST", "/new", &[("Content-Type", "application/json")], fields.as_bytes())).await
}

/// Asks until the answer is as wanted.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
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
