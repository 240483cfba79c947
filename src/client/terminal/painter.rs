//! The thread that draws. Reports wait for it in a queue, so that a terminal that takes nothing, as after Ctrl-S, holds nobody up.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::{OffsetDateTime, UtcOffset};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::line::Window;
use super::state::{Input, Moment, Output, State};
use super::{browser, mode, screen};
use crate::client::forward::watch::Watch;
use crate::client::output::print;
use crate::client::report::{Exit, Report};

/// Lines and keys that wait to be drawn; more of them are dropped, and counted.
const MAX_WAITING: usize = 1024;

/// The columns of a terminal that does not say how many it has.
const USUAL_WIDTH: usize = 80;

/// What the thread is told.
enum Told {
    /// Something has happened.
    Input(Input),
    /// The numbers of requests, the window or the foreground has changed.
    Changed,
    /// Ctrl-Z was pressed.
    #[cfg(unix)]
    Suspend,
    /// The process goes on after it was stopped.
    #[cfg(unix)]
    Resume,
    /// Everything is said.
    End,
}

/// Tells the thread what to draw. Nothing here waits.
#[derive(Clone)]
pub(super) struct Queue {
    told: Sender<Told>,
    waiting: Arc<Waiting>,
}

#[derive(Default)]
struct Waiting {
    droppable: AtomicUsize,
    dropped: AtomicUsize,
    has_changed: AtomicBool,
}

impl Queue {
    /// Tells of something. Returns false if nobody listens any more. Requests, warnings and keys are dropped where too many wait:
    /// others choose how many there are.
    pub(super) fn tell(&self, input: Input) -> bool {
        if is_droppable(&input) && self.waiting.droppable.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            self.waiting.droppable.fetch_sub(1, Ordering::Relaxed);
            self.waiting.dropped.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        self.told.send(Told::Input(input)).is_ok()
    }

    /// Asks for another look at the numbers of requests, the window and the foreground.
    pub(super) fn changed(&self) -> bool {
        self.waiting.has_changed.swap(true, Ordering::Relaxed) || self.told.send(Told::Changed).is_ok()
    }

    /// Tells that Ctrl-Z was pressed.
    #[cfg(unix)]
    pub(super) fn suspend(&self) -> bool {
        self.told.send(Told::Suspend).is_ok()
    }

    /// Tells that the process goes on after it was stopped.
    #[cfg(unix)]
    pub(super) fn resume(&self) -> bool {
        self.told.send(Told::Resume).is_ok()
    }

    /// Tells that everything is said.
    pub(super) fn end(&self) {
        let _ = self.told.send(Told::End);
    }
}

fn is_droppable(input: &Input) -> bool {
    match input {
        Input::Report(Report::Request(_) | Report::Warning(_)) | Input::Key(_) | Input::Note(_) | Input::Wrong(_) => {
            true
        }
        Input::Report(
            Report::Reused { .. }
            | Report::Ready { .. }
            | Report::Reconnecting { .. }
            | Report::Reconnected
            | Report::Closing { .. }
            | Report::Failed(_),
        )
        | Input::Stopping => false,
    }
}

/// Returns a queue, and what its thread needs of it.
pub(super) fn queue() -> (Queue, Waited) {
    let (told, waits) = mpsc::channel();
    let queue = Queue { told, waiting: Arc::default() };
    (queue.clone(), Waited { waits, queue })
}

/// The other side of a queue.
pub(super) struct Waited {
    waits: Receiver<Told>,
    queue: Queue,
}

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
            let first = match self.state.next_change(began.elapsed()) {
                Some(after) => self.waited.waits.recv_timeout(after),
                None => self.waited.waits.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let mut next = match first {
                Ok(told) => Some(told),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let (window, mut lines) = (self.window(), String::new());
            // What waits is written at once.
            while let Some(told) = next {
                is_over |= matches!(told, Told::End);
                self.hear(told, began.elapsed(), window, &mut lines);
                next = self.waited.waits.try_recv().ok();
            }
            self.count_dropped(&mut lines);
            // The terminal of a process in the background belongs to another.
            let has_status = !is_over && !mode::is_paused() && mode::is_foreground();
            let status = has_status.then(|| self.state.status(self.watch.counts(), began.elapsed(), window));
            screen::write(&lines, status);
        }
    }

    fn hear(&mut self, told: Told, since_start: Duration, window: Window, lines: &mut String) {
        match told {
            Told::Input(input) => self.input(input, since_start, window, lines),
            Told::Changed => self.waited.queue.waiting.has_changed.store(false, Ordering::Relaxed),
            #[cfg(unix)]
            Told::Suspend => {
                screen::write(&std::mem::take(lines), None);
                super::signals::suspend();
            }
            #[cfg(unix)]
            Told::Resume => mode::resume(),
            Told::End => (),
        }
    }

    fn window(&self) -> Window {
        Window { width: mode::width().unwrap_or(USUAL_WIDTH), has_colors: self.has_colors }
    }

    /// Takes what has happened. Lines that come of it are added to `lines`.
    fn input(&mut self, input: Input, since_start: Duration, window: Window, lines: &mut String) {
        if is_droppable(&input) {
            self.waited.queue.waiting.droppable.fetch_sub(1, Ordering::Relaxed);
        }
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
                    let queue = self.waited.queue.clone();
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
        self.waited.queue.tell(result.map_or_else(Input::Wrong, Input::Note));
    }

    fn count_dropped(&self, lines: &mut String) {
        let dropped = self.waited.queue.waiting.dropped.swap(0, Ordering::Relaxed);
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
