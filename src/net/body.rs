//! Request bodies: read whole, within a size, at a pace, and out of the memory that all share; or taken by a task that reads them
//! as they come.

use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::budget::{Budget, Memory, UNCOUNTED_BYTES};
pub use super::left::Kept;
use super::left::Left;
use super::socket::min_bytes_in;
use super::turn::Turn;

/// The body of a request, as its handler gets it. What the handler leaves of it is dropped, unless it was [taken](Self::take).
#[derive(Debug)]
pub struct RequestBody {
    /// `None` once it was taken.
    left: Option<Left>,
    /// It was read to its end: a chunked one has no other sign of that.
    is_over: bool,
    turn: Arc<Turn>,
    claim: Claimed,
}

/// The memory that is kept for a body of HTTP/2 until it is read to its end.
#[cfg(feature = "tls")]
type Claimed = Option<super::claims::Claim>;

/// There is no HTTP/2 without TLS.
#[cfg(not(feature = "tls"))]
type Claimed = Option<std::convert::Infallible>;

impl RequestBody {
    pub(super) fn new(incoming: Incoming, turn: Arc<Turn>) -> Self {
        Self {
            left: Some(Left { put_back: Kept::default(), incoming, trailers: None }),
            is_over: false,
            turn,
            claim: None,
        }
    }

    /// Keeps memory until the body is read to its end or dropped.
    #[cfg(feature = "tls")]
    pub(super) fn claiming(self, claim: Claimed) -> Self {
        Self { claim, ..self }
    }

    /// Returns whose turn it is to write on the connection.
    pub(super) fn turn(&self) -> &Arc<Turn> {
        &self.turn
    }

    /// Puts a body back that was read whole, to be read once more. Its trailers are lost.
    pub fn put_back(&mut self, body: Kept) {
        if let Some(left) = &mut self.left {
            self.is_over &= body.bytes.is_empty();
            left.put_back = body;
        }
    }

    /// Makes something else of the trailers that may come. Without effect once the body was taken.
    pub fn map_trailers(&mut self, map: fn(&HeaderMap) -> HeaderMap) {
        if let Some(left) = &mut self.left {
            left.trailers = Some(map);
        }
    }

    /// Drops the body.
    pub(super) fn into_turn(self) -> Arc<Turn> {
        self.turn
    }

    /// Takes what is left of the body, for a task that reads it while the response is made and after. `None` if it was taken
    /// before. From here on this body is empty.
    ///
    /// In HTTP/1 the connection serves no other request before the taken body was read to its end or dropped. See [`TakenBody`].
    pub fn take(&mut self) -> Option<TakenBody> {
        let left = self.left.take()?;
        let (turn, claim) = (Arc::clone(&self.turn), self.claim.take());
        Some(TakenBody { left, request: turn.take_body(), turn, is_over: false, claim })
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let Some(left) = &mut self.left else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(left).poll_frame(cx));
        self.is_over |= frame.is_none();
        if self.claim.is_some() && (frame.is_none() || self.is_end_stream()) {
            self.claim = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.left.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// What is left of a request's body that was taken from its handler.
///
/// Dropped before its end, it ends the connection, or its stream of HTTP/2: once the response is written, what still comes is read and dropped for
/// a while, and the connection is closed. Until then the response is not lost. [`discard`] reads what is left, so that
/// the connection can stay open.
#[derive(Debug)]
pub struct TakenBody {
    left: Left,
    turn: Arc<Turn>,
    /// The number of its request on the connection.
    request: u32,
    /// It has ended, or failed.
    is_over: bool,
    claim: Claimed,
}

impl Body for TakenBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        // If the response was written before, hyper tells of the end only when the next request comes. A body with trailers has
        // no other sign of its end.
        let frame = if self.is_end_stream() { None } else { ready!(Pin::new(&mut self.left).poll_frame(cx)) };
        self.is_over = !matches!(frame, Some(Ok(_)));
        if self.claim.is_some() && (self.is_over || self.is_end_stream()) {
            self.claim = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.size_hint()
    }
}

impl Drop for TakenBody {
    fn drop(&mut self) {
        self.turn.drop_body(self.request, self.is_over || self.is_end_stream());
    }
}

/// Reads and drops what is left of a body whose request is answered: `most` bytes at the most, for `within` at the longest.
/// Returns whether that was all of it, so that the connection stays open.
pub async fn discard(mut body: TakenBody, most: usize, within: Duration) -> bool {
    let reading = async {
        let mut left = most;
        while let Some(frame) = body.frame().await {
            let length = frame.map(|frame| frame.data_ref().map_or(0, Bytes::len));
            match length.ok().and_then(|length| left.checked_sub(length)) {
                Some(rest) => left = rest,
                None => return false,
            }
        }
        true
    };
    tokio::time::timeout(within, reading).await.unwrap_or(false)
}

/// What a body may take.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits<'l> {
    /// The largest body, in bytes. A larger one fails with [`BodyError::TooLarge`].
    pub max_bytes: usize,
    /// How long the peer may send less than [`MIN_BYTES_PER_SECOND`](super::socket::MIN_BYTES_PER_SECOND). A slower
    /// body fails with [`BodyError::TooSlow`].
    pub stall_timeout: Duration,
    /// The memory it is counted against. A body without room fails with [`BodyError::NoMemory`].
    pub memory: &'l Arc<Budget>,
}

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// It is larger than this limit, in bytes.
    TooLarge(usize),
    /// The connection ended, or its framing broke, before the body was whole.
    Incomplete,
    /// It arrives so slowly that it would never end.
    TooSlow,
    /// There is no memory for it now.
    NoMemory,
}

/// Reads a whole body.
///
/// # Errors
/// See [`BodyError`]. Nothing past the limit is kept, and nothing is read of a body that announces more.
pub async fn read(body: &mut RequestBody, limits: BodyLimits<'_>) -> Result<Kept, BodyError> {
    read_admitted(body, limits, || Ok(())).await
}

/// Reads a whole body, and calls `admit` when it has to wait for bytes that have not arrived yet; what that returns is kept
/// until the body is read. A body that came with its head needs no admission.
///
/// # Errors
/// With the error of `admit`, or a [`BodyError`].
pub async fn read_admitted<A, E: From<BodyError>>(
    body: &mut RequestBody,
    limits: BodyLimits<'_>,
    admit: impl FnOnce() -> Result<A, E>,
) -> Result<Kept, E> {
    // It is whole, and its memory is counted.
    if let Some(left) = body.left.as_mut().filter(|left| !left.put_back.bytes.is_empty()) {
        return Ok(mem::take(&mut left.put_back));
    }
    if body.is_end_stream() {
        return Ok(Kept::default());
    }
    let announced = body.size_hint().exact().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if announced.is_some_and(|bytes| bytes > limits.max_bytes) {
        return Err(BodyError::TooLarge(limits.max_bytes).into());
    }
    let mut gathering = Gathering { announced, ..Gathering::default() };
    while let Some(frame) = body.frame().now_or_never() {
        match frame {
            Some(frame) => drop(gathering.push(frame, limits)?),
            None => return Ok(gathering.finish()),
        }
    }
    let _admission = admit()?;
    // In a box: what waiting takes would be part of every request's future, and few bodies have to wait.
    Ok(Box::pin(read_rest(body, gathering, limits)).await?)
}

/// Reads what has not arrived yet.
async fn read_rest(
    body: &mut RequestBody,
    mut gathering: Gathering,
    limits: BodyLimits<'_>,
) -> Result<Kept, BodyError> {
    let mut window = Window::open(limits.stall_timeout);
    loop {
        match tokio::time::timeout_at(window.until, body.frame()).await {
            Ok(Some(frame)) => window.arrived += gathering.push(frame, limits)?,
            Ok(None) => return Ok(gathering.finish()),
            Err(_) if window.arrived >= min_bytes_in(limits.stall_timeout) => {
                window = Window::open(limits.stall_timeout);
            }
            Err(_) => return Err(BodyError::TooSlow),
        }
    }
}

/// Bytes of an unread body that are dropped to keep its connection open. More is cheaper to refuse: the client opens another.
const DROPPED: usize = 64 << 10;

/// Reads and drops what is left of a body whose request is answered, as far as it has arrived. Returns whether that is all of
/// it, so that the connection can serve another request.
pub(super) async fn drop_arrived(body: &mut RequestBody) -> bool {
    let mut dropped = 0;
    let mut has_waited = false;
    poll_fn(|cx| {
        loop {
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(true),
                Poll::Ready(Some(Ok(frame))) if dropped < DROPPED => {
                    dropped += frame.data_ref().map_or(0, Bytes::len);
                    has_waited = false;
                }
                Poll::Ready(Some(Ok(_) | Err(_))) => return Poll::Ready(false),
                // hyper hands out what is in its buffer only after it was asked for, so the first answer says nothing.
                Poll::Pending if !has_waited => {
                    has_waited = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending => return Poll::Ready(false),
            }
        }
    })
    .await
}

/// A time in which enough must arrive.
struct Window {
    until: Instant,
    /// Bytes that have arrived in it.
    arrived: usize,
}

impl Window {
    fn open(length: Duration) -> Self {
        Self { until: Instant::now() + length, arrived: 0 }
    }
}

/// The body so far. One that comes in one piece, the usual case, is not copied.
#[derive(Default)]
struct Gathering {
    /// The only piece so far.
    first: Bytes,
    /// All pieces, once there are two.
    joined: Vec<u8>,
    /// The length that the head announced, in bytes. A chunked body has none.
    announced: Option<usize>,
    memory: Memory,
}

impl Gathering {
    fn len(&self) -> usize {
        self.first.len() + self.joined.len()
    }

    /// Takes the next frame. Returns the bytes that came with it.
    fn push(&mut self, frame: hyper::Result<Frame<Bytes>>, limits: BodyLimits<'_>) -> Result<usize, BodyError> {
        // Trailers are of no use here.
        let Ok(data) = frame.map_err(|_| BodyError::Incomplete)?.into_data() else { return Ok(0) };
        let length = data.len();
        if length > limits.max_bytes - self.len() {
            return Err(BodyError::TooLarge(limits.max_bytes));
        }
        self.append(data);
        let bytes = self.first.len() + self.joined.capacity();
        if self.memory.resize(bytes, limits.memory) { Ok(length) } else { Err(BodyError::NoMemory) }
    }

    fn append(&mut self, data: Bytes) {
        if self.len() == 0 {
            self.first = data;
            return;
        }
        let length = self.len() + data.len();
        if self.joined.capacity() < length {
            // Reserving all that was announced at once would let a peer reserve memory by a header alone.
            let capacity = match self.announced {
                Some(announced) => announced.min(UNCOUNTED_BYTES.max(4 * length)),
                None => UNCOUNTED_BYTES.max(2 * length),
            };
            self.joined.reserve_exact(capacity.max(length) - self.joined.len());
        }
        self.joined.extend_from_slice(&mem::take(&mut self.first));
        self.joined.extend_from_slice(&data);
    }

    fn finish(self) -> Kept {
        let bytes = if self.joined.is_empty() { self.first } else { self.joined.into() };
        Kept { bytes, memory: self.memory }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gathers pieces of this size, up to this length, and checks what is counted after each.
    fn gather(piece: usize, whole: usize, announced: Option<usize>) {
        let memory = Budget::new(usize::MAX);
        let limits = BodyLimits { max_bytes: whole, stall_timeout: Duration::MAX, memory: &memory };
        let mut gathering = Gathering { announced, ..Gathering::default() };
        for length in (piece..=whole).step_by(piece) {
            let data = Frame::data(vec![b'x'; piece].into());
            assert_eq!(gathering.push(Ok(data), limits), Ok(piece));
            let reserved = gathering.first.len() + gathering.joined.capacity();
            let most = announced.unwrap_or(usize::MAX).min(UNCOUNTED_BYTES.max(4 * length));
            assert!((length..=most).contains(&reserved), "{reserved} for {length} of {announced:?}");
            assert_eq!(memory.used(), if reserved > UNCOUNTED_BYTES { reserved } else { 0 }, "{length}");
        }
        assert_eq!(gathering.finish().bytes, vec![b'x'; whole / piece * piece]);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_body_counts_the_memory_that_is_reserved_for_it() {
        for (piece, whole) in [(1, 20_000), (1_000, 100_000), (100_000, 1 << 20), (100_000, 100_000)] {
            gather(piece, whole, Some(whole));
            gather(piece, whole, None);
        }
    }

    #[test]
    fn a_piece_that_was_copied_is_dropped() {
        let mut gathering = Gathering::default();
        let piece: Arc<[u8]> = vec![0; 100].into();
        gathering.append(Bytes::from_owner(Arc::clone(&piece)));
        assert_eq!(Arc::strong_count(&piece), 2);
        gathering.append(Bytes::from_static(b"more"));
        assert_eq!(Arc::strong_count(&piece), 1);
    }
}
