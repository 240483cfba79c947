//! `soak MINUTES [SEED]`: the real server among a thousand ends and some hundred visitors, most of them up to no good, and
//! whether everything is afterwards as it was before, and nobody got a wrong answer.
//!
//! In reading order: `world` is what all share, `end` and `lie` are the ends, `visitor` the visitors, `question` what honest
//! ones ask and answer, `witness` those who must not notice the others, `proxy` a bad network; `link`, `packet` and `wire` speak
//! Engine.IO, HTTP and WebSocket; `server` is the server seen from outside, and `report` the verdict.
//!
//! The seed decides what everybody does, but not when the machine lets them do it: a run is like another one with the same
//! seed, and not the same.

mod end;
mod lie;
mod link;
mod packet;
mod proxy;
mod question;
mod report;
mod server;
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
use crate::world::World;

/// An even number, as seats are neighbours in pairs.
const MOST_SEATS: u64 = 1_200;

/// Every so many seats there is a visitor, and a pest.
const SEATS_PER_VISITOR: u64 = 4;
const SEATS_PER_PEST: u64 = 6;

/// File descriptors that a seat takes, of this program and of the server, with its share of visitors and pests.
const DESCRIPTORS_PER_SEAT: u64 = 6;

/// How long the server may take to let go of everything.
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

/// What does not hold after so many minutes.
async fn soak(minutes: f64, seed: u64) -> Result<Vec<String>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut server = Server::start()?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let seats = (descriptors() / DESCRIPTORS_PER_SEAT).min(MOST_SEATS) & !1;
    println!("seed {seed}, {seats} seats, server {} with its log in {}", server.address, server.log.display());
    let world = Arc::new(World::new(server.address, listener.local_addr()?, seats as usize));
    let (start, (rss, _)) = (server.first_figures().await?, server.memory());
    let first_heap = server.heap()?;
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

    // None of them ever ends: this program has a fault when one has, and then the run means nothing.
    if let Some(ended) = crowd.try_join_next() {
        return Err(std::io::Error::other(format!("one of the crowd has ended: {ended:?}")));
    }
    // The crowd goes at once, and in the midst of everything; the witnesses see that too.
    crowd.shutdown().await;
    sleep(Duration::from_secs(2)).await;
    let _ = stop.send(true);
    let joined = tokio::task::spawn_blocking(move || witnesses.join()).await?;
    joined.map_err(|_| std::io::Error::other("the witnesses' thread has panicked"))?;
    let end = settle(&server, &start).await.map_err(|error| {
        std::io::Error::other(format!("the server has no figures ({error}); its log is {}", server.log.display()))
    })?;
    let (now, peak) = server.memory();
    let heap = first_heap.zip(server.heap()?);
    let has_stopped = server.stop();
    let mut faults = report::print(&world, &server, &start, &end, [rss, peak, now], heap, has_stopped);
    if fewest < seats / 3 {
        faults.push(format!("only {fewest} sessions at one time, with {seats} seats: the crowd did not keep up"));
    }
    if faults.is_empty() {
        std::fs::remove_file(&server.log)?;
    }
    Ok(faults)
}

/// Runs on a thread of its own: what the crowd's thousand tasks cost this program is not to be the witnesses' delay.
fn aside(task: impl Future<Output = ()> + Send + 'static) -> Result<std::thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(std::thread::spawn(move || runtime.block_on(task)))
}

/// Lets time pass, with a line every ten seconds. Gives the fewest sessions that there were in any.
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
            figures.of("tunnels"),
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

/// Waits until all is as it was at the start, or as long as that may take.
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

/// How many file descriptors this process may have, and the server, which inherits the limit.
fn descriptors() -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(1_024)
}
