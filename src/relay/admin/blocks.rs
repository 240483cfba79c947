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

/// Attempts at a change when other servers change blocks at the same moment, which operators do by hand.
const ATTEMPTS: usize = 10;

/// What is kept out, in memory and in the store.
#[derive(Debug)]
pub(in crate::relay) struct Blocks {
    /// Most servers block nothing, and do not look further.
    any: AtomicBool,
    blocked: RwLock<Arc<Blocked>>,
    /// The store has blocks that this server has never understood: it does not know whom to keep out.
    are_unreadable: AtomicBool,
    values: Values,
    /// Held from a look at the store until what it has is taken up: what was read first is not taken up last.
    reading: tokio::sync::Mutex<()>,
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Block {
    /// When it ends, in seconds since 1970. `None` is never.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) until: Option<u64>,
    /// Why, in the operator's words.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub(super) note: String,
    /// What a later version says of it.
    #[serde(flatten)]
    pub(super) more: serde_json::Map<String, serde_json::Value>,
}

/// Why blocks are not read or changed.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::relay) enum BlockError {
    /// There are as many as there may be.
    TooMany,
    /// The note of one is too long, or has control characters.
    WrongNote,
    /// There is none about this.
    Absent,
    /// Other servers have changed them at each attempt.
    Busy,
    /// The store has a text that is not understood, for this reason. Blocks that are known hold on.
    Unreadable(String),
    /// The store failed. A change may hold all the same.
    Store(StoreError),
}

impl Blocks {
    /// Reads what is kept in the store. A store that is shared is read by [`Self::keep`].
    ///
    /// # Errors
    /// When the store cannot be used, and when what it has is not understood.
    pub(in crate::relay) async fn open(values: Values) -> Result<Self, BlockError> {
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
            are_unreadable: AtomicBool::new(false),
            values,
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// Takes up what the store has.
    async fn load(&self) -> Result<(), BlockError> {
        let _reading = self.reading.lock().await;
        let (_, blocked) = self.read().await?;
        self.set(blocked);
        Ok(())
    }

    /// Returns the text that the store has, and what it says.
    async fn read(&self) -> Result<(Option<String>, Blocked), BlockError> {
        let text = self.values.get(VALUE).await?;
        let blocked = text.as_deref().map(read).transpose().map_err(BlockError::Unreadable)?;
        Ok((text, blocked.unwrap_or_default()))
    }

    /// Takes up what other servers with the same store have set, and has the tunnels closed that they keep out. Never completes.
    pub(in crate::relay) async fn keep(self: Arc<Self>, close: impl Fn(&Token) + Send) -> Infallible {
        let (mut is_known, mut is_told) = (false, false);
        while self.values.are_shared() {
            self.look(&mut is_known, &mut is_told).await;
            for subject in self.held().keys() {
                if let Subject::Tunnel(token) = subject {
                    close(token);
                }
            }
            tokio::time::sleep(if is_known { REFRESH } else { RETRY }).await;
        }
        std::future::pending().await
    }

    /// Takes up what the store has. `is_known` says whether it was understood once, `is_told` whether the log says that it is not now.
    async fn look(&self, is_known: &mut bool, is_told: &mut bool) {
        let loaded = self.load().await;
        match &loaded {
            Ok(()) => {
                (*is_known, *is_told) = (true, false);
                self.are_unreadable.store(false, Ordering::Relaxed);
            }
            Err(error @ BlockError::Unreadable(_)) if !*is_told => {
                *is_told = true;
                self.are_unreadable.store(!*is_known, Ordering::Relaxed);
                tracing::error!(%error, serves = *is_known, "the blocks in the store are not taken up");
            }
            Err(error) => tracing::debug!(%error, "the store does not tell what is blocked"),
        }
    }

    /// Tells whether the store has blocks of which this server has understood none so far. It serves nobody then, as a server does not
    /// start whose file has such blocks.
    pub(in crate::relay) fn are_unreadable(&self) -> bool {
        self.are_unreadable.load(Ordering::Relaxed)
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
    /// See [`BlockError`]. The block holds only once the store has it.
    pub(super) async fn block(&self, subject: Subject, block: Block) -> Result<(), BlockError> {
        if block.note.len() > MAX_NOTE || block.note.contains(char::is_control) {
            return Err(BlockError::WrongNote);
        }
        let add = |blocked: &mut Blocked| {
            blocked.insert(subject, block.clone());
            if blocked.len() > MAX_BLOCKS { Err(BlockError::TooMany) } else { Ok(()) }
        };
        self.change(add).await
    }

    /// Removes a block.
    ///
    /// # Errors
    /// See [`BlockError`]. The block holds on until the store has none.
    pub(super) async fn unblock(&self, subject: Subject) -> Result<(), BlockError> {
        self.change(|blocked| blocked.remove(&subject).map(drop).ok_or(BlockError::Absent)).await
    }

    /// Changes what the store has, which other servers may change at the same moment.
    async fn change(&self, change: impl Fn(&mut Blocked) -> Result<(), BlockError>) -> Result<(), BlockError> {
        let _reading = self.reading.lock().await;
        for _ in 0..ATTEMPTS {
            let (was, mut blocked) = self.read().await?;
            let now = now();
            blocked.retain(|_, block| block.holds(now));
            // Whatever becomes of the change, this is what the store has: also after an earlier one that has failed and holds.
            self.set(blocked.clone());
            change(&mut blocked)?;
            if self.values.put_if(VALUE, was.as_deref(), &written(&blocked)).await? {
                self.set(blocked);
                return Ok(());
            }
        }
        Err(BlockError::Busy)
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

fn read(text: &str) -> Result<Blocked, String> {
    let texts: BTreeMap<String, Block> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    texts.into_iter().map(|(subject, block)| Ok((subject.parse()?, block))).collect()
}

fn written(blocked: &Blocked) -> String {
    let texts: BTreeMap<_, _> = blocked.iter().map(|(subject, block)| (subject.to_string(), block)).collect();
    serde_json::to_string(&texts).expect("a map of texts is JSON")
}

impl From<StoreError> for BlockError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(f, "there are {MAX_BLOCKS} blocks, as many as there may be: remove some"),
            Self::WrongNote => write!(f, "the note must be one line of {MAX_NOTE} bytes at the most"),
            Self::Absent => f.write_str("there is no such block"),
            Self::Busy => f.write_str("other servers change blocks at this moment: repeat the call"),
            Self::Unreadable(reason) => write!(
                f,
                "the store has blocks that this version cannot read ({reason}): those that are known hold on, and none can be changed. \
                 Run the version that wrote them. Or set all anew once they are gone: delete the key s2m:v:{VALUE} in Redis, or export \
                 the tunnels of a file and import them into another one"
            ),
            Self::Store(error) => write!(f, "the store cannot be used: {error}"),
        }
    }
}

impl std::error::Error for BlockError {}

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
        Block { until, note: "spam".to_owned(), ..Block::default() }
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
        blocks.unblock(subject("192.0.2.0/24")).await.unwrap();
        assert!(!blocks.has_address(address));
        assert_eq!(blocks.unblock(subject("192.0.2.0/24")).await, Err(BlockError::Absent));
    }

    #[tokio::test]
    async fn servers_that_share_a_store_change_blocks_without_undoing_each_others() {
        let values = Store::<()>::in_memory(1).values();
        let (one, other) = (Blocks::new(values.clone()), Blocks::new(values.clone()));
        one.block(subject("192.0.2.1"), block(None)).await.unwrap();
        one.block(subject("mine"), block(None)).await.unwrap();
        // This one has not read any of them yet.
        other.block(subject("192.0.2.2"), block(None)).await.unwrap();
        other.unblock(subject("192.0.2.1/32")).await.unwrap();
        one.block(subject("192.0.2.3"), block(None)).await.unwrap();
        let all = ["192.0.2.2/32", "192.0.2.3/32", "mine"];
        assert_eq!(Blocks::open(values).await.unwrap().list().into_keys().collect::<Vec<_>>(), all);
        assert!(one.has_address("192.0.2.2".parse().unwrap()), "what it has read on the way holds, too");
    }

    #[tokio::test]
    async fn a_change_that_failed_and_holds_is_taken_up_when_it_is_repeated() {
        let values = Store::<()>::in_memory(1).values();
        let blocks = Blocks::open(values.clone()).await.unwrap();
        blocks.block(subject("mine"), block(None)).await.unwrap();
        values.put(VALUE, "{}").await.unwrap();
        assert_eq!(blocks.unblock(subject("mine")).await, Err(BlockError::Absent));
        assert!(!blocks.has_tunnel(&Token::from_name("mine").unwrap()));
    }

    #[tokio::test]
    async fn a_server_that_never_understood_the_blocks_of_a_shared_store_says_so_until_it_does() {
        let values = Store::<()>::in_memory(1).values();
        let blocks = Blocks::new(values.clone());
        values.put(VALUE, "[]").await.unwrap();
        let mut is_known = false;
        blocks.look(&mut is_known, &mut false).await;
        assert!(blocks.are_unreadable());
        values.put(VALUE, r#"{"mine":{"of a later version":1}}"#).await.unwrap();
        blocks.look(&mut is_known, &mut false).await;
        assert!(!blocks.are_unreadable() && blocks.has_tunnel(&Token::from_name("mine").unwrap()));
        blocks.block(subject("192.0.2.1"), block(None)).await.unwrap();
        assert!(values.get(VALUE).await.unwrap().unwrap().contains(r#""of a later version":1"#));
        // One that knows some goes on with them.
        values.put(VALUE, "[]").await.unwrap();
        blocks.look(&mut is_known, &mut false).await;
        assert!(!blocks.are_unreadable());
    }

    #[tokio::test]
    async fn blocks_hold_on_and_are_not_written_over_when_the_store_has_some_that_cannot_be_read() {
        let values = Store::<()>::in_memory(1).values();
        let blocks = Blocks::open(values.clone()).await.unwrap();
        let mine = Token::from_name("mine").unwrap();
        blocks.block(subject("mine"), block(None)).await.unwrap();
        for text in ["", "[]", r#"{"mine":{},"a kind of the next version":{}}"#, r#"{"mine":{"until":"tomorrow"}}"#] {
            values.put(VALUE, text).await.unwrap();
            let failed = [
                blocks.load().await,
                blocks.block(subject("192.0.2.1"), block(None)).await,
                blocks.unblock(subject("mine")).await,
                Blocks::open(values.clone()).await.map(drop),
            ];
            for failed in failed {
                assert!(matches!(failed, Err(BlockError::Unreadable(_))), "{text}: {failed:?}");
            }
            assert!(blocks.has_tunnel(&mine));
            assert_eq!(values.get(VALUE).await.unwrap().as_deref(), Some(text));
        }
    }

    #[tokio::test]
    async fn there_is_an_end_to_blocks_and_to_notes() {
        let blocks = Blocks::open(Store::<()>::in_memory(1).values()).await.unwrap();
        let long = Block { note: "x".repeat(MAX_NOTE + 1), ..Block::default() };
        assert!(matches!(blocks.block(subject("mine"), long).await, Err(BlockError::WrongNote)));
        for number in 0..MAX_BLOCKS {
            let note = "\"".repeat(MAX_NOTE);
            blocks.block(subject(&format!("{number:063}")), Block { note, ..Block::default() }).await.unwrap();
        }
        assert!(matches!(blocks.block(subject("mine"), block(None)).await, Err(BlockError::TooMany)));
    }
}
