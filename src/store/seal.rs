//! Secrets at rest: texts that only a server with the operator's key can read.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest as _, Sha256};

/// What a sealed text begins with. Nothing else that is kept does: rules are JSON.
const PREFIX: &str = "sealed1:";

/// Seals with the first of the operator's keys, and opens with any of them. Without a key, nothing is sealed. `Debug` shows nothing
/// of them.
#[derive(Default)]
pub struct Seal {
    keys: Vec<LessSafeKey>,
}

/// A sealed text cannot be opened: none of the keys has sealed it, or not as what it is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealError;

impl Seal {
    /// Takes the operator's keys: texts that nobody can guess. With the first, texts are sealed.
    #[must_use]
    pub fn new<'k>(keys: impl IntoIterator<Item = &'k [u8]>) -> Self {
        let key = |text| {
            let bytes = Sha256::new().chain_update("socket2me seal 1\n").chain_update(text).finalize();
            LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &bytes).expect("its keys have 32 bytes"))
        };
        Self { keys: keys.into_iter().map(key).collect() }
    }

    /// Returns the text for the store. `about` says what it is, so that no other takes its place.
    #[must_use]
    pub fn seal(&self, about: &str, text: &str) -> String {
        let Some(key) = self.keys.first() else { return text.to_owned() };
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut bytes = text.as_bytes().to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(about.as_bytes()), &mut bytes)
            .expect("a text of kilobytes is sealed");
        format!("{PREFIX}{}", STANDARD.encode([&nonce[..], &bytes].concat()))
    }

    /// Returns the text that was sealed, or one that never was.
    ///
    /// # Errors
    /// When none of the keys opens it.
    pub fn open(&self, about: &str, kept: &str) -> Result<String, SealError> {
        let Some(sealed) = kept.strip_prefix(PREFIX) else { return Ok(kept.to_owned()) };
        let bytes = STANDARD.decode(sealed).map_err(|_| SealError)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>().ok_or(SealError)?;
        self.keys
            .iter()
            .find_map(|key| {
                let mut sealed = sealed.to_vec();
                let nonce = Nonce::assume_unique_for_key(*nonce);
                let text = key.open_in_place(nonce, Aad::from(about.as_bytes()), &mut sealed).ok()?;
                String::from_utf8(text.to_vec()).ok()
            })
            .ok_or(SealError)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("keys", &self.keys.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_opened_with_any_key_and_as_what_it_is() {
        let (old, both, other) = (Seal::new([&b"old"[..]]), Seal::new([&b"new"[..], b"old"]), Seal::new([&b"x"[..]]));
        let sealed = old.seal("rules of a", "{}");
        assert!(sealed.starts_with(PREFIX) && !sealed.contains("{}"));
        assert_ne!(sealed, old.seal("rules of a", "{}"));
        for (seal, about, opened) in [
            (&old, "rules of a", Ok("{}".to_owned())),
            (&both, "rules of a", Ok("{}".to_owned())),
            (&old, "rules of b", Err(SealError)),
            (&other, "rules of a", Err(SealError)),
            (&Seal::default(), "rules of a", Err(SealError)),
        ] {
            assert_eq!(seal.open(about, &sealed), opened, "{about}");
        }
        assert_eq!(old.open("", &both.seal("", "{}")), Err(SealError), "the first key seals");
    }

    #[test]
    fn what_was_damaged_is_not_opened() {
        let seal = Seal::new([&b"key"[..]]);
        let sealed = seal.seal("", "some text");
        for end in PREFIX.len()..sealed.len() {
            assert_eq!(seal.open("", &sealed[..end]), Err(SealError), "{end}");
        }
        let mut bytes = STANDARD.decode(&sealed[PREFIX.len()..]).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert_eq!(seal.open("", &format!("{PREFIX}{}", STANDARD.encode(&bytes))), Err(SealError), "{at}");
            bytes[at] ^= 1;
        }
    }

    #[test]
    fn without_a_key_nothing_is_sealed_and_what_never_was_is_read_with_one() {
        assert_eq!(Seal::default().seal("", "{}"), "{}");
        assert_eq!(Seal::new([&b"key"[..]]).open("", "{}"), Ok("{}".to_owned()));
    }
}
