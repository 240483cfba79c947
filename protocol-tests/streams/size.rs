//! What streams take and give, through a server in a process of its own.
//!
//! At each commit they are small; `scripts/streams` runs them in a release build and in full size, and prints what they took.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use futures::future::join_all;
use socket2me::proto::engine_io::Revision;
use socket2me::proto::engine_io::client::Transports;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{mirror, transfer};
use crate::relay::visitor::get;
use crate::support::line::{Line, Quality};
use crate::support::pattern::Check;
use crate::support::streaming_end::{StreamingEnd, head};
use crate::support::{ms, pattern, within};
use socket2me::client::visit::{Handler, Visit, handler};

const MIB: u64 = 1 << 20;

/// The largest window that an end may ask for.
const WIDE: &str = r#"{"window":4194304}"#;

/// More than a process may have at once, in bytes, whatever passes through it.
const MOST: u64 = 64 * MIB;

/// Returns whether this runs in full size.
fn is_full() -> bool {
    std::env::var_os("SOCKET2ME_STREAMS").is_some()
}

/// Returns a size in full, or the one at each commit.
fn size(full: u64, small: u64) -> u64 {
    if is_full() { full } else { small }
}

/// A server in a process of its own, which is killed with the test.
struct Process {
    child: Child,
    address: SocketAddr,
    metrics: SocketAddr,
}

impl Process {
    async fn start(flags: &[&str]) -> Self {
        let binary = std::env::var_os("SOCKET2ME_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_socket2me").into());
        // Nobody else takes the port between the two: the system hands out another first.
        let metrics = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let mut child = Command::new(binary)
            .args(["--log", "warn", "--log-format", "json", "serve", "--listen", "127.0.0.1:0", "--store", "memory"])
            .args(["--throttle-interval-ms", "0", "--response-timeout", "2m", "--metrics-listen", &metrics.to_string()])
            .args(flags)
            .env_clear()
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        within("the server to start", stdout.read_line(&mut line)).await.unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = ready["url"].as_str().unwrap().trim_start_matches("http://").parse().unwrap();
        Self { child, address, metrics }
    }

    async fn token(&self) -> String {
        get(self.address, "/new").await.text()
    }

    /// Returns the most memory that the process had at once, in bytes.
    fn peak(&self) -> u64 {
        peak(&self.child)
    }

    async fn figure(&self, name: &str) -> u64 {
        let figures = get(self.metrics, "/metrics").await.text();
        let line = figures.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    }
}

/// `forward` in a process of its own, which is killed with the test.
struct Forward {
    child: Child,
    /// Where visitors find the app.
    path: String,
}

impl Forward {
    async fn start(app: SocketAddr, server: SocketAddr) -> Self {
        let binary = std::env::var_os("SOCKET2ME_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_socket2me").into());
        let mut child = Command::new(binary)
            .args([
                "forward",
                &app.to_string(),
                "--server",
                &format!("http://{server}"),
                "--ephemeral",
                "--url-mode",
                "path",
            ])
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut url = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        within("the tunnel's URL", stdout.read_line(&mut url)).await.unwrap();
        let path = url.trim().strip_prefix(&format!("http://{server}")).unwrap().to_owned();
        Self { child, path }
    }
}

/// Returns the most memory that a process had at once, in bytes.
fn peak(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// An app that does what [`mirror`] does, by HTTP.
async fn mirroring_app() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(mirror_connection(stream));
        }
    });
    address
}

/// Answers the one request of a connection.
async fn mirror_connection(mut stream: TcpStream) {
    let mut read = Vec::with_capacity(1 << 20);
    let end = loop {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0, "no head");
        if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let (up, down): (u64, u64) = (length.parse().unwrap(), head.split(['/', ' ']).nth(2).unwrap().parse().unwrap());
    let mut check = Check::default();
    check.take(&read[end..]);
    let mut buffer = vec![0; 256 << 10];
    while check.bytes < up {
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "the upload broke off");
        check.take(&buffer[..count]);
    }
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nX-Taken: {up}\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut sent = 0;
    while sent < down {
        let part = pattern::bytes(sent, usize::try_from(down - sent).unwrap().min(128 << 10));
        sent += part.len() as u64;
        let chunk = [format!("{:x}\r\n", part.len()).as_bytes(), &part, b"\r\n"].concat();
        stream.write_all(&chunk).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
}

/// Returns megabytes in a second.
async fn speed(server: SocketAddr, token: &str, up: u64, down: u64) -> f64 {
    let started = Instant::now();
    transfer(server, token, up, down).await;
    (up + down) as f64 / 1e6 / started.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_any_size_take_little_memory() {
    let server = Process::start(&[]).await;
    let base = server.peak();
    for (name, transports, bytes) in [
        ("WebSocket", Transports::WebSocket, size(2048 * MIB, 48 * MIB)),
        ("long-polling", Transports::Polling, size(100 * MIB, 8 * MIB)),
    ] {
        let token = server.token().await;
        let end = StreamingEnd::connect(server.address, &token, (Revision::V4, transports), WIDE, mirror()).await;
        let up = speed(server.address, &token, bytes, 0).await;
        let down = speed(server.address, &token, 0, bytes).await;
        println!("{name}: {} MiB up at {up:.0} MB/s, down at {down:.0} MB/s", bytes / MIB);
        assert!(end.heard.lock().unwrap().breaches.is_empty());
        end.close().await;
    }
    let peak = server.peak();
    println!("the server: {} MiB at first, {} MiB at most", base / MIB, peak / MIB);
    assert!(peak < MOST, "{peak}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_any_size_go_through_forward_in_little_memory() {
    let server = Process::start(&[]).await;
    let forward = Forward::start(mirroring_app().await, server.address).await;
    let base = peak(&forward.child);
    let token = forward.path.strip_prefix("/go/").unwrap();
    let bytes = size(2048 * MIB, 48 * MIB);
    let up = speed(server.address, token, bytes, 0).await;
    let down = speed(server.address, token, 0, bytes).await;
    println!("through forward: {} MiB up at {up:.0} MB/s, down at {down:.0} MB/s", bytes / MIB);
    for (name, peak) in [("the server", server.peak()), ("forward", peak(&forward.child))] {
        println!("{name}: {} MiB at most", peak / MIB);
        assert!(peak < MOST, "{name}: {peak}");
    }
    println!("forward: {} MiB at first", base / MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_stream_fills_a_long_line() {
    let server = Process::start(&[]).await;
    let line = Line::to(server.address, Quality::long(ms(100))).await;
    let token = server.token().await;
    let end = StreamingEnd::connect(line.address, &token, (Revision::V4, Transports::WebSocket), WIDE, mirror()).await;
    let bytes = size(256 * MIB, 24 * MIB);
    // In the first second windows grow.
    let least = if is_full() { 20.0 } else { 4.0 };
    for (name, up, down) in [("up", bytes, 0), ("down", 0, bytes)] {
        let speed = speed(server.address, &token, up, down).await;
        println!("100 ms round trip, {name}: {speed:.1} MB/s");
        assert!(speed >= least, "{name}: {speed}");
    }
    end.close().await;
}

/// A visitor who asks for bytes and reads none.
async fn stalled_download(server: SocketAddr, token: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    // The system would take megabytes in its place.
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut stream = socket.connect(server).await.unwrap();
    stream.write_all(format!("GET /go/{token}/endless HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
    stream
}

/// A visitor who sends bytes that its handler does not take.
async fn stalled_upload(server: SocketAddr, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let head = format!("POST /go/{token}/stall HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 64 * MIB);
    stream.write_all(head.as_bytes()).await.unwrap();
    let part = pattern::bytes(0, 256 << 10);
    while timeout(ms(300), stream.write_all(&part)).await.is_ok() {}
    stream
}

/// A handler whose response to `/endless` ends with its visitor, and which takes nothing of `/stall`. It tells of each write.
fn with_stalls(written: Arc<Notify>) -> Handler {
    let mirrors = mirror();
    handler(move |visit: Visit| {
        let (mirrors, written) = (Arc::clone(&mirrors), Arc::clone(&written));
        async move {
            match &*visit.request.path {
                "/endless" => {
                    let mut writer = head(visit.answer, 200, &[]);
                    while writer.write(pattern::bytes(0, 64 << 10)).await.is_ok() {
                        written.notify_one();
                    }
                }
                "/stall" => {
                    // Its reader is kept, and takes nothing.
                    let Visit { body, answer, .. } = visit;
                    std::future::pending::<()>().await;
                    drop((body, answer));
                }
                _ => mirrors(visit).await,
            }
        }
    })
}

/// Neither the memory nor the neighbours of visitors who do not read, or whose uploads nobody takes, suffer from them.
async fn others_go_on_beside(are_uploads: bool) {
    let count = size(300, 40);
    // Longer than this takes, and no visitor is given up.
    let flags = ["--stall-timeout", "5m", "--max-connections-per-address", "0", "--max-uploads-per-address", "0"];
    let server = Process::start(&flags).await;
    let line = Line::to(server.address, Quality::long(ms(20))).await;
    let (token, other) = (server.token().await, server.token().await);
    let written = Arc::<Notify>::default();
    let websocket = (Revision::V4, Transports::WebSocket);
    let serve = with_stalls(Arc::clone(&written));
    let end = StreamingEnd::connect(line.address, &token, websocket, WIDE, serve).await;
    let end_of_other = StreamingEnd::connect(server.address, &other, websocket, WIDE, mirror()).await;
    let mut stalled = Vec::new();
    if are_uploads {
        stalled.extend(join_all((0..count).map(|_| stalled_upload(server.address, &token))).await);
    } else {
        stalled.extend(join_all((0..count).map(|_| stalled_download(server.address, &token))).await);
        // Until no handler has written for a while.
        while timeout(ms(500), written.notified()).await.is_ok() {}
    }
    let held = server.figure("socket2me_in_use{budget=\"bytes\"}").await;
    let limit = server.figure("socket2me_limit{budget=\"bytes\"}").await;
    println!("{count} visitors who stand still: {} MiB held, of {} MiB", held / MIB, limit / MIB);
    assert!(held <= limit / 4, "{held} of {limit}");
    let bytes = size(50 * MIB, 4 * MIB);
    let least = if is_full() { 5.0 } else { 0.5 };
    for (name, up, down) in [("up", bytes, 0), ("down", 0, bytes)] {
        let beside = speed(server.address, &token, up, down).await;
        let elsewhere = speed(server.address, &other, up, down).await;
        println!("beside them, {name}: {beside:.1} MB/s at 20 ms; of another tunnel {elsewhere:.0} MB/s");
        assert!(beside >= least, "{name}: {beside}");
        assert!(elsewhere >= 4.0 * least, "{name}: {elsewhere}");
    }
    println!("the server: {} MiB at most", server.peak() / MIB);
    drop(stalled);
    // Handlers that take nothing would hold up an end that leaves.
    end.vanish();
    end_of_other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visitors_who_read_nothing_hold_up_nobody() {
    others_go_on_beside(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visitors_whose_uploads_nobody_takes_hold_up_nobody() {
    others_go_on_beside(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_lives_on_a_narrow_line_that_is_full() {
    let bytes = size(2 * MIB, MIB / 2);
    for (name, up, down, ping_timeout) in [
        // Less than the transfer takes: a heartbeat that waits behind all of it comes too late.
        ("up", bytes, 0, "3s"),
        // What the end's own system has taken is in front of its answer to a heartbeat.
        ("down", 0, bytes, "20s"),
    ] {
        let server = Process::start(&["--ping-interval", "1s", "--ping-timeout", ping_timeout]).await;
        let line = Line::to(server.address, Quality::narrow(1_000_000)).await;
        let token = server.token().await;
        let websocket = (Revision::V4, Transports::WebSocket);
        let end = StreamingEnd::connect(line.address, &token, websocket, WIDE, mirror()).await;
        let started = Instant::now();
        transfer(server.address, &token, up, down).await;
        println!("1 Mbit/s, {name}: {} KiB in {:.1} s", bytes >> 10, started.elapsed().as_secs_f64());
        assert_eq!(server.figure("socket2me_sessions_ended_total{reason=\"ping-timeout\"}").await, 0);
        end.close().await;
    }
}
