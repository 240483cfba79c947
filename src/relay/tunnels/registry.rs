//! The tunnels of this process: they are found, joined, left and swept.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::tunnel::{End, Outcome, Tunnel};
use crate::engine::{Host, Socket};
use crate::expiring::Expiring;
use crate::proto::exchange::EndOptions;
use crate::proto::token::Token;
use crate::relay::budgets::Budgets;
use crate::relay::failure::Failure;
use crate::relay::tokens::Tokens;

/// How soon the store is asked again after it failed.
const STORE_RETRY: Duration = Duration::from_secs(5);

/// The right to become the end of a tunnel.
#[derive(Debug, Clone, Copy)]
pub(in crate::relay) struct Admission {
    pub(super) token: Token,
    pub(super) options: EndOptions,
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
    table: RwLock<Expiring<Token, Arc<Tunnel<H>>>>,
    /// How many have an end.
    connected: AtomicUsize,
    budgets: Budgets,
    /// Wakes the sweeper when a token expires before all others.
    sooner: Notify,
    next_end: AtomicU64,
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
        })
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
        let Admission { token, options, remaining } = admission;
        let expiry = Instant::now() + remaining;
        let number = self.next_end.fetch_add(1, Ordering::Relaxed);
        let end = Arc::new(End::new(number, options, socket));
        let mut table = self.write();
        let is_sooner = table.first().is_none_or(|(first, _)| expiry < first);
        let new = || Arc::new(Tunnel::new(self.budgets.tunnel_memory(), self.budgets.tunnel_exchanges()));
        let tunnel = Arc::clone(table.get_or_insert(token, expiry, new));
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
    pub(super) fn leave(&self, joined: &Joined<H>) {
        if joined.tunnel.leave(joined.number) {
            self.connected.fetch_sub(1, Ordering::Relaxed);
        }
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

    /// Asks the store about each token that should have expired: it may have been refreshed since its end joined.
    async fn expire(&self, now: Instant) {
        loop {
            let first = self.read().first();
            let Some((_, token)) = first.filter(|&(expiry, _)| expiry <= now) else { return };
            let remaining = match self.tokens.remaining(&token).await {
                Ok(remaining) => remaining,
                Err(Failure::TokenNotFound) => {
                    self.remove(&token);
                    continue;
                }
                Err(_) => STORE_RETRY,
            };
            self.write().set_expiry(token, now + remaining);
        }
    }

    fn remove(&self, token: &Token) {
        let removed = self.write().remove(token);
        if let Some(end) = removed.and_then(|tunnel| tunnel.take_end()) {
            self.connected.fetch_sub(1, Ordering::Relaxed);
            tracing::info!(?token, "token expired, its end is disconnected");
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
    use crate::store::Store;

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
        let per_address = Arc::clone(&budgets.tunnels_per_address);
        let tokens = Arc::new(Tokens::new(Store::in_memory(1), per_address, Duration::from_secs(60)));
        let tunnels = Tunnels::<TestHost>::new(tokens, budgets);
        for round in 0..2_000 {
            let token = Token::from_uuid(uuid::Uuid::from_u128(round));
            let ready = AtomicUsize::new(0);
            let join = || {
                let remaining = Duration::from_secs(60);
                let admission = Admission { token, options: EndOptions::default(), remaining };
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
}
