//! The status line.

use std::time::Duration;

use super::keys::KEYS;
use super::line::{Line, Style};
use crate::client::forward::watch::Counts;

/// What has become of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Connection {
    /// There was none yet.
    Opening,
    /// The tunnel is open.
    Open,
    /// It was lost, or could not be opened; this is why. The next attempt is then, measured from the start of the program.
    Lost { why: String, next: Duration },
    /// The program is about to end, as soon as nothing is open.
    Stopping,
}

/// Returns the status line. `now` is the time since the start of the program.
pub(super) fn status(connection: &Connection, counts: Counts, has_keys: bool, now: Duration) -> Line {
    let mut line = match connection {
        Connection::Opening => Line::of(Style::Yellow, "○ connecting"),
        Connection::Open => Line::of(Style::Green, "● connected"),
        Connection::Lost { next, .. } => Line::of(Style::Yellow, &again(next.saturating_sub(now))),
        Connection::Stopping => Line::of(Style::Yellow, "○ stopping"),
    };
    let Counts { requests, open } = counts;
    let word = if requests == 1 { "request" } else { "requests" };
    line.push(Style::Plain, &format!("  {requests} {word}, {open} open"));
    match connection {
        Connection::Lost { why, .. } => line.push(Style::Dim, &format!("  {why}")),
        Connection::Stopping if has_keys => line.push(Style::Dim, "  q stops at once"),
        Connection::Opening | Connection::Open if has_keys => line.push(Style::Dim, &format!("  {}", hint())),
        Connection::Opening | Connection::Open | Connection::Stopping => (),
    }
    line
}

fn again(left: Duration) -> String {
    match seconds(left) {
        0 => "○ connecting again".to_owned(),
        seconds => format!("○ connecting again in {seconds} s"),
    }
}

/// Returns a time in seconds that have begun.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Returns how long the status line stays what it is; `None` is until something happens.
pub(super) fn next_change(connection: &Connection, now: Duration) -> Option<Duration> {
    match connection {
        Connection::Lost { next, .. } => {
            let left = next.saturating_sub(now);
            // The count has one less at the next whole second.
            let rest = left.checked_sub(Duration::from_secs(seconds(left).checked_sub(1)?))?;
            Some(rest)
        }
        Connection::Opening | Connection::Open | Connection::Stopping => None,
    }
}

fn hint() -> String {
    KEYS.map(|(name, _, word, _)| format!("{name} {word}")).join("  ")
}

#[cfg(test)]
mod tests {
    use super::super::line::Window;
    use super::*;

    const WHY: &str = "the connection was reset";

    fn lost(seconds: u64) -> Connection {
        Connection::Lost { why: WHY.to_owned(), next: Duration::from_secs(seconds) }
    }

    #[test]
    fn the_status_line_says_what_there_is() {
        let keys = "r repeat  o open  c copy  s QR code  q quit  ? help";
        for (connection, requests, open, width, expected) in [
            (Connection::Opening, 0, 0, 40, "○ connecting  0 requests, 0 open  r re…".to_owned()),
            (Connection::Open, 1, 1, 99, format!("● connected  1 request, 1 open  {keys}")),
            (Connection::Open, 12, 1, 20, "● connected  12 re…".to_owned()),
            (Connection::Open, 12, 1, 2, "…".to_owned()),
            (lost(13), 5, 0, 99, format!("○ connecting again in 3 s  5 requests, 0 open  {WHY}")),
            (lost(10), 5, 0, 99, format!("○ connecting again  5 requests, 0 open  {WHY}")),
            (Connection::Stopping, 5, 2, 99, "○ stopping  5 requests, 2 open  q stops at once".to_owned()),
        ] {
            let line = status(&connection, Counts { requests, open }, true, Duration::from_secs(10));
            assert_eq!(line.cut(Window { width, has_colors: false }), expected);
        }
        let line = status(&Connection::Open, Counts::default(), false, Duration::ZERO);
        assert_eq!(line.cut(Window { width: 99, has_colors: false }), "● connected  0 requests, 0 open");
    }

    #[test]
    fn the_seconds_to_the_next_attempt_count_down() {
        let mut now = Duration::from_millis(300);
        let connection = Connection::Lost { why: String::new(), next: Duration::from_millis(3_000) };
        let mut shown = Vec::new();
        loop {
            shown.push(status(&connection, Counts::default(), true, now).cut(Window { width: 30, has_colors: false }));
            let Some(after) = next_change(&connection, now) else { break };
            assert!(after > Duration::ZERO && after <= Duration::from_secs(1));
            now += after;
        }
        let words: Vec<_> = shown.iter().map(|line| line.split("  ").next().unwrap()).collect();
        assert_eq!(
            words,
            [
                "○ connecting again in 3 s",
                "○ connecting again in 2 s",
                "○ connecting again in 1 s",
                "○ connecting again"
            ]
        );
        assert_eq!(now, Duration::from_millis(3_000));
        assert_eq!(next_change(&Connection::Open, now), None);
    }
}
