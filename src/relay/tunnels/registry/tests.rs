//! Ends join, leave and count.

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
use crate::relay::admin::Blocks;
use crate::relay::streams;
use crate::relay::tokens::{Made, Wanted, new_token};
use crate::store::{Change, Settings, Store};

/// A host that hands out the sockets of its clients.
#[derive(Debug)]
pub(in crate::relay::tunnels) struct TestHost(mpsc::Sender<Socket<Self>>);

impl Host for TestHost {
    type Member = ();
    type Waiter = Waiter;
    type Message = streams::Message;

    fn connect(&self, _: Connect) -> impl Future<Output = Result<(), Refusal>> + Send + 'static {
        ready(Ok(()))
    }

    fn connected(&self, (): &mut (), socket: &Socket<Self>, _: Reaction<'_, Self>) {
        self.0.try_send(socket.clone()).unwrap();
    }

    fn received(&self, (): &mut (), _: &Socket<Self>, _: ClientEvent, _: Reaction<'_, Self>) {}

    fn disconnected(&self, (): (), _: &Socket<Self>, _: DisconnectReason) {}
}

/// What holds for the ends of these tests.
pub(in crate::relay::tunnels) const LIMITS: EndLimits =
    EndLimits { max_payload: 1 << 20, head: HeadLimits { bytes: 1 << 16, lines: 100 }, drain: Duration::from_secs(10) };

/// The socket of a client that has joined.
pub(in crate::relay::tunnels) async fn socket() -> Socket<TestHost> {
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

pub(in crate::relay::tunnels) fn admission(token: Token, record: Record, remaining: Duration) -> Admission {
    Admission {
        token,
        options: EndOptions::default(),
        record,
        remaining,
        at_node: None,
        asked: ByteString::new(),
        unknown: Vec::new(),
    }
}

/// Ends that join at the same moment, before the token has a tunnel, get one tunnel and share its ids.
#[tokio::test]
async fn first_ends_that_join_at_once_are_ends_of_one_tunnel() {
    let socket = socket().await;
    let budgets = Budgets::new(&ServeConfig::defaults());
    let tokens = tokens_of(1, &budgets);
    let tunnels = Tunnels::<TestHost>::new(tokens, Arc::default(), budgets, LIMITS);
    for round in 0..2_000 {
        let token = Token::from_uuid(uuid::Uuid::from_u128(round));
        let ready = AtomicUsize::new(0);
        let join = || {
            let remaining = Duration::from_secs(60);
            let record = Record { made_at: 0, made_by: None, keyed: None };
            let admission = admission(token, record, remaining);
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
        tunnels.remove(&token, Closing::Deleted);
    }
}

const HOUR: Duration = Duration::from_secs(3600);

/// A keyed tunnel with a `ttl` of two hours, and what lets an end join it.
async fn made_to_join(tokens: &Tokens) -> (Made, Admission) {
    let wanted =
        Wanted { token: new_token(), settings: Settings { ttl: 2 * HOUR, ..Settings::default() }, rules: None };
    let made = tokens.make(std::net::IpAddr::from([127, 0, 0, 1]).into(), wanted, None).await.unwrap();
    let (record, remaining) = tokens.renew(&made.token).await.unwrap();
    let admission = admission(made.token, record, remaining);
    (made, admission)
}

/// Tokens in memory that live for a minute.
fn tokens_of(capacity: usize, budgets: &Budgets) -> Arc<Tokens> {
    let store = Store::in_memory(capacity);
    let blocks = Arc::new(Blocks::new(store.values()));
    Arc::new(Tokens::new(store, blocks, budgets, Duration::from_secs(60)))
}

/// The store, and the tunnels over it, whose sweeper runs.
pub(in crate::relay::tunnels) fn swept_tunnels() -> (Arc<Tokens>, Arc<Tunnels<TestHost>>) {
    let budgets = Budgets::new(&ServeConfig::defaults());
    let tokens = tokens_of(9, &budgets);
    let tunnels = Tunnels::<TestHost>::new(Arc::clone(&tokens), Arc::default(), budgets, LIMITS);
    tokio::spawn(Arc::clone(&tunnels).sweep());
    (tokens, tunnels)
}

#[tokio::test]
async fn a_keyed_tunnel_lives_while_its_end_is_connected_and_its_ttl_after() {
    let socket = socket().await;
    tokio::time::pause();
    let (tokens, tunnels) = swept_tunnels();
    let (made, admission) = made_to_join(&tokens).await;
    let token = made.token;
    let joined = tunnels.join(admission, socket);
    tokio::time::sleep(99 * HOUR + HOUR / 2).await;
    let left = tokens.find(&token).await.unwrap().1;
    assert!(left > HOUR, "it is renewed every hour, and {left:?} are left");
    assert!(joined.tunnel.has_end());
    tunnels.left(&token, &joined);
    tokio::time::sleep(2 * HOUR - Duration::from_secs(1)).await;
    assert!(tokens.find(&token).await.is_ok() && tunnels.find(&token).is_some());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(tokens.find(&token).await.is_err() && tunnels.find(&token).is_none());
}

#[tokio::test]
async fn a_keyed_tunnel_lives_for_its_ttl_after_another_key_has_disconnected_its_end() {
    let socket = socket().await;
    tokio::time::pause();
    let (tokens, tunnels) = swept_tunnels();
    let (made, admission) = made_to_join(&tokens).await;
    let token = made.token;
    tunnels.join(admission, socket);
    tokio::time::sleep(HOUR / 2).await;
    let (old, new) = (made.key.unwrap().hash(), Key::from_random([7; 32]).hash());
    let changed = tokens.change(&token, old, &Change::Rekey(new)).await.unwrap();
    tunnels.rekeyed(&token, &changed.record.keyed.unwrap(), true);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let left = tokens.find(&token).await.unwrap().1;
    assert!(left > 2 * HOUR - Duration::from_secs(2), "{left:?} are left");
}

/// The key changes between the look at it and the join.
#[tokio::test]
async fn an_end_whose_key_was_changed_while_it_joined_is_disconnected() {
    let socket = socket().await;
    let (tokens, tunnels) = swept_tunnels();
    let wanted = Wanted { token: new_token(), settings: Settings::default(), rules: None };
    let made = tokens.make(std::net::IpAddr::from([127, 0, 0, 1]).into(), wanted, None).await.unwrap();
    let (record, remaining) = tokens.find(&made.token).await.unwrap();
    let (old, new) = (made.key.unwrap().hash(), Key::from_random([7; 32]).hash());
    tokens.change(&made.token, old, &Change::Rekey(new)).await.unwrap();
    let admission = admission(made.token, record, remaining);
    let joined = tunnels.join(admission, socket);
    while joined.tunnel.has_end() {
        tokio::task::yield_now().await;
    }
    assert_eq!((tunnels.ends(), tunnels.occupied()), (0, 0));
}

#[tokio::test]
async fn each_end_counts_until_it_leaves_and_a_tunnel_until_its_last_end_leaves() {
    let socket = socket().await;
    for (ends, expected) in [(Ends::Newest, [1, 1, 1, 0]), (Ends::Spread, [2, 3, 2, 0])] {
        let (tokens, tunnels) = swept_tunnels();
        let wanted = Wanted { token: new_token(), settings: Settings { ends, ..Settings::default() }, rules: None };
        let made = tokens.make(std::net::IpAddr::from([127, 0, 0, 1]).into(), wanted, None).await.unwrap();
        let token = made.token;
        let admission = async || {
            let (record, remaining) = tokens.find(&token).await.unwrap();
            admission(token, record, remaining)
        };
        let count = || (tunnels.ends(), tunnels.occupied());
        let join = async || tunnels.join(admission().await, socket.clone());
        let [first, second] = [join().await, join().await];
        assert_eq!(count(), (expected[0], 1), "{ends:?}");
        let third = join().await;
        assert_eq!(count(), (expected[1], 1), "{ends:?}");
        tunnels.left(&token, &first);
        tunnels.left(&token, &first);
        assert_eq!(count(), (expected[2], 1), "{ends:?}");
        tunnels.left(&token, &third);
        tunnels.left(&token, &second);
        assert_eq!(count(), (expected[3], 0), "{ends:?}");
    }
}
