//! `socket2me healthcheck`, `completions` and `man`: what operators and packages run.

use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::doctor::answering;
use super::{Scratch, command};
use crate::relay::tunnel::Tunnel;
use crate::relay::visitor::{get, request};
use crate::starting::{BINARY, Variables, program};
use crate::support::wire::Server;
use crate::support::within;

/// Runs the program, which must end by itself. Returns its exit code, its standard output and its standard error.
async fn run(variables: Variables<'_>, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = within("the command to end", program(BINARY, variables, arguments).output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_server_is_found_healthy_with_the_settings_that_it_has_itself() {
    let (server, scratch) = (Server::start().await, Scratch::new());
    let (address, port) = (server.address.to_string(), server.address.port().to_string());
    let found = format!("http://{address}/readyz is 200: the server takes requests\n");
    let file = |name: &str, line: &str| {
        scratch.write(name, format!("[serve]\n{line}\n"));
        scratch.path().join(name).to_str().unwrap().to_owned()
    };
    let listens = file("listens", &format!("listen = '{address}'"));
    let elsewhere = file("elsewhere", "port = 1");
    let cases: [(Variables<'_>, &[&str]); 9] = [
        (&[("PORT", &port)], &[]),
        (&[("SOCKET2ME_LISTEN", &address)], &[]),
        (&[("SOCKET2ME_CONFIG", &listens)], &[]),
        (&[], &["--config", &listens]),
        (&[], &["--listen", &address]),
        (&[], &["--url", &format!("http://{address}/")]),
        (&[("SOCKET2ME_HEALTHCHECK_URL", &format!("http://{address}"))], &["--port=1"]),
        // A flag comes before a variable, and a variable before the file.
        (&[("SOCKET2ME_LISTEN", "127.0.0.1:1")], &["--port", &port]),
        (&[("PORT", &port)], &["--config", &elsewhere]),
    ];
    for (variables, arguments) in cases {
        let (code, out, told) = run(variables, &[&["healthcheck"], arguments].concat()).await;
        assert_eq!((code, &*out, &*told), (Some(0), &*found, ""), "{variables:?} {arguments:?}");
    }
}

#[tokio::test]
async fn a_server_that_stops_is_not_healthy() {
    let mut tunnel = Tunnel::patient().await;
    let target = tunnel.at("/");
    // The exchange is in flight, so the server drains.
    let (_visitor, asked) = tunnel.ask(&request("GET", &target, &[], b"")).await;
    let Tunnel { server, mut end, .. } = tunnel;
    let address = server.address;
    let stopping = server.stop();
    within("the server to hear of it", async { while get(address, "/readyz").await.status == 200 {} }).await;
    let (code, out, told) = run(&[], &["healthcheck", "--listen", &address.to_string()]).await;
    assert_eq!((code, &*out), (Some(1), ""), "{told}");
    assert_eq!(
        told,
        format!(
            "socket2me: http://{address}/readyz is 503: the server takes no requests, because it stops or has no place in its cluster\n"
        )
    );
    end.answer(&asked, "[200]", &[]).await;
    stopping.stopped().await;
}

#[tokio::test]
async fn what_is_no_healthy_server_is_told_in_a_sentence() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let foreign = answering(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    let no_http = answering(b"SSH-2.0-x\r\n").await;
    for (listen, words) in [
        (free.to_string(), "is not reached: "),
        (foreign.to_string(), "/readyz is 404: this is no Socket2Me"),
        (no_http.to_string(), "is not answered in HTTP: "),
        ("127.0.0.1:0".to_owned(), "--url http://127.0.0.1:3000"),
    ] {
        let (code, out, told) = run(&[], &["healthcheck", "--listen", &listen]).await;
        assert_eq!((code, &*out, told.lines().count()), (Some(1), "", 1), "{listen}: {told}");
        assert!(told.contains(words), "{listen}: {told}");
    }
}

#[tokio::test]
async fn wrong_usage_is_not_taken_for_an_unhealthy_server() {
    for (arguments, words) in [
        (&["healthcheck", "--url=ftp://a"][..], "https://tunnel.example"),
        (&["healthcheck", "--listen=127.0.0.1"], "localhost:3000"),
        (&["healthcheck", "--listen=127.0.0.1:1", "--port=1"], "--listen and --port"),
        (&["healthcheck", "--config=/nonexistent"], "/nonexistent"),
        (&["completions", "cmd"], "fish"),
        (&["completions"], "<SHELL>"),
        (&["man", "nothing"], "write one of serve, forward"),
    ] {
        let (code, out, told) = run(&[], arguments).await;
        assert_eq!((code, &*out), (Some(2), ""), "{arguments:?}: {told}");
        assert!(told.contains(words), "{arguments:?}: {told}");
    }
}

#[tokio::test]
async fn shells_complete_commands_and_their_flags() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (code, out, told) = run(&[], &["completions", shell]).await;
        assert_eq!((code, &*told), (Some(0), ""), "{shell}");
        assert!(out.contains("forward") && out.contains("public-url"), "{shell}: {out}");
    }
    let (_, script, _) = run(&[], &["completions", "bash"]).await;
    // As bash asks for what may follow.
    let asked =
        "COMP_WORDS=(socket2me forw); COMP_CWORD=1; _socket2me socket2me forw socket2me; echo \"${COMPREPLY[@]}\"";
    let mut bash = program("bash", &[], &["-eu"]);
    let mut bash = bash.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = bash.stdin.take().unwrap();
    input.write_all(format!("{script}\n{asked}\n").as_bytes()).await.unwrap();
    drop(input);
    let output = within("bash to end", bash.wait_with_output()).await.unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "forward\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn the_manual_has_a_page_for_each_command() {
    let (code, page, told) = run(&[], &["man"]).await;
    assert_eq!((code, &*told), (Some(0), ""));
    let commands: Vec<_> =
        page.lines().filter_map(|line| line.strip_prefix("socket2me\\-")?.strip_suffix("(1)")).collect();
    assert!(commands.contains(&"serve") && commands.contains(&"forward") && commands.contains(&"man"), "{page}");
    let version = concat!("socket2me ", env!("CARGO_PKG_VERSION"));
    for name in commands.into_iter().filter(|name| *name != "help") {
        let (code, page, told) = run(&[], &["man", name]).await;
        assert_eq!((code, &*told), (Some(0), ""), "{name}");
        assert!(page.contains(&format!("\n.TH socket2me-{name} 1  \"{version}\"")), "{name}: {page}");
    }
    let (_, page, _) = run(&[("SOCKET2ME_CREATE_SECRET_FILE", "/nonexistent")], &["man", "serve"]).await;
    assert!(page.contains("\\-\\-public\\-url") && page.contains("SOCKET2ME_PUBLIC_URL"), "{page}");
}

#[tokio::test]
async fn no_command_for_packages_reads_a_file_of_the_current_folder() {
    let scratch = Scratch::new();
    scratch.write("socket2me.toml", "this is no TOML");
    let nobody = "127.0.0.1:1".parse().unwrap();
    for (arguments, expected) in
        [(&["man"][..], Some(0)), (&["completions", "fish"], Some(0)), (&["healthcheck", "--port=1"], Some(1))]
    {
        let output = within("it to end", command(nobody, scratch.path(), arguments).output()).await.unwrap();
        assert_eq!(output.status.code(), expected, "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
