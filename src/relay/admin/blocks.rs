//! What the operator keeps out: addresses, which no request is answered, and tunnels, which no visitor and no end reaches.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::config::network;
use crate::proto::token::Token;
use crate::store::{StoreError, Values};

/// The most blocks at a time: with their notes they fit into one value of the store.
const MAX_BLOCKS: usize = 200;

/// The most bytes of a note, of which JSON makes two each at the most.
const MAX_NOTE: usize = 100;

/// The value of the store in which they are kept.
const VALUE: &str = "blocks";

/// How often a server looks whether another one that shares its store has changed them.
const REFRESH: Duration = Duration::from_secs(5);

/// How soon a server asks again that has not heard yet what is blocked.
const RETRY: Duration = Duration::from_secs(1);

/// What is kept out, in memory and in the store.
#[derive(Debug)]
pub(in crate::relay) struct Blocks {
    /// Most servers block nothing, and do not look further.
    any: AtomicBool,
    blocked: RwLock<Arc<Blocked>>,
    values: Values,
    /// One change at a time: each writes all of them.
    changing: tokio::sync::Mutex<()>,
}

/// All blocks by what they are about, as text.
type Blocked = BTreeMap<Subject, Block>;

/// What a block is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Network(IpNet),
    Tunnel(Token),
}

/// A block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Block {
    /// When it ends, in seconds since 1970. `None` is never.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) until: Option<u64>,
    /// Why, in the operator's words.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub(super) note: String,
}

/// Why a block is not set.
#[derive(Debug)]
pub(super) enum NotSet {
    /// There are as many as there may be.
    TooMany,
    /// Its note is too long, or has control characters.
    WrongNote,
    Store(StoreError),
}

impl Blocks {
    /// Reads what is kept in the store. A store that is shared is read by [`Self::keep`].
    ///
    /// # Errors
    /// When the store cannot be used.
    pub(in crate::relay) async fn open(values: Values) -> Result<Self, StoreError> {
        let blocks = Self::new(values);
        if !blocks.values.are_shared() {
            blocks.load().await?;
        }
        Ok(blocks)
    }

    /// Makes blocks that know of none yet.
    pub(in crate::relay) fn new(values: Values) -> Self {
        Self {
            any: AtomicBool::new(false),
            blocked: RwLock::default(),
            values,
            changing: tokio::sync::Mutex::default(),
        }
    }

    async fn load(&self) -> Result<(), StoreError> {
        let kept = self.values.get(VALUE).await?;
        let texts: BTreeMap<String, Block> = kept.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        self.set(texts.into_iter().filter_map(|(subject, block)| Some((subject.parse().ok()?, block))).collect());
        Ok(())
    }

    /// Takes up what other servers with the same store have set, and has the tunnels closed that they keep out. Never completes.
    pub(in crate::relay) async fn keep(self: Arc<Self>, close: impl Fn(&Token) + Send) -> Infallible {
        let mut is_known = false;
        while self.values.are_shared() {
            let changing = self.changing.lock().await;
            match self.load().await {
                Ok(()) => is_known = true,
                Err(error) => tracing::debug!(%error, "the store does not tell what is blocked"),
            }
            drop(changing);
            for subject in self.held().keys() {
                if let Subject::Tunnel(token) = subject {
                    close(token);
                }
            }
            tokio::time::sleep(if is_known { REFRESH } else { RETRY }).await;
        }
        std::future::pending().await
    }

    /// Tells whether an address is kept out.
    pub(in crate::relay) fn has_address(&self, address: IpAddr) -> bool {
        if !self.any.load(Ordering::Relaxed) {
            return false;
        }
        let (address, now) = (address.to_canonical(), now());
        let is_in = |subject: &Subject| matches!(subject, Subject::Network(network) if network.contains(&address));
        self.all().iter().any(|(subject, block)| is_in(subject) && block.holds(now))
    }

    /// Tells whether a tunnel is kept out.
    pub(in crate::relay) fn has_tunnel(&self, token: &Token) -> bool {
        self.any.load(Ordering::Relaxed)
            && self.all().get(&Subject::Tunnel(*token)).is_some_and(|block| block.holds(now()))
    }

    /// Returns those that hold.
    pub(super) fn list(&self) -> BTreeMap<String, Block> {
        let now = now();
        let all = self.all();
        let held = all.iter().filter(|(_, block)| block.holds(now));
        held.map(|(subject, block)| (subject.to_string(), block.clone())).collect()
    }

    /// Sets a block, or another one about the same.
    ///
    /// # Errors
    /// See [`NotSet`]. The block holds only once the store has it.
    pub(super) async fn block(&self, subject: Subject, block: Block) -> Result<(), NotSet> {
        if block.note.len() > MAX_NOTE || block.note.contains(char::is_control) {
            return Err(NotSet::WrongNote);
        }
        let _changing = self.changing.lock().await;
        let mut blocked = self.held();
        blocked.insert(subject, block);
        if blocked.len() > MAX_BLOCKS {
            return Err(NotSet::TooMany);
        }
        self.write(blocked).await.map_err(NotSet::Store)
    }

    /// Removes a block. Returns false if there is none.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub(super) async fn unblock(&self, subject: Subject) -> Result<bool, StoreError> {
        let _changing = self.changing.lock().await;
        let mut blocked = self.held();
        let was_there = blocked.remove(&subject).is_some();
        if was_there {
            self.write(blocked).await?;
        }
        Ok(was_there)
    }

    async fn write(&self, blocked: Blocked) -> Result<(), StoreError> {
        let texts: BTreeMap<_, _> = blocked.iter().map(|(subject, block)| (subject.to_string(), block)).collect();
        let text = serde_json::to_string(&texts).expect("a map of texts is JSON");
        self.values.put(VALUE, &text).await?;
        self.set(blocked);
        Ok(())
    }

    fn set(&self, blocked: Blocked) {
        let any = !blocked.is_empty();
        *self.blocked.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(blocked);
        self.any.store(any, Ordering::Relaxed);
    }

    fn held(&self) -> Blocked {
        let now = now();
        self.all()
            .iter()
            .filter(|(_, block)| block.holds(now))
            .map(|(subject, block)| (*subject, block.clone()))
            .collect()
    }

    fn all(&self) -> Arc<Blocked> {
        Arc::clone(&self.blocked.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Block {
    fn holds(&self, now: u64) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(network) = network(text) {
            return Ok(Self::Network(network.trunc()));
        }
        Token::parse(text)
            .map(Self::Tunnel)
            .ok_or_else(|| format!("`{text}` is neither a network, such as 192.0.2.0/24, nor a tunnel's token or name"))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Tunnel(token) => token.fmt(f),
        }
    }
}

/// Returns the time in seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn subject(text: &str) -> Subject {
        text.parse().unwrap()
    }

    fn block(until: Option<u64>) -> Block {
        Block { until, note: "spam".to_owned() }
    }

    #[tokio::test]
    async fn what_is_blocked_is_kept_out_until_it_is_not_any_more() {
        let values = Store::<()>::in_memory(1).values();
        let blocks = Blocks::open(values.clone()).await.unwrap();
        let (address, token) = ("192.0.2.7".parse().unwrap(), Token::from_name("mine").unwrap());
        assert!(!blocks.has_address(address) && !blocks.has_tunnel(&token));
        blocks.block(subject("192.0.2.9/24"), block(None)).await.unwrap();
        blocks.block(subject("mine"), block(Some(now() + 60))).await.unwrap();
        blocks.block(subject("198.51.100.1"), block(Some(now() - 1))).await.unwrap();
        // Another server, or this one after a restart.
        let others = Blocks::open(values).await.unwrap();
        for blocks in [&blocks, &others] {
            assert!(blocks.has_address(address) && blocks.has_address("::ffff:192.0.2.1".parse().unwrap()));
            assert!(
                !blocks.has_address("192.0.3.1".parse().unwrap())
                    && !blocks.has_address("198.51.100.1".parse().unwrap())
            );
            assert!(blocks.has_tunnel(&token) && !blocks.has_tunnel(&Token::from_name("other").unwrap()));
            assert_eq!(blocks.list().into_keys().collect::<Vec<_>>(), ["192.0.2.0/24", "mine"]);
        }
        assert!(blocks.unblock(subject("192.0.2.0/24")).await.unwrap() && !blocks.has_address(address));
        assert!(!blocks.unblock(subject("192.0.2.0/24")).await.unwrap());
    }

    #[tokio::test]
    async fn there_is_an_end_to_blocks_and_to_notes() {
        let blocks = Blocks::open(Store::<()>::in_memory(1).values()).await.unwrap();
        let long = Block { until: None, note: "x".repeat(MAX_NOTE + 1) };
        assert!(matches!(blocks.block(subject("mine"), long).await, Err(NotSet::WrongNote)));
        for number in 0..MAX_BLOCKS {
            let note = "\"".repeat(MAX_NOTE);
            blocks.block(subject(&format!("{number:063}")), Block { until: None, note }).await.unwrap();
        }
        assert!(matches!(blocks.block(subject("mine"), block(None)).await, Err(NotSet::TooMany)));
    }
}
