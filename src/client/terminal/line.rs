//! Text in columns: cut to a width, coloured, and without what a visitor could do to a terminal.

use std::time::Duration;

use unicode_width::UnicodeWidthChar as _;

use crate::client::api::printable;
use crate::client::output::size;
use crate::client::report::Served;

/// How a part of a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Dim,
    Bold,
    Green,
    Cyan,
    Yellow,
    Red,
}

impl Style {
    /// Returns the parameters of ECMA-48's SGR; none for plain text.
    const fn parameters(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Dim => "2",
            Self::Bold => "1",
            Self::Green => "32",
            Self::Cyan => "36",
            Self::Yellow => "33",
            Self::Red => "31",
        }
    }

    /// Returns the colour of a status: of its class, and red for none.
    const fn of_status(status: Option<u16>) -> Self {
        match status {
            Some(100..200) => Self::Dim,
            Some(200..300) => Self::Green,
            Some(300..400) => Self::Cyan,
            Some(400..500) => Self::Yellow,
            Some(_) | None => Self::Red,
        }
    }
}

/// What is known of the window that a line is drawn in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// The columns.
    pub(super) width: usize,
    /// Whether colours are wanted.
    pub(super) has_colors: bool,
}

impl Window {
    /// Returns the columns that a line may take. A character in the last column makes some terminals begin a new line.
    pub(super) const fn room(self) -> usize {
        self.width.saturating_sub(1)
    }
}

/// A line of parts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Line(Vec<(Style, String)>);

impl Line {
    /// Makes a line of one part.
    pub(super) fn of(style: Style, text: &str) -> Self {
        let mut line = Self::default();
        line.push(style, text);
        line
    }

    /// Adds a part. Characters that a terminal takes for commands are replaced.
    pub(super) fn push(&mut self, style: Style, text: &str) {
        self.0.push((style, printable(text)));
    }

    /// Returns the columns that the line takes.
    pub(super) fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| width(text)).sum()
    }

    /// Returns the text, cut to the window. An ellipsis stands for what is missing.
    pub(super) fn cut(&self, window: Window) -> String {
        if self.width() <= window.room() {
            return self.whole(window);
        }
        let mut out = String::new();
        let Some(mut room) = window.room().checked_sub(1) else { return out };
        for (style, text) in &self.0 {
            let begin = beginning(text, room);
            if begin.len() < text.len() {
                paint(&mut out, *style, &format!("{begin}…"), window);
                break;
            }
            paint(&mut out, *style, text, window);
            room -= width(text);
        }
        out
    }

    /// Returns the text, however long: what a person has to read whole.
    pub(super) fn whole(&self, window: Window) -> String {
        let mut out = String::new();
        for (style, text) in &self.0 {
            paint(&mut out, *style, text, window);
        }
        out
    }
}

fn paint(out: &mut String, style: Style, text: &str, window: Window) {
    let parameters = style.parameters();
    if !window.has_colors || parameters.is_empty() || text.is_empty() {
        out.push_str(text);
    } else {
        out.extend(["\x1b[", parameters, "m", text, "\x1b[0m"]);
    }
}

/// Returns the columns that a character takes. The selector of emoji makes the character before it wide in some terminals.
fn columns(char: char) -> usize {
    if char == '\u{fe0f}' { 1 } else { char.width().unwrap_or_default() }
}

fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// Returns the beginning of a text that takes at most `room` columns.
fn beginning(text: &str, room: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find(|&(_, char)| {
        taken += columns(char);
        taken > room
    });
    end.map_or(text, |(at, _)| &text[..at])
}

/// The fewest columns that the target of a request is cut to, so that the rest of the line has room.
const LEAST_TARGET: usize = 8;

/// Returns the line of an exchange: `12:04:11 POST /hook 200 23 ms 1.2 kB`. A long target is cut so that what stands behind it
/// stays.
pub(super) fn exchange(served: &Served, clock: &str, window: Window) -> Line {
    let Served { method, target, status, took, bytes, error, .. } = served;
    let mut rest = Line::default();
    let words = status.map_or_else(|| "---".to_owned(), |status| status.to_string());
    rest.push(Style::of_status(*status), &words);
    rest.push(Style::Dim, &format!(" {} {}", time(*took), size(*bytes)));
    if let Some(error) = error {
        rest.push(Style::Red, &format!(" ({error})"));
    }
    let mut line = Line::of(Style::Dim, &format!("{clock} "));
    line.push(Style::Bold, method);
    let room = window.room().saturating_sub(line.width() + rest.width() + 2);
    let cut = Line::of(Style::Plain, target).cut(Window { width: room + 1, has_colors: false });
    let target = if room < LEAST_TARGET { target } else { &cut };
    line.push(Style::Plain, &format!(" {target} "));
    line.0.append(&mut rest.0);
    line
}

/// Returns a time in words: `23 ms`, `4.2 s`.
fn time(took: Duration) -> String {
    let ms = took.as_millis();
    if ms < 10_000 { format!("{ms} ms") } else { format!("{}.{} s", ms / 1000, ms / 100 % 10) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(width: usize) -> Window {
        Window { width, has_colors: false }
    }

    fn served(method: &str, target: &str, status: Option<u16>) -> Served {
        Served {
            id: "1-2".into(),
            method: method.into(),
            target: target.to_owned(),
            visitor: "192.0.2.1".into(),
            status,
            took: Duration::from_millis(23),
            bytes: 1234,
            error: None,
        }
    }

    #[test]
    fn an_exchange_is_a_line_that_fits() {
        for (target, width, expected) in [
            ("/hook", 80, "12:04:11 POST /hook 200 23 ms 1.2 kB"),
            ("/hook", 37, "12:04:11 POST /hook 200 23 ms 1.2 kB"),
            ("/a/long/path?with=a&query=too", 50, "12:04:11 POST /a/long/path?with… 200 23 ms 1.2 kB"),
            ("/a/long/path?with=a&query=too", 30, "12:04:11 POST /a/long/path?w…"),
            (
                "/\u{4f60}\u{597d}\u{4f60}\u{597d}\u{4f60}\u{597d}",
                40,
                "12:04:11 POST /\u{4f60}\u{597d}\u{4f60}… 200 23 ms 1.2 kB",
            ),
            ("/a", 5, "12:…"),
            ("/a", 1, ""),
            ("/a", 0, ""),
        ] {
            let line = exchange(&served("POST", target, Some(200)), "12:04:11", window(width)).cut(window(width));
            assert_eq!(line, expected, "{target} in {width}");
        }
    }

    #[test]
    fn no_line_is_wider_than_its_window() {
        for text in [
            "",
            "abc",
            "a\u{301}bc",
            "\u{4f60}\u{597d}",
            "\u{2764}\u{fe0f}\u{2764}\u{fe0f}",
            "\u{1f469}\u{200d}\u{1f680}xyz",
            "\t\x1b[2J",
        ] {
            for columns in 0..12 {
                let mut line = Line::of(Style::Bold, text);
                line.push(Style::Red, text);
                let shown = line.cut(window(columns));
                assert!(width(&shown) <= columns.saturating_sub(1), "{shown:?} in {columns}");
                assert!(line.width() >= columns || shown == line.whole(window(columns)), "{shown:?} in {columns}");
            }
        }
    }

    #[test]
    fn a_status_has_the_colour_of_its_class() {
        for (status, parameters) in
            [(Some(101), "2"), (Some(204), "32"), (Some(304), "36"), (Some(404), "33"), (Some(502), "31"), (None, "31")]
        {
            let window = Window { width: 80, has_colors: true };
            let line = exchange(&served("GET", "/", status), "12:04:11", window).cut(window);
            let words = status.map_or("---".to_owned(), |status| status.to_string());
            assert!(line.contains(&format!("\x1b[{parameters}m{words}\x1b[0m")), "{line:?}");
        }
    }

    #[test]
    fn what_a_visitor_chose_is_no_command_for_the_terminal() {
        let line = exchange(
            &served("GET\x1b[2J", "/a\r\n\x1b]52;c;YQ==\x07\u{9b}2J\u{202e}b\u{2066}\u{200f}", Some(200)),
            "12:04:11",
            window(200),
        );
        let shown = line.cut(window(200));
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
        assert!(!shown.contains(['\u{202e}', '\u{2066}', '\u{200f}']), "{shown:?}");
        assert!(shown.contains("GET\u{fffd}[2J /a\u{fffd}\u{fffd}\u{fffd}]52;c;YQ=="), "{shown:?}");
    }

    #[test]
    fn times_have_units() {
        for (ms, expected) in [(0, "0 ms"), (9_999, "9999 ms"), (10_000, "10.0 s"), (61_250, "61.2 s")] {
            assert_eq!(time(Duration::from_millis(ms)), expected);
        }
    }
}
