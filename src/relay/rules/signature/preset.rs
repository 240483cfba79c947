//! The kinds of signatures that have a name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::relay) enum Preset {
    /// GitHub, Gitea and Forgejo: `X-Hub-Signature-256` over the body.
    Github,
    /// Stripe: `Stripe-Signature` over a time and the body.
    Stripe,
    /// Slack: `X-Slack-Signature` over a time and the body.
    Slack,
    /// Shopify: `X-Shopify-Hmac-SHA256` over the body.
    Shopify,
    /// Standard Webhooks, as Svix, GitLab, Clerk and Resend send them: `webhook-signature` over an id, a time and the body.
    Standard,
    /// Twilio: `X-Twilio-Signature` over the URL and the fields of a form.
    Twilio,
    /// No signature: the secret itself in a header, as in `X-Gitlab-Token`.
    Token,
    /// An HMAC that the owner describes.
    Hmac,
}

impl Preset {
    /// All presets.
    #[cfg(test)]
    pub(in crate::relay) const ALL: [Self; 8] =
        [Self::Github, Self::Stripe, Self::Slack, Self::Shopify, Self::Standard, Self::Twilio, Self::Token, Self::Hmac];

    /// Returns the preset's word, which is also the value of `x-socket2me-verified`.
    pub(in crate::relay) const fn as_str(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Stripe => "stripe",
            Self::Slack => "slack",
            Self::Shopify => "shopify",
            Self::Standard => "standard",
            Self::Twilio => "twilio",
            Self::Token => "token",
            Self::Hmac => "hmac",
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
