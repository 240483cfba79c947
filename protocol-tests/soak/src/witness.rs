//! Witnesses: tunnels with honest ends and honest visitors, connected directly, while the crowd attacks. Nothing that the
//! crowd does may cost a witness an answer.
//!
//! Witnesses ask only for small bodies: up to 16 KiB do not count against the shared memory, and only these are promised
//! while others use that memory up. Those whose end streams ask for larger ones too, and may be told at once that the server is
//! busy. Whatever has begun, it ends right.

use std::io::Result;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::access::Seen;
use crate::end::{self, Answers, Character};
use crate::link::{Kind, Link, Way};
use crate::packet::Revision;
use crate::question::{Question, Verdict};
use crate::socket::Socket;
use crate::stream::{Streams, Terms};
use crate::wire::{Answer, Connection, Route};
use crate::world::{BUSY, World, lock, new_token, refresh};

/// The address of all witnesses, and of nobody else.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The largest body of a question or an answer, in bytes.
const LARGEST: usize = 6_000;

/// The bodies of streams, in bytes: between this and what comes with its request, it would be too much.
const STREAMS: RangeInclusive<usize> = 70_000..=200_000;

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
            for asks in [Asks::Nothing, Asks::Raw, Asks::Streaming(Terms::modest(&mut rng))] {
                let Ok(token) = new_token(route).await else {
                    count(&world, Verdict::Failed("a witness got no token".to_owned()), Duration::ZERO);
                    continue;
                };
                lock(&world.witnesses).push(token.clone());
                if let Asks::Streaming(_) = asks {
                    world.add_streaming(&token);
                }
                let kind = Kind { revision, way, route, fuse: None };
                let seed = rng.random();
                let (joined, has_joined) = oneshot::channel();
                let end = End { token: token.clone(), kind, asks };
                ends.spawn(stay(Arc::clone(&world), end, joined, stop.clone(), StdRng::seed_from_u64(seed)));
                let visitor = Visitor { world: Arc::clone(&world), token, route, asks };
                let visitor = visitor.visit(stop.clone(), StdRng::seed_from_u64(!seed));
                visitors.spawn(async {
                    // The end itself reports that it does not join; then the visitor's questions fail too.
                    let _ = timeout(PATIENCE, has_joined).await;
                    visitor.await;
                });
            }
        }
    }
    visitors.join_all().await;
    // Each end hears of the end of each exchange, and of each ack.
    let all_over = async {
        while world.unfinished() > 0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    if timeout(PATIENCE, all_over).await.is_err() {
        let fault = format!("ends of witnesses wait for the end of {} exchanges and acks", world.unfinished());
        count(&world, Verdict::Failed(fault), Duration::ZERO);
    }
    ends.shutdown().await;
}

/// What a witness's end asks for.
#[derive(Debug, Clone, Copy)]
enum Asks {
    Nothing,
    /// The bytes of bodies.
    Raw,
    Streaming(Terms),
}

/// A witness's end, as it joins.
struct End {
    token: String,
    kind: Kind,
    asks: Asks,
}

/// Keeps an end connected, and says when it has joined for the first time; a lost session is a fault.
async fn stay(world: Arc<World>, end: End, joined: oneshot::Sender<()>, stop: watch::Receiver<bool>, mut rng: StdRng) {
    let End { token, kind, asks } = end;
    let mut joined = Some(joined);
    loop {
        let life = async {
            let mut link = Link::open(kind, &[]).await?;
            let (mut answers, join) = match asks {
                Asks::Nothing => (Answers::Plainly, end::join(&token, kind.revision, false)),
                Asks::Raw => (Answers::Plainly, end::join(&token, kind.revision, true)),
                Asks::Streaming(terms) => {
                    let streams = Streams::new(&token, terms, &mut rng);
                    (Answers::Streaming(Box::new(streams)), terms.join(&token, kind.revision))
                }
            };
            link.send(&[join]).await?;
            end::joined(&mut link, &token).await?;
            if let Some(joined) = joined.take() {
                // Its visitor may have lost patience.
                let _ = joined.send(());
            }
            end::serve(&world, &mut link, Character::Honest, &mut answers, "", &mut rng).await
        };
        let left = life.await;
        if !*stop.borrow() {
            let fault = format!("a witness's end lost its session: {kind:?}, {asks:?}, {left:?}");
            count(&world, Verdict::Failed(fault), Duration::ZERO);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// A witness's visitor.
struct Visitor {
    world: Arc<World>,
    token: String,
    route: Route,
    asks: Asks,
}

impl Visitor {
    /// Asks questions, and expects the right answer to each.
    async fn visit(self, stop: watch::Receiver<bool>, mut rng: StdRng) {
        let mut connection = None;
        let mut refreshed = Instant::now();
        let streams = matches!(self.asks, Asks::Streaming(_));
        while !*stop.borrow() {
            let begun = Instant::now();
            let asking = async {
                let used = match connection.take() {
                    Some(used) if rng.random_ratio(9, 10) => used,
                    _ => Connection::open(self.route, None).await?,
                };
                if streams && rng.random_ratio(1, 4) {
                    return self.open_socket(used, &mut rng).await;
                }
                let sizes = match streams {
                    true if rng.random() => STREAMS,
                    true => 0..=LARGEST / 2,
                    false => 0..=LARGEST,
                };
                let (verdict, used) = self.ask(used, &Question::random(&mut rng, sizes)).await?;
                connection = used;
                Ok(verdict)
            };
            let verdict = match timeout(PATIENCE, asking).await {
                Ok(Ok(verdict)) => verdict,
                Ok(Err(error)) => Verdict::Failed(format!("a witness's connection broke off: {error}")),
                Err(_) => Verdict::Failed("a witness waited in vain".to_owned()),
            };
            match verdict {
                Verdict::Failed(code) if code == BUSY && !streams => {
                    count(&self.world, Verdict::Failed(format!("a small body is {code}")), begun.elapsed());
                }
                Verdict::Broken => {
                    count(&self.world, Verdict::Failed(format!("broken off: {:?}", self.asks)), begun.elapsed());
                }
                verdict => count(&self.world, verdict, begun.elapsed()),
            }
            if refreshed.elapsed() > REFRESH {
                refreshed = Instant::now();
                if let Err(error) = refresh(self.route, &self.token).await {
                    let fault = format!("a witness's token was not refreshed: {error}");
                    count(&self.world, Verdict::Failed(fault), Duration::ZERO);
                }
            }
            let pause = if streams { 200..500 } else { 20..120 };
            sleep(Duration::from_millis(rng.random_range(pause))).await;
        }
    }

    /// Asks a question. Returns the connection unless it is of no use any more.
    async fn ask(&self, mut used: Connection, question: &Question) -> Result<(Verdict, Option<Connection>)> {
        let begun = Instant::now();
        let (answer, is_sent) = used.converse(&question.request(&self.token), question.wanted()).await?;
        let verdict = question.check(&self.token, &answer);
        let is_left = question.is_left(&answer);
        if verdict == Verdict::Right {
            let outcome = if is_left { "visitor-left" } else { "answered" };
            self.saw(&answer, outcome, question.size(), answer.body.len() as u64, begun);
        }
        let is_of_use = is_sent && answer.is_whole && !is_left && answer.header("connection") != Some("close");
        Ok((verdict, is_of_use.then_some(used)))
    }

    async fn open_socket(&self, mut used: Connection, rng: &mut StdRng) -> Result<Verdict> {
        let begun = Instant::now();
        let visited = Socket::random(rng, *STREAMS.end()).visit(&mut used, &self.token).await?;
        if visited.verdict == Verdict::Right {
            self.saw(&visited.answer, "answered", Some(visited.bytes), visited.bytes, begun);
        }
        Ok(match (visited.verdict, self.asks) {
            // Such an end takes none.
            (Verdict::Failed(code), Asks::Streaming(terms)) if code == "upgrade-unsupported" && terms.base64 => {
                Verdict::Right
            }
            (verdict, _) => verdict,
        })
    }

    /// Keeps what was seen of an exchange, for its line in the access log.
    fn saw(&self, answer: &Answer, outcome: &'static str, sent: Option<u64>, received: u64, begun: Instant) {
        if let Some(id) = answer.header("x-request-id") {
            let took = begun.elapsed().as_secs_f64() * 1e3;
            let seen = Seen { status: answer.status, outcome, sent, received, took };
            lock(&self.world.seen).insert(id.to_owned(), seen);
        }
    }
}

fn count(world: &World, verdict: Verdict, took: Duration) {
    if !matches!(&verdict, Verdict::Right) && verdict != Verdict::Failed(BUSY.to_owned()) {
        world.witness.complain(format!("{verdict:?} after {took:?}"));
    }
    world.witness.count(verdict, took);
}
