//! A password, and what is kept of it.

use std::fmt;

use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

/// The bytes of a password that is set. A shorter one is guessed.
const LENGTH: std::ops::RangeInclusive<usize> = 8..=256;

/// What one hash takes: memory in KiB, and passes over it. One of the two settings that OWASP's cheat sheet calls equal, the one with
/// less memory: visitors can make the server hash.
const MEMORY: u32 = 9 << 10;
const PASSES: u32 = 4;

/// A password. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Password(String);

/// The argon2id hash of a password with its salt, in the form of PHC strings. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct PasswordHash(String);

impl Password {
    /// Takes what a visitor shows, whatever its length: an HTTP head has a limit of its own.
    pub(super) fn shown(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Hashes the password with a new salt, which takes tens of milliseconds.
    pub(super) fn hash(&self) -> PasswordHash {
        let salt: [u8; 16] = rand::random();
        let params = Params::new(MEMORY, PASSES, 1, None).expect("these are within the limits of argon2");
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash: phc::PasswordHash =
            argon2.hash_password_with_salt(self.0.as_bytes(), &salt).expect("any password has a hash");
        PasswordHash(hash.to_string())
    }
}

impl PasswordHash {
    /// Tells whether this is the hash of a password, which takes as long as to hash it.
    pub(super) fn is_of(&self, password: &Password) -> bool {
        // It was read already.
        phc::PasswordHash::new(&self.0)
            .is_ok_and(|hash| Argon2::default().verify_password(password.0.as_bytes(), &hash).is_ok())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if LENGTH.contains(&text.len()) {
            return Ok(Self(text));
        }
        let (least, most) = LENGTH.into_inner();
        Err(D::Error::custom(format!("a password of basic.users has {} bytes: give {least} to {most}", text.len())))
    }
}

impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match phc::PasswordHash::new(&text) {
            Ok(_) => Ok(Self(text)),
            Err(_) => Err(D::Error::custom("what is kept of a password is no PHC string")),
        }
    }
}

impl Serialize for PasswordHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}
