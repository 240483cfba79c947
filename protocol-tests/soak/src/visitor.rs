//! Visitors: honest ones, which check their answers, and pests, which misbehave.

use std::io::Result;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, sleep, timeout};

use crate::question::Question;
use crate::socket::Socket;
use crate::wire::{self, Connection, Death, Route};
use crate::world::World;

/// Longer than any of the server's timeouts.
const PATIENCE: Duration = Duration::from_secs(20);

/// Input that is no HTTP, or that a server must refuse.
const GARBAGE: [&str; 10] = [
    "\r\n\r\n\r\n",
    "GET\r\n\r\n",
    "GET / HTTP/9.9\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03",
    "GET /go/TOKEN/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "POST /go/TOKEN/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /go/TOKEN/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
    "POST /go/TOKEN/ HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "POST /go/TOKEN/ HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n{nope",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

/// Asks one end after another, for ever.
pub async fn ask(world: Arc<World>, mut rng: StdRng) {
    loop {
        // An error here is a lost connection, which the proxy may cause at any time.
        if !matches!(timeout(PATIENCE, sitting(&world, &mut rng)).await, Ok(Ok(()))) {
            world.crowd.broken.fetch_add(1, Ordering::Relaxed);
        }
        sleep(Duration::from_millis(rng.random_range(0..400))).await;
    }
}

/// Asks a few questions on one connection.
async fn sitting(world: &World, rng: &mut StdRng) -> Result<()> {
    let route = world.route(rng);
    let mut connection = Connection::open(route, None).await?;
    for _ in 0..rng.random_range(1..6) {
        let token = world.wanted_token(rng);
        let largest = [4_000, 4_000, 40_000, 40_000, 40_000, 900_000][rng.random_range(0..6)];
        let begun = Instant::now();
        if rng.random_ratio(1, 8) {
            let visited = Socket::random(rng, largest / 2).visit(&mut connection, &token).await?;
            world.crowd.count(visited.verdict, begun.elapsed());
            return Ok(());
        }
        let question = Question::random(rng, 0..=largest);
        let (answer, is_sent) = connection.converse(&question.request(&token), question.wanted()).await?;
        world.crowd.count(question.check(&token, &answer), begun.elapsed());
        if !is_sent || !answer.is_whole || question.is_left(&answer) || answer.header("connection") == Some("close") {
            return Ok(());
        }
    }
    Ok(())
}

/// Misbehaves towards one end after another, for ever.
pub async fn pester(world: Arc<World>, mut rng: StdRng) {
    loop {
        world.pests.fetch_add(1, Ordering::Relaxed);
        let span = Duration::from_millis(rng.random_range(1_000..8_000));
        // The result is ignored: a pest expects its connection to fail.
        let _ = timeout(span, pest(&world, &mut rng)).await;
        sleep(Duration::from_millis(rng.random_range(0..500))).await;
    }
}

async fn pest(world: &World, rng: &mut StdRng) -> Result<()> {
    let mut connection = Connection::open(world.route(rng), None).await?;
    connection.die(if rng.random() { Death::Reset } else { Death::Finish });
    let token = world.wanted_token(rng);
    match rng.random_range(0..12) {
        0 => send_slowly(&mut connection, &token, rng).await,
        1 | 6 => read_slowly(&mut connection, &token, rng).await,
        2 => hang_up(&mut connection, &token, rng).await,
        3 => {
            let garbage = GARBAGE.choose(rng).copied().unwrap_or_default().replace("TOKEN", &token);
            connection.writer.write(garbage.as_bytes()).await?;
            wire::answer(&mut connection.reader).await.map(drop)
        }
        4 => oversize(&mut connection, &token, rng).await,
        8 => read_nothing(world, &token, rng).await,
        9 => send_half(&mut connection, &token, rng).await,
        10 => leave_a_socket(&mut connection, &token, rng).await,
        11 => come_and_go(world, &token, rng).await,
        _ => head_without_end(&mut connection, rng).await,
    }
}

async fn send_slowly(connection: &mut Connection, token: &str, rng: &mut StdRng) -> Result<()> {
    let request = Question::random(rng, 0..=900_000).request(token);
    let piece = if rng.random() { rng.random_range(1..40_000) } else { rng.random_range(1..50) };
    for part in request.chunks(piece) {
        connection.writer.write(part).await?;
        sleep(Duration::from_millis(rng.random_range(1..200))).await;
    }
    wire::answer(&mut connection.reader).await.map(drop)
}

async fn read_slowly(connection: &mut Connection, token: &str, rng: &mut StdRng) -> Result<()> {
    let request = wire::request("GET", &format!("/go/{token}/text/1/900000"), &[], None);
    connection.writer.write(&request).await?;
    let mut piece = vec![0; rng.random_range(1..3_000)];
    loop {
        sleep(Duration::from_millis(rng.random_range(1..300))).await;
        connection.reader.read_exact(&mut piece).await?;
    }
}

/// Asks for a text, with or without an end, and takes nothing of it; no proxy may take it either.
async fn read_nothing(world: &World, token: &str, rng: &mut StdRng) -> Result<()> {
    let mut connection = Connection::open(Route { to: world.server, ..world.route(rng) }, None).await?;
    let target = if rng.random_ratio(1, 3) { "text/1/900000" } else { "unread/1/100000" };
    connection.writer.write(&wire::request("GET", &format!("/go/{token}/{target}"), &[], None)).await?;
    std::future::pending().await
}

/// Sends half a body, and then nothing; or leaves.
async fn send_half(connection: &mut Connection, token: &str, rng: &mut StdRng) -> Result<()> {
    let request = Question::random(rng, 0..=900_000).request(token);
    connection.writer.write(&request[..request.len() / 2]).await?;
    if rng.random() { std::future::pending().await } else { Ok(()) }
}

/// Begins a WebSocket, sends half a message or some bytes, and takes nothing; or leaves.
async fn leave_a_socket(connection: &mut Connection, token: &str, rng: &mut StdRng) -> Result<()> {
    connection.writer.write(&wire::upgrade(&format!("/go/{token}/noise/0/0"))).await?;
    wire::start(&mut connection.reader).await?;
    for _ in 0..rng.random_range(0..5) {
        connection.writer.write(&wire::fragment(2, true, &vec![0; rng.random_range(0..60_000)])).await?;
    }
    connection.writer.write(&wire::fragment(1, false, b"half")).await?;
    if rng.random() { std::future::pending().await } else { Ok(()) }
}

/// Begins requests, and leaves at once.
async fn come_and_go(world: &World, token: &str, rng: &mut StdRng) -> Result<()> {
    for _ in 0..20 {
        let mut connection = Connection::open(world.route(rng), None).await?;
        connection.die(if rng.random() { Death::Reset } else { Death::Finish });
        connection.writer.write(&Question::random(rng, 0..=300_000).request(token)).await?;
    }
    Ok(())
}

/// Hangs up in the middle of a request, or while waiting for the answer.
async fn hang_up(connection: &mut Connection, token: &str, rng: &mut StdRng) -> Result<()> {
    let request = Question::random(rng, 0..=50_000).request(token);
    let end = if rng.random() { request.len() } else { rng.random_range(0..request.len()) };
    connection.writer.write(&request[..end]).await?;
    sleep(Duration::from_millis(rng.random_range(0..60))).await;
    Ok(())
}

async fn oversize(connection: &mut Connection, token: &str, rng: &mut StdRng) -> Result<()> {
    let line = if rng.random() { "Content-Length: 1500000" } else { "Transfer-Encoding: chunked" };
    let target = format!("/go/{token}/");
    connection.writer.write(&wire::request("POST", &target, &[line], None)).await?;
    // With a chunk's length in front; in a body without chunks these are ordinary bytes.
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x1_0000], b"\r\n"].concat();
    for _ in 0..25 {
        connection.writer.write(&chunk).await?;
    }
    wire::answer(&mut connection.reader).await.map(drop)
}

async fn head_without_end(connection: &mut Connection, rng: &mut StdRng) -> Result<()> {
    connection.writer.write(b"GET /go/ HTTP/1.1\r\nHost: soak\r\n").await?;
    for number in 0..2_000 {
        connection.writer.write(format!("X-{number}: {}\r\n", "y".repeat(50)).as_bytes()).await?;
        sleep(Duration::from_millis(rng.random_range(0..50))).await;
    }
    Ok(())
}
