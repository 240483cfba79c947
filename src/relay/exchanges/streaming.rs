//! An exchange with an end that streams: the request goes out at once and its body behind it, and the response's head is the
//! visitor's as soon as it comes.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use hyper::body::Body as _;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::download::{Download, is_event_stream};
use super::event::EndRequest;
use super::exchange::Exchange;
use super::hold::{Hold, held};
use super::relaying::{Relaying, Told};
use super::upgraded::{self, Upgraded};
use super::upload::upload;
use crate::net;
use crate::net::body::{BodyError, RequestBody};
use crate::net::reply::{self, Reply, ReplyBody};
use crate::net::websocket::Handshake;
use crate::proto::exchange::stream::server::Begin;
use crate::proto::exchange::stream::{AbortCode, BytesAs, MAX_INLINE, Terms, WebSocketAs};
use crate::proto::exchange::{Body, ExchangeId, InvalidAnswer, Response, Streamed};
use crate::proto::limit::Limit;
use crate::proto::socket_io::connection::AckError;
use crate::relay::failure::Failure;
use crate::relay::streams::{Beginning, First, Head, IDLE, Lease, Phase, Room, Said, Stall, Stream, Waiter};
use crate::relay::tunnels::{NotEmitted, Seat, Tunnel};

/// What came of a request.
pub(super) enum Came {
    /// What the visitor is told, whole.
    Told(Told),
    /// The head of a response whose body follows.
    Stream(Box<Streaming>),
    /// The request asks for a WebSocket in a wrong way, of which this is the answer.
    NoHandshake(Box<Reply>),
}

impl Came {
    /// Returns the status that the end has answered with; `None` if it has not.
    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Told(Told::Answer(response)) => Some(response.status),
            Self::Stream(streaming) => Some(streaming.head.response.status),
            Self::Told(Told::Ok) | Self::NoHandshake(_) => None,
        }
    }
}

/// A response whose head has come.
pub(super) struct Streaming {
    head: Head,
    lease: Lease,
    seat: Seat,
    /// What a WebSocket in messages mode is accepted with. `None` for a raw one, whose end has done the handshake.
    handshake: Option<Handshake>,
}

/// A request to an end that streams, and what it was asked so far.
pub(super) struct Asking<'a> {
    pub(super) exchange: &'a mut Exchange,
    pub(super) tunnel: &'a Arc<Tunnel>,
    pub(super) id: ExchangeId,
    /// The visitor asks for a WebSocket.
    pub(super) is_upgrade: bool,
    /// The request may go to another end if the first leaves without an answer, and has not done so.
    pub(super) may_repeat: &'a mut bool,
}

/// What came of asking an end.
enum Asked {
    /// The end has answered, or something else is known.
    Came(Result<Came, Failure>),
    /// The end left before it was asked.
    Gone,
}

impl Relaying {
    /// Hands a request to an end that streams, and waits for what comes first of its answer.
    async fn ask_streaming(
        &self,
        asking: &mut Asking<'_>,
        seat: Seat,
        terms: Terms,
        request: &EndRequest<'_>,
        body: Option<&mut RequestBody>,
    ) -> Result<Asked, Failure> {
        let Asking { exchange, tunnel, id, is_upgrade, .. } = asking;
        let (id, is_upgrade, origin) = (*id, *is_upgrade, request.origin);
        let is_streamed = body.is_some();
        let place = body.as_ref().map(|_| self.upload_place(request.arrival.client)).transpose()?;
        let room = Room {
            chunk: terms.chunk,
            most: seat.grants().map_or(0, |grants| grants.left()).max(terms.chunk),
            reads_ahead: is_streamed || is_upgrade,
            max_message: self.config.payload_limit(),
        };
        let end = Arc::clone(seat.end());
        let tell = move |told| end.tell(told);
        let handshake = match (is_upgrade, terms.websocket) {
            (true, WebSocketAs::Messages) => match Handshake::parse(request.head) {
                Ok(handshake) => Some(handshake),
                Err(reply) => return Ok(Asked::Came(Ok(Came::NoHandshake(reply)))),
            },
            (true, WebSocketAs::Raw) | (false, _) => None,
        };
        let is_head = request.head.method == Method::HEAD;
        let (stream, window) = Stream::reserve(id, is_head, room, tunnel.memory(), tell).ok_or(Failure::Busy)?;
        let ack_id = tunnel.next_ack();
        let upgrade = is_upgrade.then_some("websocket");
        let streamed = Streamed { is_streamed, window, upgrade, via: &self.via };
        let inline = if is_streamed { Body::Absent } else { Body::Bytes(request.body.clone()) };
        let event = request.event(&seat, ack_id, &inline, Some(streamed))?;
        let said = Arc::<Said>::default();
        let (waiter, first) = Waiter::new(Some(Arc::clone(&said)));
        let begin = Begin { is_streamed, is_upgrade, window };
        let beginning = Beginning { event, waiter, said, stream: Arc::clone(&stream), begin, origin };
        // From here on, the end hears of it if this is dropped.
        let mut lease = Lease::new(Arc::clone(&stream));
        match tunnel.begin(&seat, beginning) {
            Ok(()) => exchange.event_out_streaming(),
            Err(NotEmitted::Gone) => {
                self.tunnels.lost(request.token, tunnel, &seat);
                return Ok(Asked::Gone);
            }
            Err(NotEmitted::Overloaded) => {
                self.budgets.hits.hit(Limit::WaitingCommands);
                return Err(Failure::Overloaded);
            }
        }
        if let Some((body, place)) = body.and_then(RequestBody::take).zip(place) {
            let limit = self.config.max_stream_body.map_or(u64::MAX, |limit| limit as u64);
            tokio::spawn(upload(body, Arc::clone(&stream), limit, request.arrival.gone(), place));
        }
        let came = first_of(first, &stream, self.timeout(tunnel)).await;
        exchange.ack_in();
        if let Some(bytes) = stream.up_bytes() {
            exchange.sent(bytes);
        }
        Ok(Asked::Came(match came {
            Heard::First(First::Head(head)) => match choose(&head, handshake) {
                Ok(handshake) => Ok(Came::Stream(Box::new(Streaming { head, lease, seat, handshake }))),
                Err(invalid) => {
                    lease.fail(AbortCode::Protocol);
                    Err(Failure::InvalidAnswer(invalid))
                }
            },
            Heard::First(First::Ack(outcome)) => {
                lease.done();
                self.told(outcome, tunnel, origin).map(Came::Told)
            }
            Heard::First(First::InvalidHead(invalid)) => {
                lease.done();
                Err(Failure::InvalidAnswer(invalid))
            }
            Heard::First(First::Aborted(code, message)) => {
                lease.done();
                Err(Failure::Aborted(code, message))
            }
            Heard::Lost => {
                lease.done();
                Err(Failure::Disconnected)
            }
            Heard::Nothing => {
                lease.fail(AbortCode::Timeout);
                self.told(Err(AckError::TimedOut), tunnel, origin).map(Came::Told)
            }
            Heard::NoBody(BodyError::TooLarge(limit)) => Err(Failure::StreamTooLarge(limit)),
            Heard::NoBody(error) => Err(error.into()),
        }))
    }

    /// Hands the request to an end of the tunnel, as long as the ends that are chosen stream. Returns `None` for one that does not.
    pub(super) async fn try_to_stream(
        &self,
        mut asking: Asking<'_>,
        request: &mut EndRequest<'_>,
        body: &mut RequestBody,
        hold: &mut Hold<'_>,
    ) -> Result<Option<Came>, Failure> {
        loop {
            let Some(seat) = asking.tunnel.choose() else {
                held(asking.exchange, hold).await?;
                continue;
            };
            let Some(terms) = seat.terms() else {
                return if asking.is_upgrade { Err(Failure::UpgradeUnsupported) } else { Ok(None) };
            };
            if asking.is_upgrade && terms.bytes == BytesAs::Base64 {
                return Err(Failure::UpgradeUnsupported);
            }
            if request.names_in_via(&self.via) {
                return Err(Failure::Loop);
            }
            let is_read = request.body_length.is_some();
            let announced = body.size_hint().exact();
            let is_inline = is_read || is_inline(announced, self.config.max_body);
            if !is_read && is_inline {
                self.read_into(asking.exchange, request, body, asking.tunnel).await?;
            } else if !is_inline {
                request.body_length = announced;
            }
            if let (Some(announced), Some(limit)) = (announced, self.config.max_stream_body)
                && announced > limit as u64
            {
                return Err(Failure::StreamTooLarge(limit));
            }
            asking.exchange.take_place_in(asking.tunnel)?;
            let streamed = if is_inline { None } else { Some(&mut *body) };
            match self.ask_streaming(&mut asking, seat, terms, request, streamed).await? {
                Asked::Gone if is_inline => (),
                Asked::Gone => request.body_length = None,
                Asked::Came(Err(Failure::Disconnected | Failure::NotConnected)) if *asking.may_repeat && is_inline => {
                    *asking.may_repeat = false;
                    hold.renew();
                }
                Asked::Came(came) => return came.map(Some),
            }
        }
    }
}

/// Returns whether a body goes along with the request: its length is known, and small.
fn is_inline(length: Option<u64>, max_body: usize) -> bool {
    length.is_some_and(|length| length <= MAX_INLINE.min(max_body) as u64)
}

/// Lets a WebSocket in messages mode have the subprotocol that its end has chosen.
///
/// # Errors
/// When the visitor has not named it.
fn choose(head: &Head, handshake: Option<Handshake>) -> Result<Option<Handshake>, InvalidAnswer> {
    let Some(mut handshake) = handshake else { return Ok(None) };
    let chosen = head.response.headers.get(header::SEC_WEBSOCKET_PROTOCOL).map(HeaderValue::as_bytes);
    if head.response.status == StatusCode::SWITCHING_PROTOCOLS && !handshake.choose(chosen) {
        return Err(InvalidAnswer::from("the visitor has not asked for this sec-websocket-protocol".to_owned()));
    }
    Ok(Some(handshake))
}

/// Makes the 101, after which the connection is passed on in a task of its own.
fn upgrade(upgraded: Upgraded, handshake: Option<Handshake>, headers: HeaderMap, request: &mut Parts) -> Reply {
    let Some(handshake) = handshake else {
        let connection = net::upgrade::accept(request);
        let mut reply = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
        *reply.headers_mut() = headers;
        reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        reply.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        tokio::spawn(upgraded::raw(connection, upgraded));
        return reply;
    };
    let limits = upgraded.websocket_limits();
    let (mut reply, websocket) = handshake.accept(request, limits);
    // Cookies and the like; those of the handshake are the relay's.
    for (name, value) in &headers {
        if !name.as_str().starts_with("sec-websocket-") {
            reply.headers_mut().append(name, value.clone());
        }
    }
    tokio::spawn(upgraded::messages(websocket, upgraded));
    reply
}

/// What came first of an end.
enum Heard {
    First(First),
    /// The end's session is gone.
    Lost,
    /// Nothing in time.
    Nothing,
    /// The visitor's body does not come.
    NoBody(BodyError),
}

impl From<Stall> for Heard {
    fn from(stall: Stall) -> Self {
        match stall {
            Stall::Body(error) => Self::NoBody(error),
            Stall::NotTaken => Self::Nothing,
        }
    }
}

/// How much later than the upload itself the exchange notices that nothing moves: the upload knows whose fault it is.
const LATER: Duration = Duration::from_millis(100);

/// Waits for what comes first of an end. Once it has had the whole request, it may take `timeout` for that; before, something must
/// move now and then.
async fn first_of(first: oneshot::Receiver<First>, stream: &Stream, timeout: Duration) -> Heard {
    let overdue = async {
        let mut timer = pin!(sleep_until(Instant::now() + IDLE));
        poll_fn(|cx| {
            loop {
                let due = match stream.phase(cx) {
                    Ok(Phase::Moving(at)) => at + IDLE + LATER,
                    Ok(Phase::Through(at)) => at + timeout,
                    Err(stall) => return Poll::Ready(stall.into()),
                };
                if due <= Instant::now() {
                    return Poll::Ready(Heard::Nothing);
                }
                timer.as_mut().reset(due);
                ready!(timer.as_mut().poll(cx));
            }
        })
        .await
    };
    tokio::select! {
        biased;
        first = first => match first {
            Ok(first) => Heard::First(first),
            // The session gives up what has failed.
            Err(_) => stream.failure().map_or(Heard::Lost, Heard::from),
        },
        came = overdue => came,
    }
}

impl Streaming {
    /// The response without its body.
    pub(super) fn response_mut(&mut self) -> &mut Response {
        &mut self.head.response
    }

    /// Makes the response, whose body comes by and by. The exchange is over when that is.
    pub(super) fn reply(self, mut exchange: Exchange, request: &mut Parts) -> Reply {
        let Self { head: Head { response, trailer }, lease, seat, handshake } = self;
        let status = response.status;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            exchange.begin_stream(status);
            return upgrade(Upgraded::new(exchange, lease, seat), handshake, response.headers, request);
        }
        let length = response.declared_length;
        // Of a body without bytes, hyper would ask for nothing, and drop it like that of a visitor that has left.
        let has_no_body = lease.stream().wants_no_body(status) || length == Some(0);
        let is_silent = is_event_stream(status, &response.headers);
        exchange.begin_stream(status);
        let download = Download::new(exchange, lease, seat, length, is_silent);
        let body = if has_no_body {
            download.without_body();
            ReplyBody::default()
        } else {
            ReplyBody::from_source(Box::new(download), length)
        };
        let mut reply = Reply::new(body);
        *reply.status_mut() = status;
        *reply.headers_mut() = response.headers;
        let headers = reply.headers_mut();
        let tells_length = !has_no_body || (status != StatusCode::NO_CONTENT && status != StatusCode::RESET_CONTENT);
        if let Some(length) = length.filter(|_| tells_length) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        } else if let Some(trailer) = trailer {
            headers.insert(header::TRAILER, trailer);
        }
        reply
    }
}
