use clap::CommandFactory as _;

use super::*;

#[test]
fn the_defaults_are_the_originals() {
    let config = ServeConfig::defaults();
    assert_eq!(config.address(), Listen::Loopback(3000));
    assert_eq!(config.token_ttl, Duration::from_secs(6 * 3600));
    assert_eq!(config.grace(), Duration::from_secs(60));
    assert_eq!(config.response_timeout, Duration::from_secs(5));
    assert_eq!(config.timeout_status, StatusCode::OK);
    assert_eq!(config.throttle_interval, Duration::from_secs(1));
    assert_eq!(config.max_body, 10 << 20);
    assert!(config.payload_limit() > config.max_body / 3 * 4);
}

#[test]
fn a_default_is_the_same_after_its_text_was_read() {
    let config = ServeConfig::defaults();
    for (read, default) in [
        (config.token_ttl, defaults::TOKEN_TTL),
        (config.response_timeout, defaults::ACK_TIMEOUT),
        (config.ping_interval, defaults::PING_INTERVAL),
        (config.ping_timeout, defaults::PING_TIMEOUT),
        (config.upgrade_timeout, defaults::UPGRADE_TIMEOUT),
        (config.connect_timeout, defaults::CONNECT_TIMEOUT),
        (config.drain_timeout, defaults::DRAIN_TIMEOUT),
        (config.limits.head_timeout, defaults::HEAD_TIMEOUT),
        (config.limits.stall_timeout, defaults::STALL_TIMEOUT),
    ] {
        assert_eq!(read, default);
    }
    assert_eq!((config.max_body, config.limits.max_head), (defaults::MAX_BODY, defaults::MAX_HEAD));
    assert_eq!(config.max_waiting_commands as usize, defaults::MAX_WAITING_COMMANDS);
    assert_eq!(config.timeout_status, defaults::TIMEOUT_STATUS);
    assert_eq!(config.engine_io, Revision::ALL);
    assert_eq!(config.allow_origin, [defaults::ALLOWED_ORIGIN]);
    assert_eq!((config.grace(), config.max_buffered()), (defaults::TOKEN_GRACE, defaults::MAX_BUFFERED));
}

#[test]
fn the_help_shows_defaults_with_their_units() {
    let mut command = Cli::command();
    let serve = command.find_subcommand_mut("serve").unwrap();
    let help = serve.render_help().to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    for (flag, default) in [
        ("--token-ttl", "6h"),
        ("--ping-interval", "25s"),
        ("--max-head", "64KiB"),
        ("--max-tokens", "1000000"),
        ("--engine-io", "3,4"),
        ("--listen", "all interfaces where a port is given, else localhost:3000"),
        ("--token-grace", "60s, but a quarter of --token-ttl at most"),
        ("--max-sessions-per-address", "500, and none for this machine's own addresses"),
        ("--max-buffered", "256MiB, or eight times --max-payload where that is more"),
    ] {
        let (_, after) = help.split_once(&format!(" {flag} <")).unwrap();
        let (_, shown) = after.split_once("[default: ").unwrap();
        assert!(shown.starts_with(default), "{flag}: {shown}");
    }
}

#[test]
fn flags_and_variables_of_other_names_set_their_fields() {
    let parse = |arguments: &[&str]| {
        let arguments = ["socket2me", "serve"].iter().chain(arguments);
        serve_of(Cli::try_parse_from(arguments).unwrap())
    };
    assert_eq!(parse(&["--mailbox", "7"]).max_waiting_commands, 7);
    assert_eq!(parse(&["--throttle-interval-ms", "250"]).throttle_interval, Duration::from_millis(250));
    let serve = Cli::command().find_subcommand("serve").unwrap().clone();
    for (field, variable) in
        [("max_waiting_commands", "SOCKET2ME_MAILBOX"), ("throttle_interval", "THROTTLE_INTERVAL_MS")]
    {
        let arg = serve.get_arguments().find(|arg| arg.get_id() == field).unwrap();
        assert_eq!(arg.get_env(), Some(variable.as_ref()), "{field}");
    }
}

/// Every setting of `serve`, with the words of its help on one line.
fn settings() -> Vec<(String, String, clap::Arg)> {
    let serve = Cli::command().find_subcommand("serve").unwrap().clone();
    let settings = serve.get_arguments().filter(|arg| arg.get_long().is_some_and(|long| long != "help"));
    let told = |arg: &clap::Arg| arg.get_help().map(ToString::to_string).unwrap_or_default();
    settings.map(|arg| (arg.get_long().unwrap().to_owned(), told(arg), arg.clone())).collect()
}

fn parse(arguments: &[&str]) -> Result<ServeConfig, clap::Error> {
    Cli::try_parse_from(["socket2me", "serve"].iter().chain(arguments)).map(serve_of)
}

pub(super) fn serve_of(cli: Cli) -> ServeConfig {
    let Command::Serve(config) = cli.command else { panic!("another command") };
    *config
}

#[test]
fn zero_is_refused_or_the_help_says_what_it_means() {
    for (long, help, _) in settings() {
        let zero = format!("--{long}=0");
        let is_told = [" 0 is no", " 0 is none", " 0 stops at once"].iter().any(|words| help.contains(words));
        // The port 0 is one that the system chooses, and a file may have the name 0.
        let is_accepted = parse(&[&zero]).is_ok()
            && ![
                "config",
                "listen",
                "port",
                "metrics-listen",
                "admin",
                "redis-url",
                "tls-cert",
                "tls-key",
                "http-listen",
                "acme-ca",
                "acme-dns-hook",
                "cluster-listen",
                "cluster-ca",
                "node-id",
            ]
            .contains(&&*long);
        assert_eq!(is_accepted, is_told, "{long}: {help}");
    }
}

#[test]
fn an_empty_flag_is_refused() {
    for (long, ..) in settings() {
        assert!(parse(&[&format!("--{long}=")]).is_err() || long == "redis-url", "{long}");
    }
}

#[test]
fn every_setting_has_a_heading_a_variable_and_a_unit() {
    const UNITS: &str = "COUNT SIZE TIME MS ADDR:PORT PORT URL STATUS CIDR REVISIONS ORIGIN FILTER ERROR_STATUS LOG_FORMAT ACCESS_LOG \
                         FILE PLACE *.DOMAIN PATH_HTML DOMAIN EMAIL PROGRAM NAME";
    for (long, _, arg) in settings() {
        assert!(arg.get_help_heading().is_some() && arg.get_env().is_some(), "{long}");
        // A flag that is on or off has no value.
        if !arg.get_action().takes_values() {
            continue;
        }
        let unit = arg.get_value_names().and_then(|names| names.first().map(ToString::to_string));
        let unit = unit.unwrap_or_else(|| long.to_ascii_uppercase().replace('-', "_"));
        assert!(UNITS.split(' ').any(|known| known == unit), "{long}");
    }
}

#[test]
fn settings_that_do_not_fit_each_other_are_warned_of() {
    let warnings = |arguments: &[&str]| parse(arguments).unwrap().warnings();
    assert!(warnings(&["--max-buffered=16MiB"])[0].contains("40MiB"));
    assert!(warnings(&["--trust-proxy=10.0.0.0/8,::/0"])[0].contains("::/0"));
    for alone in [&["--port=80"][..], &["--listen=192.0.2.1:80"], &["--listen=[::]:80", "--require-keys"]] {
        let warnings = warnings(alone);
        assert!(warnings.len() == 1 && warnings[0].contains("--tunnel-host"), "{alone:?}: {warnings:?}");
    }
    for fitting in [
        &["--port=80", "--tunnel-host=*.t.example"][..],
        &["--listen=127.0.0.1:80"],
        &[],
        &["--max-buffered=16MiB", "--max-body=4MiB"],
        &["--max-body=1GiB"],
    ] {
        assert_eq!(warnings(fitting), Vec::<String>::new(), "{fitting:?}");
    }
}

#[test]
fn a_port_alone_listens_everywhere() {
    let config = ServeConfig { port: Some(8080), ..ServeConfig::defaults() };
    assert_eq!(config.address(), Listen::Everywhere(8080));
    let config = ServeConfig { listen: Some("127.0.0.1:1".parse().unwrap()), ..config };
    assert_eq!(config.address(), Listen::Address("127.0.0.1:1".parse().unwrap()));
}

#[test]
fn every_flag_of_a_command_has_a_heading_a_help_and_a_variable() {
    for name in ["forward", "respond", "dump", "url", "doctor", "healthcheck"] {
        let command = Cli::command().find_subcommand(name).unwrap().clone();
        for arg in command.get_arguments().filter(|arg| arg.get_long().is_some_and(|long| long != "help")) {
            let is_told = arg.get_help_heading().is_some() && arg.get_help().is_some() && arg.get_env().is_some();
            assert!(is_told, "{name} {arg}");
        }
    }
}

#[test]
fn a_variable_means_the_same_to_all_commands() {
    let command = Cli::command();
    let mut known = std::collections::BTreeMap::new();
    for command in command.get_subcommands().filter(|command| !["serve", "store"].contains(&command.get_name())) {
        for arg in command.get_arguments() {
            let Some(variable) = arg.get_env() else { continue };
            let values: Vec<_> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
            let means = (arg.get_long().map(str::to_owned), values);
            assert_eq!(known.entry(variable.to_owned()).or_insert_with(|| means.clone()), &means, "{variable:?}");
        }
    }
}
