//! Figures for an operator to watch, as Prometheus reads them.
//!
//! A figure is an atomic where the thing happens, and is read when somebody asks for `/metrics`. In reading order:
//!
//! - [`Figures`]: all of them
//! - `exchanges`: the outcomes, times and sizes of exchanges; `calls`: requests that begin none, and calls of the store
//! - `process`: what the system knows of the process
//! - `families`: how they are written; `histogram`: times by their length
//! - `endpoint`: where they are served

mod calls;
pub(super) mod endpoint;
mod exchanges;
mod families;
mod histogram;
mod process;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::DescriptorEncoder;

pub(super) use self::calls::{FailedRequests, StoreCall, StoreCalls};
pub(super) use self::exchanges::{Ending, ExchangeCounters, Took};
use self::families::Families;
use super::budgets::Budgets;
use crate::acme;
use crate::cluster::Cluster;
use crate::net::budget::{Budget, PerAddress};
use crate::net::listener::UnreadHeads;
use crate::net::tls::Handshakes;
use crate::proto::engine_io::{CloseReason, Revision, Transport};
use crate::proto::limit::Limit;

/// What there is to count.
pub(super) struct Figures<'f> {
    pub(super) exchanges: &'f ExchangeCounters,
    /// Those that other nodes have passed on.
    pub(super) hops: &'f ExchangeCounters,
    /// `None` for a server that is alone.
    pub(super) cluster: Option<&'f Cluster>,
    pub(super) failed_requests: &'f FailedRequests,
    pub(super) budgets: &'f Budgets,
    pub(super) unread_heads: &'f UnreadHeads,
    /// `None` without TLS.
    pub(super) handshakes: Option<&'f Handshakes>,
    /// `None` if no certificates are ordered.
    pub(super) acme: Option<&'f acme::Figures>,
    /// Sessions that are open.
    pub(super) sessions: Vec<((Transport, Revision), usize)>,
    /// Sessions that have ended, by the reason.
    pub(super) sessions_ended: Vec<(CloseReason, u64)>,
    /// Tunnels with an end that is connected.
    pub(super) tunnels: usize,
    /// Ends that are connected.
    pub(super) ends: usize,
    /// Tokens that this process keeps.
    pub(super) tokens: usize,
    pub(super) store: &'f StoreCalls,
    /// Notices for ends that were sent, and that were dropped.
    pub(super) notices: (u64, u64),
}

impl Figures<'_> {
    /// Writes all figures.
    pub(super) fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut Families::new(encoder);
        self.exchanges.write(out)?;
        self.write_cluster(out)?;
        self.failed_requests.write(out)?;
        self.write_sessions(out)?;
        self.write_handshakes(out)?;
        self.write_acme(out)?;
        self.write_budgets(out)?;
        let help = "How often a limit was hit, by the flag that sets it";
        out.counters("socket2me_limit_hits", help, "limit", self.limit_hits())?;
        out.gauge("socket2me_tokens", "Tokens that have not expired, or were not yet purged", self.tokens)?;
        self.store.write(out)?;
        let notices = [("sent", self.notices.0), ("dropped", self.notices.1)];
        let help = "Notices for ends that ask for them, by whether there was room";
        out.counters("socket2me_notices", help, "outcome", notices)?;
        let help = "Lines of the log that standard error was too slow to take";
        out.counter("socket2me_log_lines_lost", help, crate::log::lost_lines() as u64)?;
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        out.gauge("socket2me_tasks", "Tasks of the runtime", tasks)?;
        process::write(out)
    }

    fn write_sessions(&self, out: &mut Families<'_>) -> fmt::Result {
        out.gauge("socket2me_connected_tunnels", "Tunnels that have an end", self.tunnels)?;
        out.gauge("socket2me_connected_ends", "Ends that are connected", self.ends)?;
        let sessions = self.sessions.iter().map(|&((transport, revision), count)| {
            let revision = match revision {
                Revision::V3 => "3",
                Revision::V4 => "4",
            };
            ([("transport", transport.as_str()), ("revision", revision)], count)
        });
        out.gauges("socket2me_sessions", "Sessions that are open, by transport and Engine.IO revision", sessions)?;
        let ended = self.sessions_ended.iter().map(|(reason, count)| (reason.to_string().replace(' ', "-"), *count));
        out.counters("socket2me_sessions_ended", "Sessions that have ended, by the reason", "reason", ended)?;
        let UnreadHeads { answered, unexplained } = self.unread_heads;
        let heads = [("error", answered), ("none", unexplained)];
        let heads = heads.map(|(body, count)| (body, count.load(Ordering::Relaxed)));
        out.counters(
            "socket2me_unread_heads",
            "Heads of requests that could not be read, by the answer's body",
            "body",
            heads,
        )
    }

    fn write_cluster(&self, out: &mut Families<'_>) -> fmt::Result {
        self.hops.write_hops(out)?;
        let peers = self.cluster.map_or(0, |cluster| cluster.peers().len());
        out.gauge("socket2me_cluster_peers", "Other nodes of the cluster that live", peers)?;
        let has_lease = self.cluster.is_some_and(Cluster::has_lease);
        out.gauge(
            "socket2me_cluster_lease",
            "1 while this node's lease lasts, 0 without a cluster",
            usize::from(has_lease),
        )
    }

    fn write_handshakes(&self, out: &mut Families<'_>) -> fmt::Result {
        let none = Handshakes::default();
        let Handshakes { done, failed, late, plain, challenges } = self.handshakes.unwrap_or(&none);
        let ends =
            [("done", done), ("failed", failed), ("late", late), ("plain-http", plain), ("challenge", challenges)];
        let ends = ends.map(|(result, count)| (result, count.load(Ordering::Relaxed)));
        out.counters("socket2me_tls_handshakes", "TLS handshakes of connections, by their result", "result", ends)
    }

    fn write_acme(&self, out: &mut Families<'_>) -> fmt::Result {
        let none = acme::Figures::default();
        let figures = self.acme.unwrap_or(&none);
        let help = "When the certificate of a name expires that is ordered by ACME, in seconds since 1970; 0 while there is none";
        let certificates = figures.certificates().map(|(name, until)| ([("name", name)], until));
        out.gauges("socket2me_certificate_expires_seconds", help, certificates)?;
        let help = "Attempts to get a certificate, by their result";
        let attempts = figures.attempts().map(|(ending, count)| (ending.as_str(), count));
        out.counters("socket2me_acme_attempts", help, "result", attempts)
    }

    fn write_budgets(&self, out: &mut Families<'_>) -> fmt::Result {
        let Budgets { connections, sessions, exchanges, held, uploads, lingering, bytes, head_bytes, .. } =
            self.budgets;
        let budgets = [
            ("connections", connections),
            ("sessions", sessions),
            ("exchanges", exchanges),
            ("held", held),
            ("uploads", uploads),
            ("lingering", lingering),
            ("bytes", bytes),
            ("head_bytes", head_bytes),
        ];
        let labelled = |value: fn(&Budget) -> usize| budgets.map(|(name, budget)| ([("budget", name)], value(budget)));
        out.gauges("socket2me_in_use", "Units of each budget that are taken", labelled(Budget::used))?;
        out.gauges("socket2me_limit", "Units of each budget in all", labelled(Budget::limit))
    }

    /// Returns how often each limit was hit, by its flag.
    fn limit_hits(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let Budgets { connections, sessions, exchanges, held, uploads, lingering, bytes, head_bytes, .. } =
            self.budgets;
        let Budgets { exchanges_per_tunnel, held_per_tunnel, bytes_per_tunnel, hits, .. } = self.budgets;
        let of_all = [
            ("max-connections", connections.refused()),
            ("max-sessions", sessions.refused()),
            ("max-exchanges", exchanges.refused()),
            ("max-exchanges-per-tunnel", exchanges_per_tunnel.refused()),
            ("max-held", held.refused()),
            ("max-held-per-tunnel", held_per_tunnel.refused()),
            ("max-uploads", uploads.refused()),
            ("max-lingering", lingering.refused()),
        ];
        let of_addresses: [(_, &Arc<PerAddress>); 6] = [
            ("max-connections-per-address", &self.budgets.connections_per_address),
            ("max-sessions-per-address", &self.budgets.sessions_per_address),
            ("max-held-per-address", &self.budgets.held_per_address),
            ("max-uploads-per-address", &self.budgets.uploads_per_address),
            ("max-tunnels-per-address", &self.budgets.tunnels_per_address),
            ("max-lingering-per-address", &self.budgets.lingering_per_address),
        ];
        let memory = bytes.refused() + head_bytes.refused() + bytes_per_tunnel.refused();
        let others = hits.all().map(move |(limit, count)| match limit {
            Limit::Buffered => (limit.flag(), count + memory),
            limit => (limit.flag(), count),
        });
        let of_addresses = of_addresses.into_iter().map(|(flag, budget)| (flag, budget.refused()));
        of_all.into_iter().chain(of_addresses).chain(others)
    }
}
