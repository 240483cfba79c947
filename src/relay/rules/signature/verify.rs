//! The rule: which signature a tunnel's requests must have.

use std::time::Duration;

use http::HeaderName;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use super::claim::ReplayKey;
use super::fault::{Fault, Wrong};
use super::preset::Preset;
use super::recipe::Recipe;
use super::request::Signed;
use super::secret::SigningSecret;
use super::{listed, twilio};

/// The signature that requests must have. It is read by `Deserialize`, and written by [`Self::shown`] and [`Self::kept`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::relay) struct Verify {
    /// The kind of the signature.
    pub(in crate::relay) preset: Preset,
    pub(super) scheme: Scheme,
    /// At least one. Any of them may have been used, so that a secret can be replaced while deliveries come.
    pub(super) secrets: Vec<SigningSecret>,
    /// How far a signed time may be from the server's, in both directions. Of no effect where the signature covers no time.
    pub(super) tolerance: Duration,
    /// `replay`: whether a delivery that has succeeded is refused when it comes again.
    pub(in crate::relay) replay: bool,
    /// `mode`: what happens to a request whose signature is not right.
    pub(in crate::relay) mode: Mode,
    /// `max`: bytes of a body; beyond, 413, for a signature is checked over the whole body before any of it goes on.
    pub(in crate::relay) max_bytes: usize,
}

/// What happens to a request whose signature is not right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::relay) enum Mode {
    /// The request is refused.
    #[default]
    Enforce,
    /// The request goes on, marked as not verified.
    Warn,
}

/// How a signature is found and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scheme {
    Recipe(Recipe),
    Stripe,
    Standard,
    Twilio,
    /// The secret itself in this header.
    Token(HeaderName),
}

/// A request with the right signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::relay) struct Verified {
    /// The kind of the signature.
    pub(in crate::relay) preset: Preset,
    /// What tells this delivery from others. `None` if `replay` is off.
    pub(in crate::relay) replay_key: Option<ReplayKey>,
}

impl Verify {
    /// Returns how far a signed time may be from the server's. `None` if the signature covers none.
    pub(in crate::relay) fn signed_time(&self) -> Option<Duration> {
        self.scheme.has_time().then_some(self.tolerance)
    }

    /// Checks the signature of a request. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// - [`Fault::Missing`]: the request lacks the header of the signature, of its time or of its id.
    /// - [`Fault::Wrong`]: such a header comes several times or is malformed, or no secret makes the signature.
    /// - [`Fault::Expired`]: the signature is right, and its time further from `now` than the tolerance, before or after it.
    pub(in crate::relay) fn check(&self, request: &Signed<'_>, now: u64) -> Result<Verified, Fault> {
        let claim = match &self.scheme {
            Scheme::Recipe(recipe) => recipe.claim(request)?,
            Scheme::Stripe => listed::stripe(request)?,
            Scheme::Standard => listed::standard(request)?,
            Scheme::Twilio => twilio::claim(request)?,
            Scheme::Token(header) => {
                self.check_token(header, request)?;
                return Ok(Verified { preset: self.preset, replay_key: None });
            }
        };
        let text = claim.check(&self.secrets, self.tolerance, now)?;
        Ok(Verified { preset: self.preset, replay_key: self.replay.then(|| claim.replay_key(text)) })
    }

    /// Checks that a header has one of the secrets. Their hashes are compared, which takes the same time whatever their lengths.
    fn check_token(&self, header: &HeaderName, request: &Signed<'_>) -> Result<(), Fault> {
        let shown = Sha256::digest(request.header(header)?);
        let is_one = self
            .secrets
            .iter()
            .fold(Choice::from(0), |found, secret| found | Sha256::digest(secret.key())[..].ct_eq(&shown[..]));
        if bool::from(is_one) { Ok(()) } else { Err(Fault::Wrong(header.clone(), Wrong::Mismatch)) }
    }
}
