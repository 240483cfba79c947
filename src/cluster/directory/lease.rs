//! The node's own lease, by its own clock.

use std::time::Duration;

use super::times::{HEARD_FOR, LEASE, LONGEST_GAP, OUT_AFTER, RENEW_EVERY, RETRY_EVERY, TICK_EVERY};
use crate::proto::time::{Instant, earliest};

/// What the node's lease lets it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The lease lasts.
    Member,
    /// The lease has lapsed or was never had, and no peer is known to have one: the store is away for all. The node goes on with
    /// its own tunnels.
    Alone,
    /// The lease has lapsed, and a peer has one: tunnels of this node may have gone over to others. It takes no visitors.
    Out,
}

/// The lease, when it is to be renewed, and whether the process has just stood still.
#[derive(Debug)]
pub(super) struct Lease {
    end: Option<Instant>,
    /// When to renew it; `None` while a renewal is under way.
    due: Option<Instant>,
    /// When it was heard first and last that a peer has the store and this node has not.
    out: Option<(Instant, Instant)>,
    ticked: Instant,
    /// When the process was found to have stood still; `None` once a renewal is answered that was sent later.
    woke: Option<Instant>,
    /// When to ask the peers next whether they have a lease.
    ask: Instant,
}

impl Lease {
    pub(super) fn new(now: Instant) -> Self {
        Self { end: None, due: Some(now), out: None, ticked: now, woke: None, ask: now }
    }

    /// Notices that the process has stood still.
    pub(super) fn tick(&mut self, now: Instant) {
        if now - self.ticked > LONGEST_GAP {
            self.woke = Some(now);
            self.due = self.due.map(|_| now);
        }
        self.ticked = self.ticked.max(now);
    }

    pub(super) fn is_awake(&self) -> bool {
        self.woke.is_none()
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    pub(super) fn hurry(&mut self, now: Instant) {
        self.due = self.due.map(|due| due.min(now));
    }

    pub(super) fn begun(&mut self) {
        self.due = None;
    }

    /// Takes up an answered renewal. The store counts from a later moment than this node, which counts from when it asked.
    pub(super) fn renewed(&mut self, now: Instant, sent: Instant) {
        let end = sent + LEASE;
        self.end = Some(self.end.map_or(end, |known| known.max(end)));
        self.due = Some(sent + RENEW_EVERY);
        self.out = None;
        match self.woke {
            Some(woke) if woke > sent => self.due = Some(now),
            Some(_) | None => self.woke = None,
        }
    }

    pub(super) fn failed(&mut self, now: Instant) {
        self.due = Some(now + RETRY_EVERY);
    }

    fn is_lapsed(&self, now: Instant) -> bool {
        self.end.is_none_or(|end| end <= now)
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        let is_out = self.out.is_some_and(|(first, last)| last - first >= OUT_AFTER && now < last + HEARD_FOR);
        match (self.is_lapsed(now), is_out) {
            (false, _) => Standing::Member,
            (true, false) => Standing::Alone,
            (true, true) => Standing::Out,
        }
    }

    /// Returns how long ago the store has renewed the lease; `None` if it never has.
    pub(super) fn renewed_ago(&self, now: Instant) -> Option<Duration> {
        let end = self.end?;
        Some((now + LEASE) - end)
    }

    /// Takes up that a peer has a lease that lasts.
    pub(super) fn others_last(&mut self, now: Instant) {
        if self.is_about_to_lapse(now) {
            let before = self.out.filter(|(_, last)| now < *last + HEARD_FOR);
            self.out = Some((before.map_or(now, |(first, _)| first), now));
        }
    }

    /// Tells whether the lease has lapsed, or will before the peers have been heard for long enough.
    fn is_about_to_lapse(&self, now: Instant) -> bool {
        self.is_lapsed(now + OUT_AFTER)
    }

    /// Tells whether the peers are to be asked now.
    pub(super) fn asks(&mut self, now: Instant) -> bool {
        let asks = self.is_about_to_lapse(now) && self.ask <= now;
        if asks {
            self.ask = now + RETRY_EVERY;
        }
        asks
    }

    pub(super) fn next(&self) -> Option<Instant> {
        let about_to_lapse = |end: Instant| Instant::after_origin(end.since_origin().saturating_sub(OUT_AFTER));
        let ask = self.end.map(|end| about_to_lapse(end).max(self.ask));
        earliest(earliest(self.due, ask), Some(self.ticked + TICK_EVERY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Instant {
        Instant::after_origin(Duration::from_millis(milliseconds))
    }

    #[test]
    fn a_lease_counts_from_when_its_renewal_was_sent() {
        let mut lease = Lease::new(at(0));
        assert!(lease.is_due(at(0)));
        lease.begun();
        assert!(!lease.is_due(at(9_000)));
        lease.renewed(at(100), at(100));
        assert_eq!((lease.standing(at(6_099)), lease.standing(at(6_100))), (Standing::Member, Standing::Alone));
        assert!(!lease.is_due(at(2_099)) && lease.is_due(at(2_100)));
        // An answer that was overtaken by another shortens nothing.
        lease.renewed(at(50), at(50));
        assert_eq!(lease.standing(at(6_099)), Standing::Member);
    }

    #[test]
    fn a_node_steps_down_only_while_a_peer_has_a_lease_and_it_has_none() {
        let mut lease = Lease::new(at(0));
        lease.renewed(at(0), at(0));
        lease.others_last(at(4_499));
        assert_eq!(lease.standing(at(6_000)), Standing::Alone);
        assert!(!lease.asks(at(4_499)) && lease.asks(at(4_500)) && !lease.asks(at(4_999)) && lease.asks(at(5_000)));
        lease.others_last(at(5_000));
        lease.others_last(at(6_499));
        assert_eq!(lease.standing(at(6_600)), Standing::Alone);
        lease.others_last(at(6_700));
        assert_eq!((lease.standing(at(9_699)), lease.standing(at(9_700))), (Standing::Out, Standing::Alone));
        lease.others_last(at(57_000));
        lease.others_last(at(59_000));
        assert_eq!(
            (lease.standing(at(60_000)), lease.renewed_ago(at(60_000))),
            (Standing::Out, Some(Duration::from_secs(60)))
        );
        lease.renewed(at(60_000), at(60_000));
        assert_eq!((lease.standing(at(60_000)), lease.asks(at(61_000))), (Standing::Member, false));
    }

    #[test]
    fn a_node_that_notices_a_little_later_than_its_peers_that_the_store_is_back_stays() {
        let mut lease = Lease::new(at(0));
        lease.renewed(at(0), at(0));
        lease.others_last(at(20_000));
        lease.others_last(at(20_500));
        assert_eq!(lease.standing(at(20_501)), Standing::Alone);
        lease.renewed(at(21_400), at(21_400));
        assert_eq!(lease.standing(at(21_600)), Standing::Member);
        // What was heard before counts no more when it lapses again.
        lease.others_last(at(27_500));
        assert_eq!(lease.standing(at(27_500)), Standing::Alone);
    }

    #[test]
    fn a_process_that_stood_still_is_awake_once_a_later_renewal_is_answered() {
        let mut lease = Lease::new(at(0));
        lease.begun();
        lease.tick(at(2_000));
        assert!(lease.is_awake());
        lease.tick(at(4_001));
        assert!(!lease.is_awake());
        // The answer was in the socket while the process stood still.
        lease.renewed(at(4_002), at(0));
        assert!(!lease.is_awake() && lease.is_due(at(4_002)));
        lease.renewed(at(4_100), at(4_002));
        assert!(lease.is_awake());
    }
}
