//! The original's rate limit: of the requests of one address in a window, the first are served at once, the next are delayed
//! to the end of the window, and the rest are refused.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::ServeConfig;
use crate::defaults;
use crate::net::budget::{Client, Exempt, network_of};
use crate::net::hits::Hits;
use crate::proto::limit::Limit;
use crate::tables;

/// Addresses counted in one window. Beyond it, all others share one count: memory stays bounded at a few megabytes, and an
/// attack from more addresses than this is throttled as one.
const MAX_ADDRESSES: usize = 100_000;

/// Counts requests by address.
#[derive(Debug)]
pub(super) struct Throttle {
    interval: Duration,
    /// Requests that are served at once. `None`: all.
    max: Option<u32>,
    /// Requests that are served at all. `None`: all.
    burst_max: Option<u32>,
    exempt: Exempt,
    window: Mutex<Window>,
    hits: Arc<Hits>,
}

#[derive(Debug)]
struct Window {
    until: Instant,
    counts: HashMap<IpAddr, u32>,
}

/// What is to be done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Serve it.
    Pass,
    /// Serve it, but not before.
    Delay(Instant),
    /// Refuse it.
    Refuse,
}

impl Throttle {
    pub(super) fn new(config: &ServeConfig, hits: Arc<Hits>) -> Self {
        let interval = config.throttle_interval;
        // As in the original's library, zero means no limit. A window of no time counts nothing.
        let limit = |count: u32| Some(count).filter(|&count| count > 0 && !interval.is_zero());
        let is_set = config.throttle_interval_max.is_some() || config.throttle_interval_burst_max.is_some();
        Self {
            interval,
            max: limit(config.throttle_interval_max.unwrap_or(defaults::THROTTLE_INTERVAL_MAX)),
            burst_max: limit(config.throttle_interval_burst_max.unwrap_or(defaults::THROTTLE_INTERVAL_BURST_MAX)),
            exempt: Exempt { this_machine: !is_set, proxies: config.trust_proxy.clone() },
            window: Mutex::new(Window { until: Instant::now() + interval, counts: HashMap::new() }),
            hits,
        }
    }

    pub(super) fn count(&self, client: Client) -> Verdict {
        if (self.max.is_none() && self.burst_max.is_none()) || self.exempt.contains(client) {
            return Verdict::Pass;
        }
        let now = Instant::now();
        // Nothing that is done under the lock can panic half-way.
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.until <= now {
            window.until = now + self.interval;
            window.counts.clear();
            tables::shrink(&mut window.counts);
        }
        let mut key = network_of(client.address);
        if window.counts.len() >= MAX_ADDRESSES && !window.counts.contains_key(&key) {
            key = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        }
        let count = window.counts.entry(key).or_insert(0);
        *count = count.saturating_add(1);
        match *count {
            count if self.burst_max.is_some_and(|max| count > max) => {
                self.hits.hit(Limit::ThrottleBurst);
                Verdict::Refuse
            }
            count if self.max.is_some_and(|max| count > max) => {
                self.hits.hit(Limit::ThrottleInterval);
                Verdict::Delay(window.until)
            }
            _ => Verdict::Pass,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Client {
        address.parse::<IpAddr>().unwrap().into()
    }

    fn throttle(max: Option<u32>, burst_max: Option<u32>) -> Throttle {
        let config = ServeConfig {
            throttle_interval_max: max,
            throttle_interval_burst_max: burst_max,
            trust_proxy: vec!["203.0.113.0/24".parse().unwrap()],
            ..ServeConfig::defaults()
        };
        Throttle::new(&config, Arc::default())
    }

    #[tokio::test(start_paused = true)]
    async fn passes_then_delays_then_refuses() {
        let throttle = throttle(Some(2), Some(3));
        let end = Instant::now() + Duration::from_secs(1);
        let address = from("192.0.2.1");
        let verdicts: Vec<_> = (0..4).map(|_| throttle.count(address)).collect();
        assert_eq!(verdicts, [Verdict::Pass, Verdict::Pass, Verdict::Delay(end), Verdict::Refuse]);
        assert_eq!(throttle.count(from("192.0.2.2")), Verdict::Pass, "another address is another count");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(throttle.count(address), Verdict::Pass, "another window");
    }

    #[tokio::test(start_paused = true)]
    async fn this_machine_is_limited_only_on_request() {
        let home = from("127.0.0.1");
        let unset = throttle(None, None);
        assert!((0..1_000).all(|_| unset.count(home) == Verdict::Pass));
        let set = throttle(None, Some(1));
        assert_eq!([set.count(home), set.count(home)], [Verdict::Pass, Verdict::Refuse]);
    }

    #[tokio::test(start_paused = true)]
    async fn zero_is_no_limit() {
        let visitor = from("192.0.2.1");
        let verdicts = |throttle: Throttle| [0; 3].map(|_| throttle.count(visitor));
        assert_eq!(verdicts(throttle(Some(0), Some(0))), [Verdict::Pass; 3]);
        assert_eq!(verdicts(throttle(Some(0), Some(2))), [Verdict::Pass, Verdict::Pass, Verdict::Refuse]);
        let end = Instant::now() + Duration::from_secs(1);
        assert_eq!(verdicts(throttle(Some(2), Some(0))), [Verdict::Pass, Verdict::Pass, Verdict::Delay(end)]);
        let throttle_interval = Duration::ZERO;
        let config = ServeConfig { throttle_interval, throttle_interval_max: Some(1), ..ServeConfig::defaults() };
        assert_eq!(verdicts(Throttle::new(&config, Arc::default())), [Verdict::Pass; 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trusted_proxy_that_names_no_visitor_is_not_limited() {
        let throttle = throttle(Some(1), Some(1));
        assert!((0..9).all(|_| throttle.count(from("203.0.113.1")) == Verdict::Pass));
        // A proxy that names nobody speaks for itself. One whose report cannot be read speaks for somebody unknown.
        let unknown = Client { can_be_exempt: false, ..from("203.0.113.1") };
        assert_eq!([throttle.count(unknown), throttle.count(unknown)], [Verdict::Pass, Verdict::Refuse]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_of_ipv6_counts_as_one() {
        let throttle = throttle(Some(1), Some(1));
        assert_eq!(throttle.count(from("2001:db8::1")), Verdict::Pass);
        assert_eq!(throttle.count(from("2001:db8::2")), Verdict::Refuse);
    }
}
