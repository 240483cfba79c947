//! Witnesses: tunnels with honest ends and honest visitors, connected directly, while the crowd attacks. Nothing that the
//! crowd does may cost a witness an answer.
//!
//! Witnesses ask only for small bodies: up to 16 KiB do not count against the shared memory, and only these are promised
//! while others use that memory up.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::access::Seen;
use crate::end::{self, Character};
use crate::link::{Kind, Link, Way};
use crate::packet::Revision;
use crate::question::{Question, Verdict};
use crate::wire::{Connection, Route};
use crate::world::{World, lock, new_token, refresh};

/// The address of all witnesses, and of nobody else.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The largest body of a question or an answer, in bytes.
const LARGEST: usize = 6_000;

/// Time between refreshes of a token, well within its life.
const REFRESH: Duration = Duration::from_secs(4);

/// How long an answer may take; longer than the server's own timeout.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs an end of each kind with a visitor, until told to stop; then the visitors end first, and the ends after them.
pub async fn run(world: Arc<World>, mut rng: StdRng, stop: watch::Receiver<bool>) {
    let route = Route { from: ADDRESS, to: world.server };
    let mut visitors = JoinSet::new();
    let mut ends = JoinSet::new();
    for revision in [Revision::V3, Revision::V4] {
        for way in [Way::Polling, Way::WebSocket, Way::Upgrade] {
            for raw in [false, true] {
                let Ok(token) = new_token(route).await else {
                    count(&world, Verdict::Failed("a witness got no token".to_owned()), Duration::ZERO);
                    continue;
                };
                lock(&world.witnesses).push(token.clone());
                let kind = Kind { revision, way, route, fuse: None };
                let seed = rng.random();
                let (joined, has_joined) = oneshot::channel();
                let end = End { token: token.clone(), kind, raw };
                ends.spawn(stay(Arc::clone(&world), end, joined, stop.clone(), StdRng::seed_from_u64(seed)));
                let visitor = visit(Arc::clone(&world), token, route, stop.clone(), StdRng::seed_from_u64(!seed));
                visitors.spawn(async {
                    // The end itself reports that it does not join; then the visitor's questions fail too.
                    let _ = timeout(PATIENCE, has_joined).await;
                    visitor.await;
                });
            }
        }
    }
    visitors.join_all().await;
    ends.shutdown().await;
}

/// A witness's end, as it joins.
struct End {
    token: String,
    kind: Kind,
    raw: bool,
}

/// Keeps an end connected, and says when it has joined for the first time; a lost session is a fault.
async fn stay(world: Arc<World>, end: End, joined: oneshot::Sender<()>, stop: watch::Receiver<bool>, mut rng: StdRng) {
    let End { token, kind, raw } = end;
    let mut joined = Some(joined);
    loop {
        let life = async {
            let mut link = Link::open(kind, &[]).await?;
            link.send(&[end::join(&token, kind.revision, raw)]).await?;
            end::joined(&mut link, &token).await?;
            if let Some(joined) = joined.take() {
                // Its visitor may have lost patience.
                let _ = joined.send(());
            }
            end::serve(&world, &mut link, Character::Honest, "", &mut rng).await
        };
        let left = life.await;
        if !*stop.borrow() {
            let fault = format!("a witness's end lost its session: {kind:?}, {left:?}");
            count(&world, Verdict::Failed(fault), Duration::ZERO);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Asks questions, and expects the right answer to each.
async fn visit(world: Arc<World>, token: String, route: Route, stop: watch::Receiver<bool>, mut rng: StdRng) {
    let mut connection = None;
    let mut refreshed = Instant::now();
    while !*stop.borrow() {
        let question = Question::random(&mut rng, LARGEST);
        let begun = Instant::now();
        let asking = async {
            let mut used = match connection.take() {
                Some(used) if rng.random_ratio(9, 10) => used,
                _ => Connection::open(route, None).await?,
            };
            let answer = used.ask(&question.request(&token)).await?;
            if let Some(id) = answer.header("x-request-id") {
                let (sent, received) = (question.size(), answer.body.len() as u64);
                let seen = Seen { status: answer.status, sent, received, took: begun.elapsed().as_secs_f64() * 1e3 };
                lock(&world.seen).insert(id.to_owned(), seen);
            }
            connection = Some(used);
            std::io::Result::Ok(question.check(&token, &answer))
        };
        let verdict = match timeout(PATIENCE, asking).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(error)) => Verdict::Failed(format!("a witness's connection broke off: {error}")),
            Err(_) => Verdict::Failed("a witness waited in vain".to_owned()),
        };
        count(&world, verdict, begun.elapsed());
        if refreshed.elapsed() > REFRESH {
            refreshed = Instant::now();
            if let Err(error) = refresh(route, &token).await {
                count(&world, Verdict::Failed(format!("a witness's token was not refreshed: {error}")), Duration::ZERO);
            }
        }
        sleep(Duration::from_millis(rng.random_range(20..120))).await;
    }
}

fn count(world: &World, verdict: Verdict, took: Duration) {
    if verdict != Verdict::Right {
        world.witness.complain(format!("{verdict:?} after {took:?}"));
    }
    world.witness.count(verdict, took);
}
