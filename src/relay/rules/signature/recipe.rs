//! Signatures that a header, a digest and a template describe.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;
use serde::{Deserialize, Serialize};

use super::claim::{Claim, Digest};
use super::fault::{Fault, Wrong};
use super::request::Signed;
use super::template::Template;

/// How a signature is made and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recipe {
    pub(super) header: HeaderName,
    /// What stands before the signature in the header, such as `sha256=`.
    pub(super) prefix: String,
    pub(super) encoding: Encoding,
    pub(super) digest: Digest,
    pub(super) template: Template,
}

/// How bytes are written in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Encoding {
    /// Two digits for each byte, in upper or lower case.
    #[default]
    Hex,
    /// Base64 with its padding (RFC 4648, section 4).
    Base64,
}

impl Recipe {
    /// Returns what GitHub does (<https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries>).
    pub(super) fn github() -> Self {
        Self {
            header: HeaderName::from_static("x-hub-signature-256"),
            prefix: "sha256=".to_owned(),
            encoding: Encoding::Hex,
            digest: Digest::Sha256,
            template: Template::body(),
        }
    }

    /// Returns what Slack does (<https://docs.slack.dev/authentication/verifying-requests-from-slack>).
    pub(super) fn slack() -> Self {
        Self {
            header: HeaderName::from_static("x-slack-signature"),
            prefix: "v0=".to_owned(),
            encoding: Encoding::Hex,
            digest: Digest::Sha256,
            template: Template::slack(HeaderName::from_static("x-slack-request-timestamp")),
        }
    }

    /// Returns what Shopify does (<https://shopify.dev/docs/apps/build/webhooks/subscribe/https>).
    pub(super) fn shopify() -> Self {
        Self {
            header: HeaderName::from_static("x-shopify-hmac-sha256"),
            prefix: String::new(),
            encoding: Encoding::Base64,
            digest: Digest::Sha256,
            template: Template::body(),
        }
    }

    /// Returns what a request claims.
    ///
    /// # Errors
    /// Fails when a header is missing, comes more than once, or is not of the form that it should have.
    pub(super) fn claim<'r>(&self, request: &Signed<'r>) -> Result<Claim<'r>, Fault> {
        let encoded = request.header(&self.header)?.strip_prefix(&self.prefix);
        let signature = encoded.and_then(|encoded| self.encoding.decode(encoded));
        let signature = signature.ok_or_else(|| Fault::Wrong(self.header.clone(), Wrong::Malformed))?;
        let mut claim = Claim {
            header: self.header.clone(),
            digest: self.digest,
            signatures: vec![signature],
            texts: Vec::new(),
            time: None,
            id: None,
        };
        self.template.fill(request, &mut claim)?;
        Ok(claim)
    }
}

impl Encoding {
    /// Returns the bytes of a text. `None` is a text that no bytes are written as.
    pub(super) fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Hex => {
                let pairs = text.as_bytes().chunks(2);
                pairs
                    .map(|pair| if let [high, low] = pair { Some(digit(*high)? << 4 | digit(*low)?) } else { None })
                    .collect()
            }
            Self::Base64 => STANDARD.decode(text).ok(),
        }
    }
}

/// Returns the number that a hexadecimal digit stands for.
fn digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|number| u8::try_from(number).ok())
}
