//! The last line of the terminal: what else is written to standard error appears above it.
//!
//! The cursor stays in the first column of the status line. So a window that becomes narrower, in which the terminal wraps that line,
//! has nothing of it left behind: all from the cursor on is cleared. Nothing else is ever cleared.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Clears from the cursor to the end of the screen.
const CLEAR: &str = "\r\x1b[J";

/// How often, and how long, [`hide`] waits for a terminal that is about to take something.
const WAITS: (usize, Duration) = (20, Duration::from_millis(5));

/// What is shown.
struct Shown {
    status: Option<String>,
    /// There is no status line any more.
    is_over: bool,
}

static SHOWN: Mutex<Shown> = Mutex::new(Shown { status: None, is_over: false });

fn shown() -> MutexGuard<'static, Shown> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes whole lines to standard error, and below them the status line that is given; none removes it.
pub(super) fn write(lines: &str, status: Option<String>) {
    let mut shown = shown();
    let status = status.filter(|_| !shown.is_over);
    if lines.is_empty() && shown.status == status {
        return;
    }
    let _ = io::stderr().write_all(drawn(lines, shown.status.is_some(), status.as_deref()).as_bytes());
    shown.status = status;
}

/// Removes the status line for ever. A terminal that takes nothing holds the program up for a moment only.
pub(super) fn hide() {
    for _ in 0..WAITS.0 {
        if let Ok(mut shown) = SHOWN.try_lock() {
            shown.is_over = true;
            if shown.status.take().is_some() {
                let _ = io::stderr().write_all(CLEAR.as_bytes());
            }
            return;
        }
        thread::sleep(WAITS.1);
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
        let Some(status) = &shown.status else {
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
