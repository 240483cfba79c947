//! What signatures are made with.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};

use super::preset::Preset;

/// The most bytes of a secret. A longer text is something else, such as a private key.
const MAX_BYTES: usize = 1 << 10;

/// What a secret of Standard Webhooks begins with. Its vendors show it with or without.
const STANDARD_PREFIX: &str = "whsec_";

/// Base64 that may lack its padding: a secret passes through the hands of people.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A secret that a sender and a tunnel share. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SigningSecret {
    text: String,
    /// The key of the HMAC: the bytes of the text, or those that the text encodes.
    key: Vec<u8>,
}

impl SigningSecret {
    /// Reads a secret as the vendor shows it.
    ///
    /// # Errors
    /// Fails, with what to do instead, when the text is empty or longer than 1 KiB, is no base64 for `standard`, or could never come
    /// in a header for `token`.
    pub(super) fn read(preset: Preset, text: String) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty: give the secret that the sender has".to_owned());
        }
        if text.len() > MAX_BYTES {
            return Err(format!("is longer than {MAX_BYTES} bytes: give the secret that the sender has"));
        }
        let key = match preset {
            Preset::Standard => standard_key(&text)?,
            Preset::Token if !is_value(&text) => {
                return Err("is nothing that a header can have: give a text of printable ASCII characters without \
                            white space around it"
                    .to_owned());
            }
            Preset::Github
            | Preset::Stripe
            | Preset::Slack
            | Preset::Shopify
            | Preset::Twilio
            | Preset::Token
            | Preset::Hmac => text.clone().into_bytes(),
        };
        Ok(Self { text, key })
    }

    /// Returns the secret as it was read, for the store.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the key of the HMAC.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret")
    }
}

/// Returns the bytes that a secret of Standard Webhooks encodes.
fn standard_key(text: &str) -> Result<Vec<u8>, String> {
    let encoded = text.strip_prefix(STANDARD_PREFIX).unwrap_or(text);
    let key = LENIENT.decode(encoded).ok().filter(|key| !key.is_empty());
    key.ok_or_else(|| "is not whsec_ and base64: give it as the sender's dashboard shows it".to_owned())
}

/// Tells whether a text can be the value of a header.
fn is_value(text: &str) -> bool {
    text.trim() == text && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}
