//! The connection to Redis: kept by one task, used by each call, and rebuilt when it fails.
//!
//! ```text
//!  Connecting ──► Up ──► Away ◄─┐ each attempt that fails
//!      │          ▲ │      │    │
//!      │          │ └─ a connection that is lost: Connecting again
//!      └─────────►└────────┴────┘
//! ```
//!
//! While Redis is away, calls fail at once. A call that finds the first connection, or one in place of a lost one, being made
//! waits for it, within its time. Of several servers, each connection is that of the one which is the master then: `servers`.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ConnectionInfo, RedisError, RedisResult, ScriptInvocation};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::marker::{Absence, Marker};
use super::reply::Reply;
use super::scripts::Scripts;
use super::servers::{Servers, is_of_no_use, lacks_replicas};
use crate::proto::node::NodeId;
use crate::store::error::StoreError;

/// Time for one call, its wait for a connection included; then it fails.
const CALL_TIMEOUT: Duration = Duration::from_millis(500);

/// Time for a connection with all that is asked of a server first. A process that is stopped accepts one and says nothing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Calls in a row that got no answer, after which the connection is rebuilt. One alone may be a slow script of somebody else.
const TIMEOUTS: u32 = 2;

/// Time between two looks at the marker, which also find out that a connection is dead or that Redis has become a replica.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Time between two attempts to connect, at first and at the most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// Time between two lines of the log about calls that fail while Redis is there.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Why a call fails that needs what is being written again.
pub(super) const WRITING: &str = "Redis has lost its data, and tunnels are being written again";

/// A connection that is there, or not.
#[derive(Debug)]
pub(super) struct Link {
    servers: Servers,
    state: watch::Sender<State>,
    /// Wakes the task that keeps the connection.
    look: Notify,
    timeouts: AtomicU32,
    /// The master lacks replicas, and so takes no writes: another may be one that does.
    lacks_replicas: AtomicBool,
    /// Connections up to this number are not to be used any more.
    condemned: AtomicU64,
    failures: AtomicU64,
    complained: Mutex<Option<Instant>>,
    /// Redis's time in milliseconds, and when it was asked.
    clock: Mutex<Option<(u64, Instant)>>,
    /// Which node this process is, if it is one.
    node: OnceLock<NodeId>,
    pub(super) scripts: Scripts,
    pub(super) marker: Marker,
}

#[derive(Debug, Clone)]
enum State {
    Connecting,
    Up { connection: MultiplexedConnection, number: u64 },
    Away(Arc<str>),
}

impl State {
    /// Returns the connection with its number, or why there is none.
    fn usable(&self) -> Result<(MultiplexedConnection, u64), String> {
        match self {
            Self::Up { connection, number } => Ok((connection.clone(), *number)),
            Self::Connecting => Err("Redis does not accept a connection in time".to_owned()),
            Self::Away(reason) => Err(reason.as_ref().to_owned()),
        }
    }
}

/// Why a connection is not used any more.
enum Loss {
    /// It ended, or is of no use: another may be at once.
    Ended(String),
    /// Redis does not answer.
    Silent,
}

impl Link {
    /// Makes a link to one of these servers, which [`Self::keep`] is to connect.
    pub(super) fn new(servers: Vec<ConnectionInfo>) -> RedisResult<Self> {
        Ok(Self {
            servers: Servers::new(servers)?,
            state: watch::Sender::new(State::Connecting),
            look: Notify::new(),
            timeouts: AtomicU32::new(0),
            lacks_replicas: AtomicBool::new(false),
            condemned: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            complained: Mutex::default(),
            clock: Mutex::default(),
            node: OnceLock::new(),
            scripts: Scripts::new(),
            marker: Marker::default(),
        })
    }

    /// Returns how many calls have failed.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Makes the task that keeps the connection look at Redis now.
    pub(super) fn look(&self) {
        self.look.notify_one();
    }

    /// Returns Redis's time, in milliseconds, at which a call that begins now has failed: a change must not happen later. 0 if
    /// that time is not known yet.
    pub(super) fn deadline(&self) -> u64 {
        let clock = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let after = |asked: Instant| u64::try_from((asked.elapsed() + CALL_TIMEOUT).as_millis()).unwrap_or(u64::MAX);
        clock.map_or(0, |(time, asked)| time.saturating_add(after(asked)))
    }

    /// Runs a script.
    ///
    /// # Errors
    /// With [`StoreError::Unavailable`] while Redis is away, when it does not answer in time, and when it refuses.
    pub(super) async fn call(&self, script: &ScriptInvocation<'_>) -> Result<Reply, StoreError> {
        match Reply::parse(&self.texts(script).await?) {
            Some(reply) => Ok(reply),
            None => Err(self.fail("a tunnel in Redis has fields that no server of ours writes")),
        }
    }

    /// Runs a script, and returns its reply.
    ///
    /// # Errors
    /// As [`Self::call`], and when Redis runs it too late.
    pub(super) async fn texts(&self, script: &ScriptInvocation<'_>) -> Result<Vec<String>, StoreError> {
        let begun = Instant::now();
        let result = match self.connection(begun).await {
            Ok((connection, number)) => self.ask(script, connection, number, begun + CALL_TIMEOUT).await,
            Err(reason) => Err(reason),
        };
        match result {
            Ok(texts) if texts == ["late"] => {
                // Redis has not run it. Or its clock was set forward.
                self.look();
                Err(self.fail(&format!("Redis runs a call later than {CALL_TIMEOUT:?}")))
            }
            Ok(texts) => Ok(texts),
            Err(reason) => Err(self.fail(&reason)),
        }
    }

    /// Counts a call that failed.
    pub(super) fn fail(&self, reason: &str) -> StoreError {
        self.failures.fetch_add(1, Ordering::Relaxed);
        StoreError::Unavailable(reason.to_owned())
    }

    /// Makes sure that a tunnel that is not in a Redis of this marker is in none.
    ///
    /// # Errors
    /// With [`StoreError::Unavailable`] if it may be one that is written again in a while.
    pub(super) fn absent(&self, marker: &str) -> Result<(), StoreError> {
        match self.marker.absence(marker) {
            Absence::Final => Ok(()),
            Absence::Unsure => Err(self.fail(WRITING)),
            Absence::Emptied => {
                self.look();
                Err(self.fail(WRITING))
            }
        }
    }

    /// Says which node this process is. Only the first call counts.
    pub(super) fn set_node(&self, node: NodeId) {
        let _ = self.node.set(node);
    }

    pub(super) fn node(&self) -> Option<NodeId> {
        self.node.get().copied()
    }

    /// Returns all keys. Redis serves others in between; a key that is made meanwhile may be missing.
    ///
    /// # Errors
    /// With [`StoreError::Unavailable`] while Redis is away, and when it fails.
    pub(super) async fn keys(&self) -> Result<Vec<String>, StoreError> {
        let (mut connection, _) = self.connection(Instant::now()).await.map_err(StoreError::Unavailable)?;
        // SCAN may return a key more than once.
        let (mut keys, mut cursor) = (BTreeSet::new(), 0_u64);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("COUNT").arg(1_000);
            let page: RedisResult<(u64, Vec<Vec<u8>>)> = scan.query_async(&mut connection).await;
            let (next, page) = page.map_err(|error| StoreError::Unavailable(error.to_string()))?;
            keys.extend(page.into_iter().filter_map(|key| String::from_utf8(key).ok()));
            if next == 0 {
                return Ok(keys.into_iter().collect());
            }
            cursor = next;
        }
    }

    /// Returns the connection with its number, and waits for one that is being made.
    async fn connection(&self, begun: Instant) -> Result<(MultiplexedConnection, u64), String> {
        let mut state = self.state.subscribe();
        let is_decided = |state: &State| !matches!(state, State::Connecting);
        match tokio::time::timeout_at(begun + CALL_TIMEOUT, state.wait_for(is_decided)).await {
            Ok(Ok(state)) => state.usable(),
            Ok(Err(_)) | Err(_) => State::Connecting.usable(),
        }
    }

    async fn ask(
        &self,
        script: &ScriptInvocation<'_>,
        mut connection: MultiplexedConnection,
        number: u64,
        deadline: Instant,
    ) -> Result<Vec<String>, String> {
        let Ok(result) = tokio::time::timeout_at(deadline, script.invoke_async(&mut connection)).await else {
            self.timed_out(number);
            return Err(format!("Redis does not answer within {CALL_TIMEOUT:?}"));
        };
        self.timeouts.store(0, Ordering::Relaxed);
        result.map_err(|error| {
            if is_of_no_use(&error) {
                self.condemn(number);
            } else {
                if lacks_replicas(&error) {
                    self.lacks_replicas.store(true, Ordering::Relaxed);
                }
                self.complain(&error);
            }
            error.to_string()
        })
    }

    fn timed_out(&self, number: u64) -> bool {
        let is_silent = self.timeouts.fetch_add(1, Ordering::Relaxed) + 1 >= TIMEOUTS;
        if is_silent {
            self.condemn(number);
        }
        is_silent
    }

    /// Makes the connection with this number one that is not used any more.
    fn condemn(&self, number: u64) {
        self.condemned.fetch_max(number, Ordering::Relaxed);
        self.look();
    }

    /// Logs that Redis refuses calls, which peers can cause without limit: once in a while.
    fn complain(&self, error: &RedisError) {
        // Nothing that is done under the lock can panic half-way.
        let mut complained = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if complained.is_none_or(|complained| complained.elapsed() >= COMPLAIN_EVERY) {
            *complained = Some(Instant::now());
            tracing::error!(%error, "Redis refuses a call: such calls are 503");
        }
    }

    /// Keeps the connection. Never completes.
    pub(super) async fn keep(&self) -> Infallible {
        let mut number = 0;
        let mut away: Option<Instant> = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let connected = timeout(CONNECT_TIMEOUT, self.connect()).await;
            let connected = connected.unwrap_or_else(|_| Err(format!("no answer within {CONNECT_TIMEOUT:?}")));
            match connected {
                Ok((connection, address)) => {
                    number += 1;
                    match away.take() {
                        None => tracing::info!(address, "tunnels are kept in Redis"),
                        Some(since) => tracing::info!(address, after = ?since.elapsed(), "Redis is there again"),
                    }
                    let begun = Instant::now();
                    away = self.use_up(connection, number, address).await;
                    // One that ends at once may do so each time.
                    if begun.elapsed() >= LAST_PAUSE {
                        pause = FIRST_PAUSE;
                    } else {
                        tokio::time::sleep(pause).await;
                        pause = (2 * pause).min(LAST_PAUSE);
                    }
                }
                Err(reason) => {
                    if away.is_none() {
                        away = Some(Instant::now());
                        tracing::error!(
                            address = self.servers.addresses(),
                            reason,
                            "Redis is away: no tunnels are made or found until it is back"
                        );
                    }
                    self.state.send_replace(State::Away(format!("Redis is away: {reason}").into()));
                    tokio::time::sleep(pause).await;
                    pause = (2 * pause).min(LAST_PAUSE);
                }
            }
        }
    }

    /// Has a connection used until it is of no use any more.
    async fn use_up(&self, connection: MultiplexedConnection, number: u64, address: &str) -> Option<Instant> {
        self.timeouts.store(0, Ordering::Relaxed);
        self.lacks_replicas.store(false, Ordering::Relaxed);
        self.state.send_replace(State::Up { connection: connection.clone(), number });
        match self.watch(connection, number, address).await {
            Loss::Ended(reason) => {
                tracing::warn!(reason, "the connection to Redis is made anew");
                self.state.send_replace(State::Connecting);
                None
            }
            Loss::Silent => {
                tracing::error!("Redis does not answer: no tunnels are made or found until it does");
                self.state.send_replace(State::Away("Redis does not answer".into()));
                Some(Instant::now())
            }
        }
    }

    /// Looks at Redis at intervals, and when it is asked to, until the connection is lost.
    async fn watch(&self, mut connection: MultiplexedConnection, number: u64, address: &str) -> Loss {
        loop {
            tokio::select! {
                () = self.look.notified() => (),
                () = tokio::time::sleep(LOOK_EVERY) => (),
            }
            if self.condemned.load(Ordering::Relaxed) >= number {
                let is_silent = self.timeouts.load(Ordering::Relaxed) >= TIMEOUTS;
                return if is_silent {
                    Loss::Silent
                } else {
                    Loss::Ended("it ended, or Redis is a replica".to_owned())
                };
            }
            if self.lacks_replicas.swap(false, Ordering::Relaxed) && self.servers.has_another(address).await {
                return Loss::Ended("it lacks replicas, and another Redis takes writes".to_owned());
            }
            match timeout(CALL_TIMEOUT, self.look_at(&mut connection)).await {
                Ok(Ok(())) => self.timeouts.store(0, Ordering::Relaxed),
                Ok(Err(error)) => return Loss::Ended(error.to_string()),
                Err(_) if self.timed_out(number) => return Loss::Silent,
                Err(_) => self.look(),
            }
        }
    }

    /// Connects, and makes sure that this Redis is one that can keep tunnels. Returns its address, too.
    async fn connect(&self) -> Result<(MultiplexedConnection, &str), String> {
        let (mut connection, address) = self.servers.connect().await?;
        self.look_at(&mut connection).await.map_err(|error| error.to_string())?;
        Ok((connection, address))
    }

    /// Reads the marker, and sets it in a Redis that has none. A replica refuses that.
    async fn look_at(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let new = uuid::Uuid::new_v4().to_string();
        let asked = Instant::now();
        let (marker, time): (String, u64) = self.scripts.marker(&new).invoke_async(connection).await?;
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = Some((time, asked));
        if self.marker.saw(marker) {
            tracing::error!("Redis was found without its data: the tunnels that are connected here are written again");
        }
        Ok(())
    }
}
