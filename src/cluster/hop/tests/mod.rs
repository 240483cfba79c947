//! Two nodes in one process: visitors arrive at the first, which hands their requests on to the second.

mod again;
mod bodies;
mod forged;
mod greetings;
mod leaving;
mod recorded;
mod secure;
mod telling;
mod upgrades;

use std::future::{Future, pending};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::StatusCode;
use http::request::Parts;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::{Called, Calling, Hops, Note, Sending, Undone, serve};
use crate::cluster::keys::tests::secret;
use crate::cluster::watched::Watched;
use crate::net::arrival::Arrival;
use crate::net::body::RequestBody;
use crate::net::budget::Budget;
use crate::net::listener::{self, Handler, Limits};
use crate::net::reply::{self, Reply};
use crate::proto::node::NodeId;

/// Waits for something, but not for ever.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.unwrap_or_else(|_| panic!("{what} has not come"))
}

fn node(number: u8) -> NodeId {
    NodeId::from_random([number; 6])
}

/// A request as the second node gets it.
struct Asked<'r> {
    head: &'r mut Parts,
    body: &'r mut RequestBody,
    arrival: &'r Arrival<'r>,
    note: Note,
}

/// Answers requests by a function.
struct Answering<F> {
    answer: F,
    told: mpsc::Sender<Vec<String>>,
}

impl<F: for<'r> Fn(Asked<'r>) -> BoxFuture<'r, Reply> + Send + Sync + 'static> Called for Answering<F> {
    async fn serve(&self, head: &mut Parts, body: &mut RequestBody, arrival: &Arrival<'_>, note: Note) -> Reply {
        (self.answer)(Asked { head, body, arrival, note }).await
    }

    fn told(&self, messages: Vec<String>) {
        self.told.try_send(messages).unwrap();
    }

    fn tunnels(&self, token: Option<&str>) -> String {
        format!("tunnels {token:?}")
    }

    fn standing(&self) -> String {
        "standing".to_owned()
    }
}

/// A node that others call.
#[derive(Clone)]
struct Callee {
    node: NodeId,
    address: SocketAddr,
    told: Arc<Mutex<mpsc::Receiver<Vec<String>>>>,
}

impl Callee {
    /// Starts a node with the secret of this letter.
    async fn start_with(
        letter: char,
        number: u8,
        limits: Limits,
        answer: impl for<'r> Fn(Asked<'r>) -> BoxFuture<'r, Reply> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = mpsc::channel(16);
        let called = Arc::new(Answering { answer, told: tell });
        let me = (node(number), Arc::new(secret(letter)));
        tokio::spawn(async move { serve(listener, me, (limits, Budget::new(1 << 20)), called, pending()).await });
        Self { node: node(number), address, told: Arc::new(Mutex::new(told)) }
    }

    async fn start(answer: impl for<'r> Fn(Asked<'r>) -> BoxFuture<'r, Reply> + Send + Sync + 'static) -> Self {
        Self::start_with('a', 2, Limits::default(), answer).await
    }

    fn advertise(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// The first node calls, with the secret of this letter.
fn hops(letter: char, max_hops: usize) -> Arc<Hops> {
    Arc::new(Hops::new(Calling {
        node: node(1),
        secret: Arc::new(secret(letter)),
        tls: None,
        max_hops,
        memory: Budget::new(1 << 20),
        stall_timeout: Duration::from_secs(30),
        response_head: (64 << 10, 128),
    }))
}

/// Where visitors arrive: hands their requests on to the first node that takes them.
struct Front {
    hops: Arc<Hops>,
    to: Vec<(NodeId, String)>,
    /// Why requests were not done.
    undone: mpsc::Sender<Undone>,
    watched: Watched,
    /// What is sent for each request that was done.
    sendings: mpsc::Sender<Sending>,
}

impl Handler for Front {
    async fn serve(&self, head: &mut Parts, body: &mut RequestBody, arrival: &Arrival<'_>) -> Reply {
        for (node, advertise) in &self.to {
            let note = Note::of("visit").with_id("id-1");
            match self.hops.send((*node, advertise), head, body, (arrival, note, &self.watched)).await {
                Ok(reply) => {
                    self.sendings.try_send(reply.extensions().get().cloned().unwrap()).unwrap();
                    return reply;
                }
                Err(undone) => self.undone.try_send(undone).unwrap(),
            }
        }
        reply::text(StatusCode::BAD_GATEWAY, "text/plain", "undone")
    }
}

/// The first node, with visitors.
struct Arriving {
    address: SocketAddr,
    hops: Arc<Hops>,
    undone: mpsc::Receiver<Undone>,
    /// Tells of all other nodes at once that they are gone.
    watched: Watched,
    sendings: mpsc::Receiver<Sending>,
}

impl Arriving {
    /// Starts a first node that knows these others.
    async fn before(callees: &[&Callee]) -> Self {
        Self::with(hops('a', 8), callees).await
    }

    async fn with(hops: Arc<Hops>, callees: &[&Callee]) -> Self {
        Self::with_urls(hops, callees.iter().map(|callee| (callee.node, callee.advertise())).collect()).await
    }

    async fn with_urls(hops: Arc<Hops>, to: Vec<(NodeId, String)>) -> Self {
        Self::serving(hops, to, |front| front).await
    }

    /// Starts a first node whose visitors are served by what is made of [`Front`].
    async fn serving<H: Handler>(hops: Arc<Hops>, to: Vec<(NodeId, String)>, wrap: impl FnOnce(Front) -> H) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, undone) = mpsc::channel(16);
        let watched = Watched::default();
        let (sent, sendings) = mpsc::channel(1_000);
        let front = Front { hops: Arc::clone(&hops), to, undone: tell, watched: watched.clone(), sendings: sent };
        tokio::spawn(listener::serve(listener, Arc::new(wrap(front)), Limits::default(), pending()));
        Self { address, hops, undone, watched, sendings }
    }

    async fn visitor(&self) -> Visitor {
        Visitor { stream: TcpStream::connect(self.address).await.unwrap(), read: Vec::new() }
    }

    /// Sends a request on a connection of its own, and returns all that comes back.
    async fn answer(&self, request: &str) -> String {
        let mut visitor = self.visitor().await;
        visitor.send(request).await;
        String::from_utf8(visitor.read_all().await).unwrap()
    }

    async fn undone(&mut self) -> Undone {
        within("a failure", self.undone.recv()).await.unwrap()
    }
}

/// A visitor that writes and reads bytes.
struct Visitor {
    stream: TcpStream,
    /// What was read and not looked at yet.
    read: Vec<u8>,
}

impl Visitor {
    async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).await.unwrap();
    }

    /// Reads up to this text, which is included.
    async fn read_to(&mut self, end: &str) -> String {
        let reading = async {
            loop {
                if let Some(at) = memchr::memmem::find(&self.read, end.as_bytes()) {
                    let rest = self.read.split_off(at + end.len());
                    return String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
                }
                let read = self.stream.read_buf(&mut self.read).await;
                assert!(matches!(read, Ok(1..)), "{read:?} after {}", self.read.escape_ascii());
            }
        };
        within(end, reading).await
    }

    /// Reads to the end of the connection.
    async fn read_all(&mut self) -> Vec<u8> {
        let _ = within("the end", self.stream.read_to_end(&mut self.read)).await;
        std::mem::take(&mut self.read)
    }
}

/// Returns the lines of a response's head, without its date, in the order of their names.
fn head_of(response: &str) -> Vec<&str> {
    let head = response.split("\r\n\r\n").next().unwrap();
    let mut lines: Vec<_> = head.split("\r\n").filter(|line| !line.starts_with("date: ")).collect();
    lines[1..].sort_unstable();
    lines
}

fn body_of(response: &str) -> &str {
    response.split_once("\r\n\r\n").unwrap().1
}

/// Bytes of which no piece is like its neighbours.
fn bytes(length: usize) -> Bytes {
    (0..=250).cycle().take(length).collect()
}
