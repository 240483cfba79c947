//! Reads and writes the rules of all tunnels.

use std::sync::Arc;

use super::basic::Passwords;
use super::guard::Guard;
use super::settings::{Rules, RulesPatch};
use super::{Refusal, Unhashed};
use crate::proto::token::Token;
use crate::store::{RulesText, Seal};

/// What the rules of all tunnels share: the seal under which they are kept, and the checks of passwords.
#[derive(Debug, Default)]
pub(in crate::relay) struct Rulebook {
    seal: Seal,
    pub(in crate::relay) passwords: Passwords,
}

impl Rulebook {
    pub(in crate::relay) fn new(seal: Seal) -> Self {
        Self { seal, passwords: Passwords::default() }
    }

    /// Returns the rules of a tunnel as they are after a change.
    ///
    /// # Errors
    /// When too many passwords wait to be hashed.
    pub(in crate::relay) async fn patched(&self, mut rules: Rules, mut patch: RulesPatch) -> Result<Rules, Unhashed> {
        match patch.basic.take() {
            None => (),
            Some(None) => rules.basic = None,
            Some(Some(wish)) => rules.basic = Some(self.passwords.hash(wish).await?),
        }
        rules.set(patch);
        Ok(rules)
    }

    /// Returns the text of a tunnel's rules for the store; `None` if there are none.
    pub(in crate::relay) fn write(&self, token: &Token, rules: &Rules) -> Option<RulesText> {
        let text = serde_json::to_string(&rules.kept()).expect("structs of texts and numbers are JSON");
        (!rules.is_empty()).then(|| self.seal.seal(&about(token), &text).into())
    }

    /// Reads what a store keeps of a tunnel's rules.
    ///
    /// # Errors
    /// With [`Refusal::Unreadable`].
    pub(in crate::relay) fn read(&self, token: &Token, text: &RulesText) -> Result<Rules, Refusal> {
        let text = self.seal.open(&about(token), text.as_str()).map_err(|_| Refusal::Unreadable)?;
        serde_json::from_str(&text).map_err(|_| Refusal::Unreadable)
    }

    /// Returns the guard of a tunnel, which goes on from the one before.
    pub(in crate::relay) fn guard(&self, token: &Token, text: &RulesText, before: Option<&Arc<Guard>>) -> Arc<Guard> {
        if let Some(before) = before.filter(|before| before.text() == text) {
            return Arc::clone(before);
        }
        let rules = self.read(token, text);
        if rules.is_err() {
            tracing::warn!(?token, "the rules of a tunnel cannot be read: no request passes it");
        }
        Arc::new(Guard::new(text.clone(), rules.ok(), before.map(Arc::as_ref)))
    }
}

/// What a text is sealed as: the rules of this tunnel, and of no other.
fn about(token: &Token) -> String {
    format!("rules of {token}")
}
