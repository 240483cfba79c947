//! What there is of everything that a peer can ask for, and how long peers are waited for.

use std::time::Duration;

use clap::Args;

use super::help::{per_address, when_unset};
use super::units::{duration, duration_text, memory, size, size_text};
use crate::defaults;

/// The limits of `socket2me serve`. Each keeps one peer, or all of them together, from taking what others need.
#[derive(Debug, Clone, Args)]
#[command(
    next_help_heading = "Limits",
    mut_arg("max_connections_per_address", when_unset(per_address(defaults::MAX_CONNECTIONS_PER_ADDRESS))),
    mut_arg("max_sessions_per_address", when_unset(per_address(defaults::MAX_SESSIONS_PER_ADDRESS))),
    mut_arg("max_uploads_per_address", when_unset(per_address(defaults::MAX_UPLOADS_PER_ADDRESS))),
    mut_arg("max_buffered", when_unset(format!("{}, or eight times --max-payload where that is more", size_text(defaults::MAX_BUFFERED))))
)]
pub struct LimitConfig {
    /// Open connections of all kinds. An idle one takes less than 10 kB
    #[arg(long, env = "SOCKET2ME_MAX_CONNECTIONS", default_value_t = defaults::MAX_CONNECTIONS, value_name = "COUNT")]
    pub max_connections: usize,
    /// Open connections of one address, but for trusted proxies
    #[arg(long, env = "SOCKET2ME_MAX_CONNECTIONS_PER_ADDRESS", value_name = "COUNT")]
    pub max_connections_per_address: Option<usize>,
    /// Engine.IO sessions of all ends; polling ones live without a connection
    #[arg(long, env = "SOCKET2ME_MAX_SESSIONS", default_value_t = defaults::MAX_SESSIONS, value_name = "COUNT")]
    pub max_sessions: usize,
    /// Engine.IO sessions of one address, as trusted proxies tell it
    #[arg(long, env = "SOCKET2ME_MAX_SESSIONS_PER_ADDRESS", value_name = "COUNT")]
    pub max_sessions_per_address: Option<usize>,
    /// Tokens that are kept in memory, about 100 bytes each
    #[arg(long, env = "SOCKET2ME_MAX_TOKENS", default_value_t = defaults::MAX_TOKENS, value_name = "COUNT")]
    pub max_tokens: usize,
    /// Exchanges in flight of all tunnels
    #[arg(long, env = "SOCKET2ME_MAX_EXCHANGES", default_value_t = defaults::MAX_EXCHANGES, value_name = "COUNT")]
    pub max_exchanges: usize,
    /// Exchanges in flight of one tunnel: a tenth of all, so that one slow end does not stop the others
    #[arg(long, env = "SOCKET2ME_MAX_EXCHANGES_PER_TUNNEL", default_value_t = defaults::MAX_EXCHANGES_PER_TUNNEL, value_name = "COUNT")]
    pub max_exchanges_per_tunnel: usize,
    /// Request bodies of visitors that are still arriving. A request over it is answered 503
    #[arg(long, env = "SOCKET2ME_MAX_UPLOADS", default_value_t = defaults::MAX_UPLOADS, value_name = "COUNT")]
    pub max_uploads: usize,
    /// Request bodies of one address that are still arriving. A request over it is answered 429
    #[arg(long, env = "SOCKET2ME_MAX_UPLOADS_PER_ADDRESS", value_name = "COUNT")]
    pub max_uploads_per_address: Option<usize>,
    /// Memory for bodies and messages on their way, of all together; the exchanges of one tunnel get a quarter of it, and
    /// so does what waits to be sent on one session
    #[arg(long, env = "SOCKET2ME_MAX_BUFFERED", value_parser = memory, value_name = "SIZE")]
    pub max_buffered: Option<usize>,
    /// Namespaces of one session: the tokens that one connection of an end can hold
    #[arg(long, env = "SOCKET2ME_MAX_NAMESPACES", default_value_t = defaults::MAX_NAMESPACES, value_name = "COUNT")]
    pub max_namespaces: usize,
    /// Binary attachments of one packet; the reference's own limit
    #[arg(long, env = "SOCKET2ME_MAX_ATTACHMENTS", default_value_t = defaults::MAX_ATTACHMENTS, value_name = "COUNT")]
    pub max_attachments: usize,
    /// Levels of JSON in a packet with attachments, where each level takes memory; other JSON may be of any depth
    #[arg(long, env = "SOCKET2ME_MAX_DEPTH", default_value_t = defaults::MAX_DEPTH, value_name = "COUNT")]
    pub max_depth: usize,
    /// Packets in one polling body of an end; a client sends what it queued during one request
    #[arg(long, env = "SOCKET2ME_MAX_PACKETS", default_value_t = defaults::MAX_PACKETS, value_name = "COUNT")]
    pub max_packets: usize,
    /// The head of a request: its first line and headers
    #[arg(long, env = "SOCKET2ME_MAX_HEAD", default_value = size_text(defaults::MAX_HEAD), value_parser = size, value_name = "SIZE")]
    pub max_head: usize,
    /// Headers of a request; 100 are read without memory of their own
    #[arg(long, env = "SOCKET2ME_MAX_HEADERS", default_value_t = defaults::MAX_HEADERS, value_name = "COUNT")]
    pub max_headers: usize,
    /// How long the head of a request may take, and a connection may stay without one (after a response, half as long again
    /// at the most)
    #[arg(long, env = "SOCKET2ME_HEAD_TIMEOUT", default_value = duration_text(defaults::HEAD_TIMEOUT), value_parser = duration, value_name = "TIME")]
    pub head_timeout: Duration,
    /// How long a peer may stop reading, or sending its body; one that moves less than 1 KiB a second has stopped
    #[arg(long, env = "SOCKET2ME_STALL_TIMEOUT", default_value = duration_text(defaults::STALL_TIMEOUT), value_parser = duration, value_name = "TIME")]
    pub stall_timeout: Duration,
}
