//! The settings of `socket2me forward`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use http::HeaderValue;

use super::tunnel::TunnelConfig;
use super::units::duration;

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
    /// The server, and what is asked of it.
    #[command(flatten)]
    pub tunnel: TunnelConfig,
    /// What is written to standard output: the URL alone, or one JSON object a line for all that happens
    #[arg(help_heading = "Output", long, env = "SOCKET2ME_OUTPUT", value_enum, default_value_t = Output::Url)]
    pub output: Output,

    /// What the app is told that its host is: local, keep for the public one, full for local in Origin and Referer too, or a host
    #[arg(help_heading = "Local app", long, env = "SOCKET2ME_HOST_HEADER", default_value = "local", value_parser = host_header, value_name = "MODE")]
    pub host_header: HostHeader,
    /// In a tunnel by path, ask the app for the whole path, /go/NAME/x, as apps with a base path expect it
    #[arg(help_heading = "Local app", long, env = "SOCKET2ME_KEEP_PREFIX")]
    pub keep_prefix: bool,
    /// Time that a request waits for an app that does not listen, because it restarts. 0 is none
    #[arg(help_heading = "Local app", long, env = "SOCKET2ME_HOLD_LOCAL", default_value = "0s", value_parser = duration, value_name = "TIME")]
    pub hold_local: Duration,
    /// Open the tunnel once the app listens, and end with code 7 if it does not within this time [default: do not wait]
    #[arg(help_heading = "Local app", long, env = "SOCKET2ME_WAIT", value_parser = duration, value_name = "TIME")]
    pub wait: Option<Duration>,
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
pub enum HostHeader {
    /// Its own, which dev servers want.
    Local,
    /// The public one.
    Keep,
    /// Its own, and `Origin` and `Referer` name it too: nothing shows that the request came through a tunnel.
    Full,
    /// This one.
    Value(HeaderValue),
}

fn host_header(text: &str) -> Result<HostHeader, String> {
    match text {
        "local" => Ok(HostHeader::Local),
        "keep" => Ok(HostHeader::Keep),
        "full" => Ok(HostHeader::Full),
        host => match host.parse::<http::uri::Authority>() {
            Ok(authority) if !host.contains('@') && !authority.host().is_empty() => {
                HeaderValue::try_from(host).map(HostHeader::Value).map_err(|error| error.to_string())
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
            ("local", Ok(HostHeader::Local)),
            ("keep", Ok(HostHeader::Keep)),
            ("full", Ok(HostHeader::Full)),
            ("app.test:8080", Ok(HostHeader::Value(HeaderValue::from_static("app.test:8080")))),
        ] {
            assert_eq!(host_header(text), expected, "{text}");
        }
        for text in ["", "a b", "me@app.test", "a/b", "gar\u{e7}on"] {
            assert!(host_header(text).unwrap_err().contains("app.test:8080"), "{text}");
        }
    }
}
