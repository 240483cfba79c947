//! Where an operator asks a running server, and what `socket2me admin` asks.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::Listen;
use super::secret::{Secret, secret_file};
use super::units::some_time;

/// What stands behind the help of `admin`.
pub(super) const ADMIN_EXAMPLES: &str = "\
The server must run with the same --admin. A socket at a path can be opened by the server's user and by root.

Examples:
  socket2me admin --admin unix:/run/socket2me/admin list
  socket2me admin --admin 127.0.0.1:3001 --admin-secret-file secret block 192.0.2.0/24 --for 24h --note spam

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by the server";

/// Where an operator asks: `unix:/run/socket2me/admin`, `127.0.0.1:3001`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminPlace {
    /// At a socket with this path.
    Path(PathBuf),
    /// At an address.
    Address(Listen),
}

impl FromStr for AdminPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("`unix:` has no path: write unix:/run/socket2me/admin".to_owned()),
            Some(path) => Ok(Self::Path(path.into())),
            None => text.parse().map(Self::Address).map_err(|error| format!("{error}, or unix:PATH")),
        }
    }
}

impl fmt::Display for AdminPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "unix:{}", path.display()),
            Self::Address(listen) => listen.fmt(f),
        }
    }
}

/// Where the operator of a server asks it.
#[derive(Debug, Clone, Default, Args)]
pub struct AdminAccess {
    /// Where the operator asks with socket2me admin: unix:PATH, a socket for the server's user and root, or ADDR:PORT with a secret
    /// [default: nowhere]
    #[arg(help_heading = "Operator", long, global = true, env = "SOCKET2ME_ADMIN", value_name = "PLACE")]
    pub admin: Option<AdminPlace>,
    /// File with the secret that the operator shows at an address
    #[arg(help_heading = "Operator", long = "admin-secret-file", global = true, env = "SOCKET2ME_ADMIN_SECRET_FILE", value_parser = secret_file, value_name = "FILE")]
    pub admin_secret: Option<Secret>,
}

/// The settings of `socket2me admin`.
#[derive(Debug, Clone, Args)]
pub struct AdminConfig {
    /// Where the server is asked.
    #[command(flatten)]
    pub at: AdminAccess,
    /// Print the server's JSON in place of words
    #[arg(help_heading = "Output", long, global = true, env = "SOCKET2ME_JSON")]
    pub json: bool,
    /// What is asked.
    #[command(subcommand)]
    pub action: AdminAction,
}

/// What stands behind the help of `cluster`.
pub(super) const CLUSTER_EXAMPLES: &str = "\
The server must run with the same --admin, and be a node.

Example:
  socket2me cluster --admin unix:/run/socket2me/admin status

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by the server";

/// The settings of `socket2me cluster`.
#[derive(Debug, Clone, Args)]
pub struct ClusterStatusConfig {
    /// Where the server is asked.
    #[command(flatten)]
    pub at: AdminAccess,
    /// Print the server's JSON in place of words
    #[arg(help_heading = "Output", long, global = true, env = "SOCKET2ME_JSON")]
    pub json: bool,
    /// What is asked.
    #[command(subcommand)]
    pub action: ClusterAction,
}

/// What is asked of a node.
#[derive(Debug, Clone, Subcommand)]
pub enum ClusterAction {
    /// List the nodes that this one knows, and how each answers it
    Status,
}

/// What an operator asks for.
#[derive(Debug, Clone, Subcommand)]
pub enum AdminAction {
    /// List the tunnels that have or had an end, in a cluster at any node
    List,
    /// Show what is known of a tunnel
    Show {
        /// Its token or name
        token: String,
    },
    /// Disconnect the ends of a tunnel, which may come back
    Close {
        /// Its token or name
        token: String,
    },
    /// Keep out a network, or a tunnel with its visitors and ends
    Block {
        /// Network, address, token or name
        #[arg(value_name = "NETWORK|TOKEN")]
        subject: String,
        /// How long [default: until it is unblocked]
        #[arg(long = "for", value_parser = some_time, value_name = "TIME")]
        time: Option<Duration>,
        /// Why, for those who list the blocks
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        note: String,
    },
    /// Let in again what was kept out
    Unblock {
        /// Network, address, token or name
        #[arg(value_name = "NETWORK|TOKEN")]
        subject: String,
    },
    /// List what is kept out
    Blocks,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_path_or_an_address() {
        for text in ["unix:/run/socket2me/admin", "127.0.0.1:3001"] {
            assert_eq!(text.parse::<AdminPlace>().unwrap().to_string(), text);
        }
        for wrong in ["", "unix:", "/run/socket2me/admin", "example.com"] {
            assert!(wrong.parse::<AdminPlace>().unwrap_err().contains("unix:"), "{wrong}");
        }
    }
}
