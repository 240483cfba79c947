//! Where a setting comes from: a flag, a variable, a configuration file or a default, each of which comes before the next.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory as _, FromArgMatches as _};

use super::environment::absent_if_empty;
use super::file::{ConfigFile, FORWARD, SERVER};
use super::nearby::{FileTunnel, Nearby, Places};
use super::settings::{Owner, Setting, Settings};
use super::{Cli, Listen, NamedBy, ServeConfig, StorePlace, TlsConfig, UpConfig, UpTunnel};

impl Cli {
    /// Reads the command line, the environment and the configuration files. A variable that is empty is absent.
    ///
    /// # Errors
    /// When a setting is wrong, when the file cannot be read, and when the command line asks for help. The message names the
    /// flag, the variable, or the key and the file.
    pub fn read() -> Result<Self, Error> {
        Self::read_from(std::env::args_os().collect(), Places::of_this_process())
    }

    pub(super) fn read_from(given: Vec<OsString>, places: Places) -> Result<Self, Error> {
        let mut command = Self::command().mut_args(absent_if_empty);
        command = command.mut_subcommands(|command| command.mut_args(absent_if_empty));
        let files = Files::read(&command, &given, places);
        let files = files.map_err(|message| command.error(ErrorKind::ValueValidation, message))?;
        let settings = files.settings();
        let (mut cli, matches, mut sources) = parse(command.clone(), given, settings)?;
        let Some((_, matches)) = matches.subcommand() else { return Ok(cli) };
        match (&mut cli.command, &files) {
            (super::Command::Serve(config), _) => {
                sources.choose_address(&mut config.listen, matches)?;
                sources.choose_store(config, matches)?;
                sources.check_tls(&config.tls, config.acme.is_on())?;
                sources.check_cluster(config)?;
                if let Some(fault) = config.acme.fault() {
                    return Err(sources.command.error(ErrorKind::ArgumentConflict, fault));
                }
            }
            (super::Command::Healthcheck(config), _) => sources.choose_address(&mut config.listen, matches)?,
            (super::Command::Up(config), Files::Nearby(nearby)) => {
                config.tunnels = tunnels(&command, nearby, config, matches)?;
            }
            (command, Files::Nearby(nearby)) => {
                if let Some(at) = command.server() {
                    at.named_by = named_by(nearby, &sources.settings, matches);
                }
            }
            (_, Files::Named(_)) => (),
        }
        Ok(cli)
    }
}

/// The files that a command line asks for.
enum Files {
    /// The file of the server, if one is named.
    Named(Option<ConfigFile>),
    /// Those of commands of this machine.
    Nearby(Nearby),
}

impl Files {
    /// Reads the files. There are none if the command line is wrong, which its reader says better.
    fn read(command: &Command, given: &[OsString], places: Places) -> Result<Self, String> {
        // The readers of other settings may read a file, such as a pipe with a secret: once, and not here.
        let as_text = |arg: Arg| {
            let takes_values = arg.get_action().takes_values();
            if takes_values { arg.value_parser(ValueParser::os_string()) } else { arg }
        };
        let as_texts = command.clone().mut_args(as_text).mut_subcommands(|command| command.mut_args(as_text));
        let Ok(matches) = as_texts.try_get_matches_from(given) else { return Ok(Self::Named(None)) };
        match matches.subcommand() {
            Some(("serve" | "healthcheck", matches)) => {
                let path = matches.get_one::<OsString>("config_file").map(Path::new);
                let file = path.map(|path| ConfigFile::read(path, Owner::Person, command));
                file.transpose().map(Self::Named)
            }
            Some(("store" | "completions" | "man", _)) | None => Ok(Self::Named(None)),
            Some(_) => Nearby::read(places, command).map(Self::Nearby),
        }
    }

    /// Returns what the files say to the command itself.
    fn settings(&self) -> Settings {
        match self {
            Self::Named(file) => file.as_ref().map(|file| file.serve.clone()).unwrap_or_default(),
            Self::Nearby(nearby) => nearby.settings(),
        }
    }
}

/// Reads a command line, with these settings as defaults of the flags of its command.
fn parse(command: Command, given: Vec<OsString>, settings: Settings) -> Result<(Cli, ArgMatches, Sources), Error> {
    let mut command = settings.apply(command);
    let matches = command.try_get_matches_from_mut(&given);
    let mut sources = Sources { command, given, settings };
    let matches = matches.map_err(|error| sources.name_setting(error))?;
    let cli = Cli::from_arg_matches(&matches)?;
    Ok((cli, matches, sources))
}

/// Returns who chose the server of a command.
fn named_by(nearby: &Nearby, settings: &Settings, matches: &ArgMatches) -> NamedBy {
    match settings.get(SERVER) {
        Some(Setting { name, owner: Owner::Project, .. })
            if matches.value_source(SERVER) == Some(ValueSource::DefaultValue) =>
        {
            NamedBy::Project { setting: name.clone(), own: nearby.own_servers() }
        }
        Some(_) | None => NamedBy::Person,
    }
}

/// Reads the tunnels that `up` is to open. What its flags say holds for all.
fn tunnels(
    command: &Command,
    nearby: &Nearby,
    config: &UpConfig,
    matches: &ArgMatches,
) -> Result<Vec<UpTunnel>, Error> {
    let mut read = Vec::new();
    let found = nearby.tunnels(&config.names);
    let found = found.map_err(|message| command.clone().error(ErrorKind::ValueValidation, message))?;
    let is_flag = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
    for FileTunnel { name, settings, folder } in found {
        // The file of a secret may be a pipe: it was read.
        let without_secret = |arg: Arg| if arg.get_id() == "create_secret" { arg.env(None) } else { arg };
        let command = command.clone().mut_subcommand(FORWARD, |forward| forward.mut_args(without_secret));
        let given = ["socket2me", FORWARD].map(OsString::from).to_vec();
        let (cli, of_tunnel, sources) = parse(command, given, settings)?;
        let super::Command::Forward(forward) = cli.command else { continue };
        let Some((_, of_tunnel)) = of_tunnel.subcommand() else { continue };
        let mut forward = *forward;
        let at = &mut forward.tunnel.at;
        at.named_by = named_by(nearby, &sources.settings, of_tunnel);
        if is_flag(SERVER) {
            (at.server, at.named_by) = (config.at.server.clone(), NamedBy::Person);
        }
        if is_flag("ca") {
            at.ca.clone_from(&config.at.ca);
        }
        at.insecure |= is_flag("insecure");
        forward.tunnel.create_secret.clone_from(&config.create_secret);
        forward.tunnel.folder = folder;
        read.push(UpTunnel { name, config: forward });
    }
    Ok(read)
}

/// What settings were read from.
struct Sources {
    /// The command, with the variables that are set and the files' values as defaults.
    command: Command,
    given: Vec<OsString>,
    settings: Settings,
}

impl Sources {
    /// Drops what `--listen` says if `--port` is from a higher source.
    fn choose_address(&mut self, address: &mut Option<Listen>, matches: &ArgMatches) -> Result<(), Error> {
        let source = |id| matches.value_source(id);
        // Neither has a default of its own: a default is the file's.
        let (listen, port) = (source("listen"), source("port"));
        if listen == port && matches!(listen, Some(ValueSource::CommandLine | ValueSource::DefaultValue)) {
            let (listen, port) = (self.name("--listen"), self.name("--port"));
            let message = format!("{listen} and {port} both say where to listen: give one of them");
            return Err(self.command.error(ErrorKind::ArgumentConflict, message));
        }
        if port > listen {
            *address = None;
        }
        Ok(())
    }

    /// Drops what `--store` says if `--redis-url` is from a higher source.
    fn choose_store(&mut self, config: &mut ServeConfig, matches: &ArgMatches) -> Result<(), Error> {
        // Neither has a default of its own: a default is the file's.
        if matches.value_source("redis_url") > matches.value_source("store") {
            config.store = None;
        }
        // The message of a value that clap's reader refuses would show it, and a password in it.
        if let Some(StorePlace::Redis(url)) = config.store_place()
            && let Err(message) = url.servers()
        {
            let name = self.name(if config.store.is_some() { "--store" } else { "--redis-url" });
            return Err(self.command.error(ErrorKind::ValueValidation, format!("{name}: {message}")));
        }
        Ok(())
    }

    /// Refuses a certificate without a key, and what needs TLS without it.
    fn check_tls(&mut self, config: &TlsConfig, orders: bool) -> Result<(), Error> {
        let Some((given, missing, why)) = config.unmet(orders) else { return Ok(()) };
        let message = format!("{} needs {missing}: {why}", self.name(given));
        Err(self.command.error(ErrorKind::MissingRequiredArgument, message))
    }

    /// Refuses a node of a cluster that others could not reach, or that does not know them.
    fn check_cluster(&mut self, config: &ServeConfig) -> Result<(), Error> {
        let has_redis = matches!(config.store_place(), Some(StorePlace::Redis(_)));
        let Some((given, missing, why)) = config.cluster.unmet(config.tls.is_on(), has_redis) else { return Ok(()) };
        let message = format!("{} needs {missing}: {why}", self.name(given));
        Err(self.command.error(ErrorKind::MissingRequiredArgument, message))
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
        self.settings.get(long).map_or_else(|| flag.to_owned(), |setting| setting.name.clone())
    }
}
