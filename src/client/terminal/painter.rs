//! The thread that draws.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::{OffsetDateTime, UtcOffset};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::line::Window;
use super::queue::{Told, Waited};
#[cfg(unix)]
use super::signals;
use super::state::{Input, Moment, Output, State};
use super::{browser, mode, screen};
use crate::client::forward::watch::Watch;
use crate::client::output::print;
use crate::client::report::Exit;

/// The columns of a terminal that does not say how many it has.
const USUAL_WIDTH: usize = 80;

/// The time between two drawings: people see no more, and a busy tunnel changes the numbers thousands of times a second.
const FRAME: Duration = Duration::from_millis(20);

/// What is written at once, in bytes; the rest waits for the next drawing.
const MAX_WRITE: usize = 64 << 10;

/// What the thread draws with.
pub(super) struct Painter {
    pub(super) waited: Waited,
    pub(super) state: State,
    pub(super) watch: Arc<Watch>,
    pub(super) has_colors: bool,
    pub(super) stop: CancellationToken,
    pub(super) runtime: Handle,
}

impl Painter {
    /// Starts the thread. The receiver hears when everything was drawn.
    ///
    /// # Errors
    /// When the system has no thread.
    pub(super) fn start(self) -> io::Result<Receiver<()>> {
        let (done, is_done) = mpsc::channel();
        let draw = move || {
            self.run();
            let _ = done.send(());
        };
        thread::Builder::new().name("terminal".to_owned()).spawn(draw)?;
        Ok(is_done)
    }

    fn run(mut self) {
        let began = Instant::now();
        let mut is_over = false;
        while !is_over {
            let mut next = self.waited.wait(self.state.next_change(began.elapsed()));
            let (window, mut lines) = (self.window(), String::new());
            while let Some(told) = next {
                is_over |= matches!(told, Told::End);
                self.hear(told, began.elapsed(), window, &mut lines);
                next = if is_over || lines.len() > MAX_WRITE { None } else { self.waited.next() };
            }
            self.count_dropped(&mut lines);
            // The terminal of a process in the background belongs to another.
            let has_status = !is_over && !mode::is_paused() && mode::is_foreground();
            let status = has_status.then(|| self.state.status(self.watch.counts(), began.elapsed(), window));
            screen::write(&lines, status);
            if !is_over {
                thread::sleep(FRAME);
            }
        }
    }

    fn hear(&mut self, told: Told, since_start: Duration, window: Window, lines: &mut String) {
        match told {
            Told::Input(input) => self.input(input, since_start, window, lines),
            #[cfg(unix)]
            Told::Suspend => {
                screen::write(&std::mem::take(lines), None);
                signals::suspend();
            }
            #[cfg(unix)]
            Told::Resume => mode::resume(),
            Told::Changed | Told::End => (),
        }
    }

    fn window(&self) -> Window {
        Window { width: mode::width().unwrap_or(USUAL_WIDTH), has_colors: self.has_colors }
    }

    /// Takes what has happened. Lines that come of it are added to `lines`.
    fn input(&mut self, input: Input, since_start: Duration, window: Window, lines: &mut String) {
        let now = Moment { since_start, clock: clock() };
        for output in self.state.take(input, &now, window) {
            match output {
                Output::Line(line) => lines.extend([&line, "\n"]),
                Output::Url(url) => {
                    // Standard output may be the same terminal: then the URL has its place between the lines.
                    screen::write(&std::mem::take(lines), None);
                    print(&url);
                    if !io::stdout().is_terminal() {
                        lines.extend([&url, "\n"]);
                    }
                }
                Output::Repeat => self.said(self.watch.repeat(&self.runtime).map(|name| format!("{name} is repeated"))),
                Output::Open(url) => {
                    let queue = self.waited.queue().clone();
                    browser::open(&url, move |why| {
                        queue.tell(Input::Wrong(why));
                    });
                }
                Output::Copy(url) => {
                    // OSC 52 of xterm, which many terminals know. There is no answer to it.
                    lines.push_str(&format!("\x1b]52;c;{}\x07", STANDARD.encode(url)));
                    self.said(Ok("the URL is copied, if the terminal allows it".to_owned()));
                }
                Output::Stop => self.stop.cancel(),
                Output::StopNow => {
                    screen::write(&std::mem::take(lines), None);
                    mode::leave();
                    std::process::exit(Exit::Failed as i32);
                }
            }
        }
    }

    fn said(&self, result: Result<String, String>) {
        self.waited.queue().tell(result.map_or_else(Input::Wrong, Input::Note));
    }

    fn count_dropped(&self, lines: &mut String) {
        let dropped = self.waited.dropped();
        if dropped > 0 {
            lines.push_str(&format!("{dropped} lines are missing here: the terminal did not take them in time\n"));
        }
    }
}

/// Returns the time of the day: the local one, or UTC and a `Z` where the system does not tell.
fn clock() -> String {
    let now = OffsetDateTime::now_utc();
    let offset = UtcOffset::local_offset_at(now).ok();
    let (hours, minutes, seconds) = now.to_offset(offset.unwrap_or(UtcOffset::UTC)).time().as_hms();
    format!("{hours:02}:{minutes:02}:{seconds:02}{}", if offset.is_some() { "" } else { "Z" })
}
