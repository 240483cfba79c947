//! Names and passwords of visitors (RFC 7617).
//!
//! - this file: the rule
//! - `password`: a password, and what is kept of it
//! - `passwords`: hashes and checks passwords, a few at a time

mod password;
mod passwords;

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use self::password::{Password, PasswordHash};
pub(in crate::relay) use self::passwords::{Passwords, Unhashed};

/// The most users of a tunnel.
const MAX_USERS: usize = 16;

/// The most bytes of a name, and of a realm.
const MAX_NAME: usize = 64;

/// The realm where the owner names none.
const REALM: &str = "Socket2Me tunnel";

/// The rule: visitors show the name and the password of one of these.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::relay) struct Basic {
    realm: Realm,
    users: BTreeMap<String, PasswordHash>,
}

/// The rule as its owner gives it, with passwords.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::relay) struct BasicWish {
    #[serde(default)]
    realm: Realm,
    #[serde(deserialize_with = "users")]
    users: BTreeMap<String, Password>,
}

/// The text that a browser shows where it asks for a password. It is part of a header, in quotes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Realm(String);

/// A name and a password as a visitor shows them.
struct Shown {
    name: String,
    password: Password,
}

#[derive(Serialize)]
struct Written<'b, U> {
    realm: &'b Realm,
    users: BTreeMap<&'b str, U>,
}

#[derive(Serialize)]
struct IsSet {
    set: bool,
}

impl Basic {
    /// Returns the rule for its owner to see: in place of each password it says that it is set.
    pub(super) fn shown(&self) -> impl Serialize + '_ {
        let users = self.users.keys().map(|name| (name.as_str(), IsSet { set: true })).collect();
        Written { realm: &self.realm, users }
    }

    /// Returns the rule for the store.
    pub(super) fn kept(&self) -> impl Serialize + '_ {
        Written { realm: &self.realm, users: self.users.iter().map(|(name, hash)| (name.as_str(), hash)).collect() }
    }

    /// Returns the value of `WWW-Authenticate`.
    pub(super) fn challenge(&self) -> HeaderValue {
        let text = format!(r#"Basic realm="{}", charset="UTF-8""#, self.realm.0);
        HeaderValue::try_from(text).expect("a realm is printable ASCII without quotes")
    }
}

impl Shown {
    /// Reads the value of `Authorization`. `None` if that is of another scheme or malformed.
    fn read(value: &HeaderValue) -> Option<Self> {
        let (scheme, credentials) = value.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = String::from_utf8(STANDARD.decode(credentials.trim_matches(' ')).ok()?).ok()?;
        let (name, password) = text.split_once(':')?;
        Some(Self { name: name.to_owned(), password: Password::shown(password) })
    }
}

impl Default for Realm {
    fn default() -> Self {
        Self(REALM.to_owned())
    }
}

impl<'de> Deserialize<'de> for Realm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_one = (1..=MAX_NAME).contains(&text.len())
            && text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
        if is_one {
            return Ok(Self(text));
        }
        Err(D::Error::custom(format!(
            "basic.realm must be 1 to {MAX_NAME} printable ASCII characters, without quotes and backslashes"
        )))
    }
}

fn users<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Password>, D::Error> {
    let users = BTreeMap::<String, Password>::deserialize(deserializer)?;
    if !(1..=MAX_USERS).contains(&users.len()) {
        return Err(D::Error::custom(format!("basic.users has {} users: give 1 to {MAX_USERS}", users.len())));
    }
    let is_name = |name: &String| {
        (1..=MAX_NAME).contains(&name.len()) && !name.contains(':') && !name.chars().any(char::is_control)
    };
    match users.keys().find(|name| !is_name(name)) {
        None => Ok(users),
        Some(name) => Err(D::Error::custom(format!(
            "basic.users has the name {name:?}: write 1 to {MAX_NAME} bytes without a colon and control characters"
        ))),
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

#[cfg(test)]
mod tests;
