//! The state that all tasks share: the server's address, the tokens, and the counts.

use std::collections::{BTreeMap, HashMap};
use std::io::Result;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;

use crate::access::Seen;
use crate::question::Verdict;
use crate::wire::{self, Connection, Route, strange};

pub struct World {
    pub server: SocketAddr,
    /// The proxy that behaves like a bad network.
    pub proxy: SocketAddr,
    /// The crowd's tokens, by seat.
    board: Vec<Mutex<String>>,
    /// The witnesses' tokens, for intruders to attack.
    pub witnesses: Mutex<Vec<String>>,
    /// What is not over at the ends of witnesses that stream, by their tokens.
    unfinished: Mutex<HashMap<String, usize>>,
    pub crowd: Tally,
    pub witness: Tally,
    /// What witnesses saw of each exchange, by its id.
    pub seen: Mutex<HashMap<String, Seen>>,
    /// Sessions that opened, by the character of their ends.
    pub ends: Mutex<BTreeMap<&'static str, u64>>,
    pub pests: AtomicU64,
}

/// The outcomes of visits.
#[derive(Default)]
pub struct Tally {
    pub right: AtomicU64,
    pub lies: AtomicU64,
    pub unanswered: AtomicU64,
    /// Refused for want of memory.
    pub busy: AtomicU64,
    pub failed: AtomicU64,
    /// Connections that broke off.
    pub broken: AtomicU64,
    pub wrong: AtomicU64,
    /// The longest time to an answer, in milliseconds.
    pub slowest: AtomicU64,
    /// The first complaints, as text.
    pub complaints: Mutex<Vec<String>>,
}

/// The code of a refusal for want of memory or places.
pub const BUSY: &str = "server-busy";

/// Complaints that are kept; further ones only count.
const COMPLAINTS: usize = 10;

impl World {
    pub fn new(server: SocketAddr, proxy: SocketAddr, seats: usize) -> Self {
        Self {
            server,
            proxy,
            board: (0..seats).map(|_| Mutex::default()).collect(),
            witnesses: Mutex::default(),
            unfinished: Mutex::default(),
            crowd: Tally::default(),
            witness: Tally::default(),
            seen: Mutex::default(),
            ends: Mutex::default(),
            pests: AtomicU64::new(0),
        }
    }

    /// Picks a route to the server: directly, or through the proxy.
    pub fn route(&self, rng: &mut StdRng) -> Route {
        let from = Ipv4Addr::new(127, 0, 1, rng.random_range(1..=4));
        Route { from, to: if rng.random_ratio(1, 3) { self.proxy } else { self.server } }
    }

    pub fn seats(&self) -> usize {
        self.board.len()
    }

    pub fn token_of(&self, seat: usize) -> String {
        lock(&self.board[seat]).clone()
    }

    /// Picks any seat's token.
    pub fn any_token(&self, rng: &mut StdRng) -> String {
        self.token_of(rng.random_range(0..self.board.len()))
    }

    /// Picks a token as visitors do: a sixth of the picks fall on the first four seats.
    pub fn wanted_token(&self, rng: &mut StdRng) -> String {
        if rng.random_ratio(1, 6) {
            self.token_of(rng.random_range(0..self.board.len().min(4)))
        } else {
            self.any_token(rng)
        }
    }

    pub fn set_token(&self, seat: usize, token: &str) {
        token.clone_into(&mut lock(&self.board[seat]));
    }

    /// Returns where the outcomes of a tunnel are counted.
    pub fn tally_of(&self, token: &str) -> &Tally {
        if lock(&self.unfinished).contains_key(token) { &self.witness } else { &self.crowd }
    }

    /// Adds a witness whose end streams.
    pub fn add_streaming(&self, token: &str) {
        lock(&self.unfinished).insert(token.to_owned(), 0);
    }

    /// Notes how many exchanges and acks an end waits for, if it is a witness's.
    pub fn note_unfinished(&self, token: &str, count: usize) {
        if let Some(unfinished) = lock(&self.unfinished).get_mut(token) {
            *unfinished = count;
        }
    }

    /// Returns how many exchanges and acks the ends of all witnesses wait for.
    pub fn unfinished(&self) -> usize {
        lock(&self.unfinished).values().sum()
    }

    pub fn count_end(&self, character: &'static str) {
        *lock(&self.ends).entry(character).or_default() += 1;
    }
}

impl Tally {
    pub fn count(&self, verdict: Verdict, took: Duration) {
        let counter = match verdict {
            Verdict::Right => &self.right,
            Verdict::Lie => &self.lies,
            Verdict::Unanswered => &self.unanswered,
            Verdict::Failed(code) if code == BUSY => &self.busy,
            Verdict::Failed(_) => &self.failed,
            Verdict::Broken => &self.broken,
            Verdict::Wrong(what) => {
                self.complain(what);
                &self.wrong
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.slowest.fetch_max(took.as_millis() as u64, Ordering::Relaxed);
    }

    pub fn complain(&self, what: String) {
        let mut complaints = lock(&self.complaints);
        if complaints.len() < COMPLAINTS {
            complaints.push(what);
        }
    }
}

pub async fn new_token(route: Route) -> Result<String> {
    get(route, "/new").await
}

pub async fn refresh(route: Route, token: &str) -> Result<String> {
    get(route, &format!("/refresh/{token}")).await
}

async fn get(route: Route, target: &str) -> Result<String> {
    let request = wire::request("GET", target, &["Connection: close"], None);
    let answer = Connection::open(route, None).await?.ask(&request).await?;
    match answer.status {
        200 => Ok(answer.text().into_owned()),
        _ => Err(strange("refused")),
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic elsewhere cannot leave half a count or half a text behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
