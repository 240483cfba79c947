//! The settings of `socket2me up`.

use clap::Args;

use super::forward::{ForwardConfig, Output};
use super::secret::{Secret, secret_file};
use super::tunnel::ServerConfig;

/// What stands behind the help of `up`.
pub(super) const EXAMPLES: &str = "\
The file is socket2me.toml in the current folder, and then the one in the folder socket2me of $XDG_CONFIG_HOME, of ~/.config, on
macOS of ~/Library/Application Support, or on Windows of %APPDATA%. Keys of a tunnel are the flags of `socket2me forward` without
the dashes:

  server = \"https://relay.example\"

  [tunnels.web]
  target = 5173

  [tunnels.docs]
  target = \"./dist\"
  name = \"my-docs\"

Exit codes: those of `socket2me forward`; the largest of all tunnels once each has ended";

/// The settings of `socket2me up`.
#[derive(Debug, Clone, Args)]
pub struct UpConfig {
    /// Names of tunnels in the file [default: all tunnels of the first file that has some]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// The server of all tunnels, and how it is reached.
    #[command(flatten)]
    pub at: ServerConfig,
    /// File with the secret of a server that lets only some make tunnels
    #[arg(help_heading = "Server", long = "create-secret-file", env = "SOCKET2ME_CREATE_SECRET_FILE", value_parser = secret_file, value_name = "FILE")]
    pub create_secret: Option<Secret>,
    /// What is written to standard output: a tunnel's name and URL a line, or one JSON object a line for all that happens
    #[arg(help_heading = "Output", long, env = "SOCKET2ME_OUTPUT", value_enum, default_value_t = Output::Url)]
    pub output: Output,
    /// The tunnels, read from the file.
    #[arg(skip)]
    pub tunnels: Vec<UpTunnel>,
}

/// A tunnel of `socket2me up`.
#[derive(Debug, Clone)]
pub struct UpTunnel {
    /// What the file calls it.
    pub name: String,
    /// What `socket2me forward` would be told.
    pub config: ForwardConfig,
}
