//! What everybody shares, and of which there is only so much: connections, sessions, exchanges, bytes in memory.
//!
//! Whoever takes a part holds it as a value, so that it comes back however the holder ends. A [`Budget`] can be a part of
//! another one: what a tunnel takes is taken from all, but it cannot take all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;

use crate::tables;

/// So much of something.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
    refused: AtomicU64,
    whole: Option<Arc<Self>>,
}

impl Budget {
    /// A budget of its own.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0), refused: AtomicU64::new(0), whole: None })
    }

    /// A budget within this one.
    #[must_use]
    pub fn part(self: &Arc<Self>, limit: usize) -> Arc<Self> {
        let whole = Some(Arc::clone(self));
        Arc::new(Self { limit, used: AtomicUsize::new(0), refused: AtomicU64::new(0), whole })
    }

    /// Takes so much, or nothing when there is not enough.
    #[must_use]
    pub fn hold(self: &Arc<Self>, amount: usize) -> Option<Held> {
        self.take(amount).then(|| Held { budget: Arc::clone(self), amount })
    }

    /// What there is.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// What is taken.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How often there was not enough.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts a refusal by another rule than the limit.
    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn take(&self, amount: usize) -> bool {
        // Added first and taken back if it was too much: nobody sees more than the limit granted.
        let before = self.used.fetch_add(amount, Ordering::Relaxed);
        let fits = before.checked_add(amount).is_some_and(|sum| sum <= self.limit);
        if fits && self.whole.as_ref().is_none_or(|whole| whole.take(amount)) {
            return true;
        }
        self.used.fetch_sub(amount, Ordering::Relaxed);
        self.refused.fetch_add(1, Ordering::Relaxed);
        false
    }

    fn give_back(&self, amount: usize) {
        self.used.fetch_sub(amount, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.give_back(amount);
        }
    }
}

/// A part of a budget; it comes back when this is dropped.
#[derive(Debug)]
pub struct Held {
    budget: Arc<Budget>,
    amount: usize,
}

impl Held {
    /// How much it is.
    #[must_use]
    pub fn amount(&self) -> usize {
        self.amount
    }

    /// Makes it so much, or leaves it as it is when there is not enough, and says so with false.
    #[must_use]
    pub fn resize(&mut self, amount: usize) -> bool {
        if amount > self.amount && !self.budget.take(amount - self.amount) {
            return false;
        }
        if amount < self.amount {
            self.budget.give_back(self.amount - amount);
        }
        self.amount = amount;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.amount);
    }
}

/// How many of something each address has. One subscriber has a whole /64 of IPv6, and counts as one.
#[derive(Debug)]
pub struct PerAddress {
    limit: usize,
    /// Unless the operator set a limit, this machine's own addresses have none: behind a proxy here they are everybody.
    loopback_too: bool,
    /// Proxies, which are many in one.
    exempt: Vec<IpNet>,
    counts: Mutex<HashMap<IpAddr, usize>>,
    refused: AtomicU64,
}

impl PerAddress {
    /// So many for each but the `exempt`; `set` by the operator, or else `default`.
    #[must_use]
    pub fn new(set: Option<usize>, default: usize, exempt: Vec<IpNet>) -> Arc<Self> {
        Arc::new(Self {
            limit: set.unwrap_or(default),
            loopback_too: set.is_some(),
            exempt,
            counts: Mutex::default(),
            refused: AtomicU64::new(0),
        })
    }

    /// Takes one, or nothing when this address has all it may have.
    #[must_use]
    pub fn hold(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let is_exempt = self.exempt.iter().any(|network| network.contains(&address));
        if is_exempt || (address.is_loopback() && !self.loopback_too) {
            return Some(Place { of: None });
        }
        let address = network_of(address);
        let mut counts = self.counts();
        let count = counts.entry(address).or_insert(0);
        if *count >= self.limit {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        *count += 1;
        Some(Place { of: Some((Arc::clone(self), address)) })
    }

    /// How often an address had all it may have.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Nothing that is done under the lock can panic half-way.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of what an address may have; it comes back when this is dropped.
#[derive(Debug)]
pub struct Place {
    of: Option<(Arc<PerAddress>, IpAddr)>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((per_address, address)) = &self.of else { return };
        let mut counts = per_address.counts();
        if let Some(count) = counts.get_mut(address) {
            *count -= 1;
            // Who has none is forgotten, so the table is no larger than what is held.
            if *count == 0 {
                counts.remove(address);
                tables::shrink(&mut counts);
            }
        }
    }
}

/// What counts as one address.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_what_there_is_and_takes_it_back() {
        let budget = Budget::new(10);
        let mut held = budget.hold(6).unwrap();
        assert!(budget.hold(5).is_none());
        let rest = budget.hold(4).unwrap();
        assert!(!held.resize(7), "all is taken");
        assert!(held.resize(2));
        assert_eq!((budget.used(), budget.refused(), held.amount()), (6, 2, 2));
        assert!(held.resize(6));
        drop((held, rest));
        assert_eq!(budget.used(), 0);
        assert!(budget.hold(usize::MAX).is_none(), "no sum overflows");
    }

    #[test]
    fn a_part_takes_from_the_whole_and_not_all_of_it() {
        let whole = Budget::new(10);
        let (one, other) = (whole.part(6), whole.part(6));
        assert!(one.hold(7).is_none());
        let held = one.hold(6).unwrap();
        assert!(other.hold(5).is_none(), "the whole has only four left");
        assert_eq!((one.used(), other.used(), whole.used()), (6, 0, 6));
        drop(held);
        assert_eq!((one.used(), whole.used()), (0, 0));
    }

    #[test]
    fn each_address_has_its_own() {
        let per_address = PerAddress::new(None, 1, vec!["203.0.113.0/24".parse().unwrap()]);
        let of = |address: &str| per_address.hold(address.parse().unwrap());
        let first = of("192.0.2.1").unwrap();
        assert!(of("192.0.2.1").is_none());
        assert!(of("::ffff:192.0.2.1").is_none(), "the same in other clothes");
        let _other = of("192.0.2.2").unwrap();
        let _network = of("2001:db8::1").unwrap();
        assert!(of("2001:db8::2").is_none());
        let _proxy = (of("203.0.113.1").unwrap(), of("203.0.113.1").unwrap());
        let _home = (of("127.0.0.1").unwrap(), of("127.0.0.1").unwrap());
        drop(first);
        let _again = of("192.0.2.1").unwrap();
        assert_eq!((per_address.counts().len(), per_address.refused()), (3, 3));
        assert!(
            PerAddress::new(Some(0), 1, Vec::new()).hold("127.0.0.1".parse().unwrap()).is_none(),
            "the operator said so"
        );
    }
}
