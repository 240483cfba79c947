//! What the scripts return.

use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;

use crate::proto::key::KeyHash;
use crate::store::record::{Found, Keyed, Life, Record};
use crate::store::settings::{Ends, Repeat, RulesText, Settings};

/// How long an original tunnel is taken to live that has no expiry in Redis: it is looked at again then.
const WITHOUT_EXPIRY: Duration = Duration::from_secs(3600);

/// What a script returns that was not too late.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// A tunnel.
    Found(Found),
    /// There is none, in a Redis with this marker.
    Absent(String),
    /// There is one, and the change is none for it.
    Refused,
    /// It was added.
    Made,
    /// There is one of the same key.
    Same,
    /// There is one of another key.
    Taken,
}

impl Reply {
    /// Reads what a script returned. `None` is what no script of ours returns, or a tunnel with fields that we did not write.
    pub(super) fn parse(texts: &[String]) -> Option<Self> {
        let (kind, fields) = texts.split_first()?;
        Some(match (kind.as_str(), fields) {
            ("refused", []) => Self::Refused,
            ("made", []) => Self::Made,
            ("same", []) => Self::Same,
            ("taken", []) => Self::Taken,
            ("absent", [marker]) => Self::Absent(marker.clone()),
            ("original", [left, made, by]) => Self::Found(original(left, made, by)?),
            ("keyed", [left, claimed, made, by, key, ttl, timeout, joined, hold, ends, repeat, rules]) => {
                let settings = settings([ttl, timeout, hold], ends, repeat)?;
                let rules = (!rules.is_empty()).then(|| RulesText::from(rules.clone()));
                let keyed = Keyed { key: from_hex(key)?, settings, rules, was_joined: joined == "1" };
                let life = match left.parse().ok()? {
                    ..=0 => Life::Claimed(milliseconds(claimed)?),
                    left => Life::Alive(Duration::from_millis(i64::cast_unsigned(left))),
                };
                let record = Record { made_at: number(made)?, made_by: by.parse().ok(), keyed: Some(Box::new(keyed)) };
                Self::Found(Found { record, life })
            }
            _ => return None,
        })
    }
}

/// Reads an original tunnel. The original server may have written its fields, and what they say decides nothing.
fn original(left: &str, made: &str, by: &str) -> Option<Found> {
    let left = match left.parse().ok()? {
        ..=-1 => WITHOUT_EXPIRY,
        // It lives, if only for the rest of this millisecond.
        left => Duration::from_millis(i64::cast_unsigned(left).max(1)),
    };
    let record = Record { made_at: number(made).unwrap_or(0), made_by: by.parse().ok(), keyed: None };
    Some(Found { record, life: Life::Alive(left) })
}

/// Reads the settings of a keyed tunnel. A server that knows no `hold`, `ends` and `repeat` has written none of them.
fn settings([ttl, timeout, hold]: [&str; 3], ends: &str, repeat: &str) -> Option<Settings> {
    let default = Settings::default();
    Some(Settings {
        ttl: milliseconds(ttl)?,
        timeout: milliseconds(timeout)?,
        hold: if hold.is_empty() { default.hold } else { milliseconds(hold)? },
        ends: word(ends, &Ends::ALL, Ends::as_str)?,
        repeat: word(repeat, &Repeat::ALL, Repeat::as_str)?,
    })
}

/// Returns the value that a word stands for: the default for an empty one.
fn word<T: Copy + Default>(text: &str, all: &[T], as_str: impl Fn(T) -> &'static str) -> Option<T> {
    if text.is_empty() { Some(T::default()) } else { all.iter().copied().find(|&value| as_str(value) == text) }
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn milliseconds(text: &str) -> Option<Duration> {
    number(text).map(Duration::from_millis)
}

/// Writes the hash of a key as 64 digits.
pub(super) fn hex(key: &KeyHash) -> String {
    key.as_bytes().iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<KeyHash> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(KeyHash::from_bytes(bytes))
}

/// What `INFO` says of a server.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Info {
    /// Major and minor version.
    pub(super) version: Option<(u32, u32)>,
    pub(super) is_cluster: bool,
    pub(super) is_replica: bool,
    /// Redis may throw tunnels away when its memory is full.
    pub(super) evicts: bool,
    /// It has replicas, and takes writes without them too.
    pub(super) writes_alone: bool,
}

impl FromStr for Info {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut info = Self::default();
        let (mut has_limit, mut needs_replicas) = (false, false);
        for (name, value) in text.lines().filter_map(|line| line.trim_end().split_once(':')) {
            match name {
                "redis_version" => {
                    let mut numbers = value.split('.').map(|number| number.parse().unwrap_or(0));
                    info.version = Some((numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)));
                }
                "cluster_enabled" => info.is_cluster = value == "1",
                "role" => info.is_replica = value == "slave",
                "connected_slaves" => info.writes_alone = value != "0",
                // There is such a line only where `min-replicas-to-write` asks for some.
                "min_slaves_good_slaves" => needs_replicas = true,
                "maxmemory" => has_limit = value != "0",
                "maxmemory_policy" => info.evicts = value != "noeviction",
                _ => (),
            }
        }
        info.evicts &= has_limit;
        info.writes_alone &= !needs_replicas;
        Ok(info)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::key::Key;

    fn parse(texts: &[&str]) -> Option<Reply> {
        Reply::parse(&texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_hash_is_the_same_after_its_digits_were_read() {
        let hash = Key::from_random([7; 32]).hash();
        assert_eq!(from_hex(&hex(&hash)), Some(hash));
        for wrong in ["", "0", &"0".repeat(63), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_original_tunnel_lives_whatever_its_fields_say() {
        let original = |made_at, made_by, milliseconds| {
            let record = Record { made_at, made_by, keyed: None };
            Some(Reply::Found(Found { record, life: Life::Alive(Duration::from_millis(milliseconds)) }))
        };
        let address = Some("::ffff:1.2.3.4".parse().unwrap());
        assert_eq!(
            parse(&["original", "5000", "1700000000", "::ffff:1.2.3.4"]),
            original(1_700_000_000, address, 5000)
        );
        assert_eq!(parse(&["original", "0", "", "unknown"]), original(0, None, 1));
        assert_eq!(parse(&["original", "-1", "", ""]), original(0, None, 3_600_000));
    }

    #[test]
    fn a_keyed_tunnel_lives_or_its_name_is_claimed() {
        let key = hex(&Key::from_random([7; 32]).hash());
        let life = |left| match parse(&[
            "keyed", left, "9000", "1", "", &key, "600000", "1000", "1", "0", "spread", "never", "",
        ]) {
            Some(Reply::Found(Found { life, .. })) => life,
            other => panic!("{other:?}"),
        };
        assert_eq!(life("1"), Life::Alive(Duration::from_millis(1)));
        assert_eq!(
            (life("0"), life("-70")),
            (Life::Claimed(Duration::from_secs(9)), Life::Claimed(Duration::from_secs(9)))
        );
        for wrong in [
            &["keyed"][..],
            &["keyed", "1", "1", "1", "", "", "1", "1", "1", "1", "newest", "never", ""],
            &["absent"],
            &["OK"],
            &[],
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn info_tells_what_a_server_is() {
        let info = |text: &str| text.parse::<Info>().unwrap();
        let master = "# Server\r\nredis_version:7.0.15\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\nrole:master\r\ncluster_enabled:0\r\n";
        assert_eq!(info(master), Info { version: Some((7, 0)), ..Info::default() });
        let other = "redis_version:6.2.1\nmaxmemory:100\nmaxmemory_policy:allkeys-lru\nrole:slave\ncluster_enabled:1\n";
        let expected =
            Info { version: Some((6, 2)), is_cluster: true, is_replica: true, evicts: true, writes_alone: false };
        assert_eq!(info(other), expected);
        assert!(info("connected_slaves:1\r\n").writes_alone);
        assert!(!info("connected_slaves:2\r\nmin_slaves_good_slaves:2\r\n").writes_alone);
        assert!(!info("connected_slaves:0\r\n").writes_alone);
        assert_eq!(info(""), Info::default());
    }
}
