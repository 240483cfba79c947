//! Tunnels as text: one JSON object a line, by which they move from one store to another, and a list for people.

use std::io::{self, BufRead, Write};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::record::{Kept, Keyed, Record};
use super::settings::{Ends, Repeat, RulesText, Settings};
use crate::proto::key::KeyHash;
use crate::proto::token::Token;

/// A line of JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    token: String,
    /// In seconds since 1970.
    made_at: u64,
    /// The address that made it, as it counts for limits.
    made_by: Option<IpAddr>,
    /// In milliseconds since 1970.
    expires_ms: u64,
    /// What a keyed tunnel has; `null` for an original one.
    keyed: Option<KeyedLine>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyedLine {
    /// The SHA-256 of its key, in hexadecimal digits.
    key_sha256: String,
    ttl_ms: u64,
    timeout_ms: u64,
    /// Lines of a server before `hold`, `ends` and `repeat` have none of them.
    #[serde(default = "default_hold")]
    hold_ms: u64,
    #[serde(default)]
    ends: Ends,
    #[serde(default)]
    repeat: Repeat,
    was_joined: bool,
    /// What its owner demands of visitors, as the relay has written it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rules: Option<String>,
}

/// Writes tunnels, one JSON object a line. Who has these lines knows the URLs of all tunnels and, unless the
/// operator has them sealed, the secrets of their rules, but no key.
///
/// # Errors
/// When the output fails.
pub fn write_lines(tunnels: &[Kept], out: &mut impl Write) -> io::Result<()> {
    for Kept { token, record, expires } in tunnels {
        let keyed = record.keyed.as_deref().map(|keyed| KeyedLine {
            key_sha256: keyed.key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect(),
            ttl_ms: milliseconds(keyed.settings.ttl),
            timeout_ms: milliseconds(keyed.settings.timeout),
            hold_ms: milliseconds(keyed.settings.hold),
            ends: keyed.settings.ends,
            repeat: keyed.settings.repeat,
            was_joined: keyed.was_joined,
            rules: keyed.rules.as_ref().map(|rules| rules.as_str().to_owned()),
        });
        let token = token.to_string();
        let line = Line { token, made_at: record.made_at, made_by: record.made_by, expires_ms: *expires, keyed };
        serde_json::to_writer(&mut *out, &line)?;
        writeln!(out)?;
    }
    out.flush()
}

/// Reads what [`write_lines`] has written. Empty lines are none.
///
/// # Errors
/// With what is wrong, and on which line.
pub fn read_lines(input: impl BufRead) -> Result<Vec<Kept>, String> {
    let mut tunnels = Vec::new();
    for (number, line) in (1..).zip(input.lines()) {
        let line = line.map_err(|error| format!("line {number}: {error}"))?;
        if !line.trim().is_empty() {
            tunnels.push(read_line(&line).map_err(|wrong| format!("line {number}: {wrong}"))?);
        }
    }
    Ok(tunnels)
}

fn read_line(line: &str) -> Result<Kept, String> {
    let Line { token, made_at, made_by, expires_ms, keyed } =
        serde_json::from_str(line).map_err(|error| error.to_string())?;
    let token = Token::parse(&token).ok_or_else(|| format!("`{token}` is neither a token nor a name"))?;
    let keyed = match keyed {
        Some(KeyedLine { key_sha256, ttl_ms, timeout_ms, hold_ms, ends, repeat, was_joined, rules }) => {
            let key = hash(&key_sha256).ok_or("key_sha256 is not 64 hexadecimal digits")?;
            let [ttl, timeout, hold] = [ttl_ms, timeout_ms, hold_ms].map(Duration::from_millis);
            let settings = Settings { ttl, timeout, hold, ends, repeat };
            Some(Box::new(Keyed { key, settings, rules: rules.map(RulesText::from), was_joined }))
        }
        None if token.is_name() => return Err(format!("`{token}` is a name, and has no key")),
        None => None,
    };
    Ok(Kept { token, record: Record { made_at, made_by, keyed }, expires: expires_ms })
}

fn hash(text: &str) -> Option<KeyHash> {
    let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| u8::try_from(high * 16 + low).ok()).collect();
    Some(KeyHash::from_bytes(bytes?.try_into().ok()?))
}

fn default_hold() -> u64 {
    milliseconds(Settings::default().hold)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Writes a list for people, the tunnel that expires first at its top. `now` is in milliseconds since 1970.
///
/// # Errors
/// When the output fails.
pub fn list(mut tunnels: Vec<Kept>, now: u64, out: &mut impl Write) -> io::Result<()> {
    tunnels.retain(|kept| kept.forgotten() > now);
    tunnels.sort_by_key(|kept| (kept.forgotten(), kept.token));
    let width = tunnels.iter().map(|kept| kept.token.as_str().len()).max().unwrap_or_default().max("TOKEN".len());
    writeln!(out, "{:width$}  {:8}  {:20}  {:6}  MADE BY", "TOKEN", "KIND", "EXPIRES", "JOINED")?;
    for kept in &tunnels {
        let (kind, is_joined) = match &kept.record.keyed {
            None => ("original", "-"),
            Some(keyed) => ("keyed", if keyed.was_joined { "yes" } else { "no" }),
        };
        let made_by = kept.record.made_by.map_or_else(|| "-".to_owned(), |address| address.to_string());
        let claimed = if kept.expires > now { "" } else { "  (expired; the name is its owner's for a day)" };
        let (token, expires) = (kept.token.as_str(), moment(kept.expires));
        writeln!(out, "{token:width$}  {kind:8}  {expires:20}  {is_joined:6}  {made_by}{claimed}")?;
    }
    out.flush()
}

/// Writes a moment in milliseconds since 1970 as RFC 3339 has it, in whole seconds of UTC.
fn moment(milliseconds: u64) -> String {
    let seconds = i64::try_from(milliseconds / 1_000).ok();
    let moment = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    moment.and_then(|moment| moment.format(&Rfc3339).ok()).unwrap_or_else(|| "never".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::key::Key;

    const NOW: u64 = 1_795_000_000_000;

    fn tunnels() -> Vec<Kept> {
        let keyed = |was_joined: bool| {
            let settings = Settings {
                ttl: Duration::from_secs(86_400),
                timeout: Duration::from_millis(1_500),
                hold: Duration::ZERO,
                ends: Ends::Spread,
                repeat: Repeat::Idempotent,
            };
            let rules = was_joined.then(|| RulesText::from(r#"{"methods":["POST"]}"#.to_owned()));
            Some(Box::new(Keyed { key: Key::from_random([7; 32]).hash(), settings, rules, was_joined }))
        };
        let made_by = Some("2001:db8::".parse().unwrap());
        let of = |token, keyed, expires| Kept { token, record: Record { made_at: 12, made_by, keyed }, expires };
        let original = Record { made_at: 9, made_by: None, keyed: None };
        vec![
            of(Token::from_name("mine").unwrap(), keyed(true), NOW - 1),
            Kept { token: Token::from_uuid(uuid::Uuid::from_u128(1)), record: original, expires: NOW + 3_600_000 },
            of(Token::from_name("new-one").unwrap(), keyed(false), NOW + 1_000),
            of(Token::from_name("gone").unwrap(), keyed(false), NOW - 1),
        ]
    }

    #[test]
    fn tunnels_are_the_same_after_they_were_written_as_lines_and_read() {
        let mut lines = Vec::new();
        write_lines(&tunnels(), &mut lines).unwrap();
        assert_eq!(lines.iter().filter(|&&byte| byte == b'\n').count(), 4);
        lines.extend(b"\n");
        assert_eq!(read_lines(&lines[..]).unwrap(), tunnels());
    }

    #[test]
    fn a_line_that_is_wrong_is_named() {
        let line = |token: &str, keyed: &str| {
            format!(r#"{{"token":"{token}","made_at":1,"made_by":null,"expires_ms":2,"keyed":{keyed}}}"#)
        };
        let token = Token::from_uuid(uuid::Uuid::from_u128(1)).to_string();
        let hash = "ab".repeat(32);
        let keyed = |hash: &str| format!(r#"{{"key_sha256":"{hash}","ttl_ms":1,"timeout_ms":1,"was_joined":false}}"#);
        assert!(read_lines(format!("{}\n{}", line(&token, "null"), line("mine", &keyed(&hash))).as_bytes()).is_ok());
        for (wrong, words) in [
            (line("A", "null"), "neither a token nor a name"),
            (line("mine", "null"), "has no key"),
            (line("mine", &keyed(&hash[1..])), "64 hexadecimal digits"),
            (line("mine", &keyed(&hash.replace('a', "x"))), "64 hexadecimal digits"),
            ("{}".to_owned(), "missing field"),
            (line(&token, r#"null,"more":1"#), "unknown field"),
        ] {
            let said = read_lines(format!("{}\n{wrong}\n", line(&token, "null")).as_bytes()).unwrap_err();
            assert!(said.starts_with("line 2: ") && said.contains(words), "{said}");
        }
    }

    #[test]
    fn the_list_shows_what_lives_or_is_claimed_and_no_hash() {
        let mut out = Vec::new();
        list(tunnels(), NOW, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let token = Token::from_uuid(uuid::Uuid::from_u128(1));
        assert_eq!(
            lines,
            [
                "TOKEN KIND EXPIRES JOINED MADE BY",
                "new-one keyed 2026-11-18T11:06:41Z no 2001:db8::",
                &format!("{token} original 2026-11-18T12:06:40Z - -"),
                "mine keyed 2026-11-18T11:06:39Z yes 2001:db8:: (expired; the name is its owner's for a day)",
            ]
        );
    }
}
