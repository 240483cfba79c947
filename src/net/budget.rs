//! Shared resources with a limit: connections, sessions, exchanges, bytes of memory.
//!
//! What is taken from a [`Budget`] is a value ([`Held`], [`AddressSlot`]) that gives it back when dropped, however its
//! owner ends. A budget can be a part of another one: what a tunnel takes counts against the server's total too.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;

use crate::tables;

/// Memory below this size is not counted, in bytes: it is as much as the connection itself costs, which has a limit of its
/// own, and most bodies and messages are smaller.
pub const UNCOUNTED_BYTES: usize = 16 << 10;

/// A limited amount of something. The unit is its creator's: connections, exchanges, bytes.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
    refused: Arc<AtomicU64>,
    whole: Option<Arc<Self>>,
}

impl Budget {
    /// Creates a budget of `limit` units.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0), refused: Arc::default(), whole: None })
    }

    /// Creates a budget within this one: what it gives out is taken from both.
    #[must_use]
    pub fn part(self: &Arc<Self>, limit: usize) -> Arc<Self> {
        Parts::new(self, limit).part()
    }

    /// Takes `amount` units, or returns `None` when fewer are left, and counts a refusal of the budget that has too few: this one or
    /// its whole.
    #[must_use]
    pub fn hold(self: &Arc<Self>, amount: usize) -> Option<Held> {
        self.take(amount).then(|| Held { budget: Arc::clone(self), amount })
    }

    /// Returns the number of units in all.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Returns a quarter of the limit: what one tunnel, session or message may hold, so that it does not stop the others.
    #[must_use]
    pub fn share(&self) -> usize {
        self.limit / 4
    }

    /// Returns the number of units taken.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Returns how often something was refused because too little of this budget was left.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts a refusal that a rule other than the limit caused.
    pub(crate) fn count_refusal(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes nothing unless everything fits, so that a large request that is refused takes nothing from a small one. Only when
    /// others take the room of the whole between the look and the taking is something taken and given back.
    fn take(&self, amount: usize) -> bool {
        if self.whole.as_ref().is_some_and(|whole| !whole.has_room(amount)) {
            return false;
        }
        let within_limit = |used: usize| used.checked_add(amount).filter(|&sum| sum <= self.limit);
        if self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within_limit).is_err() {
            self.count_refusal();
            return false;
        }
        if self.whole.as_ref().is_some_and(|whole| !whole.take(amount)) {
            self.used.fetch_sub(amount, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Returns whether this and its wholes have room for `amount`, and counts a refusal of the first that has not.
    fn has_room(&self, amount: usize) -> bool {
        if self.used().checked_add(amount).is_none_or(|sum| sum > self.limit) {
            self.count_refusal();
            return false;
        }
        self.whole.as_ref().is_none_or(|whole| whole.has_room(amount))
    }

    fn give_back(&self, amount: usize) {
        self.used.fetch_sub(amount, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.give_back(amount);
        }
    }
}

/// Makes parts of a budget that all have the same limit.
#[derive(Debug, Clone)]
pub struct Parts {
    whole: Arc<Budget>,
    limit: usize,
    refused: Arc<AtomicU64>,
}

impl Parts {
    /// Returns a maker of parts of `whole`, each with this limit.
    #[must_use]
    pub fn new(whole: &Arc<Budget>, limit: usize) -> Self {
        Self { whole: Arc::clone(whole), limit, refused: Arc::default() }
    }

    /// Creates a part.
    #[must_use]
    pub fn part(&self) -> Arc<Budget> {
        let (whole, refused) = (Some(Arc::clone(&self.whole)), Arc::clone(&self.refused));
        Arc::new(Budget { limit: self.limit, used: AtomicUsize::new(0), refused, whole })
    }

    /// Returns how often something was refused because too little of its part was left.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Units taken from a budget. Dropping this gives them back.
#[derive(Debug)]
pub struct Held {
    budget: Arc<Budget>,
    amount: usize,
}

impl Held {
    /// Returns the number of units held.
    #[must_use]
    pub fn amount(&self) -> usize {
        self.amount
    }

    /// Makes this hold `amount` units. Returns false, and changes nothing, when too few are left.
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

/// The memory of one message, body or queue, which changes its size. Up to [`UNCOUNTED_BYTES`] nothing is taken.
#[derive(Debug, Default)]
pub struct Memory(Option<Held>);

impl Memory {
    /// Makes this count `bytes` against `budget`. Returns false, and changes nothing, when too little is left.
    #[must_use]
    pub fn resize(&mut self, bytes: usize, budget: &Arc<Budget>) -> bool {
        match &mut self.0 {
            Some(held) => held.resize(bytes),
            None if bytes <= UNCOUNTED_BYTES => true,
            none => {
                *none = budget.hold(bytes);
                none.is_some()
            }
        }
    }

    /// Gives everything back.
    pub fn clear(&mut self) {
        self.0 = None;
    }
}

/// Whom the limits for one address count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The address.
    pub address: IpAddr,
    /// The address is known to be the client's own. An address that stands for clients of whom nothing is known is never exempt.
    pub can_be_exempt: bool,
}

impl From<IpAddr> for Client {
    /// The peer of a connection.
    fn from(address: IpAddr) -> Self {
        Self { address, can_be_exempt: true }
    }
}

/// Addresses to which no limit for one address applies.
#[derive(Debug, Clone)]
pub struct Exempt {
    /// This machine's own addresses are exempt. True unless the operator set the limit: behind a proxy on the same machine they
    /// are every peer at once.
    pub this_machine: bool,
    /// Networks of trusted proxies, whose address stands for all their clients.
    pub proxies: Vec<IpNet>,
}

impl Default for Exempt {
    fn default() -> Self {
        Self { this_machine: true, proxies: Vec::new() }
    }
}

impl Exempt {
    /// Returns whether a client is exempt.
    #[must_use]
    pub fn contains(&self, client: Client) -> bool {
        let address = client.address.to_canonical();
        client.can_be_exempt
            && ((self.this_machine && address.is_loopback())
                || self.proxies.iter().any(|proxy| proxy.contains(&address)))
    }
}

/// Counts how many of something each address has. A /64 of IPv6, which one subscriber has whole, counts as one address.
#[derive(Debug)]
pub struct PerAddress {
    limit: usize,
    exempt: Exempt,
    counts: Mutex<HashMap<IpAddr, usize>>,
    refused: AtomicU64,
}

impl PerAddress {
    /// Creates a count in which no address has anything, and may have as many as `limit`.
    #[must_use]
    pub fn new(limit: usize, exempt: Exempt) -> Arc<Self> {
        Arc::new(Self { limit, exempt, counts: Mutex::default(), refused: AtomicU64::new(0) })
    }

    /// Takes one for `client`, or returns `None` and counts a refusal when its address has as many as it may have.
    #[must_use]
    pub fn hold(self: &Arc<Self>, client: impl Into<Client>) -> Option<AddressSlot> {
        let client = client.into();
        if self.exempt.contains(client) {
            return Some(AddressSlot { of: None });
        }
        let address = network_of(client.address);
        let mut counts = self.counts();
        let count = counts.get(&address).copied().unwrap_or(0);
        if count >= self.limit {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        counts.insert(address, count + 1);
        Some(AddressSlot { of: Some((Arc::clone(self), address)) })
    }

    /// Takes one for an address that has it already, as [`AddressSlot::address`] returned it, even if that is beyond the limit.
    #[must_use]
    pub fn hold_again(self: &Arc<Self>, address: Option<IpAddr>) -> AddressSlot {
        if let Some(address) = address {
            *self.counts().entry(address).or_default() += 1;
        }
        AddressSlot { of: address.map(|address| (Arc::clone(self), address)) }
    }

    /// Returns how many an address may have.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Returns how often an address had as many as it may have.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Nothing that is done under the lock can panic half-way.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of what an address may have. Dropping this gives it back.
#[derive(Debug)]
pub struct AddressSlot {
    of: Option<(Arc<PerAddress>, IpAddr)>,
}

impl AddressSlot {
    /// Returns the address that has it, as it counts: a /64 of IPv6 is one. `None` if the client is exempt.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.of.as_ref().map(|(_, address)| *address)
    }
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let Some((per_address, address)) = &self.of else { return };
        let mut counts = per_address.counts();
        if let Some(count) = counts.get_mut(address) {
            *count -= 1;
            // An address without any is forgotten, so the table is no larger than what is held.
            if *count == 0 {
                counts.remove(address);
                tables::shrink(&mut counts);
            }
        }
    }
}

/// Returns what counts as one address: an IPv4 address, or the /64 of an IPv6 address.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
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
    fn a_budget_gives_out_its_limit_and_takes_it_back() {
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
        let parts = Parts::new(&whole, 6);
        let (one, other) = (parts.part(), parts.part());
        assert!(one.hold(7).is_none());
        assert_eq!((parts.refused(), whole.refused()), (1, 0));
        let held = one.hold(6).unwrap();
        assert!(other.hold(5).is_none(), "the whole has only four left");
        assert_eq!((parts.refused(), whole.refused()), (1, 1));
        assert_eq!((one.used(), other.used(), whole.used()), (6, 0, 6));
        drop(held);
        assert_eq!((one.used(), whole.used()), (0, 0));
    }

    /// A large request that is refused must not take, even for a moment, what a small one on another thread could have.
    #[test]
    fn a_request_that_is_refused_takes_nothing_meanwhile() {
        assert_eq!(small_refused_beside_large(&Budget::new(10)), 0);
    }

    /// Nor from its part, when it is the whole that refuses.
    #[test]
    fn a_request_that_the_whole_refuses_takes_nothing_of_its_part_meanwhile() {
        assert_eq!(small_refused_beside_large(&Budget::new(10).part(11)), 0);
    }

    /// Returns how many requests for 10 units were refused while another thread asked for 11, which a budget never has.
    fn small_refused_beside_large(budget: &Arc<Budget>) -> usize {
        std::thread::scope(|scope| {
            let large = scope.spawn(|| {
                for _ in 0..2_000_000 {
                    assert!(budget.hold(11).is_none());
                }
            });
            let mut refused = 0;
            while !large.is_finished() {
                refused += usize::from(budget.hold(10).is_none());
            }
            refused
        })
    }

    #[test]
    fn small_memory_is_not_counted() {
        let budget = Budget::new(UNCOUNTED_BYTES + 10);
        let mut memory = Memory::default();
        assert!(memory.resize(UNCOUNTED_BYTES, &budget));
        assert_eq!(budget.used(), 0);
        assert!(memory.resize(UNCOUNTED_BYTES + 1, &budget));
        assert_eq!(budget.used(), UNCOUNTED_BYTES + 1);
        assert!(!memory.resize(UNCOUNTED_BYTES + 11, &budget));
        memory.clear();
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn each_address_has_its_own_limit() {
        let proxies = vec!["203.0.113.0/24".parse().unwrap()];
        let per_address = PerAddress::new(1, Exempt { proxies, ..Exempt::default() });
        let of = |address: &str| per_address.hold(address.parse::<IpAddr>().unwrap());
        let first = of("192.0.2.1").unwrap();
        assert!(of("192.0.2.1").is_none());
        assert!(of("::ffff:192.0.2.1").is_none(), "the same address, written as IPv6");
        let _other = of("192.0.2.2").unwrap();
        let _network = of("2001:db8::1").unwrap();
        assert!(of("2001:db8::2").is_none());
        let _proxy = (of("203.0.113.1").unwrap(), of("203.0.113.1").unwrap());
        let _home = (of("127.0.0.1").unwrap(), of("127.0.0.1").unwrap());
        for address in ["203.0.113.9", "127.0.0.9"] {
            let doubtful = || per_address.hold(Client { address: address.parse().unwrap(), can_be_exempt: false });
            let _held = doubtful().unwrap();
            assert!(doubtful().is_none(), "{address} stands for clients that are unknown");
        }
        drop(first);
        let _again = of("192.0.2.1").unwrap();
        assert_eq!((per_address.counts().len(), per_address.refused()), (3, 5));
    }

    #[test]
    fn a_limit_of_zero_refuses_every_address_and_remembers_none() {
        let per_address = PerAddress::new(0, Exempt { this_machine: false, proxies: Vec::new() });
        for address in ["127.0.0.1", "192.0.2.1", "2001:db8::1"] {
            assert!(per_address.hold(address.parse::<IpAddr>().unwrap()).is_none(), "{address}");
        }
        assert_eq!((per_address.counts().len(), per_address.refused()), (0, 3));
    }
}
