//! The rules of one tunnel while it is open, with what they count and remember.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Method;

use super::basic::Basic;
use super::rate::{Counts, Rate};
use super::refusal::Refusal;
use super::replays::{Delivery, Replays};
use super::settings::Rules;
use super::signature::{Mode, Preset, Signed, Verify};
use crate::net::budget::Client;
use crate::store::RulesText;

/// How long a delivery is remembered whose signature covers no time.
const WITHOUT_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The rules of a tunnel. `None` if they cannot be read: then no request passes.
#[derive(Debug)]
pub(in crate::relay) struct Guard {
    text: RulesText,
    rules: Option<Rules>,
    counts: Arc<Counts>,
    replays: Arc<Replays>,
}

/// What is said of a request whose signature was looked at.
#[derive(Debug)]
pub(in crate::relay) struct Looked {
    /// The kind of the signature; `None` if it is not right and the request goes on all the same.
    pub(in crate::relay) verified: Option<Preset>,
    /// What is to be told when the end has taken it.
    pub(in crate::relay) delivery: Option<Delivery>,
}

impl Guard {
    /// Makes a guard of rules that were read from this text, which goes on counting from `before`.
    pub(super) fn new(text: RulesText, rules: Option<Rules>, before: Option<&Self>) -> Self {
        let counts = before.filter(|before| before.rate() == rules.as_ref().and_then(|rules| rules.rate));
        let counts = counts.map_or_else(Arc::default, |before| Arc::clone(&before.counts));
        let replays = before.map_or_else(Arc::default, |before| Arc::clone(&before.replays));
        Self { text, rules, counts, replays }
    }

    /// Returns what the store keeps.
    pub(in crate::relay) fn text(&self) -> &RulesText {
        &self.text
    }

    fn rate(&self) -> Option<Rate> {
        self.rules.as_ref()?.rate
    }

    fn rules(&self) -> Result<&Rules, Refusal> {
        self.rules.as_ref().ok_or(Refusal::Unreadable)
    }

    /// Checks whose a request is, and its method.
    ///
    /// # Errors
    /// With what the rules have against it.
    pub(in crate::relay) fn check_head(&self, client: Client, method: &Method) -> Result<(), Refusal> {
        let Rules { allow, deny, methods, .. } = self.rules()?;
        let address = client.address.to_canonical();
        let is_in = |networks: &[ipnet::IpNet]| networks.iter().any(|network| network.contains(&address));
        // An address that stands for clients of whom nothing is known is nobody's who is allowed.
        if is_in(deny) || !(allow.is_empty() || client.can_be_exempt && is_in(allow)) {
            return Err(Refusal::Address);
        }
        if !methods.is_empty() && !methods.contains(method) {
            return Err(Refusal::Method(methods.clone()));
        }
        Ok(())
    }

    /// Returns the rule about names and passwords.
    pub(in crate::relay) fn basic(&self) -> Option<&Basic> {
        self.rules.as_ref()?.basic.as_ref()
    }

    /// Returns the rule about signatures, for which the body must be read.
    pub(in crate::relay) fn verify(&self) -> Option<&Verify> {
        self.rules.as_ref()?.verify.as_ref()
    }

    /// Checks the signature of a request.
    ///
    /// # Errors
    /// With what is wrong, if the rule is enforced.
    pub(in crate::relay) fn look(&self, verify: &Verify, request: &Signed<'_>) -> Result<Looked, Refusal> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let looked = verify.check(request, now).map_err(Refusal::Signature).and_then(|verified| {
            let memory = verify.signed_time().map_or(WITHOUT_TIME, |tolerance| tolerance * 2);
            let begin = |key| self.replays.begin(key, memory).ok_or(Refusal::Replayed);
            let delivery = verified.replay_key.map(begin).transpose()?;
            Ok(Looked { verified: Some(verified.preset), delivery })
        });
        match (looked, verify.mode) {
            (Err(_), Mode::Warn) => Ok(Looked { verified: None, delivery: None }),
            (looked, _) => looked,
        }
    }

    /// Counts a request that all else lets pass.
    ///
    /// # Errors
    /// When it is one too many.
    pub(in crate::relay) fn count(&self, client: Client) -> Result<(), Refusal> {
        match self.rate() {
            Some(rate) => self.counts.count(rate, client).map_err(Refusal::Rate),
            None => Ok(()),
        }
    }
}
