use std::ffi::OsString;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::CommandFactory as _;

use super::super::nearby::Places;
use super::super::tests::serve_of;
use super::super::{Cli, ServeConfig};
use super::section::CONFIG;
use super::*;

fn read_cli(given: Vec<OsString>) -> Result<Cli, clap::Error> {
    Cli::read_from(given, Places::default())
}

/// Reads a configuration file with this text, and flags.
fn read(text: &[u8], flags: &[&str]) -> Result<ServeConfig, String> {
    static FILES: AtomicUsize = AtomicUsize::new(0);
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("socket2me-config-{}-{number}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let arguments = ["socket2me", "serve", "--config", path.to_str().unwrap()];
    let cli = read_cli(arguments.iter().chain(flags).map(OsString::from).collect());
    std::fs::remove_file(&path).unwrap();
    let read = cli.map(|cli| ServeConfig { config_file: None, ..serve_of(cli) });
    read.map_err(|error| error.to_string().replace(path.to_str().unwrap(), "FILE"))
}

fn read_flag(flag: String) -> Result<ServeConfig, String> {
    let cli = read_cli(["socket2me".into(), "serve".into(), flag.into()].to_vec());
    cli.map(serve_of).map_err(|error| error.to_string())
}

fn shown(config: &ServeConfig) -> String {
    format!("{config:?}")
}

#[test]
fn a_value_of_the_file_does_what_it_does_as_a_flag_and_has_the_same_message_if_it_is_wrong() {
    let values = ["", "0", "20", "3s", "true", "10MiB", "10.0.0.0/8", "https://a.example"];
    let mut command = Cli::command();
    command.build();
    for arg in command.find_subcommand(SERVE).unwrap().get_arguments() {
        let long = arg.get_long().unwrap();
        if long == "help" || long == CONFIG || !arg.get_action().takes_values() {
            continue;
        }
        let (in_file, flag) = (format!("`{long}` in FILE"), format!("'{arg}'"));
        for value in values {
            let as_flag = read_flag(format!("--{long}={value}"));
            let as_string = read(format!("[serve]\n{long} = '{value}'").as_bytes(), &[]);
            match (&as_string, &as_flag) {
                (Ok(file), Ok(flag)) => assert_eq!(shown(file), shown(flag), "{long} {value}"),
                (Err(of_file), Err(of_flag)) => {
                    let short = |message: &str| message.split("\n\n").next().unwrap().to_owned();
                    let expected = short(of_flag).replace(&flag, &in_file).replace(&format!("--{long}"), &in_file);
                    assert_eq!(short(of_file), expected, "{long} {value}");
                }
                (file, flag) => panic!("{long} {value}: {file:?} as a file, {flag:?} as a flag"),
            }
            if value.parse::<u32>().is_ok() {
                let as_number = read(format!("[serve]\n{long} = {value}").as_bytes(), &[]);
                assert_eq!(format!("{as_number:?}"), format!("{as_string:?}"), "{long} {value}");
            }
        }
    }
}

#[test]
fn a_flag_comes_before_the_file_and_the_file_before_the_default() {
    let config = |text: &str, flags: &[&str]| read(text.as_bytes(), flags).unwrap();
    for (text, flags, as_flags) in [
        ("", &[][..], &[][..]),
        ("# nothing\n[serve]\n", &[], &[]),
        ("serve.max-body = '2MiB'", &[], &["--max-body=2MiB"]),
        ("serve = { max-body = 0x1000 }", &[], &["--max-body=4096"]),
        ("[serve]\nmax-body = '2MiB'\nmax-tokens = 7", &["--max-body=3MiB"], &["--max-body=3MiB", "--max-tokens=7"]),
        // A wrong value that a flag replaces is not read, as that of a variable is not.
        ("[serve]\nmax-body = 'x'", &["--max-body=3MiB"], &["--max-body=3MiB"]),
        ("[serve]\nmax-waiting-commands = 9", &["--mailbox=7"], &["--mailbox=7"]),
        ("[serve]\nrequire-keys = true\nallow-original = false", &[], &["--require-keys"]),
        ("[serve]\nrequire-keys = false", &["--require-keys"], &["--require-keys"]),
        ("[serve]\ntrust-proxy = ['10.0.0.0/8', '::1']", &[], &["--trust-proxy=10.0.0.0/8,::1"]),
        ("[serve]\ntrust-proxy = '10.0.0.0/8,::1'", &["--trust-proxy=192.0.2.1"], &["--trust-proxy=192.0.2.1"]),
        ("[serve]\nengine-io = [3, 4]", &[], &["--engine-io=3,4"]),
        ("[serve]\nengine-io = 4", &[], &["--engine-io=4"]),
        ("[serve]\nlisten = '127.0.0.1:1'", &["--port=2"], &["--port=2"]),
        ("[serve]\nport = 1", &["--listen=127.0.0.1:2"], &["--listen=127.0.0.1:2"]),
        ("[serve]\nstore = 'memory'", &["--redis-url=redis://a"], &["--redis-url=redis://a"]),
        ("[serve]\nredis-url = 'redis://a'", &["--store=memory"], &["--store=memory"]),
        ("[serve]\nredis-url = 'redis://a'\nstore = 'memory'", &[], &["--store=memory"]),
        ("[serve]\n[tunnels.web]\ntarget = 5173\nttl = '1h'", &[], &[]),
        ("server = 'https://relay.example'\nserve.max-body = '2MiB'", &[], &["--max-body=2MiB"]),
    ] {
        let expected = read_cli(["socket2me", "serve"].iter().chain(as_flags).map(OsString::from).collect());
        let (read, expected) = (config(text, flags), serve_of(expected.unwrap()));
        let of_pairs = |config: &ServeConfig| (config.address(), config.store_place());
        assert_eq!(of_pairs(&read), of_pairs(&expected), "{text}");
        let alone = |config| ServeConfig { port: None, redis_url: None, ..config };
        assert_eq!(shown(&alone(read)), shown(&alone(expected)), "{text}");
    }
}

#[test]
fn the_example_in_the_readme_is_a_configuration_file() {
    let (_, after) = include_str!("../../../README.md").split_once("```toml\n[serve]\n").unwrap();
    let example = format!("[serve]\n{}", after.split("```").next().unwrap());
    assert!(read(example.as_bytes(), &[]).unwrap().require_keys);
}

#[test]
fn the_log_has_settings_in_the_file_too() {
    let path = std::env::temp_dir().join(format!("socket2me-config-{}-log.toml", std::process::id()));
    std::fs::write(&path, "[serve]\nlog = 'warn'\nlog-format = 'json'").unwrap();
    let config = format!("--config={}", path.display());
    for (given, log) in [
        (&["socket2me", "serve", &config][..], "warn"),
        (&["socket2me", "serve", &config, "--log=debug"], "debug"),
        (&["socket2me", "--log=debug", "serve", &config], "debug"),
    ] {
        let cli = read_cli(given.iter().map(OsString::from).collect()).unwrap();
        assert_eq!((cli.log.as_str(), cli.log_format), (log, super::super::LogFormat::Json), "{given:?}");
    }
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn what_is_no_setting_is_refused_and_the_message_names_it_and_what_was_probably_meant() {
    for (text, words) in [
        ("[serve]\nmax-bdy = 1", "`max-bdy` in FILE is no setting: did you mean `max-body`?"),
        ("[serve]\nmax_body = 1", "`max_body` in FILE is no setting: did you mean `max-body`?"),
        ("[serve]\n--max-body = 1", "did you mean `max-body`?"),
        ("[serve]\nmailbox = 1", "did you mean `max-waiting-commands`?"),
        ("[serve]\nTOKEN_EXPIRE_SECONDS = 1", "did you mean `token-ttl`?"),
        ("[serve]\nlog_format = 'json'", "did you mean `log-format`?"),
        ("[serve]\nprot = 1", "did you mean `port`?"),
        ("[serve]\nmax-conection-per-addres = 1", "did you mean `max-connections-per-address`?"),
        ("[serve]\nxyz = 1", "`xyz` in FILE is no setting: `socket2me serve --help` lists them"),
        ("[serve]\n'' = 1", "`` in FILE is no setting: `socket2me"),
        ("[serve]\nhelp = true", "`help` in FILE is no setting: `socket2me"),
        ("[serve]\nversion = 1", "`version` in FILE is no setting: `socket2me"),
        ("[serve]\nconfig = 'x'", "a file cannot name another"),
        ("[serve]\nzzz = 1\nyyy = 1", "`zzz`"),
        ("[serve.limits]\nmax-body = 1", "`limits` in FILE is no setting"),
        ("max-body = 1", "`max-body` in FILE is in no section: write it below a line [serve]"),
        ("store = 'memory'", "`store` in FILE is in no section"),
        ("to = 1", "`to` in FILE is no setting: they are in sections [serve] and [tunnels.NAME]"),
        ("hold-local = 1", "`hold-local` in FILE is in no section: write it below a line [tunnels.NAME]"),
        ("[server]\nmax-body = 1", "[server] in FILE is no section: settings of `socket2me serve` are in [serve]"),
        ("server = 3000", "`server` in FILE is no URL: write it in quotes"),
        ("[forward]\nto = 1", "[forward] in FILE is no section: there are [serve] and [tunnels.NAME]"),
        ("tunnels = 1", "write [tunnels.NAME], and each setting on a line below"),
        ("[tunnels]\nweb = 5173", "`web` of [tunnels] in FILE is no section: write [tunnels.web]"),
        ("[tunnels.web]", "[tunnels.web] in FILE has no `target`: say what requests are forwarded to"),
        ("[tunnels.'a b']\ntarget = 1", "`a b` in FILE is no name of a tunnel"),
        ("[tunnels.web]\ntarget = 1\nhld = 1", "`hld` of [tunnels.web] in FILE is no setting: did you mean `hold`?"),
        ("[tunnels.web]\nport = 1\n", "`port` of [tunnels.web] in FILE is no setting"),
        ("[tunnels.web]\ntarget = 1\nlog = 'x'", "`log` of [tunnels.web] in FILE is no setting"),
        ("[tunnels.web]\ntarget = 1\noutput = 'json'", "give it to `socket2me up`"),
        ("[tunnels.web]\ntarget = 1\nkey = 'x'", "is no setting of a file: keys are kept elsewhere"),
        ("[tunnels.web]\ncreate-secret-file = 'x'", "a secret is named by --create-secret-file or its variable"),
        ("[[serve]]\nmax-body = 1", "write [serve], and each setting on a line below"),
        ("serve = 1", "write [serve], and each setting on a line below"),
        ("[serve]\nrequire-keys = 'yes'", "`require-keys` in FILE is on or off: write true or false"),
        ("[serve]\nrequire-keys = 1", "write true or false"),
        ("[serve]\nmax-body = ['1']", "`max-body` in FILE is a list: write one value"),
        ("[serve]\ntrust-proxy = []", "`trust-proxy` in FILE is an empty list"),
        ("[serve]\ntrust-proxy = [['::1']]", "cannot be of the type array"),
        ("[serve]\ntrust-proxy = ['::1', 'x']", "invalid value 'x' for `trust-proxy` in FILE: `x` is not a network"),
        ("[serve]\ntoken-ttl = 1.5", "`token-ttl` in FILE cannot be of the type float"),
        ("[serve]\nmax-ttl = 2026-01-01", "cannot be of the type datetime"),
        ("[serve]\nmax-body = { a = 1 }", "cannot be of the type table"),
        ("[serve]\nmax-body = 99999999999999999999", "`max-body` in FILE is a number that is too large"),
        ("[serve]\nmax-body = -1", "invalid value '-1' for `max-body` in FILE: `-1` is not a size"),
        ("[serve]\nerror-status = 'standart'", "a similar value exists: 'standard'"),
        ("[serve]\nlisten = 1\nport = 2", "`listen` in FILE and `port` in FILE both say where to listen"),
        ("[serve]\nredis-url = 5", "`redis-url` in FILE: this is no URL of a Redis"),
        ("\n[serve\nmax-body = 1", "FILE, line 2: this is no TOML: "),
        ("[serve]\nmax-body = 10MiB", "FILE, line 2: this is no TOML: "),
        ("[serve]\nmax-body = 1\nmax-body = 2", "FILE, line 3: this is no TOML: duplicate key"),
    ] {
        let message = read(text.as_bytes(), &[]).unwrap_err();
        assert!(message.contains(words), "{text}: {message}");
    }
    for (text, words) in [(&b"\xff"[..], "is no text in UTF-8"), (&vec![b'\n'; (1 << 20) + 1], "is more than 1MiB")] {
        assert!(read(text, &[]).unwrap_err().contains(words));
    }
}

#[test]
fn no_message_and_no_help_shows_the_value_of_a_place_for_tunnels() {
    for value in ["redis://:hunter2@a", "Redis://:hunter2@a", "redis://:hunter2@a:x", "http://:hunter2@a"] {
        for key in ["store", "redis-url", "stroe", "redis_url", "max-body"] {
            for line in [
                format!("{key} = '{value}"),
                format!("{key} = {value}"),
                format!("{key} = '{value}' x"),
                format!("{key} = ['{value}']"),
                format!("{key} = '{value}'\n{key} = '{value}'"),
                format!("{key} = '{value}'\nport = 'x'"),
                format!("{key} = '{value}'\nlisten = 1\nport = 2"),
                format!("{key} = {{ url = '{value}' }}"),
                format!("{key} = \"{value}\\x\""),
            ] {
                for text in [format!("[serve]\n{line}"), line.clone(), format!("[{key}]\n{line}")] {
                    for flags in [&[][..], &["--help"]] {
                        let message = read(text.as_bytes(), flags).err().unwrap_or_default();
                        // A wrong value of another setting is quoted.
                        assert!(!message.contains("hunter2") || key == "max-body", "{text}: {message}");
                    }
                }
            }
        }
    }
}
