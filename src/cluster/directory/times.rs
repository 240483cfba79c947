//! How long the node waits for what.

use std::time::Duration;

/// How long a lease lasts, from when its renewal was sent. A node that is gone counts as dead after this.
pub const LEASE: Duration = Duration::from_secs(6);

/// Time between two renewals: two may be lost.
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(2);

/// Time until what failed is tried again: a renewal, a question to the peers.
pub(super) const RETRY_EVERY: Duration = Duration::from_millis(500);

/// Time between two ticks, by which a process notices that it stood still.
pub(super) const TICK_EVERY: Duration = Duration::from_millis(500);

/// The longest time between two ticks of a process that runs.
pub(super) const LONGEST_GAP: Duration = Duration::from_secs(2);

/// How long a found tunnel is taken to be where it was found.
pub(super) const KNOWN_FOR: Duration = Duration::from_secs(2);

/// How long a tunnel without an owner is taken to have none: an end may be about to join.
pub(super) const NOBODY_FOR: Duration = Duration::from_millis(200);

/// How old what is known of a tunnel may be while the store is away.
pub(super) const STALE_FOR: Duration = Duration::from_secs(60);

/// How long after a loss a tunnel that the store does not know may be one that is not announced again yet.
pub(super) const UNSURE_FOR: Duration = Duration::from_secs(60);

/// Time between two times that a tunnel is left because another node asks for it.
pub(super) const LEAVE_EVERY: Duration = Duration::from_secs(10);

/// How long an exchange waits for the head of a peer's response before the peer is asked for a sign of life.
pub const SLOW: Duration = Duration::from_millis(250);

/// How long a peer may take for a sign of life: longer than a busy machine does.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// How long it is believed that a peer has the store, which is asked again every [`RETRY_EVERY`].
pub(super) const HEARD_FOR: Duration = Duration::from_secs(3);

/// How long a node hears again and again of peers that have the store before it steps down, and how long before its lease lapses it
/// begins to ask. If the store was away for all, they do not notice at the same moment that it is back.
pub(super) const OUT_AFTER: Duration = Duration::from_millis(1_500);

/// How much later than this node a peer must have renewed its lease to have the store while this node has not. If the store is away
/// for all, they have renewed within 2 s of each other.
pub const LATER: Duration = Duration::from_secs(4);

/// Time between two questions to a peer whether it is there.
pub(super) const PING_EVERY: Duration = Duration::from_secs(1);
