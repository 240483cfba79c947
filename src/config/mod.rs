//! Every setting, as a flag of the command line, as an environment variable and, of most, as a key of the configuration file.
//! Each of these comes before the next, and before the default in [`crate::defaults`].

mod acme;
mod admin;
mod cluster;
mod described;
mod environment;
mod file;
mod folders;
mod forward;
mod help;
mod limits;
mod listen;
mod nearby;
mod operating;
mod redis_url;
mod rules;
mod secret;
mod settings;
mod sources;
mod store;
#[cfg(test)]
mod tests;
mod tls;
mod tools;
mod tunnel;
mod tunnel_host;
mod units;
mod up;
mod warnings;
mod words;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};
use http::StatusCode;
use ipnet::IpNet;

pub use self::acme::{AcmeConfig, AcmeName};
pub use self::admin::{AdminAccess, AdminAction, AdminConfig, AdminPlace, ClusterAction, ClusterStatusConfig};
pub use self::cluster::ClusterConfig;
pub use self::described::{completions, page};
pub use self::environment::unknown_variables;
pub use self::folders::state_folder;
pub use self::forward::{ForwardConfig, HostHeader, Output};
use self::help::{per_address, when_unset};
pub use self::limits::LimitConfig;
pub use self::listen::Listen;
pub use self::operating::{CompletionsConfig, HealthcheckConfig, ManConfig};
pub use self::redis_url::RedisUrl;
pub use self::rules::{Preset, Rule, RulesConfig};
pub use self::secret::{Secret, SecretsKeys};
use self::secret::{keys_file, secret_file};
use self::store::MOVING;
pub use self::store::{StoreAction, StoreConfig, StorePlace, default_store_file};
pub use self::tls::TlsConfig;
pub use self::tools::{DoctorConfig, DumpConfig, DumpOutput, RespondConfig, UrlConfig};
pub use self::tunnel::{Ends, NamedBy, Repeat, ServerConfig, TunnelConfig, UrlModeWord};
pub use self::tunnel_host::TunnelHosts;
pub use self::units::network;
use self::units::{
    at_least, duration, duration_text, log_filter, milliseconds, on_off, origin, public_url, revision, revisions_text,
    size_from, size_text, some_time, time_from, timeout_status,
};
pub use self::up::{UpConfig, UpTunnel};
pub use self::words::{ErrorStatus, LogFormat, PathHtml};
use crate::defaults;
use crate::proto::engine_io::Revision;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "socket2me",
    version,
    about = "A public URL for an app behind NAT: HTTP relayed to any Socket.IO client"
)]
pub struct Cli {
    /// Format of the log on standard error
    #[arg(long, global = true, help_heading = "Log", env = "SOCKET2ME_LOG_FORMAT", value_enum, default_value_t = LogFormat::Human)]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or a filter such as `socket2me=debug,hyper=info`
    #[arg(long, global = true, help_heading = "Log", env = "SOCKET2ME_LOG", default_value = defaults::LOG, value_parser = log_filter, value_name = "FILTER")]
    pub log: String,
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// What the words for values stand for in the help of `serve`.
const UNITS: &str = "\
COUNT is a number. SIZE is a number of bytes, or with KiB, MiB or GiB: 64KiB. 64K and 64KB are the same.
TIME is a number of seconds, or with ms, s, m or h: 300ms. MS is a number of milliseconds.
ADDR:PORT is 127.0.0.1:3000, or localhost:3000 for both loopback addresses, or 3000 for all interfaces.
Zero is refused where the help of a setting does not say what it means. A variable that is empty is absent.
An address of IPv6 is its /64 network.";

/// A command of the binary.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the relay: hand out tokens, accept ends, forward visitors' requests to them
    #[command(after_help = UNITS)]
    Serve(Box<ServeConfig>),
    /// Put an app of this machine on the internet: forward a tunnel's requests to it
    #[command(after_help = forward::EXAMPLES)]
    Forward(Box<ForwardConfig>),
    /// Forward several tunnels, which socket2me.toml names
    #[command(after_help = up::EXAMPLES)]
    Up(Box<UpConfig>),
    /// Open a tunnel and answer each request with the same response
    #[command(after_help = tools::RESPOND_EXAMPLES)]
    Respond(Box<RespondConfig>),
    /// Open a tunnel and print each request
    #[command(after_help = tools::DUMP_EXAMPLES)]
    Dump(Box<DumpConfig>),
    /// Print the URL of a tunnel that was open before, without opening it
    #[command(after_help = tools::URL_EXAMPLES)]
    Url(UrlConfig),
    /// Tell what is wrong between this machine and a server
    #[command(after_help = tools::DOCTOR_EXAMPLES)]
    Doctor(DoctorConfig),
    /// Move tunnels from one store to another, or list them. The server must not run meanwhile
    #[command(after_help = MOVING)]
    Store(StoreConfig),
    /// Tell whether the server on this machine takes requests
    #[command(after_help = operating::HEALTHCHECK_EXAMPLES)]
    Healthcheck(HealthcheckConfig),
    /// Ask a running server for its tunnels, close one, or keep somebody out
    #[command(after_help = admin::ADMIN_EXAMPLES)]
    Admin(AdminConfig),
    /// Tell which nodes the cluster of a running server has
    #[command(after_help = admin::CLUSTER_EXAMPLES)]
    Cluster(ClusterStatusConfig),
    /// Print a script by which a shell completes commands and flags
    #[command(after_help = operating::COMPLETIONS_EXAMPLES)]
    Completions(CompletionsConfig),
    /// Print a page of the manual
    #[command(after_help = operating::MAN_EXAMPLES)]
    Man(ManConfig),
}

impl Command {
    /// Returns the relay of a command about one tunnel.
    fn server(&mut self) -> Option<&mut ServerConfig> {
        match self {
            Self::Forward(config) => Some(&mut config.tunnel.at),
            Self::Respond(config) => Some(&mut config.tunnel.at),
            Self::Dump(config) => Some(&mut config.tunnel.at),
            Self::Url(UrlConfig { at, .. }) | Self::Doctor(DoctorConfig { at, .. }) => Some(at),
            Self::Serve(_)
            | Self::Up(_)
            | Self::Store(_)
            | Self::Healthcheck(_)
            | Self::Admin(_)
            | Self::Cluster(_)
            | Self::Completions(_)
            | Self::Man(_) => None,
        }
    }
}

/// The settings of `socket2me serve`.
#[derive(Debug, Clone, Args)]
// An optional field has no default that clap could show, so its help tells it in words.
#[command(
    mut_arg("listen", when_unset(format!("all interfaces where a port is given, else {}", Listen::Loopback(defaults::LOOPBACK_PORT)))),
    mut_arg("token_grace", when_unset(format!("{}, but a quarter of --token-ttl at most", duration_text(defaults::TOKEN_GRACE)))),
    mut_arg("throttle_interval_max", when_unset(per_address(defaults::THROTTLE_INTERVAL_MAX))),
    mut_arg("throttle_interval_burst_max", when_unset(per_address(defaults::THROTTLE_INTERVAL_BURST_MAX)))
)]
pub struct ServeConfig {
    /// TOML file with settings in a section `[serve]`. Its keys are the names of the flags here without the dashes, as in
    /// `max-body = "20MiB"`. Flags and variables come before it [default: none]
    #[arg(help_heading = "Server", long = "config", env = "SOCKET2ME_CONFIG", value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// Address and port to listen on
    #[arg(help_heading = "Server", long, env = "SOCKET2ME_LISTEN", value_name = "ADDR:PORT")]
    pub listen: Option<Listen>,
    /// Port to listen on, on all interfaces. Hosting platforms set the variable; the variable of --listen comes before it
    #[arg(help_heading = "Server", long, env = "PORT")]
    pub port: Option<u16>,
    /// URL at which visitors and ends reach this server, with its scheme, and its path if it has one: what it prints, and
    /// apps get in X-Forwarded-Host and X-Forwarded-Prefix [default: the address it listens on, and for apps the host
    /// that a visitor asks for]
    #[arg(help_heading = "Server", long, env = "SOCKET2ME_PUBLIC_URL", value_parser = public_url, value_name = "URL")]
    pub public_url: Option<String>,
    /// Hosts of tunnels: *.t.example.com, whose DNS leads here. Each is an origin of its own to a browser [default:
    /// *.localhost if the server's URL is a loopback host, else none]
    #[arg(help_heading = "Server", long, env = "SOCKET2ME_TUNNEL_HOST", value_name = "*.DOMAIN")]
    pub tunnel_host: Option<TunnelHosts>,
    /// TLS.
    #[command(flatten)]
    pub tls: TlsConfig,
    /// Certificates that the server orders itself.
    #[command(flatten)]
    pub acme: AcmeConfig,
    /// Where tunnels are kept: memory, which a restart loses, file:PATH, which one server has at a time, or
    /// redis://HOST:PORT/DATABASE, or rediss:// for TLS, which several servers may share; of a master and its replicas all, with
    /// commas between [default: REDIS_URL, or else the file tunnels-PORT.redb in $STATE_DIRECTORY, or else in the folder
    /// socket2me of $XDG_STATE_HOME, of ~/.local/state or, on macOS, of ~/Library/Application Support. Memory for port 0, and
    /// with a warning if that file cannot be used]
    #[arg(help_heading = "Tokens", long, env = "SOCKET2ME_STORE", value_name = "PLACE", hide_env_values = true)]
    pub store: Option<StorePlace>,
    /// The file in which tunnels are kept if `store` does not say where, and in memory if the file cannot be used. The program
    /// sets it; it is no flag.
    #[arg(skip)]
    pub default_store: Option<PathBuf>,
    /// Redis to keep tunnels in, or a master and its replicas with commas between, where --store does not say another place. As a
    /// flag it comes before the variable of --store, and as a variable before a store in the configuration file
    #[arg(help_heading = "Tokens", long, env = "REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub redis_url: Option<RedisUrl>,

    /// Life of a token without a refresh; then it is unknown, and its end is disconnected
    #[arg(help_heading = "Tokens", long, env = "TOKEN_EXPIRE_SECONDS", default_value = duration_text(defaults::TOKEN_TTL), value_parser = some_time, value_name = "TIME")]
    pub token_ttl: Duration,
    /// Time for which an expired token still works, so that a refresh at the last moment is not too late. 0
    /// is none
    #[arg(help_heading = "Tokens", long, env = "SOCKET2ME_TOKEN_GRACE", value_parser = duration, value_name = "TIME")]
    pub token_grace: Option<Duration>,

    /// Life of a keyed tunnel without an end that its maker may ask for, 10m at least
    #[arg(help_heading = "Keyed tunnels", long, env = "SOCKET2ME_MAX_TTL", default_value = duration_text(defaults::MAX_TTL), value_parser = time_from(Duration::from_secs(600)), value_name = "TIME")]
    pub max_ttl: Duration,
    /// Time for an end of a keyed tunnel to answer that its maker may ask for, 1s at least
    #[arg(help_heading = "Keyed tunnels", long, env = "SOCKET2ME_MAX_TIMEOUT", default_value = duration_text(defaults::MAX_TIMEOUT), value_parser = time_from(Duration::from_secs(1)), value_name = "TIME")]
    pub max_timeout: Duration,
    /// Time that its maker may ask visitors to wait for an end that has left and comes back. 0 is none
    #[arg(help_heading = "Keyed tunnels", long, env = "SOCKET2ME_MAX_HOLD", default_value = duration_text(defaults::MAX_HOLD), value_parser = duration, value_name = "TIME")]
    pub max_hold: Duration,
    /// Requests that the tunnels of one key may have in --key-window. Beyond: 429 [default: no limit]
    #[arg(help_heading = "Keyed tunnels", long, env = "SOCKET2ME_KEY_REQUESTS", value_parser = at_least(1), value_name = "COUNT")]
    pub key_requests: Option<usize>,
    /// Bytes of bodies and WebSockets, in both directions, that the tunnels of one key may have in --key-window. Beyond: 429 [default:
    /// no limit]
    #[arg(help_heading = "Keyed tunnels", long, env = "SOCKET2ME_KEY_BYTES", value_parser = size_from(1), value_name = "SIZE")]
    pub key_bytes: Option<usize>,
    /// Time for which these two count
    #[arg(help_heading = "Keyed tunnels", long, env = "SOCKET2ME_KEY_WINDOW", default_value = duration_text(defaults::KEY_WINDOW), value_parser = some_time, value_name = "TIME")]
    pub key_window: Duration,
    /// File with a secret: only who sends it in X-Socket2Me-Create may make tunnels, and only keyed ones [default: everybody
    /// may]
    #[arg(help_heading = "Keyed tunnels", long = "create-secret-file", env = "SOCKET2ME_CREATE_SECRET_FILE", value_parser = secret_file, value_name = "FILE")]
    pub create_secret: Option<Secret>,
    /// Where the operator asks.
    #[command(flatten)]
    pub admin: AdminAccess,
    /// Other servers.
    #[command(flatten)]
    pub cluster: ClusterConfig,
    /// File with keys, one a line, under which the secrets of tunnels' rules are kept: the first seals, any opens [default: they are
    /// kept as they are]
    #[arg(help_heading = "Keyed tunnels", long = "secrets-key-file", env = "SOCKET2ME_SECRETS_KEY_FILE", value_parser = keys_file, value_name = "FILE")]
    pub secrets_keys: Option<SecretsKeys>,
    /// Make no tunnels without a key: GET /new is 403. Those that exist live on
    #[arg(help_heading = "Keyed tunnels", long, env = "SOCKET2ME_REQUIRE_KEYS")]
    pub require_keys: bool,
    /// Make tunnels without a key in spite of --create-secret-file or --require-keys
    #[arg(help_heading = "Keyed tunnels", long, env = "SOCKET2ME_ALLOW_ORIGINAL")]
    pub allow_original: bool,

    /// Time for an end to answer a request; then the visitor gets --timeout-status
    #[arg(help_heading = "Exchanges", long, env = "SOCKET2ME_RESPONSE_TIMEOUT", default_value = duration_text(defaults::ACK_TIMEOUT), value_parser = some_time, value_name = "TIME")]
    pub response_timeout: Duration,
    /// Status of a request that was not answered in time. 200 has the body `OK`, as in the original; 504 is usual
    /// elsewhere
    #[arg(help_heading = "Exchanges", long, env = "SOCKET2ME_TIMEOUT_STATUS", default_value = defaults::TIMEOUT_STATUS.as_str(), value_parser = timeout_status, value_name = "STATUS")]
    pub timeout_status: StatusCode,
    /// Statuses of the relay's own errors
    #[arg(help_heading = "Exchanges", long, env = "SOCKET2ME_ERROR_STATUS", value_enum, default_value_t = ErrorStatus::Original)]
    pub error_status: ErrorStatus,
    /// Documents (HTML, SVG, XML, without a type) at /go/TOKEN, which to a browser is one origin for all tunnels
    #[arg(help_heading = "Exchanges", long, env = "SOCKET2ME_PATH_HTML", value_enum, default_value_t = PathHtml::Allow)]
    pub path_html: PathHtml,
    /// Show a person who opens a tunnel's page for the first time a page that says whose it is; never a program, a script or a webhook
    #[arg(help_heading = "Exchanges", long, env = "SOCKET2ME_INTERSTITIAL")]
    pub interstitial: bool,
    /// Let search engines list what is behind tunnels: without X-Robots-Tag: noindex, nofollow, which an end may set otherwise
    #[arg(help_heading = "Exchanges", long, env = "SOCKET2ME_ALLOW_ROBOTS")]
    pub allow_robots: bool,
    /// Body of a visitor's request. Beyond: 413
    #[arg(help_heading = "Exchanges", long, env = "SOCKET2ME_MAX_BODY", default_value = size_text(defaults::MAX_BODY), value_parser = size_from(1), value_name = "SIZE")]
    pub max_body: usize,
    /// Body of a visitor's request to an end that streams. Beyond: 413 [default: no limit]
    #[arg(help_heading = "Exchanges", long, env = "SOCKET2ME_MAX_STREAM_BODY", value_parser = size_from(1), value_name = "SIZE")]
    pub max_stream_body: Option<usize>,
    /// Networks of proxies whose X-Forwarded-* and Forwarded headers are believed, separated by commas [default: none]
    #[arg(help_heading = "Server", long, env = "SOCKET2ME_TRUST_PROXY", value_delimiter = ',', value_parser = network, value_name = "CIDR")]
    pub trust_proxy: Vec<IpNet>,
    /// Connections of these proxies begin with a header of the PROXY protocol, version 1 or 2, which says whose they are; those of
    /// others never do
    #[arg(help_heading = "Server", long, env = "SOCKET2ME_PROXY_PROTOCOL")]
    pub proxy_protocol: bool,

    /// Window of the rate limit, in milliseconds. 0 is no rate limit
    #[arg(help_heading = "Rate limit", long = "throttle-interval-ms", env = "THROTTLE_INTERVAL_MS", default_value = defaults::THROTTLE_INTERVAL.as_millis().to_string(), value_parser = milliseconds, value_name = "MS")]
    pub throttle_interval: Duration,
    /// Requests of one address, except of trusted proxies, in a window that are answered at once. Beyond: they wait for
    /// the next window. 0 is no limit
    #[arg(help_heading = "Rate limit", long, env = "THROTTLE_INTERVAL_MAX", value_name = "COUNT")]
    pub throttle_interval_max: Option<u32>,
    /// Requests of one address, except of trusted proxies, in a window that are answered at all. Beyond: 429.
    /// 0 is no limit
    #[arg(help_heading = "Rate limit", long, env = "THROTTLE_INTERVAL_BURST_MAX", value_name = "COUNT")]
    pub throttle_interval_burst_max: Option<u32>,

    /// Revisions of Engine.IO that ends may speak: 3 is socket.io-client 1.x and 2.x, 4 is 3.x and 4.x
    #[arg(help_heading = "Ends", long, env = "SOCKET2ME_ENGINE_IO", default_value = revisions_text(Revision::ALL), value_delimiter = ',', value_parser = revision, value_name = "REVISIONS")]
    pub engine_io: Vec<Revision>,
    /// Time between two heartbeats of a session
    #[arg(help_heading = "Ends", long, env = "SOCKET2ME_PING_INTERVAL", default_value = duration_text(defaults::PING_INTERVAL), value_parser = some_time, value_name = "TIME")]
    pub ping_interval: Duration,
    /// Time for the answer to a heartbeat; then the session is closed
    #[arg(help_heading = "Ends", long, env = "SOCKET2ME_PING_TIMEOUT", default_value = duration_text(defaults::PING_TIMEOUT), value_parser = some_time, value_name = "TIME")]
    pub ping_timeout: Duration,
    /// Time for the upgrade from polling to a WebSocket; then the WebSocket is closed and polling goes on
    #[arg(help_heading = "Ends", long, env = "SOCKET2ME_UPGRADE_TIMEOUT", default_value = duration_text(defaults::UPGRADE_TIMEOUT), value_parser = some_time, value_name = "TIME")]
    pub upgrade_timeout: Duration,
    /// Time for an end to join its first token's namespace; then its connection is closed
    #[arg(help_heading = "Ends", long, env = "SOCKET2ME_CONNECT_TIMEOUT", default_value = duration_text(defaults::CONNECT_TIMEOUT), value_parser = some_time, value_name = "TIME")]
    pub connect_timeout: Duration,
    /// Message or polling body of an end. Beyond: an answer costs its exchange (502), a polling body its session (413)
    /// [default: room for an answer of --max-body over any transport]
    #[arg(help_heading = "Ends", long, env = "SOCKET2ME_MAX_PAYLOAD", value_parser = size_from(1 << 10), value_name = "SIZE")]
    pub max_payload: Option<usize>,
    /// Commands, such as requests to send, that wait for one session's task. Beyond: requests are 503
    #[arg(help_heading = "Ends", long, alias = "mailbox", env = "SOCKET2ME_MAILBOX", default_value = defaults::MAX_WAITING_COMMANDS.to_string(), value_parser = clap::value_parser!(u32).range(1..=65536), value_name = "COUNT")]
    pub max_waiting_commands: u32,
    /// Origins of pages that may connect as ends, separated by commas; `*` is any. Pages of other origins get 403
    #[arg(help_heading = "Ends", long, env = "SOCKET2ME_ALLOW_ORIGIN", default_value = defaults::ALLOWED_ORIGIN, value_delimiter = ',', value_parser = origin, value_name = "ORIGIN")]
    pub allow_origin: Vec<String>,
    /// Address and port to serve figures at, under /metrics, as Prometheus reads them [default: none]
    #[arg(help_heading = "Server", long, env = "SOCKET2ME_METRICS_LISTEN", value_name = "ADDR:PORT")]
    pub metrics_listen: Option<Listen>,
    /// Write one line for each exchange once it is over, at the level info, with the target socket2me::access
    #[arg(help_heading = "Log", long, env = "SOCKET2ME_ACCESS_LOG", default_value = "on", action = ArgAction::Set, value_parser = on_off())]
    pub access_log: bool,
    /// Put the queries of visitors' requests into the access log. They hold secrets
    #[arg(help_heading = "Log", long, env = "SOCKET2ME_LOG_QUERY")]
    pub log_query: bool,
    /// Time for requests in flight once the server is told to stop; then they fail. 0 stops at once
    #[arg(help_heading = "Server", long, env = "SOCKET2ME_DRAIN_TIMEOUT", default_value = duration_text(defaults::DRAIN_TIMEOUT), value_parser = duration, value_name = "TIME")]
    pub drain_timeout: Duration,
    /// Limits on what peers can take.
    #[command(flatten)]
    pub limits: LimitConfig,
}

impl ServeConfig {
    /// Returns the defaults, whatever the command line and the environment say: for tests, and for programs that embed the
    /// server.
    #[must_use]
    pub fn defaults() -> Self {
        /// The flags without a command around them.
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

    /// Tells whether tunnels without a key are made.
    #[must_use]
    pub fn makes_original(&self) -> bool {
        self.allow_original || !(self.require_keys || self.create_secret.is_some())
    }

    /// Returns the memory for bodies and messages, in bytes. The default holds eight of the largest messages at least, so that
    /// it still serves several tunnels when `--max-payload` is large.
    #[must_use]
    pub fn max_buffered(&self) -> usize {
        self.limits.max_buffered.unwrap_or_else(|| defaults::MAX_BUFFERED.max(self.payload_limit().saturating_mul(8)))
    }

    /// Returns the memory that the fields of one form may take, in bytes: more than enough for a hundred thousand by default.
    #[must_use]
    pub fn max_form_memory(&self) -> usize {
        self.max_body.saturating_mul(4)
    }

    /// Returns where to listen: `--listen`, else `--port` on all interfaces, else the default, both loopback addresses.
    #[must_use]
    pub fn address(&self) -> Listen {
        Listen::chosen(self.listen, self.port)
    }

    /// Returns where the settings say that tunnels are kept. `None` if they do not.
    #[must_use]
    pub fn store_place(&self) -> Option<StorePlace> {
        self.store.clone().or_else(|| self.redis_url.clone().map(StorePlace::Redis))
    }

    /// Returns the time for which an expired token still works.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.token_grace.unwrap_or_else(|| defaults::TOKEN_GRACE.min(self.token_ttl / 4))
    }

    /// Returns the size of an end's largest message or polling body, in bytes. The default is 8/5 of
    /// `--max-body` and 64 KiB: an answer of that size in base64, which makes it 4/3 as large, or as text with escapes, and
    /// its headers.
    #[must_use]
    pub fn payload_limit(&self) -> usize {
        self.max_payload.unwrap_or_else(|| self.max_body / 5 * 8 + (64 << 10))
    }
}
