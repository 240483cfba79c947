//! One exchange as a value: what it holds, when it came how far, and how it ended.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Level;

use crate::net::budget::{Budget, Held, Memory};
use crate::net::reply::Reply;
use crate::proto::socket_io::AckId;
use crate::relay::figures::{Ending, ExchangeCounters};
use crate::relay::notices::{About, Notice};
use crate::relay::tunnels::Seat;

/// The id of an exchange, as `X-Request-Id` and the log have it: a number of the process, and the exchange's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExchangeId {
    pub(super) process: u32,
    pub(super) number: u64,
}

impl fmt::Display for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.process, self.number)
    }
}

impl From<ExchangeId> for HeaderValue {
    fn from(ExchangeId { process, number }: ExchangeId) -> Self {
        let (mut first, mut second) = (itoa::Buffer::new(), itoa::Buffer::new());
        let text = [first.format(process), "-", second.format(number)].concat();
        Self::try_from(text).unwrap_or(Self::from_static("none"))
    }
}

/// One exchange, from the head of the request to the last byte of the response's body.
///
/// ```text
/// begin ──► take_place ──► event_out ──► ack_in ──► answer ──► (the body is written) ──► dropped
/// ```
///
/// Dropped before `answer`, its visitor has left: the end is not waited for any more. However it ends, dropping it counts the
/// ending and gives back what it held.
#[derive(Debug)]
pub(super) struct Exchange {
    id: ExchangeId,
    /// `None` while nothing logs them: reading the clock three times would cost each exchange almost a hundredth of its time.
    moments: Option<Moments>,
    ending: Ending,
    /// The ack that is waited for.
    waits_for: Option<(Seat, AckId)>,
    /// Its place among the tunnel's exchanges.
    place: Option<Held>,
    /// The memory of its request, then of its response.
    memory: Memory,
    counters: Arc<ExchangeCounters>,
    _in_flight: TaskTrackerToken,
}

/// When an exchange came how far.
#[derive(Debug, Clone, Copy)]
struct Moments {
    head_in: Instant,
    event_out: Option<Instant>,
    ack_in: Option<Instant>,
}

impl Moments {
    fn begin() -> Self {
        Self { head_in: Instant::now(), event_out: None, ack_in: None }
    }
}

impl Exchange {
    /// Begins an exchange whose head has arrived.
    pub(super) fn begin(id: ExchangeId, counters: Arc<ExchangeCounters>, in_flight: TaskTrackerToken) -> Self {
        counters.begin();
        Self {
            id,
            moments: tracing::enabled!(Level::DEBUG).then(Moments::begin),
            ending: Ending::VisitorLeft,
            waits_for: None,
            place: None,
            memory: Memory::default(),
            counters,
            _in_flight: in_flight,
        }
    }

    /// Keeps a place among the tunnel's exchanges.
    pub(super) fn take_place(&mut self, place: Held) {
        self.place = Some(place);
    }

    /// Keeps the memory of the request's body.
    pub(super) fn take_memory(&mut self, memory: Memory) {
        self.memory = memory;
    }

    /// Makes the exchange hold this memory, in bytes. Returns false when too little is left.
    pub(super) fn resize_memory(&mut self, bytes: usize, budget: &Arc<Budget>) -> bool {
        self.memory.resize(bytes, budget)
    }

    /// The event is on its way to `end`, whose ack is waited for.
    pub(super) fn event_out(&mut self, end: Seat, ack_id: AckId, bytes: usize) {
        tracing::debug!(id = %self.id, end = ?*end, bytes, "exchange begun");
        self.waits_for = Some((end, ack_id));
        if let Some(moments) = &mut self.moments {
            moments.event_out = Some(Instant::now());
        }
    }

    /// The ack has come, or is known not to come.
    /// Returns the end that was to answer.
    pub(super) fn ack_in(&mut self) -> Option<Seat> {
        if let Some(moments) = &mut self.moments {
            moments.ack_in = Some(Instant::now());
        }
        self.waits_for.take().map(|(end, _)| end)
    }

    /// Ends the exchange with a response. It is over once the response's body is written, or its connection is gone.
    pub(super) fn answer(mut self, reply: Reply, ending: Ending) -> Reply {
        self.ending = ending;
        reply.map(|body| body.until_done(self))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some((end, ack_id)) = self.waits_for.take() {
            end.cancel(ack_id);
            if end.options().notices {
                let (id, message) = (self.id.to_string(), "the visitor has left before this was answered");
                end.notify(Notice { about: About::VisitorLeft, id: Some(&id), message });
            }
        }
        self.counters.end(self.ending);
        if let Some(Moments { head_in, event_out, ack_in }) = self.moments {
            let after = |moment: Option<Instant>| moment.map(|moment| moment - head_in);
            tracing::debug!(
                id = %self.id,
                ending = self.ending.as_str(),
                event_out = ?after(event_out),
                ack_in = ?after(ack_in),
                body_done = ?head_in.elapsed(),
                "exchange ended"
            );
        }
    }
}
