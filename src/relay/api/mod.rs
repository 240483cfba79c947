//! Keyed tunnels over HTTP: made by `POST /new`, read and changed under `/tunnel/TOKEN` (PROTOCOL.md, "Keyed tunnels").
//!
//! - this file: each call, from its request to its answer
//! - `owner`: what the owner of a tunnel changes
//! - `fields`: the bodies of requests, as JSON
//! - `answer`: the bodies of answers

mod answer;
mod fields;
mod owner;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName};
use http::request::Parts;
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq as _;

use self::answer::Shown;
use self::fields::{Fields, Rekeying};
use self::owner::Owner;
use super::audit;
use super::bearer::bearer;
use super::failure::Failure;
use super::own_hosts::OwnHosts;
use super::public_url::PublicUrl;
use super::rules::{Rulebook, Rules, RulesPatch, Unhashed};
use super::tokens::{Tokens, Wanted, new_token};
use super::tunnels::Tunnels;
use crate::config::ServeConfig;
use crate::defaults;
use crate::net::arrival::Arrival;
use crate::net::body::{self, BodyLimits, RequestBody};
use crate::net::budget::Budget;
use crate::net::reply::{self, Reply};
use crate::proto::key::{Key, KeyHash};
use crate::proto::token::Token;
use crate::store::{Found, Patch, RulesChange, Settings};
use crate::tasks::complete;

/// The header in which somebody shows the operator's secret.
const CREATE_SECRET: HeaderName = HeaderName::from_static("x-socket2me-create");

/// The shortest `ttl`.
const MIN_TTL: Duration = Duration::from_secs(600);

/// The shortest `timeout`.
const MIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves the owners of keyed tunnels.
pub(super) struct Api {
    pub(super) tokens: Arc<Tokens>,
    pub(super) tunnels: Arc<Tunnels>,
    pub(super) config: Arc<ServeConfig>,
    pub(super) public_url: PublicUrl,
    pub(super) hosts: OwnHosts,
    pub(super) rulebook: Arc<Rulebook>,
    /// Memory for bodies of requests.
    pub(super) memory: Arc<Budget>,
}

/// What is asked for under `/tunnel/TOKEN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// `GET /tunnel/TOKEN`: the settings and figures.
    Show,
    /// `PATCH /tunnel/TOKEN`: other settings.
    Set,
    /// `DELETE /tunnel/TOKEN`: the end of the tunnel.
    Delete,
    /// `POST /tunnel/TOKEN/key`: another key.
    Rekey,
}

impl Api {
    /// Checks whether somebody may make a tunnel without a key.
    ///
    /// # Errors
    /// With [`Failure::KeysRequired`].
    pub(super) fn check_original(&self) -> Result<(), Failure> {
        if self.config.makes_original() { Ok(()) } else { Err(Failure::KeysRequired) }
    }

    /// Makes a keyed tunnel: `POST /new`.
    pub(super) async fn make(
        &self,
        head: &Parts,
        body: &mut RequestBody,
        arrival: &Arrival<'_>,
    ) -> Result<Reply, Failure> {
        self.check_secret(&head.headers)?;
        let fields: Fields = self.read(head, body).await?;
        let token = fields.name.as_deref().map(name_of).transpose()?.unwrap_or_else(new_token);
        // Without a name there is nothing that a key could be of.
        let key = if token.is_name() { own_key(&head.headers)? } else { None };
        let settings = self.defaults().patched(&self.patch(&fields)?);
        let rules = match fields.rules.flatten() {
            Some(patch) => self.rulebook.write(&token, &self.patched(Rules::default(), patch).await?),
            None => None,
        };
        let wanted = Wanted { token, settings, rules };
        let (tokens, client, by) = (Arc::clone(&self.tokens), arrival.client, arrival.client_text().into_owned());
        let make = async move {
            let made = tokens.make(client, wanted, key).await?;
            if made.key.is_some() {
                audit::line(by, "make", &made.token);
            }
            Ok::<_, Failure>(made)
        };
        let made = complete(make).await?;
        let status = if made.key.is_some() { StatusCode::CREATED } else { StatusCode::OK };
        let base = self.base(head, arrival);
        let shown = self.shown(&base, made.token, &made.found);
        Ok(answer::json(status, &shown.made(made.key.as_ref())))
    }

    /// Serves a call for a tunnel that exists.
    pub(super) async fn serve(
        &self,
        call: Call,
        token: Option<Token>,
        head: &Parts,
        body: &mut RequestBody,
        arrival: &Arrival<'_>,
    ) -> Result<Reply, Failure> {
        let key = shown_key(&head.headers)?.ok_or(Failure::KeyRequired)?;
        let token = token.ok_or(Failure::NoSuchTunnel)?;
        let owner = self.owner(token, &key, arrival);
        let found = match call {
            Call::Show => owner.find().await?,
            Call::Set => {
                self.tokens.check(&token)?;
                let patch = self.read_patch(&owner, head, body).await?;
                owner.set(patch).await?
            }
            Call::Delete => {
                owner.delete().await?;
                return Ok(answer::empty());
            }
            Call::Rekey => {
                let (new, disconnect) = self.read_key(head, body).await?;
                owner.rekey(new, disconnect).await?;
                return Ok(answer::empty());
            }
        };
        let base = self.base(head, arrival);
        let shown = self.shown(&base, token, &found);
        Ok(answer::json(StatusCode::OK, &shown.in_full()))
    }

    fn owner(&self, token: Token, key: &Key, arrival: &Arrival<'_>) -> Owner {
        let (tokens, tunnels) = (Arc::clone(&self.tokens), Arc::clone(&self.tunnels));
        Owner { tokens, tunnels, token, key: key.hash(), by: arrival.client_text().into_owned() }
    }

    /// Reads what the owner of a tunnel sets.
    async fn read_patch(&self, owner: &Owner, head: &Parts, body: &mut RequestBody) -> Result<Patch, Failure> {
        let fields: Fields = self.read(head, body).await?;
        if fields.name.is_some() {
            return Err(Failure::InvalidRequest("a tunnel keeps its name: make another one".to_owned()));
        }
        let mut patch = self.patch(&fields)?;
        if let Some(rules) = fields.rules {
            patch.rules = Some(self.change_of_rules(owner, rules).await?);
        }
        Ok(patch)
    }

    /// Makes rules from those that there are: somebody else who has the key may do so at the same time.
    async fn change_of_rules(&self, owner: &Owner, rules: Option<RulesPatch>) -> Result<RulesChange, Failure> {
        let was = owner.find().await?.record.keyed.and_then(|keyed| keyed.rules);
        let now = match rules {
            None => None,
            Some(rules) => {
                let before = was.as_ref().map(|was| self.rulebook.read(&owner.token, was)).transpose()?;
                self.rulebook.write(&owner.token, &self.patched(before.unwrap_or_default(), rules).await?)
            }
        };
        Ok(RulesChange { was, now })
    }

    /// Returns rules as they are after a change.
    async fn patched(&self, rules: Rules, patch: RulesPatch) -> Result<Rules, Failure> {
        self.rulebook.patched(rules, patch).await.map_err(|Unhashed| Failure::Busy)
    }

    /// Reads the key that an owner made, and whether the ends of the tunnel are to be disconnected.
    async fn read_key(&self, head: &Parts, body: &mut RequestBody) -> Result<(KeyHash, bool), Failure> {
        let Rekeying { key, disconnect } = self.read(head, body).await?;
        let wrong =
            || Failure::InvalidRequest("key is no key: it is s2m_ and 43 letters and digits, at random".to_owned());
        Ok((Key::parse(&key).ok_or_else(wrong)?.hash(), disconnect))
    }

    /// Checks the operator's secret, if there is one.
    fn check_secret(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let Some(secret) = &self.config.create_secret else { return Ok(()) };
        let shown = headers.get(CREATE_SECRET).map_or(&[][..], |value| value.as_bytes());
        if bool::from(secret.as_bytes().ct_eq(shown)) { Ok(()) } else { Err(Failure::CreateSecret) }
    }

    /// Returns the settings of a tunnel whose maker asks for nothing in particular.
    fn defaults(&self) -> Settings {
        let ServeConfig { max_ttl, max_timeout, max_hold, .. } = *self.config;
        let Settings { ttl, timeout, hold, ends, repeat } = Settings::default();
        Settings { ttl: ttl.min(max_ttl), timeout: timeout.min(max_timeout), hold: hold.min(max_hold), ends, repeat }
    }

    /// Returns the settings that somebody asks for.
    fn patch(&self, fields: &Fields) -> Result<Patch, Failure> {
        let ServeConfig { max_ttl, max_timeout, max_hold, .. } = *self.config;
        Ok(Patch {
            ttl: within("ttl", fields.ttl, MIN_TTL..=max_ttl, "--max-ttl")?,
            timeout: within("timeout", fields.timeout, MIN_TIMEOUT..=max_timeout, "--max-timeout")?,
            hold: within("hold", fields.hold, Duration::ZERO..=max_hold, "--max-hold")?,
            ends: fields.ends,
            repeat: fields.repeat,
            rules: None,
        })
    }

    /// Reads the body of a request.
    async fn read<F: DeserializeOwned>(&self, head: &Parts, body: &mut RequestBody) -> Result<F, Failure> {
        fields::check_type(&head.headers)?;
        let limits = BodyLimits {
            max_bytes: defaults::MAX_API_BODY,
            stall_timeout: self.config.limits.stall_timeout,
            memory: &self.memory,
        };
        fields::parse(&body::read(body, limits).await?.bytes)
    }

    fn shown<'s>(&'s self, base: &'s str, token: Token, found: &'s Found) -> Shown<'s> {
        let rules = found.record.keyed.as_ref().and_then(|keyed| keyed.rules.as_ref());
        let rules = rules.map(|rules| self.rulebook.read(&token, rules).map_err(|unreadable| unreadable.to_string()));
        Shown { base, hosts: &self.hosts, token, found, rules, tunnel: self.tunnels.find(&token) }
    }

    /// Returns the URL of this server, as the one who asks reaches it.
    fn base(&self, head: &Parts, arrival: &Arrival<'_>) -> String {
        self.public_url.base(|| {
            let host = arrival.host(&head.headers).unwrap_or_default();
            format!("{}://{host}", arrival.scheme(&head.headers))
        })
    }
}

/// Answers the preflight of a browser, and any other `OPTIONS`.
pub(super) fn preflight(methods: &'static str) -> Reply {
    let mut reply = reply::empty(StatusCode::NO_CONTENT);
    let headers = reply.headers_mut();
    for (name, value) in [
        (header::ALLOW, methods),
        (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, x-socket2me-create"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ] {
        headers.insert(name, http::HeaderValue::from_static(value));
    }
    reply
}

/// Returns the key that a request shows, as [`bearer`] returns it.
///
/// # Errors
/// With [`Failure::NoSuchTunnel`] for a text that is no key: it is nobody's.
pub(super) fn shown_key(headers: &HeaderMap) -> Result<Option<Key>, Failure> {
    let Some(shown) = bearer(headers) else { return Ok(None) };
    str::from_utf8(shown).ok().and_then(Key::parse).map(Some).ok_or(Failure::NoSuchTunnel)
}

/// Returns the key that the maker of a tunnel shows for its name.
fn own_key(headers: &HeaderMap) -> Result<Option<Key>, Failure> {
    let wrong = "Authorization shows no key: it is s2m_ and 43 letters and digits";
    shown_key(headers).map_err(|_| Failure::InvalidRequest(wrong.to_owned()))
}

/// Returns what a method asks for at `/tunnel/TOKEN`, or, with `is_key`, at `/tunnel/TOKEN/key`.
///
/// # Errors
/// With the methods that the path has.
pub(super) fn call(method: &Method, is_key: bool) -> Result<Call, &'static str> {
    match (method, is_key) {
        (&Method::GET | &Method::HEAD, false) => Ok(Call::Show),
        (&Method::PATCH, false) => Ok(Call::Set),
        (&Method::DELETE, false) => Ok(Call::Delete),
        (&Method::POST, true) => Ok(Call::Rekey),
        (_, false) => Err("GET, HEAD, PATCH, DELETE, OPTIONS"),
        (_, true) => Err("POST, OPTIONS"),
    }
}

fn name_of(text: &str) -> Result<Token, Failure> {
    Token::from_name(text).map_err(|error| Failure::InvalidRequest(format!("name: {error}")))
}

/// Checks a time that somebody asks for.
fn within(
    field: &str,
    seconds: Option<u64>,
    allowed: RangeInclusive<Duration>,
    flag: &str,
) -> Result<Option<Duration>, Failure> {
    let Some(seconds) = seconds else { return Ok(None) };
    let time = Duration::from_secs(seconds);
    if time < *allowed.start() {
        let least = allowed.start().as_secs();
        return Err(Failure::InvalidRequest(format!("{field} is {seconds}: it must be {least} s at least")));
    }
    if time > *allowed.end() {
        let most = allowed.end().as_secs();
        return Err(Failure::InvalidRequest(format!(
            "{field} is {seconds}: the operator's {flag} allows {most} s at most"
        )));
    }
    Ok(Some(time))
}
