//! A tunnel as bytes of the file, with a checksum of its own: what is wrong in it is found even where the file's own checksums
//! are not looked at.
//!
//! A version (1 byte), when it was made in seconds and when it expires in milliseconds since 1970 (8 bytes each), the length of
//! the address that made it (1 byte: 0, 4 or 16) and the address, whether it is keyed (1 byte: 0 or 1); if it is, the hash of
//! its key (32 bytes), `ttl` and `timeout` in milliseconds (8 bytes each), whether an end has joined (1 byte), `hold` in
//! milliseconds (8 bytes), `ends` and `repeat` (1 byte each), the length of its rules (4 bytes) and their text. Last 8 bytes of
//! checksum. Numbers begin with their lowest byte.
//!
//! A tunnel without rules is written as version 2, which has none, so that a server before rules reads it. Version 1, which is read
//! too, has no `hold`, `ends` and `repeat`.

use std::net::IpAddr;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::proto::key::KeyHash;
use crate::proto::token::Token;
use crate::store::record::{Keyed, Record};
use crate::store::settings::{Ends, Repeat, RulesText, Settings};

/// The latest version of this form. A file with a later one is refused.
const VERSION: u8 = 3;

/// The version of a tunnel without rules.
const WITHOUT_RULES: u8 = 2;

/// The bytes of a checksum: the first of the SHA-256 of the token and the content.
const CHECKSUM: usize = 8;

/// Writes a tunnel that expires at a time in milliseconds since 1970.
pub(super) fn encode(token: &Token, record: &Record, expires: u64) -> Vec<u8> {
    let rules = record.keyed.as_ref().and_then(|keyed| keyed.rules.as_ref());
    let mut bytes = vec![if rules.is_some() { VERSION } else { WITHOUT_RULES }];
    bytes.extend(record.made_at.to_le_bytes());
    bytes.extend(expires.to_le_bytes());
    match record.made_by {
        None => bytes.push(0),
        Some(IpAddr::V4(address)) => {
            bytes.push(4);
            bytes.extend(address.octets());
        }
        Some(IpAddr::V6(address)) => {
            bytes.push(16);
            bytes.extend(address.octets());
        }
    }
    bytes.push(u8::from(record.keyed.is_some()));
    if let Some(keyed) = &record.keyed {
        bytes.extend(keyed.key.as_bytes());
        let Settings { ttl, timeout, hold, ends, repeat } = keyed.settings;
        bytes.extend(milliseconds(ttl).to_le_bytes());
        bytes.extend(milliseconds(timeout).to_le_bytes());
        bytes.push(u8::from(keyed.was_joined));
        bytes.extend(milliseconds(hold).to_le_bytes());
        bytes.extend([ends as u8, repeat as u8]);
        if let Some(rules) = rules {
            let length = u32::try_from(rules.as_str().len()).expect("rules come in a request of kilobytes");
            bytes.extend(length.to_le_bytes());
            bytes.extend(rules.as_str().as_bytes());
        }
    }
    bytes.extend(checksum(token, &bytes));
    bytes
}

/// Reads a tunnel, and when it expires. `None` if these are not the bytes that were written for this token.
pub(super) fn decode(token: &Token, bytes: &[u8]) -> Option<(Record, u64)> {
    let (content, sum) = bytes.split_last_chunk::<CHECKSUM>()?;
    if checksum(token, content) != *sum {
        return None;
    }
    let rest = &mut &content[..];
    let [version @ 1..=VERSION] = take(rest)? else { return None };
    let made_at = u64::from_le_bytes(take(rest)?);
    let expires = u64::from_le_bytes(take(rest)?);
    let made_by = match take(rest)? {
        [0] => None,
        [4] => Some(IpAddr::from(take::<4>(rest)?)),
        [16] => Some(IpAddr::from(take::<16>(rest)?)),
        _ => return None,
    };
    let keyed = match take(rest)? {
        [0] => None,
        [1] => Some(Box::new(decode_keyed(version, rest)?)),
        _ => return None,
    };
    rest.is_empty().then_some((Record { made_at, made_by, keyed }, expires))
}

fn decode_keyed(version: u8, rest: &mut &[u8]) -> Option<Keyed> {
    let key = KeyHash::from_bytes(take(rest)?);
    let (ttl, timeout) = (time(take(rest)?), time(take(rest)?));
    let was_joined = truth(take(rest)?)?;
    let mut settings = Settings { ttl, timeout, ..Settings::default() };
    if version >= WITHOUT_RULES {
        settings.hold = time(take(rest)?);
        let [ends, repeat] = take(rest)?;
        settings.ends = *Ends::ALL.get(usize::from(ends))?;
        settings.repeat = *Repeat::ALL.get(usize::from(repeat))?;
    }
    let rules = if version > WITHOUT_RULES { Some(decode_rules(rest)?) } else { None };
    Some(Keyed { key, settings, rules, was_joined })
}

fn decode_rules(rest: &mut &[u8]) -> Option<RulesText> {
    let length = usize::try_from(u32::from_le_bytes(take(rest)?)).ok()?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(RulesText::from(String::from_utf8(text.to_vec()).ok()?))
}

fn time(milliseconds: [u8; 8]) -> Duration {
    Duration::from_millis(u64::from_le_bytes(milliseconds))
}

/// Returns a time in milliseconds.
pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn checksum(token: &Token, content: &[u8]) -> [u8; CHECKSUM] {
    let token = token.as_str().as_bytes();
    // The length tells where the token ends.
    let length = (token.len() as u64).to_le_bytes();
    let whole: [u8; 32] =
        Sha256::new().chain_update(length).chain_update(token).chain_update(content).finalize().into();
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&whole[..CHECKSUM]);
    sum
}

/// Takes the first bytes.
fn take<const COUNT: usize>(rest: &mut &[u8]) -> Option<[u8; COUNT]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

fn truth([byte]: [u8; 1]) -> Option<bool> {
    match byte {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::key::Key;

    fn any_settings() -> impl Strategy<Value = Settings> {
        let time = || (0..1_u64 << 40).prop_map(Duration::from_millis);
        let (ends, repeat) = (prop::sample::select(&Ends::ALL[..]), prop::sample::select(&Repeat::ALL[..]));
        (time(), time(), time(), ends, repeat).prop_map(|(ttl, timeout, hold, ends, repeat)| Settings {
            ttl,
            timeout,
            hold,
            ends,
            repeat,
        })
    }

    /// Any tunnel.
    pub(in crate::store::file) fn any_record() -> impl Strategy<Value = Record> {
        let rules = prop::option::of(any::<String>().prop_map(RulesText::from));
        let keyed = (any::<[u8; 32]>(), any_settings(), rules, any::<bool>());
        let keyed = keyed.prop_map(|(number, settings, rules, was_joined)| {
            Box::new(Keyed { key: Key::from_random(number).hash(), settings, rules, was_joined })
        });
        (any::<u64>(), any::<Option<IpAddr>>(), prop::option::of(keyed)).prop_map(|(made_at, made_by, keyed)| Record {
            made_at,
            made_by,
            keyed,
        })
    }

    /// What a server before `hold`, `ends` and `repeat` has written.
    #[test]
    fn a_record_of_version_1_has_the_defaults_of_what_it_does_not_say() {
        let token = Token::from_name("mine").unwrap();
        let key = Key::from_random([7; 32]).hash();
        let (ttl, timeout) = (Duration::from_secs(600), Duration::from_secs(9));
        let settings = Settings { ttl, timeout, ..Settings::default() };
        let keyed = Some(Box::new(Keyed { key, settings, rules: None, was_joined: true }));
        let record = Record { made_at: 5, made_by: None, keyed };
        let mut bytes = encode(&token, &record, 7);
        bytes.truncate(bytes.len() - CHECKSUM - 10);
        bytes[0] = 1;
        bytes.extend(checksum(&token, &bytes));
        assert_eq!(decode(&token, &bytes), Some((record, 7)));
    }

    proptest! {
        #[test]
        fn a_record_is_the_same_after_it_was_written_and_read(record in any_record(), expires: u64, number: u128) {
            let token = Token::from_uuid(uuid::Uuid::from_u128(number));
            let bytes = encode(&token, &record, expires);
            prop_assert_eq!(decode(&token, &bytes), Some((record, expires)));
        }

        #[test]
        fn a_record_that_was_damaged_or_is_of_another_token_is_refused(
            record in any_record(),
            at: prop::sample::Index,
            bit in 0..8_u32,
        ) {
            let token = Token::from_uuid(uuid::Uuid::from_u128(1));
            let mut bytes = encode(&token, &record, 7);
            prop_assert_eq!(decode(&Token::from_uuid(uuid::Uuid::from_u128(2)), &bytes), None);
            for end in 0..bytes.len() {
                prop_assert_eq!(decode(&token, &bytes[..end]), None);
            }
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(decode(&token, &bytes), None);
        }
    }
}
