//! One exchange as a value: what it holds, when it came how far, and how it ended.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Level;

use super::access::{self, Request};
use crate::net::budget::{Budget, Held, Memory};
use crate::net::reply::Reply;
use crate::net::seldom::warn_seldom;
use crate::proto::exchange::ExchangeId;
use crate::proto::key::KeyHash;
use crate::proto::socket_io::AckId;
use crate::relay::failure::Failure;
use crate::relay::figures::{Ending, ExchangeCounters, Took};
use crate::relay::notices::{About, Notice};
use crate::relay::quotas::Quotas;
use crate::relay::tunnels::{NoPlace, Seat, Tunnel};

/// One exchange, from the head of the request to the last byte of the response's body.
///
/// ```text
/// begin ──► take_place_in ──► event_out ──► ack_in ──► answer ──► (the body is written) ──► dropped
/// ```
///
/// Dropped before `answer`, its visitor has left: the end is not waited for any more. However it ends, dropping it counts the
/// ending, writes the line of the access log and gives back what it held.
#[derive(Debug)]
pub(super) struct Exchange {
    id: ExchangeId,
    /// What the access log says of the request. `None` where no line is written.
    request: Option<Box<Request>>,
    /// `None` while nobody wants them: reading the clock four times would cost each exchange a hundredth of its time.
    moments: Option<Moments>,
    ending: Ending,
    /// The response's status, once there is one.
    status: Option<StatusCode>,
    /// The size of the request's body that has arrived whole, in bytes.
    request_bytes: usize,
    /// The size of the response's body, in bytes.
    response_bytes: usize,
    /// The ack that is waited for.
    waits_for: Option<(Seat, AckId)>,
    /// Its place among the tunnel's exchanges.
    place: Option<Held>,
    /// The memory of its request, then of its response.
    memory: Memory,
    counters: Arc<ExchangeCounters>,
    /// Charged with the exchange's bytes when it is over: the quotas, and the tunnel's key.
    quota: Option<(Arc<Quotas>, KeyHash)>,
    _in_flight: TaskTrackerToken,
}

/// When an exchange came how far.
#[derive(Debug)]
struct Moments {
    head_in: Instant,
    event_out: Option<Instant>,
    ack_in: Option<Instant>,
    /// Absent until the visitor waits for an end.
    hold: Option<Box<Holding>>,
}

/// How long a visitor has waited for an end.
#[derive(Debug, Default)]
struct Holding {
    before: Duration,
    /// When the present wait began.
    since: Option<Instant>,
}

impl Moments {
    fn begin() -> Self {
        Self { head_in: Instant::now(), event_out: None, ack_in: None, hold: None }
    }

    /// Returns what the exchange took until now.
    fn took(&self) -> Took {
        let now = Instant::now();
        let at_end = self.event_out.map(|event_out| self.ack_in.unwrap_or(now) - event_out);
        let held = |hold: &Holding| hold.before + hold.since.map_or(Duration::ZERO, |since| now - since);
        Took { whole: now - self.head_in, at_end, held: self.hold.as_deref().map(held) }
    }
}

impl Exchange {
    /// Begins an exchange whose head has arrived. Its line in the access log, if it gets one, is about `request`.
    pub(super) fn begin(
        id: ExchangeId,
        request: Option<Box<Request>>,
        counters: Arc<ExchangeCounters>,
        in_flight: TaskTrackerToken,
    ) -> Self {
        counters.begin();
        Self {
            id,
            moments: (request.is_some() || counters.measures()).then(Moments::begin),
            request,
            ending: Ending::VisitorLeft,
            status: None,
            request_bytes: 0,
            response_bytes: 0,
            waits_for: None,
            place: None,
            memory: Memory::default(),
            counters,
            quota: None,
            _in_flight: in_flight,
        }
    }

    /// Has what the exchange carries charged to a key's quota.
    pub(super) fn counts_for(&mut self, quotas: &Arc<Quotas>, key: KeyHash) {
        self.quota = Some((Arc::clone(quotas), key));
    }

    /// The visitor begins to wait for an end.
    pub(super) fn hold_begins(&mut self) {
        if let Some(moments) = &mut self.moments {
            moments.hold.get_or_insert_default().since = Some(Instant::now());
        }
    }

    /// The visitor waits no longer.
    pub(super) fn hold_ends(&mut self) {
        if let Some(hold) = self.moments.as_mut().and_then(|moments| moments.hold.as_mut())
            && let Some(since) = hold.since.take()
        {
            hold.before += since.elapsed();
        }
    }

    /// Takes a place among the tunnel's exchanges, if it has none yet.
    ///
    /// # Errors
    /// When the tunnel or the server has as many exchanges as it may have.
    pub(super) fn take_place_in(&mut self, tunnel: &Tunnel) -> Result<(), Failure> {
        if self.place.is_none() {
            self.place = Some(tunnel.place().map_err(|full| match full {
                NoPlace::Tunnel => Failure::Overloaded,
                NoPlace::Server => Failure::Busy,
            })?);
        }
        Ok(())
    }

    /// Keeps the memory of the request's body, which has this size in bytes.
    pub(super) fn take_body(&mut self, bytes: usize, memory: Memory) {
        self.request_bytes = bytes;
        self.memory = memory;
    }

    /// Gives back the memory of the request's body, which another node is to have, and its place among the tunnel's exchanges here.
    pub(super) fn give_body(&mut self) -> Memory {
        self.request_bytes = 0;
        self.place = None;
        std::mem::take(&mut self.memory)
    }

    /// Makes the exchange hold this memory, in bytes. Returns false when too little is left.
    pub(super) fn resize_memory(&mut self, bytes: usize, budget: &Arc<Budget>) -> bool {
        self.memory.resize(bytes, budget)
    }

    /// The event is on its way to `end`, whose ack is waited for.
    pub(super) fn event_out(&mut self, end: Seat, ack_id: AckId) {
        self.waits_for = Some((end, ack_id));
        if let Some(moments) = &mut self.moments {
            // Of ends that are asked one after the other, the last counts.
            (moments.event_out, moments.ack_in) = (Some(Instant::now()), None);
        }
    }

    /// The event is on its way to an end that streams, of which the exchange's stream hears if this is dropped.
    pub(super) fn event_out_streaming(&mut self) {
        if let Some(moments) = &mut self.moments {
            (moments.event_out, moments.ack_in) = (Some(Instant::now()), None);
        }
    }

    /// The ack has come, or is known not to come. Returns the end that was asked.
    pub(super) fn ack_in(&mut self) -> Option<Seat> {
        let seat = self.waits_for.take().map(|(seat, _)| seat);
        if let Some(moments) = &mut self.moments {
            moments.ack_in = Some(Instant::now());
        }
        seat
    }

    /// Keeps why the exchange fails, for its line in the access log.
    pub(super) fn fail(&mut self, failure: &Failure) {
        if let Some(request) = &mut self.request {
            request.fail(failure);
        }
    }

    /// Ends the exchange with a response. It is over once the response's body is written, or its connection is gone. A
    /// response to HEAD has no body, whatever `reply` has.
    pub(super) fn answer(mut self, reply: Reply, ending: Ending, is_head: bool) -> Reply {
        self.ending = ending;
        self.status = Some(reply.status());
        self.response_bytes = if is_head { 0 } else { reply.body().len() };
        reply.map(|body| body.until_done(self))
    }

    /// Ends the exchange with the head of a response whose body follows; what becomes of that is told by [`Self::streamed`] and
    /// [`Self::ended`].
    pub(super) fn begin_stream(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// Counts bytes of the response's body, and of the connection after an upgrade.
    pub(super) fn streamed(&mut self, response_bytes: usize) {
        self.response_bytes += response_bytes;
    }

    /// Notes how many bytes of the request were sent to the end, of a body that was not read whole before.
    pub(super) fn sent(&mut self, request_bytes: u64) {
        self.request_bytes = usize::try_from(request_bytes).unwrap_or(usize::MAX);
    }

    /// Notes how the exchange ends.
    pub(super) fn ended(&mut self, ending: Ending) {
        self.ending = ending;
    }

    /// Writes the line of the access log.
    fn log(&self, request: &Request, took: Took) {
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(
                    target: access::TARGET,
                    $level,
                    tunnel = request.tunnel.map(tracing::field::debug),
                    method = &*request.method,
                    path = &*request.path,
                    status = self.status.map(|status| status.as_u16()),
                    outcome = self.ending.as_str(),
                    duration_ms = milliseconds(took.whole),
                    end_ms = took.at_end.map(milliseconds),
                    held_ms = took.held.map(milliseconds),
                    request_bytes = self.request_bytes,
                    response_bytes = self.response_bytes,
                    visitor = %request.visitor,
                    id = %self.id,
                    why = request.why.as_deref(),
                    trace = request.trace.as_deref(),
                    "exchange"
                )
            };
        }
        match self.ending {
            Ending::Silent => line!(Level::WARN),
            Ending::Answered | Ending::VisitorLeft | Ending::Failed(_) => line!(Level::INFO),
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
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
        if let Some((quotas, key)) = &self.quota {
            quotas.charge(key, self.request_bytes.saturating_add(self.response_bytes));
        }
        let took = self.moments.as_ref().map(Moments::took);
        if let Some(took) = took {
            self.counters.measure(took, self.request_bytes, self.response_bytes);
        }
        match (&self.request, took) {
            (Some(request), Some(took)) => self.log(request, took),
            // Nothing else shows it: its status is 200.
            _ if self.ending == Ending::Silent => {
                warn_seldom!(id = %self.id, "the end did not answer in time, and its visitor got 200");
            }
            _ => (),
        }
    }
}
