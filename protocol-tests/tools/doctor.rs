//! `socket2me doctor`.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{Scratch, command, output};
use crate::forward::ways::{with_tls, without_upgrades};
use crate::hostile::figures::watched;
use crate::support::wire::Server;
use crate::support::within;

/// The words in front of each line: what was found of what.
fn verdicts(out: &str) -> Vec<&str> {
    out.lines().map(|line| line.split_once(": ").unwrap().0).collect()
}

/// Answers each request with these bytes, whatever it is.
pub(super) async fn answering(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn a_server_that_works_is_found_well_and_nothing_is_left_behind() {
    let (server, figures) = watched(|_| ()).await;
    let scratch = Scratch::new();
    let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = app.local_addr().unwrap().port().to_string();
    let (code, out, told) = output(server.address, scratch.path(), &["doctor", &port]).await;
    assert_eq!((code, &*told), (Some(0), ""), "{out}");
    assert_eq!(
        verdicts(&out),
        ["ok   connection", "ok   server", "ok   clock", "ok   websocket", "ok   polling", "ok   target"],
        "{out}"
    );
    assert!(out.contains(concat!("Socket2Me ", env!("CARGO_PKG_VERSION"))), "{out}");
    figures.all_given_back("doctor").await;
    assert_eq!(figures.get("tokens").await, 0);
    assert!(!scratch.path().join("state").exists());
}

#[tokio::test]
async fn what_is_wrong_is_named_with_a_way_out() {
    let scratch = Scratch::new();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let foreign = answering(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwhat?").await;
    let silent = answering(b"SSH-2.0-x\r\n").await;
    for (server, verdict, words) in [
        (free, "fail connection", "is the server running"),
        (foreign, "fail server", "no Socket2Me"),
        (silent, "fail server", "is --server the URL"),
    ] {
        let (code, out, _) = output(server, scratch.path(), &["doctor"]).await;
        assert_eq!(code, Some(1), "{out}");
        let line = out.lines().find(|line| line.starts_with(verdict)).unwrap_or_else(|| panic!("{verdict}: {out}"));
        assert!(line.contains(words), "{line}");
    }
    let server = Server::start().await;
    let port = free.port().to_string();
    let (code, out, _) = output(server.address, scratch.path(), &["doctor", &port]).await;
    assert!(code == Some(1) && out.contains("fail target: nothing listens at"), "{out}");
    let (code, out, _) = output(server.address, scratch.path(), &["doctor", "."]).await;
    assert!(code == Some(0) && out.contains("warn target: . has no index.html"), "{out}");
    let (code, out, _) = output(server.address, scratch.path(), &["doctor", "--server=https://relay.invalid"]).await;
    assert!(code == Some(1) && out.starts_with("fail name: relay.invalid"), "{out}");
    let (code, ..) = output(server.address, scratch.path(), &["doctor", "--server=ftp://a"]).await;
    assert_eq!(code, Some(2));
    let tls = format!("--server=https://{}", server.address);
    let (code, out, _) = output(server.address, scratch.path(), &["doctor", &tls]).await;
    assert!(code == Some(1) && out.contains("it does not speak TLS"), "{out}");
}

#[tokio::test]
async fn a_network_that_passes_no_websockets_is_warned_of() {
    let (server, scratch) = (Server::start().await, Scratch::new());
    let network = without_upgrades(server.address).await;
    let (code, out, _) = output(network, scratch.path(), &["doctor"]).await;
    assert_eq!(code, Some(0), "{out}");
    assert_eq!(
        verdicts(&out),
        ["ok   connection", "ok   server", "ok   clock", "warn websocket", "ok   polling"],
        "{out}"
    );
    assert!(out.contains("tunnels use long-polling, which is slower"), "{out}");
}

#[tokio::test]
async fn a_certificate_is_judged_as_forward_judges_it() {
    let (server, scratch) = (Server::start().await, Scratch::new());
    let (tls, ca) = with_tls(server.address).await;
    let url = format!("--server=https://localhost:{}", tls.port());
    let (code, out, _) = output(tls, scratch.path(), &["doctor", &url]).await;
    assert_eq!((code, verdicts(&out)), (Some(1), vec!["ok   name", "fail connection"]), "{out}");
    assert!(out.contains("give that with --ca FILE"), "{out}");
    let (code, out, _) = output(tls, scratch.path(), &["doctor", &url, "--ca", ca.to_str().unwrap()]).await;
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("with a certificate that this machine trusts"), "{out}");
    std::fs::remove_file(ca).unwrap();
}

#[tokio::test]
async fn the_proxy_of_the_environment_is_named_without_its_password() {
    let scratch = Scratch::new();
    let proxy = answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
    let server = "127.0.0.1:1".parse().unwrap();
    let mut command = command(server, scratch.path(), &["doctor", "--server=https://relay.invalid"]);
    command.env("HTTPS_PROXY", format!("http://me:hunter2@{proxy}"));
    let output = within("the command to end", command.output()).await.unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert_eq!(verdicts(&out), ["ok   proxy", "fail connection"], "{out}");
    assert!(out.contains(&format!("http://{proxy},")) && !out.contains("hunter2"), "{out}");
}
