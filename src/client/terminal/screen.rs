//! The last line of the terminal: what else is written to standard error appears above it.
//!
//! The cursor stays in the first column of the status line. So a window that becomes narrower, in which the terminal wraps that line,
//! has nothing of it left behind: all from the cursor on is cleared. Nothing else is ever cleared.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Clears from the cursor to the end of the screen.
const CLEAR: &str = "\r\x1b[J";

/// The status line that is shown.
static SHOWN: Mutex<Option<String>> = Mutex::new(None);

fn shown() -> MutexGuard<'static, Option<String>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes whole lines to standard error, and below them the status line that is given; none removes it.
pub(super) fn write(lines: &str, status: Option<String>) {
    let mut shown = shown();
    if lines.is_empty() && *shown == status {
        return;
    }
    let _ = io::stderr().write_all(drawn(lines, shown.is_some(), status.as_deref()).as_bytes());
    *shown = status;
}

/// Removes the status line, unless the terminal is in the middle of taking something.
pub(super) fn hide() {
    if let Ok(mut shown) = SHOWN.try_lock()
        && shown.take().is_some()
    {
        let _ = io::stderr().write_all(CLEAR.as_bytes());
    }
}

/// Returns what is to be written.
fn drawn(lines: &str, was_shown: bool, status: Option<&str>) -> String {
    let mut out = String::from(if was_shown { CLEAR } else { "" });
    out.push_str(lines);
    if let Some(status) = status {
        out.extend([status, "\r"]);
    }
    out
}

/// Standard error above the status line, where there is one. Each write has to be of whole lines.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let shown = shown();
        let Some(status) = &*shown else {
            io::stderr().write_all(bytes)?;
            return Ok(bytes.len());
        };
        io::stderr().write_all(&[CLEAR.as_bytes(), bytes, status.as_bytes(), b"\r"].concat())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_appear_above_the_status_line() {
        for (lines, was_shown, status, expected) in [
            ("", false, None, ""),
            ("a\n", false, None, "a\n"),
            ("", false, Some("connected"), "connected\r"),
            ("a\nb\n", true, Some("connected"), "\r\x1b[Ja\nb\nconnected\r"),
            ("", true, None, "\r\x1b[J"),
        ] {
            assert_eq!(drawn(lines, was_shown, status), expected);
        }
    }
}
