//! What the terminal shows: reports and keys go in, lines and things to do come out.

use std::time::Duration;

use super::keys::{KEYS, Key};
use super::line::{Line, Style, Window, exchange};
use super::qr;
use super::status::{Connection, next_change, status};
use crate::client::forward::watch::Counts;
use crate::client::report::Report;

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// The end reports.
    Report(Report),
    /// A key was pressed.
    Key(Key),
    /// A line for the person.
    Note(String),
    /// Something that was asked for does not work.
    Wrong(String),
    /// The program was asked to stop.
    Stopping,
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    /// A line above the status line.
    Line(String),
    /// The URL, which goes to standard output.
    Url(String),
    /// The last request is to be repeated.
    Repeat,
    /// The URL is to be opened in the browser.
    Open(String),
    /// The URL is to be copied.
    Copy(String),
    /// The program is to stop.
    Stop,
    /// The program is to stop without waiting for anything.
    StopNow,
}

/// When something happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moment {
    /// The time since the start of the program.
    pub(super) since_start: Duration,
    /// The time of the day, for people.
    pub(super) clock: String,
}

/// What the terminal shows.
#[derive(Debug)]
pub(super) struct State {
    connection: Connection,
    url: Option<String>,
    has_keys: bool,
}

impl State {
    /// Begins before there is a connection.
    pub(super) const fn new(has_keys: bool) -> Self {
        Self { connection: Connection::Opening, url: None, has_keys }
    }

    /// Takes what has happened, and returns what comes of it.
    pub(super) fn take(&mut self, input: Input, now: &Moment, window: Window) -> Vec<Output> {
        match input {
            Input::Report(report) => self.report(report, now, window),
            Input::Key(key) => self.key(key, window),
            Input::Note(text) => said(Style::Dim, &text, window),
            Input::Wrong(text) => said(Style::Yellow, &text, window),
            Input::Stopping => {
                self.connection = Connection::Stopping;
                Vec::new()
            }
        }
    }

    /// Returns the status line.
    pub(super) fn status(&self, counts: Counts, now: Duration, window: Window) -> String {
        status(&self.connection, counts, self.has_keys, now).cut(window)
    }

    /// Returns after what time the status line is another one, if nothing happens.
    pub(super) fn next_change(&self, now: Duration) -> Option<Duration> {
        next_change(&self.connection, now)
    }

    fn report(&mut self, report: Report, now: &Moment, window: Window) -> Vec<Output> {
        match report {
            Report::Reused { file } => {
                said(Style::Dim, &format!("the tunnel of the last time is used again: {file}"), window)
            }
            Report::Ready { url, target, has_changed } => {
                self.connect(Connection::Open);
                self.head(url, &target, has_changed, window)
            }
            Report::Reconnecting { why, after } => {
                let is_told = matches!(&self.connection, Connection::Lost { why: told, .. } if *told == why);
                let line = self.noted(now, Style::Yellow, &format!("not connected: {why}"), window);
                self.connect(Connection::Lost { why, next: now.since_start + after });
                // The status line has it too: attempts that fail for the same reason need no lines.
                if is_told { Vec::new() } else { vec![line] }
            }
            Report::Reconnected => {
                self.connect(Connection::Open);
                vec![self.noted(now, Style::Green, "connected again", window)]
            }
            Report::Closing { code } => {
                vec![self.noted(now, Style::Yellow, &format!("the server ends the session: {code}"), window)]
            }
            Report::Request(served) => vec![Output::Line(exchange(&served, &now.clock, window).cut(window))],
            Report::Warning(what) => said(Style::Yellow, &format!("warning: {what}"), window),
            Report::Failed(failure) => said(Style::Red, &format!("socket2me: {failure}"), window),
        }
    }

    /// Changes what is shown of the connection. That the program stops is shown to its end.
    fn connect(&mut self, connection: Connection) {
        if self.connection != Connection::Stopping {
            self.connection = connection;
        }
    }

    /// Returns the URL, and what visitors reach by it.
    fn head(&mut self, url: String, target: &str, has_changed: bool, window: Window) -> Vec<Output> {
        let mut head = Vec::new();
        if has_changed {
            head.extend(said(Style::Yellow, "the URL has changed:", window));
        }
        self.url = Some(url.clone());
        head.push(Output::Url(url));
        let mut line = Line::of(Style::Plain, "is forwarded to ");
        line.push(Style::Bold, target);
        if self.has_keys {
            line.push(Style::Dim, " (press ? for the keys)");
        }
        head.push(Output::Line(line.whole(window)));
        head
    }

    /// Returns a line with the time of the day.
    fn noted(&self, now: &Moment, style: Style, text: &str, window: Window) -> Output {
        let mut line = Line::of(Style::Dim, &format!("{} ", now.clock));
        line.push(style, text);
        Output::Line(line.whole(window))
    }

    fn key(&mut self, key: Key, window: Window) -> Vec<Output> {
        let without_url = || said(Style::Yellow, "there is no URL yet", window);
        match key {
            Key::Repeat => vec![Output::Repeat],
            Key::Quit if self.connection == Connection::Stopping => vec![Output::StopNow],
            Key::Quit => vec![Output::Stop],
            Key::Help => KEYS
                .iter()
                .flat_map(|(name, _, _, what)| said(Style::Plain, &format!("  {name}  {what}"), window))
                .collect(),
            Key::Open => self.url.clone().map_or_else(without_url, |url| vec![Output::Open(url)]),
            Key::Copy => self.url.clone().map_or_else(without_url, |url| vec![Output::Copy(url)]),
            Key::Code => self.url.as_ref().map_or_else(without_url, |url| {
                match qr::lines(url, window.room(), window.has_colors) {
                    Ok(lines) => lines.into_iter().map(Output::Line).collect(),
                    Err(why) => said(Style::Yellow, &why, window),
                }
            }),
        }
    }
}

/// Returns the lines of a text that a person has to read whole.
fn said(style: Style, text: &str, window: Window) -> Vec<Output> {
    text.lines().map(|line| Output::Line(Line::of(style, line).whole(window))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::report::{Exit, Failure, Served};

    const WINDOW: Window = Window { width: 80, has_colors: false };
    const URL: &str = "https://my-app.relay.example";

    fn moment(seconds: u64) -> Moment {
        Moment { since_start: Duration::from_secs(seconds), clock: format!("12:04:{seconds:02}") }
    }

    fn ready(has_changed: bool) -> Input {
        let (url, target) = (URL.to_owned(), "http://localhost:5173".to_owned());
        Input::Report(Report::Ready { url, target, has_changed })
    }

    fn lost(why: &str, seconds: u64) -> Input {
        Input::Report(Report::Reconnecting { why: why.to_owned(), after: Duration::from_secs(seconds) })
    }

    fn served() -> Input {
        Input::Report(Report::Request(Served {
            id: "1-2".into(),
            method: "POST".into(),
            target: "/hook".to_owned(),
            visitor: "192.0.2.1".into(),
            status: Some(200),
            took: Duration::from_millis(23),
            bytes: 1234,
            error: None,
        }))
    }

    fn line(text: &str) -> Output {
        Output::Line(text.to_owned())
    }

    fn url() -> Output {
        Output::Url(URL.to_owned())
    }

    /// Checks what comes of each input, one a second from the first on, and the status behind it.
    fn check(steps: &[(Input, &[Output], &str)]) {
        let mut state = State::new(false);
        for (second, (input, expected, status)) in (1..).zip(steps) {
            let now = moment(second);
            assert_eq!(state.take(input.clone(), &now, WINDOW), *expected, "{input:?}");
            let shown = state.status(Counts::default(), now.since_start, WINDOW);
            assert_eq!(shown.split("  ").next().unwrap(), *status, "{input:?}");
        }
    }

    #[test]
    fn reports_are_lines_and_change_the_status() {
        let forwarded = line("is forwarded to http://localhost:5173");
        check(&[
            (
                Input::Report(Report::Reused { file: "/a".to_owned() }),
                &[line("the tunnel of the last time is used again: /a")],
                "○ connecting",
            ),
            (lost("refused", 2), &[line("12:04:02 not connected: refused")], "○ connecting again in 2 s"),
            (lost("refused", 4), &[], "○ connecting again in 4 s"),
            (lost("no answer", 1), &[line("12:04:04 not connected: no answer")], "○ connecting again in 1 s"),
            (ready(false), &[url(), forwarded.clone()], "● connected"),
            (served(), &[line("12:04:06 POST /hook 200 23 ms 1.2 kB")], "● connected"),
            (
                Input::Report(Report::Closing { code: "stopping" }),
                &[line("12:04:07 the server ends the session: stopping")],
                "● connected",
            ),
            (lost("refused", 0), &[line("12:04:08 not connected: refused")], "○ connecting again"),
            (Input::Report(Report::Reconnected), &[line("12:04:09 connected again")], "● connected"),
            (ready(true), &[line("the URL has changed:"), url(), forwarded], "● connected"),
            (Input::Report(Report::Warning("a\x1b[2J".to_owned())), &[line("warning: a\u{fffd}[2J")], "● connected"),
            (Input::Stopping, &[], "○ stopping"),
            (Input::Report(Report::Reconnected), &[line("12:04:13 connected again")], "○ stopping"),
            (
                Input::Report(Report::Failed(Failure::new(Exit::Failed, "x", "it failed", "do this"))),
                &[line("socket2me: it failed"), line("do this")],
                "○ stopping",
            ),
        ]);
    }

    #[test]
    fn keys_ask_for_things() {
        let mut state = State::new(true);
        let no_url = [line("there is no URL yet")];
        for key in [Key::Open, Key::Copy, Key::Code] {
            assert_eq!(state.take(Input::Key(key), &moment(0), WINDOW), no_url);
        }
        let head = state.take(ready(false), &moment(0), WINDOW);
        assert_eq!(head[1], line("is forwarded to http://localhost:5173 (press ? for the keys)"));
        for (key, expected) in [
            (Key::Repeat, Output::Repeat),
            (Key::Open, Output::Open(URL.to_owned())),
            (Key::Copy, Output::Copy(URL.to_owned())),
            (Key::Quit, Output::Stop),
        ] {
            assert_eq!(state.take(Input::Key(key), &moment(0), WINDOW), [expected]);
        }
        assert_eq!(state.take(Input::Key(Key::Help), &moment(0), WINDOW).len(), KEYS.len());
        assert_eq!(state.take(Input::Key(Key::Code), &moment(0), WINDOW).len(), 17);
        let narrow = Window { width: 20, ..WINDOW };
        let why = state.take(Input::Key(Key::Code), &moment(0), narrow);
        assert_eq!(why, [line("the window is too narrow for the QR code: it needs 33 columns")]);
        state.take(Input::Stopping, &moment(0), WINDOW);
        assert_eq!(state.take(Input::Key(Key::Quit), &moment(0), WINDOW), [Output::StopNow]);
    }
}
