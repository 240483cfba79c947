//! The rule as JSON: `{"preset": "github", "secrets": ["…"]}`.

use std::time::Duration;

use http::HeaderName;
use serde::de::{Deserializer, Error as _, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::claim::Digest;
use super::preset::Preset;
use super::recipe::{Encoding, Recipe};
use super::secret::SigningSecret;
use super::template::Template;
use super::verify::{Mode, Scheme, Verify};

/// The most secrets of a tunnel; a rotation takes two. A request with a wrong signature costs an HMAC over its body for each.
const MAX_SECRETS: usize = 4;

/// The tolerance of a signed time, as most vendors recommend it, and the largest, beyond which a signed time is no protection.
const TOLERANCE: Duration = Duration::from_secs(300);
const MAX_TOLERANCE: Duration = Duration::from_secs(24 * 60 * 60);

/// The largest `max`, in bytes, which is also the default. The whole body is held in memory until its signature is checked.
const MAX_BODY: usize = 1 << 20;

/// The members of the rule, as they are read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    preset: Preset,
    secrets: Secrets,
    /// In seconds.
    tolerance: Option<u64>,
    #[serde(default)]
    replay: bool,
    #[serde(default)]
    mode: Mode,
    /// In bytes.
    max: Option<usize>,
    header: Option<String>,
    prefix: Option<String>,
    encoding: Option<Encoding>,
    digest: Option<Digest>,
    template: Option<String>,
    timestamp: Option<String>,
    id: Option<String>,
}

/// A list of secrets, or something else. serde's own message would show what else.
#[derive(Deserialize)]
#[serde(untagged)]
enum Secrets {
    Listed(Vec<String>),
    Other(IgnoredAny),
}

/// The members of the rule, as they are written.
#[derive(Serialize)]
struct Written<'v> {
    preset: Preset,
    secrets: WrittenSecrets<'v>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tolerance: Option<u64>,
    replay: bool,
    mode: Mode,
    max: usize,
    #[serde(flatten)]
    form: WrittenForm<'v>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum WrittenSecrets<'v> {
    Hidden { set: bool },
    Texts(Vec<&'v str>),
}

/// What `token` and `hmac` have beside the members of all presets.
#[derive(Serialize, Default)]
struct WrittenForm<'v> {
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<&'v str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<&'v str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<Encoding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<&'v str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'v str>,
}

impl Verify {
    /// Returns the rule for its owner to see: in place of the secrets it says that there are some.
    pub(in crate::relay) fn shown(&self) -> impl Serialize + '_ {
        self.written(WrittenSecrets::Hidden { set: true })
    }

    /// Returns the rule for the store, with its secrets: reading it gives an equal rule.
    pub(in crate::relay) fn kept(&self) -> impl Serialize + '_ {
        self.written(WrittenSecrets::Texts(self.secrets.iter().map(SigningSecret::as_str).collect()))
    }

    fn written<'v>(&'v self, secrets: WrittenSecrets<'v>) -> Written<'v> {
        Written {
            preset: self.preset,
            secrets,
            tolerance: self.signed_time().map(|tolerance| tolerance.as_secs()),
            replay: self.replay,
            mode: self.mode,
            max: self.max_bytes,
            form: WrittenForm::new(self.preset, &self.scheme),
        }
    }
}

impl<'de> Deserialize<'de> for Verify {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Fields::deserialize(deserializer)?.into_rule().map_err(D::Error::custom)
    }
}

impl Fields {
    /// Returns the rule, or what is wrong with it and what to do.
    fn into_rule(mut self) -> Result<Verify, String> {
        let preset = self.preset;
        self.check_members()?;
        let secrets = self.signing_secrets()?;
        let scheme = self.scheme()?;
        let tolerance = Duration::from_secs(self.tolerance.unwrap_or(TOLERANCE.as_secs()));
        if self.tolerance.is_some() && !scheme.has_time() {
            return Err(format!("verify.tolerance has no effect, because {preset} signs no time here: remove it"));
        }
        if tolerance.is_zero() || tolerance > MAX_TOLERANCE {
            let most = MAX_TOLERANCE.as_secs();
            return Err(format!("verify.tolerance is {} s: it must be 1 to {most}", tolerance.as_secs()));
        }
        if self.replay && preset == Preset::Token {
            return Err(
                "verify.replay needs a signature, and token has none that tells deliveries apart: remove it".to_owned()
            );
        }
        let max_bytes = self.max.unwrap_or(MAX_BODY);
        if !(1..=MAX_BODY).contains(&max_bytes) {
            return Err(format!("verify.max is {max_bytes} bytes: it must be 1 to {MAX_BODY}"));
        }
        Ok(Verify { preset, scheme, secrets, tolerance, replay: self.replay, mode: self.mode, max_bytes })
    }

    /// Checks that the preset has all members that are given.
    fn check_members(&self) -> Result<(), String> {
        let for_hmac: &[Preset] = &[Preset::Hmac];
        let members = [
            ("header", self.header.is_some(), &[Preset::Token, Preset::Hmac][..]),
            ("prefix", self.prefix.is_some(), for_hmac),
            ("encoding", self.encoding.is_some(), for_hmac),
            ("digest", self.digest.is_some(), for_hmac),
            ("template", self.template.is_some(), for_hmac),
            ("timestamp", self.timestamp.is_some(), for_hmac),
            ("id", self.id.is_some(), for_hmac),
        ];
        for (name, is_given, presets) in members {
            if is_given && !presets.contains(&self.preset) {
                return Err(format!(
                    "verify.{name} is no member for the preset {}: remove it, or describe the signature with the preset hmac",
                    self.preset
                ));
            }
        }
        Ok(())
    }

    fn signing_secrets(&mut self) -> Result<Vec<SigningSecret>, String> {
        let Secrets::Listed(texts) = std::mem::replace(&mut self.secrets, Secrets::Other(IgnoredAny)) else {
            return Err(
                r#"verify.secrets must be a list of texts, as in ["the sender's secret"]: secrets are not read back"#
                    .to_owned(),
            );
        };
        if !(1..=MAX_SECRETS).contains(&texts.len()) {
            return Err(format!("verify.secrets has {} secrets: give 1 to {MAX_SECRETS}", texts.len()));
        }
        let read = |(index, text)| {
            SigningSecret::read(self.preset, text).map_err(|error| format!("verify.secrets[{index}] {error}"))
        };
        texts.into_iter().enumerate().map(read).collect()
    }

    fn scheme(&mut self) -> Result<Scheme, String> {
        Ok(match self.preset {
            Preset::Github => Scheme::Recipe(Recipe::github()),
            Preset::Slack => Scheme::Recipe(Recipe::slack()),
            Preset::Shopify => Scheme::Recipe(Recipe::shopify()),
            Preset::Stripe => Scheme::Stripe,
            Preset::Standard => Scheme::Standard,
            Preset::Twilio => Scheme::Twilio,
            Preset::Token => Scheme::Token(self.signature_header()?),
            Preset::Hmac => Scheme::Recipe(Recipe {
                header: self.signature_header()?,
                prefix: prefix(self.prefix.take().unwrap_or_default())?,
                encoding: self.encoding.unwrap_or_default(),
                digest: self.digest.unwrap_or_default(),
                template: Template::read(
                    self.template.as_deref().unwrap_or("{body}"),
                    header("timestamp", self.timestamp.as_deref())?,
                    header("id", self.id.as_deref())?,
                )?,
            }),
        })
    }

    fn signature_header(&self) -> Result<HeaderName, String> {
        header("header", self.header.as_deref())?.ok_or_else(|| {
            format!("verify.header is missing, and {} has none of its own: add it, as in \"x-signature\"", self.preset)
        })
    }
}

impl Scheme {
    /// Tells whether the signature covers a time.
    pub(super) fn has_time(&self) -> bool {
        match self {
            Self::Recipe(recipe) => recipe.template.timestamp().is_some(),
            Self::Stripe | Self::Standard => true,
            Self::Twilio | Self::Token(_) => false,
        }
    }
}

impl<'v> WrittenForm<'v> {
    fn new(preset: Preset, scheme: &'v Scheme) -> Self {
        match scheme {
            Scheme::Token(header) => Self { header: Some(header.as_str()), ..Self::default() },
            Scheme::Recipe(recipe) if preset == Preset::Hmac => Self {
                header: Some(recipe.header.as_str()),
                prefix: Some(&recipe.prefix),
                encoding: Some(recipe.encoding),
                digest: Some(recipe.digest),
                template: Some(recipe.template.to_string()),
                timestamp: recipe.template.timestamp().map(HeaderName::as_str),
                id: recipe.template.id().map(HeaderName::as_str),
            },
            Scheme::Recipe(_) | Scheme::Stripe | Scheme::Standard | Scheme::Twilio => Self::default(),
        }
    }
}

/// Reads the name of a header.
fn header(member: &str, name: Option<&str>) -> Result<Option<HeaderName>, String> {
    let wrong = |_| format!("verify.{member} is no name of a header: write one, as in \"x-signature\"");
    name.map(|name| HeaderName::from_bytes(name.as_bytes()).map_err(wrong)).transpose()
}

/// Reads what stands before a signature.
fn prefix(text: String) -> Result<String, String> {
    const MAX_BYTES: usize = 64;
    if text.len() <= MAX_BYTES && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(text);
    }
    Err(format!("verify.prefix must be {MAX_BYTES} printable ASCII characters at most, as in \"sha256=\": shorten it"))
}
