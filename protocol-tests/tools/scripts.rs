//! `forward` as shell scripts use it: what they read, and what they are told by the exit code.

use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::Value;
use socket2me::config::{Secret, ServeConfig};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::{Scratch, Tool, output, path_of, set_place};
use crate::forward::ways::with_tls;
use crate::relay::tunnel::{Server, patient};
use crate::relay::visitor::get;
use crate::support::within;

/// Prepares a script, in which `$socket2me` is this program.
fn bash(server: SocketAddr, scratch: &Scratch, script: &str) -> Command {
    let mut bash = Command::new("bash");
    set_place(&mut bash, server, scratch.path());
    bash.args(["-euc", script]).env("socket2me", env!("CARGO_BIN_EXE_socket2me")).stdin(Stdio::piped());
    bash
}

#[tokio::test]
async fn scripts_read_the_url_or_its_file_or_lines_of_json() {
    let (server, scratch) = (Server::start(patient()).await, Scratch::new());
    scratch.write("site/index.html", "here");
    // Each prints the URL, and stops the program once it is told to.
    for script in [
        // As the help has it: the program goes on when its reader has gone.
        r#"read -r url < <(exec "$socket2me" forward ./site --ephemeral --url-mode path 2>log); id=$!
           echo "$url"; read -r; kill -INT $id; while kill -0 $id 2>/dev/null; do sleep 0.02; done"#,
        r#""$socket2me" forward ./site --ephemeral --url-mode path --url-file url >/dev/null 2>log & id=$!
           until [ -s url ]; do sleep 0.02; done
           cat url; read -r; kill -INT $id; wait $id"#,
        r#""$socket2me" forward ./site --ephemeral --url-mode path --output json >events 2>log & id=$!
           until grep -q '"ready"' events; do sleep 0.02; done
           grep -o 'http://[^"]*' events | head -1; read -r; kill -INT $id; wait $id"#,
    ] {
        let mut running = bash(server.address, &scratch, script).spawn().unwrap();
        let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
        let url = within("the URL", lines.next_line()).await.unwrap().unwrap_or_default();
        let target = format!("{}/", path_of(&url));
        for _ in 0..2 {
            assert_eq!(get(server.address, &target).await.text(), "here", "{script}");
        }
        running.stdin.take().unwrap().write_all(b"\n").await.unwrap();
        let done = within("the script to end", running.wait_with_output()).await.unwrap();
        assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(get(server.address, &target).await.code(), Some("token-not-found"), "{script}");
        let log = std::fs::read_to_string(scratch.path().join("log")).unwrap();
        assert!(!log.contains('\u{1b}') && !url.contains('\u{1b}'), "codes of terminals: {log:?}");
    }
    let events = std::fs::read_to_string(scratch.path().join("events")).unwrap();
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["ready", "request", "request"]);
}

#[tokio::test]
async fn each_exit_code_says_what_its_failure_was() {
    let (server, scratch) = (Server::start(patient()).await, Scratch::new());
    let config = ServeConfig { create_secret: Some(Secret::from("tell-nobody")), ..patient() };
    let guarded = Server::start(config).await;
    let (tls, certificate) = with_tls(server.address).await;
    let untrusted = format!("https://localhost:{}", tls.port());
    // Nothing listens at a port that was free.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port().to_string();
    scratch.write("site/index.html", "here").write("file", "");
    for (at, arguments, code, words) in [
        (server.address, &["forward", "./site", "--no-such-flag"][..], 2, "--no-such-flag"),
        (server.address, &["forward", "no such target"], 2, "no such target"),
        (server.address, &["forward", "./site", "--server", "http://relay.example"], 2, "--insecure"),
        // Its own requests would come back to it.
        (server.address, &["forward", &server.address.port().to_string()], 2, "is the relay itself"),
        (guarded.address, &["forward", "./site"], 3, "--create-secret-file"),
        (server.address, &["forward", "./site", "--server", &untrusted], 5, "--ca FILE"),
        (server.address, &["forward", &nobody, "--wait", "50ms"], 7, "nothing listens at"),
        (server.address, &["forward", "./site", "--ca", "file"], 1, "file"),
    ] {
        let (found, out, told) = output(at, scratch.path(), arguments).await;
        assert_eq!((found, out.as_str()), (Some(code), ""), "{arguments:?}: {told}");
        assert!(told.contains(words), "{arguments:?}: {told}");
    }
    let mut first = Tool::start(server.address, scratch.path(), &["forward", "./site", "--url-mode=path"]);
    first.tunnel().await;
    let (code, out, told) = output(server.address, scratch.path(), &["forward", "./site"]).await;
    assert_eq!((code, out.as_str()), (Some(4), ""), "{told}");
    assert_eq!(first.stop().await.code(), Some(0));
    std::fs::remove_file(certificate).unwrap();
}
