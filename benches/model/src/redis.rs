//! Redis: the store with the time that its calls take. It runs one call after another.

use clap::Args;
use socket2me::fuzzing::{Late, Store};
use socket2me::store::{Claimed, Renewed, TableNews};

/// How long a caller waits, and how long an answer or a call travels, in µs.
const CALL_TIMEOUT: u64 = 500_000;
const TRIP: u64 = 100;

/// What calls cost Redis, in µs. `scripts/bench model` measures them; the defaults are those of one machine.
#[derive(Args, Clone)]
pub struct Costs {
    /// A renewal of a lease
    #[arg(long, default_value_t = 94.0)]
    renewal: f64,
    /// What a renewal costs more for each row of the table of nodes that comes back
    #[arg(long, default_value_t = 6.4)]
    row: f64,
    /// What a renewal costs more for each node that is named as gone
    #[arg(long, default_value_t = 1.0)]
    gone: f64,
    /// What a renewal costs more for each message that comes back
    #[arg(long, default_value_t = 1.1)]
    message: f64,
    /// A claim
    #[arg(long, default_value_t = 80.0)]
    claim: f64,
    /// What a claim costs more for each node that it evicts, whose message it leaves
    #[arg(long, default_value_t = 39.0)]
    eviction: f64,
    /// Writing a tunnel again after a loss
    #[arg(long, default_value_t = 33.0)]
    restore: f64,
    /// Any other call
    #[arg(long, default_value_t = 44.0)]
    other: f64,
    /// A call that is refused because it is late
    #[arg(long, default_value_t = 47.0)]
    refused: f64,
}

impl Costs {
    pub fn renewal(&self, renewed: &Renewed) -> f64 {
        let (rows, gone) = match &renewed.table {
            TableNews::Same => (0, 0),
            TableNews::Whole(peers) => (peers.len(), 0),
            TableNews::Changes { peers, gone } => (peers.len(), gone.len()),
        };
        self.renewal + self.row * rows as f64 + self.gone * gone as f64 + self.message * renewed.inbox.len() as f64
    }

    pub fn claim(&self, claimed: Option<&Claimed>) -> f64 {
        self.claim + self.eviction * claimed.map_or(0, |claimed| claimed.others.len()) as f64
    }

    pub fn restore(&self) -> f64 {
        self.restore
    }

    pub fn other(&self) -> f64 {
        self.other
    }
}

/// What was counted since the last report.
#[derive(Default)]
pub struct Counts {
    pub calls: u64,
    /// Calls that Redis came to after their callers had given up, and refused.
    pub late: u64,
    /// Rows of the table of nodes that went out.
    pub rows: u64,
    /// Time that Redis was busy, in µs.
    pub busy: f64,
    /// The calls of this second, and the most of one.
    second: (u64, u64),
    pub peak: u64,
}

/// Redis.
pub struct Redis {
    pub store: Store,
    pub costs: Costs,
    pub is_away: bool,
    pub counts: Counts,
    /// When it is done with the calls that it has, in µs.
    free: f64,
}

impl Redis {
    pub fn new(costs: Costs) -> Self {
        Self { store: Store::default(), costs, is_away: false, counts: Counts::default(), free: 0.0 }
    }

    /// Makes a call that is sent at `now`, at which the script gets the time until which it may run, in ms. Returns its answer, or
    /// `None` if none comes in time, and when the caller has that, in µs.
    pub fn call<T>(
        &mut self,
        now: u64,
        script: impl FnOnce(&mut Store, u64) -> Result<T, Late>,
        cost: impl FnOnce(&Costs, &T) -> f64,
    ) -> (Option<T>, u64) {
        if self.is_away {
            return (None, now + TRIP);
        }
        let begun = self.free.max((now + TRIP) as f64);
        self.store.clock = self.store.clock.max(begun as u64);
        let result = script(&mut self.store, (now + CALL_TIMEOUT) / 1_000);
        let cost = match &result {
            Ok(answer) => cost(&self.costs, answer),
            Err(Late) => self.costs.refused,
        };
        self.free = begun + cost;
        self.count(begun as u64 / 1_000_000, cost, result.is_err());
        let answered = self.free as u64 + TRIP;
        match result {
            Ok(answer) if answered <= now + CALL_TIMEOUT => (Some(answer), answered),
            Ok(_) | Err(Late) => (None, now + CALL_TIMEOUT),
        }
    }

    fn count(&mut self, second: u64, cost: f64, is_late: bool) {
        let counts = &mut self.counts;
        counts.calls += 1;
        counts.late += u64::from(is_late);
        counts.busy += cost;
        if counts.second.0 != second {
            counts.second = (second, 0);
        }
        counts.second.1 += 1;
        counts.peak = counts.peak.max(counts.second.1);
    }

    /// Loses all that is kept.
    pub fn lose_all(&mut self) {
        let clock = self.store.clock;
        self.store = Store::default();
        self.store.clock = clock;
    }
}
