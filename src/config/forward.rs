//! The settings of `socket2me forward`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use http::HeaderValue;

use super::secret::{Secret, secret_file};
use super::units::{duration, some_time};

/// What stands behind the help of `forward`.
pub(super) const EXAMPLES: &str = "\
TARGET is a port (5173), HOST:PORT, a URL, unix:PATH, or a folder (./dist) whose files are served.
TIME is a number of seconds, or with ms, s, m or h: 300ms.

Examples:
  socket2me forward 5173
  socket2me forward 8000 --name my-app --server https://relay.example
  read -r url < <(socket2me forward 5173 --ephemeral)

Exit codes: 0 asked to, 1 failed, 2 wrong usage, 3 refused by the server, 4 taken over or in use, 5 certificate,
7 no local app within --wait";

/// The settings of `socket2me forward`.
#[derive(Debug, Clone, Args)]
pub struct ForwardConfig {
    /// What requests are forwarded to
    #[arg(value_name = "TARGET")]
    pub target: String,
    /// The relay: its URL, or its host for https
    #[arg(
        help_heading = "Server",
        long,
        env = "SOCKET2ME_SERVER",
        default_value = "http://127.0.0.1:3000",
        value_name = "URL"
    )]
    pub server: String,
    /// File with the secret of a server that lets only some make tunnels
    #[arg(help_heading = "Server", long = "create-secret-file", env = "SOCKET2ME_CREATE_SECRET_FILE", value_parser = secret_file, value_name = "FILE")]
    pub create_secret: Option<Secret>,
    /// PEM file with certificates that are trusted beside those of this machine
    #[arg(help_heading = "Server", long, env = "SOCKET2ME_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Connect to a server on another machine by http, where everybody on the way can read the key
    #[arg(help_heading = "Server", long, env = "SOCKET2ME_INSECURE")]
    pub insecure: bool,

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

    /// Which URL is printed: of the tunnel's own host, or of its path on the server's [default: host, where the server has
    /// hosts; of NAME.localhost only on a terminal, or where this machine finds such names]
    #[arg(help_heading = "Output", long, env = "SOCKET2ME_URL_MODE", value_enum)]
    pub url_mode: Option<UrlModeWord>,
    /// What is written to standard output: the URL alone, or one JSON object a line for all that happens
    #[arg(help_heading = "Output", long, env = "SOCKET2ME_OUTPUT", value_enum, default_value_t = Output::Url)]
    pub output: Output,
    /// File that the URL is written to once the tunnel is open
    #[arg(help_heading = "Output", long, env = "SOCKET2ME_URL_FILE", value_name = "FILE")]
    pub url_file: Option<PathBuf>,

    /// What the app is told that its host is: local, keep for the public one, full for local in Origin and Referer too, or a host
    #[arg(help_heading = "Local app", long, env = "SOCKET2ME_HOST_HEADER", default_value = "local", value_parser = host_header, value_name = "MODE")]
    pub host_header: HostHeaderWord,
    /// Time that a request waits for an app that does not listen, because it restarts. 0 is none
    #[arg(help_heading = "Local app", long, env = "SOCKET2ME_HOLD_LOCAL", default_value = "0s", value_parser = duration, value_name = "TIME")]
    pub hold_local: Duration,
    /// Open the tunnel once the app listens, and end with code 7 if it does not within this time [default: do not wait]
    #[arg(help_heading = "Local app", long, env = "SOCKET2ME_WAIT", value_parser = duration, value_name = "TIME")]
    pub wait: Option<Duration>,
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

/// What is written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// The URL alone
    Url,
    /// One JSON object a line
    Json,
}

/// What the app is told that its host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostHeaderWord {
    /// Its own.
    Local,
    /// The public one.
    Keep,
    /// Its own, in `Origin` and `Referer` too.
    Full,
    /// This one.
    Value(HeaderValue),
}

fn host_header(text: &str) -> Result<HostHeaderWord, String> {
    match text {
        "local" => Ok(HostHeaderWord::Local),
        "keep" => Ok(HostHeaderWord::Keep),
        "full" => Ok(HostHeaderWord::Full),
        host => match host.parse::<http::uri::Authority>() {
            Ok(authority) if !host.contains('@') && !authority.host().is_empty() => {
                HeaderValue::try_from(host).map(HostHeaderWord::Value).map_err(|error| error.to_string())
            }
            Ok(_) | Err(_) => {
                Err(format!("`{host}` is no host: write local, keep, full, or a host such as app.test:8080"))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_app_is_a_word_or_a_host() {
        for (text, expected) in [
            ("local", Ok(HostHeaderWord::Local)),
            ("keep", Ok(HostHeaderWord::Keep)),
            ("full", Ok(HostHeaderWord::Full)),
            ("app.test:8080", Ok(HostHeaderWord::Value(HeaderValue::from_static("app.test:8080")))),
        ] {
            assert_eq!(host_header(text), expected, "{text}");
        }
        for text in ["", "a b", "me@app.test", "a/b", "gar\u{e7}on"] {
            assert!(host_header(text).unwrap_err().contains("app.test:8080"), "{text}");
        }
    }
}
