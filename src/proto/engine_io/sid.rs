//! The id of a session.

use std::fmt;

/// The length of a session id that names no node, in characters.
pub const SID_LENGTH: usize = 20;

/// The length of a session id that names its node, in characters.
pub const NODE_SID_LENGTH: usize = 32;

/// A session id: 20 characters of base64url, which are 15 random bytes, or 32 characters that a host has made. It is a bearer
/// secret, so `Debug` shows four characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sid {
    /// The characters of the id, and zeros after those of a short one.
    characters: [u8; NODE_SID_LENGTH],
    is_long: bool,
}

impl Sid {
    /// Returns the id of random bytes, which the caller takes from the system's generator.
    #[must_use]
    pub fn from_random(random: [u8; 15]) -> Self {
        use base64::Engine as _;
        let mut characters = [0; NODE_SID_LENGTH];
        let length = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode_slice(random, &mut characters);
        debug_assert_eq!(length, Ok(SID_LENGTH));
        Self { characters, is_long: false }
    }

    /// Reads an id of 20 or 32 characters. `None` is a text that is the id of no session; it never means that there is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let is_long = match bytes.len() {
            SID_LENGTH => false,
            NODE_SID_LENGTH => true,
            _ => return None,
        };
        let mut characters = [0; NODE_SID_LENGTH];
        characters[..bytes.len()].copy_from_slice(bytes);
        let is_base64url = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        is_base64url.then_some(Self { characters, is_long })
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let length = if self.is_long { NODE_SID_LENGTH } else { SID_LENGTH };
        std::str::from_utf8(&self.characters[..length]).expect("both constructors admit ASCII only")
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", &self.as_str()[..4])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_twenty_or_thirty_two_characters_of_base64url() {
        assert_eq!(Sid::from_random([0xff; 15]).as_str(), "____________________");
        for text in ["aB3-_xyzaB3-_xyzaB3-", "aB3-_xyzaB3-_xyzaB3-_xyzaB3-_xyz"] {
            assert_eq!(Sid::parse(text).map(|sid| sid.as_str().to_owned()).as_deref(), Some(text));
        }
        for wrong in [
            "",
            "aB3-_xyzaB3-_xyzaB3",
            "aB3-_xyzaB3-_xyzaB3-_",
            "aB3-_xyzaB3-_xyzaB3+",
            &"a".repeat(31),
            &"a".repeat(33),
        ] {
            assert_eq!(Sid::parse(wrong), None, "{wrong:?}");
        }
    }
}
