//! The configuration file of `serve`: the section `[serve]` of a TOML file. Its keys are the long names of the flags.
//!
//! A value becomes its flag's default, so that the flag's reader checks it, and flags and variables come before it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::builder::ValueParser;
use clap::{Arg, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The command whose settings a file may have, and their section.
const SECTION: &str = "serve";

/// Sections of commands that are not in every version of the program. One file serves all versions.
const OTHER_SECTIONS: [&str; 5] = ["store", "forward", "respond", "dump", "doctor"];

/// The flag that names the file.
const FLAG: &str = "config";

/// The most bytes of a file. One with more is another file.
const MAX_FILE: u64 = 1 << 20;

/// The settings of a configuration file, by their flags' long names.
#[derive(Debug)]
pub(super) struct ConfigFile {
    /// The path, for messages.
    name: String,
    values: BTreeMap<String, Vec<String>>,
}

impl ConfigFile {
    /// Reads the file that this command line or the environment names. `None` if they name none, if the command is not
    /// `serve`, and if the command line is wrong, which its reader says better.
    ///
    /// # Errors
    /// When the file cannot be read, is no TOML, or has what is no setting.
    pub(super) fn find(command: &Command, given: &[OsString]) -> Result<Option<Self>, String> {
        // The readers of other settings may read a file, such as a pipe with a secret: once, and not here.
        let as_text = |arg: Arg| {
            let takes_values = arg.get_action().takes_values();
            if takes_values { arg.value_parser(ValueParser::os_string()) } else { arg }
        };
        let command = command.clone().mut_args(as_text).mut_subcommands(|command| command.mut_args(as_text));
        let Ok(matches) = command.clone().try_get_matches_from(given) else { return Ok(None) };
        let Some((SECTION, matches)) = matches.subcommand() else { return Ok(None) };
        let path = matches.get_one::<OsString>("config_file").map(PathBuf::from);
        path.map(|path| Self::parse(&path.display().to_string(), &read(&path)?, &command)).transpose()
    }

    /// Reads the text of a file. No error quotes a value, which may have a password in it.
    fn parse(name: &str, text: &str, command: &Command) -> Result<Self, String> {
        let file = DeTable::parse(text).map_err(|error| {
            let line = error.span().map(|span| format!(", line {}", line_at(text, &span))).unwrap_or_default();
            format!("{name}{line}: this is no TOML: {}", error.message())
        })?;
        let settings = settings(command);
        let mut values = BTreeMap::new();
        for (key, value) in in_order(file.get_ref()) {
            let is_other = || is_section_of_another_command(command, key);
            match value {
                DeValue::Table(section) if key == SECTION => {
                    for (key, value) in in_order(section) {
                        let arg = find_setting(&settings, key).ok_or_else(|| unknown_key(name, key, &settings))?;
                        let texts = texts(value, arg).map_err(|message| format!("`{key}` in {name} {message}"))?;
                        values.insert(key.to_owned(), texts);
                    }
                }
                DeValue::Table(_) if is_other() => {}
                value => return Err(misplaced(name, key, value, &settings)),
            }
        }
        Ok(Self { name: name.to_owned(), values })
    }

    /// Makes the file's values the defaults of their flags.
    pub(super) fn apply(&self, command: Command) -> Command {
        let with_default = |arg: Arg| match arg.get_long().and_then(|long| self.values.get(long)) {
            Some(values) => arg.default_values(values.clone()),
            None => arg,
        };
        command.mut_args(with_default).mut_subcommand(SECTION, |serve| serve.mut_args(with_default))
    }

    /// Returns how messages name a setting that this file has.
    pub(super) fn name_of(&self, long: &str) -> Option<String> {
        self.values.contains_key(long).then(|| format!("`{long}` in {}", self.name))
    }
}

fn read(path: &Path) -> Result<String, String> {
    let cannot = |error| format!("cannot read the configuration file {}: {error}", path.display());
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes)).map_err(cannot)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("{} is more than 1MiB: this is no configuration file", path.display()));
    }
    String::from_utf8(bytes)
        .map_err(|_| format!("{} is no text in UTF-8: this is no configuration file", path.display()))
}

/// Returns the number of the line where a span begins.
fn line_at(text: &str, span: &Range<usize>) -> usize {
    let before = text.as_bytes().get(..span.start).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

/// Returns the entries of a table as they stand in the file, so that the first fault is told first.
fn in_order<'t>(table: &'t DeTable<'_>) -> Vec<(&'t str, &'t DeValue<'t>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries.into_iter().map(|(key, value)| (key.get_ref().as_ref(), value.get_ref())).collect()
}

/// Returns the settings of `serve`, and those of all commands, as one command.
fn settings(command: &Command) -> Command {
    let of_serve = command.find_subcommand(SECTION).into_iter().flat_map(Command::get_arguments);
    let settings = command.get_arguments().chain(of_serve).filter(|arg| arg.get_long() != Some(FLAG));
    Command::new(SECTION).args(settings.cloned())
}

fn find_setting<'c>(settings: &'c Command, key: &str) -> Option<&'c Arg> {
    settings.get_arguments().find(|arg| arg.get_long() == Some(key))
}

fn is_section_of_another_command(command: &Command, key: &str) -> bool {
    key != SECTION && (OTHER_SECTIONS.contains(&key) || command.find_subcommand(key).is_some())
}

fn unknown_key(name: &str, key: &str, settings: &Command) -> String {
    let shown = key.escape_debug();
    if key == FLAG {
        return format!("`{FLAG}` in {name} is no setting of a file: a file cannot name another");
    }
    match nearest(settings, key) {
        Some(long) => format!("`{shown}` in {name} is no setting: did you mean `{long}`?"),
        None => format!("`{shown}` in {name} is no setting: `socket2me serve --help` lists them as flags"),
    }
}

/// Returns the setting that an unknown key probably means: the one of this variable, of this flag, or one that is almost alike.
fn nearest<'c>(settings: &'c Command, key: &str) -> Option<&'c str> {
    let flag = key.trim_start_matches('-').replace('_', "-").to_ascii_lowercase();
    let is_it = |arg: &&Arg| {
        arg.get_long() == Some(&*flag)
            || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&&*flag))
            || arg.get_env().is_some_and(|variable| variable.eq_ignore_ascii_case(key))
    };
    if let Some(long) = settings.get_arguments().find(is_it).and_then(Arg::get_long) {
        return Some(long);
    }
    let distance = |long: &&str| strsim::osa_distance(&flag, long);
    let alike = settings.get_arguments().filter_map(Arg::get_long).min_by_key(distance)?;
    // One slip in a short name, and one more for each six letters.
    (distance(&alike) <= 1 + alike.len() / 6).then_some(alike)
}

/// Returns what is wrong with an entry that is no section of a command.
fn misplaced(name: &str, key: &str, value: &DeValue<'_>, settings: &Command) -> String {
    let shown = key.escape_debug();
    if key == SECTION {
        return format!("`{SECTION}` in {name} is no section: write [{SECTION}], and each setting on a line below");
    }
    if value.is_table() {
        return format!("[{shown}] in {name} is no section: settings of the server are in [{SECTION}]");
    }
    match find_setting(settings, key) {
        Some(_) => format!("`{shown}` in {name} is in no section: write it below a line [{SECTION}]"),
        None => format!("`{shown}` in {name} is no setting: settings of the server are in [{SECTION}]"),
    }
}

/// Returns a value as the texts that its flag would have, or what is wrong with its type.
fn texts(value: &DeValue<'_>, arg: &Arg) -> Result<Vec<String>, String> {
    if !arg.get_action().takes_values() {
        return match value {
            DeValue::Boolean(is_on) => Ok(vec![is_on.to_string()]),
            _ => Err("is on or off: write true or false, without quotes".to_owned()),
        };
    }
    let DeValue::Array(values) = value else { return text(value).map(|text| vec![text]) };
    if arg.get_value_delimiter().is_none() {
        return Err("is a list: write one value".to_owned());
    }
    if values.is_empty() {
        return Err("is an empty list: write a value, or leave the line out".to_owned());
    }
    values.iter().map(Spanned::get_ref).map(text).collect()
}

fn text(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(is_on) => Ok(is_on.to_string()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix());
            number.map(|number| number.to_string()).map_err(|_| "is a number that is too large".to_owned())
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            Err(format!("cannot be of the type {}: write a string or a whole number", value.type_str()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use clap::CommandFactory as _;

    use super::super::tests::serve_of;
    use super::super::{Cli, ServeConfig};
    use super::*;

    /// Reads a configuration file with this text, and flags.
    fn read(text: &[u8], flags: &[&str]) -> Result<ServeConfig, String> {
        static FILES: AtomicUsize = AtomicUsize::new(0);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("socket2me-config-{}-{number}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let arguments = ["socket2me", "serve", "--config", path.to_str().unwrap()];
        let cli = Cli::read_from(arguments.iter().chain(flags).map(OsString::from).collect());
        std::fs::remove_file(&path).unwrap();
        let read = cli.map(|cli| ServeConfig { config_file: None, ..serve_of(cli) });
        read.map_err(|error| error.to_string().replace(path.to_str().unwrap(), "FILE"))
    }

    fn read_flag(flag: String) -> Result<ServeConfig, String> {
        let cli = Cli::read_from(["socket2me".into(), "serve".into(), flag.into()].to_vec());
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
        for arg in command.find_subcommand(SECTION).unwrap().get_arguments() {
            let long = arg.get_long().unwrap();
            if long == "help" || long == FLAG || !arg.get_action().takes_values() {
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
            (
                "[serve]\nmax-body = '2MiB'\nmax-tokens = 7",
                &["--max-body=3MiB"],
                &["--max-body=3MiB", "--max-tokens=7"],
            ),
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
            ("[serve]\n[forward]\nto = 3000\n[store]\n[dump.x]\n[doctor]\n[respond]", &[], &[]),
        ] {
            let expected = Cli::read_from(["socket2me", "serve"].iter().chain(as_flags).map(OsString::from).collect());
            let (read, expected) = (config(text, flags), serve_of(expected.unwrap()));
            let of_pairs = |config: &ServeConfig| (config.address(), config.store_place());
            assert_eq!(of_pairs(&read), of_pairs(&expected), "{text}");
            let alone = |config| ServeConfig { port: None, redis_url: None, ..config };
            assert_eq!(shown(&alone(read)), shown(&alone(expected)), "{text}");
        }
    }

    #[test]
    fn the_example_in_the_readme_is_a_configuration_file() {
        let (_, after) = include_str!("../../README.md").split_once("```toml\n[serve]\n").unwrap();
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
            let cli = Cli::read_from(given.iter().map(OsString::from).collect()).unwrap();
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
            ("to = 1", "`to` in FILE is no setting: settings of the server are in [serve]"),
            ("[server]\nmax-body = 1", "[server] in FILE is no section: settings of the server are in [serve]"),
            ("[[serve]]\nmax-body = 1", "write [serve], and each setting on a line below"),
            ("serve = 1", "write [serve], and each setting on a line below"),
            ("[serve]\nrequire-keys = 'yes'", "`require-keys` in FILE is on or off: write true or false"),
            ("[serve]\nrequire-keys = 1", "write true or false"),
            ("[serve]\nmax-body = ['1']", "`max-body` in FILE is a list: write one value"),
            ("[serve]\ntrust-proxy = []", "`trust-proxy` in FILE is an empty list"),
            ("[serve]\ntrust-proxy = [['::1']]", "cannot be of the type array"),
            (
                "[serve]\ntrust-proxy = ['::1', 'x']",
                "invalid value 'x' for `trust-proxy` in FILE: `x` is not a network",
            ),
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
        for (text, words) in [(&b"\xff"[..], "is no text in UTF-8"), (&vec![b'\n'; (1 << 20) + 1], "is more than 1MiB")]
        {
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
}
