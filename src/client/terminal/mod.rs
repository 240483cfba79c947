//! What `socket2me forward` shows on a terminal: the URL, a line an exchange, and below them a status line; and its keys.
//!
//! What was on the terminal stays, and can be scrolled back to: only the last line is ever rewritten.
//!
//! - [`line`]: parts of a line, their colours, and how a line is cut; `qr`: QR codes
//! - `status`: the status line; `state`: reports and keys in, lines and things to do out. Both are pure
//! - `screen`: the status line on standard error; [`Stderr`], what is written above it
//! - `mode`: the terminal's mode; `keys`: the thread that reads; `signals`: Ctrl-Z and others; `browser`: a URL in the browser
//! - `queue`: what waits to be drawn; `painter`: the thread that draws

mod browser;
mod keys;
mod line;
mod mode;
mod painter;
mod qr;
mod queue;
mod screen;
#[cfg(unix)]
mod signals;
mod state;
mod status;

use std::env;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use self::keys::Pressed;
use self::painter::Painter;
use self::queue::Queue;
use self::state::{Input, State};
use super::forward::watch::Watch;
use super::output::keep_url;
use super::report::Reporter;

pub use self::mode::leave;
pub use self::screen::Stderr;

/// How long the program waits at its end until the terminal takes its last line.
const LAST_LINE: Duration = Duration::from_secs(1);

/// A terminal with a status line. Dropped, it leaves the terminal as it was.
#[allow(missing_debug_implementations, reason = "a queue and a thread")]
pub struct Terminal {
    queue: Queue,
    watch: Arc<Watch>,
    is_done: Receiver<()>,
}

impl Terminal {
    /// Takes the terminal of standard error, if it is one that can move its cursor. Keys are read if standard input is a terminal
    /// too. `stop` is cancelled by the key `q`.
    #[must_use]
    pub fn open(stop: &CancellationToken) -> Option<Self> {
        if !can_rewrite() {
            return None;
        }
        let has_keys = io::stdin().is_terminal();
        let (queue, waited) = queue::queue();
        let changed = queue.clone();
        let watch = Watch::new(move || {
            changed.changed();
        });
        let painter = Painter {
            waited,
            state: State::new(has_keys),
            watch: Arc::clone(&watch),
            has_colors: env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            stop: stop.clone(),
            runtime: Handle::current(),
        };
        #[cfg(unix)]
        signals::listen(queue.clone()).ok()?;
        let is_done = painter.start().ok()?;
        let (pressed, stopping, stopped) = (queue.clone(), queue.clone(), stop.clone());
        tokio::spawn(async move {
            stopped.cancelled().await;
            stopping.tell(Input::Stopping);
        });
        if has_keys {
            keys::listen(move |event| match event {
                Pressed::Key(key) => pressed.tell(Input::Key(key)),
                Pressed::Redraw => pressed.changed(),
            });
        }
        queue.changed();
        Some(Self { queue, watch, is_done })
    }

    /// Returns a reporter that draws. The URL goes to standard output, and to `url_file` too.
    #[must_use]
    pub fn reporter(&self, url_file: Option<PathBuf>) -> Reporter {
        let queue = self.queue.clone();
        Arc::new(move |report| {
            if let Err(why) = keep_url(&report, url_file.as_deref()) {
                queue.tell(Input::Wrong(why));
            }
            queue.tell(Input::Report(report));
        })
    }

    /// Returns the watch to lay over the handler of requests.
    #[must_use]
    pub fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.queue.end();
        // A terminal that takes nothing does not keep the program from its end.
        let _ = self.is_done.recv_timeout(LAST_LINE);
        leave();
    }
}

/// Whether standard error is a terminal whose last line can be rewritten.
fn can_rewrite() -> bool {
    #[cfg(windows)]
    let knows_escapes = crossterm::ansi_support::supports_ansi();
    #[cfg(not(windows))]
    let knows_escapes = env::var_os("TERM").is_some_and(|name| !name.is_empty() && name != "dumb");
    io::stderr().is_terminal() && knows_escapes
}
