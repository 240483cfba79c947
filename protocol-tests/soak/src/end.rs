//! Ends: each seat runs one end after another.

use std::io::Result;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use tokio::time::{sleep, timeout};

use crate::lie::{self, Lie};
use crate::link::{self, Kind, Link, Way};
use crate::packet::{Event, Packet, Revision};
use crate::question::{self, Verdict};
use crate::stream::{Breach, Liar, Streams, Terms};
use crate::wire::{self, Connection, Death, Fuse, strange};
use crate::world::{World, new_token, refresh};

/// How an end behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Character {
    Honest,
    Liar(Lie),
    Staller(Stall),
    /// Honest, or in breach of the rules of streaming.
    Streamer(Option<Breach>),
}

/// How an end answers.
pub enum Answers {
    /// By acks.
    Plainly,
    Streaming(Box<Streams>),
    Lying(Box<Liar>),
}

/// The step at which an end stalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stall {
    /// It never joins.
    Joining,
    /// It reads nothing.
    Reading,
    /// It answers nothing.
    Answering,
    /// It sends no heartbeat.
    Beating,
    /// It sends half a POST or half a frame.
    Sending,
    /// It opens a WebSocket to upgrade its polling session, and never sends `5`.
    Upgrading,
}

const STALLS: [Stall; 6] =
    [Stall::Joining, Stall::Reading, Stall::Answering, Stall::Beating, Stall::Sending, Stall::Upgrading];

/// Why an end's session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The server no longer knows the token.
    Refused,
    /// The server or the network ended the session.
    Gone,
}

/// Time between the client's heartbeats in revision 3.
const BEAT: Duration = Duration::from_secs(1);

/// How long a request for a token may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs one end after another on a seat, for ever.
pub async fn sit(world: Arc<World>, seat: usize, mut rng: StdRng) {
    // Ends start at random times, so that they fill the server and not its accept queue.
    sleep(Duration::from_millis(rng.random_range(0..5_000))).await;
    let mut token = String::new();
    loop {
        let route = world.route(&mut rng);
        if token.is_empty() {
            token = timeout(PATIENCE, new_token(route)).await.unwrap_or(Ok(String::new())).unwrap_or_default();
            world.set_token(seat, &token);
        } else if rng.random_ratio(2, 3) {
            // Without this refresh the token may expire while its end is connected.
            let _ = timeout(BEAT, refresh(route, &token)).await;
        }
        let character = character(&mut rng);
        let kind = kind(&mut rng, &world);
        let span = Duration::from_millis(rng.random_range(200..15_000));
        if let Ok(Ok(Left::Refused)) = timeout(span, live(&world, seat, &token, character, kind, &mut rng)).await {
            token.clear();
        }
        sleep(Duration::from_millis(rng.random_range(50..1_500))).await;
    }
}

fn character(rng: &mut StdRng) -> Character {
    match rng.random_range(0..15) {
        0..5 => Character::Honest,
        5..8 => Character::Liar(lie::random(rng)),
        8..10 => Character::Staller(STALLS.choose(rng).copied().unwrap_or(Stall::Reading)),
        10..13 => Character::Streamer(None),
        _ => Character::Streamer(Some(Breach::random(rng))),
    }
}

/// Decides how an end answers, and writes the packet with which it joins.
fn answers(character: Character, token: &str, revision: Revision, rng: &mut StdRng) -> (Answers, Packet) {
    let terms = Terms::random(rng);
    let streams = || terms.join(token, revision);
    match character {
        Character::Streamer(Some(breach)) => (Answers::Lying(Box::new(Liar::new(token, breach, rng))), streams()),
        Character::Streamer(None) => (Answers::Streaming(Box::new(Streams::new(token, terms, rng))), streams()),
        Character::Staller(_) if rng.random() => {
            (Answers::Streaming(Box::new(Streams::new(token, terms, rng))), streams())
        }
        Character::Honest | Character::Liar(_) | Character::Staller(_) => {
            (Answers::Plainly, join(token, revision, rng.random()))
        }
    }
}

fn kind(rng: &mut StdRng, world: &World) -> Kind {
    let revision = if rng.random() { Revision::V3 } else { Revision::V4 };
    let way = [Way::Polling, Way::WebSocket, Way::Upgrade][rng.random_range(0..3)];
    let fuse = rng.random_ratio(1, 4).then(|| Fuse {
        // Half of them break in the handshake or the upgrade, the others in the middle of their answers.
        bytes: if rng.random() { rng.random_range(1..700) } else { rng.random_range(1..100_000) },
        death: death(rng),
    });
    Kind { revision, way, route: world.route(rng), fuse }
}

fn death(rng: &mut StdRng) -> Death {
    if rng.random() { Death::Reset } else { Death::Finish }
}

async fn live(
    world: &World,
    seat: usize,
    token: &str,
    character: Character,
    kind: Kind,
    rng: &mut StdRng,
) -> Result<Left> {
    let neighbour = world.token_of(seat ^ 1);
    let (mut answers, join) = answers(character, token, kind.revision, rng);
    let mut join = vec![join];
    if character == Character::Liar(Lie::OtherTunnel) {
        // Two tunnels on one session. The neighbour's end loses its tunnel by this, which is no fault.
        join.push(self::join(&neighbour, kind.revision, true));
    }
    let early = kind.way == Way::Upgrade && rng.random();
    let mut link = Link::open(kind, if early { &join } else { &[] }).await?;
    link.die(death(rng));
    world.count_end(match character {
        Character::Honest => "honest",
        Character::Liar(_) => "liars",
        Character::Staller(_) => "stallers",
        Character::Streamer(None) => "honest, streaming",
        Character::Streamer(Some(_)) => "in breach, streaming",
    });
    if !early && character != Character::Staller(Stall::Joining) {
        link.send(&join).await?;
    }
    match character {
        Character::Staller(Stall::Reading) => std::future::pending().await,
        Character::Staller(Stall::Sending) => {
            let post = wire::request("POST", link.target(), &["Content-Length: 70000"], None);
            link.raw(&[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, b'4'], &post).await?;
            std::future::pending().await
        }
        Character::Staller(Stall::Upgrading) => {
            let mut candidate = Connection::open(kind.route, None).await?;
            let target = link.target().replace("transport=polling", "transport=websocket");
            // The server refuses this for a session that is on a WebSocket already.
            link::switch(&mut candidate, &target).await?;
            if rng.random() {
                candidate.writer.write(&wire::frame(1, b"2probe")).await?;
            }
            serve(world, &mut link, character, &mut answers, &neighbour, rng).await
        }
        _ => serve(world, &mut link, character, &mut answers, &neighbour, rng).await,
    }
}

/// The packet that joins a token's namespace.
pub fn join(token: &str, revision: Revision, raw: bool) -> Packet {
    Packet::Text(match (revision, raw) {
        (Revision::V4, true) => format!(r#"40/{token},{{"body":"raw"}}"#),
        (Revision::V3, true) => format!("40/{token}?body=raw,"),
        (Revision::V3 | Revision::V4, false) => format!("40/{token},"),
    })
}

/// Waits until the server has accepted the token's namespace. Nothing else comes before that but heartbeats.
pub async fn joined(link: &mut Link, token: &str) -> Result<()> {
    let accepted = format!("40/{token},");
    while let Some(packet) = link.receive().await {
        match packet {
            Packet::Text(text) if text.starts_with(&accepted) => return Ok(()),
            Packet::Text(text) if text == "2" => link.say("3").await?,
            Packet::Text(text) if text.starts_with("44/") => break,
            Packet::Text(_) | Packet::Binary(_) => (),
        }
    }
    Err(strange("the server refused to let an end join"))
}

/// Answers requests as its character demands, until the session ends.
pub async fn serve(
    world: &World,
    link: &mut Link,
    character: Character,
    answers: &mut Answers,
    neighbour: &str,
    rng: &mut StdRng,
) -> Result<Left> {
    let beats = character != Character::Staller(Stall::Beating);
    let mut beat = tokio::time::interval(BEAT);
    loop {
        let packet = tokio::select! {
            packet = link.receive() => packet,
            _ = beat.tick(), if beats && link.kind.revision == Revision::V3 => {
                link.say("2").await?;
                continue;
            }
        };
        let text = match packet {
            Some(Packet::Text(text)) => text,
            Some(Packet::Binary(_)) => continue,
            None => return Ok(Left::Gone),
        };
        let attachment = if text.starts_with("451-/") {
            // A poll that is cut may have had it. Like any client, the end leaves a session that has lost something.
            let Some(bytes) = attachment(link).await else { return Ok(Left::Gone) };
            Some(bytes)
        } else {
            None
        };
        if text.starts_with("44/") {
            return Ok(Left::Refused);
        } else if text.starts_with("41/") || text == "1" {
            return Ok(Left::Gone);
        } else if text == "2" && beats {
            link.say("3").await?;
        } else if ["42", "43", "45", "46"].iter().any(|kind| text.starts_with(kind)) {
            let answer = match answers {
                Answers::Plainly => match Event::parse(&text) {
                    Some(event) => answer(world, character, &event, attachment, neighbour, rng),
                    None => Vec::new(),
                },
                Answers::Streaming(streams) => streams.hear(&text, attachment),
                Answers::Lying(liar) => liar.hear(&text, attachment),
            };
            if let Answers::Streaming(streams) = answers {
                let tally = world.tally_of(streams.token());
                streams.faults.drain(..).for_each(|fault| tally.count(Verdict::Wrong(fault), Duration::ZERO));
                world.note_unfinished(streams.token(), streams.unfinished());
            }
            if !answer.is_empty() && character != Character::Staller(Stall::Answering) {
                link.send(&answer).await?;
            }
        }
    }
}

/// Receives the attachment that follows an event; heartbeats may come between.
async fn attachment(link: &mut Link) -> Option<Vec<u8>> {
    loop {
        match link.receive().await? {
            Packet::Binary(bytes) => return Some(bytes),
            Packet::Text(text) if text == "2" => link.say("3").await.ok()?,
            Packet::Text(_) => (),
        }
    }
}

fn answer(
    world: &World,
    character: Character,
    event: &Event,
    attachment: Option<Vec<u8>>,
    neighbour: &str,
    rng: &mut StdRng,
) -> Vec<Packet> {
    let honest = || question::answer(event, event.body(attachment));
    match character {
        Character::Honest | Character::Staller(_) | Character::Streamer(_) => honest(),
        Character::Liar(lie) => lie::tell(lie, event, honest(), neighbour, world, rng),
    }
}
