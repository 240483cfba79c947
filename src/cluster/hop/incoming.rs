//! The response of another node, on its way to the visitor.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{self, BoxFuture};
use http::header::{self, HeaderMap, HeaderName};
use http::request::Parts;
use http::{Method, Response};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio_util::io::{InspectReader, InspectWriter};
use tokio_util::sync::CancellationToken;

use super::outgoing::Sending;
use super::pool::{Open, Pool};
use super::trailers;
use crate::cluster::watched::Watched;
use crate::net::connection::Connection;
use crate::net::reply::{Reply, ReplyBody};
use crate::net::streaming::{Broken, Source};
use crate::net::upgrade;

/// Headers of a response that are the hop's.
const OF_HOP: [HeaderName; 3] =
    [header::TRANSFER_ENCODING, HeaderName::from_static("keep-alive"), HeaderName::from_static("proxy-connection")];

/// A connection that a response comes on.
pub(super) struct Occupied {
    open: Open,
    pool: Arc<Pool>,
    sending: Sending,
    /// The node, for as long as its connection has a request.
    watched: Watched,
    /// Completes when the visitor has left, if nothing else would tell.
    left: Option<BoxFuture<'static, ()>>,
    /// Completes when the visitor or the node is gone. Made when it is polled first.
    lost: Option<BoxFuture<'static, ()>>,
}

impl Occupied {
    pub(super) fn new(
        open: Open,
        pool: &Arc<Pool>,
        sending: Sending,
        (watched, left): (&Watched, Option<BoxFuture<'static, ()>>),
    ) -> Self {
        Self { open, pool: Arc::clone(pool), sending, watched: watched.clone(), left, lost: None }
    }

    /// Gives the connection back once the response was read and the request is sent. A connection whose callee has not asked for
    /// the request's body is closed.
    fn release(mut self) {
        if self.sending.is_sent() {
            self.pool.keep(self.open);
        } else if self.sending.is_begun() {
            // The end of the response is not the end of what the visitor sends.
            drop(tokio::spawn(async move {
                let lost = self.lost();
                tokio::select! {
                    ready = self.open.sender.ready() => if ready.is_ok() { self.pool.keep(self.open) },
                    () = lost => (),
                }
            }));
        }
    }

    /// Returns what completes when the visitor has left or the node is gone.
    fn lost(&mut self) -> BoxFuture<'static, ()> {
        let (left, gone) = (self.left.take(), self.watched.gone());
        match left {
            None => gone.boxed(),
            Some(left) => future::select(left, gone.boxed()).map(drop).boxed(),
        }
    }

    /// Returns whether the visitor has left or the node is gone.
    fn is_lost(&mut self, cx: &mut Context<'_>) -> bool {
        let mut lost = self.lost.take().unwrap_or_else(|| self.lost());
        let is_lost = lost.as_mut().poll(cx).is_ready();
        self.lost = Some(lost);
        is_lost
    }
}

/// Makes the reply to a visitor of another node's response. [`Sending`] is beside it.
pub(super) fn reply(response: Response<Incoming>, method: &Method, occupied: Occupied) -> Reply {
    let (head, incoming) = response.into_parts();
    let sending = occupied.sending.clone();
    let body = body(&head.headers, incoming, method, occupied);
    let mut reply = Reply::new(body);
    reply.extensions_mut().insert(sending);
    *reply.status_mut() = head.status;
    *reply.headers_mut() = head.headers;
    for name in OF_HOP {
        reply.headers_mut().remove(name);
    }
    trailers::withdraw(reply.headers_mut());
    // That the hop's connection closes says nothing of the visitor's.
    let is_of_hop = |value: &[u8]| value.eq_ignore_ascii_case(b"close") || value.eq_ignore_ascii_case(b"keep-alive");
    if reply.headers().get(header::CONNECTION).is_some_and(|value| is_of_hop(value.as_bytes())) {
        reply.headers_mut().remove(header::CONNECTION);
    }
    if let Some(reason) = head.extensions.get::<ReasonPhrase>() {
        reply.extensions_mut().insert(reason.clone());
    }
    reply
}

fn body(headers: &HeaderMap, incoming: Incoming, method: &Method, occupied: Occupied) -> ReplyBody {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if !incoming.is_end_stream() {
        return ReplyBody::from_source(Box::new(Streaming { incoming, occupied: Some(occupied) }), length);
    }
    occupied.release();
    // What a GET would get has this length; nothing of it is sent.
    if *method == Method::HEAD && length.is_some() {
        return ReplyBody::from_source(Box::new(Nothing), length);
    }
    ReplyBody::default()
}

/// A body that is never asked for.
struct Nothing;

impl Source for Nothing {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Poll::Ready(None)
    }
}

/// A body that comes from another node. Dropped before its end, it closes the connection to that node.
struct Streaming {
    incoming: Incoming,
    /// `None` after the end.
    occupied: Option<Occupied>,
}

impl Source for Streaming {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some(mut occupied) = self.occupied.take() else { return Poll::Ready(None) };
        let mut frame = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending if occupied.is_lost(cx) => return Poll::Ready(Some(Err(Broken))),
            Poll::Pending => {
                self.occupied = Some(occupied);
                return Poll::Pending;
            }
        };
        if let Some(trailers) = frame.as_mut().and_then(|frame| frame.as_mut().ok()?.trailers_mut()) {
            *trailers = trailers::unpack(trailers);
        }
        match frame {
            // A promised length ends the body, or trailers do, and nobody asks for more.
            Some(Ok(frame)) if self.incoming.is_end_stream() || frame.is_trailers() => {
                occupied.release();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Ok(frame)) => {
                self.occupied = Some(occupied);
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "the response of another node broke off");
                Poll::Ready(Some(Err(Broken)))
            }
            None => {
                occupied.release();
                Poll::Ready(None)
            }
        }
    }
}

/// A visitor's connection and another node's, which become one once the visitor has got its 101.
pub(super) struct Joined<V> {
    visitor: V,
    node: OnUpgrade,
}

/// Tells, beside a 101, when the two connections have ended.
#[derive(Debug, Clone)]
pub(crate) struct Piped(CancellationToken);

impl Piped {
    /// Completes when they have.
    pub(crate) async fn over(&self) {
        self.0.cancelled().await;
    }
}

/// Takes what a 101 needs of a visitor's request and of another node's response.
pub(super) fn join(
    head: &mut Parts,
    response: &mut Response<Incoming>,
) -> Joined<impl Future<Output = Option<(Connection, Bytes)>> + Send + use<>> {
    Joined { visitor: upgrade::accept(head), node: hyper::upgrade::on(response) }
}

impl<V: Future<Output = Option<(Connection, Bytes)>> + Send + 'static> Joined<V> {
    /// Makes the reply to the visitor, after which both directions are passed on until both have ended. [`Piped`] and [`Sending`] are
    /// beside it.
    pub(super) fn reply(self, response: Response<Incoming>, occupied: Occupied) -> Reply {
        let Self { visitor, node } = self;
        let piped = CancellationToken::new();
        let over = piped.clone().drop_guard();
        let sending = occupied.sending.clone();
        drop(tokio::spawn(async move {
            let _over = over;
            // Keeps the connection's place.
            let occupied = occupied;
            tokio::select! {
                () = pass_on(visitor, node, &occupied.sending) => (),
                () = occupied.watched.gone() => tracing::debug!("the node of an upgraded connection is gone"),
            }
        }));
        let (head, _) = response.into_parts();
        let mut reply = Reply::default();
        *reply.status_mut() = head.status;
        *reply.headers_mut() = head.headers;
        reply.extensions_mut().insert(Piped(piped));
        reply.extensions_mut().insert(sending);
        reply
    }
}

/// Passes on both directions until both have ended.
async fn pass_on(visitor: impl Future<Output = Option<(Connection, Bytes)>>, node: OnUpgrade, sending: &Sending) {
    let Some((visitor, read)) = visitor.await else { return };
    sending.carried(read.len(), 0);
    let visitor = InspectWriter::new(visitor, |bytes| sending.carried(0, bytes.len()));
    let mut visitor = InspectReader::new(visitor, |bytes| sending.carried(bytes.len(), 0));
    let Ok(node) = node.await else { return };
    let mut node = TokioIo::new(node);
    if node.write_all(&read).await.is_err() {
        return;
    }
    drop(read);
    if let Err(error) = copy_bidirectional(&mut visitor, &mut node).await {
        tracing::debug!(%error, "an upgraded connection through another node ended");
    }
}
