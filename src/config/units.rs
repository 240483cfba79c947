//! Settings as text: times, sizes, networks, origins. A reader that fails returns the message for the command line.

use std::net::IpAddr;
use std::time::Duration;

use http::StatusCode;
use ipnet::IpNet;

use crate::proto::engine_io::Revision;

/// Reads a time: `300ms`, `5s`, `2m`, `6h`. Without a unit it is in seconds, as in the original's variables.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| format!("`{text}` is not a time: write 5s, 300ms, 2m or 6h"))?;
    let milliseconds = match unit.trim() {
        "ms" => Some(number),
        "" | "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => return Err(format!("`{unit}` is not a unit of time: write ms, s, m or h")),
    };
    milliseconds.and_then(time).ok_or_else(|| format!("`{text}` is more than a hundred years"))
}

/// Reads a time in milliseconds, without a unit: `1000`.
pub(super) fn milliseconds(text: &str) -> Result<Duration, String> {
    let number =
        text.parse().map_err(|_| format!("`{text}` is not a number of milliseconds: write 1000 for a second"))?;
    time(number).ok_or_else(|| format!("`{text}` is more than a hundred years"))
}

/// Returns a time, or `None` beyond a hundred years: a longer one is a typing error, and sums of times must not overflow.
fn time(milliseconds: u64) -> Option<Duration> {
    const LONGEST: u64 = 100 * 365 * 24 * 3_600_000;
    (milliseconds <= LONGEST).then(|| Duration::from_millis(milliseconds))
}

/// Writes a time as [`duration`] reads it, in the largest of hours, seconds and milliseconds that is exact.
pub(super) fn duration_text(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    if !milliseconds.is_multiple_of(1_000) {
        return format!("{milliseconds}ms");
    }
    let seconds = duration.as_secs();
    if seconds > 0 && seconds.is_multiple_of(3600) { format!("{}h", seconds / 3600) } else { format!("{seconds}s") }
}

/// Reads a number of header lines. More than the most make no table: it panics beyond 24,576.
pub(super) fn headers(text: &str) -> Result<usize, String> {
    const MOST: usize = 10_000;
    let number = text.parse().ok().filter(|number| (1..=MOST).contains(number));
    number.ok_or_else(|| format!("`{text}` is not a number of headers from 1 to {MOST}"))
}

/// Reads a size of at most 1 GiB, for what is in memory as one piece: `1000`, `64KiB`, `10MiB`. More is a typing error.
pub(super) fn size(text: &str) -> Result<usize, String> {
    const LARGEST: usize = 1 << 30;
    memory(text).and_then(|size| if size <= LARGEST { Ok(size) } else { Err(format!("`{text}` is more than 1GiB")) })
}

/// Reads a size: `64KiB`, `10MiB`, `4GiB`. Without a unit it is in bytes.
pub(super) fn memory(text: &str) -> Result<usize, String> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: usize = number.parse().map_err(|_| format!("`{text}` is not a size: write 1000, 64KiB or 10MiB"))?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        _ => return Err(format!("`{unit}` is not a unit of size: write KiB, MiB or GiB")),
    };
    number.checked_mul(factor).ok_or_else(|| format!("`{text}` is more than a machine can have"))
}

/// Writes a size as [`size`] reads it, in the largest unit that is exact.
pub(super) fn size_text(bytes: usize) -> String {
    for (unit, factor) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes > 0 && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    bytes.to_string()
}

/// Reads an origin as browsers write it, without a path: `https://example.com`. `*` is any origin.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let text = text.trim();
    let has_host = text.split_once("://").is_some_and(|(scheme, host)| {
        !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '?', '#', ' ', '@'])
    });
    if text == "*" || has_host {
        return Ok(text.to_ascii_lowercase());
    }
    Err(format!("`{text}` is not an origin: write https://example.com, or *"))
}

/// Reads a network or a single address: `10.0.0.0/8`, `192.0.2.1`.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    text.parse()
        .or_else(|_| text.parse().map(|address: IpAddr| IpNet::from(address)))
        .map_err(|_| format!("`{text}` is not a network: write 10.0.0.0/8 or 192.0.2.1"))
}

/// Reads a revision of Engine.IO: `3` or `4`.
pub(super) fn revision(text: &str) -> Result<Revision, String> {
    Revision::parse(text.trim()).ok_or_else(|| format!("`{text}` is not a revision of Engine.IO: write 3, 4 or 3,4"))
}

/// Writes revisions as a list that [`revision`] reads, with commas between.
pub(super) fn revisions_text(revisions: impl IntoIterator<Item = Revision>) -> String {
    let numbers = revisions.into_iter().map(|revision| match revision {
        Revision::V3 => "3",
        Revision::V4 => "4",
    });
    numbers.collect::<Vec<_>>().join(",")
}

/// Reads a status that can end a request: `200`, `504`. One that is informational, such as 100, cannot.
pub(super) fn timeout_status(text: &str) -> Result<StatusCode, String> {
    let status = text.parse().ok().filter(|status: &StatusCode| !status.is_informational());
    status.ok_or_else(|| format!("`{text}` is not the status of a response: write 200 or 504"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_with_their_units_and_wrong_ones_are_refused() {
        assert_eq!(duration("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(duration("6h"), duration("21600"));
        assert_eq!(size("10MiB"), Ok(10_485_760));
        for wrong in ["", "s", "5 weeks", "-1", "99999999999999999999", "999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(milliseconds("1000"), Ok(Duration::from_secs(1)));
        for wrong in ["", "1s", "-1", "99999999999999999999", "9999999999999999"] {
            assert!(milliseconds(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "x", "1GB", "2000MiB", "2GiB", "99999999999999999999"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(network("192.0.2.1"), network("192.0.2.1/32"));
        assert_eq!(memory("2GiB"), Ok(2 << 30));
        assert_eq!(origin(" https://Example.com"), Ok("https://example.com".to_owned()));
        for wrong in ["example.com", "https://example.com/", "://x", ""] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
        assert!(network("localhost").is_err());
        assert!(timeout_status("100").is_err());
        assert_eq!(revision("3"), Ok(Revision::V3));
        assert!(revision("5").is_err());
    }
    #[test]
    fn times_and_sizes_are_written_in_the_form_in_which_they_are_read() {
        for (text, time) in [
            ("0s", Duration::ZERO),
            ("300ms", Duration::from_millis(300)),
            ("1500ms", Duration::from_millis(1500)),
            ("60s", Duration::from_secs(60)),
            ("6h", Duration::from_secs(6 * 3600)),
        ] {
            assert_eq!((duration_text(time).as_str(), duration(text)), (text, Ok(time)));
        }
        for (text, bytes) in [("0", 0), ("1000", 1000), ("64KiB", 64 << 10), ("10MiB", 10 << 20), ("1GiB", 1 << 30)] {
            assert_eq!((size_text(bytes).as_str(), size(text)), (text, Ok(bytes)));
        }
        assert_eq!(revisions_text(Revision::ALL), "3,4");
    }
}
