//! `soak MINUTES [SEED]`: runs the real server with a thousand ends and some hundred visitors, most of them hostile. Checks
//! that no honest visitor gets a wrong answer, and that afterwards the server holds no more than before.
//!
//! In reading order: `world` is the shared state; `end` and `lie` are the ends, `stream` those that stream, `visitor` the
//! visitors; `question` is what honest visitors ask and honest ends answer, of bytes that `pattern` makes, and `socket` what
//! visitors' WebSockets do; `witness` is the ends and visitors that must not notice the others; `proxy` is a bad network; `link`,
//! `packet` and `wire` speak Engine.IO, HTTP and WebSocket; `server` is the server seen from outside, and `access` its access
//! log; `report` is the verdict.
//!
//! The seed decides what each task does, but not when the machine lets it run: two runs with the same seed are alike but not
//! identical.

mod access;
mod end;
mod lie;
mod link;
mod packet;
mod pattern;
mod proxy;
mod question;
mod report;
mod server;
mod socket;
mod stream;
mod visitor;
mod wire;
mod witness;
mod world;

use std::io::Result;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::server::{Figures, Server};
use crate::world::{World, lock};

/// The most seats. An even number, because seats form pairs of neighbours.
const MOST_SEATS: u64 = 1_200;

/// One visitor for this many seats, and one pest for this many.
const SEATS_PER_VISITOR: u64 = 4;
const SEATS_PER_PEST: u64 = 6;

/// File descriptors for each seat, including its share of visitors and pests, in this program or in the server.
const DESCRIPTORS_PER_SEAT: u64 = 6;

/// How long the server may take to release everything after the crowd has gone.
const SETTLING: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let minutes = arguments.next().and_then(|minutes| minutes.parse::<f64>().ok()).filter(|minutes| *minutes > 0.0);
    let seed = arguments.next().map_or_else(|| Some(rand::random()), |seed| seed.parse().ok());
    let (Some(minutes), Some(seed)) = (minutes, seed) else {
        eprintln!("usage: soak MINUTES [SEED]");
        return ExitCode::from(2);
    };
    match tokio::runtime::Runtime::new().and_then(|runtime| runtime.block_on(soak(minutes, seed))) {
        Ok(faults) if faults.is_empty() => {
            println!("\nall holds (seed {seed})");
            ExitCode::SUCCESS
        }
        Ok(faults) => {
            println!("\nDOES NOT HOLD (seed {seed})");
            faults.iter().for_each(|fault| println!("- {fault}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the crowd for `minutes`, and returns what does not hold afterwards.
async fn soak(minutes: f64, seed: u64) -> Result<Vec<String>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut server = Server::start().await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let seats = (descriptors() / DESCRIPTORS_PER_SEAT).min(MOST_SEATS) & !1;
    let (metrics, log) = (server.metrics, server.log.display());
    println!("seed {seed}, {seats} seats, server {}, figures at {metrics}, its log in {log}", server.address);
    let world = Arc::new(World::new(server.address, listener.local_addr()?, seats as usize));
    let (start, (rss, _)) = (server.figures().await?, server.memory());
    let first_heap = server.heap().await?;
    let mut next = || StdRng::seed_from_u64(rng.random());

    let (stop, stopped) = watch::channel(false);
    let witnesses = aside(witness::run(Arc::clone(&world), next(), stopped))?;
    let mut crowd = JoinSet::new();
    crowd.spawn(proxy::run(listener, server.address, next()));
    for seat in 0..world.seats() {
        crowd.spawn(end::sit(Arc::clone(&world), seat, next()));
    }
    for _ in 0..seats / SEATS_PER_VISITOR {
        crowd.spawn(visitor::ask(Arc::clone(&world), next()));
    }
    for _ in 0..seats / SEATS_PER_PEST {
        crowd.spawn(visitor::pester(Arc::clone(&world), next()));
    }
    let fewest = watch_for(Duration::from_secs_f64(minutes * 60.0), &world, &server).await;

    // The crowd's tasks run for ever. If one has ended, this program has a fault, and the run proves nothing.
    if let Some(ended) = crowd.try_join_next() {
        return Err(std::io::Error::other(format!("a task of the crowd has ended: {ended:?}")));
    }
    // The crowd leaves all at once, in the middle of its work; the witnesses must not notice that either.
    crowd.shutdown().await;
    sleep(Duration::from_secs(2)).await;
    let _ = stop.send(true);
    let joined = tokio::task::spawn_blocking(move || witnesses.join()).await?;
    joined.map_err(|_| std::io::Error::other("the witnesses' thread has panicked"))?;
    let end = settle(&server, &start).await.map_err(|error| {
        std::io::Error::other(format!(
            "/metrics does not answer ({error}); the server's log is {}",
            server.log.display()
        ))
    })?;
    let (now, peak) = server.memory();
    let heap = first_heap.zip(server.heap().await?);
    let has_stopped = server.stop().await;
    let access_log = server.access_log().await?;
    let mut faults = report::print(&world, &server, &start, &end, [rss, peak, now], heap, has_stopped);
    // Only the product's own program has a log.
    if heap.is_none() {
        faults.extend(access_log.compare(&lock(&world.seen), &end));
    }
    if fewest < seats / 3 {
        faults.push(format!("only {fewest} sessions at one time, with {seats} seats: the crowd did not keep up"));
    }
    if faults.is_empty() {
        std::fs::remove_file(&server.log)?;
    }
    Ok(faults)
}

/// Runs a task on a thread of its own, so that the crowd's thousand tasks do not delay the witnesses.
fn aside(task: impl Future<Output = ()> + Send + 'static) -> Result<std::thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(std::thread::spawn(move || runtime.block_on(task)))
}

/// Waits for `span` and prints a line every ten seconds. Returns the lowest number of sessions that was seen.
async fn watch_for(span: Duration, world: &World, server: &Server) -> u64 {
    let begun = Instant::now();
    let mut fewest = u64::MAX;
    while begun.elapsed() < span {
        sleep(Duration::from_secs(10).min(span - begun.elapsed())).await;
        let figures = match server.figures().await {
            Ok(figures) => figures,
            Err(error) => {
                eprintln!("{:>5} s  no figures: {error}", begun.elapsed().as_secs());
                continue;
            }
        };
        fewest = fewest.min(figures.in_use("sessions"));
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        eprintln!(
            "{:>5} s  {} sessions, {} tunnels, {} connections, {} exchanges, {} KiB held, {} MiB; right {}, wrong {}; \
             witnesses: right {}, failed {}, slowest {} ms",
            begun.elapsed().as_secs(),
            figures.in_use("sessions"),
            figures.of("connected_tunnels"),
            figures.in_use("connections"),
            figures.begun(),
            figures.in_use("bytes") >> 10,
            server.memory().0,
            load(&world.crowd.right),
            load(&world.crowd.wrong),
            load(&world.witness.right),
            load(&world.witness.failed) + load(&world.witness.unanswered),
            load(&world.witness.slowest),
        );
    }
    fewest
}

/// Waits until the server's figures are back at `start`, at most for `SETTLING`, and returns the last figures.
async fn settle(server: &Server, start: &Figures) -> Result<Figures> {
    let begun = Instant::now();
    loop {
        let figures = server.figures().await?;
        let is_back = figures.is_back_at(start);
        if is_back || begun.elapsed() > SETTLING {
            eprintln!(
                "{} after {:.1} s",
                if is_back { "settled" } else { "not settled" },
                begun.elapsed().as_secs_f64()
            );
            return Ok(figures);
        }
        sleep(Duration::from_millis(250)).await;
    }
}

/// Returns the limit of file descriptors of this process, which the server inherits.
fn descriptors() -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(1_024)
}
