//! The Lua scripts: what must be one step in Redis is one script. Their files say what keys and arguments they have.

use std::time::Duration;

use redis::{Script, ScriptInvocation};

use super::reply;
use crate::proto::node::NodeId;
use crate::proto::token::Token;
use crate::store::record::{By, CLAIM, Change, Record};
use crate::store::settings::{Ends, Patch, Repeat, RulesText, Settings};

/// What other scripts begin with.
pub(super) const SHARED: &str = include_str!("shared.lua");

/// What scripts about nodes have between that and their own.
pub(super) const NODES: &str = include_str!("nodes.lua");

/// The key whose value tells one set of data from another.
pub(super) const MARKER: &str = "s2m:marker";

/// What the keys of keyed tunnels begin with. An original one has its token alone for a key.
pub(super) const TUNNEL: &str = "s2m:t:";

/// Returns the token of the tunnel that a key is of. `None` for what is no tunnel.
pub(super) fn token_of(key: &str) -> Option<Token> {
    match key.strip_prefix(TUNNEL) {
        Some(token) => Token::parse(token),
        None => Token::parse(key).filter(|token| !token.is_name()),
    }
}

/// The scripts, each with its hash.
#[derive(Debug)]
pub(super) struct Scripts {
    create: Script,
    find: Script,
    change: Script,
    marker: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let with_shared = |script| Script::new(&[SHARED, script].concat());
        Self {
            create: with_shared(include_str!("create.lua")),
            find: with_shared(include_str!("find.lua")),
            change: Script::new(&[SHARED, NODES, include_str!("change.lua")].concat()),
            marker: Script::new(include_str!("marker.lua")),
        }
    }

    /// Returns the marker and Redis's time in milliseconds, after `new` has become it if there was none.
    pub(super) fn marker(&self, new: &str) -> ScriptInvocation<'_> {
        let mut script = self.marker.key(MARKER);
        script.arg(new);
        script
    }

    pub(super) fn find(&self, token: &Token) -> ScriptInvocation<'_> {
        about(&self.find, token, 0)
    }

    /// Adds a tunnel, if it is not later than `until`. With a marker, only if Redis has that.
    pub(super) fn create(
        &self,
        token: &Token,
        record: &Record,
        life: Duration,
        until: u64,
        marker: &str,
    ) -> ScriptInvocation<'_> {
        let mut script = about(&self.create, token, until);
        let made_by = record.made_by.map(|address| address.to_string()).unwrap_or_default();
        script.arg(milliseconds(life)).arg(record.made_at).arg(made_by);
        match record.keyed.as_deref() {
            None => script.arg("").arg("").arg("").arg(""),
            Some(keyed) => script
                .arg(reply::hex(&keyed.key))
                .arg(milliseconds(keyed.settings.ttl))
                .arg(milliseconds(keyed.settings.timeout))
                .arg(u8::from(keyed.was_joined)),
        };
        script.arg(marker);
        if let Some(keyed) = record.keyed.as_deref() {
            let Settings { hold, ends, repeat, .. } = keyed.settings;
            script.arg(milliseconds(hold)).arg(ends.as_str()).arg(repeat.as_str()).arg(text(keyed.rules.as_ref()));
        }
        script
    }

    /// Changes a tunnel, if it is not later than `until`. Other nodes than `node` hear of it.
    pub(super) fn change(
        &self,
        token: &Token,
        by: By,
        change: &Change,
        until: u64,
        node: Option<NodeId>,
    ) -> ScriptInvocation<'_> {
        let mut script = about(&self.change, token, until);
        match by {
            By::Anybody => script.arg(""),
            By::Key(key) => script.arg(reply::hex(&key)),
        };
        let optional = |time: Option<Duration>| time.map(|time| milliseconds(time).to_string()).unwrap_or_default();
        let node = node.as_ref().map_or("", NodeId::as_str);
        match change {
            Change::Refresh(life) => script.arg("refresh").arg(node).arg(milliseconds(*life)),
            Change::Renew => script.arg("renew").arg(node),
            Change::Set(Patch { ttl, timeout, hold, ends, repeat, rules }) => {
                script
                    .arg("set")
                    .arg(node)
                    .arg(optional(*ttl))
                    .arg(optional(*timeout))
                    .arg(optional(*hold))
                    .arg(ends.map_or("", Ends::as_str))
                    .arg(repeat.map_or("", Repeat::as_str));
                match rules {
                    Some(rules) => script.arg(text(rules.was.as_ref())).arg(text(rules.now.as_ref())),
                    None => &mut script,
                }
            }
            Change::Rekey(key) => script.arg("rekey").arg(node).arg(reply::hex(key)),
            Change::Delete => script.arg("delete").arg(node),
            Change::Revive { settings: Settings { ttl, timeout, hold, ends, repeat }, rules, unjoined } => script
                .arg("revive")
                .arg(node)
                .arg(milliseconds(*ttl))
                .arg(milliseconds(*timeout))
                .arg(milliseconds(*hold))
                .arg(ends.as_str())
                .arg(repeat.as_str())
                .arg(text(rules.as_ref()))
                .arg(milliseconds(*unjoined)),
        };
        script
    }
}

/// Begins a call of a script about a token. Only a token of the form of a UUID may be that of an original tunnel: under a name
/// there may be anything of anybody's.
pub(super) fn about<'s>(script: &'s Script, token: &Token, until: u64) -> ScriptInvocation<'s> {
    let mut script = script.key(format!("{TUNNEL}{token}"));
    script.key(MARKER);
    if !token.is_name() {
        script.key(token.as_str());
    }
    script.arg(if token.is_name() { milliseconds(CLAIM) } else { 0 }).arg(until);
    script
}

/// Returns the text of rules, empty if there are none.
fn text(rules: Option<&RulesText>) -> &str {
    rules.map_or("", RulesText::as_str)
}

/// Returns a time in milliseconds, rounded up.
pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
