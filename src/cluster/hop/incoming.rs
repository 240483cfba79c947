//! The response of another node, on its way to the visitor.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::{self, HeaderMap, HeaderName};
use http::request::Parts;
use http::{Method, Response};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio_util::sync::CancellationToken;

use super::outgoing::Sending;
use super::pool::{Open, Pool};
use crate::net::connection::Connection;
use crate::net::reply::{Reply, ReplyBody};
use crate::net::streaming::{Broken, Source};
use crate::net::upgrade;

/// Headers of a response that are the hop's.
const OF_HOP: [HeaderName; 3] =
    [header::TRANSFER_ENCODING, HeaderName::from_static("keep-alive"), HeaderName::from_static("proxy-connection")];

/// A connection that a response comes on.
pub(super) struct Occupied {
    pub(super) open: Open,
    pub(super) pool: Arc<Pool>,
    pub(super) sending: Sending,
    /// Completes when the visitor has left, if nothing else would tell.
    pub(super) gone: Option<BoxFuture<'static, ()>>,
}

impl Occupied {
    /// Gives the connection back once the response was read and the request is sent. A connection whose callee has not asked for
    /// the request's body is closed.
    fn release(self) {
        let Self { mut open, pool, sending, gone } = self;
        if sending.is_sent() {
            pool.keep(open);
        } else if sending.is_begun() {
            // The end of the response is not the end of what the visitor sends.
            drop(tokio::spawn(async move {
                tokio::select! {
                    ready = open.sender.ready() => if ready.is_ok() { pool.keep(open) },
                    () = gone.unwrap_or_else(|| pending().boxed()) => (),
                }
            }));
        }
    }

    /// Returns whether the visitor has left.
    fn is_left(&mut self, cx: &mut Context<'_>) -> bool {
        self.gone.as_mut().is_some_and(|gone| gone.as_mut().poll(cx).is_ready())
    }
}

/// Makes the reply to a visitor of another node's response.
pub(super) fn reply(response: Response<Incoming>, method: &Method, occupied: Occupied) -> Reply {
    let (head, incoming) = response.into_parts();
    let body = body(&head.headers, incoming, method, occupied);
    let mut reply = Reply::new(body);
    *reply.status_mut() = head.status;
    *reply.headers_mut() = head.headers;
    for name in OF_HOP {
        reply.headers_mut().remove(name);
    }
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
        let frame = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending if occupied.is_left(cx) => return Poll::Ready(Some(Err(Broken))),
            Poll::Pending => {
                self.occupied = Some(occupied);
                return Poll::Pending;
            }
        };
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
    /// Makes the reply to the visitor, after which both directions are passed on until both have ended.
    pub(super) fn reply(self, response: Response<Incoming>, occupied: Occupied) -> Reply {
        let Self { visitor, node } = self;
        let piped = CancellationToken::new();
        let over = piped.clone().drop_guard();
        drop(tokio::spawn(async move {
            let _over = over;
            // Keeps the connection's place.
            let _occupied = occupied;
            let Some((mut visitor, read)) = visitor.await else { return };
            let Ok(node) = node.await else { return };
            let mut node = TokioIo::new(node);
            if node.write_all(&read).await.is_err() {
                return;
            }
            drop(read);
            if let Err(error) = copy_bidirectional(&mut visitor, &mut node).await {
                tracing::debug!(%error, "an upgraded connection through another node ended");
            }
        }));
        let (head, _) = response.into_parts();
        let mut reply = Reply::default();
        *reply.status_mut() = head.status;
        *reply.headers_mut() = head.headers;
        reply.extensions_mut().insert(Piped(piped));
        reply
    }
}
