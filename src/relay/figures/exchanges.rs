//! Exchanges: what came of them, how long they took, and how large they were.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::families::Families;
use super::histogram::Histogram;
use crate::relay::code::Code;

/// Counts exchanges by what came of them. Those begun are the sum of all others and of those in flight.
#[derive(Debug)]
pub(in crate::relay) struct ExchangeCounters {
    begun: AtomicU64,
    answered: AtomicU64,
    silent: AtomicU64,
    visitor_left: AtomicU64,
    failed: [AtomicU64; Code::ALL.len()],
    /// `None` where nobody reads figures.
    measured: Option<Box<Measured>>,
}

/// How long exchanges took, and how large they were.
#[derive(Debug)]
struct Measured {
    whole: Histogram<15>,
    relay: Histogram<13>,
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
}

impl Measured {
    fn new() -> Self {
        let whole = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000];
        let relay =
            [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 500_000, 2_000_000, 10_000_000];
        Self {
            whole: Histogram::new(whole.map(Duration::from_millis)),
            relay: Histogram::new(relay.map(Duration::from_micros)),
            request_bytes: AtomicU64::new(0),
            response_bytes: AtomicU64::new(0),
        }
    }
}

/// What came of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::relay) enum Ending {
    /// The end answered.
    Answered,
    /// The end did not answer in time, and the visitor got the `OK` of the original.
    Silent,
    /// The visitor left before there was a response.
    VisitorLeft,
    /// The relay answered with an error.
    Failed(Code),
}

impl Ending {
    /// Returns the name of this ending in figures and logs.
    pub(in crate::relay) const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Silent => "timed-out-ok",
            Self::VisitorLeft => "visitor-left",
            Self::Failed(code) => code.as_str(),
        }
    }
}

/// What an exchange has taken.
#[derive(Debug, Clone, Copy)]
pub(in crate::relay) struct Took {
    /// From the request's head to the last byte of the response.
    pub(in crate::relay) whole: Duration,
    /// How much of it the end had the request, if it came so far.
    pub(in crate::relay) at_end: Option<Duration>,
    /// How much of it the visitor waited for an end to come back.
    pub(in crate::relay) held: Option<Duration>,
}

impl ExchangeCounters {
    /// With `measures`, times and sizes are counted, too.
    pub(in crate::relay) fn new(measures: bool) -> Self {
        Self {
            begun: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            silent: AtomicU64::new(0),
            visitor_left: AtomicU64::new(0),
            failed: [const { AtomicU64::new(0) }; Code::ALL.len()],
            measured: measures.then(|| Box::new(Measured::new())),
        }
    }

    /// Returns whether times and sizes are counted.
    pub(in crate::relay) fn measures(&self) -> bool {
        self.measured.is_some()
    }

    /// Counts the beginning of an exchange.
    pub(in crate::relay) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the end of an exchange.
    pub(in crate::relay) fn end(&self, ending: Ending) {
        self.of(ending).fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what an exchange has taken: its time, and its bodies' sizes in bytes.
    pub(in crate::relay) fn measure(
        &self,
        Took { whole, at_end, held }: Took,
        request_bytes: usize,
        response_bytes: usize,
    ) {
        let Some(measured) = &self.measured else { return };
        measured.whole.observe(whole);
        let others = at_end.unwrap_or_default() + held.unwrap_or_default();
        measured.relay.observe(whole.saturating_sub(others));
        measured.request_bytes.fetch_add(request_bytes as u64, Ordering::Relaxed);
        measured.response_bytes.fetch_add(response_bytes as u64, Ordering::Relaxed);
    }

    fn of(&self, ending: Ending) -> &AtomicU64 {
        match ending {
            Ending::Answered => &self.answered,
            Ending::Silent => &self.silent,
            Ending::VisitorLeft => &self.visitor_left,
            Ending::Failed(code) => &self.failed[code as usize],
        }
    }

    /// Writes them as exchanges that other nodes have passed on.
    pub(super) fn write_hops(&self, out: &mut Families<'_>) -> fmt::Result {
        let endings = endings().map(|ending| (ending.as_str(), self.of(ending).load(Ordering::Relaxed)));
        let help = "Requests that other nodes have passed on, which count them as theirs, by what came of them";
        out.counters("socket2me_hops", help, "outcome", endings)
    }

    pub(super) fn write(&self, out: &mut Families<'_>) -> fmt::Result {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        out.counter("socket2me_exchanges_begun", "Requests under /go/ that were let in", read(&self.begun))?;
        let endings = endings().map(|ending| (ending.as_str(), read(self.of(ending))));
        let help = "Requests under /go/ that were let in, by what came of them";
        out.counters("socket2me_exchanges", help, "outcome", endings)?;
        let Some(measured) = &self.measured else { return Ok(()) };
        let help = "Time of an exchange, from the request's head to the last byte of the response";
        out.histogram("socket2me_exchange_duration_seconds", help, &measured.whole)?;
        let help = "Time of an exchange without that which its end had the request";
        out.histogram("socket2me_exchange_relay_seconds", help, &measured.relay)?;
        let (request, response) = (read(&measured.request_bytes), read(&measured.response_bytes));
        out.counter("socket2me_request_body_bytes", "Bytes of visitors' request bodies that arrived whole", request)?;
        out.counter("socket2me_response_body_bytes", "Bytes of the bodies of responses to visitors", response)
    }
}

/// All endings, in the order in which the figures list them.
fn endings() -> impl Iterator<Item = Ending> {
    let failed = Code::ALL.into_iter().filter(|code| code.can_end_an_exchange()).map(Ending::Failed);
    [Ending::Answered, Ending::Silent, Ending::VisitorLeft].into_iter().chain(failed)
}
