//! Flags and environment: every setting, its default and the reason for it. Flag beats environment beats default.

mod limits;
mod units;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use http::StatusCode;
use ipnet::IpNet;

pub use self::limits::LimitConfig;
use self::units::{duration, network, origin, revision, size, timeout_status};
use crate::proto::engine_io::Revision;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "socket2me",
    version,
    about = "A public URL for an app behind NAT: HTTP relayed to any Socket.IO client"
)]
pub struct Cli {
    /// How log lines on standard error look
    #[arg(long, global = true, env = "SOCKET2ME_LOG_FORMAT", value_enum, default_value_t = LogFormat::Human)]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or a filter such as `socket2me=debug,hyper=info`
    #[arg(long, global = true, env = "SOCKET2ME_LOG", default_value = "info")]
    pub log: String,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the relay: hand out tokens, take ends in, forward visitors to them
    Serve(Box<ServeConfig>),
}

/// The look of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For a person.
    Human,
    /// One JSON object a line.
    Json,
}

/// Which statuses the relay's own errors have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ErrorStatus {
    /// 500 for an unknown token and for an end that is not there, as the original
    Original,
    /// 404 for an unknown token and 502 for an end that is not there, as other relays
    Standard,
}

/// The settings of `socket2me serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeConfig {
    /// Address and port to listen on. Without it: all interfaces when a port is given, else 127.0.0.1:3000
    #[arg(long, env = "SOCKET2ME_LISTEN", value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Port to listen on, on all interfaces, as hosting platforms set it
    #[arg(long, env = "PORT")]
    pub port: Option<u16>,
    /// The URL by which this server is reached from outside, for what it prints [default: where it listens]
    #[arg(long, env = "SOCKET2ME_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// Where tokens live. Only memory is there yet: with this set the server says so and goes on
    #[arg(long, env = "REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub redis_url: Option<String>,

    /// Seconds a token lives without a refresh
    #[arg(long, env = "TOKEN_EXPIRE_SECONDS", default_value = "21600", value_parser = duration, value_name = "TIME")]
    pub token_ttl: Duration,
    /// How much longer an expired token works, so that a refresh at the last moment wins
    /// [default: 60s, but a quarter of the token's life at the most]
    #[arg(long, env = "SOCKET2ME_TOKEN_GRACE", value_parser = duration, value_name = "TIME")]
    pub token_grace: Option<Duration>,

    /// How long an end may take to answer a request
    #[arg(long, env = "SOCKET2ME_RESPONSE_TIMEOUT", default_value = "5s", value_parser = duration, value_name = "TIME")]
    pub response_timeout: Duration,
    /// The status of a request that the end did not answer in time; 200 is an `OK`, as in the original
    #[arg(long, env = "SOCKET2ME_TIMEOUT_STATUS", default_value = "200", value_parser = timeout_status, value_name = "STATUS")]
    pub timeout_status: StatusCode,
    /// The statuses of the relay's own errors
    #[arg(long, env = "SOCKET2ME_ERROR_STATUS", value_enum, default_value_t = ErrorStatus::Original)]
    pub error_status: ErrorStatus,
    /// The largest body of a visitor's request
    #[arg(long, env = "SOCKET2ME_MAX_BODY", default_value = "10MiB", value_parser = size, value_name = "SIZE")]
    pub max_body: usize,
    /// Networks of proxies whose X-Forwarded-* headers are believed, separated by commas
    #[arg(long, env = "SOCKET2ME_TRUST_PROXY", value_delimiter = ',', value_parser = network, value_name = "CIDR")]
    pub trust_proxy: Vec<IpNet>,

    /// The window of the rate limit, in milliseconds
    #[arg(long, env = "THROTTLE_INTERVAL_MS", default_value = "1000", value_name = "MS")]
    pub throttle_interval_ms: u64,
    /// Requests of one address in a window after which answers are delayed to the next one
    /// [default: 200, and none for this machine's own addresses]
    #[arg(long, env = "THROTTLE_INTERVAL_MAX", value_name = "COUNT")]
    pub throttle_interval_max: Option<u32>,
    /// Requests of one address in a window after which the answer is 429
    /// [default: 400, and none for this machine's own addresses]
    #[arg(long, env = "THROTTLE_INTERVAL_BURST_MAX", value_name = "COUNT")]
    pub throttle_interval_burst_max: Option<u32>,

    /// The revisions of Engine.IO that ends may speak: 3 is socket.io-client 1.x and 2.x, 4 is 3.x and 4.x
    #[arg(long, env = "SOCKET2ME_ENGINE_IO", default_value = "3,4", value_delimiter = ',', value_parser = revision, value_name = "REVISIONS")]
    pub engine_io: Vec<Revision>,
    /// The heartbeat of ends: how often
    #[arg(long, env = "SOCKET2ME_PING_INTERVAL", default_value = "25s", value_parser = duration, value_name = "TIME")]
    pub ping_interval: Duration,
    /// The heartbeat of ends: how long its answer may take
    #[arg(long, env = "SOCKET2ME_PING_TIMEOUT", default_value = "20s", value_parser = duration, value_name = "TIME")]
    pub ping_timeout: Duration,
    /// How long the upgrade from polling to a WebSocket may take
    #[arg(long, env = "SOCKET2ME_UPGRADE_TIMEOUT", default_value = "10s", value_parser = duration, value_name = "TIME")]
    pub upgrade_timeout: Duration,
    /// How long a connection may stay without joining a token's namespace
    #[arg(long, env = "SOCKET2ME_CONNECT_TIMEOUT", default_value = "45s", value_parser = duration, value_name = "TIME")]
    pub connect_timeout: Duration,
    /// The largest message or polling body of an end
    /// [default: enough for an answer of --max-body over any transport]
    #[arg(long, env = "SOCKET2ME_MAX_PAYLOAD", value_parser = size, value_name = "SIZE")]
    pub max_payload: Option<usize>,
    /// Requests waiting for one connection's task before further ones are answered 503
    #[arg(long, env = "SOCKET2ME_MAILBOX", default_value = "4096", value_parser = clap::value_parser!(u32).range(1..=65536), value_name = "COUNT")]
    pub mailbox: u32,
    /// Origins of pages that may connect as ends, separated by commas; `*` is any
    #[arg(long, env = "SOCKET2ME_ALLOW_ORIGIN", default_value = "*", value_delimiter = ',', value_parser = origin, value_name = "ORIGIN")]
    pub allow_origin: Vec<String>,
    /// Where figures for an operator are served, in the form that Prometheus reads. Without it: nowhere
    #[arg(long, env = "SOCKET2ME_METRICS_LISTEN", value_name = "ADDR:PORT")]
    pub metrics_listen: Option<SocketAddr>,
    /// What there is of everything, and how long peers are waited for.
    #[command(flatten)]
    pub limits: LimitConfig,
    /// How long a stopping server lets requests finish
    #[arg(long, env = "SOCKET2ME_DRAIN_TIMEOUT", default_value = "10s", value_parser = duration, value_name = "TIME")]
    pub drain_timeout: Duration,
}

/// A grace that is enough for a refresh on its way (`original.md`: the original's client refreshes at the last moment).
const TOKEN_GRACE: Duration = Duration::from_secs(60);

impl ServeConfig {
    /// The defaults, without looking at arguments or environment: for tests, and for those who embed the server.
    #[must_use]
    pub fn defaults() -> Self {
        /// The flags alone, without a program around them.
        #[derive(Parser)]
        struct Alone {
            #[command(flatten)]
            config: ServeConfig,
        }
        use clap::{CommandFactory as _, FromArgMatches as _};
        let command = Alone::command().mut_args(|arg| arg.env(None));
        let matches = command.get_matches_from(["socket2me"]);
        Alone::from_arg_matches(&matches).expect("every setting has a default or is optional").config
    }

    /// The memory for bodies and messages, in bytes: room for several of the largest, however large they may be.
    #[must_use]
    pub fn max_buffered(&self) -> usize {
        /// Enough for a hundred uploads of two megabytes at once, and no strain on a small machine.
        const DEFAULT: usize = 256 << 20;
        self.limits.max_buffered.unwrap_or_else(|| DEFAULT.max(self.payload_limit().saturating_mul(8)))
    }

    /// Where to listen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        match (self.listen, self.port) {
            (Some(listen), _) => listen,
            (None, Some(port)) => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
            (None, None) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3000),
        }
    }

    /// How much longer an expired token works.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.token_grace.unwrap_or_else(|| TOKEN_GRACE.min(self.token_ttl / 4))
    }

    /// The largest message of an end, in bytes: an answer of the largest body in base64, the headers beside it, and room
    /// for what escaping adds to text.
    #[must_use]
    pub fn payload_limit(&self) -> usize {
        self.max_payload.unwrap_or_else(|| self.max_body / 5 * 8 + (64 << 10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_originals() {
        let config = ServeConfig::defaults();
        assert_eq!(config.address(), "127.0.0.1:3000".parse().unwrap());
        assert_eq!(config.token_ttl, Duration::from_secs(6 * 3600));
        assert_eq!(config.grace(), Duration::from_secs(60));
        assert_eq!(config.response_timeout, Duration::from_secs(5));
        assert_eq!(config.timeout_status, StatusCode::OK);
        assert_eq!(config.throttle_interval_ms, 1000);
        assert_eq!(config.max_body, 10 << 20);
        assert!(config.payload_limit() > config.max_body / 3 * 4);
    }

    #[test]
    fn a_port_alone_listens_everywhere() {
        let config = ServeConfig { port: Some(8080), ..ServeConfig::defaults() };
        assert_eq!(config.address(), "[::]:8080".parse().unwrap());
        let config = ServeConfig { listen: Some("127.0.0.1:1".parse().unwrap()), ..config };
        assert_eq!(config.address(), "127.0.0.1:1".parse().unwrap());
    }
}
