//! The part that all kinds of load share: a measured span of time, with counts, times and errors.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::histogram::Histogram;
use crate::usage::{Usage, Watched};

/// How long to measure.
#[derive(Args, Clone, Copy)]
pub struct Span {
    /// Seconds to measure
    #[arg(long, default_value_t = 5.0)]
    secs: f64,
    /// Seconds of the same load before that
    #[arg(long, default_value_t = 2.0)]
    warm: f64,
}

/// The state that the tasks of one load share.
#[derive(Default)]
pub struct Run {
    measuring: Cell<bool>,
    over: Cell<bool>,
    times: RefCell<Histogram>,
    errors: RefCell<BTreeMap<String, u64>>,
    /// Requests that ends answered, including those outside the measured span.
    answered: Cell<u64>,
}

impl Run {
    /// Counts an error, inside the measured span or not: any error makes the run worthless.
    pub fn error(&self, what: impl Into<String>) {
        *self.errors.borrow_mut().entry(what.into()).or_insert(0) += 1;
    }

    pub fn errors(&self) -> Value {
        json!(*self.errors.borrow())
    }

    pub fn is_over(&self) -> bool {
        self.over.get()
    }

    pub fn end(&self) {
        self.over.set(true);
    }

    /// Records a time, if it lies in the measured span.
    pub fn done(&self, took: Duration) {
        if self.measuring.get() {
            self.times.borrow_mut().record(took.as_nanos() as u64);
        }
    }

    pub fn answered(&self, count: u64) {
        self.answered.set(self.answered.get() + count);
    }

    /// Waits until the tasks have ended by themselves, and reports the number of answers.
    pub async fn finish(self: Rc<Self>, tasks: Vec<JoinHandle<()>>) -> Value {
        for task in tasks {
            if task.await.is_err() {
                self.error("a visitor panicked");
            }
        }
        self.end();
        json!({ "answered": self.answered.get(), "errors": self.errors() })
    }

    /// Lets the tasks run for the span, stops them, and reports.
    pub async fn measure(
        self: Rc<Self>,
        span: Span,
        watched: Watched,
        tasks: Vec<JoinHandle<()>>,
    ) -> io::Result<Value> {
        sleep(Duration::from_secs_f64(span.warm)).await;
        let (before, begin) = (Usage::now(watched)?, Instant::now());
        self.measuring.set(true);
        sleep(Duration::from_secs_f64(span.secs)).await;
        self.measuring.set(false);
        let (used, took) = (Usage::now(watched)? - before, begin.elapsed().as_secs_f64());
        self.end();
        for task in tasks {
            let abort = task.abort_handle();
            if timeout(Duration::from_secs(6), task).await.is_err() {
                abort.abort();
                self.error("stuck");
            }
        }
        let times = self.times.borrow();
        let count = times.count();
        Ok(json!({
            "count": count,
            "answered": self.answered.get(),
            "per_second": count as f64 / took,
            "cpu_us": used.server * 1e6 / count.max(1) as f64,
            "client_us": used.client * 1e6 / count.max(1) as f64,
            "p50_us": times.quantile_us(0.5),
            "p99_us": times.quantile_us(0.99),
            "p999_us": times.quantile_us(0.999),
            "server_cores": used.server / took,
            "client_cores": used.client / took,
            "app_cores": used.app / took,
            "load_cores": used.load / took,
            "other_cores": used.others() / took,
            "errors": self.errors(),
        }))
    }
}
