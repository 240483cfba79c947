//! One request on a connection to another node, and its response.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::upgrade::OnUpgrade;
use tokio::sync::{Notify, oneshot};

use super::note::{Note, on_the_wire};
use super::outgoing::{Outgoing, Sending, Streamed};
use super::pool::Open;
use super::trailers;
use super::undone::Undone;
use super::words::{ELSEWHERE, HOP, REFUSED};
use crate::causes::words;
use crate::net::body::{BodyError, RequestBody, TakenBody};

/// What is sent.
pub(super) struct Asking<'r> {
    pub(super) head: &'r Parts,
    pub(super) note: &'r Note,
    pub(super) content: Content<'r>,
}

/// The body of what is sent.
pub(super) enum Content<'r> {
    /// It is in memory, and can be sent again.
    Whole(Bytes),
    /// It is the visitor's, and can be sent once. It is not touched before the callee asks for it.
    Visitors {
        body: &'r mut RequestBody,
        /// The length that the visitor has told, in bytes.
        length: Option<u64>,
        /// Completes when the visitor has left.
        gone: &'r mut BoxFuture<'static, ()>,
    },
}

/// A response, and how much of the request is sent.
pub(super) type Answered = (Response<Incoming>, Sending);

/// Why there is no response.
pub(super) enum Failed {
    /// The connection had been closed before anything was sent.
    Closed,
    Undone(Undone),
}

impl Asking<'_> {
    /// Sends the request on a connection, and waits for the head of its response.
    ///
    /// # Errors
    /// With [`Undone::Elsewhere`], [`Undone::Unreached`], [`Undone::Broken`], [`Undone::Left`] or [`Undone::Body`].
    pub(super) async fn on(&mut self, open: &mut Open) -> Result<Answered, Failed> {
        match &mut self.content {
            Content::Whole(bytes) => {
                let request = request(self.head, self.note, Outgoing::Whole(bytes.clone()), open)?;
                let response = open.sender.try_send_request(request).await;
                Ok((checked(response.map_err(|error| failed(&error))?)?, Sending::whole(bytes.len())))
            }
            Content::Visitors { body, length, gone } => {
                let (give, taken) = oneshot::channel();
                let (streamed, sending) = Streamed::new(taken, *length);
                let mut request = request(self.head, self.note, Outgoing::Streamed(streamed), open)?;
                let asked_for = Arc::new(Notify::new());
                let asks = Arc::clone(&asked_for);
                hyper::ext::on_informational(&mut request, move |response| {
                    if response.status() == StatusCode::CONTINUE {
                        asks.notify_one();
                    }
                });
                let response = open.sender.try_send_request(request);
                let mut feed = Some(give);
                let response = awaited(response, (body, &mut feed, &sending), &asked_for, gone).await?;
                let response = match checked(response.map_err(|error| failed(&error))?) {
                    // It has read what the next node would need.
                    Err(Failed::Undone(Undone::Elsewhere)) if feed.is_none() => {
                        let reason = "the request became another node's while its body was read";
                        return Err(Failed::Undone(Undone::Broken(reason.into())));
                    }
                    checked => checked?,
                };
                // A callee that answers before it reads does not ask: hyper sends no 100 after the response.
                if !leaves_unread(&response) {
                    start(body, &mut feed, &sending);
                }
                Ok((response, sending))
            }
        }
    }
}

/// Waits for a response, and starts to send the body once the callee asks for it.
async fn awaited<T>(
    response: impl Future<Output = T>,
    (body, feed, sending): (&mut RequestBody, &mut Option<oneshot::Sender<TakenBody>>, &Sending),
    asked_for: &Notify,
    gone: &mut BoxFuture<'static, ()>,
) -> Result<T, Failed> {
    tokio::pin!(response);
    loop {
        tokio::select! {
            biased;
            response = &mut response => return Ok(response),
            () = asked_for.notified(), if feed.is_some() => start(body, feed, sending),
            () = &mut *gone => return Err(Failed::Undone(Undone::Left)),
        }
    }
}

/// Sends the visitor's body from now on.
fn start(body: &mut RequestBody, feed: &mut Option<oneshot::Sender<TakenBody>>, sending: &Sending) {
    if let (Some(give), Some(body)) = (feed.take(), body.take()) {
        sending.begin();
        // Dropped, if the connection is gone: its request fails.
        let _ = give.send(body);
    }
}

/// Returns whether a response says that the rest of its request is not read.
fn leaves_unread(response: &Response<Incoming>) -> bool {
    let status = response.status();
    (status.is_client_error() || status.is_server_error())
        && response.headers().get(header::CONNECTION).is_some_and(|value| value == "close")
}

/// Returns why a request has no response.
fn failed(error: &TrySendError<Request<Outgoing>>) -> Failed {
    if error.message().is_some() {
        return Failed::Closed;
    }
    let error = error.error();
    Failed::Undone(if error.is_user() {
        Undone::Body(BodyError::Incomplete)
    } else {
        Undone::Broken(words(error).into())
    })
}

/// Looks whether the callee has answered the request itself, or says that it does not.
fn checked(response: Response<Incoming>) -> Result<Response<Incoming>, Failed> {
    match response.headers().get(HOP).map(HeaderValue::as_bytes) {
        None => Ok(response),
        Some(said) if said == ELSEWHERE.as_bytes() => Err(Failed::Undone(Undone::Elsewhere)),
        Some(said) if said == REFUSED.as_bytes() => {
            Err(Failed::Undone(Undone::Unreached("it does not take the request's stamp: its log says why".into())))
        }
        Some(_) => Err(Failed::Undone(Undone::Broken("its response is that of a later version".into()))),
    }
}

/// Makes the request as it is on the wire, with its stamp.
fn request(head: &Parts, note: &Note, body: Outgoing, open: &mut Open) -> Result<Request<Outgoing>, Failed> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.clone();
    let headers = request.headers_mut();
    headers.reserve(head.headers.len() + 6);
    for (name, value) in on_the_wire(head) {
        headers.append(name, value.clone());
    }
    // Trailers of the response may come, whatever the visitor takes: its own connection knows that.
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    let is_upgrade = head.extensions.get::<OnUpgrade>().is_some();
    let named = if is_upgrade { "te, upgrade" } else { "te" };
    headers.insert(header::CONNECTION, HeaderValue::from_static(named));
    if is_upgrade {
        for value in head.headers.get_all(header::UPGRADE) {
            headers.append(header::UPGRADE, value.clone());
        }
    }
    frame(&mut request);
    let (parts, body) = request.into_parts();
    let stamp =
        open.stamp(&parts, note).map_err(|forged| Failed::Undone(Undone::Unreached(forged.to_string().into())))?;
    let mut request = Request::from_parts(parts, body);
    request.headers_mut().insert(HOP, stamp);
    Ok(request)
}

/// Says how the body of a request ends, and that a body of the visitor's is not sent before it is asked for.
fn frame(request: &mut Request<Outgoing>) {
    let length = request.body().size_hint().exact();
    let is_visitors = matches!(request.body(), Outgoing::Streamed(_));
    let headers = request.headers_mut();
    match length {
        // hyper says what is to be said of none.
        Some(0) => (),
        Some(length) => _ = headers.insert(header::CONTENT_LENGTH, length.into()),
        None => {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            trailers::announce(headers);
        }
    }
    if is_visitors {
        headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
    }
}
