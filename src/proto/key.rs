//! The secret of a tunnel's owner.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What every key begins with, so that scanners of repositories and logs know one when they see it.
const PREFIX: &str = "s2m_";

/// The digits behind the prefix: as many as 32 bytes take in base 62.
pub const DIGITS: usize = 43;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key: `s2m_` and 43 letters and digits (PROTOCOL.md, "Keys"). It entitles to be the end of a tunnel and to change the
/// tunnel. `Debug` shows nothing of it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

/// The SHA-256 of a key: what a server keeps. Comparing two takes the same time wherever they differ.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

impl Key {
    /// Returns the key of 32 random bytes: their number in base 62. The caller brings the randomness.
    #[must_use]
    pub fn from_random(mut number: [u8; 32]) -> Self {
        let mut digits = [0; DIGITS];
        for digit in digits.iter_mut().rev() {
            let mut remainder = 0;
            for byte in &mut number {
                let value = remainder * 256 + u16::from(*byte);
                *byte = u8::try_from(value / 62).expect("the remainder is below 62, so the quotient is below 256");
                remainder = value % 62;
            }
            *digit = ALPHABET[usize::from(remainder)];
        }
        Self([PREFIX, std::str::from_utf8(&digits).expect("the alphabet is ASCII")].concat())
    }

    /// Reads a key. `None` is a text that no key can be.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let is_one = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_one.then(|| Self(text.to_owned()))
    }

    /// Returns the key as text, for its owner.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the key's hash.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash(Sha256::digest(&self.0).into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl KeyHash {
    /// Returns the hash of these bytes, as [`Self::as_bytes`] returned them.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the SHA-256.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyHash {}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_its_number_in_base_62() {
        let of = |last: &[u8]| {
            let mut number = [0; 32];
            number[32 - last.len()..].copy_from_slice(last);
            Key::from_random(number).as_str().trim_start_matches("s2m_").trim_start_matches('0').to_owned()
        };
        assert_eq!((of(&[0]), of(&[61]), of(&[62])), (String::new(), "z".to_owned(), "10".to_owned()));
        assert_eq!(of(&[1, 0, 0]), "H32", "17 * 62^2 + 3 * 62 + 2 = 65,536 + 0");
        let largest = Key::from_random([0xff; 32]);
        assert_eq!(largest.as_str().len(), PREFIX.len() + DIGITS);
        assert_eq!(Key::parse(largest.as_str()), Some(largest));
    }

    proptest! {
        #[test]
        fn keys_of_different_numbers_differ(numbers in prop::collection::hash_set(any::<[u8; 32]>(), 2..9)) {
            let keys: HashSet<String> = numbers.iter().map(|&number| Key::from_random(number).0).collect();
            prop_assert_eq!(keys.len(), numbers.len());
        }
    }

    #[test]
    fn a_text_of_another_form_is_no_key() {
        let key = Key::from_random([7; 32]);
        let text = key.as_str();
        for wrong in [
            "",
            "s2m_",
            &text[1..],
            &text[..46],
            &format!("{text}0"),
            &text.replace('s', "S"),
            &format!("{}-", &text[..46]),
        ] {
            assert_eq!(Key::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn debug_shows_nothing_of_a_key() {
        let key = Key::from_random([7; 32]);
        assert_eq!((format!("{key:?}").as_str(), format!("{:?}", key.hash()).as_str()), ("Key", "KeyHash"));
    }

    #[test]
    fn hashes_are_equal_if_their_keys_are() {
        let (one, other) = (Key::from_random([1; 32]), Key::from_random([2; 32]));
        assert_eq!(one.hash(), Key::parse(one.as_str()).unwrap().hash());
        assert_ne!(one.hash(), other.hash());
        assert_eq!(KeyHash::from_bytes(*one.hash().as_bytes()), one.hash());
    }
}
