//! `socket2me admin`, and what the operator's calls do to a server.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::Scratch;
use crate::relay::visitor::{get, request, visit};
use crate::starting::{BINARY, Started, program};
use crate::support::end::{End, Heard};
use crate::support::keyed::Keyed;
use crate::support::within;

/// Runs `socket2me admin`. Returns its exit code, its standard output and its standard error.
async fn admin(place: &[&str], arguments: &[&str]) -> (Option<i32>, String, String) {
    let arguments = [&["admin"], place, arguments].concat();
    let output = within("the command to end", program(BINARY, &[], &arguments).output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

async fn done(place: &[&str], arguments: &[&str]) -> String {
    let (code, out, told) = admin(place, arguments).await;
    assert_eq!((code, &*told), (Some(0), ""), "{arguments:?}: {out}");
    out
}

async fn left(end: &mut End) {
    loop {
        match end.hear().await {
            Heard::Closed(_) => return,
            Heard::Text(text) if text.starts_with("41/") => return,
            _ => (),
        }
    }
}

#[tokio::test]
async fn the_operator_lists_shows_closes_and_blocks_at_a_socket_of_its_own() {
    let scratch = Scratch::new();
    let [socket, file] = ["admin.sock", "tunnels.redb"].map(|name| scratch.path().join(name));
    let flags = [format!("--admin=unix:{}", socket.display()), format!("--store=file:{}", file.display())];
    let start = async || Started::new(&[], &["serve", "--listen=127.0.0.1:0", &flags[0], &flags[1]]).await;
    let mut server = start().await;
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let address = ([127, 0, 0, 1], server.port()).into();
    let tunnel =
        Keyed::make(address, r#"{"name":"mine","rules":{"verify":{"preset":"github","secrets":["hush"]}}}"#).await;
    let mut end = tunnel.join(address).await;
    let place = [&*flags[0]];

    let list = done(&place, &["list"]).await;
    assert!(list.starts_with("TOKEN") && list.contains("\nmine   keyed        1           0"), "{list}");
    let shown: Value = serde_json::from_str(&done(&place, &["--json", "show", "mine"]).await).unwrap();
    assert_eq!((&shown["figures"]["ends"], &shown["rules"]["verify"]["secrets"]["set"]), (&1.into(), &true.into()));
    assert!(!shown.to_string().contains("hush") && !shown.to_string().contains("key\""), "{shown}");

    done(&place, &["close", "mine"]).await;
    left(&mut end).await;
    let audit = server.logged("audit").await;
    assert!(audit.contains("make"), "{audit}");
    let audit = server.logged("by=user ").await;
    assert!(audit.contains("audit") && audit.contains("close"), "{audit}");
    let mut end = tunnel.join(address).await;

    done(&place, &["block", "mine", "--note", "a phishing page"]).await;
    left(&mut end).await;
    let refused = End::open(address).await.join("mine", &format!(r#"{{"key":"{}"}}"#, tunnel.key)).await;
    assert!(refused.as_ref().is_err_and(|error| error.contains("keeps this out")), "{refused:?}");
    assert_eq!(get(address, "/go/mine/").await.code(), Some("blocked"));
    assert!(done(&place, &["blocks"]).await.contains("mine: {\"note\":\"a phishing page\"}"));

    // It outlives a restart.
    assert_eq!(server.stop("-TERM").await.0, Some(0));
    let server = start().await;
    let address = ([127, 0, 0, 1], server.port()).into();
    assert_eq!(get(address, "/go/mine/").await.code(), Some("blocked"));
    done(&place, &["unblock", "mine"]).await;
    // Its rules come first, for its end is expected back.
    assert_eq!(get(address, "/go/mine/").await.code(), Some("signature-missing"));

    done(&place, &["block", "127.0.0.0/8", "--for", "1h"]).await;
    let blocked = get(address, "/healthz").await;
    assert_eq!((blocked.status, blocked.code()), (403, Some("blocked")));
    done(&place, &["unblock", "127.0.0.0/8"]).await;
    assert_eq!(get(address, "/healthz").await.status, 200);

    for (arguments, words) in [
        (&["show", "nobodys"][..], "there is no such tunnel here"),
        (&["close", "nobodys"], "there is no such tunnel here"),
        (&["block", "a b"], "is neither a network"),
        (&["unblock", "mine"], "there is no such block"),
    ] {
        let (code, out, told) = admin(&place, arguments).await;
        assert_eq!((code, &*out), (Some(3), ""), "{told}");
        assert!(told.contains(words), "{told}");
    }
}

#[tokio::test]
async fn at_an_address_the_operator_shows_a_secret() {
    let scratch = Scratch::new();
    scratch.write("secret", "tell-nobody");
    let secret = format!("--admin-secret-file={}", scratch.path().join("secret").display());
    let admin_address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let place = format!("--admin={admin_address}");
    let serve = ["serve", "--listen=127.0.0.1:0", "--store=memory", &place];
    let (code, told) = crate::starting::ended(&[], &serve).await;
    assert!(code == Some(1) && told.contains("--admin-secret-file"), "{told}");
    let mut server = Started::new(&[], &[&serve[..], &[&*secret]].concat()).await;
    assert!(done(&[&place, &secret], &["list"]).await.starts_with("TOKEN"));
    let (code, _, told) = admin(&[&place], &["list"]).await;
    assert!(code == Some(3) && told.contains("needs the secret"), "{told}");
    let wrong = visit(admin_address, &request("GET", "/tunnels", &[("Authorization", "Bearer tell-nobod")], b"")).await;
    assert_eq!(wrong.status, 401);
    // The name of the scheme may be in any case (RFC 9110, section 11.1).
    let right =
        visit(admin_address, &request("GET", "/tunnels", &[("Authorization", "bearer tell-nobody")], b"")).await;
    assert_eq!(right.status, 200);
    server.logged("without the secret").await;
    // What visitors reach has none of these calls.
    assert_eq!(get(([127, 0, 0, 1], server.port()).into(), "/tunnels").await.status, 404);
}

#[tokio::test]
async fn a_place_where_nobody_listens_is_told_and_one_that_is_taken_too() {
    let scratch = Scratch::new();
    let socket = scratch.path().join("admin.sock");
    let place = format!("--admin=unix:{}", socket.display());
    let (code, _, told) = admin(&[&place], &["list"]).await;
    assert!(code == Some(1) && told.contains("is not reached"), "{told}");
    let (code, _, told) = admin(&[], &["list"]).await;
    assert!(code == Some(2) && told.contains("give --admin"), "{told}");
    // A server that was killed leaves its socket behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let serve = ["serve", "--listen=127.0.0.1:0", "--store=memory", &place];
    let _server = Started::new(&[], &serve).await;
    assert!(done(&[&place], &["list"]).await.starts_with("TOKEN"));
    let (code, told) = crate::starting::ended(&[], &serve).await;
    assert!(code == Some(1) && told.contains("another server listens there"), "{told}");
}
