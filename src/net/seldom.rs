//! Lines of the log that strangers could otherwise write without limit.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lets one line pass in each interval, and counts those that it holds back.
#[derive(Debug)]
pub(crate) struct Seldom {
    every: Duration,
    state: Mutex<(Option<Instant>, u64)>,
}

impl Seldom {
    pub(crate) const fn new(every: Duration) -> Self {
        Self { every, state: Mutex::new((None, 0)) }
    }

    /// Returns how many lines were held back since the last that passed, or `None` if this one is held back too.
    pub(crate) fn pass(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if state.0.is_some_and(|last| now.duration_since(last) < self.every) {
            state.1 += 1;
            return None;
        }
        state.0 = Some(now);
        Some(std::mem::take(&mut state.1))
    }
}

/// Logs a warning that strangers can cause without limit: at most one line of each call site in each
/// [`LOG_PAUSE`](crate::defaults::LOG_PAUSE), with the number of those between, which are logged at `debug`.
macro_rules! warn_seldom {
    ($($line:tt)+) => {{
        static LOG: $crate::net::seldom::Seldom = $crate::net::seldom::Seldom::new($crate::defaults::LOG_PAUSE);
        match LOG.pass() {
            Some(unlogged) => tracing::warn!(unlogged, $($line)+),
            None => tracing::debug!($($line)+),
        }
    }};
}

pub(crate) use warn_seldom;

#[cfg(test)]
mod tests {
    use super::super::listener::tests::Lines;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_warning_that_strangers_cause_is_one_line_a_second_and_has_its_fields() {
        let lines = Lines::default();
        let _log = lines.listen();
        for number in 0..21 {
            warn_seldom!(number, "somebody knocks");
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        let text = lines.text();
        let said: Vec<_> =
            text.lines().filter_map(|line| line.split_once("seldom::tests: ")).map(|(_, said)| said).collect();
        assert_eq!(
            said,
            [
                "somebody knocks unlogged=0 number=0",
                "somebody knocks unlogged=9 number=10",
                "somebody knocks unlogged=9 number=20"
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_line_passes_in_each_interval_and_says_how_many_did_not() {
        let seldom = Seldom::new(Duration::from_secs(1));
        assert_eq!([seldom.pass(), seldom.pass(), seldom.pass()], [Some(0), None, None]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!([seldom.pass(), seldom.pass()], [Some(2), None]);
    }
}
