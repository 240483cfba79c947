//! Settings as text: times, sizes, counts, networks, origins. A reader that fails returns the message for the command line.

use std::net::IpAddr;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use http::StatusCode;
use ipnet::IpNet;

use crate::proto::engine_io::Revision;

/// Reads a time that is not zero.
pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time.is_zero() { Err(format!("`{text}` is no time: write at least 1ms")) } else { Ok(time) }
}

/// Returns a reader of times that are not below `least`.
pub(super) fn time_from(least: Duration) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    move |text| {
        let time = duration(text)?;
        if time < least { Err(format!("`{text}` is less than {}", duration_text(least))) } else { Ok(time) }
    }
}

/// Returns a reader of counts that are not below `least`.
pub(super) fn at_least(least: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        let count: usize = text.trim().parse().map_err(|_| format!("`{text}` is not a number"))?;
        if count < least { Err(format!("`{text}` is less than {least}")) } else { Ok(count) }
    }
}

/// Returns a reader of numbers of header lines that are not below `least`. More than the most make no table: it panics beyond
/// 24,576.
pub(super) fn headers_from(least: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    const MOST: usize = 10_000;
    move |text| {
        let number = text.parse().ok().filter(|number| (least..=MOST).contains(number));
        number.ok_or_else(|| format!("`{text}` is not a number of headers from {least} to {MOST}"))
    }
}

/// Returns a reader of sizes, as [`size`] reads them, that are not below `least` bytes.
pub(super) fn size_from(least: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| size(text).and_then(|bytes| not_below(least, bytes, text))
}

/// Returns a reader of sizes, as [`memory`] reads them, that are not below `least` bytes.
pub(super) fn memory_from(least: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| memory(text).and_then(|bytes| not_below(least, bytes, text))
}

fn not_below(least: usize, bytes: usize, text: &str) -> Result<usize, String> {
    if bytes < least { Err(format!("`{text}` is less than {}", size_text(least))) } else { Ok(bytes) }
}

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
        "d" => number.checked_mul(24 * 3_600_000),
        _ => return Err(format!("`{unit}` is not a unit of time: write ms, s, m, h or d")),
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

/// Reads a size of at most 1 GiB, for what is in memory as one piece: `1000`, `64KiB`, `10MiB`. More is a typing error.
pub(super) fn size(text: &str) -> Result<usize, String> {
    const LARGEST: usize = 1 << 30;
    memory(text).and_then(|size| if size <= LARGEST { Ok(size) } else { Err(format!("`{text}` is more than 1GiB")) })
}

/// Reads a size: `64KiB`, `10MiB`, `4GiB`. Without a unit it is in bytes. `64MB` and `64M` are `64MiB`: nobody means less.
pub(super) fn memory(text: &str) -> Result<usize, String> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: usize = number.parse().map_err(|_| format!("`{text}` is not a size: write 1000, 64KiB or 10MiB"))?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
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
pub fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let network = text.parse().or_else(|_| text.parse().map(|address: IpAddr| IpNet::from(address)));
    network.map(canonical).map_err(|_| format!("`{text}` is not a network: write 10.0.0.0/8 or 192.0.2.1"))
}

/// Returns a network of IPv4 that is written as IPv6 in its own form, in which its addresses are compared.
fn canonical(network: IpNet) -> IpNet {
    let as_ipv4 = match network {
        IpNet::V6(network) => network.addr().to_ipv4_mapped().zip(network.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    as_ipv4.and_then(|(address, length)| IpNet::new(IpAddr::V4(address), length).ok()).unwrap_or(network)
}

/// Reads the URL of a server, with its path if it has one, and returns it without a slash at its end:
/// `https://tunnel.example`, `https://example.com/tunnels`.
pub(super) fn public_url(text: &str) -> Result<String, String> {
    let url: Option<http::Uri> = text.trim().parse().ok();
    let is_one = url.as_ref().is_some_and(|url| {
        let has_scheme = url.scheme_str().is_some_and(|scheme| scheme == "http" || scheme == "https");
        let has_host =
            url.authority().is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
        has_scheme && has_host && url.query().is_none() && !text.contains(['#', '\'', '"', '\\'])
    });
    if is_one {
        return Ok(text.trim().trim_end_matches('/').to_owned());
    }
    Err(format!(
        "`{text}` is not the URL of a server: write https://tunnel.example, or with a path https://example.com/tunnels"
    ))
}

/// Returns the reader of a setting that is on or off.
pub(super) fn on_off() -> impl TypedValueParser<Value = bool> {
    PossibleValuesParser::new(["on", "off"]).map(|text| text == "on")
}

/// Reads a filter of the log: a level, or targets with levels. A word that is neither would select nothing, in silence.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    /// The crates that log, as targets without a level.
    const TARGETS: [&str; 4] = ["socket2me", "hyper", "hyper_util", "tokio"];
    for word in text.split(',').map(str::trim) {
        let is_level = LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level));
        let is_target = TARGETS
            .iter()
            .any(|target| word.strip_prefix(target).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")));
        // A filter by the fields of spans may have a comma in it, and is left to the library.
        if !is_level && !is_target && !word.contains('=') && !text.contains('[') {
            return Err(format!(
                "`{word}` is not a level: write error, warn, info, debug, trace or off, or a filter such as socket2me=debug,hyper=info"
            ));
        }
    }
    tracing_subscriber::EnvFilter::try_new(text)
        .map_err(|error| format!("`{text}` is not a filter of the log: {error}"))?;
    Ok(text.to_owned())
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
        for wrong in ["", "x", "1TB", "2000MiB", "2GB", "2GiB", "99999999999999999999"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(network("192.0.2.1"), network("192.0.2.1/32"));
        assert_eq!(memory("2GiB"), Ok(2 << 30));
        for (text, bytes) in
            [("64M", 64 << 20), ("64MB", 64 << 20), ("64 mb", 64 << 20), ("1k", 1 << 10), ("1KB", 1 << 10)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        assert_eq!(network("::ffff:10.0.0.0/104"), network("10.0.0.0/8"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
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
    fn a_url_has_a_scheme_and_a_host_and_loses_its_last_slash() {
        for (text, expected) in [
            ("https://tunnel.example", "https://tunnel.example"),
            (" http://localhost:3000/ ", "http://localhost:3000"),
            ("https://example.com/tunnels//", "https://example.com/tunnels"),
            ("https://[2001:db8::1]:443/", "https://[2001:db8::1]:443"),
        ] {
            assert_eq!(public_url(text).as_deref(), Ok(expected));
        }
        for wrong in [
            "",
            "tunnel.example",
            "tunnel.example:443",
            "//tunnel.example",
            "ftp://tunnel.example",
            "https://",
            "https:///a",
            "https:/tunnel.example",
            "https://a@tunnel.example",
            "https://tunnel.example/?a",
            "https://tunnel.example/#a",
            "https://tunnel.example/a b",
            "https://tunnel.example/'",
        ] {
            assert!(public_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_filter_of_the_log_that_would_select_nothing_is_refused() {
        for right in [
            "info",
            "WARN",
            "off",
            "socket2me",
            "socket2me::relay",
            "socket2me=debug,hyper=info",
            "warn,socket2me::net=trace",
        ] {
            assert_eq!(log_filter(right).as_deref(), Ok(right));
        }
        for wrong in
            ["", "inof", "information", "info,", "socket2me=inof", "verbose", "socket3me", "socket2me=debug,hyper=loud"]
        {
            assert!(log_filter(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn zero_and_less_than_a_server_needs_are_refused() {
        assert!(some_time("0").is_err() && some_time("0h").is_err() && some_time("1ms").is_ok());
        assert!(at_least(1)("0").is_err() && at_least(1)("-1").is_err() && at_least(1)("1") == Ok(1));
        assert!(
            headers_from(16)("15").is_err() && headers_from(1)("10001").is_err() && headers_from(16)("16") == Ok(16)
        );
        assert_eq!(size_from(8 << 10)("4KiB"), Err("`4KiB` is less than 8KiB".to_owned()));
        assert_eq!(memory_from(1 << 20)("4GiB"), Ok(4 << 30));
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
