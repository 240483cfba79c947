//! The environment beside the command line: variables that are empty, and that are unknown.

use std::ffi::OsStr;

use clap::{Arg, CommandFactory as _};

use super::Cli;

/// The prefix of the variables that are this program's own.
const PREFIX: &str = "SOCKET2ME_";

/// Makes a variable that is empty absent, as platforms set one that has no value.
pub(super) fn absent_if_empty(arg: Arg) -> Arg {
    let is_empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    if is_empty { arg.env(None) } else { arg }
}

/// Returns the variables with this program's prefix that are no settings, sorted: most are misspelt. Those by which Kubernetes
/// tells of a service named `socket2me` are not among them.
#[must_use]
pub fn unknown_variables() -> Vec<String> {
    let command = Cli::command();
    let args = command.get_arguments().chain(command.get_subcommands().flat_map(clap::Command::get_arguments));
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
