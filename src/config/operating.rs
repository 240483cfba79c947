//! The settings of commands for who runs or packages the server: `healthcheck`, `completions`, `man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

use super::help::when_unset;
use super::units::public_url;
use super::{AcmeName, Listen};
use crate::defaults;

/// What stands behind the help of `healthcheck`.
pub(super) const HEALTHCHECK_EXAMPLES: &str = "\
Asks /readyz of the server on this machine that has the same flags, variables and file. One line says what was found.

Examples:
  socket2me healthcheck
  socket2me healthcheck --url https://relay.example

Exit codes: 0 the server takes requests, 1 it does not or is not reached, 2 wrong usage";

/// What stands behind the help of `completions`.
pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  socket2me completions bash > ~/.local/share/bash-completion/completions/socket2me
  socket2me completions zsh > ~/.zfunc/_socket2me
  socket2me completions fish > ~/.config/fish/completions/socket2me.fish";

/// What stands behind the help of `man`.
pub(super) const MAN_EXAMPLES: &str = "\
Examples:
  socket2me man | man -l -
  socket2me man serve > socket2me-serve.1";

/// The settings of `socket2me healthcheck`.
#[derive(Debug, Clone, Args)]
#[command(
    mut_arg("url", when_unset("https:// with --tls-cert or --acme, else http://, and where --listen or --port says")),
    mut_arg("listen", when_unset(format!("as of serve: --port, else {}", Listen::Loopback(defaults::LOOPBACK_PORT))))
)]
pub struct HealthcheckConfig {
    /// URL of the server, without the path /readyz
    #[arg(help_heading = "Server", long, env = "SOCKET2ME_HEALTHCHECK_URL", value_parser = public_url, value_name = "URL")]
    pub url: Option<String>,
    /// The configuration file of the server [default: none]
    #[arg(help_heading = "Server", long = "config", env = "SOCKET2ME_CONFIG", value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// Address and port on which the server listens
    #[arg(help_heading = "Server", long, env = "SOCKET2ME_LISTEN", value_name = "ADDR:PORT")]
    pub listen: Option<Listen>,
    /// File with the certificate of a server that speaks TLS itself. It is not compared: the server is on this machine
    #[arg(help_heading = "Server", long, env = "SOCKET2ME_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Names for which the server orders certificates: it speaks TLS then
    #[arg(help_heading = "Server", long, env = "SOCKET2ME_ACME", value_delimiter = ',', value_name = "DOMAIN")]
    pub acme: Vec<AcmeName>,
    /// Port on which the server listens, on all interfaces
    #[arg(help_heading = "Server", long, env = "PORT")]
    pub port: Option<u16>,
}

impl HealthcheckConfig {
    /// Returns where the server listens, by the rule of [`super::ServeConfig::address`].
    #[must_use]
    pub fn address(&self) -> Listen {
        Listen::chosen(self.listen, self.port)
    }
}

/// The settings of `socket2me completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsConfig {
    /// Shell that is to complete commands and flags
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

/// The settings of `socket2me man`.
#[derive(Debug, Clone, Args)]
pub struct ManConfig {
    /// Command to describe, such as serve [default: the program, with a list of its commands]
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
}
