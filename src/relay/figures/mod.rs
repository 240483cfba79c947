//! Figures for an operator to watch, as text in the form that Prometheus reads.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use super::budgets::Budgets;
use super::code::Code;
use crate::net::listener::UnreadHeads;
use crate::proto::engine_io::CloseReason;

/// Counts exchanges by what came of them. Those begun are the sum of all others and of those in flight.
#[derive(Debug)]
pub(super) struct ExchangeCounters {
    begun: AtomicU64,
    answered: AtomicU64,
    silent: AtomicU64,
    visitor_left: AtomicU64,
    failed: [AtomicU64; Code::ALL.len()],
}

/// What came of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
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
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Silent => "timed-out-ok",
            Self::VisitorLeft => "visitor-left",
            Self::Failed(code) => code.as_str(),
        }
    }
}

impl ExchangeCounters {
    pub(super) fn new() -> Self {
        Self {
            begun: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            silent: AtomicU64::new(0),
            visitor_left: AtomicU64::new(0),
            failed: [const { AtomicU64::new(0) }; Code::ALL.len()],
        }
    }

    /// Counts the beginning of an exchange.
    pub(super) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the end of an exchange.
    pub(super) fn end(&self, ending: Ending) {
        self.of(ending).fetch_add(1, Ordering::Relaxed);
    }

    fn of(&self, ending: Ending) -> &AtomicU64 {
        match ending {
            Ending::Answered => &self.answered,
            Ending::Silent => &self.silent,
            Ending::VisitorLeft => &self.visitor_left,
            Ending::Failed(code) => &self.failed[code as usize],
        }
    }
}

/// All endings, in the order in which the figures list them.
fn endings() -> impl Iterator<Item = Ending> {
    let failed = Code::ALL.into_iter().filter(|code| code.can_end_an_exchange()).map(Ending::Failed);
    [Ending::Answered, Ending::Silent, Ending::VisitorLeft].into_iter().chain(failed)
}

/// What there is to count.
pub(super) struct Figures<'f> {
    pub(super) exchanges: &'f ExchangeCounters,
    pub(super) budgets: &'f Budgets,
    /// Requests over the rate limit.
    pub(super) throttled: u64,
    pub(super) unread_heads: &'f UnreadHeads,
    /// Sessions that have ended, by the reason.
    pub(super) sessions_ended: Vec<(CloseReason, u64)>,
    /// Tunnels with an end that is connected.
    pub(super) tunnels: usize,
    /// Tokens that this process keeps.
    pub(super) tokens: usize,
    /// Calls of the store that have failed.
    pub(super) store_failures: u64,
    /// Notices for ends that were sent, and that were dropped.
    pub(super) notices: (u64, u64),
}

impl Figures<'_> {
    /// Writes all figures.
    pub(super) fn render(&self) -> String {
        let mut out = String::with_capacity(4096);
        self.write_exchanges(&mut out);
        self.write_budgets(&mut out);
        let UnreadHeads { answered, unexplained } = self.unread_heads;
        header(
            &mut out,
            "unread_heads_total",
            "counter",
            "Heads of requests that could not be read, by the answer's body",
        );
        for (body, count) in [("error", answered), ("none", unexplained)] {
            line(&mut out, "unread_heads_total", &format!("{{body=\"{body}\"}}"), count.load(Ordering::Relaxed));
        }
        header(&mut out, "sessions_ended_total", "counter", "Sessions that have ended, by the reason");
        for (reason, count) in &self.sessions_ended {
            let reason = reason.to_string().replace(' ', "-");
            line(&mut out, "sessions_ended_total", &format!("{{reason=\"{reason}\"}}"), count);
        }
        header(&mut out, "tunnels", "gauge", "Tunnels with an end that is connected");
        line(&mut out, "tunnels", "", self.tunnels);
        header(&mut out, "tokens", "gauge", "Tokens that have not expired, or were not yet purged");
        line(&mut out, "tokens", "", self.tokens);
        let help = "Calls of the store that failed because it could not be used";
        header(&mut out, "store_errors_total", "counter", help);
        line(&mut out, "store_errors_total", "", self.store_failures);
        let help = "Notices for ends that ask for them, by whether there was room";
        header(&mut out, "notices_total", "counter", help);
        for (outcome, count) in [("sent", self.notices.0), ("dropped", self.notices.1)] {
            line(&mut out, "notices_total", &format!("{{outcome=\"{outcome}\"}}"), count);
        }
        header(
            &mut out,
            "log_lines_lost_total",
            "counter",
            "Lines of the log that standard error was too slow to take",
        );
        line(&mut out, "log_lines_lost_total", "", crate::log::lost_lines());
        header(&mut out, "tasks", "gauge", "Tasks of the runtime");
        line(&mut out, "tasks", "", tokio::runtime::Handle::current().metrics().num_alive_tasks());
        out
    }

    fn write_exchanges(&self, out: &mut String) {
        header(out, "exchanges_begun_total", "counter", "Requests under /go/ that were let in");
        line(out, "exchanges_begun_total", "", self.exchanges.begun.load(Ordering::Relaxed));
        header(out, "exchanges_total", "counter", "Requests under /go/ that were let in, by what came of them");
        for ending in endings() {
            let count = self.exchanges.of(ending).load(Ordering::Relaxed);
            line(out, "exchanges_total", &format!("{{outcome=\"{}\"}}", ending.as_str()), count);
        }
    }

    fn write_budgets(&self, out: &mut String) {
        let Budgets { connections, sessions, exchanges, held, uploads, lingering, bytes, head_bytes, .. } =
            self.budgets;
        let budgets = [
            ("connections", connections),
            ("sessions", sessions),
            ("exchanges", exchanges),
            ("held", held),
            ("uploads", uploads),
            ("lingering", lingering),
            ("bytes", bytes),
            ("head_bytes", head_bytes),
        ];
        header(out, "in_use", "gauge", "Units of each budget that are taken");
        for (name, budget) in budgets {
            line(out, "in_use", &format!("{{budget=\"{name}\"}}"), budget.used());
        }
        header(out, "limit", "gauge", "Units of each budget in all");
        for (name, budget) in budgets {
            line(out, "limit", &format!("{{budget=\"{name}\"}}"), budget.limit());
        }
        header(out, "refused_total", "counter", "How often a budget was used up");
        for (name, budget) in budgets {
            line(out, "refused_total", &format!("{{budget=\"{name}\"}}"), budget.refused());
        }
        let Budgets { bytes_per_tunnel, exchanges_per_tunnel, held_per_tunnel, .. } = self.budgets;
        for (name, parts) in
            [("bytes", bytes_per_tunnel), ("exchanges", exchanges_per_tunnel), ("held", held_per_tunnel)]
        {
            line(out, "refused_total", &format!("{{budget=\"{name}-per-tunnel\"}}"), parts.refused());
        }
        let Budgets { connections_per_address, sessions_per_address, uploads_per_address, tunnels_per_address, .. } =
            self.budgets;
        for (name, refused) in [
            ("connections", connections_per_address.refused()),
            ("sessions", sessions_per_address.refused()),
            ("held", self.budgets.held_per_address.refused()),
            ("uploads", uploads_per_address.refused()),
            ("tunnels", tunnels_per_address.refused()),
            ("lingering", self.budgets.lingering_per_address.refused()),
            ("requests", self.throttled),
        ] {
            line(out, "refused_total", &format!("{{budget=\"{name}-per-address\"}}"), refused);
        }
    }
}

// Writing to a String cannot fail.

fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(out, "# HELP socket2me_{name} {help}\n# TYPE socket2me_{name} {kind}\n");
}

fn line(out: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let _ = writeln!(out, "socket2me_{name}{labels} {value}");
}
