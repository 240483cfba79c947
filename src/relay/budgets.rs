//! The budgets of a server: each limit that its peers share, by name. CONTRIBUTING.md, "A limit", says what else a new one
//! needs.

use std::sync::Arc;

use crate::config::ServeConfig;
use crate::defaults;
use crate::net::budget::{Budget, Exempt, Parts, PerAddress};
use crate::net::hits::Hits;

/// The limits of a server that its peers share.
#[derive(Debug, Clone)]
pub(super) struct Budgets {
    pub(super) connections: Arc<Budget>,
    pub(super) connections_per_address: Arc<PerAddress>,
    pub(super) sessions: Arc<Budget>,
    pub(super) sessions_per_address: Arc<PerAddress>,
    /// Exchanges whose request has arrived and whose response is not sent yet.
    pub(super) exchanges: Arc<Budget>,
    /// Exchanges of each tunnel.
    pub(super) exchanges_per_tunnel: Parts,
    /// Visitors that wait for an end to come back.
    pub(super) held: Arc<Budget>,
    pub(super) held_per_address: Arc<PerAddress>,
    pub(super) held_per_tunnel: Parts,
    /// Ends of one tunnel that share its visitors.
    pub(super) ends_per_tunnel: usize,
    /// Visitors' request bodies that are still arriving.
    pub(super) uploads: Arc<Budget>,
    pub(super) uploads_per_address: Arc<PerAddress>,
    /// Tokens that have not expired, of the address that made them.
    pub(super) tunnels_per_address: Arc<PerAddress>,
    /// Connections that are answered and whose rest is dropped.
    pub(super) lingering: Arc<Budget>,
    pub(super) lingering_per_address: Arc<PerAddress>,
    /// Memory for bodies and messages, in bytes. A body is counted by `net::body` while it arrives, and a message by
    /// `net::websocket`. Then the session's task counts what its session holds, and the exchange its event or its answer.
    pub(super) bytes: Arc<Budget>,
    /// The part of that memory which the exchanges of one tunnel may take.
    pub(super) bytes_per_tunnel: Parts,
    /// The part of that memory which long heads of requests may take.
    pub(super) head_bytes: Arc<Budget>,
    /// Counts how often limits were hit that no budget counts.
    pub(super) hits: Arc<Hits>,
}

impl Budgets {
    pub(super) fn new(config: &ServeConfig) -> Self {
        let limits = &config.limits;
        // The settings are counts, of which zero means no limit.
        let per_address = |set: Option<usize>, default| {
            let exempt = Exempt { this_machine: set.is_none(), proxies: config.trust_proxy.clone() };
            let limit = set.unwrap_or(default);
            PerAddress::new(if limit == 0 { usize::MAX } else { limit }, exempt)
        };
        let bytes = Budget::new(config.max_buffered());
        let (exchanges, held) = (Budget::new(limits.max_exchanges), Budget::new(limits.max_held));
        Self {
            connections: Budget::new(limits.max_connections),
            connections_per_address: per_address(
                limits.max_connections_per_address,
                defaults::MAX_CONNECTIONS_PER_ADDRESS,
            ),
            sessions: Budget::new(limits.max_sessions),
            sessions_per_address: per_address(limits.max_sessions_per_address, defaults::MAX_SESSIONS_PER_ADDRESS),
            exchanges_per_tunnel: Parts::new(&exchanges, limits.max_exchanges_per_tunnel),
            exchanges,
            held_per_tunnel: Parts::new(&held, limits.max_held_per_tunnel),
            held,
            held_per_address: per_address(limits.max_held_per_address, defaults::MAX_HELD_PER_ADDRESS),
            ends_per_tunnel: limits.max_ends_per_tunnel,
            uploads: Budget::new(limits.max_uploads),
            uploads_per_address: per_address(limits.max_uploads_per_address, defaults::MAX_UPLOADS_PER_ADDRESS),
            tunnels_per_address: per_address(limits.max_tunnels_per_address, defaults::MAX_TUNNELS_PER_ADDRESS),
            lingering: Budget::new(limits.max_lingering),
            lingering_per_address: per_address(limits.max_lingering_per_address, defaults::MAX_LINGERING_PER_ADDRESS),
            bytes_per_tunnel: Parts::new(&bytes, bytes.share()),
            head_bytes: bytes.part(bytes.share()),
            bytes,
            hits: Arc::default(),
        }
    }
}
