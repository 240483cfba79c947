//! The tunnels of this process: they are found, joined, left and swept.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::tunnel::{End, Outcome, Tunnel};
use crate::engine::{Host, Socket};
use crate::expiring::Expiring;
use crate::proto::exchange::EndOptions;
use crate::proto::key::KeyHash;
use crate::proto::token::Token;
use crate::relay::budgets::Budgets;
use crate::relay::failure::Failure;
use crate::relay::tokens::Tokens;
use crate::store::{Keyed, Record};

/// How soon the store is asked again after it failed.
const STORE_RETRY: Duration = Duration::from_secs(5);

/// The right to become the end of a tunnel.
#[derive(Debug)]
pub(in crate::relay) struct Admission {
    pub(super) token: Token,
    pub(super) options: EndOptions,
    /// What the store keeps of the tunnel.
    pub(super) record: Record,
    /// How long the token still lives.
    pub(super) remaining: Duration,
}

/// An end's place in a tunnel.
#[derive(Debug)]
pub(in crate::relay) struct Joined<H: Host> {
    pub(super) tunnel: Arc<Tunnel<H>>,
    /// The number of the end.
    number: u64,
}

/// The tunnels of this process: one for each token that had an end here, until the token expires.
#[derive(Debug)]
pub(in crate::relay) struct Tunnels<H: Host> {
    pub(super) tokens: Arc<Tokens>,
    /// Each expires when its token should have, or, if it is keyed, when its token is to be renewed.
    table: RwLock<Expiring<Token, Arc<Tunnel<H>>>>,
    /// How many have an end.
    connected: AtomicUsize,
    budgets: Budgets,
    /// Wakes the sweeper when a token expires before all others.
    sooner: Notify,
    next_end: AtomicU64,
    /// The server is about to stop: no end joins, no exchange begins, and no tunnel is made or changed.
    is_stopping: AtomicBool,
}

impl<H: Host<Waiter = oneshot::Sender<Outcome>>> Tunnels<H> {
    pub(in crate::relay) fn new(tokens: Arc<Tokens>, budgets: Budgets) -> Arc<Self> {
        Arc::new(Self {
            tokens,
            table: RwLock::default(),
            connected: AtomicUsize::new(0),
            budgets,
            sooner: Notify::new(),
            next_end: AtomicU64::new(0),
            is_stopping: AtomicBool::new(false),
        })
    }

    /// Notes that the server is about to stop.
    pub(in crate::relay) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Tells whether the server is about to stop. Then no end joins, no exchange begins, and no tunnel is made or changed.
    pub(in crate::relay) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Returns the tunnel of a token that has or had an end here.
    pub(in crate::relay) fn find(&self, token: &Token) -> Option<Arc<Tunnel<H>>> {
        self.read().get(token).cloned()
    }

    /// Returns how many ends are connected.
    pub(in crate::relay) fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// Makes a client the end of its tunnel. The end before it, if there is one, leaves once it has answered what it was
    /// asked.
    pub(super) fn join(&self, admission: Admission, socket: Socket<H>) -> Joined<H> {
        let Admission { token, options, record, remaining } = admission;
        let key = record.keyed.as_ref().map(|keyed| keyed.key);
        // The store hears of the end of a keyed tunnel at once.
        let expiry = Instant::now() + if key.is_some() { Duration::ZERO } else { remaining };
        let number = self.next_end.fetch_add(1, Ordering::Relaxed);
        let end = Arc::new(End::new(number, options, key, socket));
        let mut table = self.write();
        let is_sooner = table.first().is_none_or(|(first, _)| expiry < first);
        let new = || {
            let (memory, exchanges) = (self.budgets.tunnel_memory(), self.budgets.tunnel_exchanges());
            Arc::new(Tunnel::new(&record, self.tokens.can_be_lost(), memory, exchanges))
        };
        let tunnel = Arc::clone(table.get_or_insert(token, expiry, new));
        if let Some(keyed) = &record.keyed {
            tunnel.set(keyed);
        }
        // While the table is locked: a tunnel that was just swept out of it must get no end.
        let before = tunnel.replace_end(end);
        drop(table);
        if is_sooner {
            self.sooner.notify_one();
        }
        tracing::info!(?token, takes_over = before.is_some(), "end connected");
        match before {
            Some(before) => before.retire(),
            None => drop(self.connected.fetch_add(1, Ordering::Relaxed)),
        }
        Joined { tunnel, number }
    }

    /// An end leaves its tunnel, unless a newer one has taken its place.
    pub(super) fn leave(&self, token: Option<Token>, joined: &Joined<H>) {
        if !joined.tunnel.leave(joined.number) {
            return;
        }
        self.connected.fetch_sub(1, Ordering::Relaxed);
        // The life of a keyed tunnel counts from here.
        if let Some(token) = token
            && joined.tunnel.is_keyed()
            && self.write().set_expiry(token, Instant::now())
        {
            self.sooner.notify_one();
        }
    }

    /// Takes up what the owner of a tunnel has set.
    pub(in crate::relay) fn set(&self, token: &Token, keyed: &Keyed) {
        let Some(tunnel) = self.find(token) else { return };
        tunnel.set(keyed);
        // A shorter life is renewed sooner.
        self.write().set_expiry(*token, Instant::now());
        self.sooner.notify_one();
    }

    /// The tunnel has another key. With `disconnect`, an end that joined with the one before leaves at once; else it stays.
    pub(in crate::relay) fn rekeyed(&self, token: &Token, keyed: &Keyed, disconnect: bool) {
        let Some(tunnel) = self.find(token) else { return };
        if disconnect {
            self.drop_end_of_another_key(token, &tunnel, &keyed.key);
        } else {
            tunnel.wants_check();
        }
        self.set(token, keyed);
    }

    /// Disconnects ends whose tokens have expired. Never completes.
    pub(in crate::relay) async fn sweep(self: Arc<Self>) -> Infallible {
        loop {
            let sooner = self.sooner.notified();
            let first = self.read().first();
            match first {
                None => sooner.await,
                Some((first, _)) => tokio::select! {
                    () = sooner => (),
                    () = tokio::time::sleep_until(first) => self.expire(Instant::now()).await,
                },
            }
        }
    }

    /// Asks the store about each token that is due.
    async fn expire(&self, now: Instant) {
        loop {
            let first = self.read().first();
            let Some((_, token)) = first.filter(|&(expiry, _)| expiry <= now) else { return };
            let Some(tunnel) = self.find(&token) else { continue };
            let due = match self.ask_store(&token, &tunnel).await {
                Ok(due) => Some(due),
                Err(Failure::TokenNotFound) => {
                    self.remove(&token);
                    continue;
                }
                Err(_) => None,
            };
            // Under the lock under which ends join and leave: one that came or went meanwhile is not put off.
            let mut table = self.write();
            let due = match due {
                None => STORE_RETRY,
                Some(_) if tunnel.wants_something() => Duration::ZERO,
                Some(due) => due,
            };
            table.set_expiry(token, now + due);
        }
    }

    /// Renews a keyed token whose end is or was connected; asks about any other, which may have been refreshed since its end
    /// joined. Returns when the store is to be asked again.
    async fn ask_store(&self, token: &Token, tunnel: &Tunnel<H>) -> Result<Duration, Failure> {
        let wants_check = tunnel.wants_check();
        let wants_renewal = tunnel.is_keyed() && tunnel.wants_renewal();
        let found = if wants_renewal { self.tokens.renew(token).await } else { self.tokens.find(token).await };
        if found.is_err() {
            tunnel.still_wants(wants_renewal, wants_check);
        }
        let (Record { keyed, .. }, left) = found?;
        if let Some(keyed) = &keyed {
            tunnel.set(keyed);
            if wants_check {
                self.drop_end_of_another_key(token, tunnel, &keyed.key);
            }
        }
        Ok(until_renewal(keyed.as_deref().filter(|_| tunnel.has_end()), left))
    }

    /// Returns the tokens of all tunnels.
    pub(super) fn all(&self) -> Vec<Token> {
        self.read().keys().copied().collect()
    }

    fn drop_end_of_another_key(&self, token: &Token, tunnel: &Tunnel<H>, key: &KeyHash) {
        if let Some(end) = tunnel.take_end_of_another_key(key) {
            self.connected.fetch_sub(1, Ordering::Relaxed);
            tracing::info!(?token, "the tunnel has another key, its end is disconnected");
            end.disconnect();
        }
    }

    /// Ends a tunnel: its token has expired, or its owner has deleted it.
    pub(in crate::relay) fn remove(&self, token: &Token) {
        let removed = self.write().remove(token);
        if let Some(end) = removed.and_then(|tunnel| tunnel.take_end()) {
            self.connected.fetch_sub(1, Ordering::Relaxed);
            tracing::info!(?token, "the tunnel has ended, its end is disconnected");
            end.disconnect();
        }
    }

    // Nothing that is done under the lock can panic half-way, so a poisoned table is whole.

    fn read(&self) -> RwLockReadGuard<'_, Expiring<Token, Arc<Tunnel<H>>>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Expiring<Token, Arc<Tunnel<H>>>> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns when the store must hear of a tunnel with an end again: half its `ttl` if it is keyed, so that it lives on while an
/// end is connected.
fn until_renewal(keyed: Option<&Keyed>, remaining: Duration) -> Duration {
    keyed.map_or(remaining, |keyed| remaining.min(keyed.ttl / 2))
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures::{SinkExt as _, StreamExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;
    use tokio_tungstenite::tungstenite::Message;

    use super::*;
    use crate::config::ServeConfig;
    use crate::engine::{
        ClientEvent, Connect, DisconnectReason, Engine, EngineIoSettings, Limits, Reaction, Refusal, SocketIo,
        SocketIoSettings,
    };
    use crate::proto::key::Key;
    use crate::relay::tokens::Wanted;
    use crate::store::{Change, Store};

    /// A host that hands out the sockets of its clients.
    #[derive(Debug)]
    struct TestHost(mpsc::Sender<Socket<Self>>);

    impl Host for TestHost {
        type Member = ();
        type Waiter = oneshot::Sender<Outcome>;

        fn connect(&self, _: Connect) -> impl Future<Output = Result<(), Refusal>> + Send + 'static {
            ready(Ok(()))
        }

        fn connected(&self, (): &mut (), socket: &Socket<Self>, _: Reaction<'_, Self>) {
            self.0.try_send(socket.clone()).unwrap();
        }

        fn received(&self, (): &mut (), _: &Socket<Self>, _: ClientEvent, _: Reaction<'_, Self>) {}

        fn disconnected(&self, (): (), _: &Socket<Self>, _: DisconnectReason) {}
    }

    /// The socket of a client that has joined.
    async fn socket() -> Socket<TestHost> {
        let (tell, mut told) = mpsc::channel(1);
        let application = SocketIo::new(TestHost(tell), SocketIoSettings::default());
        let engine = Engine::new(application, EngineIoSettings::default(), Limits::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", listener.local_addr().unwrap());
        tokio::spawn(async move { engine.listen(listener, pending()).await });
        let (mut client, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        client.send(Message::text("40")).await.unwrap();
        client.next().await.unwrap().unwrap();
        told.recv().await.unwrap()
    }

    /// Ends that join at the same moment, before the token has a tunnel, get one tunnel and share its ids.
    #[tokio::test]
    async fn first_ends_that_join_at_once_are_ends_of_one_tunnel() {
        let socket = socket().await;
        let budgets = Budgets::new(&ServeConfig::defaults());
        let tokens = Arc::new(Tokens::new(Store::in_memory(1), &budgets, Duration::from_secs(60)));
        let tunnels = Tunnels::<TestHost>::new(tokens, budgets);
        for round in 0..2_000 {
            let token = Token::from_uuid(uuid::Uuid::from_u128(round));
            let ready = AtomicUsize::new(0);
            let join = || {
                let remaining = Duration::from_secs(60);
                let record = Record { made_at: 0, made_by: None, keyed: None };
                let admission = Admission { token, options: EndOptions::default(), record, remaining };
                // Both go on within nanoseconds, which no `Barrier` brings about.
                ready.fetch_add(1, Ordering::SeqCst);
                while ready.load(Ordering::SeqCst) < 2 {
                    std::hint::spin_loop();
                }
                let joined = tunnels.join(admission, socket.clone());
                let id = joined.tunnel.next_ack();
                (joined.tunnel, id)
            };
            let [(one, first), (other, second)] =
                std::thread::scope(|scope| [scope.spawn(join), scope.spawn(join)].map(|thread| thread.join().unwrap()));
            assert!(Arc::ptr_eq(&one, &other), "round {round}: two tunnels");
            assert_ne!(first, second, "round {round}");
            tunnels.remove(&token);
        }
    }

    /// The store, and the tunnels over it, whose sweeper runs.
    fn swept_tunnels() -> (Arc<Tokens>, Arc<Tunnels<TestHost>>) {
        let budgets = Budgets::new(&ServeConfig::defaults());
        let tokens = Arc::new(Tokens::new(Store::in_memory(9), &budgets, Duration::from_secs(60)));
        let tunnels = Tunnels::<TestHost>::new(Arc::clone(&tokens), budgets);
        tokio::spawn(Arc::clone(&tunnels).sweep());
        (tokens, tunnels)
    }

    #[tokio::test]
    async fn a_keyed_tunnel_lives_while_its_end_is_connected_and_its_ttl_after() {
        const HOUR: Duration = Duration::from_secs(3600);
        let socket = socket().await;
        tokio::time::pause();
        let (tokens, tunnels) = swept_tunnels();
        let wanted = Wanted { name: None, ttl: 2 * HOUR, timeout: HOUR };
        let made = tokens.make(std::net::IpAddr::from([127, 0, 0, 1]).into(), wanted, None).await.unwrap();
        let token = made.token;
        let (record, remaining) = tokens.renew(&token).await.unwrap();
        let admission = Admission { token, options: EndOptions::default(), record, remaining };
        let joined = tunnels.join(admission, socket);
        tokio::time::sleep(99 * HOUR + HOUR / 2).await;
        let left = tokens.find(&token).await.unwrap().1;
        assert!(left > HOUR, "it is renewed every hour, and {left:?} are left");
        assert!(joined.tunnel.has_end());
        tunnels.leave(Some(token), &joined);
        tokio::time::sleep(2 * HOUR - Duration::from_secs(1)).await;
        assert!(tokens.find(&token).await.is_ok() && tunnels.find(&token).is_some());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(tokens.find(&token).await.is_err() && tunnels.find(&token).is_none());
    }

    /// The key changes between the look at it and the join.
    #[tokio::test]
    async fn an_end_whose_key_was_changed_while_it_joined_is_disconnected() {
        let socket = socket().await;
        let (tokens, tunnels) = swept_tunnels();
        let wanted = Wanted { name: None, ttl: Duration::from_secs(600), timeout: Duration::from_secs(60) };
        let made = tokens.make(std::net::IpAddr::from([127, 0, 0, 1]).into(), wanted, None).await.unwrap();
        let (record, remaining) = tokens.find(&made.token).await.unwrap();
        let (old, new) = (made.key.unwrap().hash(), Key::from_random([7; 32]).hash());
        tokens.change(&made.token, old, Change::Rekey(new)).await.unwrap();
        let admission = Admission { token: made.token, options: EndOptions::default(), record, remaining };
        let joined = tunnels.join(admission, socket);
        while joined.tunnel.has_end() {
            tokio::task::yield_now().await;
        }
        assert_eq!(tunnels.connected(), 0);
    }
}
