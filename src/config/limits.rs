//! Limits on what peers can take: connections, sessions, memory, time. CONTRIBUTING.md, "A limit", says what else a new one
//! needs.

use std::time::Duration;

use clap::Args;

use super::help::{per_address, when_unset};
use super::units::{at_least, duration_text, headers_from, memory_from, size_from, size_text, some_time};
use crate::defaults;

/// The limits of `socket2me serve`. Each stops one peer, or all together, from using up what the others need.
#[derive(Debug, Clone, Args)]
#[command(
    next_help_heading = "Limits",
    mut_arg("max_connections_per_address", when_unset(per_address(defaults::MAX_CONNECTIONS_PER_ADDRESS))),
    mut_arg("max_sessions_per_address", when_unset(per_address(defaults::MAX_SESSIONS_PER_ADDRESS))),
    mut_arg("max_uploads_per_address", when_unset(per_address(defaults::MAX_UPLOADS_PER_ADDRESS))),
    mut_arg("max_tunnels_per_address", when_unset(per_address(defaults::MAX_TUNNELS_PER_ADDRESS))),
    mut_arg("max_held_per_address", when_unset(per_address(defaults::MAX_HELD_PER_ADDRESS))),
    mut_arg("max_lingering_per_address", when_unset(per_address(defaults::MAX_LINGERING_PER_ADDRESS))),
    mut_arg("max_buffered", when_unset(format!("{}, or eight times --max-payload where that is more", size_text(defaults::MAX_BUFFERED))))
)]
pub struct LimitConfig {
    /// Open connections. Beyond: 503, and the connection is closed. An idle one takes less than 10 kB
    #[arg(long, env = "SOCKET2ME_MAX_CONNECTIONS", default_value_t = defaults::MAX_CONNECTIONS, value_parser = at_least(1), value_name = "COUNT")]
    pub max_connections: usize,
    /// Open connections of one address, except of trusted proxies. Beyond: 503, and the connection is closed. 0 is
    /// no limit
    #[arg(long, env = "SOCKET2ME_MAX_CONNECTIONS_PER_ADDRESS", value_name = "COUNT")]
    pub max_connections_per_address: Option<usize>,
    /// Engine.IO sessions of all ends. Beyond: a new one is 503. A polling session may exist without an open connection
    #[arg(long, env = "SOCKET2ME_MAX_SESSIONS", default_value_t = defaults::MAX_SESSIONS, value_parser = at_least(1), value_name = "COUNT")]
    pub max_sessions: usize,
    /// Engine.IO sessions of one address, as trusted proxies report it. Beyond: a new one is 503. 0 is no limit
    #[arg(long, env = "SOCKET2ME_MAX_SESSIONS_PER_ADDRESS", value_name = "COUNT")]
    pub max_sessions_per_address: Option<usize>,
    /// Tokens in memory, about 400 bytes each, and 950 once it has had an end. Beyond: /new is 503 until a token expires
    #[arg(long, env = "SOCKET2ME_MAX_TOKENS", default_value_t = defaults::MAX_TOKENS, value_parser = at_least(1), value_name = "COUNT")]
    pub max_tokens: usize,
    /// Tokens that one address made, except a trusted proxy, and that have not expired. Beyond: /new is 429. 0 is no limit
    #[arg(long, env = "SOCKET2ME_MAX_TUNNELS_PER_ADDRESS", value_name = "COUNT")]
    pub max_tunnels_per_address: Option<usize>,
    /// Visitors' requests in flight, of all tunnels. Beyond: 503
    #[arg(long, env = "SOCKET2ME_MAX_EXCHANGES", default_value_t = defaults::MAX_EXCHANGES, value_parser = at_least(1), value_name = "COUNT")]
    pub max_exchanges: usize,
    /// Visitors' requests in flight, of one tunnel. Beyond: 503. Keep it well below --max-exchanges, so that one slow
    /// end does not stop the others
    #[arg(long, env = "SOCKET2ME_MAX_EXCHANGES_PER_TUNNEL", default_value_t = defaults::MAX_EXCHANGES_PER_TUNNEL, value_parser = at_least(1), value_name = "COUNT")]
    pub max_exchanges_per_tunnel: usize,
    /// Visitors that wait for an end to come back, of all tunnels, beside --max-exchanges. Beyond: 503
    #[arg(long, env = "SOCKET2ME_MAX_HELD", default_value_t = defaults::MAX_HELD, value_parser = at_least(1), value_name = "COUNT")]
    pub max_held: usize,
    /// Visitors that wait for an end to come back, of one tunnel. Beyond: 503
    #[arg(long, env = "SOCKET2ME_MAX_HELD_PER_TUNNEL", default_value_t = defaults::MAX_HELD_PER_TUNNEL, value_parser = at_least(1), value_name = "COUNT")]
    pub max_held_per_tunnel: usize,
    /// Visitors of one address that wait for an end to come back, except of trusted proxies. Beyond: 503. 0 is no limit
    #[arg(long, env = "SOCKET2ME_MAX_HELD_PER_ADDRESS", value_name = "COUNT")]
    pub max_held_per_address: Option<usize>,
    /// Ends of one tunnel that share its visitors. Beyond: the oldest leaves once it has answered
    #[arg(long, env = "SOCKET2ME_MAX_ENDS_PER_TUNNEL", default_value_t = defaults::MAX_ENDS_PER_TUNNEL, value_parser = at_least(1), value_name = "COUNT")]
    pub max_ends_per_tunnel: usize,
    /// Request bodies that are still arriving from visitors. Beyond: 503
    #[arg(long, env = "SOCKET2ME_MAX_UPLOADS", default_value_t = defaults::MAX_UPLOADS, value_parser = at_least(1), value_name = "COUNT")]
    pub max_uploads: usize,
    /// Request bodies that are still arriving from one address, except of trusted proxies. Beyond: 429. 0 is no
    /// limit
    #[arg(long, env = "SOCKET2ME_MAX_UPLOADS_PER_ADDRESS", value_name = "COUNT")]
    pub max_uploads_per_address: Option<usize>,
    /// Connections that were answered before their whole request was read, and stay open until the client has the answer:
    /// 30 s at most. Beyond: closed at once, and the client may miss the answer
    #[arg(long, env = "SOCKET2ME_MAX_LINGERING", default_value_t = defaults::MAX_LINGERING, value_parser = at_least(1), value_name = "COUNT")]
    pub max_lingering: usize,
    /// The same of one address, except of trusted proxies. Beyond: closed at once. 0 is no limit
    #[arg(long, env = "SOCKET2ME_MAX_LINGERING_PER_ADDRESS", value_name = "COUNT")]
    pub max_lingering_per_address: Option<usize>,
    /// Memory for bodies and messages on their way, of all together. Beyond: requests are 503, and sessions with more
    /// to send are closed. The requests of one tunnel may take a quarter of it, and so may what one session has to send.
    /// 1MiB at least
    #[arg(long, env = "SOCKET2ME_MAX_BUFFERED", value_parser = memory_from(1 << 20), value_name = "SIZE")]
    pub max_buffered: Option<usize>,
    /// Head of an end's response: its headers, 1KiB at least. Beyond: 502
    #[arg(long, env = "SOCKET2ME_MAX_RESPONSE_HEAD", default_value = size_text(defaults::MAX_RESPONSE_HEAD), value_parser = size_from(1 << 10), value_name = "SIZE")]
    pub max_response_head: usize,
    /// Header lines of an end's response, 10000 at most. Beyond: 502. Each visitor's connection keeps room for as many
    /// as its largest response had, 100 bytes each
    #[arg(long, env = "SOCKET2ME_MAX_RESPONSE_HEADERS", default_value = defaults::MAX_RESPONSE_HEADERS.to_string(), value_parser = headers_from(1), value_name = "COUNT")]
    pub max_response_headers: usize,
    /// The `auth` of an end that joins, or the query of the namespace that it joins. Beyond: joining is refused
    #[arg(long, env = "SOCKET2ME_MAX_AUTH", default_value = size_text(defaults::MAX_AUTH), value_parser = size_from(1 << 10), value_name = "SIZE")]
    pub max_auth: usize,
    /// Namespaces of one session, so tunnels of one connection of an end. Beyond: joining is refused
    #[arg(long, env = "SOCKET2ME_MAX_NAMESPACES", default_value_t = defaults::MAX_NAMESPACES, value_parser = at_least(1), value_name = "COUNT")]
    pub max_namespaces: usize,
    /// Binary attachments of one packet. Beyond: the connection is closed. The default is the reference server's
    #[arg(long, env = "SOCKET2ME_MAX_ATTACHMENTS", default_value_t = defaults::MAX_ATTACHMENTS, value_parser = at_least(1), value_name = "COUNT")]
    pub max_attachments: usize,
    /// Levels of JSON in a packet with attachments, where each level takes memory. Beyond: the session is closed. JSON
    /// without attachments may be of any depth
    #[arg(long, env = "SOCKET2ME_MAX_DEPTH", default_value_t = defaults::MAX_DEPTH, value_parser = at_least(2), value_name = "COUNT")]
    pub max_depth: usize,
    /// Packets in one polling body of an end, 16 at least. It holds what its client queued during one request. Beyond:
    /// 400, and the session is closed
    #[arg(long, env = "SOCKET2ME_MAX_PACKETS", default_value_t = defaults::MAX_PACKETS, value_parser = at_least(16), value_name = "COUNT")]
    pub max_packets: usize,
    /// Head of a request: its first line and its headers, 8KiB at least. Beyond: 431
    #[arg(long, env = "SOCKET2ME_MAX_HEAD", default_value = size_text(defaults::MAX_HEAD), value_parser = size_from(8 << 10), value_name = "SIZE")]
    pub max_head: usize,
    /// Headers of a request, 16 to 10000. Beyond: 431. Above 100, each request costs an allocation
    #[arg(long, env = "SOCKET2ME_MAX_HEADERS", default_value_t = defaults::MAX_HEADERS, value_parser = headers_from(16), value_name = "COUNT")]
    pub max_headers: usize,
    /// Time to receive a request's head; also the keep-alive timeout. Then the connection is closed
    #[arg(long, env = "SOCKET2ME_HEAD_TIMEOUT", default_value = duration_text(defaults::HEAD_TIMEOUT), value_parser = some_time, value_name = "TIME")]
    pub head_timeout: Duration,
    /// Time in which a peer must read what is sent to it, or send its body, 1 KiB a second at least. Then the
    /// connection is closed, and a request is 408
    #[arg(long, env = "SOCKET2ME_STALL_TIMEOUT", default_value = duration_text(defaults::STALL_TIMEOUT), value_parser = some_time, value_name = "TIME")]
    pub stall_timeout: Duration,
}
