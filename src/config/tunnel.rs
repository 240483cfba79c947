//! The settings of a tunnel that a program of this machine serves: those that several commands share.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::rules::RulesConfig;
use super::secret::{Secret, secret_file};
use super::units::{duration, some_time};

/// The server, and how it is reached.
#[derive(Debug, Clone, Args)]
pub struct ServerConfig {
    /// The relay: its URL, or its host for https
    #[arg(
        help_heading = "Server",
        long,
        env = "SOCKET2ME_SERVER",
        default_value = "http://127.0.0.1:3000",
        value_name = "URL"
    )]
    pub server: String,
    /// PEM file with certificates that are trusted beside those of this machine
    #[arg(help_heading = "Server", long, env = "SOCKET2ME_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Connect to a server on another machine by http, where everybody on the way can read the key
    #[arg(help_heading = "Server", long, env = "SOCKET2ME_INSECURE")]
    pub insecure: bool,
    /// Who chose the server.
    #[arg(skip)]
    pub named_by: NamedBy,
}

/// Who chose the server: a secret goes to no server that only a project's file names, because the project may be somebody else's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NamedBy {
    /// The person, by a flag, a variable or their own configuration; or nobody.
    #[default]
    Person,
    /// The file in the current folder.
    Project {
        /// How messages name the setting.
        setting: String,
        /// The servers that the person's own configuration names.
        own: Vec<String>,
    },
}

/// A tunnel: its server, what is asked of it, and how its URL is told.
#[derive(Debug, Clone, Args)]
pub struct TunnelConfig {
    /// The server, and how it is reached.
    #[command(flatten)]
    pub at: ServerConfig,
    /// File with the secret of a server that lets only some make tunnels
    #[arg(help_heading = "Server", long = "create-secret-file", env = "SOCKET2ME_CREATE_SECRET_FILE", value_parser = secret_file, value_name = "FILE")]
    pub create_secret: Option<Secret>,

    /// The folder whose tunnel it is, where that is not the current one.
    #[arg(skip)]
    pub folder: Option<PathBuf>,
    /// Name of the tunnel: small letters, digits and hyphens [default: one that the server makes]
    #[arg(help_heading = "Tunnel", long, env = "SOCKET2ME_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// Keep nothing: the URL is another one each time, and the tunnel is deleted at the end
    #[arg(help_heading = "Tunnel", long, env = "SOCKET2ME_EPHEMERAL")]
    pub ephemeral: bool,
    /// Life of the tunnel while nothing serves it [default: the server's]
    #[arg(help_heading = "Tunnel", long, env = "SOCKET2ME_TTL", value_parser = some_time, value_name = "TIME")]
    pub ttl: Option<Duration>,
    /// Time for an answer; then the visitor gets 504 [default: the server's]
    #[arg(help_heading = "Tunnel", long, env = "SOCKET2ME_TIMEOUT", value_parser = some_time, value_name = "TIME")]
    pub timeout: Option<Duration>,
    /// Time that visitors wait while this program is away for a moment [default: the server's]
    #[arg(help_heading = "Tunnel", long, env = "SOCKET2ME_HOLD", value_parser = duration, value_name = "TIME")]
    pub hold: Option<Duration>,
    /// Which of several programs with the tunnel's key answers [default: newest]
    #[arg(help_heading = "Tunnel", long, env = "SOCKET2ME_ENDS", value_enum)]
    pub ends: Option<Ends>,
    /// Which requests are sent again when this program leaves without an answer [default: never]
    #[arg(help_heading = "Tunnel", long, env = "SOCKET2ME_REPEAT", value_enum)]
    pub repeat: Option<Repeat>,

    /// What visitors' requests must be like.
    #[command(flatten)]
    pub rules: RulesConfig,

    /// Which URL is printed: of the tunnel's own host, or of its path on the server's [default: host, where the server has
    /// hosts; of NAME.localhost only on a terminal, or where this machine finds such names]
    #[arg(help_heading = "Output", long, env = "SOCKET2ME_URL_MODE", value_enum)]
    pub url_mode: Option<UrlModeWord>,
    /// File that the URL is written to once the tunnel is open
    #[arg(help_heading = "Output", long, env = "SOCKET2ME_URL_FILE", value_name = "FILE")]
    pub url_file: Option<PathBuf>,
}

/// Which of several ends answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Ends {
    /// The newest
    Newest,
    /// All of them share the requests
    Spread,
}

impl Ends {
    /// Returns the word that the server knows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Spread => "spread",
        }
    }
}

/// Which requests are sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Repeat {
    /// None
    Never,
    /// GET, HEAD, OPTIONS, PUT and DELETE
    Idempotent,
}

impl Repeat {
    /// Returns the word that the server knows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Idempotent => "idempotent",
        }
    }
}

/// Which URL is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UrlModeWord {
    /// The tunnel's own host
    Host,
    /// Its path on the server's host
    Path,
}
