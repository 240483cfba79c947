//! What a store keeps of a tunnel, and how that may change.

use std::net::IpAddr;
use std::time::Duration;

use super::settings::{Patch, RulesText, Settings};
use crate::proto::key::KeyHash;
use crate::proto::token::Token;

/// How long the name of a tunnel that has expired or was deleted is kept for its key: nobody else inherits its URL meanwhile.
pub const CLAIM: Duration = Duration::from_secs(24 * 3600);

/// A tunnel as a store keeps it. Its token and the end of its life are beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it was made, in seconds since 1970, by the wall clock of the server that made it.
    pub made_at: u64,
    /// The address that made it, as it counts for the limit of an address: a /64 of IPv6 is one. `None` if it does not count.
    pub made_by: Option<IpAddr>,
    /// What a keyed tunnel has; `None` for an original one.
    pub keyed: Option<Box<Keyed>>,
}

/// What a keyed tunnel has beside its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    /// The hash of the key of its owner.
    pub key: KeyHash,
    /// What its owner has set.
    pub settings: Settings,
    /// What its owner demands of visitors.
    pub rules: Option<RulesText>,
    /// An end has joined it. A name that no end ever joined is free at once when the tunnel expires.
    pub was_joined: bool,
}

/// A tunnel as it is kept where no process of its own counts the time: with its token and the moment at which it expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its token.
    pub token: Token,
    /// The tunnel.
    pub record: Record,
    /// When it expires, in milliseconds since 1970.
    pub expires: u64,
}

impl Kept {
    /// Returns when its name is not claimed any more, in milliseconds since 1970. Without a claim, that is when it expires.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        let claim = self.record.claim(&self.token).as_millis();
        self.expires.saturating_add(u64::try_from(claim).unwrap_or(u64::MAX))
    }
}

/// A tunnel that a store has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The tunnel.
    pub record: Record,
    /// Whether it lives, and how long still.
    pub life: Life,
}

/// Whether a tunnel lives, and how long still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It lives, and expires after this time unless it is renewed.
    Alive(Duration),
    /// It has expired or was deleted. Its name is kept for its key for this time.
    Claimed(Duration),
}

/// A change of a tunnel that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Lets it live for this time from now.
    Refresh(Duration),
    /// An end has joined, or has left, or is still there: lets it live for its own `ttl` from now. Nothing for an original one.
    Renew,
    /// Sets what is given. A new `ttl` counts from now.
    Set(Patch),
    /// Gives it another key.
    Rekey(KeyHash),
    /// Ends it. A name that an end had joined stays claimed.
    Delete,
    /// Lets it live again as one that no end has joined, with these settings. The only change for a name that is claimed, and
    /// none for a tunnel that lives.
    Revive {
        /// Its settings.
        settings: Settings,
        /// Its rules.
        rules: Option<RulesText>,
        /// How long it lives if no end joins.
        unjoined: Duration,
    },
}

/// Who asks for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The server itself, or anybody for an original tunnel. Changes no keyed tunnel but by [`Change::Renew`].
    Anybody,
    /// Somebody who showed the key of this hash. Changes no original tunnel.
    Key(KeyHash),
}

impl Record {
    /// Tells whether somebody may make a change: the key must be the tunnel's.
    #[must_use]
    pub fn admits(&self, by: By, change: &Change) -> bool {
        match (&self.keyed, by) {
            (None, By::Anybody) => matches!(change, Change::Refresh(_) | Change::Renew),
            (None, By::Key(_)) => false,
            (Some(_), By::Anybody) => matches!(change, Change::Renew),
            (Some(keyed), By::Key(key)) => keyed.key == key && !matches!(change, Change::Refresh(_)),
        }
    }

    /// Returns how long the name stays claimed once the tunnel has expired.
    #[must_use]
    pub fn claim(&self, token: &Token) -> Duration {
        let is_claimed = token.is_name() && self.keyed.as_ref().is_some_and(|keyed| keyed.was_joined);
        if is_claimed { CLAIM } else { Duration::ZERO }
    }

    /// Makes a change that [`Self::admits`] to a tunnel that lives for `left` more, or, if `left` is `None`, to one whose name
    /// is claimed. Returns how long the tunnel lives from now on, or `None` if there is no such change for it.
    #[must_use]
    pub fn apply(&mut self, change: &Change, left: Option<Duration>) -> Option<Duration> {
        match (change, left, &mut self.keyed) {
            (Change::Refresh(life), Some(_), None) => Some(*life),
            (Change::Renew, Some(_), Some(keyed)) => {
                keyed.was_joined = true;
                Some(keyed.settings.ttl)
            }
            (Change::Renew, Some(left), None) => Some(left),
            (Change::Set(Patch { rules: Some(rules), .. }), Some(_), Some(keyed)) if rules.was != keyed.rules => None,
            (Change::Set(patch), Some(left), Some(keyed)) => {
                keyed.settings = keyed.settings.patched(patch);
                if let Some(rules) = &patch.rules {
                    keyed.rules.clone_from(&rules.now);
                }
                // One that no end has joined lives no longer for it.
                Some(patch.ttl.filter(|&ttl| keyed.was_joined || ttl < left).unwrap_or(left))
            }
            (Change::Rekey(key), Some(left), Some(keyed)) => {
                keyed.key = *key;
                Some(left)
            }
            (Change::Delete, Some(_), Some(_)) => Some(Duration::ZERO),
            (Change::Revive { settings, rules, unjoined }, None, Some(keyed)) => {
                keyed.settings = *settings;
                keyed.rules.clone_from(rules);
                Some(*unjoined)
            }
            (Change::Refresh(_), _, Some(_))
            | (Change::Set(_) | Change::Rekey(_) | Change::Delete, _, None)
            | (Change::Revive { .. }, _, None)
            | (Change::Revive { .. }, Some(_), _)
            | (_, None, _) => None,
        }
    }
}
