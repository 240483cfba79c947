//! Settings of a configuration file, which become the defaults of their flags: so the flag's reader checks them, and flags and
//! variables come before them.

use std::collections::BTreeMap;

use clap::{Arg, Command};

/// Whose a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The person has named it, or keeps it with the configuration of other programs.
    Person,
    /// It lies in the current folder: it may have come with a project, from somebody else.
    Project,
}

/// What a file says for one flag.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    /// The values.
    pub(super) texts: Vec<String>,
    /// Where they stand, for messages: `` `ttl` of [tunnels.web] in socket2me.toml``.
    pub(super) name: String,
    /// Whose file it is.
    pub(super) owner: Owner,
}

/// Settings by their keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings(BTreeMap<String, Setting>);

impl Settings {
    /// Adds a setting, unless it has been added before.
    pub(super) fn add(&mut self, key: &str, setting: Setting) {
        self.0.entry(key.to_owned()).or_insert(setting);
    }

    /// Returns the setting of this key.
    pub(super) fn get(&self, key: &str) -> Option<&Setting> {
        self.0.get(key)
    }

    /// Makes the settings the defaults of their flags.
    pub(super) fn apply(&self, command: Command) -> Command {
        let with_default = |arg: Arg| match key(&arg).and_then(|key| self.get(key)) {
            Some(setting) => arg.required(false).default_values(setting.texts.clone()),
            None => arg,
        };
        command.mut_args(with_default).mut_subcommands(|command| command.mut_args(with_default))
    }
}

/// Returns the key of an argument in a file: its long name, or the name of what has no dashes.
pub(super) fn key(arg: &Arg) -> Option<&str> {
    if arg.is_positional() { Some(arg.get_id().as_str()) } else { arg.get_long() }
}
