//! Request bodies: read whole, within a size, at a pace, and out of the memory that all share.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;

use super::budget::{Budget, Memory, UNCOUNTED_BYTES};
use super::connection::min_bytes_in;

/// A body in memory, and the memory that it counts.
#[derive(Debug, Default)]
pub struct Kept {
    /// The body.
    pub bytes: Bytes,
    /// Its memory, given back when this is dropped.
    pub memory: Memory,
}

/// What a body may take.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits<'l> {
    /// The largest body, in bytes. A larger one fails with [`BodyError::TooLarge`].
    pub max_bytes: usize,
    /// How long the peer may send less than [`MIN_BYTES_PER_SECOND`](super::connection::MIN_BYTES_PER_SECOND). A slower
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
pub async fn read(body: Incoming, limits: BodyLimits<'_>) -> Result<Kept, BodyError> {
    read_admitted(body, limits, || Ok(())).await
}

/// Reads a whole body, and calls `admit` when it has to wait for bytes that have not arrived yet; what that returns is kept
/// until the body is read. A body that came with its head needs no admission.
///
/// # Errors
/// With the error of `admit`, or a [`BodyError`].
pub async fn read_admitted<A, E: From<BodyError>>(
    mut body: Incoming,
    limits: BodyLimits<'_>,
    admit: impl FnOnce() -> Result<A, E>,
) -> Result<Kept, E> {
    if body.is_end_stream() {
        return Ok(Kept::default());
    }
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limits.max_bytes {
        return Err(BodyError::TooLarge(limits.max_bytes).into());
    }
    let mut gathering = Gathering { first: Bytes::new(), rest: None, announced, memory: Memory::default() };
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
async fn read_rest(mut body: Incoming, mut gathering: Gathering, limits: BodyLimits<'_>) -> Result<Kept, BodyError> {
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
struct Gathering {
    first: Bytes,
    rest: Option<BytesMut>,
    /// The length that the head announced, in bytes.
    announced: usize,
    memory: Memory,
}

impl Gathering {
    fn len(&self) -> usize {
        self.rest.as_ref().map_or(self.first.len(), BytesMut::len)
    }

    /// Takes the next frame. Returns the bytes that came with it.
    fn push(
        &mut self,
        frame: hyper::Result<hyper::body::Frame<Bytes>>,
        limits: BodyLimits<'_>,
    ) -> Result<usize, BodyError> {
        // Trailers are of no use here.
        let Ok(data) = frame.map_err(|_| BodyError::Incomplete)?.into_data() else { return Ok(0) };
        let length = data.len();
        if length > limits.max_bytes - self.len() {
            return Err(BodyError::TooLarge(limits.max_bytes));
        }
        self.append(data);
        if self.memory.resize(self.len(), limits.memory) { Ok(length) } else { Err(BodyError::NoMemory) }
    }

    fn append(&mut self, data: Bytes) {
        if self.first.is_empty() && self.rest.is_none() {
            self.first = data;
            return;
        }
        let joined = self.rest.get_or_insert_with(|| {
            // Reserving what was announced would let a peer reserve memory by a header alone.
            let capacity = self.announced.min(4 * self.first.len().max(UNCOUNTED_BYTES));
            let mut joined = BytesMut::with_capacity(capacity);
            joined.extend_from_slice(&self.first);
            joined
        });
        joined.extend_from_slice(&data);
    }

    fn finish(self) -> Kept {
        Kept { bytes: self.rest.map_or(self.first, BytesMut::freeze), memory: self.memory }
    }
}
