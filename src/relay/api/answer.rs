//! The bodies of answers, as JSON.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{self, HeaderValue};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::net::reply::{self, Reply};
use crate::proto::key::Key;
use crate::proto::token::Token;
use crate::relay::own_hosts::OwnHosts;
use crate::relay::rules::Rules;
use crate::relay::tunnels::{Tunnel, TunnelFigures};
use crate::store::{Ends, Found, Life, Repeat, Settings};

/// A tunnel, to be shown to its owner.
pub(super) struct Shown<'s> {
    /// The URL of the server.
    pub(super) base: &'s str,
    pub(super) hosts: &'s OwnHosts,
    pub(super) token: Token,
    pub(super) found: &'s Found,
    /// Its rules, or why they cannot be read.
    pub(super) rules: Option<Result<Rules, String>>,
    /// The tunnel, if it has or had an end here.
    pub(super) tunnel: Option<Arc<Tunnel>>,
}

/// What the maker of a tunnel gets.
#[derive(Serialize)]
pub(super) struct Made {
    token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    url: String,
    path_url: String,
    expires: Option<String>,
}

/// What the owner of a tunnel may see.
#[derive(Serialize)]
pub(super) struct InFull<'s, R> {
    token: String,
    url: String,
    path_url: String,
    ttl: u64,
    timeout: u64,
    hold: u64,
    ends: Ends,
    repeat: Repeat,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<R>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules_error: Option<&'s str>,
    expires: Option<String>,
    connected: bool,
    figures: TunnelFigures,
}

impl Shown<'_> {
    pub(super) fn made(&self, key: Option<&Key>) -> Made {
        Made {
            token: self.token.to_string(),
            key: key.map(|key| key.as_str().to_owned()),
            url: self.url(),
            path_url: self.path_url(),
            expires: self.expires(),
        }
    }

    pub(super) fn in_full(&self) -> InFull<'_, impl Serialize + '_> {
        let seconds = |time: Duration| time.as_secs();
        // Nobody has the key of an original tunnel, so none is shown.
        let Settings { ttl, timeout, hold, ends, repeat } =
            self.found.record.keyed.as_deref().map_or_else(Settings::default, |keyed| keyed.settings);
        let figures = self.tunnel.as_ref().map(|tunnel| tunnel.figures()).unwrap_or_default();
        InFull {
            token: self.token.to_string(),
            url: self.url(),
            path_url: self.path_url(),
            ttl: seconds(ttl),
            timeout: seconds(timeout),
            hold: seconds(hold),
            ends,
            repeat,
            rules: self.rules.as_ref().and_then(|rules| rules.as_ref().ok()).map(Rules::shown),
            rules_error: self.rules.as_ref().and_then(|rules| rules.as_ref().err()).map(String::as_str),
            expires: self.expires(),
            connected: figures.ends > 0,
            figures,
        }
    }

    /// Returns the URL at the tunnel's own host, or else the one by its path.
    fn url(&self) -> String {
        self.hosts.url(self.base, &self.token).unwrap_or_else(|| self.path_url())
    }

    fn path_url(&self) -> String {
        format!("{}/go/{}", self.base, self.token)
    }

    fn is_connected(&self) -> bool {
        self.tunnel.as_ref().is_some_and(|tunnel| tunnel.has_end())
    }

    /// Returns when the tunnel expires, as RFC 3339 has it in whole seconds of UTC; `None` while an end is connected.
    fn expires(&self) -> Option<String> {
        let Life::Alive(left) = self.found.life else { return None };
        if self.is_connected() {
            return None;
        }
        let at = OffsetDateTime::from(SystemTime::now() + left).replace_nanosecond(0).ok()?;
        at.format(&Rfc3339).ok()
    }
}

/// Makes an answer that no cache may keep: it may have a key.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    let body = serde_json::to_string(body).expect("structs of texts and numbers are JSON");
    no_store(reply::text(status, "application/json; charset=utf-8", body))
}

pub(super) fn empty() -> Reply {
    no_store(reply::empty(StatusCode::NO_CONTENT))
}

fn no_store(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
