//! The side of a hop that calls: it hands visitors' requests on to other nodes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::request::Parts;
use http::{Method, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Limited};
use rustls::ClientConfig;

use super::dial::Dialer;
use super::exchange::{Answered, Asking, Content, Failed};
use super::incoming::{self, Occupied};
use super::limits::{KEPT_BODY, MAX_LISTED, MAX_TOLD};
use super::note::{Note, own_request};
use super::pool::{Open, Pool};
use super::undone::Undone;
use super::words::{PING, TELL, TUNNELS};
use crate::cluster::keys::Secret;
use crate::cluster::watched::Watched;
use crate::net::arrival::Arrival;
use crate::net::body::{self, BodyLimits, Kept, RequestBody};
use crate::net::budget::Budget;
use crate::net::reply::Reply;
use crate::proto::node::NodeId;
use crate::proto::token::Token;

/// What a node needs to call others.
pub(crate) struct Calling {
    /// The node that calls.
    pub(crate) node: NodeId,
    /// What all nodes of the cluster share.
    pub(crate) secret: Arc<Secret>,
    /// How nodes with an `https://` URL are called. Without it they are not.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// The most connections to one node. A request that needs one more fails with [`Undone::Full`].
    pub(crate) max_hops: usize,
    /// The memory of bodies that are read before they are sent, in bytes.
    pub(crate) memory: Arc<Budget>,
    /// The time after which a visitor that stops sending such a body is given up.
    pub(crate) stall_timeout: Duration,
    /// The most bytes and lines in the head of a response, as all nodes are told.
    pub(crate) response_head: (usize, usize),
}

/// Calls other nodes. A node is named by its id and its URL, `http://HOST:PORT` or `https://HOST:PORT`.
pub(crate) struct Hops {
    pool: Arc<Pool>,
    memory: Arc<Budget>,
    stall_timeout: Duration,
}

impl Hops {
    /// Returns what calls other nodes. It has no connection yet.
    pub(crate) fn new(calling: Calling) -> Self {
        let Calling { node, secret, tls, max_hops, memory, stall_timeout, response_head } = calling;
        Self { pool: Pool::new(Dialer::new(node, secret, tls, response_head), max_hops), memory, stall_timeout }
    }

    /// Hands a visitor's request on to another node, and returns that node's response.
    ///
    /// A body of up to 64 KiB whose length is known is read first, and put back if there is no response. Another is not touched
    /// before the node asks for it. So the request can be handed on to the next node after [`Undone::Elsewhere`],
    /// [`Undone::Unreached`] and [`Undone::Full`].
    ///
    /// When the future or the reply is dropped before its end, or the node is gone, the connection to the node is closed. After a 101, a
    /// task of its own joins the two connections until both directions have ended, or the node is gone.
    ///
    /// # Errors
    /// See [`Undone`].
    pub(crate) async fn send(
        &self,
        to: (NodeId, &str),
        head: &mut Parts,
        body: &mut RequestBody,
        (arrival, note, watched): (&Arrival<'_>, Note, &Watched),
    ) -> Result<Reply, Undone> {
        let note = note.on(head, arrival);
        let length = body.size_hint().exact();
        if body.is_end_stream() {
            return self.hand_on(to, (head, &note), Content::Whole(Bytes::new()), (watched, None)).await;
        }
        if !is_kept(body) {
            let mut gone = arrival.gone().boxed();
            let content = Content::Visitors { body: &mut *body, length, gone: &mut gone };
            return self.hand_on(to, (head, &note), content, (watched, Some(arrival.gone().boxed()))).await;
        }
        let limits = BodyLimits { max_bytes: KEPT_BODY, stall_timeout: self.stall_timeout, memory: &self.memory };
        let Kept { bytes, memory } = body::read(body, limits).await.map_err(Undone::Body)?;
        let result = self.hand_on(to, (head, &note), Content::Whole(bytes.clone()), (watched, None)).await;
        if result.is_err() {
            body.put_back(Kept { bytes, memory });
        }
        result
    }

    async fn hand_on(
        &self,
        to: (NodeId, &str),
        (head, note): (&mut Parts, &Note),
        content: Content<'_>,
        (watched, left): (&Watched, Option<BoxFuture<'static, ()>>),
    ) -> Result<Reply, Undone> {
        let asking = Asking { head, note, content };
        let ((mut response, sending), open) = self.ask(to, asking).await?;
        let occupied = Occupied::new(open, &self.pool, sending, (watched, left));
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let joined = incoming::join(head, &mut response);
            return Ok(joined.reply(response, occupied));
        }
        Ok(incoming::reply(response, &head.method, occupied))
    }

    /// Sends a request on a connection without one, or on one of its own. If the first turns out to be closed before anything was
    /// sent, the request is sent once more.
    async fn ask(&self, (node, advertise): (NodeId, &str), mut asking: Asking<'_>) -> Result<(Answered, Open), Undone> {
        if let Some(mut open) = self.pool.idle(node).await {
            match asking.on(&mut open).await {
                Ok(answered) => return Ok((answered, open)),
                Err(Failed::Undone(undone)) => return Err(self.end(undone, &asking, open)),
                Err(Failed::Closed) => (),
            }
        }
        let mut open = self.pool.open(node, advertise).await?;
        match asking.on(&mut open).await {
            Ok(answered) => Ok((answered, open)),
            Err(Failed::Undone(undone)) => Err(self.end(undone, &asking, open)),
            Err(Failed::Closed) => Err(Undone::Unreached("it closes connections at once: its log says why".into())),
        }
    }

    /// Keeps the connection of a request that is another node's, if all of the request was sent.
    fn end(&self, undone: Undone, asking: &Asking<'_>, open: Open) -> Undone {
        if undone == Undone::Elsewhere && matches!(asking.content, Content::Whole(_)) {
            self.pool.keep(open);
        }
        undone
    }

    /// Tells a node some messages, in as few requests as possible.
    ///
    /// # Errors
    /// See [`Undone`]. The node may have got the first of the messages. A message of more than 64 KiB is [`Undone::Unreached`].
    pub(crate) async fn tell(&self, to: (NodeId, &str), messages: &[String]) -> Result<(), Undone> {
        let mut rest = messages;
        while !rest.is_empty() {
            let (text, count) = batch(rest);
            if text.len() > MAX_TOLD {
                return Err(Undone::Unreached("the message is too long".into()));
            }
            let (status, _) = self.say(to, (own_request(Method::POST, "/"), TELL), text.into(), MAX_TOLD).await?;
            if !status.is_success() {
                return Err(Undone::Broken(format!("the node does not take what it is told: {status}").into()));
            }
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Asks a node whether it is there, and returns what it says. Waits as long as it takes: the caller has a time limit.
    ///
    /// # Errors
    /// See [`Undone`].
    pub(crate) async fn ping(&self, to: (NodeId, &str)) -> Result<String, Undone> {
        let (status, text) = self.say(to, (own_request(Method::GET, "/"), PING), Bytes::new(), MAX_TOLD).await?;
        if status != StatusCode::OK {
            return Err(Undone::Broken(format!("the node answers a ping with {status}").into()));
        }
        String::from_utf8(text.into()).map_err(|_| Undone::Broken("the node answers a ping with no text".into()))
    }

    /// Asks a node for the tunnels that have ends there, or for one of them, and returns JSON. Waits as long as it takes.
    ///
    /// # Errors
    /// See [`Undone`]. A list of more than 64 MiB is [`Undone::Broken`].
    pub(crate) async fn tunnels(&self, to: (NodeId, &str), token: Option<&Token>) -> Result<String, Undone> {
        let path = token.map_or_else(|| "/".to_owned(), |token| format!("/{token}"));
        let (status, text) = self.say(to, (own_request(Method::GET, &path), TUNNELS), Bytes::new(), MAX_LISTED).await?;
        if status != StatusCode::OK {
            return Err(Undone::Broken(format!("the node does not say which tunnels it has: {status}").into()));
        }
        String::from_utf8(text.into())
            .map_err(|_| Undone::Broken("the node says which tunnels it has in no text".into()))
    }

    /// Sends a request of this node's own, and returns a response of `most` bytes at the most.
    async fn say(
        &self,
        to: (NodeId, &str),
        (head, kind): (Parts, &str),
        text: Bytes,
        most: usize,
    ) -> Result<(StatusCode, Bytes), Undone> {
        let note = Note::of(kind);
        let asking = Asking { head: &head, note: &note, content: Content::Whole(text) };
        let ((response, _), open) = self.ask(to, asking).await?;
        let status = response.status();
        let read = Limited::new(response.into_body(), most).collect().await;
        let text = read.map_err(|error| Undone::Broken(error.to_string().into()))?.to_bytes();
        self.pool.keep(open);
        Ok((status, text))
    }

    #[cfg(test)]
    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

/// Returns the first messages as a JSON array that is not too long, and how many they are: at least one.
fn batch(messages: &[String]) -> (String, usize) {
    let (mut text, mut count) = ("[".to_owned(), 0);
    for message in messages {
        let message = serde_json::Value::from(message.as_str()).to_string();
        if count > 0 && text.len() + message.len() + 2 > MAX_TOLD {
            break;
        }
        if count > 0 {
            text.push(',');
        }
        text.push_str(&message);
        count += 1;
    }
    text.push(']');
    (text, count)
}

/// Tells whether a node that hands a request on keeps a copy of its body, and so can hand it on once more.
pub(crate) fn is_kept(body: &RequestBody) -> bool {
    body.size_hint().exact().is_some_and(|length| length <= KEPT_BODY as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_in_as_few_requests_as_possible() {
        for (lengths, expected) in [
            (&[1, 2, 3][..], 3),
            (&[MAX_TOLD - 4], 1),
            (&[MAX_TOLD - 4, 1], 1),
            (&[MAX_TOLD - 8, 1], 2),
            (&[MAX_TOLD - 7, 1], 1),
            (&[MAX_TOLD, 1], 1),
        ] {
            let messages: Vec<_> = lengths.iter().map(|&length| "x".repeat(length)).collect();
            let (text, count) = batch(&messages);
            assert_eq!(count, expected, "{lengths:?}");
            assert_eq!(serde_json::from_str::<Vec<String>>(&text).unwrap(), messages[..count]);
            assert!(text.len() <= MAX_TOLD || lengths[0] == MAX_TOLD, "{lengths:?}");
        }
    }
}
