//! What is said of an entry that is no setting.

use clap::Arg;
use toml::de::DeValue;

use super::super::settings;
use super::section::{CONFIG, CREATE_SECRET, OUTPUT, SERVE, SERVER, Section, TUNNELS};

/// Returns what is wrong with a key of a section.
pub(super) fn unknown_key(section: &Section, key: &str) -> String {
    let (shown, place) = (key.escape_debug(), &section.place);
    match key {
        CONFIG => return format!("`{key}` {place} is no setting of a file: a file cannot name another"),
        CREATE_SECRET | "key" | "secret" => {
            return format!(
                "`{key}` {place} is no setting of a file: keys are kept elsewhere, and a secret is named by --{CREATE_SECRET} \
                 or its variable"
            );
        }
        OUTPUT => return format!("`{key}` {place} is no setting of a tunnel: give it to `socket2me up`"),
        _ => (),
    }
    match nearest(section, key) {
        Some(known) => format!("`{shown}` {place} is no setting: did you mean `{known}`?"),
        None => format!("`{shown}` {place} is no setting: `socket2me {} --help` lists them as flags", section.command),
    }
}

/// Returns the setting that an unknown key probably means: the one of this variable, of this flag, or one that is almost alike.
fn nearest<'s>(section: &'s Section, key: &str) -> Option<&'s str> {
    let args = || section.settings.get_arguments();
    let flag = key.trim_start_matches('-').replace('_', "-").to_ascii_lowercase();
    let is_it = |arg: &&Arg| {
        settings::key(arg) == Some(&*flag)
            || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&&*flag))
            || arg.get_env().is_some_and(|variable| variable.eq_ignore_ascii_case(key))
    };
    if let Some(known) = args().find(is_it).and_then(settings::key) {
        return Some(known);
    }
    let distance = |known: &&str| strsim::osa_distance(&flag, known);
    let alike = args().filter_map(settings::key).min_by_key(distance)?;
    // One slip in a short name, and one more for each six letters.
    (distance(&alike) <= 1 + alike.len() / 6).then_some(alike)
}

/// Returns what is wrong with an entry that is in no section. The sections that there are have the names that are shown.
pub(super) fn misplaced(name: &str, key: &str, value: &DeValue<'_>, sections: &[(&str, &Section)]) -> String {
    let shown = key.escape_debug();
    match (key, value) {
        (SERVER, DeValue::Table(_)) => format!(
            "[{SERVER}] in {name} is no section: settings of `socket2me {SERVE}` are in [{SERVE}], and `{SERVER}` alone is the \
             URL of the relay that other commands use"
        ),
        (SERVER, _) => format!("`{SERVER}` in {name} is no URL: write it in quotes, as in \"https://relay.example\""),
        (SERVE, _) => {
            format!("`{SERVE}` in {name} is no section: write [{SERVE}], and each setting on a line below")
        }
        (TUNNELS, _) => {
            format!("`{TUNNELS}` in {name} is no section: write [{TUNNELS}.NAME], and each setting on a line below")
        }
        (_, DeValue::Table(_)) => {
            format!("[{shown}] in {name} is no section: there are [{SERVE}] and [{TUNNELS}.NAME]")
        }
        _ => match sections.iter().find(|(_, section)| section.find(key).is_some()) {
            Some((section, _)) => format!("`{shown}` in {name} is in no section: write it below a line [{section}]"),
            None => format!("`{shown}` in {name} is no setting: they are in sections [{SERVE}] and [{TUNNELS}.NAME]"),
        },
    }
}
