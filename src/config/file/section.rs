//! The sections of a file, and what may stand in each.

use clap::{Arg, Command};

use super::super::settings::{Owner, key};

/// The section of the server.
pub(super) const SERVE: &str = "serve";

/// The section of tunnels, whose settings are those of the command `forward`.
pub(super) const TUNNELS: &str = "tunnels";
pub(in crate::config) const FORWARD: &str = "forward";

/// The key of the relay that commands of this machine use.
pub(in crate::config) const SERVER: &str = "server";

/// Flags that are no settings of a section: of `[serve]` the first, because a file that names another would be hard to follow; of a
/// tunnel the others. A file that comes with a project is not to choose which file is sent to which server as a secret, and what a
/// whole process writes is not up to one tunnel.
pub(super) const CONFIG: &str = "config";
pub(super) const CREATE_SECRET: &str = "create-secret-file";
pub(super) const OUTPUT: &str = "output";

/// A file, for messages and for whether it is trusted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'n> {
    pub(super) name: &'n str,
    pub(super) owner: Owner,
}

/// A section of a file: what may stand in it, and how messages name it.
pub(super) struct Section {
    /// Its settings, as a command.
    pub(super) settings: Command,
    /// The command whose help lists them.
    pub(super) command: &'static str,
    /// Where it is.
    pub(super) place: String,
    pub(super) owner: Owner,
}

impl Section {
    /// Returns the settings of a command, and those of all commands, as a section.
    pub(super) fn of_serve(command: &Command, Source { name, owner }: Source<'_>) -> Self {
        let of_serve = command.find_subcommand(SERVE).into_iter().flat_map(Command::get_arguments);
        let settings = command.get_arguments().chain(of_serve).filter(|arg| arg.get_long() != Some(CONFIG));
        Self {
            settings: Command::new(SERVE).args(settings.cloned()),
            command: SERVE,
            place: format!("in {name}"),
            owner,
        }
    }

    /// Returns the settings of a tunnel as a section.
    pub(super) fn of_tunnel(command: &Command, Source { name, owner }: Source<'_>, tunnel: &str) -> Self {
        let of_forward = command.find_subcommand(FORWARD).into_iter().flat_map(Command::get_arguments);
        let settings = of_forward.filter(|arg| !matches!(arg.get_long(), Some(CREATE_SECRET | OUTPUT)));
        let place = format!("of [{TUNNELS}.{tunnel}] in {name}");
        Self { settings: Command::new(FORWARD).args(settings.cloned()), command: FORWARD, place, owner }
    }

    /// Returns the argument that a key sets.
    pub(super) fn find(&self, wanted: &str) -> Option<&Arg> {
        self.settings.get_arguments().find(|arg| key(arg) == Some(wanted))
    }
}
