//! The configuration file: `[serve]` with settings of the server, `server` with the relay that other commands use, and
//! `[tunnels.NAME]` with settings of `forward` for `up`. The keys of sections are the long names of the flags.

mod section;
mod unknown;
mod value;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;

use clap::Command;
use toml::de::{DeTable, DeValue};

pub(super) use self::section::{FORWARD, SERVER};
use self::section::{SERVE, Section, Source, TUNNELS};
use self::unknown::{misplaced, unknown_key};
use self::value::texts;
use super::settings::{Owner, Setting, Settings};

/// The most bytes of a file. One with more is another file.
const MAX_FILE: u64 = 1 << 20;

/// The most bytes of a tunnel's name in a file.
const MAX_NAME: usize = 64;

/// The settings of a file.
#[derive(Debug)]
pub(super) struct ConfigFile {
    /// Those of `serve`.
    pub(super) serve: Settings,
    /// The relay.
    pub(super) server: Option<Setting>,
    /// Those of tunnels, by their names, as they stand in the file.
    pub(super) tunnels: Vec<(String, Settings)>,
}

impl ConfigFile {
    /// Reads the file at a path. No error quotes a value, which may have a password in it.
    ///
    /// # Errors
    /// When the file cannot be read, is no TOML, or has what is no setting of `command`, which is the whole program's.
    pub(super) fn read(path: &Path, owner: Owner, command: &Command) -> Result<Self, String> {
        let name = path.display().to_string();
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
        read.map_err(|error| format!("cannot read the configuration file {name}: {error}"))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(format!("{name} is more than 1MiB: this is no configuration file"));
        }
        let text = String::from_utf8(bytes);
        let text = text.map_err(|_| format!("{name} is no text in UTF-8: this is no configuration file"))?;
        Self::parse(Source { name: &name, owner }, &text, command)
    }

    fn parse(source: Source<'_>, text: &str, command: &Command) -> Result<Self, String> {
        let Source { name, owner } = source;
        let file = DeTable::parse(text).map_err(|error| {
            let line = error.span().map(|span| format!(", line {}", line_at(text, &span))).unwrap_or_default();
            format!("{name}{line}: this is no TOML: {}", error.message())
        })?;
        let serve = Section::of_serve(command, source);
        let mut read = Self { serve: Settings::default(), server: None, tunnels: Vec::new() };
        for (key, value) in in_order(file.get_ref()) {
            match (key, value) {
                (SERVE, DeValue::Table(table)) => read.serve = read_section(&serve, table)?,
                (SERVER, DeValue::String(url)) => {
                    let name = format!("`{SERVER}` in {name}");
                    read.server = Some(Setting { texts: vec![url.to_string()], name, owner });
                }
                (TUNNELS, DeValue::Table(tunnels)) => {
                    for (tunnel, value) in in_order(tunnels) {
                        read.tunnels.push((tunnel.to_owned(), read_tunnel(command, source, tunnel, value)?));
                    }
                }
                (key, value) => {
                    let of_tunnel = Section::of_tunnel(command, source, "NAME");
                    return Err(misplaced(name, key, value, &[(SERVE, &serve), ("tunnels.NAME", &of_tunnel)]));
                }
            }
        }
        Ok(read)
    }
}

/// Reads what stands in the section.
fn read_section(section: &Section, table: &DeTable<'_>) -> Result<Settings, String> {
    let mut settings = Settings::default();
    for (key, value) in in_order(table) {
        let arg = section.find(key).ok_or_else(|| unknown_key(section, key))?;
        let name = format!("`{key}` {}", section.place);
        let texts = texts(value, arg).map_err(|message| format!("{name} {message}"))?;
        settings.add(key, Setting { texts, name, owner: section.owner });
    }
    Ok(settings)
}

/// Reads the section of a tunnel.
fn read_tunnel(command: &Command, source: Source<'_>, tunnel: &str, value: &DeValue<'_>) -> Result<Settings, String> {
    let name = source.name;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if tunnel.is_empty() || tunnel.len() > MAX_NAME || !tunnel.bytes().all(is_plain) {
        return Err(format!(
            "`{}` in {name} is no name of a tunnel: write 1 to {MAX_NAME} letters, digits, hyphens, underscores or dots",
            tunnel.escape_debug()
        ));
    }
    let section = Section::of_tunnel(command, source, tunnel);
    let DeValue::Table(table) = value else {
        return Err(format!(
            "`{tunnel}` of [{TUNNELS}] in {name} is no section: write [{TUNNELS}.{tunnel}], and each setting on a line below"
        ));
    };
    let settings = read_section(&section, table)?;
    if settings.get("target").is_none() {
        return Err(format!(
            "[{TUNNELS}.{tunnel}] in {name} has no `target`: say what requests are forwarded to, as in target = 5173"
        ));
    }
    Ok(settings)
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
