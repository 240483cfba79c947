//! Where tunnels are kept, and the command that moves them.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::folders::System;
use super::redis_url::RedisUrl;

/// Where tunnels are kept: `memory`, `file:PATH`, or the URLs of a Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorePlace {
    /// In the server's memory: a restart loses them.
    Memory,
    /// In a file.
    File(PathBuf),
    /// In Redis. Whether the URLs are some is not checked yet: [`RedisUrl::servers`].
    Redis(RedisUrl),
}

/// How tunnels are moved.
pub(super) const MOVING: &str = "\
To move all tunnels, with the servers stopped:
  socket2me store export --store file:tunnels.redb | socket2me store import --store redis://127.0.0.1:6379
Each line is a tunnel as a JSON object. Who has the lines knows all URLs; they hold no keys, but hashes of keys.";

/// The settings of `socket2me store`.
#[derive(Debug, Clone, Args)]
pub struct StoreConfig {
    /// What to do
    #[arg(value_enum, value_name = "ACTION")]
    pub action: StoreAction,
    /// Store to do it with: file:PATH or redis://HOST:PORT. The log of the server says which one it uses
    #[arg(help_heading = "Store", long, env = "SOCKET2ME_STORE", value_name = "PLACE", hide_env_values = true)]
    pub store: StorePlace,
}

/// What `socket2me store` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StoreAction {
    /// Write all tunnels to standard output, one JSON object a line
    Export,
    /// Add the tunnels on standard input, all or none. One that is there already must be the same, and stays as it is
    Import,
    /// Print the tunnels as a table for people, the one that expires first at its top
    List,
}

impl FromStr for StorePlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // What may be the URL of a Redis may have a password in it, and an error from here would be shown with it.
        if text.trim().starts_with("redis") {
            let Ok(url) = text.trim().parse();
            return Ok(Self::Redis(url));
        }
        match text.trim().split_once(':') {
            None if text.trim() == "memory" => Ok(Self::Memory),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
            // What is misspelt may have a password in it too.
            _ => Err("this is not a place for tunnels: write memory, or file: and a path, such as \
                      file:/var/lib/socket2me/tunnels.redb, or redis://HOST:PORT"
                .to_owned()),
        }
    }
}

impl fmt::Display for StorePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Redis(url) => url.fmt(f),
        }
    }
}

/// Returns the file in which a server on this port keeps its tunnels unless it is told otherwise. `None` for port 0, which is
/// another at each start, and where the environment names no folder for it.
#[must_use]
pub fn default_store_file(port: u16) -> Option<PathBuf> {
    default_file(port, System::OF_THIS, |name| env::var_os(name))
}

/// As [`default_store_file`], of an environment.
fn default_file(port: u16, system: System, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if port == 0 {
        return None;
    }
    // systemd gives the folders of one service, with colons between (systemd.exec(5), `StateDirectory=`).
    let of_service = variable("STATE_DIRECTORY").and_then(|folders| env::split_paths(&folders).next());
    let folder = of_service.filter(|folder| folder.is_absolute()).or_else(|| system.state(variable))?;
    Some(folder.join(format!("tunnels-{port}.redb")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_memory_or_a_file() {
        for (text, expected) in [
            ("memory", Some(StorePlace::Memory)),
            ("file:/var/lib/a.redb", Some(StorePlace::File("/var/lib/a.redb".into()))),
            ("file:a:b", Some(StorePlace::File("a:b".into()))),
            ("redis://127.0.0.1:7000", Some(StorePlace::Redis("redis://127.0.0.1:7000".parse().unwrap()))),
            ("file:", None),
            ("file", None),
            ("", None),
            ("Memory:", None),
            ("/var/lib/a.redb", None),
        ] {
            let place: Result<StorePlace, _> = text.parse();
            assert_eq!(place.as_ref().ok(), expected.as_ref(), "{text}: {place:?}");
            if let Ok(place) = place {
                assert_eq!(place.to_string(), text);
            }
        }
    }

    #[test]
    fn the_default_file_is_in_the_folder_for_state_and_has_the_port_in_its_name() {
        let all = [("STATE_DIRECTORY", "/s/a:/s/b"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
        for (port, system, variables, expected) in [
            (3000, System::Unix, &all[..], Some("/s/a/tunnels-3000.redb")),
            (3000, System::MacOs, &all, Some("/s/a/tunnels-3000.redb")),
            (80, System::Unix, &all[1..], Some("/x/socket2me/tunnels-80.redb")),
            (80, System::MacOs, &all[1..], Some("/h/Library/Application Support/socket2me/tunnels-80.redb")),
            (80, System::Unix, &all[2..], Some("/h/.local/state/socket2me/tunnels-80.redb")),
            (
                80,
                System::Unix,
                &[("STATE_DIRECTORY", ""), ("XDG_STATE_HOME", "state"), ("HOME", "/h")],
                Some("/h/.local/state/socket2me/tunnels-80.redb"),
            ),
            (80, System::Unix, &[("HOME", "h")], None),
            (80, System::MacOs, &[], None),
            (0, System::Unix, &all, None),
        ] {
            let variable =
                |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into());
            let file = default_file(port, system, variable);
            assert_eq!(file.as_deref(), expected.map(std::path::Path::new), "{port} {variables:?}");
        }
    }
}
