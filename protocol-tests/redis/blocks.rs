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

#[tokio::test]
async fn blocks_that_are_set_at_several_servers_at_once_all_hold() {
    const SERVERS: usize = 3;
    let Some(redis) = Redis::start().await else { return };
    let folder = std::env::temp_dir().join(format!("socket2me-blocks-at-once-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let place = |server| format!("--admin=unix:{}", folder.join(format!("admin-{server}")).display());
    let url = redis.url();
    let start = async |server| {
        Started::new(&[("SOCKET2ME_STORE", &url)], &["serve", "--listen=127.0.0.1:0", &place(server)]).await
    };
    let servers = futures::future::join_all((0..SERVERS).map(start)).await;
    let admin = async |server, arguments: &[&str]| {
        let place = place(server);
        let arguments = [&["admin", &*place], arguments].concat();
        let output = within("the command", program(BINARY, &[], &arguments).output()).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let blocks =
        (0..2 * SERVERS).map(async |number| admin(number % SERVERS, &["block", &format!("app-{number}")]).await);
    futures::future::join_all(blocks).await;
    // A change reads them all.
    admin(0, &["unblock", "app-0"]).await;
    let listed = admin(0, &["blocks"]).await;
    for number in 1..2 * SERVERS {
        assert!(listed.contains(&format!("app-{number}:")), "{listed}");
    }
    assert!(!listed.contains("app-0:"), "{listed}");
    drop(servers);
    std::fs::remove_dir_all(&folder).unwrap();
}
