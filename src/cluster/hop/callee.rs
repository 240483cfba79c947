//! The side of a hop that is called: it serves requests that other nodes hand on.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{StatusCode, Version};
use ipnet::IpNet;
use rand::Rng as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::greeting::{self, Callee, Greeted, MAX_HELLO, PROOF_LENGTH, Refused};
use super::limits::{GREETING, IDLE_AT_CALLEE, MAX_GREETINGS, MAX_TOLD, MORE_HEAD, MORE_HEADERS};
use super::note::Note;
use super::stamp::Stamps;
use super::trailers;
use super::words::{ELSEWHERE, HOP, PING, REFUSED, TELL, TUNNELS};
use crate::cluster::keys::Secret;
use crate::net::arrival::{Arrival, Peer};
use crate::net::body::{self, BodyLimits, RequestBody};
use crate::net::budget::{Budget, Exempt, PerAddress};
use crate::net::connection::Connection;
use crate::net::greeted::{self, Greetings};
use crate::net::linger;
use crate::net::listener::{Handler, Limits};
use crate::net::reply::{self, Reply};
use crate::net::seldom::warn_seldom;
use crate::proto::node::NodeId;

/// What a node does that others call.
pub(crate) trait Called: Send + Sync + 'static {
    /// Answers a request that another node hands on. The head, and who it is from, are as at the node where it arrived. See
    /// [`Handler::serve`].
    fn serve(
        &self,
        head: &mut Parts,
        body: &mut RequestBody,
        arrival: &Arrival<'_>,
        note: Note,
    ) -> impl Future<Output = Reply> + Send;

    /// Takes up what another node tells.
    fn told(&self, messages: Vec<String>);

    /// Returns the tunnels that have ends here, or one of them: JSON.
    fn tunnels(&self, token: Option<&str>) -> String;

    /// Returns what a node that asks whether this one is there is told.
    fn standing(&self) -> String;
}

/// Marks a reply of [`elsewhere`], which no response of an end can look like.
#[derive(Debug, Clone, Copy)]
struct Elsewhere;

/// Makes the reply to a request that is not this node's any more: its caller asks another node. The request must have caused
/// nothing.
pub(crate) fn elsewhere() -> Reply {
    let mut reply = reply::empty(StatusCode::MISDIRECTED_REQUEST);
    reply.extensions_mut().insert(Elsewhere);
    reply
}

/// Serves other nodes until `stop` completes, then lets the open requests finish, for two seconds at the most.
///
/// Of `limits`, those of one address do not count; `connections` is the bound of connections from all nodes, and `memory` that of
/// what nodes tell while it arrives.
pub(crate) async fn serve(
    listener: TcpListener,
    (node, secret): (NodeId, Arc<Secret>),
    (mut limits, memory): (Limits, Arc<Budget>),
    called: Arc<impl Called>,
    stop: impl Future<Output = ()>,
) {
    limits.head_timeout = IDLE_AT_CALLEE;
    limits.max_head = limits.max_head * 2 + MORE_HEAD;
    limits.max_headers += MORE_HEADERS;
    limits.proxy_protocol = false;
    if let Some(tls) = &mut limits.tls {
        tls.hsts = None;
    }
    // All of them come from few addresses.
    let per_address = PerAddress::new(usize::MAX, Exempt::default());
    limits.lingering = Arc::new(linger::Limits { per_address, ..linger::Limits::default() });
    let telling = Telling { memory, stall_timeout: limits.stall_timeout };
    let trusted = Arc::clone(&limits.trusted_proxies);
    let greet = move |connection, address| {
        let (secret, called) = (Arc::clone(&secret), Arc::clone(&called));
        let (telling, trusted) = (telling.clone(), Arc::clone(&trusted));
        async move {
            let (connection, Greeted { peer, version, key }) = greet(connection, address, node, &secret).await?;
            let stamps = Mutex::new(Some(Stamps::new(key, version)));
            Some((connection, Caller { node: peer, stamps, called, trusted, telling }))
        }
    };
    let greetings = Greetings { places: Budget::new(MAX_GREETINGS), timeout: GREETING };
    greeted::serve(listener, greet, (limits, greetings), stop).await;
}

/// Greets a caller. `None` if it is refused, for a reason that is in the log.
async fn greet(
    mut connection: Connection,
    address: SocketAddr,
    node: NodeId,
    secret: &Secret,
) -> Option<(Connection, Greeted)> {
    match try_to_greet(&mut connection, node, secret).await {
        Ok(Ok(greeted)) => Some((connection, greeted)),
        Ok(Err(refused)) => {
            warn_seldom!(peer = %address, "a connection to --cluster-listen is refused: {refused}");
            None
        }
        // A check of the port, or a peer that has refused this node.
        Err(error) => {
            tracing::debug!(peer = %address, %error, "a connection to --cluster-listen ended while it greeted");
            None
        }
    }
}

async fn try_to_greet(
    connection: &mut Connection,
    node: NodeId,
    secret: &Secret,
) -> io::Result<Result<Greeted, Refused>> {
    let nonce = rand::rng().random();
    let hello = read_hello(connection).await?;
    let (callee, answer) = match hello.and_then(|hello| Callee::answer(&secret.greetings, node, &hello, &nonce)) {
        Ok(answer) => answer,
        Err(refused) => {
            // Without it the caller knows of the refusal, and not why.
            let _ = connection.write_all(&greeting::refusal(&refused)).await;
            let _ = connection.shutdown().await;
            return Ok(Err(refused));
        }
    };
    connection.write_all(&answer).await?;
    connection.flush().await?;
    let mut proof = [0; PROOF_LENGTH];
    connection.read_exact(&mut proof).await?;
    Ok(callee.proved(&proof))
}

/// Reads a hello. Its sender waits for the answer, so nothing follows it.
pub(super) async fn read_hello(
    connection: &mut (impl tokio::io::AsyncRead + Unpin),
) -> io::Result<Result<Vec<u8>, Refused>> {
    let mut read = Vec::with_capacity(MAX_HELLO);
    loop {
        match greeting::hello_end(&read) {
            Ok(Some(end)) if end == read.len() => return Ok(Ok(read)),
            Ok(Some(_)) => return Ok(Err(Refused::TooLong)),
            Ok(None) => (),
            Err(refused) => return Ok(Err(refused)),
        }
        if connection.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// What messages may take while they arrive.
#[derive(Debug, Clone)]
struct Telling {
    memory: Arc<Budget>,
    stall_timeout: std::time::Duration,
}

/// A node that calls, on one connection.
struct Caller<C> {
    node: NodeId,
    /// `None` once a stamp was forged: nothing more is believed.
    stamps: Mutex<Option<Stamps>>,
    called: Arc<C>,
    trusted: Arc<[IpNet]>,
    telling: Telling,
}

impl<C: Called> Handler for Caller<C> {
    async fn serve(&self, head: &mut Parts, body: &mut RequestBody, arrival: &Arrival<'_>) -> Reply {
        // Before anything else is believed of the head.
        let Some(note) = self.verify(head, arrival.peer) else { return refused() };
        match &*note.kind {
            PING => reply::text(StatusCode::OK, "text/plain; charset=utf-8", self.called.standing()),
            TELL => self.told(body).await,
            TUNNELS => {
                let token = head.uri.path().strip_prefix('/').filter(|token| !token.is_empty());
                reply::text(StatusCode::OK, "application/json", self.called.tunnels(token))
            }
            _ => {
                let Ok(()) = note.restore(head) else { return refused() };
                let peer = arrival.peer.passes_on(note.peer.unwrap_or(arrival.peer.address), note.tls);
                let arrival = Arrival::new(&head.headers, &peer, &self.trusted);
                body.map_trailers(trailers::unpack);
                let reply = self.called.serve(head, body, &arrival, note).await;
                // What hyper writes is for the hop.
                head.version = Version::HTTP_11;
                marked(reply)
            }
        }
    }
}

impl<C: Called> Caller<C> {
    /// Returns what the stamp of a request says. `None` if it is forged, or one before it was.
    fn verify(&self, head: &mut Parts, peer: &Peer) -> Option<Note> {
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        match stamps.as_mut()?.verify(head) {
            Ok(note) => Some(note),
            Err(forged) => {
                *stamps = None;
                warn_seldom!(
                    peer = %peer.address,
                    node = %self.node,
                    "a request to --cluster-listen is refused: {forged}"
                );
                None
            }
        }
    }

    async fn told(&self, body: &mut RequestBody) -> Reply {
        let Telling { memory, stall_timeout } = &self.telling;
        let limits = BodyLimits { max_bytes: MAX_TOLD, stall_timeout: *stall_timeout, memory };
        let Ok(read) = body::read(body, limits).await else { return reply::empty(StatusCode::SERVICE_UNAVAILABLE) };
        match serde_json::from_slice(&read.bytes) {
            Ok(messages) => {
                self.called.told(messages);
                reply::empty(StatusCode::NO_CONTENT)
            }
            Err(_) => reply::empty(StatusCode::BAD_REQUEST),
        }
    }
}

/// Makes a reply what goes to the other node: it says whether the request is another node's, which no response of an end says.
fn marked(mut reply: Reply) -> Reply {
    reply.headers_mut().remove(HOP);
    if reply.extensions_mut().remove::<Elsewhere>().is_some() {
        reply.headers_mut().insert(HOP, HeaderValue::from_static(ELSEWHERE));
    }
    if reply.body().is_of_unknown_length() {
        trailers::announce(reply.headers_mut());
        reply.body_mut().map_trailers(trailers::pack);
    }
    reply
}

/// Refuses a request whose stamp is not good, and those behind it.
fn refused() -> Reply {
    let mut reply = reply::empty(StatusCode::BAD_REQUEST);
    reply.headers_mut().insert(HOP, HeaderValue::from_static(REFUSED));
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}
