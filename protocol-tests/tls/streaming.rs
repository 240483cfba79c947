//! `socket2me forward` behind a server that speaks TLS, and visitors by HTTP/1.1 and HTTP/2: bodies of any size, event streams,
//! trailers, and transfers that break off.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use super::Secure;
use super::frames::*;
use crate::support::within;
use crate::tools::{Scratch, Tool, set_place};

/// A server, an app, and `forward` between them.
struct Forwarded {
    secure: Secure,
    app: TcpListener,
    path: String,
    forward: Tool,
    _state: Scratch,
}

impl Forwarded {
    async fn start() -> Self {
        let secure = Secure::start(&["--stall-timeout=2s"]).await;
        let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (state, ca) = (Scratch::new(), secure.authority.file("ca.pem"));
        let (server, port) = (secure.url(""), app.local_addr().unwrap().port().to_string());
        let mut command = Command::new(crate::starting::BINARY);
        set_place(&mut command, app.local_addr().unwrap(), state.path());
        command.args(["forward", &port, "--server", &server, "--ca", ca.to_str().unwrap(), "--url-mode", "path"]);
        let mut forward = Tool::of(command);
        let path = forward.tunnel().await;
        Self { secure, app, path, forward, _state: state }
    }

    /// Takes the app's next connection, and the head of its request.
    async fn asked(&self) -> (BufReader<TcpStream>, String) {
        let (stream, _) = within("the app to be asked", self.app.accept()).await.unwrap();
        let (mut stream, mut head) = (BufReader::new(stream), String::new());
        while !head.ends_with("\r\n\r\n") {
            assert!(within("a line", stream.read_line(&mut head)).await.unwrap() > 0, "{head}");
        }
        (stream, head)
    }
}

/// The program curl, which writes only the body, its status and its version.
async fn sizes(forwarded: &Forwarded, version: &str, arguments: &[&str]) -> (bool, String) {
    let ca = forwarded.secure.authority.file("ca.pem");
    let url = forwarded.secure.url(&format!("{}/x", forwarded.path));
    let mut curl = crate::starting::program("curl", &[], &["-sS", version, "--max-time", "60", "-o", "/dev/null"]);
    curl.args(["--cacert", ca.to_str().unwrap(), "-w", "%{http_code} %{size_download} %{http_version}"]);
    let output = curl.args(arguments).arg(url).output().await.unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn bodies_of_many_megabytes_pass_both_ways() {
    const SIZE: usize = 40 << 20;
    let forwarded = Forwarded::start().await;
    forwarded.secure.authority.scratch.write("body", vec![b'u'; SIZE]);
    let file = forwarded.secure.authority.file("body");
    let upload = ["-T", file.to_str().unwrap(), "-X", "POST"];
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let app = async {
            let (mut stream, head) = forwarded.asked().await;
            assert!(head.contains("x-forwarded-proto: https\r\n"), "{head}");
            let mut body = vec![0; SIZE];
            within("the upload", stream.read_exact(&mut body)).await.unwrap();
            assert!(body.iter().all(|&byte| byte == b'u'));
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&vec![b'd'; SIZE]).await.unwrap();
        };
        let visitor = sizes(&forwarded, flag, &upload);
        let ((is_whole, told), ()) = tokio::join!(visitor, app);
        assert!(is_whole, "{told}");
        assert_eq!(told, format!("200 {SIZE} {version}"));
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_an_error_to_its_visitor() {
    let forwarded = Forwarded::start().await;
    for flag in ["--http1.1", "--http2"] {
        for head in ["Transfer-Encoding: chunked\r\n\r\n5\r\n", "Content-Length: 1000\r\n\r\n"] {
            let app = async {
                let (mut stream, _) = forwarded.asked().await;
                stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}hello").as_bytes()).await.unwrap();
            };
            let ((is_whole, told), ()) = tokio::join!(sizes(&forwarded, flag, &[]), app);
            // What comes before a reset in one read, curl may drop.
            assert!(!is_whole, "{flag} {head}: {told}");
        }
    }
}

#[tokio::test]
async fn an_end_that_is_killed_leaves_no_response_that_looks_whole() {
    for flag in ["--http1.1", "--http2"] {
        let forwarded = Forwarded::start().await;
        let ca = forwarded.secure.authority.file("ca.pem");
        let url = forwarded.secure.url(&format!("{}/x", forwarded.path));
        let mut curl = crate::starting::program("curl", &[], &["-sSN", flag, "--max-time", "60", &url]);
        let mut curl = curl.args(["--cacert", ca.to_str().unwrap()]).spawn().unwrap();
        let (mut app, _) = forwarded.asked().await;
        app.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await.unwrap();
        let mut out = curl.stdout.take().unwrap();
        let mut read = [0; 5];
        within("the first piece", out.read_exact(&mut read)).await.unwrap();
        forwarded.forward.kill().await;
        let status = within("curl to end", curl.wait()).await.unwrap();
        assert!(!status.success(), "{flag}");
    }
}

#[tokio::test]
async fn events_reach_a_visitor_one_by_one_and_the_app_hears_that_the_visitor_has_left() {
    let forwarded = Forwarded::start().await;
    let mut client = Frames::open(&forwarded.secure).await;
    client.get(1, &format!("{}/events", forwarded.path)).await;
    let (mut app, _) = forwarded.asked().await;
    app.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    client.response(1).await;
    for number in 0..5 {
        let event = format!("data: {number}\n\n");
        app.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await.unwrap();
        let piece = client.until("an event", |frame| frame.kind == DATA && !frame.payload.is_empty()).await;
        assert_eq!((piece.stream, piece.payload), (1, event.into_bytes()));
    }
    client.send(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])).await;
    let mut rest = Vec::new();
    let _ = within("the app to hear of it", app.read_to_end(&mut rest)).await;
}

#[tokio::test]
async fn trailers_of_an_app_reach_a_visitor() {
    let forwarded = Forwarded::start().await;
    let mut client = Frames::open(&forwarded.secure).await;
    let block = [request("GET", &format!("{}/x", forwarded.path)), header("te", "trailers")].concat();
    client.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).await;
    let (mut app, _) = forwarded.asked().await;
    let answer =
        "HTTP/1.1 200 OK\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 42\r\n\r\n";
    app.write_all(answer.as_bytes()).await.unwrap();
    client.response(1).await;
    let trailers = client.until("trailers", |frame| frame.kind == HEADERS && frame.flags & END_STREAM != 0).await;
    assert!(trailers.stream == 1 && !trailers.payload.is_empty());
}

/// The window of its stream is shut, and that of a neighbour is open.
#[tokio::test]
async fn a_visitor_that_does_not_read_a_stream_loses_that_stream_alone() {
    let forwarded = Forwarded::start().await;
    let mut client = Frames::open(&forwarded.secure).await;
    client.get(1, &format!("{}/events", forwarded.path)).await;
    let (mut neighbour, _) = forwarded.asked().await;
    neighbour.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    client.response(1).await;
    client.send(&frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 24).to_be_bytes())).await;
    client.get(3, &format!("{}/large", forwarded.path)).await;
    let (mut app, _) = forwarded.asked().await;
    let writing = tokio::spawn(async move {
        let _ = app.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").await;
        while app.write_all(&[b'x'; 1 << 16]).await.is_ok() {}
    });
    let reset = client.until("a reset", |frame| frame.kind == RST_STREAM).await;
    assert_eq!(reset.stream, 3);
    within("the app to hear of it", writing).await.unwrap();
    neighbour.write_all(b"5\r\nstill\r\n").await.unwrap();
    let piece = client.until("a piece", |frame| frame.kind == DATA && frame.stream == 1).await;
    assert_eq!(piece.payload, b"still");
}
