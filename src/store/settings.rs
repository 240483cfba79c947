//! What the owner of a keyed tunnel sets.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::defaults;

/// The settings of a keyed tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long it lives without an end.
    pub ttl: Duration,
    /// How long its end may take for an answer.
    pub timeout: Duration,
    /// How long a visitor waits for an end that has left and may come back. Zero is not at all.
    pub hold: Duration,
    /// Which of several ends answers.
    pub ends: Ends,
    /// Which requests are sent again when their end has left without an answer.
    pub repeat: Repeat,
}

/// Which end of a tunnel answers when several are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ends {
    /// The newest. The others leave once they have answered.
    #[default]
    Newest,
    /// The one with the fewest requests in flight.
    Spread,
}

/// Which requests are sent to another end, once, when their end has left without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repeat {
    /// None: the end may have acted on it.
    #[default]
    Never,
    /// Those whose method does the same when it is done twice: GET, HEAD, OPTIONS, PUT and DELETE (RFC 9110, section 9.2.2).
    Idempotent,
}

/// What the owner of a keyed tunnel demands of visitors, as the relay has written it. To a store it is a text. `Debug` shows nothing
/// of it: it has secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct RulesText(Arc<str>);

/// A change of the rules, for a tunnel that has those from which it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesChange {
    /// The rules before.
    pub was: Option<RulesText>,
    /// The rules after.
    pub now: Option<RulesText>,
}

/// A change of settings: what is given is set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patch {
    /// See [`Settings::ttl`].
    pub ttl: Option<Duration>,
    /// See [`Settings::timeout`].
    pub timeout: Option<Duration>,
    /// See [`Settings::hold`].
    pub hold: Option<Duration>,
    /// See [`Settings::ends`].
    pub ends: Option<Ends>,
    /// See [`Settings::repeat`].
    pub repeat: Option<Repeat>,
    /// The rules. With others than those before, nothing is changed.
    pub rules: Option<RulesChange>,
}

impl RulesText {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for RulesText {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for RulesText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RulesText")
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ttl: defaults::KEYED_TTL,
            timeout: defaults::KEYED_TIMEOUT,
            hold: defaults::HOLD,
            ends: Ends::default(),
            repeat: Repeat::default(),
        }
    }
}

impl Settings {
    /// Returns the settings with what `patch` gives of them.
    #[must_use]
    pub fn patched(self, patch: &Patch) -> Self {
        Self {
            ttl: patch.ttl.unwrap_or(self.ttl),
            timeout: patch.timeout.unwrap_or(self.timeout),
            hold: patch.hold.unwrap_or(self.hold),
            ends: patch.ends.unwrap_or(self.ends),
            repeat: patch.repeat.unwrap_or(self.repeat),
        }
    }
}

impl Ends {
    /// All values, in the order of the bytes that files have for them.
    pub const ALL: [Self; 2] = [Self::Newest, Self::Spread];

    /// Returns the value's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Spread => "spread",
        }
    }
}

impl Repeat {
    /// All values, in the order of the bytes that files have for them.
    pub const ALL: [Self; 2] = [Self::Never, Self::Idempotent];

    /// Returns the value's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Idempotent => "idempotent",
        }
    }
}
