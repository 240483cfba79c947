//! The keys of a cluster: all of them come from one secret, by HKDF (RFC 5869), and each has one use.

use std::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::defaults::MIN_CLUSTER_SECRET;

/// The bytes of a key, and of a MAC.
pub(crate) const MAC_BYTES: usize = 32;

/// What the salt of HKDF is: no other program makes the same keys of the same secret.
const SALT: &[u8] = b"socket2me cluster 1";

/// The secret that all nodes of a cluster share, as the keys that are made of it. `Debug` shows nothing of it.
#[derive(Clone)]
pub(crate) struct Secret {
    /// Makes the MACs in ids of sessions.
    pub(super) sids: Key,
    /// Proves at the begin of a connection that both sides have the secret.
    pub(super) greetings: Key,
    /// Signs the cookie of a browser that has shown the page before a tunnel.
    pub(super) pages: Key,
}

impl Secret {
    /// Makes keys of the text of a secret's file, without white space around it.
    ///
    /// # Errors
    /// When the secret is so short that it could be guessed. The error says what to do.
    pub(crate) fn from_text(text: &str) -> Result<Self, String> {
        let secret = text.trim();
        if secret.chars().count() < MIN_CLUSTER_SECRET {
            return Err(format!(
                "the cluster's secret has fewer than {MIN_CLUSTER_SECRET} characters: write the output of `openssl rand -hex 32` into its \
                 file, the same on each node"
            ));
        }
        let secret = Hkdf::<Sha256>::new(Some(SALT), secret.as_bytes());
        let key = |label: &[u8]| {
            let mut key = [0; MAC_BYTES];
            secret.expand(label, &mut key).expect("HKDF makes keys of this length");
            Key::new(key)
        };
        Ok(Self { sids: key(b"sids"), greetings: key(b"greetings"), pages: key(b"pages") })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A key for HMAC-SHA256. `Debug` shows nothing of it.
#[derive(Clone)]
pub(crate) struct Key(Hmac<Sha256>);

impl Key {
    fn new(key: [u8; MAC_BYTES]) -> Self {
        Self(Hmac::new_from_slice(&key).expect("HMAC takes keys of any length"))
    }

    /// Makes a key that nobody else has.
    pub(crate) fn random() -> Self {
        Self::new(rand::random())
    }

    /// Returns the MAC of some parts for one use. What is in which part counts: each has its length before it.
    pub(crate) fn mac(&self, usage: &str, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
        let mut mac = self.0.clone();
        for part in [usage.as_bytes()].iter().chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// Returns the key for another use, made of this key and some parts.
    pub(super) fn derive(&self, usage: &str, parts: &[&[u8]]) -> Self {
        Self::new(self.mac(usage, parts))
    }

    /// Returns whether `claimed` begins the MAC of some parts, at any length that the caller has checked. Takes the same time
    /// whatever is claimed.
    pub(super) fn verifies(&self, usage: &str, parts: &[&[u8]], claimed: &[u8]) -> bool {
        let mac = self.mac(usage, parts);
        mac.get(..claimed.len()).is_some_and(|mac| mac.ct_eq(claimed).into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

#[cfg(test)]
pub(in crate::cluster) mod tests {
    use super::*;

    /// Returns a secret that has this letter in it.
    pub(in crate::cluster) fn secret(letter: char) -> Secret {
        Secret::from_text(&letter.to_string().repeat(MIN_CLUSTER_SECRET)).unwrap()
    }

    #[test]
    fn a_secret_has_thirty_two_characters_without_the_white_space_around_it() {
        for (text, is_taken) in [
            ("0123456789abcdef0123456789abcdef", true),
            ("0123456789abcdef0123456789abcdef\n", true),
            ("0123456789abcdef0123456789abcde\n", false),
            (" 0123456789abcdef0123456789abcde", false),
            ("", false),
        ] {
            let secret = Secret::from_text(text);
            assert_eq!(secret.is_ok(), is_taken, "{text:?}");
            if let Err(error) = secret {
                assert!(error.contains("openssl rand -hex 32"), "{error}");
            }
        }
    }

    #[test]
    fn white_space_around_a_secret_does_not_change_the_keys() {
        let text = "0123456789abcdef0123456789abcdef";
        let [one, other] = [text.to_owned(), format!("\t{text}\r\n")].map(|text| Secret::from_text(&text).unwrap());
        assert_eq!(one.sids.mac("x", &[]), other.sids.mac("x", &[]));
    }

    #[test]
    fn each_use_and_each_secret_has_another_key() {
        let (one, other) = (secret('a'), secret('b'));
        let macs = [&one.sids, &one.greetings, &other.sids, &other.greetings, &one.sids.derive("y", &[])]
            .map(|key| key.mac("x", &[b"text"]));
        for (number, mac) in macs.iter().enumerate() {
            assert!(!macs[..number].contains(mac), "{number}");
        }
    }

    #[test]
    fn a_mac_tells_its_use_and_its_parts_apart() {
        let key = secret('a').sids;
        let mac = key.mac("x", &[b"ab", b"c"]);
        assert!(key.verifies("x", &[b"ab", b"c"], &mac) && key.verifies("x", &[b"ab", b"c"], &mac[..6]));
        for (usage, parts) in
            [("y", &[&b"ab"[..], b"c"][..]), ("x", &[b"a", b"bc"]), ("x", &[b"abc"]), ("x", &[b"ab", b"c", b""])]
        {
            assert!(!key.verifies(usage, parts, &mac), "{usage} {parts:?}");
        }
        let mut longer = mac.to_vec();
        longer.push(0);
        assert!(!key.verifies("x", &[b"ab", b"c"], &longer));
    }

    #[test]
    fn debug_shows_nothing_of_a_secret() {
        assert_eq!(format!("{:?}", secret('a')), "Secret");
        assert_eq!(format!("{:?}", secret('a').sids), "Key");
    }
}
