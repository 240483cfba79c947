//! Where a setting comes from: a flag, a variable, the configuration file or a default, each of which comes before the next.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory as _, FromArgMatches as _};

use super::environment::absent_if_empty;
use super::file::ConfigFile;
use super::{Cli, ServeConfig, StorePlace};

impl Cli {
    /// Reads the command line, the environment and the configuration file. A variable that is empty is absent.
    ///
    /// # Errors
    /// When a setting is wrong, when the file cannot be read, and when the command line asks for help. The message names the
    /// flag, the variable, or the key and the file.
    pub fn read() -> Result<Self, Error> {
        Self::read_from(std::env::args_os().collect())
    }

    pub(super) fn read_from(given: Vec<OsString>) -> Result<Self, Error> {
        let mut command = Self::command().mut_args(absent_if_empty);
        command = command.mut_subcommands(|command| command.mut_args(absent_if_empty));
        let file =
            ConfigFile::find(&command, &given).map_err(|message| command.error(ErrorKind::ValueValidation, message))?;
        if let Some(file) = &file {
            command = file.apply(command);
        }
        let matches = command.try_get_matches_from_mut(&given);
        let mut sources = Sources { command, given, file };
        let matches = matches.map_err(|error| sources.name_setting(error))?;
        let mut cli = Self::from_arg_matches(&matches)?;
        if let (super::Command::Serve(config), Some(("serve", matches))) = (&mut cli.command, matches.subcommand()) {
            sources.choose(config, matches)?;
        }
        Ok(cli)
    }
}

/// What settings were read from.
struct Sources {
    /// The command, with the variables that are set and the file's values as defaults.
    command: Command,
    given: Vec<OsString>,
    file: Option<ConfigFile>,
}

impl Sources {
    /// Drops the setting of a pair that is from a lower source than the other.
    fn choose(&mut self, config: &mut ServeConfig, matches: &ArgMatches) -> Result<(), Error> {
        let source = |id| matches.value_source(id);
        // None of the four has a default of its own: a default is the file's.
        let (listen, port) = (source("listen"), source("port"));
        if listen == port && matches!(listen, Some(ValueSource::CommandLine | ValueSource::DefaultValue)) {
            let (listen, port) = (self.name("--listen"), self.name("--port"));
            let message = format!("{listen} and {port} both say where to listen: give one of them");
            return Err(self.command.error(ErrorKind::ArgumentConflict, message));
        }
        if port > listen {
            config.listen = None;
        }
        if source("redis_url") > source("store") {
            config.store = None;
        }
        // The message of a value that clap's reader refuses would show it, and a password in it.
        if let Some(StorePlace::Redis(url)) = config.store_place()
            && let Err(message) = url.info()
        {
            let name = self.name(if config.store.is_some() { "--store" } else { "--redis-url" });
            return Err(self.command.error(ErrorKind::ValueValidation, format!("{name}: {message}")));
        }
        Ok(())
    }

    /// Makes an error about a wrong value say where the value is, unless a flag has it, and show no value that is a secret.
    fn name_setting(&mut self, error: Error) -> Error {
        let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else { return error };
        // An argument has its text only then.
        self.command.build();
        let Some(arg) = self.args().find(|arg| arg.to_string() == *shown) else { return error };
        let flag = format!("--{}", arg.get_long().unwrap_or_default());
        let name = self.name(&flag);
        let kind = error.kind();
        // The help does not show such a value either.
        if let (true, Some(fault)) = (arg.is_hide_env_values_set(), std::error::Error::source(&error)) {
            let message = format!("{name}: {fault}");
            return self.command.error(kind, message);
        }
        if name == flag {
            return error;
        }
        let text = error.render().to_string();
        let text = text.split("\n\nFor more information").next().unwrap_or_default();
        let text = text.strip_prefix("error: ").unwrap_or(text);
        let text = text.replace(&format!("'{shown}'"), &name);
        self.command.error(kind, text)
    }

    /// Returns the arguments of all commands.
    fn args(&self) -> impl Iterator<Item = &Arg> {
        self.command.get_arguments().chain(self.command.get_subcommands().flat_map(Command::get_arguments))
    }

    /// Returns how a message names the setting with this flag: as its highest source has it.
    fn name(&self, flag: &str) -> String {
        let long = flag.trim_start_matches('-');
        let of_setting = || self.args().filter(|arg| arg.get_long() == Some(long));
        let names: Vec<_> =
            of_setting().flat_map(|arg| arg.get_all_aliases().unwrap_or_default()).chain([long]).collect();
        let is_flag = |given: &OsStr| {
            let given = given.to_str().and_then(|given| given.strip_prefix("--"));
            given.is_some_and(|given| names.contains(&given.split('=').next().unwrap_or_default()))
        };
        if self.given.iter().any(|given| is_flag(given)) {
            return flag.to_owned();
        }
        let mut variables = of_setting().filter_map(Arg::get_env);
        if let Some(variable) = variables.find(|variable| std::env::var_os(variable).is_some()) {
            return format!("the variable {} ({flag})", variable.display());
        }
        let of_file = self.file.as_ref().and_then(|file| file.name_of(long));
        of_file.unwrap_or_else(|| flag.to_owned())
    }
}
