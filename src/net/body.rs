//! Bodies of requests: read whole, within a size, at a pace, and out of the memory that all share.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;

use super::budget::{Budget, Held};
use super::connection;

/// What a body may hold before it is counted, in bytes: as much as the connection itself costs.
pub(crate) const UNCOUNTED: usize = 16 << 10;

/// A body in memory, and the memory it holds.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) bytes: Bytes,
    pub(crate) held: Option<Held>,
}

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// It is larger than the limit.
    TooLarge,
    /// It stopped before its end.
    Incomplete,
    /// It comes so slowly that it would never end.
    TooSlow,
    /// There is no memory for it now.
    NoMemory,
}

/// Reads a body of at most `limit` bytes. Nothing past the limit is kept, and nothing is read when it is announced.
pub(crate) async fn read(
    mut body: Incoming,
    limit: usize,
    stall_timeout: Duration,
    memory: &Arc<Budget>,
) -> Result<Kept, BodyError> {
    if body.is_end_stream() {
        return Ok(Kept { bytes: Bytes::new(), held: None });
    }
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(BodyError::TooLarge);
    }
    let mut whole = Whole { first: Bytes::new(), rest: None, announced };
    let mut held = None;
    let mut window = Window { until: Instant::now() + stall_timeout, arrived: 0 };
    loop {
        let frame = match tokio::time::timeout_at(window.until, body.frame()).await {
            Ok(Some(frame)) => frame.map_err(|_| BodyError::Incomplete)?,
            Ok(None) => return Ok(Kept { bytes: whole.finish(), held }),
            Err(_) if window.arrived >= connection::enough(stall_timeout) => {
                window = Window { until: Instant::now() + stall_timeout, arrived: 0 };
                continue;
            }
            Err(_) => return Err(BodyError::TooSlow),
        };
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > limit - whole.len() {
            return Err(BodyError::TooLarge);
        }
        window.arrived += data.len();
        whole.push(data);
        if !count(&mut held, whole.len(), memory) {
            return Err(BodyError::NoMemory);
        }
    }
}

/// Makes what is held as large as what there is. False when there is not enough memory.
pub(crate) fn count(held: &mut Option<Held>, bytes: usize, memory: &Arc<Budget>) -> bool {
    match held {
        Some(held) => held.resize(bytes),
        None if bytes <= UNCOUNTED => true,
        None => {
            *held = memory.hold(bytes);
            held.is_some()
        }
    }
}

/// A body of ours, counted until it is sent and gone. `None` when there is not enough memory.
pub(crate) fn counted(bytes: Bytes, memory: &Arc<Budget>) -> Option<Bytes> {
    if bytes.len() <= UNCOUNTED {
        return Some(bytes);
    }
    let held = memory.hold(bytes.len())?;
    Some(Bytes::from_owner(Counted { bytes, _held: held }))
}

/// Bytes, and the memory they hold.
struct Counted {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// So much must have arrived when its time is over.
struct Window {
    until: Instant,
    arrived: usize,
}

/// A body that comes in one piece, the usual case, is not copied.
struct Whole {
    first: Bytes,
    rest: Option<BytesMut>,
    announced: usize,
}

impl Whole {
    fn len(&self) -> usize {
        self.rest.as_ref().map_or(self.first.len(), BytesMut::len)
    }

    fn push(&mut self, data: Bytes) {
        if self.first.is_empty() && self.rest.is_none() {
            self.first = data;
            return;
        }
        let joined = self.rest.get_or_insert_with(|| {
            // Room for what was announced would be room that a liar gets for nothing.
            let mut joined = BytesMut::with_capacity(self.announced.min(4 * self.first.len().max(UNCOUNTED)));
            joined.extend_from_slice(&self.first);
            joined
        });
        joined.extend_from_slice(&data);
    }

    fn finish(self) -> Bytes {
        self.rest.map_or(self.first, BytesMut::freeze)
    }
}
