//! Reports as text: the URL on standard output and lines for a person on standard error, or lines of JSON.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::report::{Report, Reporter, Served};
use super::saved::write_whole;

/// What is written, and where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The URL on standard output, and lines for a person on standard error.
    Text,
    /// One JSON object a line on standard output.
    Json,
    /// All on standard error, for a person: standard output is for something else.
    Aside,
}

/// Returns a reporter that writes. The URL goes to `url_file` too.
#[must_use]
pub fn reporter(format: Format, url_file: Option<PathBuf>) -> Reporter {
    of(None, format, url_file)
}

/// Returns the reporter of one tunnel among several, whose name stands before what is written.
#[must_use]
pub fn reporter_of(tunnel: String, format: Format, url_file: Option<PathBuf>) -> Reporter {
    of(Some(tunnel), format, url_file)
}

fn of(tunnel: Option<String>, format: Format, url_file: Option<PathBuf>) -> Reporter {
    let name = |separator| tunnel.as_ref().map(|tunnel| format!("{tunnel}{separator}")).unwrap_or_default();
    let (before_url, before_line) = (name(" "), name(": "));
    let say = move |line: &str| say(&format!("{before_line}{line}"));
    Arc::new(move |report| {
        if let Err(why) = keep_url(&report, url_file.as_deref()) {
            say(&why);
        }
        if format == Format::Json {
            let mut object = to_json(&report);
            if let Some(tunnel) = &tunnel {
                object["tunnel"] = tunnel.as_str().into();
            }
            return print(&object.to_string());
        }
        if let (Format::Text, Report::Ready { url, .. }) = (format, &report) {
            print(&format!("{before_url}{url}"));
        }
        to_text(&report).iter().for_each(|line| say(line));
    })
}

/// Writes the URL to its file, once the tunnel is open.
///
/// # Errors
/// With why the file is not written.
pub(super) fn keep_url(report: &Report, url_file: Option<&Path>) -> Result<(), String> {
    let (Report::Ready { url, .. }, Some(file)) = (report, url_file) else { return Ok(()) };
    write_whole(file, format!("{url}\n").as_bytes(), false)
        .map_err(|error| format!("the URL is not written to {}: {error}", file.display()))
}

/// Writes a line to standard output. Whether somebody reads it makes no difference: a script may have taken the URL and gone.
pub(super) fn print(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn say(line: &str) {
    // Standard error has no buffer: one write for the line and its end, and lines of several programs do not mix.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Returns the line for a person.
fn to_text(report: &Report) -> Option<String> {
    match report {
        Report::Reused { file } => Some(format!("the tunnel of the last time is used again: {file}")),
        Report::Ready { url, target, has_changed } => {
            let changed = if *has_changed { "the URL has changed: " } else { "" };
            Some(format!("{changed}{url} is forwarded to {target}"))
        }
        Report::Reconnecting { why, after } => {
            Some(format!("not connected: {why}; again in {:.1} s", after.as_secs_f64()))
        }
        Report::Reconnected => Some("connected again".to_owned()),
        Report::Closing { code } => Some(format!("the server ends the session: {code}")),
        Report::Request(served) => Some(line(served, SystemTime::now())),
        Report::Warning(what) => Some(format!("warning: {what}")),
        Report::Failed(failure) => Some(format!("socket2me: {failure}")),
    }
}

/// Returns the line of an exchange: `12:04:11 POST /hook 200 23 ms 1.2 kB`. The time is UTC.
#[must_use]
pub fn line(served: &Served, now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() % 86_400;
    let Served { method, target, status, took, bytes, error, .. } = served;
    let status = status.map_or("---".to_owned(), |status| status.to_string());
    let took = took.as_millis();
    let error = error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02} {method} {target} {status} {took} ms {}{error}", size(*bytes))
}

/// Returns a number of bytes in words: `1.2 kB`.
pub(super) fn size(bytes: u64) -> String {
    let mut units = ["kB", "MB", "GB", "TB"].into_iter();
    let (mut size, mut unit) = (u128::from(bytes) * 10, "B");
    while size >= 10_000
        && let Some(next) = units.next()
    {
        (size, unit) = (size / 1000, next);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{}.{} {unit}", size / 10, size % 10) }
}

/// Returns the object of a report.
fn to_json(report: &Report) -> Value {
    match report {
        Report::Reused { file } => json!({"event": "reused", "file": file}),
        Report::Ready { url, target, has_changed } => {
            json!({"event": "ready", "url": url, "target": target, "changed": has_changed})
        }
        Report::Reconnecting { why, after } => {
            json!({"event": "reconnecting", "why": why, "after_ms": after.as_millis()})
        }
        Report::Reconnected => json!({"event": "reconnected"}),
        Report::Closing { code } => json!({"event": "closing", "code": code}),
        Report::Request(Served { id, method, target, visitor, status, took, bytes, error }) => json!({
            "event": "request", "id": &**id, "method": &**method, "path": target, "visitor": &**visitor, "status": status,
            "ms": took.as_millis(), "bytes": bytes, "error": error,
        }),
        Report::Warning(what) => json!({"event": "warning", "message": what}),
        Report::Failed(failure) => {
            json!({"event": "error", "code": failure.code, "message": failure.message, "hint": failure.hint, "exit": failure.exit as u8})
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_exchange_is_a_line() {
        let served = Served {
            id: "1-2".into(),
            method: "POST".into(),
            target: "/hook?a".to_owned(),
            visitor: "192.0.2.1".into(),
            status: Some(200),
            took: Duration::from_millis(23),
            bytes: 1234,
            error: None,
        };
        let now = UNIX_EPOCH + Duration::from_secs(86_400 + 12 * 3600 + 4 * 60 + 11);
        assert_eq!(line(&served, now), "12:04:11 POST /hook?a 200 23 ms 1.2 kB");
        let failed = Served { status: None, bytes: 0, error: Some("nothing answers".to_owned()), ..served };
        assert_eq!(line(&failed, now), "12:04:11 POST /hook?a --- 23 ms 0 B (nothing answers)");
    }

    #[test]
    fn sizes_have_units() {
        for (bytes, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_250_000, "1.2 MB"),
            (999_999, "999.9 kB"),
            (5_000_000_000_000_000, "5000.0 TB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }
}
