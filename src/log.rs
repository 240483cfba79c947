//! The log of the process. A thread of its own writes it, and a worker never waits for it: where standard error is a pipe whose
//! reader is too slow, lines are lost and counted.
//!
//! Like the filter behind `tracing`, this is one for the whole process.

use std::io::{self, IsTerminal as _, Write};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that wait to be written; beyond, lines are lost. About four megabytes; what peers choose of a line is cut, so that it is
/// never much more.
const MAX_WAITING_LINES: usize = 10_000;

/// How long the process waits at its end until standard error takes its last line.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What others log as errors and this program tells of by itself, where it matters. Filters may still ask for it.
const QUIET: &str = "rustls_platform_verifier=off";

static LOST: OnceLock<ErrorCounter> = OnceLock::new();

/// Starts the log, in lines for people or in JSON. `stderr` writes them to standard error. Panics are in it too. What waits is written when the
/// guard is dropped, if that takes no longer than a second.
///
/// # Errors
/// When the filter is none, and when there is a log already.
pub fn start(filter: &str, as_json: bool, stderr: impl Write + Send + 'static) -> Result<WorkerGuard, String> {
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}")).map_err(|error| error.to_string())?;
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MAX_WAITING_LINES).thread_name("log");
    let (writer, guard) = builder.finish(stderr);
    let _ = LOST.set(writer.error_counter());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let started =
        if as_json { builder.json().try_init() } else { builder.with_ansi(io::stderr().is_terminal()).try_init() };
    started.map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    Ok(guard)
}

/// Returns how many lines of the log were lost.
#[must_use]
pub fn lost_lines() -> usize {
    LOST.get().map_or(0, ErrorCounter::dropped_lines)
}

/// Writes the last line of the process to standard error. A full pipe holds the process up for a moment only.
pub fn last_words(line: String) {
    let (written, is_written) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = writeln!(io::stderr(), "{line}");
        let _ = written.send(());
    });
    let _ = is_written.recv_timeout(LAST_WORDS);
}
