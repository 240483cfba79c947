//! The environment beside the command line: variables that are empty, that are unknown, or whose value is wrong.

use std::ffi::OsStr;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, Command, CommandFactory as _, FromArgMatches as _};

use super::{Cli, StorePlace};

/// The prefix of the variables that are this program's own.
const PREFIX: &str = "SOCKET2ME_";

impl Cli {
    /// Reads the command line and the environment. A variable that is empty is absent, as platforms set one that has no value.
    ///
    /// # Errors
    /// When a setting is wrong, and when the command line asks for help. Where a variable is wrong, the message names it.
    pub fn read() -> Result<Self, Error> {
        let absent_if_empty = |arg: Arg| if variable_is_empty(&arg) { arg.env(None) } else { arg };
        let mut command =
            Self::command().mut_args(absent_if_empty).mut_subcommands(|command| command.mut_args(absent_if_empty));
        let given: Vec<_> = std::env::args_os().collect();
        let matches =
            command.try_get_matches_from_mut(&given).map_err(|error| name_variable(error, &mut command, &given))?;
        let mut cli = Self::from_arg_matches(&matches)?;
        if let (super::Command::Serve(config), Some(("serve", matches))) = (&mut cli.command, matches.subcommand()) {
            let source = |name| matches.value_source(name);
            let flag = Some(ValueSource::CommandLine);
            if (source("listen"), source("port")) == (flag, flag) {
                let message = "--listen and --port both say where to listen: give one of them";
                return Err(command.error(ErrorKind::ArgumentConflict, message));
            }
            // A flag beats a variable.
            if source("port") == flag {
                config.listen = None;
            }
            // The message of a value that clap's reader refuses would show it, and a password in it.
            if let Some(StorePlace::Redis(url)) = config.store_place()
                && let Err(message) = url.info()
            {
                let (id, flag_name, variable) = match config.store {
                    Some(_) => ("store", "--store", "SOCKET2ME_STORE"),
                    None => ("redis_url", "--redis-url", "REDIS_URL"),
                };
                let name = if source(id) == flag { flag_name.to_owned() } else { format!("the variable {variable}") };
                return Err(command.error(ErrorKind::ValueValidation, format!("{name}: {message}")));
            }
        }
        Ok(cli)
    }
}

fn variable_is_empty(arg: &Arg) -> bool {
    arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty())
}

/// Makes an error about a wrong value say which variable has it, unless a flag does.
fn name_variable(error: Error, command: &mut Command, given: &[impl AsRef<OsStr>]) -> Error {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return error };
    let is_it = |arg: &&Arg| arg.to_string() == *flag;
    let args = command.get_arguments().chain(command.get_subcommands().flat_map(Command::get_arguments));
    let Some(variable) = args.filter(is_it).find_map(|arg| arg.get_env()) else { return error };
    let name = flag.split([' ', '=']).next().unwrap_or_default();
    let is_flag = |given: &OsStr| {
        given
            .to_str()
            .and_then(|given| given.strip_prefix(name))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    if given.iter().any(|given| is_flag(given.as_ref())) || std::env::var_os(variable).is_none() {
        return error;
    }
    let text = error.render().to_string();
    let text = text.split("\n\nFor more information").next().unwrap_or_default();
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let named = format!("the variable {} ('{flag}')", variable.to_string_lossy());
    let kind = error.kind();
    command.error(kind, text.replace(&format!("'{flag}'"), &named))
}

/// Returns the variables with this program's prefix that are no settings, sorted: most are misspelt. Those by which Kubernetes
/// tells of a service named `socket2me` are not among them.
#[must_use]
pub fn unknown_variables() -> Vec<String> {
    let command = Cli::command();
    let args = command.get_arguments().chain(command.get_subcommands().flat_map(Command::get_arguments));
    let known: Vec<_> = args.filter_map(Arg::get_env).collect();
    let set = std::env::vars_os().filter(|(name, value)| !value.is_empty() && !known.contains(&name.as_os_str()));
    let set = set.filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let unknown = set.filter(|(name, value)| name.starts_with(PREFIX) && !is_of_kubernetes(name, value));
    let mut unknown: Vec<_> = unknown.map(|(name, _)| name).collect();
    unknown.sort();
    unknown
}

/// Returns whether Kubernetes or Docker makes a variable of this name for a service: `…_SERVICE_HOST`, `…_SERVICE_PORT`,
/// `…_SERVICE_PORT_HTTP`, `…_PORT` with a URL, `…_PORT_3000_TCP`, `…_PORT_3000_TCP_ADDR`.
fn is_of_kubernetes(name: &str, value: &OsStr) -> bool {
    let is_port_of = |rest: &str| {
        let mut words = rest.split('_');
        let is_number =
            words.next().is_some_and(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()));
        is_number
            && matches!(words.next(), Some("TCP" | "UDP" | "SCTP"))
            && matches!((words.next(), words.next()), (None | Some("PORT" | "PROTO" | "ADDR"), None))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && value.to_str().is_some_and(|value| value.contains("://")))
        || name.match_indices("_PORT_").any(|(at, port)| is_port_of(&name[at + port.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_kubernetes_makes_for_a_service_are_known() {
        for (name, value, expected) in [
            ("SOCKET2ME_SERVICE_HOST", "10.0.0.1", true),
            ("SOCKET2ME_SERVICE_PORT", "3000", true),
            ("SOCKET2ME_SERVICE_PORT_HTTP", "3000", true),
            ("SOCKET2ME_PORT", "tcp://10.0.0.1:3000", true),
            ("SOCKET2ME_PORT_3000_TCP", "tcp://10.0.0.1:3000", true),
            ("SOCKET2ME_PORT_3000_TCP_PROTO", "tcp", true),
            ("SOCKET2ME_METRICS_PORT_9090_TCP_ADDR", "10.0.0.1", true),
            ("SOCKET2ME_PORT", "3000", false),
            ("SOCKET2ME_PORT_TCP", "3000", false),
            ("SOCKET2ME_MAX_CONECTIONS", "3", false),
        ] {
            assert_eq!(is_of_kubernetes(name, value.as_ref()), expected, "{name}");
        }
    }
}
