//! How many requests may come in a time.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::net::budget::{Client, network_of};

/// Addresses counted in one window. Beyond it all others share one count, so memory stays at some tens of kilobytes for a tunnel.
const MAX_ADDRESSES: usize = 1_000;

/// The largest values.
const MAX_REQUESTS: u32 = 1_000_000;
const MAX_PER: u32 = 24 * 60 * 60;

/// The rule: a number of requests in each window of time. Further ones are refused until the window ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(in crate::relay) struct Rate {
    requests: u32,
    /// The window, in seconds.
    per: u32,
    by: By,
}

/// Whose requests count together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum By {
    /// All of the tunnel.
    #[default]
    Tunnel,
    /// Those of one address; a /64 of IPv6 is one.
    Address,
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            requests: u32,
            per: u32,
            #[serde(default)]
            by: By,
        }
        let Fields { requests, per, by } = Fields::deserialize(deserializer)?;
        for (member, value, most, unit) in [("requests", requests, MAX_REQUESTS, ""), ("per", per, MAX_PER, " seconds")]
        {
            if !(1..=most).contains(&value) {
                return Err(D::Error::custom(format!("rate.{member} is {value}{unit}: it must be 1 to {most}")));
            }
        }
        Ok(Self { requests, per, by })
    }
}

/// What has come in the present window.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    /// `None` before the first request.
    until: Option<Instant>,
    counts: HashMap<IpAddr, u32>,
}

impl Counts {
    /// Counts a request.
    ///
    /// # Errors
    /// When it is one too many, with the time until the window ends.
    pub(super) fn count(&self, rate: Rate, client: Client) -> Result<(), Duration> {
        let now = Instant::now();
        // Nothing that is done under the lock can panic half-way.
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let until = match window.until {
            Some(until) if until > now => until,
            Some(_) | None => {
                let until = now + Duration::from_secs(rate.per.into());
                *window = Window { until: Some(until), counts: HashMap::new() };
                until
            }
        };
        let all = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let whose = match rate.by {
            By::Tunnel => all,
            By::Address => network_of(client.address),
        };
        let is_counted = window.counts.len() < MAX_ADDRESSES || window.counts.contains_key(&whose);
        let count = window.counts.entry(if is_counted { whose } else { all }).or_insert(0);
        if *count >= rate.requests {
            return Err(until - now);
        }
        *count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(json: &str) -> Rate {
        serde_json::from_str(json).unwrap()
    }

    fn client(number: u32) -> Client {
        IpAddr::from(std::net::Ipv4Addr::from(number)).into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_has_its_requests_and_the_next_one_as_many() {
        let (counts, rate) = (Counts::default(), rate(r#"{"requests":2,"per":10}"#));
        let second = Duration::from_secs(1);
        assert_eq!([counts.count(rate, client(1)), counts.count(rate, client(2))], [Ok(()), Ok(())]);
        tokio::time::advance(4 * second).await;
        assert_eq!(counts.count(rate, client(3)), Err(6 * second));
        tokio::time::advance(6 * second).await;
        assert_eq!(counts.count(rate, client(3)), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_count_for_themselves_and_beyond_a_thousand_together() {
        let (counts, rate) = (Counts::default(), rate(r#"{"requests":1,"per":10,"by":"address"}"#));
        assert!(counts.count(rate, client(1)).is_ok() && counts.count(rate, client(1)).is_err());
        let passed = (0..5_000).filter(|&number| counts.count(rate, client(number)).is_ok()).count();
        // The first is known already, and the last place is the one that all others share.
        assert_eq!(passed, MAX_ADDRESSES);
        assert!(counts.0.lock().unwrap().counts.len() <= MAX_ADDRESSES + 1);
    }
}
