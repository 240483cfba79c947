//! What is counted, for an operator to watch: as text in the form that Prometheus reads.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::failure::CODES;
use crate::net::budget::{Budget, PerAddress};
use crate::proto::engine_io::CloseReason;

/// Counts exchanges by what came of them. Begun is the sum of all the others and those in flight.
#[derive(Debug)]
pub(super) struct Exchanges {
    begun: AtomicU64,
    answered: AtomicU64,
    timed_out: AtomicU64,
    hung_up: AtomicU64,
    failed: [AtomicU64; CODES.len()],
}

/// What came of an exchange.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    /// The end answered.
    Answered,
    /// It did not, and the visitor got the `OK` of the original.
    TimedOut,
    /// The visitor did not wait.
    HungUp,
    /// An error of the relay, with this code.
    Failed(&'static str),
}

impl Exchanges {
    pub(super) fn new() -> Self {
        Self {
            begun: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            timed_out: AtomicU64::new(0),
            hung_up: AtomicU64::new(0),
            failed: [const { AtomicU64::new(0) }; CODES.len()],
        }
    }

    /// An exchange begins. Dropped without an outcome, its visitor has hung up.
    pub(super) fn begin(&self) -> Exchange<'_> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Exchange { exchanges: self, outcome: Outcome::HungUp }
    }

    fn count(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Answered => &self.answered,
            Outcome::TimedOut => &self.timed_out,
            Outcome::HungUp => &self.hung_up,
            Outcome::Failed(code) => {
                let Some(index) = CODES.iter().position(|&known| known == code) else { return };
                &self.failed[index]
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// One exchange, which is counted when it is over.
pub(super) struct Exchange<'e> {
    exchanges: &'e Exchanges,
    outcome: Outcome,
}

impl Exchange<'_> {
    pub(super) fn ended(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        self.exchanges.count(self.outcome);
    }
}

/// The budgets of a server.
#[derive(Debug, Clone)]
pub(super) struct Budgets {
    pub(super) connections: Arc<Budget>,
    pub(super) connections_per_address: Arc<PerAddress>,
    pub(super) sessions: Arc<Budget>,
    pub(super) sessions_per_address: Arc<PerAddress>,
    pub(super) exchanges: Arc<Budget>,
    pub(super) bytes: Arc<Budget>,
}

/// All figures as text. `tunnels` and `tokens` are how many there are now.
pub(super) fn render(
    exchanges: &Exchanges,
    budgets: &Budgets,
    ended: impl Iterator<Item = (CloseReason, u64)>,
    tunnels: usize,
    tokens: usize,
) -> String {
    let mut out = String::with_capacity(4096);
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    header(&mut out, "exchanges_begun_total", "counter", "Requests under /go/ that were taken in");
    line(&mut out, "exchanges_begun_total", "", count(&exchanges.begun));
    header(&mut out, "exchanges_total", "counter", "Requests under /go/ by what came of them");
    for (outcome, counter) in [
        ("answered", &exchanges.answered),
        ("timed-out-ok", &exchanges.timed_out),
        ("visitor-left", &exchanges.hung_up),
    ] {
        line(&mut out, "exchanges_total", &format!("{{outcome=\"{outcome}\"}}"), count(counter));
    }
    for (code, counter) in CODES.iter().zip(&exchanges.failed) {
        line(&mut out, "exchanges_total", &format!("{{outcome=\"{code}\"}}"), count(counter));
    }
    let Budgets { connections, connections_per_address, sessions, sessions_per_address, exchanges, bytes } = budgets;
    let budgets = [("connections", connections), ("sessions", sessions), ("exchanges", exchanges), ("bytes", bytes)];
    header(&mut out, "in_use", "gauge", "What is taken of each budget");
    for (name, budget) in budgets {
        line(&mut out, "in_use", &format!("{{budget=\"{name}\"}}"), budget.used());
    }
    header(&mut out, "limit", "gauge", "What there is of each budget");
    for (name, budget) in budgets {
        line(&mut out, "limit", &format!("{{budget=\"{name}\"}}"), budget.limit());
    }
    header(&mut out, "refused_total", "counter", "How often a budget was used up");
    for (name, budget) in budgets {
        line(&mut out, "refused_total", &format!("{{budget=\"{name}\"}}"), budget.refused());
    }
    for (name, per_address) in [("connections", connections_per_address), ("sessions", sessions_per_address)] {
        line(&mut out, "refused_total", &format!("{{budget=\"{name}-per-address\"}}"), per_address.refused());
    }
    header(&mut out, "sessions_ended_total", "counter", "Sessions that have ended, by the reason");
    for (reason, count) in ended {
        let reason = reason.to_string().replace(' ', "-");
        line(&mut out, "sessions_ended_total", &format!("{{reason=\"{reason}\"}}"), count);
    }
    header(&mut out, "tunnels", "gauge", "Ends that are connected");
    line(&mut out, "tunnels", "", tunnels);
    header(&mut out, "tokens", "gauge", "Tokens that have not expired, or were not yet purged");
    line(&mut out, "tokens", "", tokens);
    header(&mut out, "tasks", "gauge", "Tasks of the runtime");
    line(&mut out, "tasks", "", tokio::runtime::Handle::current().metrics().num_alive_tasks());
    out
}

// Writing to a String cannot fail.

fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(out, "# HELP socket2me_{name} {help}\n# TYPE socket2me_{name} {kind}\n");
}

fn line(out: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let _ = writeln!(out, "socket2me_{name}{labels} {value}");
}
