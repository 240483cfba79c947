//! What the operator keeps out at one server is kept out by all that share its Redis.

use std::net::SocketAddr;

use super::server::Redis;
use crate::relay::visitor::get;
use crate::starting::{BINARY, Started, program};
use crate::support::end::End;
use crate::support::keyed::Keyed;
use crate::support::within;

#[tokio::test]
async fn a_block_at_one_server_holds_at_the_others() {
    let Some(redis) = Redis::start().await else { return };
    let folder = std::env::temp_dir().join(format!("socket2me-blocks-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let place = format!("--admin=unix:{}", folder.join("admin").display());
    let (url, serve) = (redis.url(), ["serve", "--listen=127.0.0.1:0"]);
    let one = Started::new(&[("SOCKET2ME_STORE", &url)], &[&serve[..], &[&*place]].concat()).await;
    let other = Started::new(&[("SOCKET2ME_STORE", &url)], &serve).await;
    let other: (SocketAddr, Started) = (([127, 0, 0, 1], other.port()).into(), other);
    let tunnel = Keyed::make(other.0, r#"{"name":"shared"}"#).await;
    let mut end = tunnel.join(other.0).await;
    let block = program(BINARY, &[], &["admin", &place, "block", "shared"]).output();
    assert!(within("the command", block).await.unwrap().status.success());
    end.until_disconnected().await;
    assert_eq!(get(other.0, "/go/shared/").await.code(), Some("blocked"));
    let refused = End::open(other.0).await.join("shared", &format!(r#"{{"key":"{}"}}"#, tunnel.key)).await;
    assert!(refused.is_err_and(|error| error.contains("keeps this out")));
    drop((one, other));
    std::fs::remove_dir_all(&folder).unwrap();
}
