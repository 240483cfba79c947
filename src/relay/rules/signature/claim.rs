//! What a request says was signed, and with what result.

use std::borrow::Cow;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderName;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq as _};

use super::fault::{Fault, Wrong};
use super::secret::SigningSecret;

/// A text that may have been signed, in parts, so that a body is not copied.
pub(super) type Text<'r> = Vec<Cow<'r, [u8]>>;

/// The claim that a request makes by its headers.
#[derive(Debug)]
pub(super) struct Claim<'r> {
    /// The header with the signatures.
    pub(super) header: HeaderName,
    pub(super) digest: Digest,
    /// The signatures, of which one suffices: a sender whose secret changes signs with the old one too.
    pub(super) signatures: Vec<Vec<u8>>,
    /// The texts, of which one suffices: it is not certain how the sender writes the URL.
    pub(super) texts: Vec<Text<'r>>,
    /// The signed time, if the signature covers one.
    pub(super) time: Option<Time>,
    /// The signed id, if the signature covers one and it is certain where that ends.
    pub(super) id: Option<&'r str>,
}

/// A signed time.
#[derive(Debug)]
pub(super) struct Time {
    header: HeaderName,
    /// Seconds since 1970.
    seconds: u64,
}

/// The hash function of an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Digest {
    Sha1,
    #[default]
    Sha256,
    Sha512,
}

/// What two deliveries share if one repeats the other: the SHA-256 of the signed id, or else of the signed text. Neither depends
/// on how the signature was written nor on which of several was sent, so a delivery cannot be disguised as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::relay) struct ReplayKey([u8; 32]);

impl<'r> Claim<'r> {
    /// Checks that one of the secrets makes one of the signatures, and then that the signed time is within the tolerance of `now`,
    /// in seconds since 1970. Returns the text that was signed.
    ///
    /// # Errors
    /// Fails when no secret makes any of the signatures; otherwise, when the time is too far in the past or in the future.
    pub(super) fn check(&self, secrets: &[SigningSecret], tolerance: Duration, now: u64) -> Result<&Text<'r>, Fault> {
        let is_signed =
            |text: &&Text<'r>| secrets.iter().any(|secret| self.is_signature(&self.digest.mac(secret, text)));
        let text = self.texts.iter().find(is_signed);
        let text = text.ok_or_else(|| Fault::Wrong(self.header.clone(), Wrong::Mismatch))?;
        match &self.time {
            Some(Time { header, seconds }) if Duration::from_secs(now.abs_diff(*seconds)) > tolerance => {
                Err(Fault::Expired { header: header.clone(), tolerance, is_ahead: *seconds > now })
            }
            _ => Ok(text),
        }
    }

    /// Returns the key by which a delivery with this text is known again.
    pub(super) fn replay_key(&self, text: &Text<'r>) -> ReplayKey {
        let mut hash = Sha256::new();
        match self.id {
            Some(id) => hash.update(id),
            None => text.iter().for_each(|part| hash.update(part)),
        }
        ReplayKey(hash.finalize().into())
    }

    /// Tells whether the request has this signature. All that it has are compared, in constant time.
    fn is_signature(&self, expected: &[u8]) -> bool {
        let found = self.signatures.iter().fold(Choice::from(0), |found, shown| found | shown.ct_eq(expected));
        found.into()
    }
}

impl Time {
    /// Reads seconds since 1970, as they stand in a header.
    ///
    /// # Errors
    /// Fails when the text is anything else than decimal digits of a number below 2^64.
    pub(super) fn read(header: HeaderName, text: &str) -> Result<Self, Fault> {
        let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        match digits.and_then(|digits| digits.parse().ok()) {
            Some(seconds) => Ok(Self { header, seconds }),
            None => Err(Fault::Wrong(header, Wrong::NoTime)),
        }
    }
}

impl Digest {
    fn mac(self, secret: &SigningSecret, text: &Text<'_>) -> Vec<u8> {
        match self {
            Self::Sha1 => mac::<Hmac<Sha1>>(secret.key(), text),
            Self::Sha256 => mac::<Hmac<Sha256>>(secret.key(), text),
            Self::Sha512 => mac::<Hmac<Sha512>>(secret.key(), text),
        }
    }
}

impl ReplayKey {
    /// Returns the key of a delivery with this id.
    #[cfg(test)]
    pub(in crate::relay) fn of(id: &[u8]) -> Self {
        Self(Sha256::digest(id).into())
    }

    /// Returns the bytes of the SHA-256.
    pub(in crate::relay) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], text: &Text<'_>) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("an HMAC takes a key of any length (RFC 2104, section 3)");
    text.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}
